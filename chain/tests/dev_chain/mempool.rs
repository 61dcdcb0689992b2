//! Nonces, replacements and what is refused.

use peaberry_chain::dev::{DevOptions, Rejection};
use peaberry_chain::evm::{EvmRpc as _, Fees, Transaction};
use peaberry_chain::primitives::U256;
use peaberry_chain::{BlockAt, CallRequest, ChainError, ChainId, EvmAddress};

use super::now;
use crate::node::{GWEI, World};

fn fees(fee_max: u128, tip_max: u128) -> Fees {
    Fees::Eip1559 { fee_max, tip_max }
}

/// geth's rule: both fees a tenth higher, one of them is not enough.
#[test]
fn a_replacement_pays_a_tenth_more_of_both_fees() {
    let world = World::dev();
    let offer = |fee_max, tip_max| {
        let transaction = Transaction {
            fees: fees(fee_max, tip_max),
            ..world.payment(0)
        };
        world.chain().submit(world.sign(0, &transaction).raw())
    };
    let held = offer(10 * GWEI, GWEI).unwrap();
    for (fee_max, tip_max) in [
        (11 * GWEI, GWEI),
        (10 * GWEI, 2 * GWEI),
        (11 * GWEI - 1, 11 * GWEI / 10),
        (11 * GWEI, 11 * GWEI / 10 - 1),
    ] {
        assert_eq!(
            offer(fee_max, tip_max),
            Err(Rejection::ReplacementUnderpriced)
        );
    }
    let new = offer(11 * GWEI, 11 * GWEI / 10).unwrap();
    assert_ne!(new, held);
    assert_eq!(world.chain().waiting(), [new]);
    world.chain().mine();
    assert_eq!(world.chain().transactions(1), [new]);
}

#[test]
fn the_best_paying_sender_comes_first_and_each_in_the_order_of_nonces() {
    let world = World::dev();
    let mut sent = Vec::new();
    for (key, nonce, tip) in [(0, 0, 1), (0, 1, 9), (1, 0, 5), (1, 1, 2)] {
        let transaction = Transaction {
            fees: fees(20 * GWEI, tip * GWEI),
            ..world.payment(nonce)
        };
        sent.push(
            world
                .chain()
                .submit(world.sign(key, &transaction).raw())
                .unwrap(),
        );
    }
    world.chain().mine();
    let order = [2, 3, 0, 1].map(|place| *sent.get::<usize>(place).unwrap());
    assert_eq!(world.chain().transactions(1), order);
}

/// What cannot pay the base fee waits; it is no reason to hold back others.
#[test]
fn who_cannot_pay_the_base_fee_waits_until_it_falls() {
    let world = World::dev_with(|options| DevOptions {
        base_fee: 100_000_000_000,
        ..options
    });
    let poor = Transaction {
        fees: fees(80 * GWEI, GWEI),
        ..world.payment(0)
    };
    let poor = world.chain().submit(world.sign(0, &poor).raw()).unwrap();
    world.chain().mine();
    assert!(world.chain().transactions(1).is_empty());
    // An eighth less with each empty block.
    world.chain().mine();
    assert_eq!(world.chain().transactions(2), [poor]);
}

