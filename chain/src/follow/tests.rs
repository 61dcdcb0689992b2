//! Single decisions, one answer at a time.

use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use async_trait::async_trait;
use peaberry_core::{
    Batch, Channel, Durability, EffectsBuffer, Input, Instant, MemoryStorage, Protocol, Storage,
};

use super::walk::{Known, Path, Step, Walk, step_along};
use super::{Change, Cursor, FOLLOW, Follow, FollowCommand, FollowConfig, FollowEvent, Start};
use crate::{
    Address, Amount, Asset, Block, BlockAt, CallRequest, ChainClient, ChainError, ChainId,
    Estimate, Finality, Intent, Log, LogFilter, LogRange, Sent, TransactionStatus, TxId, one_node,
};

/// What was told beside changes.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Stalled(Duration),
    Resumed,
}

struct Rig {
    follow: Follow,
    storage: MemoryStorage,
    now: Instant,
    walks: Vec<Walk>,
    changes: Vec<Change>,
    alarms: usize,
    said: Vec<Said>,
}

fn channel() -> Channel {
    Channel::new(FOLLOW, 0)
}

fn config() -> FollowConfig {
    FollowConfig {
        chain: ChainId::POLYGON,
        filter: LogFilter::default(),
        start: Start::At(1),
        poll_every: Duration::from_millis(10),
        ring_max: 1024,
        unacknowledged_max: 1024,
        range_max: 2_000,
        stalled_after: Duration::from_secs(30),
    }
}

fn hash(fork: u8, number: u64) -> B256 {
    let mut hash = B256::left_padding_from(&number.to_be_bytes());
    hash[0] = fork;
    hash
}

fn block(fork: u8, number: u64) -> Block {
    Block {
        number,
        hash: hash(fork, number),
        parent: hash(fork, number - 1),
        timestamp_s: number,
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: FollowConfig) -> Self {
        let storage = MemoryStorage::new();
        let mut rig = Self {
            follow: Follow::open(channel(), config, &storage).unwrap(),
            storage,
            now: Instant::default(),
            walks: Vec::new(),
            changes: Vec::new(),
            alarms: 0,
            said: Vec::new(),
        };
        rig.turn(Vec::new());
        rig
    }

    fn restart(&mut self) {
        self.follow = Follow::open(channel(), config(), &self.storage).unwrap();
        self.walks.clear();
        self.changes.clear();
        self.turn(Vec::new());
    }

    fn turn(&mut self, inputs: Vec<Input<FollowCommand>>) {
        let mut buffer = EffectsBuffer::new(channel());
        for input in inputs {
            let stepped = self.follow.step(self.now, input, &mut buffer.effects());
            stepped.unwrap();
        }
        let settled = self.follow.settle(self.now, &mut buffer.effects());
        settled.unwrap();
        self.storage
            .commit(buffer.batch(), Durability::Synced)
            .unwrap();
        for event in buffer.events().iter().chain(buffer.events_after_commit()) {
            match event {
                FollowEvent::Walk(walk) => self.walks.push(walk.clone()),
                FollowEvent::Change(change) => self.changes.push(change.clone()),
                FollowEvent::Alarm(_) => self.alarms += 1,
                FollowEvent::Stalled(stall) => self.said.push(Said::Stalled(stall.lasts)),
                FollowEvent::Resumed => self.said.push(Said::Resumed),
            }
        }
    }

    /// The next walk, answered; time goes by until there is one.
    fn walk(&mut self, result: Result<Step, ChainError>) -> Walk {
        if self.walks.is_empty() {
            self.now += Duration::from_secs(5);
            self.turn(vec![Input::Timeout]);
        }
        let walk = self.walks.remove(0);
        let answer = FollowCommand::Answer {
            number: walk.number,
            result: Box::new(result),
        };
        self.turn(vec![Input::Command(answer)]);
        walk
    }

    fn acknowledge(&mut self, number: u64) {
        let command = FollowCommand::Acknowledge(number);
        self.turn(vec![Input::Command(command)]);
    }

    fn begin(&mut self, last: u64) {
        let blocks = (1..=last).map(|number| (block(0, number), Vec::new()));
        self.walk(Ok(Step::Path(Path {
            final_block: Some(block(0, 1)),
            ancestor: None,
            blocks: blocks.collect(),
        })));
    }
}

