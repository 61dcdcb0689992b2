//! Counters of totals, and sets of events: laws and specifications.

use std::collections::BTreeSet;

use peaberry_crdt::{
    BoundedCounter, CausalContext, Changed, Dot, GCounter, Interval, IntervalVersionVector,
    Lattice, PnCounter, ReplicaId, WriteError, Writer,
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
