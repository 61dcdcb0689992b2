//! Two replicas of one log, one of them rebuilt from its snapshot again and again.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn replica_restored_at_every_index_equals_one_that_never_was(entries in model::entries()) {
        let mut steady = Machine::new(LockTable::new());
        let mut restored = Machine::new(LockTable::new());
        for (stamp, requests) in entries {
            let command = entry_of(stamp, &requests);
            prop_assert_eq!(steady.command(&command), restored.command(&command));
            let chunks = steady.chunks();
            prop_assert_eq!(&chunks, &restored.chunks());
            restored.state = restored_from(&chunks);
            prop_assert_eq!(&steady.state, &restored.state);
        }
    }

    #[test]
    fn any_bytes_have_one_answer_and_no_effect_unless_they_are_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut one = Machine::new(LockTable::new());
        let mut other = Machine::new(LockTable::new());
        prop_assert_eq!(one.command(&bytes), other.command(&bytes));
        prop_assert_eq!(one.state.query(&bytes), other.state.query(&bytes));
        if Entry::decode(&bytes).is_err() {
            prop_assert_eq!(one.state, LockTable::new());
        }
    }

    #[test]
    fn a_damaged_snapshot_is_refused_or_still_consistent(
        entries in model::entries(), at: prop::sample::Index, bit in 0..8_u32
    ) {
        let mut table = Machine::new(LockTable::new());
        for (stamp, requests) in entries {
            table.entry(stamp, &requests);
        }
        let mut bytes: Vec<u8> = table.chunks().concat();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut restore = LockTable::new().begin_restore();
        if restore.chunk(&bytes).is_ok()
            && let Ok(table) = restore.finish()
        {
            table.assert_consistent();
        }
    }
}

#[test]
fn a_snapshot_without_its_last_chunk_is_refused() {
    let mut table = Machine::new(LockTable::new());
    let owner: Box<str> = "x".repeat(128).into();
    let opens: Vec<_> = (0..1_000)
        .map(|nonce| {
            let (ttl_ms, owner) = (30_000, owner.clone());
            (
                peer(1),
                Request::Open {
                    nonce,
                    ttl_ms,
                    owner,
                },
            )
        })
        .collect();
    table.entry(1, &opens);
    let chunks = table.chunks();
    assert!(chunks.len() > 1);
    let limit = peaberry_consensus::SNAPSHOT_CHUNK_BYTES_MAX;
    assert!(chunks.iter().all(|chunk| chunk.len() <= limit));

    let mut restore = LockTable::new().begin_restore();
    for chunk in &chunks[..chunks.len() - 1] {
        restore.chunk(chunk).unwrap();
    }
    assert!(restore.finish().is_err());
    assert_eq!(restored_from(&chunks), table.state);
}