/// What the application has committed is never told again, whatever the follower heard of it, and in whatever order.
#[test]
fn an_acknowledgement_that_comes_late_does_not_set_the_applications_cursor_back() {
    let mut rig = Rig::new();
    rig.begin(6);
    assert!(rig.changes.len() >= 6);
    let mut batch = Batch::default();
    Cursor::of(channel()).acknowledge(&mut batch, 5);
    rig.storage.commit(&batch, Durability::Synced).unwrap();
    // The follower hears only now of what was dealt with before.
    rig.acknowledge(3);
    rig.restart();
    assert_eq!(rig.changes.first().unwrap().number, 6);
    // And the other way round, from an application on another store.
    rig.acknowledge(6);
    rig.restart();
    assert_eq!(rig.changes.first().unwrap().number, 7);
}

/// A ring without room up to the final block is made empty by it, and until there is one it asks no faster than ever.
#[test]
fn a_full_ring_waits_for_finality_and_goes_on() {
    let mut rig = Rig::with(FollowConfig {
        ring_max: 4,
        ..config()
    });
    let path = |ancestor: Option<u64>, last: u64, final_number: u64| {
        let blocks = (ancestor.unwrap_or(0) + 1..=last).map(|at| (block(0, at), Vec::new()));
        Ok(Step::Path(Path {
            final_block: (final_number > 0).then(|| block(0, final_number)),
            ancestor: ancestor.map(|at| (at, hash(0, at))),
            blocks: blocks.collect(),
        }))
    };
    rig.walk(path(None, 9, 0));
    assert_eq!(rig.follow.tip(), Some(block(0, 4)));
    rig.walk(path(Some(4), 9, 0));
    assert!(rig.walks.is_empty(), "nothing has come of it: it waits");
    rig.walk(path(Some(4), 9, 7));
    assert_eq!(rig.walks.len(), 1, "there is room, and more to come");
    rig.walk(path(Some(4), 9, 7));
    assert_eq!(rig.follow.tip(), Some(block(0, 7)));
    let finals = rig.changes.iter().filter_map(|change| match change.kind {
        super::ChangeKind::Finalized { block } => Some(block.number),
        _ => None,
    });
    assert_eq!(finals.collect::<Vec<_>>(), [4, 7]);
}

fn too_large() -> ChainError {
    ChainError::TooLarge {
        doing: "eth_getLogs",
        bytes_max: 16,
        sent: Sent::No,
    }
}

/// A node that cannot give so much says so in several ways, or does not answer in time: each time less is asked for.
#[test]
fn less_is_asked_for_whatever_a_node_says_of_too_much() {
    let mut rig = Rig::new();
    rig.begin(3);
    let timed_out = || ChainError::TimedOut {
        doing: "eth_getLogs",
        after: Duration::from_secs(10),
        sent: Sent::No,
    };
    assert_eq!(rig.walk(Err(too_large())).range_max, 2_000);
    assert_eq!(rig.walk(Err(timed_out())).range_max, 1_000);
    assert_eq!(rig.walk(Err(too_large())).range_max, 500);
    // Words that nobody knows, and statuses of HTTP, down to one block.
    let refused = || ChainError::Refused {
        doing: "eth_getLogs",
        code: -32_000,
        message: "the moon is in the wrong house".into(),
        sent: Sent::No,
    };
    assert_eq!(rig.walk(Err(refused())).range_max, 250);
    assert_eq!(rig.walk(Err(unreachable())).range_max, 125);
    assert!(
        rig.walks.is_empty(),
        "no haste where nobody knows whether it helps"
    );
    while rig.walk(Err(refused())).range_max > 1 {}
    assert_eq!(rig.walk(Err(refused())).range_max, 1);
    // All is well again, and it grows.
    rig.walk(Ok(Step::Range {
        parent: hash(0, 3),
        numbers: 4..=4,
        last: block(0, 4),
        logs: Vec::new(),
    }));
    assert_eq!(rig.walk(Ok(Step::Nothing)).range_max, 2);
}

