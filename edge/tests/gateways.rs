//! What gateways subscribe to: what is for the devices they carry, and nothing else. In memory, and with Mosquitto where it is
//! installed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test ends at what should not be"
)]

mod broker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use peaberry_core::{Channel, Clock, Instant, MemoryStorage, SystemClock};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::device::Device;
use peaberry_edge::fleet::{Fleet, FleetEvent, FleetSettings};
use peaberry_edge::payload::{Action, Command, Wire};
use peaberry_edge::topic::{Lane, Topic};
use peaberry_edge::uplink::{
    LayeredUplink, MemoryBroker, MemoryUplink, Message, MqttSettings, MqttUplink, MqttVersion,
    Uplink, UplinkEvent, UplinkLayer,
};
use peaberry_edge::{EdgeError, Name};

use self::broker::Broker;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn rinse(site: &str, device: &str) -> Message {
    let topic = Topic {
        site: name(site),
        device: name(device),
        lane: Lane::Commands,
    };
    let command = Command {
        device: name(device),
        action: Action::Custom {
            name: name("rinse"),
            bytes: b"now".as_slice().into(),
        },
    };
    Message::new(topic.to_string(), command.encode())
}

/// Counts what comes in, by a broker that may let nobody hear what is for one device.
struct Watched<U> {
    inner: U,
    inbound: Arc<AtomicUsize>,
    denies: Option<&'static str>,
    denied: Vec<UplinkEvent>,
}

impl<U: Uplink> UplinkLayer for Watched<U> {
    fn inner(&self) -> &dyn Uplink {
        &self.inner
    }

    fn inner_mut(&mut self) -> &mut dyn Uplink {
        &mut self.inner
    }

    fn subscribe(&mut self, filter: &str) {
        self.subscribe_now(&mut [filter.to_owned()].into_iter());
    }

    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        let Some(device) = self.denies else {
            return self.inner.subscribe_now(filters);
        };
        let is_denied = |filter: &String| filter.split('/').any(|level| level == device);
        let (denied, asked): (Vec<_>, Vec<_>) = filters.partition(is_denied);
        let count = denied.len() + asked.len();
        self.denied.extend(denied.into_iter().map(|filter| {
            let (filter, reason) = (filter.into(), "NotAuthorized".into());
            UplinkEvent::NotSubscribed { filter, reason }
        }));
        self.inner.subscribe_now(&mut asked.into_iter());
        count
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        if !self.denied.is_empty() {
            events.append(&mut self.denied);
            return Poll::Ready(());
        }
        let before = events.len();
        let polled = self.inner.poll_events(cx, events);
        let is_inbound = |event: &&UplinkEvent| matches!(event, UplinkEvent::Inbound { .. });
        let inbound = events.iter().skip(before).filter(is_inbound).count();
        self.inbound.fetch_add(inbound, Ordering::Relaxed);
        polled
    }
}

/// The devices of one process, over some gateways.
struct Gateways<U: Uplink> {
    fleet: Fleet<LayeredUplink<Watched<U>>>,
    inbound: Vec<Arc<AtomicUsize>>,
    events: Vec<FleetEvent<Name>>,
}

impl<U: Uplink> Gateways<U> {
    fn open(uplinks: impl IntoIterator<Item = U>, devices: &[String]) -> Self {
        Self::open_where(None, uplinks, devices)
    }

    fn open_where(
        denies: Option<&'static str>,
        uplinks: impl IntoIterator<Item = U>,
        devices: &[String],
    ) -> Self {
        let mut inbound = Vec::new();
        let count = |inner| {
            let counter: Arc<AtomicUsize> = Arc::default();
            inbound.push(counter.clone());
            LayeredUplink::new(Watched {
                inner,
                inbound: counter,
                denies,
                denied: Vec::new(),
            })
        };
        let uplinks = uplinks.into_iter().map(count).collect();
        let devices = devices.iter().map(|device| {
            Device::builder(name(device)).heartbeat_every(Duration::from_secs(3_600))
        });
        let storage = Arc::new(MemoryStorage::new());
        let (site, settings) = (name("site"), FleetSettings::salted(0));
        let now = Instant::default();
        let fleet = Fleet::open_over(uplinks, site, storage, devices, settings, now).unwrap();
        Self {
            fleet,
            inbound,
            events: Vec::new(),
        }
    }

    fn turn(&mut self, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        self.fleet.turn(&mut cx, now, &mut self.events).unwrap();
    }

    /// Which devices have rinsed since this was asked last.
    fn rinsed(&mut self) -> Vec<Name> {
        let events = self.events.drain(..);
        let rinsed = events.filter_map(|event| match event {
            FleetEvent::Custom { device, .. } => Some(device),
            _ => None,
        });
        rinsed.collect()
    }

