use alloc::vec::Vec;

use super::Subject;
use crate::wire::{Budget, IdTable, Message};
use crate::{Changed, Lattice as _, Limits, ReplicaId};

/// Of a fuzzer's bytes little may come: what takes long finds little.
fn budget() -> Budget {
    Budget {
        bytes_max: 1 << 20,
        events_max: 1 << 20,
        ..Budget::default()
    }
}

/// Checks a decoder against any bytes at all, for fuzzing: as a message that stands alone, as the body of a session's
/// message without ids in its table, and with two. It must not panic, and what it takes must have no other spelling.
///
/// # Panics
///
/// When bytes are taken that the message is not written as.
///
/// # Example
///
/// ```
/// use peaberry_crdt::testkit::check_decoder;
/// use peaberry_crdt::{AddWinsSet, Delta};
///
/// check_decoder::<Delta<AddWinsSet<String>>>(&[1, 0, 0xff]);
/// ```
pub fn check_decoder<M: Message>(bytes: &[u8]) {
    let budget = budget();
    if let Ok(message) = M::from_bytes(bytes, budget) {
        assert_eq!(message.to_bytes(), bytes, "another spelling was taken");
    }
    let tables = [
        IdTable::new(),
        [1, u128::MAX]
            .into_iter()
            .filter_map(ReplicaId::new)
            .collect(),
    ];
    for table in tables {
        if let Ok(message) = M::from_session_bytes(bytes, &table, budget) {
            let mut again = Vec::new();
            message.to_session_bytes(&table, &mut again);
            assert_eq!(again, bytes, "another spelling was taken");
        }
    }
}

/// Checks, for fuzzing, what any bytes at all do to a state, if they are a delta: refused, they change nothing; taken,
/// they leave a state that is written and read like every other, and taken twice they change it once. `bytes` is the body
/// of a session's delta, whose table has the ids of the state's vector.
///
/// # Panics
///
/// When that is not so.
///
/// # Example
///
/// ```
/// use peaberry_crdt::testkit::check_apply;
/// use peaberry_crdt::{AddWinsSet, Causal, Lattice};
///
/// check_apply(&Causal::<AddWinsSet<String>>::bottom(), &[1, 0, 0xff]);
/// ```
pub fn check_apply<R: Subject>(state: &R, bytes: &[u8]) {
    let table: IdTable = state.vector().iter().map(|(replica, _)| replica).collect();
    let Ok(delta) = R::Delta::from_session_bytes(bytes, &table, budget()) else {
        return;
    };
    let mut after = state.clone();
    if after.apply_within(&delta, &Limits::NONE).is_err() {
        assert!(after == *state, "what was refused changed something");
        return;
    }
    assert!(
        state.vector().partial_le(after.vector()),
        "events were forgotten"
    );
    let back = R::from_bytes(&after.to_bytes(), Budget::default());
    assert_eq!(
        back.as_ref(),
        Ok(&after),
        "the state does not come back from its bytes"
    );
    assert_eq!(
        after.apply_within(&delta, &Limits::NONE),
        Ok(Changed::No),
        "what comes twice changes twice"
    );
}
