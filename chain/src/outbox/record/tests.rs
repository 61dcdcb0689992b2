//! Records survive the store, and nothing else becomes one.

use proptest::prelude::*;

use super::*;

const EVM: ChainId = ChainId::POLYGON;

fn address(chain: ChainId, byte: u8) -> Address {
    match chain.family() {
        Some(ChainFamily::Solana) => Address::Solana(SolanaAddress([byte; 32])),
        _ => Address::Evm(alloy_primitives::Address::repeat_byte(byte)),
    }
}

fn id(chain: ChainId, byte: u8) -> TxId {
    match chain.family() {
        Some(ChainFamily::Solana) => TxId::Solana([byte; 64]),
        _ => TxId::Evm(B256::repeat_byte(byte)),
    }
}

fn bytes(length_max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..length_max).prop_map(Bytes::from)
}

fn amount() -> impl Strategy<Value = Amount> {
    (any::<[u8; 32]>(), any::<u8>())
        .prop_map(|(units, decimals)| Amount::new(U256::from_be_bytes(units), decimals))
}

fn intent(chain: ChainId) -> impl Strategy<Value = Intent> {
    let (from, to) = (address(chain, 1), address(chain, 2));
    prop_oneof![
        (amount(), any::<bool>()).prop_map(move |(amount, is_native)| Intent::Transfer {
            from,
            to,
            asset: if is_native {
                Asset::Native
            } else {
                Asset::Token(address(chain, 3))
            },
            amount,
        }),
        (amount(), bytes(200)).prop_map(move |(value, data)| Intent::Call {
            from,
            to,
            value,
            data
        }),
        (amount(), bytes(200)).prop_map(move |(value, code)| Intent::Deploy { from, value, code }),
    ]
}

fn attempt(chain: ChainId) -> impl Strategy<Value = Attempt> {
    let terms = match chain.family() {
        Some(ChainFamily::Solana) => any::<(u64, u64)>()
            .prop_map(|(last_valid_height, signed_slot)| Terms::Solana {
                last_valid_height,
                signed_slot,
            })
            .boxed(),
        _ => prop_oneof![
            any::<u128>().prop_map(|gas_price| Terms::Evm(Fees::Legacy { gas_price })),
            any::<(u128, u128)>()
                .prop_map(|(fee_max, tip_max)| Terms::Evm(Fees::Eip1559 { fee_max, tip_max })),
        ]
        .boxed(),
    };
    (bytes(300), any::<u8>(), terms, any::<bool>()).prop_map(
        move |(raw, byte, terms, is_cancel)| Attempt {
            raw,
            id: id(chain, byte),
            terms,
            is_cancel,
        },
    )
}

fn inclusion(chain: ChainId) -> impl Strategy<Value = Inclusion> {
    let reason = prop::option::of(revert());
    (any::<u8>(), any::<u64>(), any::<[u8; 32]>(), reason).prop_map(
        move |(byte, block_number, hash, reason)| Inclusion {
            transaction: id(chain, byte),
            block_number,
            block_hash: hash.into(),
            is_success: reason.is_none() && block_number % 2 == 0,
            reason,
        },
    )
}

/// As a node may have said it, and as much of it as is kept.
fn revert() -> impl Strategy<Value = Revert> {
    let data = prop::collection::vec(any::<u8>(), 0..700);
    let said = prop_oneof![
        ".{0,700}".prop_map(Revert::Message),
        ".{0,700}".prop_map(Revert::Unexplained),
        any::<[u8; 32]>().prop_map(|code| Revert::Panic(U256::from_be_bytes(code))),
        (any::<u8>(), ".{0,80}").prop_map(|(index, error)| Revert::Instruction { index, error }),
        data.prop_map(|data| crate::evm::decode_revert(&data, "quiet")),
    ];
    said.prop_map(crate::outbox::reason::kept)
}