    /// How many messages each gateway has had since this was asked last.
    fn inbound(&self) -> Vec<usize> {
        let counters = self.inbound.iter();
        counters.map(|it| it.swap(0, Ordering::Relaxed)).collect()
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}-{at}")).collect()
}

fn send(customer: &mut MemoryUplink, message: Message) {
    customer.submit(1, message).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let _ = customer.poll_events(&mut cx, &mut Vec::new());
}

/// Two processes of two gateways each, on one broker that dies and forgets every session.
#[test]
fn a_gateway_hears_what_is_for_its_devices_and_nothing_else() {
    const DEVICES: usize = 150;
    let broker = MemoryBroker::new(1);
    let mut customer = broker.connect("customer");
    let mut processes = ["a", "b"].map(|process| {
        let uplinks = [0, 1].map(|at| broker.connect(&format!("{process}-{at}")));
        (
            names(process, DEVICES),
            Gateways::open(uplinks, &names(process, DEVICES)),
        )
    });
    let mut now = Instant::default();
    for round in 0..3 {
        for (_, gateways) in &mut processes {
            now += Duration::from_secs(1);
            gateways.turn(now);
            gateways.rinsed();
        }
        for device in processes.iter().flat_map(|(devices, _)| devices) {
            send(&mut customer, rinse("site", device));
        }
        for (devices, gateways) in &mut processes {
            now += Duration::from_secs(1);
            gateways.turn(now);
            let expected: BTreeSet<_> = devices.iter().map(|device| name(device)).collect();
            let rinsed = gateways.rinsed();
            assert_eq!(rinsed.len(), DEVICES, "each once, in round {round}");
            assert_eq!(BTreeSet::from_iter(rinsed), expected);
            assert_eq!(gateways.inbound(), [DEVICES / 2, DEVICES / 2]);
            assert_eq!(gateways.fleet.status().refused_messages, 0);
        }
        broker.kill();
        broker.start();
    }
}

#[test]
fn what_is_for_another_site_or_a_device_of_others_is_refused_by_name_and_counted() {
    let broker = MemoryBroker::new(1);
    let mut customer = broker.connect("customer");
    let mut uplink = broker.connect("gateway");
    // What somebody's session, or somebody's hand, has left behind.
    uplink.subscribe("peaberry/1/+/+/down/#");
    let mut gateways = Gateways::open([uplink], &names("m", 2));
    gateways.turn(Instant::default());
    gateways.rinsed();
    send(&mut customer, rinse("elsewhere", "m-0"));
    send(&mut customer, rinse("site", "stranger"));
    send(&mut customer, rinse("site", "m-1"));
    gateways.turn(Instant::default());
    let refused = gateways.events.iter().filter_map(|event| match event {
        FleetEvent::Refused { device, error } => Some((device.clone(), error.to_string())),
        _ => None,
    });
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    for (at, device, words) in [
        (0, "m-0", "for m-0 of site elsewhere"),
        (1, "stranger", "for stranger of site site"),
    ] {
        assert_eq!(refused[at].0, Some(name(device)));
        assert!(refused[at].1.contains(words), "{refused:?}");
    }
    assert_eq!(gateways.rinsed(), [name("m-1")]);
    assert_eq!(gateways.fleet.status().refused_messages, 2);
}

/// The devices are in another order than in the start before, so each goes by the other gateway; and one is gone.
#[test]
fn a_device_that_moved_hears_what_waited_for_it_elsewhere_and_its_old_session_leaves_it() {
    let broker = MemoryBroker::new(1);
    let mut customer = broker.connect("customer");
    let connect = || ["gw-0", "gw-1"].map(|gateway| broker.connect(gateway));
    let mut before = Gateways::open(connect(), &["a", "b", "gone"].map(String::from));
    before.turn(Instant::default());
    drop(before);
    broker.cut("gw-0");
    broker.cut("gw-1");
    for device in ["a", "b", "gone"] {
        send(&mut customer, rinse("site", device));
    }
    let mut after = Gateways::open(connect(), &["b", "a"].map(String::from));
    after.turn(Instant::default());
    assert!(after.events.iter().any(|event| matches!(
        event,
        FleetEvent::Refused { error: EdgeError::NotCarried { device, .. }, .. } if device == "gone"
    )));
    assert_eq!(
        BTreeSet::from_iter(after.rinsed()),
        [name("a"), name("b")].into()
    );
    assert_eq!(after.fleet.status().refused_messages, 1);
    after.inbound();
    for device in ["a", "b", "gone"] {
        send(&mut customer, rinse("site", device));
    }
    after.turn(Instant::default());
    assert_eq!(after.rinsed().len(), 2);
    assert_eq!(after.inbound(), [1, 1], "nobody else's");
    assert_eq!(after.fleet.status().refused_messages, 1);
}

