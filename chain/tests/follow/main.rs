//! The follower on a chain: what its users see, over reorganisations and restarts. Both on the development chain and on
//! Anvil; `evm` lists what Anvil is not asked.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

#[path = "../node/mod.rs"]
mod node;

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmClient, EvmRpc, EvmView, Fees, Transaction};
use peaberry_chain::follow::{
    Alarm, Change, ChangeKind, Changes, FollowConfig, FollowDriver, FollowError, Notice, Start,
};
use peaberry_chain::primitives::{Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Block, ChainId, Log, LogFilter, LogRange};
use peaberry_core::{
    MemoryNetwork, MemoryStorage, Next, Node, NodeThread, Order, PeerId, ScanLimit, Storage as _,
    SystemClock,
};
use tokio::task::JoinHandle;

use crate::node::{Lagging, Node as NodeOfChain, NodeKind, on_both};

on_both! {
    Ground::on =>
    a_chain_is_told_block_by_block
    a_reorganisation_is_told_as_removed_and_added
    a_restart_misses_nothing_and_repeats_what_was_not_acknowledged
    a_long_past_is_read_in_ranges
    a_final_block_that_changes_stops_it_for_good
    a_chain_is_followed_over_http
    a_node_that_is_behind_removes_nothing
    a_node_that_fails_is_told_of_once_and_its_recovery
    a_client_of_another_chain_is_refused
}

/// Whoever waits longer than this for a chain on this machine waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);
const FINAL_DEPTH: u64 = 8;

struct Ground {
    node: NodeOfChain,
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
    async fn on(kind: NodeKind) -> Self {
        let key = EvmKey::from_bytes(&[1; 32]).unwrap();
        let options = DevOptions {
            finalized_depth: FINAL_DEPTH,
            safe_depth: 4,
            ..DevOptions::default()
        };
        Self {
            node: NodeOfChain::of(kind, options.fund(key.evm_address())).await,
            key,
            next_nonce: 0,
            storage: Arc::new(MemoryStorage::new()),
        }
    }

    async fn client(&self) -> EvmClient {
        self.client_over(Arc::new(self.node.rpc.clone())).await
    }

    async fn client_over(&self, rpc: Arc<dyn EvmView>) -> EvmClient {
        EvmClient::connect(rpc, self.node.network()).await.unwrap()
    }

    async fn live(&self) -> Life {
        self.live_through(self.client().await, |config| config)
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
            ..FollowConfig::evm(&self.node.network(), LogFilter::default())
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
            chain: self.node.network().chain,
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
        self.node.rpc.broadcast(signed.raw()).await.unwrap();
        self.node.mine().await
    }

