//! Bytes of states and deltas: they come back, equal ones are equal, and parts of deltas are deltas.

use peaberry_crdt::wire::{Budget, IdTable, Message, StoreCodec};
use peaberry_crdt::{Causal, Delta, Lattice, VersionVector};

use crate::history::{Subject, World};

fn reread<M: Message>(message: &M) -> M {
    let bytes = message.to_bytes();
    let again = M::from_bytes(&bytes, Budget::default()).unwrap();
    assert_eq!(
        again.to_bytes(),
        bytes,
        "what was read is written differently"
    );
    for length in 0..bytes.len() {
        assert!(M::from_bytes(&bytes[..length], Budget::default()).is_err());
    }
    again
}

pub(crate) fn check_round_trips<S: StoreCodec>(states: &[Causal<S>]) {
    for x in states {
        let again = reread(x);
        assert_eq!(&again, x);
        assert_eq!(&reread(x.vector()), x.vector());
        for y in states {
            assert_eq!(x == y, x.canonical_bytes() == y.canonical_bytes());
            assert_eq!(
                x.vector() == y.vector(),
                x.vector().digest() == y.vector().digest()
            );
            // What was read goes on as what was written: its log too.
            let delta = x.delta_since(y.vector());
            assert_eq!(again.delta_since(y.vector()), delta);
            assert_eq!(reread(&delta), delta);
            for table in [IdTable::from(x.vector()), IdTable::from(y.vector())] {
                let mut bytes = Vec::new();
                delta.to_session_bytes(&table, &mut bytes);
                let again = Delta::from_session_bytes(&bytes, &table, Budget::default());
                assert_eq!(again.unwrap(), delta);
            }
        }
    }
}

/// Whatever part of a split delta was the last to arrive, the state is the one that the known events make; and these
/// are causally closed if both sides' were.
pub(crate) fn check_parts<T: Subject>(world: &World<T>) {
    for x in &world.states {
        for y in &world.states {
            let delta = x.delta_since(y.vector());
            let are_closed = world.is_closed(x.vector()) && world.is_closed(y.vector());
            for bytes_max in [0, 60, 100] {
                let mut receiver = y.clone();
                for part in delta.clone().split(bytes_max) {
                    receiver.apply(&part).unwrap();
                    assert_eq!(reread(&part), part);
                    assert_eq!(receiver, of_events(world, receiver.vector()));
                    if are_closed {
                        let known = receiver.vector();
                        assert!(world.is_closed(known), "an effect came before its cause");
                        world.check_shows(&receiver);
                    }
                }
                let mut joined = y.clone();
                joined.join(x);
                assert_eq!(receiver, joined);
            }
        }
    }
}

/// The state that knows exactly these events, made of their own deltas.
fn of_events<T: Subject>(world: &World<T>, known: &VersionVector) -> Causal<T::Store> {
    let mut state = Causal::bottom();
    for delta in &world.deltas {
        if delta
            .events()
            .all(|event| event.last() <= known.get(event.replica()))
        {
            state.apply(delta).unwrap();
        }
    }
    assert_eq!(state.vector(), known);
    state
}
