//! Nodes behind HTTP that hang, limit, garble and overwhelm: what is known afterwards, and that all is paid once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join;
use parking_lot::Mutex;
use peaberry_chain::evm::{EvmClient, JsonRpc, Transaction};
use peaberry_chain::outbox::Outcome;
use peaberry_chain::primitives::Bytes;
use peaberry_chain::{BlockAt, ChainError, EvmAddress, HttpEndpoint, HttpOptions, RpcTransport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::ground::{Ground, end, eventually};
use crate::node::{NodeKind, on_both};

on_both! {
    std::future::ready =>
    errors_say_whether_anything_may_have_been_sent
    errors_say_so_of_all_that_went_together
    all_is_paid_once_through_a_node_that_misbehaves
    all_is_paid_once_where_requests_go_together
    a_node_that_takes_no_batches_is_no_obstacle
    a_payment_goes_over_http
}

fn shop() -> EvmAddress {
    EvmAddress::repeat_byte(9)
}

/// What a node does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Answers,
    /// Never answers; the request is lost.
    Hangs,
    /// Carries the request out, and never answers.
    DoesAndHangs,
    /// Carries the request out, and cuts the connection.
    DoesAndBreaks,
    /// Answers 429 and looks at nothing.
    Limits,
    /// Carries the request out, and answers nonsense.
    Garbles,
    /// Carries the request out, and answers without end.
    Overwhelms,
    /// Says of batches that they are too large, as geth does, and answers everything else.
    RefusesBatches,
}

/// Those under which a transaction is not known to be taken.
const BAD_HABITS: [Habit; 6] = [
    Habit::Hangs,
    Habit::DoesAndHangs,
    Habit::DoesAndBreaks,
    Habit::Garbles,
    Habit::Overwhelms,
    Habit::Limits,
];

/// A node on loopback whose habits with transactions can be changed.
struct Node {
    url: String,
    habit: Arc<Mutex<Habit>>,
    /// How many requests have met another habit than that it answers.
    met: Arc<AtomicUsize>,
    /// How many batches have come.
    batches: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// Behaves so with requests whose text holds `method`, and well with all others.
    async fn start(chain: &Arc<dyn RpcTransport>, method: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let habit = Arc::new(Mutex::new(Habit::Answers));
        let met = Arc::<AtomicUsize>::default();
        let batches = Arc::<AtomicUsize>::default();
        let (chain, own) = (chain.clone(), habit.clone());
        let counts = [met.clone(), batches.clone()];
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (chain, habit, counts) = (chain.clone(), own.clone(), counts.clone());
                // Whoever hangs up has got what it wanted.
                tokio::spawn(async move { serve(stream, chain, method, habit, counts).await.ok() });
            }
        });
        Self {
            url,
            habit,
            met,
            batches,
            task,
        }
    }

    fn is_now(&self, habit: Habit) {
        *self.habit.lock() = habit;
    }
}

