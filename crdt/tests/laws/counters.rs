//! Counters of totals, and sets of events: laws and specifications.

use std::collections::BTreeSet;

use peaberry_crdt::testkit::{Dice, Subject, check_convergence, check_decoder, check_laws};
use peaberry_crdt::wire::{Budget, Message};
use peaberry_crdt::{
    ApplyError, BoundedCounter, CausalContext, Changed, CounterJump, Dot, GCounter, Interval,
    IntervalVersionVector, Lattice, Limits, PnCounter, ReplicaId, Replicated, Tolerance,
    WriteError, Writer,
};
use proptest::prelude::*;

use crate::check_lattice;

fn replica(number: usize) -> ReplicaId {
    ReplicaId::new(number as u128 + 1).unwrap()
}

fn writer(number: usize) -> Writer {
    Writer::new(replica(number), 0, 0)
}

proptest! {
    /// Deltas joined in any order, twice, show the sum of the changes; every part is a lattice.
    #[test]
    fn pn_counter(changes in prop::collection::vec((0..3usize, -50..50i64), 0..20), rotation in 0..20usize) {
        let mut states = vec![PnCounter::bottom(); 3];
        let mut deltas = Vec::new();
        for (at, amount) in &changes {
            let mut twin = states[*at].clone();
            deltas.push(states[*at].add(&writer(*at), *amount).unwrap());
            twin.join(deltas.last().unwrap());
            prop_assert_eq!(&twin, &states[*at]);
        }
        check_lattice(&states);
        let mut joined = PnCounter::bottom();
        let middle = rotation.min(deltas.len());
        deltas.rotate_left(middle);
        for delta in deltas.iter().chain(deltas.iter().rev()) {
            joined.join(delta);
        }
        prop_assert_eq!(joined.value(), changes.iter().map(|change| i128::from(change.1)).sum::<i128>());
    }

    /// Whatever is concurrent, no more is taken than was added, and all rights add up to the value.
    #[test]
    fn bounded_counter(
        steps in prop::collection::vec((0..4u8, 0..3usize, 0..3usize, 0..20u64), 0..40),
    ) {
        let mut states = vec![BoundedCounter::bottom(); 3];
        let mut model = 0i128;
        for (kind, at, other, amount) in steps {
            match kind {
                0 => {
                    states[at].add(&writer(at), amount).unwrap();
                    model += i128::from(amount);
                }
                1 => model -= states[at].take(&writer(at), amount).map_or(0, |_| i128::from(amount)),
                2 => {
                    let _ = states[at].pass(&writer(at), replica(other), amount);
                }
                _ => {
                    let source = states[other].clone();
                    states[at].join(&source);
                }
            }
            prop_assert!(model >= 0);
        }
        check_lattice(&states);
        let mut all = BoundedCounter::bottom();
        states.iter().for_each(|state| { all.join(state); });
        prop_assert_eq!(all.value(), model);
        prop_assert_eq!((0..3).map(|at| i128::from(all.rights(replica(at)))).sum::<i128>(), model);
    }

    /// Intervals hold what a plain set of events holds, in one representation.
    #[test]
    fn intervals(parts in prop::collection::vec((0..2usize, 1..30u64, 0..6u64), 0..12)) {
        let mut held = IntervalVersionVector::new();
        let mut context = CausalContext::new();
        let mut plain = BTreeSet::new();
        for (at, first, more) in &parts {
            let interval = Interval::new(replica(*at), *first, first + more).unwrap();
            let before = plain.len();
            plain.extend((*first..=first + more).map(|counter| Dot::new(replica(*at), counter).unwrap()));
            prop_assert_eq!(held.insert(interval) == Changed::Yes, plain.len() > before);
            prop_assert_eq!(context.insert(interval) == Changed::Yes, plain.len() > before);
        }
        for dot in (0..2).flat_map(|at| (1..40).map(move |counter| Dot::new(replica(at), counter).unwrap())) {
            prop_assert_eq!(held.contains(dot), plain.contains(&dot));
            prop_assert_eq!(context.contains(dot), plain.contains(&dot));
        }
        prop_assert_eq!(&held, &plain.into_iter().collect());
        let halves: Vec<IntervalVersionVector> = parts.chunks(4).map(|chunk| {
            let mut half = IntervalVersionVector::new();
            for (at, first, more) in chunk {
                half.insert(Interval::new(replica(*at), *first, first + more).unwrap());
            }
            half
        }).collect();
        check_lattice(&halves);
        let mut contexts: Vec<CausalContext> = Vec::new();
        for half in &halves {
            let mut context = CausalContext::new();
            half.iter().for_each(|interval| { context.insert(interval); });
            contexts.push(context);
        }
        check_lattice(&contexts);
        check_lattice(&contexts.iter().map(|context| context.vector().clone()).collect::<Vec<_>>());
    }
}

