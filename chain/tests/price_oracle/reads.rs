//! What readers get, by AggregatorV3Interface and beyond it.

use peaberry_chain::contract::{Abi, Value};
use peaberry_chain::primitives::{Bytes, U256, aliases::U80};

use alloy_sol_types::{SolCall, sol};
use peaberry_chain::EvmAddress;
use peaberry_chain::evm::JsonRpc;
use serde_json::json;

use super::members::Members;
use super::{FEED, World, answer, fields, oracle};
use crate::node::{NodeKind, on_both};

on_both! {
    the_standard_interface_names_answer_round_and_times
    an_old_answer_is_not_fresh
    another_feed_is_read_through_its_own_contract
    a_consumer_contract_reads_prices_and_refuses_old_ones
    a_web3_client_reads_the_standard_interface_over_http
    a_window_of_answers_can_be_read_back_and_nothing_else
}

const CONSUMER: &[u8] = include_bytes!("../../contracts/consumers/PriceConsumer.json");

sol! {
    function unitsFor(uint256 cents) returns (uint256);
}

fn the_standard_interface_names_answer_round_and_times(kind: NodeKind) {
    let mut world = World::new(kind, Members::quorum(4, 1), 1, 0);
    world.transmit(&world.report(3, 9, 42_000));
    let stored_at = world.now_s;
    let read = fields(world.ask(&oracle::latestRoundDataCall {}));
    assert_eq!(read, (1, 42_000, stored_at - 10, stored_at));
    assert_eq!(world.ask(&oracle::decimalsCall {}), 8);
    assert_eq!(world.ask(&oracle::descriptionCall {}), "FEED0/USD");
    assert_eq!(world.ask(&oracle::versionCall {}), U256::ONE);
}

fn an_old_answer_is_not_fresh(kind: NodeKind) {
    let mut world = World::new(kind, Members::quorum(4, 1), 1, 0);
    world.transmit(&world.report(1, 1, 42_000));
    let fresh = oracle::freshAnswerCall {
        feed: U256::ZERO,
        ageMax: U256::from(60),
    };
    assert_eq!(world.ask(&fresh), "42000".parse().unwrap());
    world.now_s += 600;
    world.mine_at_now();
    assert_eq!(world.try_ask(&fresh).err().as_deref(), Some("Stale"));
}

/// A contract between the reader and the oracle, which makes one of its feeds an aggregator.
fn another_feed_is_read_through_its_own_contract(kind: NodeKind) {
    let mut world = World::new(kind, Members::quorum(4, 1), 2, 2);
    let code = Abi::from_json(FEED).unwrap();
    let code = code.creation_code(&[world.address.into(), Value::Uint(U256::ONE, 256)]);
    let feed = world.create(code.unwrap());
    let mut report = world.report(1, 1, 42_000);
    report.answers.push(answer(1, 7_000));
    world.transmit(&report);
    let read = world
        .read(feed, oracle::latestRoundDataCall {}.abi_encode().into())
        .unwrap();
    let data = oracle::latestRoundDataCall::abi_decode_returns(&read).unwrap();
    let (round, value, ..) = fields(data);
    assert_eq!((round, value), (1, 7_000));
    let read = world
        .read(feed, oracle::descriptionCall {}.abi_encode().into())
        .unwrap();
    let name = oracle::descriptionCall::abi_decode_returns(&read).unwrap();
    assert_eq!(name, "FEED1/USD");
}

