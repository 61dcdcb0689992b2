//! Many groups on one node.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_consensus::{Outcome, RaftCommand, RaftConfig, RaftEvent, RaftGroup};
use peaberry_core::{
    Batch, Clock, Durability, Handle, Instant, Layer, Layered, MemoryNetwork, MemoryStorage, Next,
    Node, PeerId, Sleep, Storage, StorageError, Timestamp,
};
use support::Sum;

const GROUPS: u64 = 50;

/// A store that counts its commits.
#[derive(Default)]
struct Counting {
    storage: MemoryStorage,
    commits: AtomicU64,
}

impl Layer for Counting {
    fn inner(&self) -> &dyn Storage {
        &self.storage
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
    let storage = Arc::new(Layered::<Counting>::default());
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

    let before = storage.layer().commits.load(Ordering::SeqCst);
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
    assert_eq!(storage.layer().commits.load(Ordering::SeqCst) - before, 1);
}

/// Commands of one turn are one entry: each gets its own answer, in their order, and a crowd of long ones is split.
#[test]
fn commands_proposed_together_share_entries_and_keep_their_order() {
    let local = PeerId::new(1).unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let clock = Arc::new(Stepped::default());
    let config = RaftConfig::new(0, local, [local], 1);
    let channel = config.channel();
    let group = RaftGroup::open(config, storage.as_ref(), Sum::default()).unwrap();
    let transport = Arc::new(MemoryNetwork::new().join(local));
    let mut node = Node::new(transport, storage, clock.clone());
    let (told, tells) = std::sync::mpsc::channel();
    let sink = move |events: &mut Vec<RaftEvent<u64>>| {
        for event in events.drain(..) {
            if let RaftEvent::Completed { token, outcome } = event {
                told.send((token, outcome)).unwrap();
            }
        }
    };
    let handle = node.add(channel, group, sink).unwrap();
    let election = settle(&mut node).unwrap();
    for tick in 1..40 {
        let now = election.as_nanos() + tick * 50_000_000;
        clock.0.store(now, Ordering::SeqCst);
        settle(&mut node);
    }

    let one = 1_u64.to_be_bytes().to_vec();
    let long = [one.clone(), vec![0; 200_000]].concat();
    for (token, command) in (0..).zip([&one, &one, &long, &long, &one]) {
        let command = Bytes::copy_from_slice(command);
        let propose = RaftCommand::Propose { command, token };
        handle.submit(propose).unwrap();
    }
    settle(&mut node);
    // The machine takes what is no number for zero.
    let completed: Vec<_> = tells
        .try_iter()
        .map(|(token, outcome)| match outcome {
            Outcome::Committed { index, response } => (token, index, support::number(&response)),
            other => panic!("{token}: {other:?}"),
        })
        .collect();
    let first = completed.first().unwrap().1;
    let expected = [
        (0, first, 1),
        (1, first, 2),
        (2, first, 2),
        (3, first + 1, 2),
        (4, first + 1, 3),
    ];
    assert_eq!(completed, expected);
}
