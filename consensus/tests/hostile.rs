//! A member of the group that sends whatever it likes.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod support;

use bytes::Bytes;
use peaberry_consensus::{Misbehaviour, RaftCommand, RaftConfig, RaftEvent, RaftGroup};
use peaberry_core::{
    Channel, EffectsBuffer, Envelope, Input, Instant, MemoryStorage, PeerId, Protocol, Storage,
    wire,
};
use support::Sum;

type Group = RaftGroup<Sum, u64>;

fn peer(id: u64) -> PeerId {
    PeerId::new(id).unwrap()
}

/// One replica of three, stepped by hand; its commits succeed.
struct Replica {
    group: Group,
    buffer: EffectsBuffer<RaftEvent<u64>>,
    storage: MemoryStorage,
    channel: Channel,
    now: Instant,
}

impl Replica {
    fn new() -> Self {
        let storage = MemoryStorage::new();
        let config = RaftConfig::new(0, peer(1), [1, 2, 3].map(peer), 7);
        let channel = config.channel();
        let group = Group::open(config, &storage, Sum::default()).unwrap();
        let mut replica = Self {
            group,
            buffer: EffectsBuffer::new(channel),
            storage,
            channel,
            now: Instant::default(),
        };
        replica.end_turn();
        replica
    }

    /// Steps one input, settles and commits; answers what the group said.
    fn take(&mut self, input: Input<RaftCommand<u64>>) -> Vec<RaftEvent<u64>> {
        self.group
            .step(self.now, input, &mut self.buffer.effects())
            .unwrap();
        self.end_turn()
    }

    fn end_turn(&mut self) -> Vec<RaftEvent<u64>> {
        self.group
            .settle(self.now, &mut self.buffer.effects())
            .unwrap();
        let events = [self.buffer.events(), self.buffer.events_after_commit()].concat();
        self.storage
            .commit(self.buffer.batch(), peaberry_core::Durability::Synced)
            .unwrap();
        let turn = self.buffer.next_turn();
        self.group
            .step(self.now, Input::Committed(turn), &mut self.buffer.effects())
            .unwrap();
        events
    }

    fn hear(&mut self, from: u64, payload: Vec<u8>) -> Vec<RaftEvent<u64>> {
        let envelope = Envelope {
            from: peer(from),
            channel: self.channel,
            payload: Bytes::from(payload),
        };
        self.take(Input::Message(envelope))
    }
}

/// A well-formed message: kind, then term, index, log term, commit, commit term, reject, hint, context, entries.
fn forge(
    kind: u8,
    fields: [u64; 5],
    reject: bool,
    hint: u64,
    context: &[u8],
    entry_terms: &[u64],
) -> Vec<u8> {
    let mut out = vec![1, kind];
    fields
        .iter()
        .for_each(|&field| wire::put_varint(&mut out, field));
    out.push(u8::from(reject));
    wire::put_varint(&mut out, hint);
    wire::put_bytes(&mut out, context);
    if kind == 1 {
        wire::put_varint(&mut out, entry_terms.len() as u64);
        for &term in entry_terms {
            out.push(1);
            wire::put_varint(&mut out, term);
            wire::put_bytes(&mut out, b"forged");
        }
    }
    out
}

/// raft-rs panics on about one in twenty forged messages; behind the bounds check none may reach it that does.
#[test]
fn forged_messages_never_end_a_group() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        let mut replica = Replica::new();
        for _ in 0..200 {
            let mut small = || {
                if rng.u8(..16) == 0 {
                    rng.u64(..)
                } else {
                    rng.u64(..6)
                }
            };
            let fields = [small(), small(), small(), small(), small()];
            let hint = small();
            let entries: Vec<u64> = (0..rng.usize(..4)).map(|_| rng.u64(..6)).collect();
            let context = [0; 24];
            let context = &context[..rng.usize(..24)];
            let message = forge(rng.u8(..14), fields, rng.bool(), hint, context, &entries);
            replica.hear(rng.u64(2..=3), message);
            if rng.u8(..8) == 0 {
                replica.now += std::time::Duration::from_millis(50);
                replica.take(Input::Timeout);
            }
        }
    }
}

