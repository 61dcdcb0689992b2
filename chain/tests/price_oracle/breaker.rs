//! A feed that jumps halts until somebody says that the jump is real.

use peaberry_chain::primitives::{B256, U256, keccak256};

use super::members::Members;
use super::{World, oracle};
use crate::node::{NodeKind, on_both};

on_both! {
    a_jump_halts_the_feed_and_keeps_its_last_answer
    the_resetter_resets
    a_quorum_resets_this_halt_and_no_later_one
}

const FEED: U256 = U256::ZERO;

fn jumped(kind: NodeKind, members: Members) -> World {
    let mut world = World::new(kind, members, 1, 0);
    for (round, value) in [(1, 10_000), (2, 11_000), (3, 9_900), (4, 20_000)] {
        world.transmit(&world.report(1, round, value));
        assert_eq!(world.is_halted(0), round == 4, "{round}");
    }
    world
}

fn reset_digest(world: &World, count: u32) -> B256 {
    let fields = [
        keccak256("Reset(bytes32 configDigest,uint256 feed,uint32 count)"),
        world.configuration.digest,
        FEED.into(),
        U256::from(count).into(),
    ];
    world.digest(keccak256(fields.concat()))
}

/// Of the two answers after a reset, the first may be anything and the second not.
fn goes_on(world: &mut World) {
    assert!(!world.is_halted(0));
    world.transmit(&world.report(1, 6, 20_000));
    assert_eq!((world.latest(0), world.is_halted(0)), (20_000, false));
    world.transmit(&world.report(1, 7, 40_000));
    assert_eq!((world.latest(0), world.is_halted(0)), (20_000, true));
}

fn a_jump_halts_the_feed_and_keeps_its_last_answer(kind: NodeKind) {
    let mut world = jumped(kind, Members::quorum(4, 1));
    assert_eq!(world.latest(0), 9_900);
    let report = world.report(1, 5, 9_900);
    assert_eq!(world.transmit_refused(&report), "Halted");
    let fresh = world.try_ask(&oracle::freshAnswerCall {
        feed: FEED,
        ageMax: U256::from(999),
    });
    assert_eq!(fresh.err().as_deref(), Some("Halted"));
}

fn the_resetter_resets(kind: NodeKind) {
    let mut world = jumped(kind, Members::quorum(4, 1));
    world.accepted(&oracle::resetCall { feed: FEED });
    assert_eq!(
        world.refused(&oracle::resetCall { feed: FEED }),
        "NotHalted"
    );
    goes_on(&mut world);
}

fn a_quorum_resets_this_halt_and_no_later_one(kind: NodeKind) {
    for members in [Members::quorum(7, 1), Members::group(4, 1)] {
        let mut world = jumped(kind, members);
        let digest = reset_digest(&world, 3);
        if matches!(world.members, Members::Quorum(_)) {
            // f+1 can report, but not reset.
            let attestation = world.members.attest(digest);
            let call = oracle::resetByQuorumCall {
                feed: FEED,
                attestation,
            };
            assert_eq!(world.refused(&call), "MalformedAttestation");
        }
        let attestation = world.members.attest_by_majority(digest);
        let call = oracle::resetByQuorumCall {
            feed: FEED,
            attestation,
        };
        world.accepted(&call);
        goes_on(&mut world);
        let error = world.refused(&call);
        assert!(
            ["WrongSigner", "WrongGroupSignature"].contains(&error.as_str()),
            "{error}"
        );
    }
}
