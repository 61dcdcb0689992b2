//! Records over HTTP, through a collector that fails in every way it can: each arrives once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use peaberry_core::{Batch, Channel, Clock, MemoryStorage, SystemClock};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings};
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::{Exchange, MESSAGE_BYTES_MAX, Payload, Record, Wire};
use peaberry_edge::spool::{SPOOL, Spool, SpoolSettings};
use peaberry_edge::uplink::{HttpSettings, HttpUplink, Uplink, UplinkEvent};
use peaberry_edge::{BootEpoch, EdgeError, Name, RecordId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const RECORDS: usize = 3_000;

/// What the collector does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mood {
    Fine,
    /// 500, and nothing is taken.
    Broken,
    /// Everything is taken and durable, and the connection is closed without an answer.
    Lost,
    /// Everything is taken, and no answer comes.
    Hangs,
    /// Everything is taken, and the answer has no end.
    Floods,
    /// Everything is taken, and the answer is no exchange.
    Babbles,
}

/// The first is of the question whether anybody is there; then a good one after each fault, of which some come twice.
const MOODS: [Mood; 21] = {
    use Mood::{Babbles, Broken, Fine, Floods, Hangs, Lost};
    [
        Broken, Fine, Lost, Fine, Fine, Broken, Fine, Fine, Hangs, Fine, Fine, Floods, Fine, Fine,
        Babbles, Fine, Lost, Fine, Fine, Floods, Fine,
    ]
};

struct Site {
    collector: Collector,
    archive: MemoryStorage,
    requests: usize,
    seen: BTreeSet<Mood>,
    repeated: u64,
}

impl Site {
    fn new() -> Self {
        let archive = MemoryStorage::new();
        let (owner, site) = (Channel::new(COLLECTOR, 0), name("berlin"));
        let settings = CollectorSettings::default();
        Self {
            collector: Collector::open(&archive, owner, site, settings).unwrap(),
            archive,
            requests: 0,
            seen: BTreeSet::new(),
            repeated: 0,
        }
    }