/// One corrupt total must not win for ever: it is refused, by name.
#[test]
fn a_jump_past_the_limit_is_refused_and_an_overflow_too() {
    let mut counter = GCounter::bottom();
    counter.add(&writer(0), 5).unwrap();
    let before = counter.clone();
    let mut corrupt = GCounter::bottom();
    corrupt.add(&writer(1), u64::MAX).unwrap();
    assert_eq!(
        counter.join_limited(&corrupt, 1000).unwrap_err().replica,
        replica(1)
    );
    assert_eq!(counter, before);
    let overflow = WriteError::CounterOverflow {
        replica: replica(1),
    };
    assert_eq!(corrupt.add(&writer(1), 1).unwrap_err(), overflow);
}

fn grow(counter: &mut GCounter, writer: &mut Writer, dice: &mut Dice) {
    counter.add(writer, dice.below(5)).unwrap();
}

fn rise_and_fall(counter: &mut PnCounter, writer: &mut Writer, dice: &mut Dice) {
    let amount = i64::try_from(dice.below(9)).unwrap() - 4;
    counter.add(writer, amount).unwrap();
}

fn book(counter: &mut BoundedCounter, writer: &mut Writer, dice: &mut Dice) {
    let (heir, amount) = (replica(dice.index(4)), dice.below(4));
    // What the rights do not cover is refused, and that is all.
    let _ = match dice.below(4) {
        0 | 1 => counter.add(writer, amount),
        2 => counter.take(writer, amount),
        _ => counter.pass(writer, heir, amount),
    };
    assert!(counter.rights(writer.replica()) < u64::MAX);
}

/// Laws 1 to 4, 8 and 9 on histories, and the seventh on a network: as for every type that is synced. The fifth is above;
/// the sixth is not theirs, since they hold nothing else.
fn check_synced<R: Subject + Lattice + Synced>(edit: fn(&mut R, &mut Writer, &mut Dice)) {
    check_laws(0..300, R::bottom, edit);
    check_convergence(0..60, R::bottom, edit);
    for seed in 0..100 {
        let mut dice = Dice::new(seed);
        let mut writers = [0, 1, 2].map(|number| Writer::new(replica(number), 0, u64::MAX));
        let mut states = [R::bottom(), R::bottom(), R::bottom()];
        let mut deltas: Vec<R> = Vec::new();
        for _ in 0..20 {
            let at = dice.index(3);
            let mut twin = states[at].clone();
            edit(&mut states[at], &mut writers[at], &mut dice);
            let told = states[at].delta_since(twin.vector()).to_bytes();
            let of_it = R::from_bytes(&told, Budget::default()).unwrap();
            // No over-claim: what a delta of one write says it gives is its writer's part, whole.
            assert!(R::gives_no_more(&of_it, &states[at]));
            twin.join(&of_it);
            assert_eq!(twin, states[at], "a write does what its delta does");
            deltas.push(of_it);
        }
        check_lattice(&states);
        for x in &states {
            for y in &states {
                let (mut by_delta, mut joined) = (y.clone(), y.clone());
                R::take(&mut by_delta, x);
                joined.join(x);
                assert_eq!(by_delta, joined, "law 3");
                assert!(x.vector() != y.vector() || x == y);
                assert_eq!(x == y, x.canonical_bytes() == y.canonical_bytes());
            }
        }
        let (mut forth, mut back) = (R::bottom(), R::bottom());
        for delta in &deltas {
            forth.join(delta);
        }
        for delta in deltas.iter().rev().chain(&deltas) {
            back.join(delta);
        }
        assert_eq!(forth, back, "deltas join in any order, twice");
        for state in &states {
            let mut collected = state.clone();
            assert_eq!(collected.collect(state.vector()), Changed::No);
            assert_eq!(&collected, state);
            check_decoder::<R>(&state.to_bytes());
        }
    }
}

/// What the checks need of a counter that is its own delta.
trait Synced: Replicated + Sized {
    fn take(into: &mut Self, from: &Self);
    fn gives_no_more(delta: &Self, state: &Self) -> bool;
}

impl<R: Replicated<Delta = R> + PartialEq> Synced for R {
    fn take(into: &mut Self, from: &Self) {
        let delta = from.delta_since(into.vector());
        into.apply_within(&delta, &Limits::NONE).unwrap();
    }

    fn gives_no_more(delta: &Self, state: &Self) -> bool {
        R::needs(delta).is_empty() && R::gives(delta).partial_le(state.vector())
    }
}

#[test]
fn a_grow_only_counter_is_synced_lawfully() {
    check_synced::<GCounter>(grow);
}

