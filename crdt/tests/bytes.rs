//! How many bytes things take: these are promises.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

use std::time::Duration;

use peaberry_crdt::sync::{AntiEntropy, Member, Membership, SyncConfig};
use peaberry_crdt::wire::{Budget, Message};
use peaberry_crdt::{
    AddWinsSet, Causal, Delta, Lattice, Limits, List, ReplicaId, VersionVector, Writer,
};

type Set = Causal<AddWinsSet<u64>>;

/// As random as an id is, so that nothing is saved by its zeros.
const ID: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834;

fn full(count: u64) -> (Set, Writer) {
    let (mut set, mut writer) = (
        Set::bottom(),
        Writer::new(ReplicaId::new(ID).unwrap(), 0, u64::MAX),
    );
    for element in 0..count {
        add(&mut set, &mut writer, element);
    }
    (set, writer)
}

fn add(set: &mut Set, writer: &mut Writer, element: u64) -> Delta<AddWinsSet<u64>> {
    set.write(writer, |set, mint| Ok(set.add(mint, element)))
        .unwrap()
}

fn remove(set: &mut Set, writer: &mut Writer, element: u64) {
    set.write(writer, |set, _| Ok(set.remove(&element)))
        .unwrap();
}

/// Each in another place than the one before: 5,000 of 10,000.
fn scattered() -> impl Iterator<Item = u64> {
    (0..5_000).map(|number| number * 7_919 % 10_000)
}

/// Two members that talk until neither has anything to say, the frames that the first sent last, in order.
struct Session {
    sides: [AntiEntropy<Set>; 2],
    states: [Set; 2],
    now: Duration,
}

impl Session {
    fn new(states: [Set; 2]) -> Self {
        let members = [1, 2].map(|number| Member::new(number).unwrap());
        let sides = members.map(|local| {
            let config = SyncConfig::new(local, 7, Membership::new(members), local.get());
            AntiEntropy::new(config, Duration::ZERO).unwrap()
        });
        let mut session = Self {
            sides,
            states,
            now: Duration::ZERO,
        };
        // Ids are told in the first hellos, and again once a session's table has all of them.
        for _ in 0..100 {
            session.talk();
        }
        assert_eq!(session.states[0], session.states[1]);
        session
    }

    /// A second of it: the lengths of what the first sent.
    fn talk(&mut self) -> Vec<usize> {
        self.now += Duration::from_secs(1);
        let mut lengths = Vec::new();
        loop {
            let mut is_silent = true;
            for from in [0, 1] {
                while let Some(sent) = self.sides[from].poll_transmit(self.now, &self.states[from])
                {
                    is_silent = false;
                    if from == 0 {
                        lengths.push(sent.frame.len());
                    }
                    let (member, to) = (Member::new(from as u64 + 1).unwrap(), 1 - from);
                    let (side, state) = (&mut self.sides[to], &mut self.states[to]);
                    side.handle(self.now, member, &sent.frame, state, &Limits::NONE)
                        .unwrap();
                }
            }
            if is_silent {
                return lengths;
            }
        }
    }
}

/// Kind, delta and checksum: the whole frame, as it leaves.
#[test]
fn a_delta_of_one_insert_takes_24_bytes_in_a_session() {
    let (set, mut writer) = full(10_000);
    let mut session = Session::new([set.clone(), set]);
    add(&mut session.states[0], &mut writer, 10_000);
    session.sides[0].changed();
    let longest = session.talk().into_iter().max().unwrap();
    assert_eq!(session.states[0], session.states[1]);
    assert!((1..=24).contains(&longest), "{longest} bytes");
}

#[test]
fn a_delta_of_one_insert_takes_48_bytes_by_itself() {
    let (mut set, mut writer) = full(10_000);
    let known = set.vector().clone();
    let written = add(&mut set, &mut writer, 10_000).to_bytes().len();
    let since = set.delta_since(&known).to_bytes().len();
    assert!(written <= 48 && since <= 48, "{written} and {since} bytes");
    let whole = set.to_bytes().len();
    assert!(since * 200 <= whole, "{since} of {whole} bytes");
}