    /// What the chain says of its events now.
    async fn events(&self) -> Vec<Log> {
        let all = LogRange::Numbers(0..=self.node.head().await.number);
        let logs = self.node.rpc.logs(&LogFilter::default(), &all).await;
        logs.unwrap()
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

async fn notice(life: &mut Life) -> Result<Notice, Alarm> {
    let next = tokio::time::timeout(PATIENCE, life.changes.next()).await;
    next.expect("something is told").expect("the node runs")
}

/// The next change, of a node that answers.
async fn next(life: &mut Life) -> Result<Change, Alarm> {
    match notice(life).await? {
        Notice::Change(change) => Ok(change),
        other => panic!("{other:?}"),
    }
}

/// Every block and every event is told once, in order, and what is final is said.
async fn a_chain_is_told_block_by_block(mut ground: Ground) {
    let mut life = ground.live().await;
    let mut books = Books::default();
    for number in 0..20 {
        let tip = ground.event(number).await;
        if number % 3 == 0 {
            books.until(&mut life, tip).await;
        }
    }
    let tip = ground.node.head().await;
    books.until(&mut life, tip).await;
    assert_eq!(books.logs(), ground.events().await);
    assert_eq!(books.logs().len(), 20);
    assert!(books.removed.is_empty());
    // One more block brings the last word on what is final.
    let tip = ground.node.mine().await;
    books.until(&mut life, tip).await;
    while books.final_number != Some(tip.number - FINAL_DEPTH) {
        books.enter(&next(&mut life).await.unwrap());
    }
}

/// What is reorganised is told as removed, newest first, and then what stands in its place.
async fn a_reorganisation_is_told_as_removed_and_added(mut ground: Ground) {
    let mut life = ground.live().await;
    let mut books = Books::default();
    for number in 0..6 {
        ground.event(number).await;
    }
    books.until(&mut life, ground.node.head().await).await;
    ground.node.reorg_and_return(3).await;
    books.until(&mut life, ground.node.head().await).await;
    assert_eq!(books.removed, [6, 5, 4]);
    assert_eq!(books.logs(), ground.events().await);
    assert_eq!(books.logs().len(), 6, "all are on the chain again");
    ground.node.reorg(2).await;
    books.until(&mut life, ground.node.head().await).await;
    assert_eq!(books.logs(), ground.events().await);
}

/// What was reorganised while nobody looked is removed first; what was not acknowledged comes again, the same.
async fn a_restart_misses_nothing_and_repeats_what_was_not_acknowledged(mut ground: Ground) {
    let mut books = Books::default();
    let mut life = ground.live().await;
    for number in 0..3 {
        ground.event(number).await;
    }
    books.until(&mut life, ground.node.head().await).await;
    for number in 3..6 {
        ground.event(number).await;
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(next(&mut life).await.unwrap());
    }
    drop(life);
    // Down; and with it three blocks.
    ground.node.rollback(3).await;
    ground.next_nonce -= 3;
    ground.event(77).await;
    ground.node.mine_many(4).await;

    let mut life = ground.live().await;
    for change in &told {
        let again = next(&mut life).await.unwrap();
        assert_eq!(again, *change, "the same as before");
        books.enter(&again);
    }
    books.until(&mut life, ground.node.head().await).await;
    assert_eq!(books.removed, [6, 5, 4]);
    assert_eq!(books.logs(), ground.events().await);
}

/// Of a long final past only ranges are told, as wide as a node gives them.
async fn a_long_past_is_read_in_ranges(mut ground: Ground) {
    for number in 0..200 {
        ground.event(number).await;
        ground.node.mine().await;
    }
    let client = ground.client().await;
    let mut life = ground.live_through(client, |config| FollowConfig {
        range_max: 60,
        unacknowledged_max: 4,
        ..config
    });
    let mut books = Books::default();
    books.until(&mut life, ground.node.head().await).await;
    assert_eq!(books.logs(), ground.events().await);
    let widest = books
        .stack
        .iter()
        .map(|(first, block, _)| block.number - first);
    assert_eq!(widest.max(), Some(59));
}

/// A final block that changes is an alarm, in this life and in every later one, and nothing is told any more.
async fn a_final_block_that_changes_stops_it_for_good(mut ground: Ground) {
    let mut life = ground.live().await;
    let mut books = Books::default();
    for number in 0..20 {
        ground.event(number).await;
    }
    books.until(&mut life, ground.node.head().await).await;
    let tip = ground.node.mine().await;
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
    ground.node.reorg(FINAL_DEPTH + 1).await;
    let alarm = loop {
        match next(&mut life).await {
            Err(alarm) => break alarm,
            Ok(change) => books.enter(&change),
        }
    };
    assert_eq!((alarm.number, alarm.was), (number, was));
    drop(life);

    ground.node.mine_many(5).await;
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
async fn a_chain_is_followed_over_http(mut ground: Ground) {
    let client = EvmClient::http(&ground.node.url().await, ground.node.network()).await;
    let mut life = ground.live_through(client.unwrap(), |config| config);
    let mut books = Books::default();
    for number in 0..5 {
        ground.event(number).await;
    }
    books.until(&mut life, ground.node.head().await).await;
    ground.node.reorg_and_return(2).await;
    books.until(&mut life, ground.node.head().await).await;
    assert_eq!(books.removed, [5, 4]);
    assert_eq!(books.logs(), ground.events().await);
}

/// Half of the answers come from a node that lacks the newest blocks: nothing is removed for that, and nothing left out.
async fn a_node_that_is_behind_removes_nothing(mut ground: Ground) {
    let balancer = Lagging::new(Arc::new(ground.node.rpc.clone()));
    let client = ground.client_over(balancer.clone()).await;
    let mut life = ground.live_through(client, |config| config);
    let mut books = Books::default();
    for (round, blocks) in (0..).zip([1, 3, 7, 12]) {
        balancer.is_behind(blocks);
        let before = balancer.late_answers();
        for number in 0..6 {
            let tip = ground.event(6 * round + number).await;
            if number % 2 == 0 {
                books.until(&mut life, tip).await;
            }
        }
        while balancer.late_answers() < before + 40 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        books.until(&mut life, ground.node.head().await).await;
    }
    assert!(books.removed.is_empty(), "{:?}", books.removed);
    assert_eq!(books.logs(), ground.events().await);
    // What is really gone is removed all the same.
    ground.node.reorg(2).await;
    books.until(&mut life, ground.node.head().await).await;
    assert_eq!(books.removed.len(), 2, "{:?}", books.removed);
    assert_eq!(books.logs(), ground.events().await);
}

/// Once, with its reason, when it has failed for long; once, when it answers again; and then what has changed.
async fn a_node_that_fails_is_told_of_once_and_its_recovery(mut ground: Ground) {
    let balancer = Lagging::new(Arc::new(ground.node.rpc.clone()));
    let client = ground.client_over(balancer.clone()).await;
    let mut life = ground.live_through(client, |config| FollowConfig {
        stalled_after: Duration::from_millis(100),
        ..config
    });
    let mut books = Books::default();
    let tip = ground.event(1).await;
    books.until(&mut life, tip).await;
    balancer.fails(true);
    let tip = ground.event(2).await;
    let Notice::Stalled(stall) = notice(&mut life).await.unwrap() else {
        panic!("nobody answers");
    };
    assert!(stall.lasts >= Duration::from_millis(100), "{stall:?}");
    assert!(stall.why.to_string().contains("no connection"), "{stall:?}");
    let more = tokio::time::timeout(Duration::from_millis(300), life.changes.next()).await;
    assert!(more.is_err(), "once: {more:?}");
    balancer.fails(false);
    assert!(matches!(notice(&mut life).await, Ok(Notice::Resumed)));
    books.until(&mut life, tip).await;
    assert_eq!(books.logs(), ground.events().await);
}

/// All that is in the store.
fn everything(ground: &Ground) -> String {
    let limit = ScanLimit::count(1000);
    let (from, to) = (Bound::Unbounded, Bound::Unbounded);
    let all = ground.storage.scan(from, to, Order::Ascending, limit);
    format!("{:?}", all.unwrap())
}

/// Before anything is taken into the store.
async fn a_client_of_another_chain_is_refused(ground: Ground) {
    let before = everything(&ground);
    let client = Arc::new(ground.client().await);
    let mut node = Node::alone(ground.storage.clone(), Arc::new(SystemClock::new()));
    let config = FollowConfig {
        chain: ChainId::POLYGON,
        ..FollowConfig::evm(&ground.node.network(), LogFilter::default())
    };
    let refused = FollowDriver::install(&mut node, 0, config, &*ground.storage, client);
    let Err(FollowError::WrongChain { expected, found }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        [expected, found],
        [ChainId::POLYGON, ground.node.network().chain]
    );
    while node.turn() == Next::Again {}
    assert_eq!(everything(&ground), before);
}
