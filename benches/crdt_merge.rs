//! How long does a merge take: of sets, of equal states, of one change, of counters?
//!
//! Unit: microseconds of one merge, one thread. Both sides start from copies made before; neither the copies nor what
//! drops them is timed. Elements are `u64`, and no two writers add the same. "crdts" merges its state types, as that crate
//! is used on links that lose or reorder; "crdts, op" applies an operation, which takes a link that does neither. "dson"
//! joins its deltas into 1,000 elements: to fill 10,000 takes it most of a minute. "yrs", "automerge" and "loro" apply an
//! update of one entry to a map of 10,000, decoding included, and so does ours in those lines; all have taken another
//! update just before, since a fresh copy has no room to grow and is moved by the first.

use automerge::AutoCommit;
use automerge::transaction::Transactable as _;
use crdts::{CmRDT as _, Orswot};
use dson::crdts::mvreg::MvRegValue;
use dson::transaction::MapTransaction;
use dson::{CausalDotStore, OrMap};
use loro::{ExportMode, LoroDoc};
use peaberry_benches::versus::{Better, Effort, Measure, fastest, interleave, report, write};
use peaberry_crdt::wire::{Budget, Message as _};
use peaberry_crdt::{
    AddWinsSet, Causal, Delta, GCounter, Lattice as _, MvRegister, ObservedRemoveMap, ReplicaId,
    Writer,
};
use yrs::updates::decoder::Decode as _;
use yrs::{Doc, Map as _, ReadTxn as _, Transact as _, Update};

type Failure = Box<dyn std::error::Error>;
type Set = Causal<AddWinsSet<u64>>;
type Table = Causal<ObservedRemoveMap<String, MvRegister<u64>>>;
type Json = CausalDotStore<OrMap<String>>;

const ELEMENTS: u64 = 10_000;
/// One-change deltas joined in a run, one after the other.
const CHANGES: u64 = 500;

fn main() -> Result<(), Failure> {
    let mut bench = Bench {
        effort: Effort::from_environment(),
        measures: Vec::new(),
    };
    for writers in [1, 10, 100, 1000] {
        bench.merge_of_sets(writers);
    }
    bench.equal_states();
    bench.one_change();
    bench.one_change_into_documents()?;
    bench.counters();
    write("crdt_merge", bench.effort, &bench.measures)?;
    Ok(())
}

struct Bench {
    effort: Effort,
    measures: Vec<Measure>,
}

impl Bench {
    fn versus(
        &mut self,
        words: &str,
        peer_name: &str,
        includes: &str,
        ours: impl FnMut() -> f64,
        peer: impl FnMut() -> f64,
    ) {
        let comparison = interleave(self.effort.pairs(), Better::Less, ours, peer);
        let measure = Measure::new(words, "us", peer_name, includes, &comparison);
        report(&measure, &comparison);
        println!("  ours {:.3} us, peer {:.3} us", measure.ours, measure.peer);
        self.measures.push(measure);
    }

    fn merge_of_sets(&mut self, writers: u64) {
        let noun = if writers == 1 { "writer" } else { "writers" };
        let (mine, theirs) = (ours_of(0, writers, ELEMENTS), ours_of(1, writers, ELEMENTS));
        let (left, right) = (orswot_of(0, writers), orswot_of(1, writers));
        self.versus(
            &format!("merge 10k+10k, {writers} {noun}"),
            "crdts",
            "whole states, in memory",
            || time_of_join(&mine, &theirs),
            || time_of_merge(&left, &right),
        );
    }

    fn equal_states(&mut self) {
        let (state, orswot) = (ours_of(0, 1000, ELEMENTS), orswot_of(0, 1000));
        let (other, other_orswot) = (state.clone(), orswot.clone());
        self.versus(
            "merge equal states, 1000 replicas",
            "crdts",
            "whole states of 10,000 elements, in memory",
            || time_of_join(&state, &other),
            || time_of_merge(&orswot, &other_orswot),
        );
    }

    fn one_change(&mut self) {
        let words = "join one-change delta into 10000 elements";
        let full = ours_of(0, 1, ELEMENTS);
        let deltas = changes_of(&full);
        let mut ours = || time_of_changes(&full, &deltas);
        let orswot = orswot_of(0, 1);
        let mut changed = orswot.clone();
        put(&mut changed, ELEMENTS, 0);
        self.versus(
            words,
            "crdts",
            "ours a delta, crdts a whole state, in memory",
            &mut ours,
            || time_of_merge(&orswot, &changed),
        );
        let mut source = orswot.clone();
        let ops: Vec<_> = (0..CHANGES)
            .map(|number| put(&mut source, ELEMENTS + number, 0))
            .collect();
        self.versus(
            words,
            "crdts, op",
            "in memory; crdts on a link that keeps the order",
            &mut ours,
            || {
                let run = |(state, ops): &mut (Orswot<u64, u64>, Vec<_>)| {
                    ops.drain(..).for_each(|op| state.apply(op));
                };
                fastest(|| (orswot.clone(), ops.clone()), run) / CHANGES as f64
            },
        );
        for count in [100_000, 1_000_000] {
            let large = ours_of(0, 1, count);
            let large_deltas = changes_of(&large);
            self.versus(
                &format!("join one-change delta into 10000 elements, against {count}"),
                "peaberry",
                "the same delta, joined into a larger state",
                &mut ours,
                || time_of_changes(&large, &large_deltas),
            );
        }
        let small = ours_of(0, 1, 1000);
        let small_deltas = changes_of(&small);
        let (json, delta) = json_of(1000);
        self.versus(
            "join one-change delta into 1000 elements",
            "dson",
            "in memory; dson one register of its map",
            || time_of_changes(&small, &small_deltas),
            || {
                fastest(
                    || (json.clone(), delta.clone()),
                    |(state, delta)| {
                        let delta = std::mem::take(delta);
                        state.join_or_replace_with(delta.store, &delta.context);
                    },
                )
            },
        );
    }

