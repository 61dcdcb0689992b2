//! What reports and reads take, in the steady state: the same feeds have had answers before.

use alloy_sol_types::SolCall;
use peaberry_chain::primitives::{Bytes, U256};

use super::members::Members;
use super::{World, answer, oracle};
use crate::node::{NodeKind, on_both};

on_both! {
    a_report_takes_no_more_gas_than_promised
    a_window_of_answers_takes_another_slot_for_each_feed
    a_cold_read_from_a_contract_is_cheap
}

/// The world after a third report, when the window of `history` answers has been filled, and that report's gas.
fn transmitted(kind: NodeKind, members: Members, feeds: u8, history: u16) -> (World, u64) {
    let mut world = World::new(kind, members, feeds, history);
    let rounds = u32::from(history) + 3;
    let report = |world: &mut World, round: u32| {
        let mut report = world.report(1, round, 0);
        let value = 10_000_000 + i128::from(round % 7) * 1000;
        report.answers = (0..feeds).map(|feed| answer(feed, value)).collect();
        world.transmit(&report).gas_used
    };
    let gas = (1..=rounds).map(|round| report(&mut world, round)).last();
    (world, gas.unwrap())
}

fn of_transmit(kind: NodeKind, members: Members, feeds: u8, history: u16) -> u64 {
    transmitted(kind, members, feeds, history).1
}

/// What is measured, whose report, of how many feeds, and what it may take.
type Promise = (&'static str, fn() -> Members, u8, u64);

/// More than this is a regression.
const PROMISED: [Promise; 5] = [
    ("transmit_ecdsa_n4", || Members::quorum(4, 1), 1, 50_000),
    ("transmit_ecdsa_n31", || Members::quorum(31, 1), 1, 90_000),
    ("transmit_frost_n4", || Members::group(4, 1), 1, 40_000),
    ("transmit_frost_n31", || Members::group(31, 1), 1, 40_000),
    (
        "transmit_per_feed_k10",
        || Members::quorum(4, 1),
        10,
        10_000,
    ),
];

fn a_report_takes_no_more_gas_than_promised(kind: NodeKind) {
    for (entry, members, feeds, most) in PROMISED {
        let gas = of_transmit(kind, members(), feeds, 0) / u64::from(feeds);
        println!("{entry} {gas} of {most}");
        assert!(gas <= most, "{entry}: {gas} of {most}");
    }
}

/// The same transactions, one in a block of the same time, on Anvil: the same gas to the unit.
#[test]
fn a_report_takes_as_much_on_anvil() {
    if !NodeKind::Anvil.is_here() {
        return;
    }
    for (entry, members, feeds, _) in PROMISED {
        let [ours, theirs] = [NodeKind::DevChain, NodeKind::Anvil]
            .map(|kind| of_transmit(kind, members(), feeds, 0));
        assert_eq!(ours, theirs, "{entry}");
    }
}

/// Another slot for each feed, and no more: 5,000 for the write, and what finds its place.
fn a_window_of_answers_takes_another_slot_for_each_feed(kind: NodeKind) {
    for (entry, members, feeds) in [
        ("transmit_ecdsa_n4_w256", Members::quorum(4, 1), 1),
        ("transmit_ecdsa_n31_w256", Members::quorum(31, 1), 1),
        ("transmit_frost_n31_w256", Members::group(31, 1), 1),
        ("transmit_10_feeds_w256", Members::quorum(4, 1), 10),
    ] {
        let without = of_transmit(kind, members.clone(), feeds, 0);
        let with = of_transmit(kind, members, feeds, 256);
        println!("{entry} {}", with / u64::from(feeds));
        assert!(
            with - without <= 5400 * u64::from(feeds),
            "{entry}: {without} and {with}"
        );
    }
}

/// A contract that reads the oracle, keeps nothing, and answers what it read and the gas that reading took.
fn a_cold_read_from_a_contract_is_cheap(kind: NodeKind) {
    let mut world = World::new(kind, Members::quorum(4, 1), 1, 0);
    world.transmit(&world.report(1, 1, 42_000));
    let runtime = [
        // latestRoundData's selector, at the start of memory.
        &[0x63][..],
        &oracle::latestRoundDataCall::SELECTOR,
        &[0x60, 0xe0, 0x1b, 0x5f, 0x52],
        // GAS; STATICCALL(gas, oracle, 0, 4, 0, 160); POP; GAS; and the difference at 160.
        &[0x5a, 0x60, 0xa0, 0x5f, 0x60, 0x04, 0x5f, 0x73],
        world.address.as_slice(),
        &[0x5a, 0xfa, 0x50, 0x5a, 0x90, 0x03, 0x60, 0xa0, 0x52],
        // RETURN 192 bytes.
        &[0x60, 0xc0, 0x5f, 0xf3],
    ]
    .concat();
    let length = u8::try_from(runtime.len()).unwrap();
    // PUSH1 length; DUP1; PUSH1 9; PUSH0; CODECOPY; PUSH0; RETURN.
    let creation = [
        &[0x60, length, 0x80, 0x60, 0x09, 0x5f, 0x39, 0x5f, 0xf3][..],
        &runtime,
    ]
    .concat();
    let reader = world.create(creation.into());
    let read = world.read(reader, Bytes::new()).unwrap();
    let word = |index: usize| U256::from_be_slice(&read[32 * index..][..32]);
    assert_eq!((word(0), word(1)), (U256::ONE, U256::from(42_000)));
    println!("latest_round_data_cold {}", word(5));
    assert!(word(5) <= U256::from(6000), "{}", word(5));
}
