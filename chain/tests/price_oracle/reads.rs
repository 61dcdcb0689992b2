//! What readers get, by AggregatorV3Interface and beyond it.

use peaberry_chain::contract::{Abi, Value};
use peaberry_chain::primitives::{U256, aliases::U80};

use super::members::Members;
use super::{FEED, World, answer, fields, oracle};
use alloy_sol_types::SolCall;

#[test]
fn the_standard_interface_names_answer_round_and_times() {
    let mut world = World::new(Members::quorum(4, 1), 1, 0);
    world.transmit(&world.report(3, 9, 42_000));
    let stored_at = world.now_s;
    let read = fields(world.ask(&oracle::latestRoundDataCall {}));
    assert_eq!(read, (1, 42_000, stored_at - 10, stored_at));
    assert_eq!(world.ask(&oracle::decimalsCall {}), 8);
    assert_eq!(world.ask(&oracle::descriptionCall {}), "FEED0/USD");
    assert_eq!(world.ask(&oracle::versionCall {}), U256::ONE);
}

#[test]
fn an_old_answer_is_not_fresh() {
    let mut world = World::new(Members::quorum(4, 1), 1, 0);
    world.transmit(&world.report(1, 1, 42_000));
    let fresh = oracle::freshAnswerCall {
        feed: U256::ZERO,
        ageMax: U256::from(60),
    };
    assert_eq!(world.ask(&fresh), "42000".parse().unwrap());
    world.now_s += 600;
    world.chain.mine_at(world.now_s);
    assert_eq!(world.try_ask(&fresh).err().as_deref(), Some("Stale"));
}

/// A contract between the reader and the oracle, which makes one of its feeds an aggregator.
#[test]
fn another_feed_is_read_through_its_own_contract() {
    let mut world = World::new(Members::quorum(4, 1), 2, 2);
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

#[test]
fn a_window_of_answers_can_be_read_back_and_nothing_else() {
    for window in [0_u16, 256] {
        let mut world = World::new(Members::quorum(4, 1), 1, window);
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