    async fn serve(&mut self, stream: &mut TcpStream) {
        let Some(body) = read_request(stream).await else {
            return;
        };
        let mood = MOODS.get(self.requests).copied().unwrap_or(Mood::Fine);
        self.requests += 1;
        self.seen.insert(mood);
        if mood == Mood::Broken {
            answer(stream, "500 Internal Server Error", b"").await;
            return;
        }
        let exchanged = self.collector.exchange(&self.archive, &body).unwrap();
        assert_eq!(exchanged.report.refused, 0);
        self.repeated += exchanged.report.repeated;
        match mood {
            Mood::Fine => answer(stream, "200 OK", &exchanged.answer.encode()).await,
            Mood::Babbles => answer(stream, "200 OK", b"welcome").await,
            Mood::Floods => answer(stream, "200 OK", &vec![0; 2 * MESSAGE_BYTES_MAX]).await,
            // Until it is given up.
            Mood::Hangs => drop(stream.read(&mut [0]).await),
            Mood::Lost | Mood::Broken => {}
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    assert!(text.starts_with("post /records "), "{text}");
    assert!(text.contains("authorization: bearer secret"), "{text}");
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.unwrap().trim().parse().unwrap();
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(bytes.split_off(head))
}

/// A device that has had enough of it closes the connection: then there is nobody to tell.
async fn answer(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    if stream.write_all(head.as_bytes()).await.is_ok() {
        let _ = stream.write_all(body).await;
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn courier(url: &str, storage: &MemoryStorage, clock: &SystemClock) -> Courier<HttpUplink> {
    let mut settings = HttpSettings::new(url, 7);
    settings.token = Some("secret".to_owned());
    settings.time_out = Duration::from_millis(500);
    settings.backoff_min = Duration::from_millis(5);
    settings.backoff_max = Duration::from_millis(50);
    let uplink = HttpUplink::spawn(&tokio::runtime::Handle::current(), settings).unwrap();
    let (mut batch, owner) = (Batch::new(), Channel::new(SPOOL, 0));
    let settings = Arc::new(SpoolSettings {
        window_max: 512,
        resend_after: Duration::from_millis(200),
        ..peaberry_edge::fleet::FleetSettings::salted(0).spool
    });
    let site = name("berlin");
    let spool = Spool::open(
        storage,
        owner,
        site.clone(),
        name("m"),
        settings,
        &mut batch,
    );
    Courier::new(
        uplink,
        &site,
        vec![spool.unwrap()],
        &batch,
        clock.now(),
        storage,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_arrives_once_through_every_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/records", listener.local_addr().unwrap());
    let (end, mut ended) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let mut site = Site::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => site.serve(&mut accepted.unwrap().0).await,
                _ = &mut ended => return site,
            }
        }
    });
    let made = tokio::time::timeout(PATIENCE, send(&url));
    let made = made.await.expect("nothing takes so long");
    end.send(()).unwrap();
    let site = server.await.unwrap();

    let faults = &site.seen;
    assert_eq!(faults.len(), 6, "every fault was met: {faults:?}");
    assert!(
        site.repeated > 0,
        "answers were lost, and their records came again"
    );
    let inbox = site.collector.inbox();
    let (mut arrived, mut at) = (BTreeSet::new(), inbox.start);
    while at < inbox.end {
        for record in site.collector.records(&site.archive, at, 1 << 20).unwrap() {
            assert!(arrived.insert(record.id), "a record is kept once");
            at += 1;
        }
    }
    println!(
        "{} records in {} requests, {} repeated, {} lost",
        arrived.len(),
        site.requests,
        site.repeated,
        made.difference(&arrived).count()
    );
    assert_eq!(arrived, made);
}

/// Sends records until the collector has acknowledged all of them.
async fn send(url: &str) -> BTreeSet<RecordId> {
    let (storage, clock) = (MemoryStorage::new(), SystemClock::new());
    let mut courier = courier(url, &storage, &clock);
    let mut made = BTreeSet::new();
    loop {
        if courier.is_up() && made.len() < RECORDS {
            for _ in 0..100 {
                let bytes = vec![7; 200].into();
                let payload = Payload::Custom {
                    name: name("c"),
                    bytes,
                };
                made.insert(courier.append(0, clock.now(), &storage, payload).unwrap());
            }
        }
        let wait = courier.deadline().map(|at| at.since(clock.now()));
        let wait = wait.unwrap_or(Duration::from_millis(100));
        let turned = poll_fn(|cx| courier.turn(cx, clock.now(), &storage).unwrap());
        // Woken by the uplink, or when it is time to send again.
        let _ = tokio::time::timeout(wait, turned).await;
        let status = courier.spool(0).unwrap().status();
        if made.len() >= RECORDS && status.records == 0 {
            return made;
        }
    }
}

/// A collector has more to say than anybody looks at: it is not asked for more than is bounded, and none of it is lost.
#[tokio::test]
async fn answers_wait_at_the_collector_until_they_are_looked_at() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/records", listener.local_addr().unwrap());
    let mut settings = HttpSettings::new(&url, 1);
    settings.token = Some("secret".to_owned());
    settings.poll_every = Duration::from_millis(1);
    let mut uplink = HttpUplink::spawn(&tokio::runtime::Handle::current(), settings).unwrap();
    uplink.subscribe("down/#");
    let message = ("down/t".into(), vec![7; MESSAGE_BYTES_MAX / 2].into());
    let messages = vec![message];
    let body = Exchange { messages }.encode();
    let (mut asked, mut looks) = (0, 0);
    while looks < 3 {
        let accepted = tokio::time::timeout(Duration::from_millis(300), listener.accept());
        if let Ok(accepted) = accepted.await {
            let mut stream = accepted.unwrap().0;
            read_request(&mut stream).await.unwrap();
            answer(&mut stream, "200 OK", &body).await;
            asked += 1;
            assert!(asked <= 20, "it goes on though nobody looks");
            continue;
        }
        let mut events = Vec::new();
        poll_fn(|cx| uplink.poll_events(cx, &mut events)).await;
        let is_inbound = |event: &&UplinkEvent| matches!(event, UplinkEvent::Inbound { .. });
        assert_eq!(events.iter().filter(is_inbound).count(), asked);
        (asked, looks) = (0, looks + 1);
    }
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/records", listener.local_addr().unwrap());
    drop(listener);
    let runtime = tokio::runtime::Handle::current();
    let uplink = HttpUplink::spawn(&runtime, HttpSettings::new(&url, 1)).unwrap();
    let told = async {
        loop {
            if let Some(trouble) = uplink.trouble() {
                return trouble;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let trouble = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert!(trouble.contains("127.0.0.1"), "{trouble}");
    assert_eq!(uplink.room(), 0);
    for url in ["https://collector", "collector", "http:///records"] {
        let refused = HttpUplink::spawn(&runtime, HttpSettings::new(url, 1)).unwrap_err();
        assert!(
            refused.to_string().contains("URL of a collector"),
            "{refused}"
        );
    }
}

#[test]
fn a_body_that_makes_no_sense_is_refused_and_the_next_is_taken() {
    let mut site = Site::new();
    let refused = site.collector.exchange(&site.archive, b"welcome");
    assert!(matches!(refused, Err(EdgeError::Malformed { .. })));
    let long = vec![0; MESSAGE_BYTES_MAX + 1];
    let refused = site.collector.exchange(&site.archive, &long);
    assert!(matches!(refused, Err(EdgeError::TooLong { .. })));

    // One of a body may make no sense, too: the others are taken.
    let id = RecordId {
        device: name("m"),
        boot: BootEpoch::FIRST,
        sequence: 1,
    };
    let payload = Payload::Twin(b"delta".as_slice().into());
    let record = Record {
        id,
        at_ms: 0,
        payload,
    };
    let good = ("peaberry/1/berlin/m/up/twin".into(), record.encode().into());
    let bad = (
        "peaberry/1/berlin/m/up/twin".into(),
        b"tea".as_slice().into(),
    );
    let messages = vec![bad, good];
    let body = Exchange { messages }.encode();
    let exchanged = site.collector.exchange(&site.archive, &body).unwrap();
    assert_eq!((exchanged.report.refused, exchanged.report.new), (1, 1));
    assert_eq!(
        exchanged.answer.messages.len(),
        1,
        "what is durable is acknowledged"
    );
    assert_eq!(site.collector.inbox(), 0..1);
}