#[test]
fn a_counter_that_rises_and_falls_is_synced_lawfully() {
    check_synced::<PnCounter>(rise_and_fall);
}

#[test]
fn a_bounded_counter_is_synced_lawfully() {
    check_synced::<BoundedCounter>(book);
}

fn within(advance_max: u64) -> Limits {
    Tolerance {
        advance_max,
        ..Tolerance::ANYTHING
    }
    .at(0)
}

fn check_refused<R>(state: &mut R, delta: &R, is_named: impl Fn(&ApplyError) -> bool)
where
    R: Replicated<Delta = R> + Clone + PartialEq + std::fmt::Debug,
{
    let before = state.clone();
    let refused = state.apply_within(delta, &within(100)).unwrap_err();
    assert!(is_named(&refused), "{refused}");
    assert_eq!(*state, before, "what is refused changes nothing");
}

/// A jump of any total, up, down, granted to oneself or another, or taken; by hand and through the sync.
#[test]
fn a_jump_of_any_total_of_any_counter_is_refused_by_name() {
    let jump = |error: &ApplyError| matches!(error, ApplyError::Jump(CounterJump { replica: named, advance_max: 100, .. }) if *named == replica(1));
    for amount in [101, -101] {
        let (mut here, mut there) = (PnCounter::bottom(), PnCounter::bottom());
        there.add(&writer(1), 100).unwrap();
        here.join(&there);
        let corrupt = there.add(&writer(1), amount).unwrap();
        let before = here.clone();
        assert_eq!(
            here.join_limited(&corrupt, 100).unwrap_err().replica,
            replica(1)
        );
        assert_eq!(here, before);
        check_refused(&mut here, &corrupt, jump);
        assert_eq!(here.join_limited(&corrupt, 101), Ok(Changed::Yes));
        assert_eq!(here.value(), 100 + i128::from(amount));
    }
    let (mut here, mut there) = (BoundedCounter::bottom(), BoundedCounter::bottom());
    for _ in 0..5 {
        there.add(&writer(1), 100).unwrap();
        assert_eq!(here.join_limited(&there, 100), Ok(Changed::Yes));
    }
    let (mut added, mut taken, mut passed) = (there.clone(), there.clone(), there.clone());
    let corrupt = [
        added.add(&writer(1), 101).unwrap(),
        taken.take(&writer(1), 101).unwrap(),
        passed.pass(&writer(1), replica(2), 101).unwrap(),
    ];
    for corrupt in corrupt {
        let before = here.clone();
        assert_eq!(
            here.join_limited(&corrupt, 100).unwrap_err().replica,
            replica(1)
        );
        assert_eq!(here, before);
        check_refused(&mut here, &corrupt, jump);
    }
    let (mut here, mut there) = (GCounter::bottom(), GCounter::bottom());
    check_refused(&mut here, &there.add(&writer(1), 101).unwrap(), jump);
}

/// Two writers under one id: of one version there are two values, or the newer has lost something.
#[test]
fn two_histories_of_one_replica_are_refused_by_name() {
    let conflict = |error: &ApplyError| matches!(error, ApplyError::Conflict { replica: named, .. } if *named == replica(1));
    let (mut here, mut there) = (PnCounter::bottom(), PnCounter::bottom());
    here.add(&writer(1), 5).unwrap();
    let same = there.add(&writer(1), -5).unwrap();
    check_refused(&mut here, &same, conflict);
    let newer = there.add(&writer(1), -5).unwrap();
    check_refused(&mut here, &newer, conflict);
    let (mut here, mut there) = (BoundedCounter::bottom(), BoundedCounter::bottom());
    here.add(&writer(1), 6).unwrap();
    here.pass(&writer(1), replica(2), 2).unwrap();
    there.add(&writer(1), 7).unwrap();
    let other = there.take(&writer(1), 3).unwrap();
    check_refused(&mut here, &other, conflict);
}

/// Both totals of a replica fit 64 bits together, or a version could not be told.
#[test]
fn totals_that_do_not_fit_together_are_refused() {
    let mut counter = PnCounter::bottom();
    counter.add(&writer(0), i64::MAX).unwrap();
    counter.add(&writer(0), i64::MAX).unwrap();
    counter.add(&writer(0), 1).unwrap();
    let before = counter.clone();
    let overflow = WriteError::CounterOverflow {
        replica: replica(0),
    };
    assert_eq!(counter.add(&writer(0), -1).unwrap_err(), overflow);
    assert_eq!(counter, before);
    let mut seats = BoundedCounter::bottom();
    seats.add(&writer(0), u64::MAX).unwrap();
    let before = seats.clone();
    assert!(seats.take(&writer(0), 1).is_err());
    assert_eq!(seats, before);
}
