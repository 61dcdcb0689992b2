//! Bytes from strangers: total, bounded, one spelling; and what lies in them is refused before it costs anything.
//!
//! The fuzz targets call what these tests call. `PEABERRY_FUZZ_ROUNDS` makes the tests longer. A program of its own,
//! whose tests run one at a time: allocations are counted for all threads together.
#![cfg(feature = "testkit")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod apply;
#[cfg(feature = "compress")]
mod container;
#[path = "../wire/samples.rs"]
mod samples;
mod sequences;

use std::alloc::System;
use std::sync::{Mutex, PoisonError};

use peaberry_crdt::document::Document;
use peaberry_crdt::sync::{Member, decode_any_hello, decode_any_piece};
use peaberry_crdt::wire::{Bound, Budget, DecodeError, IdTable, Message};
use peaberry_crdt::{
    AddWinsSet, ApplyError, Causal, Delta, IntervalVersionVector, Lattice, Limits, List,
    LwwRegister, ResettableCounter, Stamp, VersionVector, Writer,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use self::samples::{Sample, replica};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static ALONE: Mutex<()> = Mutex::new(());

/// All that a decoder may ever allocate, freed or not, for each byte of its input, and for none at all: twice what the worst
/// of these tests does. That one has an element of a set in each byte, which is in a column of keys, one of sizes and two of
/// dots, in what these become, and then in the set.
const BYTES_FOR_EACH_BYTE: usize = 1_000;
const BYTES_ANYWAY: usize = 20_000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound as u64).max(1)).unwrap()
    }
}

fn rounds() -> usize {
    let wanted = std::env::var("PEABERRY_FUZZ_ROUNDS").ok();
    wanted.and_then(|rounds| rounds.parse().ok()).unwrap_or(100)
}

/// What follows the magic, version, kind and schema, without the checksum: the body as a session has it.
fn body(bytes: &[u8]) -> &[u8] {
    &bytes[9..bytes.len() - 4]
}

/// Bits, bytes that mean much to a varint, cuts, repeats and splices.
fn mutated(from: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        match dice.below(8) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 | 3 if !bytes.is_empty() => {
                bytes[at] = [0, 1, 2, 0x3f, 0x7f, 0x80, 0xff][dice.below(7)]
            }
            4 => bytes.truncate(at),
            5 => bytes
                .splice(at..at, [0xff; 9].into_iter().chain([1]))
                .for_each(drop),
            6 => {
                let until = at + dice.below(bytes.len() - at + 1);
                let repeated = bytes[at..until].to_vec();
                bytes.splice(at..at, repeated).for_each(drop);
            }
            _ => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len())..]);
            }
        }
    }
    bytes
}

#[test]
fn decoders_take_any_bytes_within_a_constant_times_their_length() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (samples, mut dice) = (samples::all(), Dice(1));
    let mut worst = Worst::default();
    for sample in &samples {
        for _ in 0..rounds() {
            let other = &samples[dice.below(samples.len())];
            let bytes = mutated(body(&sample.bytes), body(&other.bytes), &mut dice);
            (sample.check)(&bytes);
            worst.measure(sample, &bytes);
        }
    }
    println!("at worst {worst:?}");
}

/// The longest runs that a column may have, in each type: what a byte can stand for.
#[test]
fn the_longest_runs_stay_within_the_constant() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut worst = Worst::default();
    for sample in samples::all() {
        for (fill, length) in [(0x40, 400), (0x01, 400), (0x40, 4_000)] {
            for head in (0..body(&sample.bytes).len().min(80)).step_by(3) {
                let mut bytes = body(&sample.bytes)[..head].to_vec();
                // A varint that announces much, then runs of 32.
                bytes.extend_from_slice(&[0xff, 0x1f]);
                bytes.extend((0..length).flat_map(|_| [fill, 0]));
                worst.measure(&sample, &bytes);
            }
        }
    }
    println!("at worst {worst:?}");
}

/// How many bytes a decoder has allocated for each byte of its input, and which.
#[derive(Debug, Default)]
struct Worst {
    of_each: usize,
    name: String,
}

