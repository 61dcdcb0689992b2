//! The follower on a chain in the process: what its users see, over reorganisations and restarts.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers fail as loudly as the test"
)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use peaberry_chain::dev::{DevChain, DevOptions, DevServer, Mining, Undone};
use peaberry_chain::evm::{EvmClient, Fees, Transaction};
use peaberry_chain::follow::{
    Alarm, Change, ChangeKind, Changes, FollowConfig, FollowDriver, Start,
};
use peaberry_chain::primitives::{Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Block, ChainClient, Log, LogFilter, LogRange};
use peaberry_core::{MemoryNetwork, MemoryStorage, Node, NodeThread, PeerId, SystemClock};
use tokio::task::JoinHandle;

/// Whoever waits longer than this for a chain in the process waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);
const FINAL_DEPTH: u64 = 8;

struct Ground {
    chain: DevChain,
    key: EvmKey,
    next_nonce: u64,
    storage: Arc<MemoryStorage>,
}

/// A process with a follower. Dropping it is the end of the process.
struct Life {
    changes: Changes,
    _node: NodeThread,
    driver: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Ground {
    fn new() -> Self {
        let key = EvmKey::from_bytes(&[1; 32]).unwrap();
        let options = DevOptions {
            mining: Mining::OnDemand,
            finalized_depth: FINAL_DEPTH,
            safe_depth: 4,
            ..DevOptions::default()
        };
        Self {
            chain: DevChain::new(options.fund(key.evm_address())),
            key,
            next_nonce: 0,
            storage: Arc::new(MemoryStorage::new()),
        }
    }

    async fn live(&self) -> Life {
        self.live_through(self.chain.client().await.unwrap(), |config| config)
    }

    fn live_through(
        &self,
        client: EvmClient,
        change: impl FnOnce(FollowConfig) -> FollowConfig,
    ) -> Life {
        let transport = MemoryNetwork::new().join(PeerId::new(1).unwrap());
        let clock = Arc::new(SystemClock::new());
        let mut node = Node::new(Arc::new(transport), self.storage.clone(), clock);
        let config = FollowConfig {
            start: Start::At(0),
            poll_every: Duration::from_millis(10),
            ..FollowConfig::evm(&self.chain.network(), LogFilter::default())
        };
        let client = Arc::new(client);
        let (changes, driver) =
            FollowDriver::install(&mut node, 0, change(config), &*self.storage, client).unwrap();
        Life {
            changes,
            _node: node.spawn("follower").unwrap(),
            driver: tokio::spawn(driver),
        }
    }

    /// A block with an event that carries `number`.
    async fn event(&mut self, number: u8) -> Block {
        // PUSH1 number, PUSH0, MSTORE; PUSH1 32, PUSH0, LOG0; STOP.
        let code = vec![0x60, number, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xa0, 0x00];
        let transaction = Transaction {
            chain: self.chain.network().chain,
            nonce: self.next_nonce,
            gas_limit: 200_000,
            fees: Fees::Eip1559 {
                fee_max: 10_000_000_000,
                tip_max: 1_000_000_000,
            },
            to: None,
            value: U256::ZERO,
            data: Bytes::from(code),
        };
        self.next_nonce += 1;
        let signed = transaction.sign(&self.key).await.unwrap();
        self.chain.submit(signed.raw()).unwrap();
        self.chain.mine()
    }

    /// What the chain says of its events now.
    async fn events(&self) -> Vec<Log> {
        let client = self.chain.client().await.unwrap();
        let all = LogRange::Numbers(0..=self.chain.head().number);
        client.logs(&LogFilter::default(), &all).await.unwrap()
    }
}

/// What was told, applied.
#[derive(Debug, Default)]
struct Books {
    next: u64,
    stack: Vec<(u64, Block, Vec<Log>)>,
    removed: Vec<u64>,
    final_number: Option<u64>,
}

impl Books {
    fn enter(&mut self, change: &Change) {
        assert_eq!(change.number, self.next + 1, "no change is left out");
        self.next = change.number;
        match &change.kind {
            ChangeKind::Added { first, block, logs } => {
                if let Some((_, tip, _)) = self.stack.last() {
                    assert_eq!(*first, tip.number + 1);
                    assert!(*first < block.number || block.parent == tip.hash);
                }
                self.stack.push((*first, *block, logs.clone()));
            }
            ChangeKind::Removed { block, logs } => {
                let (_, tip, had) = self.stack.pop().unwrap();
                assert_eq!((&tip, &had), (block, logs), "the tip, as it was added");
                self.removed.push(block.number);
            }
            ChangeKind::Finalized { block } => self.final_number = Some(block.number),
        }
    }

    fn logs(&self) -> Vec<Log> {
        self.stack
            .iter()
            .flat_map(|(_, _, logs)| logs.clone())
            .collect()
    }