    fn one_change_into_documents(&mut self) -> Result<(), Failure> {
        let words = "join one-change delta into 10000 elements";
        let includes = "a map of strings to integers; decoding included";
        let (table, [warm, bytes]) = table_of();
        let ours = || {
            fastest(
                || {
                    let mut grown = table.clone();
                    let delta =
                        Delta::from_bytes(&warm, Budget::default()).expect("it was written");
                    grown.apply(&delta).expect("it follows");
                    grown
                },
                |state| {
                    let delta =
                        Delta::from_bytes(&bytes, Budget::default()).expect("it was written");
                    state.apply(&delta).expect("it follows");
                },
            )
        };
        let (full, [warm, change]) = yrs_of();
        self.versus(words, "yrs", includes, ours, || {
            let take = |doc: &Doc, bytes: &[u8]| {
                let update = Update::decode_v1(bytes).expect("it was written");
                doc.transact_mut().apply_update(update).expect("it follows");
            };
            let load = || {
                let doc = Doc::with_client_id(2);
                take(&doc, &full);
                take(&doc, &warm);
                doc
            };
            fastest(load, |doc| take(doc, &change))
        });
        let (document, [warm, change]) = automerge_of()?;
        self.versus(words, "automerge", includes, ours, || {
            let take = |doc: &mut AutoCommit, bytes: &[u8]| {
                doc.load_incremental(bytes).expect("it follows");
            };
            let load = || {
                let mut doc = document.clone();
                take(&mut doc, &warm);
                doc
            };
            fastest(load, |doc| take(doc, &change))
        });
        let (full, [warm, change]) = loro_of()?;
        self.versus(words, "loro", includes, ours, || {
            let take = |doc: &LoroDoc, bytes: &[u8]| {
                doc.import(bytes).expect("it follows");
            };
            let load = || {
                let doc = LoroDoc::new();
                take(&doc, &full);
                take(&doc, &warm);
                doc
            };
            fastest(load, |doc| take(doc, &change))
        });
        Ok(())
    }

    fn counters(&mut self) {
        let mut ours = [GCounter::bottom(), GCounter::bottom()];
        let mut peer = [crdts::GCounter::new(), crdts::GCounter::new()];
        for number in 0..1000_u64 {
            let side = usize::try_from(number % 2).unwrap_or_default();
            for (at, amount) in [(side, 2), (1 - side, 1)] {
                if let (Some(ours), Some(peer)) = (ours.get_mut(at), peer.get_mut(at)) {
                    ours.add(&writer(number), amount).expect("it fits");
                    peer.apply(peer.inc_many(number, amount));
                }
            }
        }
        let ([mine, theirs], [left, right]) = (ours, peer);
        self.versus(
            "gcounter merge 1000 x 1000",
            "crdts",
            "whole states, in memory; each is ahead at half of the replicas",
            || {
                fastest(
                    || mine.clone(),
                    |state| {
                        state.join(&theirs);
                    },
                )
            },
            || time_of_merge(&left, &right),
        );
    }
}

/// Microseconds of one join, one after the other.
fn time_of_changes(state: &Set, deltas: &[Delta<AddWinsSet<u64>>]) -> f64 {
    let run = |state: &mut Set| {
        deltas
            .iter()
            .for_each(|delta| assert!(state.apply(delta).is_ok()))
    };
    fastest(|| state.clone(), run) / deltas.len() as f64
}

/// Microseconds of one merge of whole states.
fn time_of_join(left: &Set, right: &Set) -> f64 {
    let join = |state: &mut Set| {
        state.join(right);
    };
    fastest(|| left.clone(), join)
}

/// As [`time_of_join`]; crdts consumes the other side.
fn time_of_merge<T: crdts::CvRDT + Clone + Default>(left: &T, right: &T) -> f64 {
    fastest(
        || (left.clone(), right.clone()),
        |(state, other)| state.merge(std::mem::take(other)),
    )
}

