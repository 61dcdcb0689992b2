use alloc::vec::Vec;

use crate::ReplicaId;
use crate::wire::{Budget, IdTable, Message};

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
    // Of a fuzzer's bytes little may come: what takes long finds little.
    let budget = Budget {
        bytes_max: 1 << 20,
        events_max: 1 << 20,
        ..Budget::default()
    };
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