/// One request on a connection, as HTTP/1.1 has it.
async fn serve(
    mut stream: TcpStream,
    chain: Arc<dyn RpcTransport>,
    method: &str,
    habit: Arc<Mutex<Habit>>,
    [met, batches]: [Arc<AtomicUsize>; 2],
) -> std::io::Result<()> {
    let request = read_request(&mut stream).await?;
    let text = String::from_utf8_lossy(&request).into_owned();
    let habit = if text.contains(method) {
        *habit.lock()
    } else {
        Habit::Answers
    };
    let is_batch = request.starts_with(b"[");
    batches.fetch_add(usize::from(is_batch), Ordering::SeqCst);
    if habit != Habit::Answers {
        met.fetch_add(1, Ordering::SeqCst);
    }
    if habit == Habit::Hangs {
        return std::future::pending().await;
    }
    if habit == Habit::Limits {
        let answer =
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(answer.as_bytes()).await;
    }
    let answer = match habit {
        Habit::RefusesBatches if is_batch => Bytes::new(),
        _ => chain.exchange(Bytes::from(request)).await.unwrap(),
    };
    let head = |length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )
    };
    match habit {
        Habit::RefusesBatches if is_batch => {
            let refusal = br#"[{"jsonrpc":"2.0","id":0,"error":{"code":-32600,"message":"batch too large"}}]"#;
            stream.write_all(head(refusal.len()).as_bytes()).await?;
            stream.write_all(refusal).await
        }
        Habit::Answers | Habit::RefusesBatches => {
            stream.write_all(head(answer.len()).as_bytes()).await?;
            stream.write_all(&answer).await
        }
        Habit::DoesAndHangs => std::future::pending().await,
        Habit::Garbles => {
            let nonsense = br#"{"jsonrpc":"2.0","id":0,"result":{"beans":[]}}"#;
            stream.write_all(head(nonsense.len()).as_bytes()).await?;
            stream.write_all(nonsense).await
        }
        Habit::Overwhelms => {
            stream.write_all(head(1 << 30).as_bytes()).await?;
            loop {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
        Habit::DoesAndBreaks | Habit::Hangs | Habit::Limits => Ok(()),
    }
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend(&part[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().unwrap());
        if bytes.len() >= end + 4 + length {
            return Ok(bytes.split_off(end + 4));
        }
    }
}

async fn client_of(ground: &Ground, url: &str) -> EvmClient {
    client_with_batches_of(1, ground, url).await
}

async fn client_with_batches_of(
    batch_requests_max: usize,
    ground: &Ground,
    url: &str,
) -> EvmClient {
    let options = HttpOptions {
        answer_bytes_max: 64 << 10,
        batch_requests_max,
        ..HttpOptions::default()
    };
    let rpc = JsonRpc::endpoint(HttpEndpoint::new(url, options).unwrap())
        .with_answer_within(Duration::from_millis(300));
    ground.client_over(Arc::new(rpc)).await
}

/// Each way to fail is told apart, and says whether the transaction may be on its way.
async fn errors_say_whether_anything_may_have_been_sent(kind: NodeKind) {
    let ground = Ground::eager(kind).await;
    let node = Node::start(&ground.node.transport, "eth_").await;
    let client = client_of(&ground, &node.url).await;
    let payment = ground.payment("order 1", shop());
    let transaction = client.prepare(&payment.intent).await.unwrap();
    let signed = client.sign(ground.account(), &transaction).await.unwrap();
    for habit in BAD_HABITS {
        node.is_now(habit);
        let sending = client.rpc().broadcast(signed.raw()).await.unwrap_err();
        let fits = match habit {
            Habit::Hangs | Habit::DoesAndHangs => matches!(sending, ChainError::TimedOut { .. }),
            Habit::DoesAndBreaks => matches!(sending, ChainError::Connection { .. }),
            Habit::Garbles => matches!(sending, ChainError::Malformed { .. }),
            Habit::Overwhelms => matches!(sending, ChainError::TooLarge { .. }),
            Habit::Limits => matches!(sending, ChainError::RateLimited { .. }),
            Habit::Answers | Habit::RefusesBatches => false,
        };
        assert!(fits, "{habit:?}: {sending:?}");
        assert_eq!(
            sending.may_have_been_sent(),
            habit != Habit::Limits,
            "{habit:?}: {sending:?}"
        );
        if sending.may_have_been_sent() {
            let own = peaberry_chain::TxId::Evm(signed.hash());
            assert_eq!(sending.transaction(), Some(own), "{habit:?}");
            let reading = client.rpc().nonce(ground.account(), BlockAt::Latest).await;
            let reading = reading.unwrap_err();
            assert!(!reading.may_have_been_sent(), "{habit:?}: {reading:?}");
        }
    }
}

/// Of two transactions in one batch it is known no better, whatever a second try might bring.
async fn errors_say_so_of_all_that_went_together(kind: NodeKind) {
    for habit in BAD_HABITS.into_iter().chain([Habit::RefusesBatches]) {
        let ground = Ground::eager(kind).await;
        let node = Node::start(&ground.node.transport, "eth_sendRawTransaction").await;
        let client = client_with_batches_of(8, &ground, &node.url).await;
        let payment = ground.payment("order 1", shop());
        let first = client.prepare(&payment.intent).await.unwrap();
        let second = Transaction {
            nonce: first.nonce + 1,
            ..first.clone()
        };
        let first = client.sign(ground.account(), &first).await.unwrap();
        let second = client.sign(ground.account(), &second).await.unwrap();
        let rpc = client.rpc();
        let broadcast = async || {
            let both = join(rpc.broadcast(first.raw()), rpc.broadcast(second.raw()));
            <[_; 2]>::from(both.await)
        };

        node.is_now(habit);
        let batches = || node.batches.load(Ordering::SeqCst);
        let before = batches();
        let sent = broadcast().await;
        assert_eq!(batches(), before + 1, "{habit:?}");
        if habit == Habit::RefusesBatches {
            assert!(sent.iter().all(Result::is_ok), "{sent:?}");
            continue;
        }
        assert_eq!(node.met.load(Ordering::SeqCst), 1, "{habit:?}");
        for (sending, signed) in sent.into_iter().zip([&first, &second]) {
            let sending = sending.unwrap_err();
            let is_late = matches!(sending, ChainError::TimedOut { .. });
            let hangs = matches!(habit, Habit::Hangs | Habit::DoesAndHangs);
            assert_eq!(is_late, hangs, "{habit:?}: {sending:?}");
            assert!(sending.may_have_been_sent(), "{habit:?}: {sending:?}");
            let own = peaberry_chain::TxId::Evm(signed.hash());
            assert_eq!(sending.transaction(), Some(own), "{habit:?}");
        }
        node.is_now(Habit::Answers);
        eventually("both are included", async || {
            // Those that were taken then are too old by now.
            let _ = broadcast().await;
            let receipts = join(rpc.receipt(first.hash()), rpc.receipt(second.hash())).await;
            let is_there = |receipt: Result<_, _>| receipt.is_ok_and(|one| Option::is_some(&one));
            <[_; 2]>::from(receipts)
                .into_iter()
                .all(is_there)
                .then_some(())
        })
        .await;
    }
}

/// An outbox whose batches are all refused pays as any other.
async fn a_node_that_takes_no_batches_is_no_obstacle(kind: NodeKind) {
    let ground = Ground::eager(kind).await;
    let node = Node::start(&ground.node.transport, "eth_").await;
    node.is_now(Habit::RefusesBatches);
    let client = client_with_batches_of(8, &ground, &node.url).await;
    let life = ground.live(client);
    for order in 0..3 {
        let payment = ground.payment(&format!("order {order}"), shop());
        let mut stages = life.outbox.submit(payment).await.unwrap();
        let outcome = end(&ground, &mut stages).await;
        assert!(matches!(outcome, Outcome::Final(_)), "{outcome:?}");
    }
    assert_eq!(ground.payments_to(shop()).await, 3);
    let batches = node.batches.load(Ordering::SeqCst);
    assert!((1..=9).contains(&batches), "{batches} were tried");
}

/// Whatever a node does with transactions, once it behaves each intent has been carried out once.
async fn all_is_paid_once_through_a_node_that_misbehaves(kind: NodeKind) {
    all_is_paid_once(kind, 1).await;
}

/// So it is where an outbox's requests go together.
async fn all_is_paid_once_where_requests_go_together(kind: NodeKind) {
    all_is_paid_once(kind, 8).await;
}

async fn all_is_paid_once(kind: NodeKind, batch_requests_max: usize) {
    for habit in BAD_HABITS {
        let ground = Ground::eager(kind).await;
        let node = Node::start(&ground.node.transport, "eth_sendRawTransaction").await;
        let client = client_with_batches_of(batch_requests_max, &ground, &node.url).await;
        let life = ground.live(client);
        node.is_now(habit);
        let mut all = Vec::new();
        for order in 0..3 {
            let payment = ground.payment(&format!("order {order}"), shop());
            all.push(life.outbox.submit(payment).await.unwrap());
        }
        // Whoever is told to wait asks nothing meanwhile, and what goes together is met once.
        let is_one = habit == Habit::Limits || batch_requests_max > 1;
        let enough = if is_one { 1 } else { 3 };
        eventually("the node has been tried", async || {
            (node.met.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
        node.is_now(Habit::Answers);
        for stages in &mut all {
            let outcome = end(&ground, stages).await;
            assert!(matches!(outcome, Outcome::Final(_)), "{habit:?}");
        }
        assert_eq!(ground.payments_to(shop()).await, 3, "{habit:?}");
        assert_eq!(ground.nonce().await, 3, "{habit:?}");
        let has_batches = node.batches.load(Ordering::SeqCst) > 0;
        assert_eq!(has_batches, batch_requests_max > 1, "{habit:?}");
    }
}

/// The same over the shipped server, as any Ethereum tool sees the chain.
async fn a_payment_goes_over_http(kind: NodeKind) {
    let ground = Ground::eager(kind).await;
    let url = ground.node.url().await;
    let life = ground.live(client_of(&ground, &url).await);
    let payment = ground.payment("order 1", shop());
    let mut stages = life.outbox.submit(payment).await.unwrap();
    assert!(matches!(end(&ground, &mut stages).await, Outcome::Final(_)));
    assert_eq!(ground.payments_to(shop()).await, 1);
}
