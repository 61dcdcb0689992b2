//! How many bytes do deltas, states and digests take?
//!
//! Unit: bytes. One writer, elements `u64` in order, under an id as random as ids are. "crdts" has no encoding of its own
//! and no deltas: postcard, the smallest of the usual ones, writes its whole state, which is what it sends on a link that
//! may reorder. yrs, automerge and loro hold a map of 10,000 entries under such keys, and write their own updates. A frame
//! "in session" is whole, as it leaves: kind, delta, checksum. The heap is what is live after building, by an allocator
//! that counts. `dson` is not here: its sequences are unsized, so no binary encoding takes its deltas (bincode and postcard
//! refuse them), and it has none of its own; `crdt_merge` measures its joins.

use std::alloc::System;
use std::time::Duration;

use automerge::AutoCommit;
use automerge::transaction::Transactable as _;
use crdts::{CmRDT as _, Orswot};
use loro::{ExportMode, LoroDoc};
use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use peaberry_crdt::sync::{AntiEntropy, Member, Membership, SyncConfig};
use peaberry_crdt::wire::Message as _;
use peaberry_crdt::{AddWinsSet, Causal, Lattice as _, Limits, ReplicaId, Writer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use yrs::{Doc, Map as _, ReadTxn as _, Transact as _};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Failure = Box<dyn std::error::Error>;
type Set = Causal<AddWinsSet<u64>>;

const ELEMENTS: u64 = 10_000;
const ID: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834;

fn main() -> Result<(), Failure> {
    let mut bench = Bench {
        effort: Effort::from_environment(),
        measures: Vec::new(),
    };
    let crdts = Crdts::measure()?;
    let peers = [Peer::yrs(), Peer::automerge()?, Peer::loro()?];
    bench.deltas(&crdts, &peers);
    bench.states(&crdts, &peers);
    bench.removals(&crdts);
    write("crdt_delta", bench.effort, &bench.measures)?;
    Ok(())
}

struct Bench {
    effort: Effort,
    measures: Vec<Measure>,
}

impl Bench {
    fn versus(&mut self, words: &str, ours: usize, peer_name: &str, peer: usize, includes: &str) {
        let comparison = interleave(1, Better::Less, || ours as f64, || peer as f64);
        let measure = Measure::new(words, "B", peer_name, includes, &comparison);
        report(&measure, &comparison);
        self.measures.push(measure);
    }

    fn deltas(&mut self, crdts: &Crdts, peers: &[Peer]) {
        let (set, mut writer) = full();
        let in_session = in_session(&set);
        let mut alone = set.clone();
        let alone = add(&mut alone, &mut writer, ELEMENTS);
        let (mut scattered, mut writer) = full();
        for number in 0..ELEMENTS / 2 {
            remove(&mut scattered, &mut writer, number * 7_919 % ELEMENTS);
        }
        let after = add(&mut scattered, &mut writer, ELEMENTS);
        let whole = "crdts has no delta but its whole state";
        self.versus(
            "delta of one insert, in session",
            in_session,
            "crdts",
            crdts.full,
            whole,
        );
        self.versus(
            "delta of one insert, standing alone",
            alone,
            "crdts",
            crdts.full,
            whole,
        );
        self.versus(
            "delta after 5000 scattered deletes",
            after,
            "crdts",
            crdts.half,
            whole,
        );
        for peer in peers {
            let own = "the peer's own update";
            self.versus(
                "delta of one insert, standing alone",
                alone,
                peer.name,
                peer.delta,
                own,
            );
            self.versus(
                "delta after 5000 scattered deletes",
                after,
                peer.name,
                peer.scattered,
                own,
            );
        }
        let vector = "crdts has no digest but its clock, here of 1,000 replicas";
        self.versus(
            "digest of equal peers",
            digest(),
            "crdts",
            crdts.clock,
            vector,
        );
    }

    fn states(&mut self, crdts: &Crdts, peers: &[Peer]) {
        let region = Region::new(ALLOCATOR);
        let (set, _) = full();
        let heap = live(&region);
        let bytes = set.to_bytes().len();
        self.versus(
            "full set of 10000",
            bytes,
            "crdts",
            crdts.full,
            "whole state",
        );
        for peer in peers {
            self.versus(
                "full set of 10000",
                bytes,
                peer.name,
                peer.full,
                "a map; the peer with its history",
            );
        }
        self.versus(
            "heap of 10000",
            heap,
            "crdts",
            crdts.heap,
            "live bytes after building",
        );
    }

    fn removals(&mut self, crdts: &Crdts) {
        let (mut set, mut writer) = full();
        let known = set.vector().clone();
        (0..ELEMENTS).for_each(|element| remove(&mut set, &mut writer, element));
        let removals = set.delta_since(&known).to_bytes().len();
        let stable = set.vector().clone();
        set.collect(&stable);
        let empty = set.to_bytes().len();
        self.versus(
            "10000 contiguous removals",
            removals,
            "crdts",
            crdts.full,
            "crdts: the state to be replaced",
        );
        self.versus(
            "empty after 10000 adds and removes",
            empty,
            "crdts",
            crdts.empty,
            "at stability",
        );
    }
}

fn live(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
}

fn writer(number: u128) -> Writer {
    Writer::new(ReplicaId::new(ID + number).expect("not zero"), 0, u64::MAX)
}

fn add(set: &mut Set, writer: &mut Writer, element: u64) -> usize {
    let delta = set.write(writer, |set, mint| Ok(set.add(mint, element)));
    delta.expect("dots are left").to_bytes().len()
}

fn remove(set: &mut Set, writer: &mut Writer, element: u64) {
    set.write(writer, |set, _| Ok(set.remove(&element)))
        .expect("dots are left");
}

fn full() -> (Set, Writer) {
    let (mut set, mut writer) = (Set::bottom(), writer(0));
    for element in 0..ELEMENTS {
        set.write(&mut writer, |set, mint| Ok(set.add(mint, element)))
            .expect("dots are left");
    }
    (set, writer)
}

/// The longest frame that a writer sends its peer after one insert.
fn in_session(set: &Set) -> usize {
    let mut talk = Talk::of(set);
    let mut writer = Writer::new(ReplicaId::new(ID).expect("not zero"), ELEMENTS, u64::MAX);
    add(&mut talk.states.0, &mut writer, ELEMENTS);
    talk.sides.0.changed();
    talk.second()
}

/// The longest frame that equal peers at rest exchange, when a thousand replicas have written.
fn digest() -> usize {
    let mut set = Set::bottom();
    for number in 1..=1_000 {
        add(&mut set, &mut writer(number), 1);
    }
    let mut talk = Talk::of(&set);
    (0..60).map(|_| talk.second()).max().unwrap_or_default()
}

struct Talk {
    sides: (AntiEntropy<Set>, AntiEntropy<Set>),
    states: (Set, Set),
    members: (Member, Member),
    now: Duration,
}

impl Talk {
    fn of(set: &Set) -> Self {
        let member = |number| Member::new(number).expect("not zero");
        let members = (member(1), member(2));
        let side = |local: Member| {
            let membership = Membership::new([members.0, members.1]);
            AntiEntropy::new(
                SyncConfig::new(local, 7, membership, local.get()),
                Duration::ZERO,
            )
            .expect("the usual pace")
        };
        let mut talk = Self {
            sides: (side(members.0), side(members.1)),
            states: (set.clone(), set.clone()),
            members,
            now: Duration::ZERO,
        };
        for _ in 0..100 {
            talk.second();
        }
        talk
    }

    /// A second of it; the longest frame that the first sent.
    fn second(&mut self) -> usize {
        self.now += Duration::from_secs(1);
        let (now, mut longest) = (self.now, 0);
        loop {
            let mut is_silent = true;
            while let Some(sent) = self.sides.0.poll_transmit(now, &self.states.0) {
                (is_silent, longest) = (false, longest.max(sent.frame.len()));
                let handled = self.sides.1.handle(
                    now,
                    self.members.0,
                    &sent.frame,
                    &mut self.states.1,
                    &Limits::NONE,
                );
                handled.expect("it is a frame");
            }
            while let Some(sent) = self.sides.1.poll_transmit(now, &self.states.1) {
                is_silent = false;
                let handled = self.sides.0.handle(
                    now,
                    self.members.1,
                    &sent.frame,
                    &mut self.states.0,
                    &Limits::NONE,
                );
                handled.expect("it is a frame");
            }
            if is_silent {
                return longest;
            }
        }
    }
}

struct Crdts {
    full: usize,
    half: usize,
    empty: usize,
    heap: usize,
    clock: usize,
}

impl Crdts {
    fn measure() -> Result<Self, Failure> {
        let region = Region::new(ALLOCATOR);
        let mut set: Orswot<u64, u64> = Orswot::new();
        for element in 0..ELEMENTS {
            set.apply(set.add(element, set.read_ctx().derive_add_ctx(1)));
        }
        let heap = live(&region);
        let full = postcard::to_stdvec(&set)?.len();
        let mut remove = |element: u64| {
            let context = set.contains(&element).derive_rm_ctx();
            set.apply(set.rm(element, context));
            set.clone()
        };
        let mut half = Orswot::new();
        for number in 0..ELEMENTS / 2 {
            let element = number * 7_919 % ELEMENTS;
            if number + 1 == ELEMENTS / 2 {
                half = remove(element);
            } else {
                drop(remove(element));
            }
        }
        let half = postcard::to_stdvec(&half)?.len();
        let mut set: Orswot<u64, u64> = Orswot::new();
        for element in 0..ELEMENTS {
            set.apply(set.add(element, set.read_ctx().derive_add_ctx(1)));
            let context = set.contains(&element).derive_rm_ctx();
            set.apply(set.rm(element, context));
        }
        let empty = postcard::to_stdvec(&set)?.len();
        let mut wide: Orswot<u64, u64> = Orswot::new();
        for actor in 0..1000 {
            wide.apply(wide.add(1, wide.read_ctx().derive_add_ctx(actor)));
        }
        let clock = postcard::to_stdvec(&wide.clock())?.len();
        Ok(Self {
            full,
            half,
            empty,
            heap,
            clock,
        })
    }
}

/// A document with a map of its own.
struct Peer {
    name: &'static str,
    full: usize,
    delta: usize,
    scattered: usize,
}

fn key(number: u64) -> String {
    number.to_string()
}

fn scattered() -> impl Iterator<Item = u64> {
    (0..ELEMENTS / 2).map(|number| number * 7_919 % ELEMENTS)
}

impl Peer {
    fn yrs() -> Self {
        let doc = Doc::with_client_id(1);
        let map = doc.get_or_insert_map("map");
        let put = |number: u64| {
            let known = doc.transact().state_vector();
            map.insert(&mut doc.transact_mut(), key(number), number.cast_signed());
            doc.transact().encode_diff_v1(&known).len()
        };
        for number in 0..ELEMENTS {
            map.insert(&mut doc.transact_mut(), key(number), number.cast_signed());
        }
        let full = doc
            .transact()
            .encode_diff_v1(&yrs::StateVector::default())
            .len();
        let delta = put(ELEMENTS);
        for number in scattered() {
            map.remove(&mut doc.transact_mut(), &key(number));
        }
        let scattered = put(ELEMENTS + 1);
        Self {
            name: "yrs",
            full,
            delta,
            scattered,
        }
    }

    fn automerge() -> Result<Self, Failure> {
        let mut doc = AutoCommit::new();
        let put = |doc: &mut AutoCommit, number: u64| {
            let heads = doc.get_heads();
            doc.put(automerge::ROOT, key(number), number)?;
            doc.commit();
            Ok::<_, Failure>(doc.save_after(&heads).len())
        };
        for number in 0..ELEMENTS {
            doc.put(automerge::ROOT, key(number), number)?;
        }
        doc.commit();
        let full = doc.save().len();
        let delta = put(&mut doc, ELEMENTS)?;
        for number in scattered() {
            doc.delete(automerge::ROOT, key(number))?;
        }
        doc.commit();
        let scattered = put(&mut doc, ELEMENTS + 1)?;
        Ok(Self {
            name: "automerge",
            full,
            delta,
            scattered,
        })
    }

    fn loro() -> Result<Self, Failure> {
        let doc = LoroDoc::new();
        doc.set_peer_id(1)?;
        let map = doc.get_map("map");
        let put = |number: u64| {
            let known = doc.oplog_vv();
            map.insert(&key(number), number.cast_signed())?;
            doc.commit();
            Ok::<_, Failure>(doc.export(ExportMode::updates(&known))?.len())
        };
        for number in 0..ELEMENTS {
            map.insert(&key(number), number.cast_signed())?;
        }
        doc.commit();
        let full = doc.export(ExportMode::Snapshot)?.len();
        let delta = put(ELEMENTS)?;
        for number in scattered() {
            map.delete(&key(number))?;
        }
        doc.commit();
        let scattered = put(ELEMENTS + 1)?;
        Ok(Self {
            name: "loro",
            full,
            delta,
            scattered,
        })
    }
}