impl Worst {
    fn measure(&mut self, sample: &Sample, bytes: &[u8]) {
        let tables = [
            IdTable::new(),
            IdTable::from_iter([1, u128::MAX].map(replica)),
        ];
        for table in tables {
            let region = Region::new(ALLOCATOR);
            (sample.take)(bytes, &table);
            let allocated = region.change().bytes_allocated;
            let (name, count) = (&sample.name, bytes.len());
            assert!(
                allocated <= BYTES_ANYWAY + BYTES_FOR_EACH_BYTE * count,
                "{name} allocates {allocated} bytes for {count}: {bytes:02x?}"
            );
            let of_each = allocated.saturating_sub(BYTES_ANYWAY) / count.max(1);
            if of_each > self.of_each {
                (self.of_each, self.name) = (of_each, name.clone());
            }
        }
    }
}

#[test]
fn no_prefix_is_taken_for_a_whole() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for sample in samples::all() {
        for length in 0..sample.bytes.len() {
            assert_eq!(
                (sample.reread)(&sample.bytes[..length], Budget::default()),
                None
            );
        }
        let mut longer = sample.bytes.clone();
        longer.push(0);
        assert_eq!((sample.reread)(&longer, Budget::default()), None);
    }
}

#[test]
fn no_flipped_bit_is_taken() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for sample in samples::all() {
        for at in 0..sample.bytes.len() * 8 {
            let mut bytes = sample.bytes.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert_eq!(
                (sample.reread)(&bytes, Budget::default()),
                None,
                "{} bit {at}",
                sample.name
            );
        }
    }
}

#[test]
fn hellos_and_pieces_take_any_bytes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dice = Dice(2);
    let frames = samples::frames();
    for kinds in [&[1][..], &[8, 9]] {
        let frames: Vec<_> = frames
            .iter()
            .filter(|(_, frame)| kinds.contains(&frame[0]))
            .collect();
        for _ in 0..rounds() * 20 {
            let (one, other) = (
                &frames[dice.below(frames.len())].1,
                &frames[dice.below(frames.len())].1,
            );
            let bytes = mutated(&one[1..one.len() - 4], &other[1..], &mut dice);
            decode_any_hello(&bytes);
            decode_any_piece(&bytes);
        }
    }
}

fn in_session<M: Message>(bytes: &[u8], budget: Budget) -> Result<M, DecodeError> {
    M::from_session_bytes(bytes, &IdTable::from_iter([replica(1)]), budget)
}

fn over(error: Option<DecodeError>) -> Bound {
    match error {
        Some(DecodeError::OverBudget { bound, .. }) => bound,
        other => panic!("{other:?} is not over a budget"),
    }
}

/// Each bound, passed by a message that is otherwise true: refused, by name, and cheaply.
#[test]
fn what_is_over_a_budget_is_refused_by_name() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut set: Causal<AddWinsSet<u32>> = Causal::bottom();
    let mut writers = [1, 2, 3].map(|number| Writer::new(replica(number), 0, 100));
    for (number, writer) in writers.iter_mut().enumerate() {
        for element in 0..4 {
            let element = u32::try_from(number * 4 + element).unwrap();
            set.write(writer, |set, mint| Ok(set.add(mint, element)))
                .unwrap();
        }
    }
    for element in [0, 5, 10] {
        set.write(&mut writers[0], |set, _| Ok(set.remove(&element)))
            .unwrap();
    }
    let bytes = set.to_bytes();
    let refused =
        |budget: Budget| over(Causal::<AddWinsSet<u32>>::from_bytes(&bytes, budget).err());
    let all = Budget::default();
    assert_eq!(
        refused(Budget {
            bytes_max: bytes.len() - 1,
            ..all
        }),
        Bound::Bytes
    );
    assert_eq!(refused(Budget { ids_max: 2, ..all }), Bound::Ids);
    assert_eq!(refused(Budget { dots_max: 8, ..all }), Bound::Dots);
    assert_eq!(
        refused(Budget {
            intervals_max: 2,
            ..all
        }),
        Bound::Intervals
    );
    assert_eq!(
        refused(Budget {
            events_max: 2,
            ..all
        }),
        Bound::Events
    );
    assert_eq!(
        refused(Budget {
            depth_max: 0,
            ..all
        }),
        Bound::Depth
    );
    let fits = Budget {
        bytes_max: bytes.len(),
        ids_max: 3,
        dots_max: 9,
        intervals_max: 3,
        events_max: 3,
        depth_max: 1,
    };
    assert_eq!(Causal::from_bytes(&bytes, fits).as_ref(), Ok(&set));
}