#[test]
fn after_5000_scattered_deletes_a_delta_of_one_insert_takes_64_bytes() {
    let (mut set, mut writer) = full(10_000);
    scattered().for_each(|element| remove(&mut set, &mut writer, element));
    assert_eq!(set.value().len(), 5_000);
    let known = set.vector().clone();
    let written = add(&mut set, &mut writer, 10_001).to_bytes().len();
    let since = set.delta_since(&known).to_bytes().len();
    assert!(written <= 64 && since <= 64, "{written} and {since} bytes");

    let mut session = Session::new([set.clone(), set]);
    add(&mut session.states[0], &mut writer, 10_002);
    session.sides[0].changed();
    let longest = session.talk().into_iter().max().unwrap();
    assert!(longest <= 24, "{longest} bytes in a session");
}

/// Whatever the number of replicas that ever wrote.
#[test]
fn equal_peers_exchange_32_bytes() {
    let mut set = Set::bottom();
    for number in 1..=1_000 {
        let mut writer = Writer::new(ReplicaId::new(ID + number).unwrap(), 0, 10);
        add(&mut set, &mut writer, 1);
    }
    let mut session = Session::new([set.clone(), set]);
    let lengths: Vec<_> = (0..60).flat_map(|_| session.talk()).collect();
    assert!(!lengths.is_empty());
    let longest = lengths.into_iter().max().unwrap();
    assert!(longest <= 32, "{longest} bytes");
}

#[test]
fn contiguous_removals_10000_of_them_take_a_kilobyte() {
    let (mut set, mut writer) = full(10_000);
    let known = set.vector().clone();
    (0..10_000).for_each(|element| remove(&mut set, &mut writer, element));
    let by_one = set.delta_since(&known).to_bytes().len();
    let log = set.log_bytes();
    let whole = set.to_bytes().len();
    let (mut set, mut writer) = full(10_000);
    set.write(&mut writer, |set, _| Ok(set.clear())).unwrap();
    let at_once = set.delta_since(&known).to_bytes().len();
    let bytes = [by_one, log, whole, at_once];
    assert!(
        bytes.into_iter().all(|bytes| bytes <= 1_000),
        "{bytes:?} bytes"
    );
}

/// Also when the removals come in any order, and the log had to hold each by itself.
#[test]
fn emptied_and_stable_a_set_takes_64_bytes() {
    for stride in [1, 7_919] {
        let (mut set, mut writer) = full(10_000);
        let elements = (0..10_000).map(|number| number * stride % 10_000);
        elements.for_each(|element| remove(&mut set, &mut writer, element));
        let stable = set.vector().clone();
        set.collect(&stable);
        let bytes = [set.to_bytes().len(), set.canonical_bytes().len()];
        assert!(set.value().is_empty());
        assert!(
            bytes.into_iter().all(|bytes| bytes <= 64),
            "{bytes:?} bytes"
        );
        assert_eq!(set.log_bytes(), 0);
        let again = Set::from_bytes(&set.to_bytes(), Budget::default()).unwrap();
        assert_eq!(again, set);
    }
}

/// An element in order takes about a byte, one by a thousand writers about four.
#[test]
fn a_full_set_takes_little_more_than_its_elements() {
    let (set, _) = full(10_000);
    let bytes = set.to_bytes().len();
    assert!(bytes <= 12_000, "{bytes} bytes");
    let mut set = Set::bottom();
    let mut writers: Vec<_> = (1..=1_000)
        .map(|number| Writer::new(ReplicaId::new(ID + number).unwrap(), 0, 100))
        .collect();
    for element in 0..10_000_usize {
        add(&mut set, &mut writers[element % 1_000], element as u64);
    }
    let bytes = set.delta_since(&VersionVector::new()).to_bytes().len();
    assert!(bytes <= 50_000, "{bytes} bytes");
}

/// Each push goes on where another replica's ended, so the path to it has a branch for each turn.
#[test]
fn pushes_by_turns_take_six_bytes_for_each_turn() {
    let mut list: Causal<List<u8>> = Causal::bottom();
    let mut writers =
        [1, 2].map(|number| Writer::new(ReplicaId::new(ID + number).unwrap(), 0, 9_999));
    let mut lengths = Vec::new();
    for turn in 0..1_000 {
        let delta = list.write(&mut writers[turn % 2], |list, mint| list.push(mint, 7));
        lengths.push(delta.unwrap().to_bytes().len());
    }
    let of_500 = lengths[999] - lengths[499];
    assert!(
        (2_500..=3_000).contains(&of_500),
        "{of_500} bytes for 500 turns"
    );
}
