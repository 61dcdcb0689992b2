//! What deltas claim, in what order they may come, and what is left of the log.

use peaberry_crdt::{ApplyError, Causal, Delta, DotStore, Lattice, VersionVector};

use crate::history::{Subject, World};

/// The delta law, with removals and with cut logs; and equal vectors mean equal states.
pub(crate) fn check_deltas<S: DotStore>(states: &[Causal<S>]) {
    for x in states {
        for y in states {
            let mut by_delta = y.clone();
            by_delta.apply(&x.delta_since(y.vector())).unwrap();
            let mut joined = y.clone();
            joined.join(x);
            assert_eq!(by_delta, joined);
            assert!(
                x.vector() != y.vector() || x == y,
                "equal vectors, different states"
            );
        }
    }
}

/// Every write's own delta, last first, each as soon as it fits: one that does not is refused and changes nothing.
pub(crate) fn check_any_order<T: Subject>(world: &World<T>) {
    let mut all: Causal<T::Store> = Causal::bottom();
    let mut waiting: Vec<&Delta<T::Store>> = world.deltas.iter().rev().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|delta| {
            let unchanged = all.clone();
            match all.apply(delta) {
                Ok(_) => false,
                Err(ApplyError::Gap { .. }) => {
                    assert_eq!(all, unchanged);
                    true
                }
                Err(error) => panic!("{error}"),
            }
        });
        assert!(waiting.len() < before, "a gap that nothing fills");
    }
    let mut joined = Causal::bottom();
    world.states.iter().for_each(|state| {
        joined.join(state);
    });
    assert_eq!(all, joined);
}

/// What a delta claims it carries: the dots of its store, the events of its log and the dots they removed, all within
/// what it claims, and no claim beyond them. It is looked at from outside: what one delta brings to a state that knows
/// just enough is what the events it claims say.
pub(crate) fn check_claims<T: Subject>(world: &World<T>) {
    for x in &world.states {
        for y in &world.states {
            let delta = x.delta_since(y.vector());
            assert!(delta.from().partial_le(y.vector()), "it asks for too much");
            let mut both = y.vector().clone();
            both.join(x.vector());
            let mut gives = y.vector().clone();
            gives.join(delta.to());
            assert_eq!(gives, both, "it claims what neither knew, or not all");
            delta
                .store()
                .for_each_after(&VersionVector::new(), &mut |dot| {
                    assert!(delta.to().covers(dot) && !delta.from().covers(dot));
                });
        }
    }
}

/// Forgetting what all know changes no state, no byte that counts, and nothing that any of them is told.
pub(crate) fn check_collection<T: Subject>(world: &World<T>) {
    let vectors = world.states.iter().map(Causal::vector);
    let stable = vectors.fold(None, |met: Option<VersionVector>, vector| {
        Some(met.map_or_else(|| vector.clone(), |met| met.meet(vector)))
    });
    let stable = stable.unwrap_or_default();
    let collected: Vec<Causal<T::Store>> = world
        .states
        .iter()
        .map(|state| {
            let mut collected = state.clone();
            collected.collect(&stable);
            assert_eq!(&collected, state);
            assert_eq!(collected.canonical_bytes(), state.canonical_bytes());
            collected
        })
        .collect();
    for (x, kept) in collected.iter().zip(&world.states) {
        for (y, other) in collected.iter().zip(&world.states) {
            let delta = x.delta_since(y.vector());
            // A log that a step of the history had cut further is not made longer.
            if !kept.delta_since(other.vector()).is_beyond_log() {
                assert!(!delta.is_beyond_log(), "what is not stable was forgotten");
            }
            let mut told = y.clone();
            told.apply(&delta).unwrap();
            let mut joined = other.clone();
            joined.join(kept);
            assert_eq!(told, joined, "collecting first is collecting last");
            told.collect(&stable);
            assert_eq!(told, joined);
        }
    }
}