#[test]
fn a_device_that_may_not_hear_is_named() {
    let uplink = MemoryBroker::new(1).connect("gateway");
    let mut gateways = Gateways::open_where(Some("m-1"), [uplink], &names("m", 3));
    for second in 0..3 {
        gateways.turn(Instant::default() + Duration::from_secs(second));
    }
    let refused = gateways.events.iter().filter_map(|event| match event {
        FleetEvent::Refused { device, error } => Some((device.clone(), error.to_string())),
        _ => None,
    });
    let words = "the broker refused the subscription to peaberry/1/site/m-1/down/#: NotAuthorized";
    assert_eq!(
        refused.collect::<Vec<_>>(),
        [(Some(name("m-1")), words.to_owned())]
    );
}

#[test]
fn a_collector_that_may_not_hear_says_so() {
    let storage = MemoryStorage::new();
    let (owner, settings) = (Channel::new(COLLECTOR, 0), CollectorSettings::default());
    let collector = Collector::open(&storage, owner, name("site"), settings).unwrap();
    let uplink = Watched {
        inner: MemoryBroker::new(1).connect("office"),
        inbound: Arc::default(),
        denies: Some("site"),
        denied: Vec::new(),
    };
    let mut intake = Intake::new(collector, LayeredUplink::new(uplink));
    let mut cx = Context::from_waker(Waker::noop());
    let turned = intake.turn(&mut cx, Instant::default(), &storage).unwrap();
    let Poll::Ready(report) = turned else {
        panic!("it has something to say");
    };
    let refused = report.refusals.iter().map(|(_, error)| error.to_string());
    let words = "the broker refused the subscription to peaberry/1/site/+/up/#: NotAuthorized";
    assert_eq!(refused.collect::<Vec<_>>(), [words]);
}

/// Many devices on few connections, whose windows are smaller than what they have to ask for, to a broker that dies.
#[test]
fn mosquitto_gives_each_gateway_what_is_for_its_devices() {
    const DEVICES: usize = 1_000;
    const GATEWAYS: usize = 4;
    let config = "max_packet_size 4096\nmax_queued_messages 0".to_owned();
    let Some(mut broker) = Broker::start(|_| config) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for version in [MqttVersion::V4, MqttVersion::V5] {
        let connect = |id: &str| {
            let mut settings = MqttSettings::new(id, "127.0.0.1", broker.port);
            settings.version = version;
            settings.window = 2;
            settings.backoff_max = Duration::from_millis(200);
            MqttUplink::spawn(runtime.handle(), settings).unwrap()
        };
        let uplinks = (0..GATEWAYS).map(|at| connect(&format!("{version:?}-{at}")));
        let mut gateways = Gateways::open(uplinks, &names("m", DEVICES));
        let mut customer = connect(&format!("{version:?}-customer"));
        for _ in 0..2 {
            all_rinse(&mut gateways, &mut customer, DEVICES);
            let inbound = gateways.inbound();
            assert!(
                inbound.iter().all(|it| *it <= 2 * DEVICES / GATEWAYS),
                "{inbound:?}"
            );
            broker.kill_and_restart();
        }
        assert_eq!(gateways.fleet.status().refused_messages, 0);
    }
}

/// Sends each device its command until all have rinsed: a broker forgets what it has no subscription for yet.
fn all_rinse<U: Uplink, V: Uplink>(gateways: &mut Gateways<U>, customer: &mut V, devices: usize) {
    let clock = SystemClock::new();
    let began = clock.now();
    let mut missing: BTreeSet<_> = names("m", devices).iter().map(|it| name(it)).collect();
    let mut unsent: Vec<Name> = Vec::new();
    let mut sent_at = None;
    while !missing.is_empty() {
        let now = clock.now();
        assert!(now.since(began) < PATIENCE, "{} are deaf", missing.len());
        gateways.turn(now);
        for device in gateways.rinsed() {
            missing.remove(&device);
        }
        let mut cx = Context::from_waker(Waker::noop());
        let _ = customer.poll_events(&mut cx, &mut Vec::new());
        if unsent.is_empty() && sent_at.is_none_or(|at| now.since(at) > Duration::from_secs(2)) {
            sent_at = Some(now);
            unsent.extend(missing.iter().cloned());
        }
        while customer.room() > 0
            && let Some(device) = unsent.pop()
        {
            customer.submit(1, rinse("site", device.as_str())).unwrap();
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