    /// Reads and acknowledges until `tip` is the newest block.
    async fn until(&mut self, life: &mut Life, tip: Block) {
        while self.stack.last().map(|(_, block, _)| block.hash) != Some(tip.hash) {
            let change = next(life).await.unwrap();
            self.enter(&change);
            life.changes.acknowledge(change.number);
        }
    }
}

async fn next(life: &mut Life) -> Result<Change, Alarm> {
    let next = tokio::time::timeout(PATIENCE, life.changes.next()).await;
    next.expect("something is told").expect("the node runs")
}

/// Every block and every event is told once, in order, and what is final is said.
#[tokio::test]
async fn a_chain_is_told_block_by_block() {
    let mut ground = Ground::new();
    let mut life = ground.live().await;
    let mut books = Books::default();
    for number in 0..20 {
        let tip = ground.event(number).await;
        if number % 3 == 0 {
            books.until(&mut life, tip).await;
        }
    }
    let tip = ground.chain.head();
    books.until(&mut life, tip).await;
    assert_eq!(books.logs(), ground.events().await);
    assert_eq!(books.logs().len(), 20);
    assert!(books.removed.is_empty());
    // One more block brings the last word on what is final.
    let tip = ground.chain.mine();
    books.until(&mut life, tip).await;
    while books.final_number != Some(tip.number - FINAL_DEPTH) {
        books.enter(&next(&mut life).await.unwrap());
    }
}

/// What is reorganised is told as removed, newest first, and then what stands in its place.
#[tokio::test]
async fn a_reorganisation_is_told_as_removed_and_added() {
    let mut ground = Ground::new();
    let mut life = ground.live().await;
    let mut books = Books::default();
    for number in 0..6 {
        ground.event(number).await;
    }
    books.until(&mut life, ground.chain.head()).await;
    ground.chain.reorg(3, Undone::Return);
    books.until(&mut life, ground.chain.head()).await;
    assert_eq!(books.removed, [6, 5, 4]);
    assert_eq!(books.logs(), ground.events().await);
    assert_eq!(books.logs().len(), 6, "all are on the chain again");
    ground.chain.reorg(2, Undone::Drop);
    books.until(&mut life, ground.chain.head()).await;
    assert_eq!(books.logs(), ground.events().await);
}

/// What was reorganised while nobody looked is removed first; what was not acknowledged comes again, the same.
#[tokio::test]
async fn a_restart_misses_nothing_and_repeats_what_was_not_acknowledged() {
    let mut ground = Ground::new();
    let mut books = Books::default();
    let mut life = ground.live().await;
    for number in 0..3 {
        ground.event(number).await;
    }
    books.until(&mut life, ground.chain.head()).await;
    for number in 3..6 {
        ground.event(number).await;
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(next(&mut life).await.unwrap());
    }
    drop(life);
    // Down; and with it three blocks.
    ground.chain.rewind(3, Undone::Drop);
    ground.next_nonce -= 3;
    ground.event(77).await;
    ground.chain.mine_many(4);

    let mut life = ground.live().await;
    for change in &told {
        let again = next(&mut life).await.unwrap();
        assert_eq!(again, *change, "the same as before");
        books.enter(&again);
    }
    books.until(&mut life, ground.chain.head()).await;
    assert_eq!(books.removed, [6, 5, 4]);
    assert_eq!(books.logs(), ground.events().await);
}

/// Of a long final past only ranges are told, as wide as a node gives them.
#[tokio::test]
async fn a_long_past_is_read_in_ranges() {
    let mut ground = Ground::new();
    for number in 0..200 {
        ground.event(number).await;
        ground.chain.mine_many(1);
    }
    let client = ground.chain.client().await.unwrap();
    let mut life = ground.live_through(client, |config| FollowConfig {
        range_max: 60,
        unacknowledged_max: 4,
        ..config
    });
    let mut books = Books::default();
    books.until(&mut life, ground.chain.head()).await;
    assert_eq!(books.logs(), ground.events().await);
    let widest = books
        .stack
        .iter()
        .map(|(first, block, _)| block.number - first);
    assert_eq!(widest.max(), Some(59));
}

/// A final block that changes is an alarm, in this life and in every later one, and nothing is told any more.
#[tokio::test]
async fn a_final_block_that_changes_stops_it_for_good() {
    let mut ground = Ground::new();
    let mut life = ground.live().await;
    let mut books = Books::default();
    for number in 0..20 {
        ground.event(number).await;
    }
    books.until(&mut life, ground.chain.head()).await;
    let tip = ground.chain.mine();
    books.until(&mut life, tip).await;
    while books.final_number != Some(tip.number - FINAL_DEPTH) {
        books.enter(&next(&mut life).await.unwrap());
    }
    let number = books.final_number.unwrap();
    let was = books
        .stack
        .iter()
        .find(|(_, block, _)| block.number == number);
    let was = was.unwrap().1.hash;
    ground.chain.reorg(FINAL_DEPTH + 1, Undone::Drop);
    let alarm = loop {
        match next(&mut life).await {
            Err(alarm) => break alarm,
            Ok(change) => books.enter(&change),
        }
    };
    assert_eq!((alarm.number, alarm.was), (number, was));
    drop(life);

    ground.chain.mine_many(5);
    let mut life = ground.live().await;
    // What was told and not acknowledged is told still, and behind it only the alarm.
    let again = loop {
        match next(&mut life).await {
            Err(alarm) => break alarm,
            Ok(change) => assert!(change.number <= books.next),
        }
    };
    assert_eq!(again, alarm);
    life.changes.wake();
    let more = tokio::time::timeout(Duration::from_millis(200), life.changes.next()).await;
    assert!(more.is_err(), "{more:?}");
}

/// The same through HTTP.
#[tokio::test]
async fn a_chain_is_followed_over_http() {
    let mut ground = Ground::new();
    let server = DevServer::start(ground.chain.clone(), 0).await.unwrap();
    let client = EvmClient::http(&server.url(), ground.chain.network()).await;
    let mut life = ground.live_through(client.unwrap(), |config| config);
    let mut books = Books::default();
    for number in 0..5 {
        ground.event(number).await;
    }
    books.until(&mut life, ground.chain.head()).await;
    ground.chain.reorg(2, Undone::Return);
    books.until(&mut life, ground.chain.head()).await;
    assert_eq!(books.removed, [5, 4]);
    assert_eq!(books.logs(), ground.events().await);
}
