//! A member of the group that sends whatever it likes.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod support;

use bytes::Bytes;
use peaberry_consensus::{Misbehaviour, RaftCommand, RaftConfig, RaftEvent, RaftGroup};
use peaberry_core::{
    Channel, EffectsBuffer, Envelope, Input, Instant, MemoryStorage, PeerId, Protocol, Storage,
    Turn, wire,
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
    /// Whether the disk takes its time.
    commits_wait: bool,
    waiting: Option<Turn>,
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
            commits_wait: false,
            waiting: None,
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
        // A later commit tells of the earlier ones too.
        self.waiting = Some(self.buffer.next_turn());
        if !self.commits_wait
            && let Some(turn) = self.waiting.take()
        {
            self.group
                .step(self.now, Input::Committed(turn), &mut self.buffer.effects())
                .unwrap();
        }
        events
    }

    fn hear(&mut self, from: u64, payload: Vec<u8>) -> Vec<RaftEvent<u64>> {
        let message = self.envelope(from, payload);
        self.take(Input::Message(message))
    }

    /// Steps a message in the middle of a turn; whether its sender was blamed for it.
    fn say(&mut self, from: u64, payload: Vec<u8>) -> bool {
        let message = self.envelope(from, payload);
        let told = self.buffer.events().len();
        self.group
            .step(
                self.now,
                Input::Message(message),
                &mut self.buffer.effects(),
            )
            .unwrap();
        let mut new = self.buffer.events().iter().skip(told);
        new.any(|event| matches!(event, RaftEvent::Misbehaved { .. }))
    }

    fn envelope(&self, from: u64, payload: Vec<u8>) -> Envelope {
        Envelope {
            from: peer(from),
            channel: self.channel,
            payload: Bytes::from(payload),
        }
    }

    /// Lets time pass until it asks for votes, and grants them; what it said last.
    fn is_elected(&mut self) -> Vec<RaftEvent<u64>> {
        for _ in 0..40 {
            self.now += std::time::Duration::from_millis(50);
            self.take(Input::Timeout);
        }
        self.hear(2, forge(6, [1, 0, 0, 0, 0], false, 0, &[], &[]));
        self.hear(2, forge(4, [1, 0, 0, 0, 0], false, 0, &[], &[]))
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
            let mut commands = Vec::new();
            wire::put_bytes(&mut commands, b"a command");
            wire::put_bytes(&mut out, &commands);
        }
    }
    out
}

/// The only chunk of a snapshot, from the leader of term 5: index and term of its last entry, its members, its bytes.
fn snapshot_chunk(index: u64, term: u64, members: &[u64], bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 32];
    for field in [5, index, term, 1, members.len() as u64] {
        wire::put_varint(&mut out, field);
    }
    members
        .iter()
        .for_each(|&member| wire::put_varint(&mut out, member));
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    wire::put_varint(&mut out, 0);
    wire::put_bytes(&mut out, bytes);
    out
}

/// What a replica is when the forger comes.
#[derive(Clone, Copy, Debug)]
enum Scene {
    /// It knows nothing yet.
    New,
    /// It has two entries, one of them committed.
    Follows,
    /// It has two entries that are not durable yet.
    IsBusy,
    /// It leads, with a committed entry and one that is not.
    Leads,
    /// It follows a leader whose snapshot has taken the place of its log.
    Restored,
}

impl Scene {
    const ALL: [Self; 5] = [
        Self::New,
        Self::Follows,
        Self::IsBusy,
        Self::Leads,
        Self::Restored,
    ];

    /// A replica in this scene, and its term.
    fn set(self) -> (Replica, u64) {
        let mut replica = Replica::new();
        match self {
            Self::New => return (replica, 0),
            Self::Follows => {
                replica.hear(2, forge(1, [2, 0, 0, 1, 0], false, 0, &[], &[1, 2]));
            }
            Self::IsBusy => {
                replica.commits_wait = true;
                replica.hear(2, forge(1, [2, 0, 0, 0, 0], false, 0, &[], &[1, 2]));
            }
            Self::Leads => {
                let leads = replica.is_elected();
                assert!(leads.contains(&RaftEvent::Leader {
                    term: 1,
                    leader: Some(peer(1))
                }));
                replica.hear(2, forge(2, [1, 1, 0, 0, 0], false, 0, &[], &[]));
                let propose = RaftCommand::Propose {
                    command: Bytes::from_static(&[0; 8]),
                    token: 7,
                };
                replica.take(Input::Command(propose));
                return (replica, 1);
            }
            Self::Restored => {
                let chunk = snapshot_chunk(7, 2, &[1, 2, 3], &[0; 8]);
                let events = replica.hear(2, chunk);
                let received = |event: &_| {
                    matches!(
                        event,
                        RaftEvent::Snapshot {
                            index: 7,
                            received: true
                        }
                    )
                };
                assert!(events.iter().any(received), "{events:?}");
            }
        }
        let term = if matches!(self, Self::Restored) { 5 } else { 2 };
        (replica, term)
    }
}

/// A forger that knows the term and writes about the indices at hand, several messages a turn.
fn forged(rng: &mut fastrand::Rng, term: u64) -> Vec<u8> {
    let mut small = || match rng.u8(..16) {
        0 => rng.u64(..),
        _ => rng.u64(..10),
    };
    let mut fields = [small(), small(), small(), small(), small()];
    let hint = small();
    if rng.u8(..4) > 0 {
        fields[0] = term + rng.u64(..2);
    }
    let mut entries: Vec<u64> = (0..rng.usize(..4)).map(|_| rng.u64(1..4)).collect();
    if rng.u8(..4) > 0 {
        entries.sort_unstable();
    }
    let context = vec![0; rng.usize(..24)];
    forge(
        rng.u8(..14),
        fields,
        rng.u8(..4) == 0,
        hint,
        &context,
        &entries,
    )
}

/// raft-rs panics on about one in twenty forged messages; behind the bounds check none may reach it that does.
#[test]
fn forged_messages_never_end_a_group() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut taken = 0;
    for round in 0..1_000 {
        let scene = Scene::ALL[round % Scene::ALL.len()];
        let (mut replica, term) = scene.set();
        for _ in 0..60 {
            for _ in 0..rng.usize(1..5) {
                let message = forged(&mut rng, term);
                let blamed = replica.say(rng.u64(2..=3), message);
                taken += usize::from(!blamed);
            }
            replica.end_turn();
            if rng.u8(..8) == 0 {
                replica.now += std::time::Duration::from_millis(50);
                replica.take(Input::Timeout);
            }
            if rng.u8(..8) == 0 {
                replica.commits_wait = !replica.commits_wait;
            }
        }
    }
    assert!(taken > 50_000, "only {taken} messages reached raft-rs");
}

/// A peer that votes before it is asked would have raft-rs lead with a log that is not durable, which ends it.
#[test]
fn a_vote_before_it_is_asked_for_is_impossible() {
    let (mut replica, _) = Scene::IsBusy.set();
    // Asked to campaign at once, as by a leader that hands over.
    replica.hear(2, forge(9, [2, 0, 0, 0, 0], false, 0, &[], &[]));
    let events = replica.hear(2, forge(4, [3, 0, 0, 0, 0], false, 0, &[], &[]));
    let reason = Misbehaviour::Impossible("it grants a vote that has not been asked for yet");
    let blamed = RaftEvent::Misbehaved {
        peer: peer(2),
        reason,
    };
    assert!(events.contains(&blamed), "{events:?}");
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
        let events = replica.hear(2, snapshot_chunk(index, term, members, &[0; 8]));
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