fn outcome(chain: ChainId) -> impl Strategy<Value = Outcome> {
    prop_oneof![
        inclusion(chain).prop_map(Outcome::Final),
        Just(Outcome::Cancelled),
        ".{0,80}".prop_map(|reason| Outcome::Rejected { reason }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![Just(EVM), Just(ChainId::SOLANA)].prop_flat_map(|chain| {
        let purpose = prop_oneof![
            4 => intent(chain).prop_map(Purpose::Intent),
            1 => Just(Purpose::Filler),
        ];
        let called_off = prop_oneof![
            Just(CallOff::ByCaller),
            ".{0,80}".prop_map(CallOff::Refused),
        ];
        let numbers = (
            prop::option::of(any::<u64>()),
            prop::option::of(any::<u128>()),
            prop::option::of(any::<u64>()),
        );
        let attempts = prop::collection::vec(attempt(chain), 0..=ATTEMPTS_MAX);
        let ends = (
            prop::option::of(inclusion(chain)),
            prop::option::of(outcome(chain)),
            prop::option::of(called_off),
        );
        let key = prop::option::of(prop::collection::vec(any::<u8>(), 1..=KEY_BYTES_MAX));
        (key, any::<[u8; 32]>(), purpose, numbers, attempts, ends).prop_map(
            move |(key, digest, purpose, numbers, attempts, (included, outcome, called_off))| {
                Record {
                    key: key.and_then(IdempotencyKey::new),
                    digest: digest.into(),
                    chain,
                    account: address(chain, 1),
                    // What is over has lost its intent.
                    purpose: if outcome.is_some() {
                        Purpose::Filler
                    } else {
                        purpose
                    },
                    gas_limit: numbers.0,
                    fee_cap: numbers.1,
                    nonce: numbers.2,
                    called_off,
                    attempts,
                    included,
                    outcome,
                    end_number: u64::from(digest[0]),
                    signed_above: numbers.0,
                }
            },
        )
    })
}

proptest! {
    /// What was written is read, byte for byte and field for field.
    #[test]
    fn a_record_is_read_as_it_was_written(record in record()) {
        let bytes = record.encode();
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
    }

    /// A part of a record is none, and neither is one with something behind it.
    #[test]
    fn a_part_of_a_record_is_refused(record in record(), cut in any::<prop::sample::Index>()) {
        let mut bytes = record.encode();
        prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(Record::decode(&bytes).is_err());
    }

    /// Whatever else bytes are, they are read or refused; what is read has one spelling.
    #[test]
    fn changed_bytes_are_read_or_refused(
        record in record(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = record.encode();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = Record::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(read) = Record::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }
}

/// A short record that claims a long field costs nothing: lengths are held against what is there.
#[test]
fn claims_are_held_against_what_is_there() {
    let record = Record {
        key: IdempotencyKey::new("order 17"),
        digest: B256::ZERO,
        chain: EVM,
        account: address(EVM, 1),
        purpose: Purpose::Filler,
        gas_limit: None,
        fee_cap: None,
        nonce: None,
        called_off: None,
        attempts: Vec::new(),
        included: None,
        outcome: None,
        end_number: 0,
        signed_above: None,
    };
    let bytes = record.encode();
    // The last five: no attempts, no inclusion, no outcome, no end, no block of signing.
    let (head, _) = bytes.split_at(bytes.len() - 5);
    for claim in [1, ATTEMPTS_MAX as u64, ATTEMPTS_MAX as u64 + 1, u64::MAX] {
        let mut bytes = head.to_vec();
        put_varint(&mut bytes, claim);
        assert!(Record::decode(&bytes).is_err(), "{claim} attempts");
        // One attempt, whose bytes are said to be so many.
        let mut bytes = head.to_vec();
        put_varint(&mut bytes, 1);
        put_varint(&mut bytes, claim);
        assert!(Record::decode(&bytes).is_err(), "{claim} bytes");
    }
}