#[test]
fn what_no_node_takes_is_refused_and_changes_nothing() {
    let world = World::dev();
    let refuse = |transaction: Transaction| {
        let refused = world.chain().submit(world.sign(0, &transaction).raw());
        assert!(world.chain().waiting().is_empty());
        refused.unwrap_err()
    };
    let plain = || world.payment(0);
    assert_eq!(
        refuse(Transaction {
            chain: ChainId::ETHEREUM,
            ..plain()
        }),
        Rejection::WrongChain {
            have: 1,
            want: 31_337
        }
    );
    assert_eq!(
        refuse(Transaction {
            gas_limit: 20_999,
            ..plain()
        })
        .to_string(),
        "intrinsic gas too low: gas 20999, minimum needed 21000"
    );
    assert_eq!(
        refuse(Transaction {
            fees: fees(GWEI, 0),
            ..plain()
        })
        .to_string(),
        "transaction underpriced: gas tip cap 0, minimum needed 1"
    );
    assert_eq!(
        refuse(Transaction {
            gas_limit: 30_000_001,
            ..plain()
        }),
        Rejection::OverBlockGas
    );
    assert_eq!(
        refuse(Transaction {
            gas_limit: (1 << 24) + 1,
            ..plain()
        }),
        Rejection::OverTransactionGas {
            cap: 1 << 24,
            gas: (1 << 24) + 1
        }
    );
    assert!(matches!(
        refuse(Transaction {
            value: U256::MAX,
            ..plain()
        }),
        Rejection::InsufficientFunds { .. }
    ));
    assert!(matches!(
        refuse(Transaction {
            to: None,
            data: vec![0; 49_153].into(),
            gas_limit: 9_000_000,
            ..plain()
        }),
        Rejection::InitCodeTooLarge { .. }
    ));
    let raw = world.sign(0, &plain());
    assert!(matches!(
        world.chain().submit(&raw.raw()[1..]),
        Err(Rejection::Malformed(_))
    ));
    assert!(matches!(
        world.chain().submit(&[]),
        Err(Rejection::Malformed(_))
    ));
    let trailing = [&raw.raw()[..], &[0]].concat();
    assert!(matches!(
        world.chain().submit(&trailing),
        Err(Rejection::Malformed(_))
    ));
}

/// All that waits of one account must be paid together.
#[test]
fn what_waits_is_counted_against_the_balance() {
    let world = World::dev();
    let most = Transaction {
        value: world.chain().balance(world.address(0)) / U256::from(2),
        ..world.payment(0)
    };
    world.chain().submit(world.sign(0, &most).raw()).unwrap();
    let again = Transaction { nonce: 1, ..most };
    let refused = world.chain().submit(world.sign(0, &again).raw());
    assert!(matches!(refused, Err(Rejection::InsufficientFunds { .. })));
}

/// What lies behind a gap may never be reached, so it is held against the balance alone; once the gap is filled it counts.
#[test]
fn what_lies_behind_a_gap_is_not_counted_against_the_balance() {
    let world = World::dev();
    let half = world.chain().balance(world.address(0)) / U256::from(2);
    let costs = |nonce, value| {
        let transaction = Transaction {
            value,
            ..world.payment(nonce)
        };
        world.chain().submit(world.sign(0, &transaction).raw())
    };
    costs(1, half).unwrap();
    let first = costs(0, half).unwrap();
    let refused = costs(2, U256::ZERO);
    assert!(matches!(refused, Err(Rejection::InsufficientFunds { .. })));
    // Another in its place is not counted together with it.
    let outbid = Transaction {
        value: half,
        fees: fees(20 * GWEI, 2 * GWEI),
        ..world.payment(1)
    };
    let refused = world.chain().submit(world.sign(0, &outbid).raw());
    assert!(matches!(refused, Err(Rejection::InsufficientFunds { .. })));
    let outbid = Transaction {
        value: U256::ONE,
        ..outbid
    };
    let second = world.chain().submit(world.sign(0, &outbid).raw()).unwrap();
    world.chain().mine();
    for hash in [first, second] {
        assert!(now(world.chain().receipt(hash)).unwrap().is_some());
    }
}

/// Whoever cannot pay is told so by the estimate, before there is anything to send.
#[test]
fn an_estimate_looks_at_the_balance() {
    let world = World::dev();
    let request = CallRequest {
        to: Some(EvmAddress::repeat_byte(9).into()),
        value: U256::MAX,
        ..CallRequest::default()
    }
    .from(world.address(0));
    let refused = now(world.chain().estimate_gas(&request, BlockAt::Latest));
    assert!(
        matches!(refused, Err(ChainError::InsufficientFunds { .. })),
        "{refused:?}"
    );
}