/// An id as it is drawn: random, and the same in each run.
fn writer(number: u64) -> Writer {
    let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let id = (u128::from(high) << 64) | u128::from(number);
    Writer::new(ReplicaId::new(id).expect("not zero"), 0, u64::MAX)
}

/// The elements of one side: even ones for side 0, odd ones for side 1.
fn ours_of(side: u64, writers: u64, count: u64) -> Set {
    let mut state = Set::bottom();
    let mut all: Vec<_> = (0..writers)
        .map(|number| writer(side * 10_000 + number))
        .collect();
    for (number, at) in (0..count).zip((0..all.len()).cycle()) {
        if let Some(writer) = all.get_mut(at) {
            state
                .write(writer, |set, mint| Ok(set.add(mint, number * 2 + side)))
                .expect("dots are left");
        }
    }
    state
}

fn changes_of(full: &Set) -> Vec<Delta<AddWinsSet<u64>>> {
    let (mut source, mut writer) = (full.clone(), writer(99_999));
    let mut add =
        |number| source.write(&mut writer, |set, mint| Ok(set.add(mint, number * 20 + 1)));
    (0..CHANGES)
        .map(|number| add(number).expect("dots are left"))
        .collect()
}

fn put(set: &mut Orswot<u64, u64>, element: u64, actor: u64) -> crdts::orswot::Op<u64, u64> {
    let op = set.add(element, set.read_ctx().derive_add_ctx(actor));
    set.apply(op.clone());
    op
}

fn orswot_of(side: u64, writers: u64) -> Orswot<u64, u64> {
    let mut set = Orswot::new();
    for number in 0..ELEMENTS {
        put(
            &mut set,
            number * 2 + side,
            side * 10_000 + number % writers,
        );
    }
    set
}

fn key(number: u64) -> String {
    format!("key-{number:05}")
}

fn table_of() -> (Table, [Vec<u8>; 2]) {
    let (mut table, mut writer) = (Table::bottom(), writer(1));
    let mut put = |table: &mut Table, number| {
        let edit = table.write(&mut writer, |map, mint| {
            map.update(key(number), |register| Ok(register.write(mint, number)))
        });
        edit.expect("dots are left")
    };
    for number in 0..ELEMENTS {
        put(&mut table, number);
    }
    let full = table.clone();
    let deltas = [0, 1].map(|more| put(&mut table, ELEMENTS + more).to_bytes());
    (full, deltas)
}

fn json_of(count: u64) -> (Json, Json) {
    let (mut json, id) = (Json::default(), dson::Identifier::new(0, 0));
    let mut transaction = MapTransaction::new(&mut json, id);
    for number in 0..count {
        transaction.write_register(key(number), MvRegValue::U64(number));
    }
    drop(transaction.commit());
    let mut source = json.clone();
    let mut transaction = MapTransaction::new(&mut source, id);
    transaction.write_register(key(count), MvRegValue::U64(count));
    (json, transaction.commit().0)
}

fn yrs_of() -> (Vec<u8>, [Vec<u8>; 2]) {
    let doc = Doc::with_client_id(1);
    let map = doc.get_or_insert_map("map");
    {
        let mut transaction = doc.transact_mut();
        for number in 0..ELEMENTS {
            map.insert(&mut transaction, key(number), number.cast_signed());
        }
    }
    let full = doc.transact().encode_diff_v1(&yrs::StateVector::default());
    let updates = [0, 1].map(|more| {
        let (known, number) = (doc.transact().state_vector(), ELEMENTS + more);
        map.insert(&mut doc.transact_mut(), key(number), number.cast_signed());
        doc.transact().encode_diff_v1(&known)
    });
    (full, updates)
}

fn automerge_of() -> Result<(AutoCommit, [Vec<u8>; 2]), Failure> {
    let mut doc = AutoCommit::new();
    for number in 0..ELEMENTS {
        doc.put(automerge::ROOT, key(number), number)?;
    }
    doc.commit();
    let full = doc.clone();
    let mut put = |number| {
        let heads = doc.get_heads();
        doc.put(automerge::ROOT, key(number), number)?;
        doc.commit();
        Ok::<_, Failure>(doc.save_after(&heads))
    };
    let updates = [put(ELEMENTS)?, put(ELEMENTS + 1)?];
    Ok((full, updates))
}

fn loro_of() -> Result<(Vec<u8>, [Vec<u8>; 2]), Failure> {
    let doc = LoroDoc::new();
    doc.set_peer_id(1)?;
    let map = doc.get_map("map");
    for number in 0..ELEMENTS {
        map.insert(&key(number), number.cast_signed())?;
    }
    doc.commit();
    let full = doc.export(ExportMode::all_updates())?;
    let put = |number: u64| {
        let known = doc.oplog_vv();
        map.insert(&key(number), number.cast_signed())?;
        doc.commit();
        Ok::<_, Failure>(doc.export(ExportMode::updates(&known))?)
    };
    let updates = [put(ELEMENTS)?, put(ELEMENTS + 1)?];
    Ok((full, updates))
}
