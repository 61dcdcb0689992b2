//! The laws of every type, over random histories.
//!
//! | law | what checks it | of which types |
//! |---|---|---|
//! | 1. a join is commutative, associative, idempotent, monotone, with bottom as identity; equal states are equal bytes | `check_lattice`, `wire::check_round_trips` | all below; counters, intervals, contexts and vectors in `counters`; `text` |
//! | 2. a write does what its delta does; deltas join in any order once what they need is there | `history::World::write`, `deltas::check_any_order` | all below; `counters`; `text` |
//! | 3. `y ⊔ delta_since(x, vector(y)) = y ⊔ x`, with removals and with cut logs; equal vectors, equal states | `deltas::check_deltas`, `wire::check_parts` | all below; `counters::check_synced`; `text` |
//! | 4. a delta claims what it carries, and no more | `deltas::check_claims`, `tests/refusals.rs` for bytes that lie | all below; `counters::check_synced` |
//! | 5. a type shows what a naive reading of its events says | `history::World::check_specification`; `fugue` in `tests/text` for the order of a text | all below; `counters`; `text` |
//! | 6. composition: nested to depth 4, a removal against a concurrent update | `nested_map`, `document`, `list` | maps of maps of maps of sets; documents of all kinds |
//! | 7. a network that loses, repeats, reorders and damages; crashes, old backups, clocks | `tests/testkit.rs`, `tests/text`, `soak --target crdt` | a document of every kind, paths, texts, plain counters |
//! | 8. collecting commutes with everything; who was evicted brings nothing back | steps `Collect` and `SyncStale`, `deltas::check_collection`, `tests/membership.rs` | all below; `counters`, which forget nothing |
//! | 9. bytes: round trips, no prefix, no flipped bit, within a constant | `wire::check_round_trips`, `tests/wire`, `tests/hostile`, the fuzz targets | everything that has bytes |

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod counters;
mod deltas;
mod document;
mod history;
mod list;
mod specifications;
mod text;
mod wire;

use history::{REPLICAS, Step, Subject, World, steps};
use list::Lists;
use peaberry_crdt::{Changed, Lattice};
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

fn check<T: Subject>(steps: &[Step]) {
    let mut world = World::<T>::run(steps);
    check_lattice(&world.states);
    deltas::check_deltas(&world.states);
    deltas::check_claims(&world);
    deltas::check_any_order(&world);
    deltas::check_collection(&world);
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
