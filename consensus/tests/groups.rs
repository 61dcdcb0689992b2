//! Many groups on one node.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod support;

use std::ops::{Bound, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_consensus::{Outcome, RaftCommand, RaftConfig, RaftEvent, RaftGroup};
use peaberry_core::{
    Batch, Clock, Durability, Handle, Instant, LogId, MemoryNetwork, MemoryStorage, Next, Node,
    Order, PeerId, ScanLimit, Sleep, Storage, StorageError, Timestamp,
};
use support::Sum;

const GROUPS: u64 = 50;

/// A store that counts its commits.
#[derive(Default)]
struct Counting {
    storage: MemoryStorage,
    commits: AtomicU64,
}

impl Storage for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.storage.get(key)
    }

    fn scan(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        self.storage.scan(from, to, order, limit)
    }

    fn log_bounds(&self, log: LogId) -> Result<Range<u64>, StorageError> {
        self.storage.log_bounds(log)
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.storage.log_read(log, range, bytes_max)
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.storage.commit(batch, durability)
    }
}

/// Time that moves when told to.
#[derive(Default)]
struct Stepped(AtomicU64);

impl Clock for Stepped {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::default()
    }

    fn sleep_until(&self, _deadline: Instant) -> Sleep {
        Sleep::new(std::future::pending())
    }
}

/// Turns until there is nothing left to do now.
fn settle(node: &mut Node) -> Option<Instant> {
    loop {
        match node.turn() {
            Next::Again => {}
            Next::Sleep(deadline) => return deadline,
            Next::Stopped => panic!("{:?}", node.failure()),
        }
    }
}

/// Proposals to fifty groups are on disk after one commit, and complete from it.
#[test]
fn groups_on_one_node_share_a_commit() {
    let local = PeerId::new(1).unwrap();
    let storage = Arc::new(Counting::default());
    let clock = Arc::new(Stepped::default());
    let mut node = Node::new(
        Arc::new(MemoryNetwork::new().join(local)),
        storage.clone(),
        clock.clone(),
    );
    let completed: Arc<Mutex<Vec<u64>>> = Arc::default();
    let leads: Arc<AtomicU64> = Arc::default();
    let mut handles: Vec<Handle<RaftCommand<u64>>> = Vec::new();
    for number in 0..GROUPS {
        let config = RaftConfig::new(number, local, [local], number);
        let channel = config.channel();
        let group = RaftGroup::open(config, storage.as_ref(), Sum::default()).unwrap();
        let (completed, leads) = (completed.clone(), leads.clone());
        let sink = move |events: &mut Vec<RaftEvent<u64>>| {
            for event in events.drain(..) {
                match event {
                    RaftEvent::Leader {
                        leader: Some(_), ..
                    } => drop(leads.fetch_add(1, Ordering::SeqCst)),
                    RaftEvent::Completed {
                        token,
                        outcome: Outcome::Committed { .. },
                    } => completed.lock().push(token),
                    _ => {}
                }
            }
        };
        handles.push(node.add(channel, group, sink).unwrap());
    }
    while leads.load(Ordering::SeqCst) < GROUPS {
        let next = settle(&mut node).unwrap();
        clock.0.store(next.as_nanos(), Ordering::SeqCst);
    }
    settle(&mut node);

    let before = storage.commits.load(Ordering::SeqCst);
    for (number, handle) in (0..).zip(&handles) {
        handle
            .submit(RaftCommand::Propose {
                command: Bytes::from_static(&[0; 8]),
                token: number,
            })
            .unwrap();
    }
    settle(&mut node);
    completed.lock().sort_unstable();
    assert_eq!(*completed.lock(), (0..GROUPS).collect::<Vec<_>>());
    assert_eq!(storage.commits.load(Ordering::SeqCst) - before, 1);
}
