//! What does peaberry's chain client cost over bare alloy, and how many transactions a second come out of it?
//!
//! Units: calls and transactions a second of wall time, and milliseconds from handing a transaction over to knowing its
//! block, because waiting for a node is the point. The node is one development chain in this process, behind HTTP on
//! loopback, with a thread of its own; every 10 ms it makes a block of what waits. Both sides talk to it, one after the
//! other. The peer is alloy as its users have it, over reqwest: `eth_call` and raw submission without fillers; its
//! recommended fillers with a receipt awaited for each transaction; and, by hand, nonces counted here, so many
//! transactions under way, and receipts asked for every 20 ms.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]

#[path = "chain/bare.rs"]
mod bare;
#[path = "chain/ours.rs"]
mod ours;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Stopwatch};

use peaberry_benches::versus::{Better, Comparison, Effort, Measure, interleave, report, write};
use peaberry_chain::EvmAddress;
use peaberry_chain::dev::{DevChain, DevOptions, DevServer, Mining};
use peaberry_chain::wallet::EvmKey;
use peaberry_core::SystemClock;
use tokio::runtime::{Builder, Runtime};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const PIPELINE: usize = 32;
const BLOCK_TIME: Duration = Duration::from_millis(10);

const CALL: &str = "eth_call of an account without code over HTTP on loopback, and the node's answer; ours through MultiChain, with a bound on time and size";
const RAW: &str = "signing a transfer with a nonce counted here, eth_sendRawTransaction over HTTP, and the node's execution and block; ours through MultiChain";
const RECEIPT: &str = "signing, sending and learning the block of one transfer, where a block is made every 10 ms; ours through the outbox, which looks every 5 ms, its requests of one moment in batches of at most 16, its journal synced to disk before each broadcast; alloy polls every 250 ms";
const FILLED: &str = "transfers signed, sent and receipted; ours through the outbox, 32 under way, its requests of one moment in batches of at most 16, its journal synced to disk before each broadcast, nonces and fees included; alloy's recommended fillers, one after the other";
const BY_HAND: &str = "transfers signed, sent and receipted, 32 under way, receipts asked for every 20 ms; ours through the outbox, its requests of one moment in batches of at most 16, its journal synced to disk before each broadcast, finality followed as well; alloy with nonces and fees set by hand, each request by itself, and no memory";

fn main() -> Result<(), Failure> {
    let effort = Effort::from_environment();
    let (servers, clients) = (runtime("node")?, runtime("client")?);
    let chain = DevChain::new(ground());
    let server = servers.block_on(serve(&chain))?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let ours = clients.block_on(ours::Ours::connect(&server.url(), &chain, folder.path()))?;
    let bare = bare::Bare::connect(&server.url(), &chain)?;
    let time = effort.run_time();
    let mut measures = Vec::new();

    for (count, words) in [
        (1, "eth_call/s, one by one"),
        (PIPELINE, "eth_call/s, 32 under way"),
    ] {
        let comparison = interleave(
            effort.pairs(),
            Better::More,
            || clients.block_on(rate(time, count, || ours.call())),
            || clients.block_on(rate(time, count, || bare.call())),
        );
        measures.push(told(words, "1/s", "alloy", CALL, &comparison));
    }

    let comparison = interleave(
        effort.pairs(),
        Better::More,
        || clients.block_on(rate(time, PIPELINE, || ours.send_raw())),
        || clients.block_on(rate(time, PIPELINE, || bare.send_raw())),
    );
    let words = "transactions submitted/s, 32 under way";
    measures.push(told(words, "1/s", "alloy", RAW, &comparison));

    let comparison = interleave(
        effort.pairs(),
        Better::Less,
        || clients.block_on(mean_ms(8, || ours.pay())),
        || clients.block_on(mean_ms(2, || bare.pay_filled())),
    );
    let words = "receipt latency, local chain";
    measures.push(told(words, "ms", "alloy", RECEIPT, &comparison));

    let comparison = interleave(
        effort.pairs(),
        Better::More,
        || clients.block_on(rate(time, PIPELINE, || ours.pay())),
        || clients.block_on(rate(time, 1, || bare.pay_filled())),
    );
    let words = "transactions receipted/s, against fillers";
    measures.push(told(words, "1/s", "alloy", FILLED, &comparison));

    let comparison = interleave(
        effort.pairs(),
        Better::More,
        || clients.block_on(rate(time, PIPELINE, || ours.pay())),
        || clients.block_on(rate(time, PIPELINE, || bare.pay_by_hand())),
    );
    let words = "transactions receipted/s, 32 under way";
    measures.push(told(words, "1/s", "alloy, by hand", BY_HAND, &comparison));

    write("chain_submit", effort, &measures)?;
    Ok(())
}

async fn serve(chain: &DevChain) -> std::io::Result<DevServer> {
    let server = DevServer::start(chain.clone(), 0).await?;
    let clock = Arc::new(SystemClock::new());
    Ok(server.with_interval(clock, BLOCK_TIME))
}

/// The measure, printed.
fn told(words: &str, unit: &str, peer: &str, includes: &str, comparison: &Comparison) -> Measure {
    let measure = Measure::new(words, unit, peer, includes, comparison);
    report(&measure, comparison);
    measure
}

fn runtime(name: &str) -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    Ok(builder
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()?)
}

/// Accounts that never meet: each way of sending counts its own nonces.
const KEYS: [u8; 5] = [1, 2, 3, 4, 5];

fn key(number: u8) -> EvmKey {
    EvmKey::from_bytes(&[number; 32]).expect("a key")
}

fn ground() -> DevOptions {
    let options = DevOptions {
        finalized_depth: 64,
        mining: Mining::OnDemand,
        ..DevOptions::default()
    };
    let accounts = KEYS.iter().map(|number| key(*number).evm_address());
    accounts.fold(options, DevOptions::fund)
}

/// Who is paid: an account that is there already.
fn shop() -> EvmAddress {
    key(5).evm_address()
}

/// Times a second that `act` is done, `count` at a time.
async fn rate<F: Future<Output = ()>>(time: Duration, count: usize, act: impl Fn() -> F) -> f64 {
    let start = Stopwatch::now();
    let done = AtomicU64::new(0);
    let work = || async {
        while start.elapsed() < time {
            act().await;
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    futures_util::future::join_all((0..count).map(|_| work())).await;
    let done = u32::try_from(done.load(Ordering::Relaxed)).expect("a run is short");
    f64::from(done) / start.elapsed().as_secs_f64()
}

/// Milliseconds that `act` takes, the mean of so many.
async fn mean_ms<F: Future<Output = ()>>(count: u32, act: impl Fn() -> F) -> f64 {
    let start = Stopwatch::now();
    for _ in 0..count {
        act().await;
    }
    start.elapsed().as_secs_f64() * 1000.0 / f64::from(count)
}
