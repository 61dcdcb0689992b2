//! What a liar says when others have already said that they have their shares.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use peaberry_core::{Durability, EffectsBuffer, MemoryStorage};

use super::*;
use crate::testing::{config, key};

const LIAR: u8 = 3;

/// Four members in one room, and how far each has come.
struct Room {
    config: Arc<Config>,
    members: Vec<KeyGeneration>,
    storages: Vec<MemoryStorage>,
    mail: VecDeque<(u8, u8, Bytes)>,
    established: BTreeSet<u8>,
    /// By member, whom it blames.
    failed: BTreeMap<u8, Vec<u8>>,
    /// Who names whom.
    faults: Vec<(u8, u8, KeyGenerationFault)>,
    now: u64,
}

impl Room {
    fn new() -> Self {
        let config = config(1);
        let storages: Vec<_> = (0..4).map(|_| MemoryStorage::new()).collect();
        let members = (0..4).zip(&storages).map(|(member, storage)| {
            KeyGeneration::open(config.clone(), key(member), 0, storage).unwrap()
        });
        let members = members.collect();
        let mut room = Self {
            config,
            members,
            storages,
            mail: VecDeque::new(),
            established: BTreeSet::new(),
            failed: BTreeMap::new(),
            faults: Vec::new(),
            now: 1,
        };
        for member in 0..4 {
            let begin = KeyGenerationCommand::Begin {
                attempt: 1,
                participants: vec![0, 1, 2, 3],
            };
            room.turn(member, Some(Input::Command(begin)));
        }
        room
    }

    fn turn(&mut self, member: u8, input: Option<Input<KeyGenerationCommand>>) {
        let at = usize::from(member);
        let mut buffer = EffectsBuffer::new(key_generation_channel(0));
        let now = Instant::from_nanos(self.now);
        let protocol = &mut self.members[at];
        if let Some(input) = input {
            protocol.step(now, input, &mut buffer.effects()).unwrap();
        }
        protocol.settle(now, &mut buffer.effects()).unwrap();
        self.storages[at]
            .commit(buffer.batch(), Durability::Synced)
            .unwrap();
        for outgoing in buffer.sends_after_commit() {
            let to = self.config.member_of(outgoing.to).unwrap();
            self.mail.push_back((member, to, outgoing.payload.clone()));
        }
        for event in buffer.events().iter().chain(buffer.events_after_commit()) {
            match event {
                KeyGenerationEvent::Established { .. } => {
                    self.established.insert(member);
                }
                KeyGenerationEvent::Failed { culprits, .. } => {
                    self.failed.insert(member, culprits.clone());
                }
                KeyGenerationEvent::Misbehaviour {
                    member: named,
                    what,
                } => {
                    self.faults.push((member, *named, *what));
                }
                KeyGenerationEvent::Refused(error) => panic!("{error}"),
            }
        }
    }

    /// All mail arrives that `arrives` lets through: by sender, recipient, and whether it is the liar's end.
    fn deliver(&mut self, arrives: impl Fn(u8, u8, bool) -> bool) {
        while let Some((from, to, payload)) = self.mail.pop_front() {
            let message = Message::from_bytes(&payload).unwrap();
            let is_end = matches!(&message.body, Body::Statement(it)
                if it.author == LIAR && matches!(it.said, Said::Done(_)));
            if arrives(from, to, is_end) {
                self.arrive(from, to, payload);
            }
        }
    }

    fn arrive(&mut self, from: u8, to: u8, payload: Bytes) {
        let from = self.config.member(from).unwrap().peer;
        let channel = key_generation_channel(0);
        let envelope = Envelope {
            from,
            channel,
            payload,
        };
        self.turn(to, Some(Input::Message(envelope)));
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms * 1_000_000;
        for member in 0..4 {
            self.turn(member, None);
        }
    }

    /// The liar says this to one.
    fn confess(&mut self, to: u8, said: Said) {
        let attempt = self.members[0].attempt.as_ref().unwrap().name;
        let statement = Statement::sign(attempt, LIAR, said, key(LIAR).as_ref()).unwrap();
        let body = Body::Statement(statement);
        let bytes = Message { attempt, body }.to_bytes().unwrap();
        self.arrive(LIAR, to, bytes.into());
    }

    /// A second deal of the liar's for the same attempt.
    fn second_deal(&self) -> Said {
        let attempt = self.members[0].attempt.as_ref().unwrap();
        let everyone = attempt.participants.clone();
        let begun = Attempt::new(1, attempt.name, LIAR, everyone, 2, &mut OsRng);
        Said::Deal(begun.unwrap().1)
    }

    fn kept(&self, member: u8) -> usize {
        let storage = &self.storages[usize::from(member)];
        kept_shares(0, storage).unwrap().len()
    }
}

/// Everybody has his share. The liar says that it has its own to 0 alone, which has the key then, and confesses to 2 that
/// it has dealt twice, and complains of itself. 2 hears from 0 that all have their shares, and keeps to its word.
#[test]
fn what_is_confessed_after_all_have_their_shares_takes_nobodys_away() {
    let mut room = Room::new();
    room.deliver(|_, to, is_end| !is_end || to == 0);
    assert_eq!(room.established, [0, LIAR].into());
    let second = room.second_deal();
    room.confess(2, second);
    room.confess(2, Said::Complaint(LIAR));
    assert_eq!(room.faults, [(2, LIAR, KeyGenerationFault::TwoDeals)]);
    for _ in 0..16 {
        room.wait(500);
        room.deliver(|_, _, _| true);
    }
    assert!(room.established.is_superset(&[0, 1, 2].into()));
    assert!((0..3).all(|member| room.kept(member) == 1));
    assert!((0..3).all(|member| !room.failed.contains_key(&member)));
}

/// The same with nobody to tell 2 that all is well: its attempt fails, and its share is still there for the key that the
/// others have.
#[test]
fn a_share_that_was_told_of_is_kept_where_the_attempt_fails() {
    let mut room = Room::new();
    room.deliver(|_, to, is_end| !is_end || to == 0);
    let second = room.second_deal();
    room.confess(2, second);
    for _ in 0..16 {
        room.wait(500);
        room.deliver(|_, to, _| to != 2);
    }
    assert_eq!(room.failed.get(&2), Some(&vec![LIAR]));
    assert!(room.established.is_superset(&[0, 1].into()));
    assert_eq!(room.kept(2), 1);
}