fn unreachable() -> ChainError {
    ChainError::Connection {
        doing: "eth_getLogs",
        sent: Sent::No,
        source: std::sync::Arc::new(std::io::Error::other("nobody is there")),
    }
}

/// That nobody answers is told once, when it has lasted; and once that there is an answer again, whatever it says.
#[test]
fn a_lasting_failure_is_told_once_and_its_end() {
    let mut rig = Rig::new();
    rig.begin(3);
    // Looks are five seconds apart.
    for _ in 0..6 {
        rig.walk(Err(unreachable()));
    }
    assert_eq!(rig.said, []);
    for _ in 0..10 {
        rig.walk(Err(unreachable()));
    }
    assert_eq!(rig.said, [Said::Stalled(Duration::from_secs(30))]);
    rig.walk(Ok(Step::Nothing));
    assert_eq!(rig.said.last(), Some(&Said::Resumed));
    // Failures with an answer between them have not lasted.
    for _ in 0..20 {
        for _ in 0..5 {
            rig.walk(Err(unreachable()));
        }
        rig.walk(Ok(Step::Nothing));
    }
    assert_eq!(rig.said.len(), 2);
}

/// A fork that ends below the tip may be that of a node which is behind: it is believed when it is seen in a row.
#[test]
fn a_shorter_fork_is_believed_in_the_third_look() {
    let mut rig = Rig::new();
    rig.begin(6);
    let fork = |last: u64| {
        let other = (5..=last).map(|number| {
            let parent = if number == 5 { 0 } else { 9 };
            let block = Block {
                parent: hash(parent, number - 1),
                ..block(9, number)
            };
            (block, Vec::new())
        });
        Ok(Step::Path(Path {
            final_block: Some(block(0, 1)),
            ancestor: Some((4, hash(0, 4))),
            blocks: other.collect(),
        }))
    };
    let removed = |rig: &Rig| {
        let is_removed =
            |change: &&Change| matches!(change.kind, super::ChangeKind::Removed { .. });
        rig.changes.iter().filter(is_removed).count()
    };
    rig.walk(fork(5));
    rig.walk(fork(5));
    // The others still have ours.
    rig.walk(Ok(Step::Path(Path {
        final_block: Some(block(0, 1)),
        ancestor: Some((6, hash(0, 6))),
        blocks: Vec::new(),
    })));
    rig.walk(fork(5));
    rig.walk(fork(5));
    assert_eq!((removed(&rig), rig.follow.tip()), (0, Some(block(0, 6))));
    rig.walk(fork(5));
    assert_eq!(removed(&rig), 2);
    assert_eq!(rig.follow.tip().unwrap().hash, hash(9, 5));
    // One that is as long as ours is no sign of lateness.
    let mut rig = Rig::new();
    rig.begin(6);
    rig.walk(fork(6));
    assert_eq!(removed(&rig), 2);
}

/// Where one block is too much there is a pause between two questions.
#[test]
fn a_single_block_that_is_too_much_is_asked_for_with_pauses() {
    let mut rig = Rig::new();
    rig.begin(3);
    while rig.walk(Err(too_large())).range_max > 1 {}
    assert!(rig.walks.is_empty(), "it was asked for again at once");
}

/// Looks at a missing final block count only in a row, whatever comes in between.
#[test]
fn blocks_that_go_on_speak_against_an_alarm() {
    let mut rig = Rig::new();
    rig.begin(1);
    let broken = |number| Step::Broken {
        number,
        found: Some(hash(9, number)),
        final_number: 200,
    };
    rig.walk(Ok(broken(1)));
    rig.walk(Ok(broken(1)));
    rig.walk(Ok(Step::Range {
        parent: hash(0, 1),
        numbers: 2..=100,
        last: block(0, 100),
        logs: Vec::new(),
    }));
    rig.walk(Ok(broken(100)));
    assert_eq!(
        rig.alarms, 0,
        "two before and one after are not three in a row"
    );
    rig.walk(Ok(broken(100)));
    rig.walk(Ok(broken(100)));
    assert_eq!(rig.alarms, 1);
}

