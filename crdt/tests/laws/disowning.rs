//! What is left of a writer that is disowned: nothing, on every copy that does it, whatever order that comes in.

use peaberry_crdt::wire::StoreCodec;
use peaberry_crdt::{Causal, Changed, DotStore, Lattice, ReplicaId, VersionVector};
use proptest::prelude::*;

use crate::history::{Step, Subject, World, steps};
use crate::specifications::{AddWins, Lww, Nested};

/// Each writer, disowned by all who know it.
fn check_disowning<T: Subject>(steps: &[Step]) {
    let world = World::<T>::run(steps);
    let mut all: Causal<T::Store> = Causal::bottom();
    for state in &world.states {
        all.join(state);
    }
    let writers: Vec<ReplicaId> = all.vector().iter().map(|(writer, _)| writer).collect();
    for writer in writers {
        let mut without = all.clone();
        assert_eq!(without.disown(writer), Changed::Yes);
        check_gone(&without, &all, writer);
        for state in &world.states {
            check_comes_together(&without, &all, state, writer);
        }
    }
}

/// Nothing of it is in the vector, in the store or in what is remembered for others; what others know stays known.
fn check_gone<S: DotStore + StoreCodec>(without: &Causal<S>, all: &Causal<S>, writer: ReplicaId) {
    assert_eq!(without.vector().get(writer), 0);
    for (other, count) in all.vector().iter().filter(|(other, _)| *other != writer) {
        assert_eq!(without.vector().get(other), count);
    }
    without
        .value()
        .for_each_after(&VersionVector::new(), &mut |dot| {
            assert_ne!(dot.replica(), writer);
        });
    assert_eq!(without.log_bytes(), 0);
    assert!(without.canonical_bytes().len() < all.canonical_bytes().len());
    let mut again = without.clone();
    assert_eq!(again.disown(writer), Changed::No);
    assert_eq!(&again, without);
}

/// One that is behind and knew all of the writer comes to the same, by a delta and by a join; one that has not disowned brings
/// the writer back until it is disowned again.
fn check_comes_together<S: DotStore + StoreCodec>(
    without: &Causal<S>,
    all: &Causal<S>,
    behind: &Causal<S>,
    writer: ReplicaId,
) {
    // Else what the writer removed of others' is nowhere told of any more.
    if behind.vector().get(writer) == all.vector().get(writer) {
        let mut told = behind.clone();
        told.disown(writer);
        let mut joined = told.clone();
        told.apply(&without.delta_since(told.vector())).unwrap();
        assert_eq!(&told, without);
        joined.join(without);
        assert_eq!(&joined, without);
    }

    let mut brought_back = without.clone();
    brought_back.join(all);
    assert_eq!(&brought_back, all);
    brought_back.disown(writer);
    assert_eq!(&brought_back, without);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn of_a_set(steps in steps()) {
        check_disowning::<AddWins>(&steps);
    }

    #[test]
    fn of_a_register(steps in steps()) {
        check_disowning::<Lww>(&steps);
    }

    #[test]
    fn of_maps_of_maps(steps in steps()) {
        check_disowning::<Nested>(&steps);
    }
}
