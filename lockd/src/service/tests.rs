use bytes::Bytes;
use peaberry_consensus::{Outcome, RaftEvent, Rejection};
use peaberry_core::{EffectsBuffer, Envelope, Input, Instant, PeerId, Protocol};

use super::*;
use crate::lock_table::LockTable;
use crate::message::{put_call, tidings};
use crate::request::{Entry, SessionId};
use crate::test_cluster::peer;

struct Bench {
    service: LockService,
    buffer: EffectsBuffer<ServiceEvent>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            service: LockService::new(peer(1)),
            buffer: EffectsBuffer::new(lockd_channel(1)),
            now: Instant::default(),
        }
    }

    fn step(&mut self, input: Input<ServiceCommand>) {
        let Ok(()) = self
            .service
            .step(self.now, input, &mut self.buffer.effects());
    }

    fn group(&mut self, event: RaftEvent<u64>) {
        self.step(Input::Command(ServiceCommand::Group(vec![event])));
    }

    fn lead(&mut self, leader: u64) {
        let leader = Some(peer(leader));
        self.group(RaftEvent::Leader { term: 1, leader });
    }

    /// A message from `from` with `count` closings, numbered from 1.
    fn ask(&mut self, from: u64, count: u64) {
        let mut message = Vec::new();
        for number in 1..=count {
            let mut body = Vec::new();
            let session = SessionId {
                incarnation: 1,
                number,
            };
            Request::Close { session }.encode(&mut body);
            let (kind, body) = (CallKind::Request, body.as_slice());
            put_call(&mut message, Call { number, kind, body });
        }
        self.message(from, message.into());
    }

    fn message(&mut self, from: u64, payload: Bytes) {
        self.step(Input::Message(Envelope {
            from: peer(from),
            channel: lockd_channel(1),
            payload,
        }));
    }

    /// Ends the turn: what was emitted, and for each peer what it was told.
    fn settle(&mut self) -> (Vec<ServiceEvent>, Vec<(PeerId, Bytes)>) {
        let Ok(()) = self.service.settle(self.now, &mut self.buffer.effects());
        let events = self.buffer.events().to_vec();
        let sends = self.buffer.sends().iter();
        let sends = sends.map(|send| (send.to, send.payload.clone())).collect();
        self.buffer.next_turn();
        (events, sends)
    }
}

fn stamp_of(event: &ServiceEvent) -> u64 {
    let ServiceEvent::Propose { command, .. } = event else {
        panic!("not a proposal: {event:?}")
    };
    match Entry::decode(command).unwrap() {
        Entry::Requests { log_time_ms, .. } | Entry::Restored { log_time_ms, .. } => log_time_ms,
    }
}

/// A status whose log time is 5 s, as the table answers it.
fn status_at_5_s(query: &[u8]) -> Bytes {
    use peaberry_consensus::{Apply, StateMachine};
    let mut table = LockTable::new();
    let tick = EntryWriter::new(5_000).finish();
    let (mut notices, mut batch) = (Vec::new(), peaberry_core::Batch::new());
    table.apply(&mut Apply::new(1, &tick, &mut notices, &mut batch));
    table.query(query)
}

#[test]
fn a_new_leader_stamps_nothing_before_it_has_read_the_tables_time() {
    let mut bench = Bench::new();
    bench.lead(1);
    bench.ask(101, 1);
    let (events, _) = bench.settle();
    let [ServiceEvent::Read { token, query }] = events.as_slice() else {
        panic!("{events:?}")
    };
    let (token, answer) = (*token, Ok(status_at_5_s(query)));
    bench.group(RaftEvent::Answered { token, answer });
    let (events, _) = bench.settle();
    assert_eq!(stamp_of(&events[0]), 5_000);
}

#[test]
fn a_follower_names_the_leader() {
    let mut bench = Bench::new();
    bench.lead(3);
    bench.ask(101, 1);
    let (events, sends) = bench.settle();
    assert!(events.is_empty());
    let told: Vec<_> = tidings(&sends[0].1).unwrap().map(Result::unwrap).collect();
    let reason = Again::NotLeader {
        hint: Some(peer(3)),
    };
    assert_eq!(told, [Told::Again { call: 1, reason }]);
}

#[test]
fn one_peer_cannot_use_up_the_room_of_another() {
    let mut bench = Bench::new();
    bench.lead(1);
    bench.ask(101, CALLS_PER_PEER_MAX as u64 + 1);
    bench.ask(102, 1);
    let (_, sends) = bench.settle();
    let [(to, message)] = sends.as_slice() else {
        panic!("{sends:?}")
    };
    assert_eq!(*to, peer(101));
    let told: Vec<_> = tidings(message).unwrap().map(Result::unwrap).collect();
    let (call, reason) = (CALLS_PER_PEER_MAX as u64 + 1, Again::Busy);
    assert_eq!(told, [Told::Again { call, reason }]);
}

#[test]
fn what_was_not_replicated_is_to_be_asked_again() {
    let mut bench = Bench::new();
    bench.lead(1);
    bench.ask(101, 1);
    let (events, _) = bench.settle();
    let [ServiceEvent::Read { token, query }] = events.as_slice() else {
        panic!("{events:?}")
    };
    let (token, answer) = (*token, Ok(status_at_5_s(query)));
    bench.group(RaftEvent::Answered { token, answer });
    let (events, _) = bench.settle();
    let [ServiceEvent::Propose { token, .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    let outcome = Outcome::Rejected(Rejection::Superseded);
    bench.group(RaftEvent::Completed {
        token: *token,
        outcome,
    });
    let (_, sends) = bench.settle();
    let told: Vec<_> = tidings(&sends[0].1).unwrap().map(Result::unwrap).collect();
    let reason = Again::Unknown;
    assert_eq!(told, [Told::Again { call: 1, reason }]);
    assert_eq!(bench.service.unanswered_sum, 0);
}

#[test]
fn a_stranger_with_bad_bytes_is_named() {
    let mut bench = Bench::new();
    bench.lead(1);
    bench.message(101, Bytes::from_static(&[9, 9]));
    let (events, _) = bench.settle();
    let named = |event: &ServiceEvent| matches!(event, ServiceEvent::Misbehaved { peer: p, .. } if *p == peer(101));
    assert!(events.iter().any(named));
}