/// A contract that knows nothing but the interface, with the oracle for its feed, and with another feed's own contract.
fn a_consumer_contract_reads_prices_and_refuses_old_ones(kind: NodeKind) {
    let mut world = World::new(kind, Members::quorum(4, 1), 2, 0);
    let code = Abi::from_json(FEED).unwrap();
    let code = code.creation_code(&[world.address.into(), Value::Uint(U256::ONE, 256)]);
    let feed = world.create(code.unwrap());
    let consumer = |world: &mut World, feed: EvmAddress| {
        let abi = Abi::from_json(CONSUMER).unwrap();
        let age = Value::Uint(U256::from(3600), 256);
        world.create(abi.creation_code(&[feed.into(), age]).unwrap())
    };
    let oracle_address = world.address;
    let consumers = [
        consumer(&mut world, oracle_address),
        consumer(&mut world, feed),
    ];
    let units = |world: &World, consumer: EvmAddress| {
        let call = unitsForCall {
            cents: U256::from(350),
        };
        let read = world.read(consumer, call.abi_encode().into()).ok()?;
        Some(unitsForCall::abi_decode_returns(&read).unwrap())
    };
    for consumer in consumers {
        assert_eq!(units(&world, consumer), None, "there is no answer yet");
    }
    // The token is worth half a dollar by the one feed, and seven by the other: three and a half dollars are 7 and 1/2.
    let mut report = world.report(1, 1, 50_000_000);
    report.answers.push(answer(1, 700_000_000));
    world.transmit(&report);
    let token = U256::from(10).pow(U256::from(18));
    let wanted = [token * U256::from(7), token / U256::from(2)];
    for (consumer, wanted) in consumers.into_iter().zip(wanted) {
        assert_eq!(units(&world, consumer), Some(wanted));
    }
    world.now_s += 3601;
    world.mine_at_now();
    for consumer in consumers {
        assert_eq!(units(&world, consumer), None, "the answer is too old");
    }
}

/// What any web3 library does: JSON over HTTP, with the interface's ABI.
fn a_web3_client_reads_the_standard_interface_over_http(kind: NodeKind) {
    let mut world = World::new(kind, Members::quorum(4, 1), 1, 4);
    for (round, value) in [(1, 42_000), (2, 42_500)] {
        world.transmit(&world.report(1, round, value));
    }
    let url = world.runtime.block_on(world.node.url());
    let rpc = JsonRpc::http(&url).unwrap();
    let call = |data: Vec<u8>| -> Bytes {
        let data = Bytes::from(data);
        let request = json!([{"to": world.address, "data": data}, "latest"]);
        let asking = rpc.client().request("eth_call", request);
        world.runtime.block_on(async { asking.await.unwrap() })
    };
    let latest = call(oracle::latestRoundDataCall {}.abi_encode());
    let latest = oracle::latestRoundDataCall::abi_decode_returns(&latest).unwrap();
    let (round, value, _, stored_at) = fields(latest);
    assert_eq!((round, value, stored_at), (2, 42_500, world.now_s));
    let first = oracle::getRoundDataCall {
        roundId: U80::from(1),
    };
    let first = call(first.abi_encode());
    let first = oracle::getRoundDataCall::abi_decode_returns(&first).unwrap();
    assert_eq!(fields(first).1, 42_000);
    let decimals = call(oracle::decimalsCall {}.abi_encode());
    assert_eq!(oracle::decimalsCall::abi_decode_returns(&decimals), Ok(8));
}

fn a_window_of_answers_can_be_read_back_and_nothing_else(kind: NodeKind) {
    for window in [0_u16, 256] {
        let mut world = World::new(kind, Members::quorum(4, 1), 1, window);
        let rounds = 260;
        for round in 1..=rounds {
            world.transmit(&world.report(1, round, 42_000 + i128::from(round)));
        }
        for round in 0..=rounds + 1 {
            let call = oracle::getRoundDataCall {
                roundId: U80::from(round),
            };
            let is_kept =
                round != 0 && round <= rounds && rounds - round < u32::from(window.max(1));
            match world.try_ask(&call) {
                Ok(data) => {
                    let (number, value, ..) = fields(data);
                    assert!(is_kept, "{round} of {window}");
                    assert_eq!((number, value), (round.into(), 42_000 + i128::from(round)));
                }
                Err(error) => assert!(!is_kept && error == "NoData", "{round}: {error}"),
            }
        }
    }
}