/// A few bytes that speak of 2^63 dots, intervals, events or bytes.
#[test]
fn huge_numbers_cost_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let one = |head: &[u8]| [&[0][..], head, &huge[..], &[0, 0, 0]].concat();
    let cases = [
        one(&[]),
        one(&[1]),
        one(&[1, 0]),
        one(&[1, 0, 0]),
        one(&[0, 1, 0, 0]),
        one(&[2]),
        one(&[4]),
    ];
    for bytes in &cases {
        let region = Region::new(ALLOCATOR);
        assert!(in_session::<Delta<AddWinsSet<String>>>(bytes, Budget::default()).is_err());
        assert!(in_session::<Causal<AddWinsSet<String>>>(bytes, Budget::default()).is_err());
        assert!(in_session::<Causal<List<String>>>(bytes, Budget::default()).is_err());
        assert!(in_session::<Causal<Document>>(bytes, Budget::default()).is_err());
        assert!(in_session::<VersionVector>(bytes, Budget::default()).is_err());
        assert!(in_session::<IntervalVersionVector>(bytes, Budget::default()).is_err());
        assert!(region.change().bytes_allocated < 20_000);
    }
    // One interval of 2^63 events is a number, and costs what a number costs.
    let mut bytes = vec![0, 1, 0, 0];
    bytes.extend_from_slice(&huge);
    let intervals: IntervalVersionVector = in_session(&bytes, Budget::default()).unwrap();
    assert_eq!(intervals.iter().next().unwrap().last(), 1 << 63);
}

/// Through the bytes and the sync: what a peer must not send is refused, naming the replica, and nothing changed.
#[test]
fn forged_values_are_refused_by_replica_and_change_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits {
        wall_ms: 1_000_000,
        drift_ms_max: 5_000,
        advance_max: 100,
        ..Limits::NONE
    };
    let culprit = replica(9);
    let mut writer = Writer::new(culprit, 0, 100);

    let mut there: Causal<LwwRegister<u8>> = Causal::bottom();
    let far = Stamp {
        wall_ms: 1_005_001,
        logical: 0,
    };
    let delta = there
        .write(&mut writer, |held, mint| held.write(mint, far, 1))
        .unwrap();
    let mut here = Causal::bottom();
    let refused = here.apply_within(&reread(&delta), &limits).unwrap_err();
    assert!(matches!(refused, ApplyError::FarFuture(stamp) if stamp.replica == culprit));
    assert_eq!(here, Causal::bottom());

    let mut there: Causal<ResettableCounter> = Causal::bottom();
    let mut writer = Writer::new(culprit, 0, 100);
    let delta = there
        .write(&mut writer, |count, mint| count.add(mint, 101))
        .unwrap();
    let mut here = Causal::bottom();
    let refused = here.apply_within(&reread(&delta), &limits).unwrap_err();
    assert!(matches!(refused, ApplyError::Jump(jump) if jump.replica == culprit));
    assert_eq!(here, Causal::bottom());

    let mut twins = [(); 2].map(|()| Causal::<AddWinsSet<u8>>::bottom());
    let [one, other] = &mut twins;
    let add = |set: &mut Causal<AddWinsSet<u8>>, element| {
        set.write(&mut Writer::new(culprit, 0, 100), |set, mint| {
            Ok(set.add(mint, element))
        })
        .unwrap()
    };
    add(one, 1);
    let delta = add(other, 2);
    let before = one.clone();
    let refused = one.apply_within(&reread(&delta), &limits).unwrap_err();
    assert_eq!(
        refused,
        ApplyError::Conflict {
            replica: culprit,
            counter: 1
        }
    );
    assert_eq!(*one, before);
    assert!(refused.to_string().contains(&culprit.to_string()));
    assert!(Member::new(0).is_none());
}

fn reread<M: Message>(message: &M) -> M {
    M::from_bytes(&message.to_bytes(), Budget::default()).unwrap()
}
