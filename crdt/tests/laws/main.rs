//! The laws of every type, over random histories.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod counters;
mod document;
mod history;
mod list;
mod specifications;
mod wire;

use history::{REPLICAS, Step, Subject, World, steps};
use list::Lists;
use peaberry_crdt::{Causal, Changed, DotStore, Lattice};
use proptest::prelude::*;
use specifications::{
    AddWins, DisableWins, EnableWins, GrowOnly, Lww, Mv, Nested, RemoveWins, Resettable,
};

fn joined<L: Lattice + Clone>(left: &L, right: &L) -> L {
    let mut joined = left.clone();
    joined.join(right);
    joined
}

pub(crate) fn check_lattice<L: Lattice + Clone + PartialEq + std::fmt::Debug>(states: &[L]) {
    for a in states {
        assert_eq!(a.clone().join(a), Changed::No);
        assert_eq!(&joined(a, &L::bottom()), a);
        assert_eq!(&joined(&L::bottom(), a), a);
        for b in states {
            let ab = joined(a, b);
            assert_eq!(ab, joined(b, a));
            assert!(a.partial_le(&ab) && b.partial_le(&ab));
            assert_eq!(b.partial_le(a), ab == *a);
            for c in states {
                assert_eq!(joined(&ab, c), joined(a, &joined(b, c)));
                assert!(joined(a, c).partial_le(&joined(&ab, c)), "join is monotone");
            }
        }
    }
}

/// The delta law, with removals and with cut logs; and equal vectors mean equal states.
fn check_deltas<S: DotStore>(states: &[Causal<S>]) {
    for x in states {
        for y in states {
            let mut by_delta = y.clone();
            by_delta.apply(&x.delta_since(y.vector())).unwrap();
            assert_eq!(by_delta, joined(y, x));
            assert!(
                x.vector() != y.vector() || x == y,
                "equal vectors, different states"
            );
        }
    }
}

fn check<T: Subject>(steps: &[Step]) {
    let mut world = World::<T>::run(steps);
    check_lattice(&world.states);
    check_deltas(&world.states);
    wire::check_round_trips(&world.states);
    wire::check_parts(&world);
    for at in 0..REPLICAS {
        for from in 0..REPLICAS {
            let other = world.states[from].clone();
            world.states[at].join(&other);
        }
        world.check_specification(at);
    }
    assert!(
        world.states.windows(2).all(|pair| pair[0] == pair[1]),
        "all joined all, and they differ"
    );
}

macro_rules! laws {
    ($($name:ident: $subject:ty,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(200))]
            $(#[test]
            fn $name(steps in steps()) {
                check::<$subject>(&steps);
            })*
        }
    };
}

laws! {
    add_wins_set: AddWins,
    remove_wins_set: RemoveWins,
    grow_only_set: GrowOnly,
    mv_register: Mv,
    lww_register: Lww,
    enable_wins_flag: EnableWins,
    disable_wins_flag: DisableWins,
    resettable_counter: Resettable,
    nested_map: Nested,
    document: document::Maps,
    list: Lists,
}
