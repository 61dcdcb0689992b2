//! Blocks, their headers, and undoing them.

use peaberry_chain::BlockAt;
use peaberry_chain::dev::{DevOptions, Undone};
use peaberry_chain::evm::{EvmRpc, Transaction};
use peaberry_chain::primitives::U256;

use super::now;
use crate::node::World;

/// The same calls make the same chain, hash for hash.
#[test]
fn one_history_has_one_chain() {
    let play = || {
        let world = World::dev();
        for nonce in 0..4 {
            world
                .chain()
                .submit(world.sign(0, &world.payment(nonce)).raw())
                .unwrap();
            world.chain().mine();
        }
        world.chain().reorg(2, Undone::Return);
        world.chain().head()
    };
    assert_eq!(play(), play());
}

/// What a reorganisation of each depth undoes is undone altogether, and comes back or does not.
#[test]
fn reorganisations_of_every_depth_return_or_drop() {
    for depth in 1..=64 {
        for undone in [Undone::Return, Undone::Drop] {
            let world = World::dev();
            world.chain().mine();
            let sent: Vec<_> = (0..depth)
                .map(|nonce| {
                    let sent = world
                        .chain()
                        .submit(world.sign(0, &world.payment(nonce)).raw());
                    world.chain().mine();
                    sent.unwrap()
                })
                .collect();
            let before = world.chain().head();
            assert_eq!(world.chain().reorg(depth, undone), sent);
            let head = world.chain().head();
            assert_eq!(head.number, before.number + 1);
            assert_ne!(
                now(world.chain().block(BlockAt::Number(before.number))).unwrap(),
                Some(before)
            );
            assert_eq!(
                now(world.chain().block(BlockAt::Hash(before.hash))).unwrap(),
                None
            );
            let (paid, included) = match undone {
                Undone::Return => (depth, sent),
                Undone::Drop => (0, Vec::new()),
            };
            assert_eq!(
                world
                    .chain()
                    .balance(peaberry_chain::EvmAddress::repeat_byte(9)),
                U256::from(paid)
            );
            assert_eq!(world.chain().transactions(2), included);
            assert!(world.chain().waiting().is_empty());
        }
    }
}

/// A full block raises the base fee by an eighth, an empty one lowers it, one that is half full leaves it.
#[test]
fn the_base_fee_follows_the_blocks() {
    let world = World::dev_with(|options| DevOptions {
        block_gas_limit: 42_000,
        ..options
    });
    let base_fee = || {
        let history = now(world.chain().fee_history(1, &[])).unwrap();
        history.next_base_fee()
    };
    assert_eq!(base_fee(), U256::from(875_000_000));
    for nonce in 0..3 {
        world
            .chain()
            .submit(world.sign(0, &world.payment(nonce)).raw())
            .unwrap();
    }
    world.chain().mine();
    // The third did not fit.
    assert_eq!(
        (
            world.chain().transactions(1).len(),
            world.chain().waiting().len()
        ),
        (2, 1)
    );
    assert_eq!(base_fee(), U256::from(875_000_000 + 875_000_000 / 8));
    let full = base_fee();
    world.chain().mine();
    assert_eq!(base_fee(), full);
}

#[test]
fn time_comes_from_outside_and_never_goes_back() {
    let world = World::dev();
    let first = world.chain().mine();
    assert_eq!(first.timestamp_s, 1_735_689_600 + 12);
    assert_eq!(
        world.chain().mine_at(first.timestamp_s + 100).timestamp_s,
        first.timestamp_s + 100
    );
    assert_eq!(
        world.chain().mine_at(5).timestamp_s,
        first.timestamp_s + 101
    );
}

/// What spends nearly everything is paid again after it was undone: nothing is lost by coming back.
#[test]
fn what_spends_everything_comes_back_too() {
    let world = World::dev();
    let all = world.chain().balance(world.address(0));
    let fee = U256::from(21_000_u64) * U256::from(10 * crate::node::GWEI);
    world
        .chain()
        .submit(world.sign(0, &world.payment(0)).raw())
        .unwrap();
    world.chain().mine();
    let rest = Transaction {
        value: all - fee * U256::from(2),
        ..world.payment(1)
    };
    world.chain().submit(world.sign(0, &rest).raw()).unwrap();
    world.chain().mine();
    world.chain().reorg(2, Undone::Return);
    assert_eq!(world.chain().transactions(1).len(), 2);
    assert!(world.chain().waiting().is_empty());
}