/// A chain so long, of which this node has the newest block, on its fork, and another the final one.
struct Long {
    tip: u64,
    fork: u8,
}

#[async_trait]
impl ChainClient for Long {
    fn chain_id(&self) -> ChainId {
        ChainId::POLYGON
    }

    async fn head(&self, finality: Finality) -> Result<Block, ChainError> {
        let (fork, below) = match finality {
            Finality::Latest => (self.fork, 0),
            _ => (0, 8),
        };
        Ok(block(fork, self.tip - below))
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        let (fork, number) = match at {
            BlockAt::Number(number) => (self.fork, number),
            BlockAt::Hash(hash) => (hash[0], u64::from_be_bytes(*hash.last_chunk().unwrap())),
            _ => (self.fork, self.tip),
        };
        Ok((number <= self.tip).then(|| block(fork, number)))
    }

    async fn logs(&self, _: &LogFilter, _: &LogRange) -> Result<Vec<Log>, ChainError> {
        Ok(Vec::new())
    }

    async fn balance(&self, _: Address, _: Asset) -> Result<Amount, ChainError> {
        Err(too_large())
    }

    async fn call(&self, _: &CallRequest, _: BlockAt) -> Result<Bytes, ChainError> {
        Err(too_large())
    }

    async fn estimate(&self, _: &Intent) -> Result<Estimate, ChainError> {
        Err(too_large())
    }

    async fn submit(&self, _: &Intent) -> Result<TxId, ChainError> {
        Err(too_large())
    }

    async fn submit_raw(&self, _: &Bytes) -> Result<TxId, ChainError> {
        Err(too_large())
    }

    async fn status(&self, _: TxId) -> Result<TransactionStatus, ChainError> {
        Err(too_large())
    }

    async fn final_block(&self, number: u64) -> Result<Option<Block>, ChainError> {
        one_node::final_block(self, number).await
    }

    async fn logs_upto(
        &self,
        filter: &LogFilter,
        first: u64,
        last: Block,
    ) -> Result<Vec<Log>, ChainError> {
        one_node::logs_upto(self, filter, first, last).await
    }
}

/// Logs by number are asked for only where every node is; what is newer is walked along by hash.
#[tokio::test]
async fn ranges_end_far_below_the_final_block() {
    let (tip, last_final) = (500, 492);
    let walk = |known| Walk {
        number: 1,
        filter: LogFilter::default(),
        known: Known::Ring(vec![(known, hash(0, known))]),
        range_max: 2_000,
    };
    let client = Long { tip, fork: 0 };
    let Step::Range { numbers, .. } = step_along(&client, &walk(1)).await.unwrap() else {
        panic!("it is far behind");
    };
    assert!(*numbers.end() + 64 <= last_final, "{numbers:?}");
    let Step::Path(path) = step_along(&client, &walk(*numbers.end())).await.unwrap() else {
        panic!("it is near");
    };
    assert!(!path.blocks.is_empty());
}

/// A node on a dead fork answers by number; the final block's own branch, by hash, still has what is known.
#[tokio::test]
async fn a_dead_fork_that_answers_by_number_breaks_nothing() {
    let client = Long { tip: 500, fork: 9 };
    let walk = |known: B256| Walk {
        number: 1,
        filter: LogFilter::default(),
        known: Known::Ring(vec![(490, known)]),
        range_max: 2_000,
    };
    let step = step_along(&client, &walk(hash(0, 490))).await.unwrap();
    assert!(matches!(step, Step::Nothing), "{step:?}");
    // What the final branch does not have is missed, and what it has there is named.
    let step = step_along(&client, &walk(hash(7, 490))).await.unwrap();
    assert!(
        matches!(step, Step::Broken { found: Some(found), .. } if found == hash(0, 490)),
        "{step:?}"
    );
}
