//! Who may sign, and how that changes.

use alloy_sol_types::SolValue;
use peaberry_chain::primitives::{B256, U256, keccak256};

use super::members::Members;
use super::oracle::Configuration;
use super::{World, configuration, oracle};
use crate::node::{NodeKind, on_both};

on_both! {
    members_hand_over_to_the_next_ones
    generations_that_never_were_have_nothing_to_say
    the_two_hundred_and_sixtieth_configuration_is_found
    a_digest_never_comes_back
    senseless_configurations_are_refused
}

fn rotation_digest(world: &World, generation: u32, next: &Configuration) -> B256 {
    let fields = [
        keccak256("Rotation(bytes32 from,uint32 generation,bytes32 to)"),
        world.configuration.digest,
        U256::from(generation).into(),
        keccak256(next.abi_encode()),
    ];
    world.digest(keccak256(fields.concat()))
}

fn members_hand_over_to_the_next_ones(kind: NodeKind) {
    for members in [Members::quorum(7, 1), Members::group(4, 1)] {
        let mut world = World::new(kind, members, 1, 0);
        world.transmit(&world.report(5, 5, 10_000));
        let heirs = Members::quorum(4, 2);
        let mut next = configuration(&heirs, 2);
        next.digest = B256::repeat_byte(2);
        let digest = rotation_digest(&world, 2, &next);
        if matches!(world.members, Members::Quorum(_)) {
            let attestation = world.members.attest(digest);
            let call = oracle::rotateCall {
                next: next.clone(),
                attestation,
            };
            assert_eq!(world.refused(&call), "MalformedAttestation");
        }
        let attestation = world.members.attest_by_majority(digest);
        let mut other = next.clone();
        other.feeds[0].breakerBps += 1;
        let call = oracle::rotateCall {
            next: other,
            attestation: attestation.clone(),
        };
        let error = world.refused(&call);
        assert!(
            ["WrongSigner", "WrongGroupSignature"].contains(&error.as_str()),
            "{error}"
        );
        let call = oracle::rotateCall {
            next: next.clone(),
            attestation,
        };
        let before = world.report(6, 1, 10_001);
        let before = world.signed(&before);
        world.accepted(&call);
        assert_eq!(world.ask(&oracle::generationCall {}), 2);

        // The old ones speak for nobody any more; neither hand-over nor report can be played again.
        assert_ne!(world.refused(&call), "");
        assert_eq!(world.refused(&before), "StaleReport");
        // However far they are ahead in rounds, and about feeds that came after them.
        let mut late = world.report(u32::MAX, 7, 10_001);
        (late.generation, late.config) = (1, world.configuration.digest);
        assert_eq!(world.transmit_refused(&late), "StaleReport");
        late.answers = vec![super::answer(1, 10_001)];
        assert_eq!(world.transmit_refused(&late), "UnknownFeed");
        assert_eq!(world.latest(0), 10_000);
        (world.members, world.configuration) = (heirs, next);
        world.transmit(&world.report(1, 1, 10_002));
        assert_eq!(world.latest(0), 10_002);
    }
}

/// Where nothing was ever configured everything is zero: as many members, signatures and feeds.
fn generations_that_never_were_have_nothing_to_say(kind: NodeKind) {
    for members in [Members::quorum(4, 1), Members::group(4, 1)] {
        let mut world = World::new(kind, members, 1, 0);
        for generation in [0, 2, 127, 128, 255, 256, 65_535] {
            let mut report = world.report(1, 1, 10_000);
            report.generation = generation;
            assert_eq!(world.transmit_refused(&report), "NotConfigured");
            for words in 0..5 {
                let call = report.call(vec![B256::ZERO; words]);
                assert_eq!(world.refused(&call), "NotConfigured", "{generation}");
            }
        }
    }
}

/// Where a configuration lies is computed from its generation, whose encoding grows at 128 and at 256.
fn the_two_hundred_and_sixtieth_configuration_is_found(kind: NodeKind) {
    let mut world = World::new(kind, Members::quorum(4, 1), 1, 0);
    for generation in 2..=260_u32 {
        let mut next = world.configuration.clone();
        next.digest = keccak256(generation.to_be_bytes());
        world.accepted(&oracle::configureCall { next: next.clone() });
        world.configuration = next;
        if [127, 128, 129, 255, 256, 257, 260].contains(&generation) {
            world.transmit(&world.report(1, 1, 10_000 + i128::from(generation)));
            assert_eq!(world.latest(0), 10_000 + i128::from(generation));
        }
    }
}

fn a_digest_never_comes_back(kind: NodeKind) {
    let mut world = World::new(kind, Members::quorum(4, 1), 1, 0);
    let first = world.configuration.clone();
    let mut next = first.clone();
    next.digest = B256::repeat_byte(2);
    world.accepted(&oracle::configureCall { next });
    assert_eq!(
        world.refused(&oracle::configureCall { next: first }),
        "DigestUsed"
    );
}

/// Zero of anything is refused, and so is whoever would count twice.
fn senseless_configurations_are_refused(kind: NodeKind) {
    let members = Members::quorum(4, 1);
    let mut world = World::new(kind, Members::quorum(4, 1), 1, 0);
    let twice = [&members.keys()[..60], &members.keys()[..20]].concat();
    let nobody = [&members.keys()[..60], &[0; 20]].concat();
    let order = "02fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let over_order: [u8; 33] = peaberry_chain::primitives::hex::decode_to_array(order).unwrap();
    let off_curve = [&[2][..], &[0; 31], &[5]].concat();
    type Change<'a> = &'a dyn Fn(&mut Configuration);
    let group = |it: &mut Configuration, key: &[u8]| {
        it.scheme = 2;
        it.keys = key.to_vec().into();
    };
    let cases: [(&str, Change<'_>); 19] = [
        ("ZeroDigest", &|it| it.digest = B256::ZERO),
        ("WrongThreshold", &|it| it.threshold = 0),
        ("WrongThreshold", &|it| it.threshold = 1),
        ("WrongThreshold", &|it| it.threshold = 3),
        ("WrongThreshold", &|it| it.members = 0),
        ("WrongThreshold", &|it| {
            // One alone, of whom none may lie.
            (it.members, it.threshold) = (1, 1);
            it.keys = it.keys[..20].to_vec().into();
        }),
        ("WrongThreshold", &|it| it.members = 5),
        ("WrongThreshold", &|it| {
            (it.members, it.threshold) = (67, 23)
        }),
        ("WrongKeys", &|it| it.scheme = 0),
        ("WrongKeys", &|it| it.keys = it.keys[..79].to_vec().into()),
        ("WrongKey", &|it| it.keys = twice.clone().into()),
        ("WrongKey", &|it| it.keys = nobody.clone().into()),
        ("WrongKey", &|it| group(it, &[0; 33])),
        ("WrongKey", &|it| group(it, &over_order)),
        ("WrongKey", &|it| group(it, &off_curve)),
        ("WrongAge", &|it| it.reportAgeMax = Default::default()),
        ("WrongFeedCount", &|it| it.feeds.clear()),
        ("WrongFeed", &|it| it.feeds[0].least = 0),
        ("WrongFeed", &|it| it.feeds[0].greatest = 1 << 100),
    ];
    for (number, (error, change)) in cases.into_iter().enumerate() {
        let mut next = configuration(&members, 1);
        next.digest = B256::repeat_byte(2);
        change(&mut next);
        let call = oracle::configureCall { next };
        assert_eq!(world.refused(&call), error, "case {number}");
    }
}
