//! Blocks and changes survive the store, and nothing else becomes one.

use alloy_primitives::Address as EvmAddress;
use proptest::prelude::*;

use super::*;
use crate::follow::ring::Stored;
use crate::{Address, SolanaAddress, TxId};

fn hash() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::from)
}

fn block() -> impl Strategy<Value = Block> {
    (any::<u64>(), hash(), hash(), any::<u64>()).prop_map(|(number, hash, parent, timestamp_s)| {
        Block {
            number,
            hash,
            parent,
            timestamp_s,
        }
    })
}

fn log() -> impl Strategy<Value = Log> {
    let address = prop_oneof![
        any::<[u8; 20]>().prop_map(|bytes| Address::Evm(EvmAddress::from(bytes))),
        any::<[u8; 32]>().prop_map(|bytes| Address::Solana(SolanaAddress(bytes))),
    ];
    let transaction = prop_oneof![
        hash().prop_map(TxId::Evm),
        any::<u8>().prop_map(|byte| TxId::Solana([byte; 64])),
    ];
    let topics = prop::collection::vec(hash(), 0..=4);
    let data = prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
    let numbers = any::<(u64, u64, u64)>();
    (address, topics, data, numbers, hash(), transaction).prop_map(
        |(address, topics, data, numbers, block_hash, transaction)| Log {
            address,
            topics,
            data,
            block_number: numbers.0,
            block_hash,
            transaction,
            transaction_index: numbers.1,
            index: numbers.2,
        },
    )
}

fn logs() -> impl Strategy<Value = Vec<Log>> {
    prop::collection::vec(log(), 0..6)
}

fn kind() -> impl Strategy<Value = ChangeKind> {
    prop_oneof![
        (any::<u64>(), block(), logs()).prop_map(|(first, block, logs)| ChangeKind::Added {
            first,
            block,
            logs
        }),
        (block(), logs()).prop_map(|(block, logs)| ChangeKind::Removed { block, logs }),
        block().prop_map(|block| ChangeKind::Finalized { block }),
    ]
}

proptest! {
    /// What was written is read.
    #[test]
    fn a_change_is_read_as_it_was_written(kind in kind()) {
        prop_assert_eq!(decode(&encode(&kind)), Ok(kind));
    }

    #[test]
    fn a_block_is_read_as_it_was_written(block in block(), logs in logs()) {
        let stored = Stored { block, logs };
        prop_assert_eq!(Stored::decode(&stored.encode()), Ok(stored));
    }

    /// A part is nothing, and neither is a whole with something behind it.
    #[test]
    fn a_part_is_refused(kind in kind(), cut in any::<prop::sample::Index>()) {
        let mut bytes = encode(&kind);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(decode(&bytes).is_err());
    }

    /// Whatever else bytes are, they are read or refused; what is read has one spelling.
    #[test]
    fn changed_bytes_are_read_or_refused(
        kind in kind(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = encode(&kind);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(encode(&read), bytes.clone());
        }
        if let Ok(read) = Stored::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}

/// A short input that claims a long list or a long field costs nothing.
#[test]
fn claims_are_held_against_what_is_there() {
    let block = Block {
        number: 1,
        hash: B256::ZERO,
        parent: B256::ZERO,
        timestamp_s: 1,
    };
    let stored = Stored {
        block,
        logs: Vec::new(),
    };
    let bytes = stored.encode();
    let (head, _) = bytes.split_at(bytes.len() - 1);
    for claim in [1, LOGS_MAX as u64, LOGS_MAX as u64 + 1, u64::MAX] {
        let mut bytes = head.to_vec();
        put_varint(&mut bytes, claim);
        assert!(Stored::decode(&bytes).is_err(), "{claim} logs");
    }
}