/// Bytes that are no message at all are reported with the peer's name, and change nothing.
#[test]
fn garbage_is_reported_by_name() {
    let mut rng = fastrand::Rng::with_seed(2);
    let mut replica = Replica::new();
    for _ in 0..20_000 {
        let mut garbage: Vec<u8> = (0..rng.usize(..64)).map(|_| rng.u8(..)).collect();
        if let Some(version) = garbage.first_mut() {
            *version = rng.u8(..3);
        }
        let events = replica.hear(2, garbage);
        let blamed = |event: &RaftEvent<u64>| matches!(event, RaftEvent::Misbehaved { peer, .. } if peer.get() == 2);
        assert!(
            events
                .iter()
                .all(|event| blamed(event) || matches!(event, RaftEvent::Leader { .. })),
            "{events:?}"
        );
    }
}

/// A peer outside the group is not listened to.
#[test]
fn strangers_are_not_members() {
    let mut replica = Replica::new();
    let events = replica.hear(9, forge(7, [5, 0, 0, 0, 0], false, 0, &[], &[]));
    let reason = Misbehaviour::NotAMember;
    assert_eq!(
        events,
        [RaftEvent::Misbehaved {
            peer: peer(9),
            reason
        }]
    );
}

/// A heartbeat that commits entries this replica never had would end raft-rs.
#[test]
fn a_commit_past_the_log_is_impossible() {
    let mut replica = Replica::new();
    let events = replica.hear(2, forge(7, [5, 0, 0, 1, 0], false, 0, &[], &[]));
    assert!(
        matches!(
            events.as_slice(),
            [RaftEvent::Misbehaved {
                reason: Misbehaviour::Impossible(_),
                ..
            }]
        ),
        "{events:?}"
    );
}

/// The wire has no word for a proposal or a configuration change, so no peer's bytes reach raft-rs's protobuf decoder:
/// 2 is raft-rs's number for a proposal, and entries of other kinds than a command or nothing are refused.
#[test]
fn configuration_changes_cannot_be_spelled() {
    let mut replica = Replica::new();
    let mut append = forge(1, [5, 0, 0, 0, 0], false, 0, &[], &[]);
    append.pop();
    // One entry of kind 2, which would be a configuration change.
    append.extend_from_slice(&[1, 2, 5, 0]);
    let events = replica.hear(2, append);
    let reason = Misbehaviour::Malformed("unknown kind of entry");
    assert_eq!(
        events,
        [RaftEvent::Misbehaved {
            peer: peer(2),
            reason
        }]
    );
}

/// A snapshot names its place and its members; both are checked before anything is kept of it.
#[test]
fn snapshots_that_cannot_be_are_refused() {
    let chunk = |index, term, members: &[u64]| {
        let mut out = vec![1, 32];
        for field in [5, index, term, 1, members.len() as u64] {
            wire::put_varint(&mut out, field);
        }
        members
            .iter()
            .for_each(|&member| wire::put_varint(&mut out, member));
        out.extend_from_slice(&[0; 4]);
        wire::put_varint(&mut out, 0);
        wire::put_bytes(&mut out, &[0; 8]);
        out
    };
    let mut replica = Replica::new();
    for (index, term, members) in [
        (u64::MAX, 5, [1, 2, 3].as_slice()),
        (0, 5, &[1, 2, 3]),
        (7, 0, &[1, 2, 3]),
        (7, 6, &[1, 2, 3]),
        (7, 5, &[1, 2, 4]),
        (7, 5, &[1]),
        (7, 5, &[]),
    ] {
        let events = replica.hear(2, chunk(index, term, members));
        assert!(
            matches!(
                events.as_slice(),
                [RaftEvent::Misbehaved {
                    reason: Misbehaviour::Impossible(_),
                    ..
                }]
            ),
            "{events:?}"
        );
    }
}
