//! Nonces, replacements and what is refused, as a client reads it.

use peaberry_chain::evm::{EvmRpc, Transaction};
use peaberry_chain::primitives::U256;
use peaberry_chain::{BlockAt, ChainError, ChainId};

use crate::node::{GWEI, World, eventually, fees, on_both};

on_both! {
    World::on =>
    a_gap_holds_back_what_lies_behind
    a_replacement_takes_the_place_of_what_it_outbids
    known_bytes_are_a_success_and_used_nonces_an_open_question
    what_was_forgotten_waits_no_more
    each_transaction_makes_its_block_where_that_is_the_custom
    what_no_node_takes_was_not_sent
    who_cannot_pay_is_told_so
}

/// What lies behind a gap waits until the gap is filled, and then goes into one block in order.
async fn a_gap_holds_back_what_lies_behind(world: World) {
    let second = world.send(0, &world.payment(1)).await;
    let third = world.send(0, &world.payment(2)).await;
    world.node.mine().await;
    assert!(world.transactions(1).await.is_empty());
    assert_eq!(world.nonce(0, BlockAt::Pending).await, 0);

    let first = world.send(0, &world.payment(0)).await;
    assert_eq!(world.nonce(0, BlockAt::Pending).await, 3);
    world.node.mine().await;
    assert_eq!(world.transactions(2).await, [first, second, third]);
    assert_eq!(world.nonce(0, BlockAt::Latest).await, 3);
}

/// An eighth more of both fees is enough, the same is not; only the dearer one is ever included.
async fn a_replacement_takes_the_place_of_what_it_outbids(world: World) {
    let offer = |fee_max, tip_max| Transaction {
        fees: fees(fee_max, tip_max),
        ..world.payment(0)
    };
    let held = world.send(0, &offer(8 * GWEI, 8 * GWEI)).await;
    let rival = Transaction {
        value: U256::from(2),
        ..offer(8 * GWEI, 8 * GWEI)
    };
    let refused = world.offer(0, &rival).await.unwrap_err();
    assert!(
        matches!(refused, ChainError::ReplacementUnderpriced),
        "{refused}"
    );
    assert!(!refused.may_have_been_sent());
    let new = world.send(0, &offer(9 * GWEI, 9 * GWEI)).await;
    world.node.mine().await;
    assert_eq!(world.transactions(1).await, [new]);
    assert_eq!(world.node.rpc.transaction(held).await.unwrap(), None);
}

async fn known_bytes_are_a_success_and_used_nonces_an_open_question(world: World) {
    let hash = world.send(0, &world.payment(0)).await;
    assert_eq!(world.send(0, &world.payment(0)).await, hash);
    world.node.mine().await;
    let rival = Transaction {
        value: U256::from(2),
        ..world.payment(0)
    };
    let late = world.offer(0, &rival).await.unwrap_err();
    assert!(matches!(late, ChainError::NonceTooLow { .. }), "{late}");
    assert!(late.may_have_been_sent());
    let signed = world.sign(0, &rival);
    assert_eq!(
        late.transaction(),
        Some(peaberry_chain::TxId::Evm(signed.hash()))
    );
}

async fn what_was_forgotten_waits_no_more(world: World) {
    let hash = world.send(0, &world.payment(0)).await;
    world.node.forget(hash).await;
    assert_eq!(world.node.rpc.transaction(hash).await.unwrap(), None);
    world.node.mine().await;
    assert!(world.transactions(1).await.is_empty());
}

async fn each_transaction_makes_its_block_where_that_is_the_custom(world: World) {
    world.node.mine_each(true).await;
    for nonce in 0..3 {
        let hash = world.send(0, &world.payment(nonce)).await;
        let receipt = async || world.node.rpc.receipt(hash).await.unwrap();
        eventually("it is in a block", receipt).await;
    }
    assert_eq!(world.height().await, 3);
    let behind = world.send(0, &world.payment(9)).await;
    assert_eq!(world.height().await, 3);
    let waits = world.node.rpc.transaction(behind).await.unwrap().unwrap();
    assert_eq!(waits.block_hash, None);
}

/// What can never be included is refused for good, and the error says that nothing is on its way.
async fn what_no_node_takes_was_not_sent(world: World) {
    let plain = || world.payment(0);
    for invalid in [
        Transaction {
            chain: ChainId::ETHEREUM,
            ..plain()
        },
        Transaction {
            gas_limit: 20_999,
            ..plain()
        },
        Transaction {
            gas_limit: 30_000_001,
            ..plain()
        },
    ] {
        let refused = world.offer(0, &invalid).await.unwrap_err();
        let is_for_good = matches!(refused, ChainError::InvalidTransaction { .. });
        assert!(is_for_good, "{refused}");
        assert!(!refused.may_have_been_sent(), "{refused}");
    }
    let raw = world.sign(0, &plain());
    for malformed in [&raw.raw()[..40], &[0xc0]] {
        let refused = world.node.rpc.broadcast(malformed).await.unwrap_err();
        let is_for_good = matches!(refused, ChainError::InvalidTransaction { .. });
        assert!(is_for_good, "{refused}");
        assert!(!refused.may_have_been_sent(), "{refused}");
    }
    world.node.mine().await;
    assert!(world.transactions(1).await.is_empty());
}

async fn who_cannot_pay_is_told_so(world: World) {
    let dear = Transaction {
        value: U256::from(10_001) * U256::from(10).pow(U256::from(18)),
        ..world.payment(0)
    };
    let refused = world.offer(0, &dear).await.unwrap_err();
    assert!(
        matches!(refused, ChainError::InsufficientFunds { .. }),
        "{refused}"
    );
    assert!(!refused.may_have_been_sent());
}
