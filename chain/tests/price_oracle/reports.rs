//! Which reports are taken.

use peaberry_chain::primitives::{B256, U256};

use super::members::{Members, attestation};
use super::{Report, World, answer, oracle};
use crate::node::{NodeKind, on_both};

on_both! {
    a_signed_report_is_taken_by_either_scheme
    a_report_changed_after_it_was_signed_is_refused
    each_member_counts_once_and_others_not_at_all
    every_flipped_byte_of_a_group_signature_is_noticed
    rounds_only_ascend
    times_far_from_the_block_are_refused
    malformed_answers_are_refused
    answers_out_of_bounds_are_never_stored
}

fn quorum(kind: NodeKind) -> World {
    World::new(kind, Members::quorum(7, 1), 2, 0)
}

fn a_signed_report_is_taken_by_either_scheme(kind: NodeKind) {
    for members in [Members::quorum(4, 1), Members::group(4, 1)] {
        let mut world = World::new(kind, members, 2, 0);
        let mut report = world.report(2, 3, 42_000);
        report.answers.push(answer(1, 7_000));
        world.transmit(&report);
        assert_eq!((world.latest(0), world.latest(1)), (42_000, 7_000));
        let round = world.ask(&oracle::latestRoundCall { feed: U256::ONE });
        assert_eq!((round.epoch, round.round), (2, 3));
    }
}

/// What was signed is every field: with any of them changed, the signatures are nobody's.
fn a_report_changed_after_it_was_signed_is_refused(kind: NodeKind) {
    for members in [Members::quorum(4, 1), Members::group(4, 1)] {
        let mut world = World::new(kind, members, 2, 0);
        let changes: [&dyn Fn(&mut Report); 5] = [
            &|it| it.epoch += 1,
            &|it| it.round += 1,
            &|it| it.observed_at_ms += 1,
            &|it| it.observations = B256::ZERO,
            &|it| it.answers = vec![answer(0, 42_001)],
        ];
        for change in changes {
            let report = world.report(1, 1, 42_000);
            let mut call = world.signed(&report);
            let mut changed = report.clone();
            change(&mut changed);
            call = changed.call(call.words.split_off(report.answers.len()));
            let error = world.refused(&call);
            assert!(
                ["WrongSigner", "WrongGroupSignature"].contains(&error.as_str()),
                "{error}"
            );
        }
        let mut report = world.report(1, 1, 42_000);
        report.config = B256::repeat_byte(1);
        let error = world.transmit_refused(&report);
        assert!(
            ["WrongSigner", "WrongGroupSignature"].contains(&error.as_str()),
            "{error}"
        );
    }
}

fn each_member_counts_once_and_others_not_at_all(kind: NodeKind) {
    let mut world = quorum(kind);
    let report = world.report(1, 1, 42_000);
    let digest = world.digest(report.struct_hash());
    let by = |member| world.members.signature(member, digest);
    let stranger = Members::quorum(7, 9).signature(2, digest);
    let none = [B256::ZERO; 2];
    let cases = [
        ("WrongSigner", attestation(0b111, [by(0), by(0), by(0)])),
        ("WrongSigner", attestation(0b111, [by(0), by(2), by(1)])),
        ("WrongSigner", attestation(0b111, [by(0), by(1), stranger])),
        ("WrongSigner", attestation(0b111, [by(0), by(1), none])),
        (
            "MalformedAttestation",
            attestation(0b011, [by(0), by(1), by(2)]),
        ),
        ("WrongSigner", attestation(0b1111, [by(0), by(1), by(2)])),
        ("MalformedAttestation", attestation(0b11, [by(0), by(1)])),
        (
            "NotAMember",
            attestation(0b1000_0011, [by(0), by(1), by(2)]),
        ),
        (
            "NotAMember",
            attestation(1 << 63 | 0b11, [by(0), by(1), by(2)]),
        ),
        ("MalformedAttestation", Vec::new()),
        (
            "MalformedAttestation",
            attestation(0, [by(0), by(1), by(2)]),
        ),
        // Its first words are taken for answers, and a signature for the set.
        (
            "NotAMember",
            attestation(0b1111, [by(0), by(1), by(2), by(3)]),
        ),
    ];
    for (number, (error, bytes)) in cases.into_iter().enumerate() {
        assert_eq!(world.refused(&report.call(bytes)), error, "case {number}");
    }
    let right = world.members.by(&[0, 3, 6], digest);
    world.accepted(&report.call(right));
}

fn every_flipped_byte_of_a_group_signature_is_noticed(kind: NodeKind) {
    let mut world = World::new(kind, Members::group(4, 1), 1, 0);
    let report = world.report(1, 1, 42_000);
    let right = world.members.attest(world.digest(report.struct_hash()));
    for index in (0..96).step_by(5).chain([31, 63, 95]) {
        let mut wrong = right.clone();
        wrong[index / 32].0[index % 32] ^= 1;
        assert_eq!(
            world.refused(&report.call(wrong)),
            "WrongGroupSignature",
            "{index}"
        );
    }
    assert_eq!(
        world.refused(&report.call(vec![B256::ZERO; 3])),
        "WrongGroupSignature"
    );
    // One word less, and the last answer is taken for one of the signature's.
    assert_eq!(
        world.refused(&report.call(right[..2].to_vec())),
        "NoAnswers"
    );
    assert_eq!(
        world.refused(&report.call(right[..1].to_vec())),
        "MalformedAttestation"
    );
    world.accepted(&report.call(right));
}

fn rounds_only_ascend(kind: NodeKind) {
    let mut world = quorum(kind);
    let first = world.report(2, 5, 42_000);
    world.transmit(&first);
    assert_eq!(world.transmit_refused(&first), "StaleReport");
    for (epoch, round) in [(2, 4), (2, 5), (1, 9)] {
        let report = world.report(epoch, round, 42_001);
        assert_eq!(world.transmit_refused(&report), "StaleReport");
    }
    for (epoch, round) in [(0, 9), (9, 0)] {
        let report = world.report(epoch, round, 42_001);
        assert_eq!(world.transmit_refused(&report), "RoundZero");
    }
    assert_eq!(world.latest(0), 42_000);
    let next = world.report(3, 1, 42_002);
    world.transmit(&next);
    assert_eq!(world.latest(0), 42_002);
}

fn times_far_from_the_block_are_refused(kind: NodeKind) {
    let mut world = quorum(kind);
    let mut report = world.report(1, 1, 42_000);
    report.observed_at_ms -= 700_000;
    assert_eq!(world.transmit_refused(&report), "ReportTooOld");
    report.observed_at_ms += 2_000_000;
    assert_eq!(world.transmit_refused(&report), "ReportFromTheFuture");
    report.observed_at_ms = u64::MAX;
    assert_eq!(world.transmit_refused(&report), "ReportFromTheFuture");
}

fn malformed_answers_are_refused(kind: NodeKind) {
    let mut world = quorum(kind);
    let stray = |bit: usize| {
        let mut word = answer(0, 42_000);
        word.0[bit / 8] |= 0x80 >> (bit % 8);
        word
    };
    let mut unaggregated = answer(0, 42_000);
    unaggregated.0[2] = 0;
    let mut unknown = unaggregated;
    unknown.0[2] = 4;
    let cases = [
        ("MalformedAnswer", vec![stray(24)]),
        ("MalformedAnswer", vec![stray(127)]),
        ("MalformedAnswer", vec![unaggregated]),
        ("MalformedAnswer", vec![unknown]),
        (
            "MalformedAnswer",
            vec![answer(0, 42_000), answer(0, 42_000)],
        ),
        (
            "MalformedAnswer",
            vec![answer(1, 42_000), answer(0, 42_000)],
        ),
        ("UnknownFeed", vec![answer(0, 42_000), answer(2, 42_000)]),
        ("UnknownFeed", vec![answer(255, 42_000)]),
        ("UnknownFeed", vec![stray(0)]),
        ("NoAnswers", vec![]),
    ];
    for (number, (error, answers)) in cases.into_iter().enumerate() {
        let mut report = world.report(1, 1, 0);
        report.answers = answers;
        assert_eq!(world.transmit_refused(&report), error, "case {number}");
    }
}

fn answers_out_of_bounds_are_never_stored(kind: NodeKind) {
    let mut world = quorum(kind);
    let greatest = 10_i128.pow(18);
    for value in [0, 99, greatest + 1, -100, i128::MIN, i128::MAX] {
        let report = world.report(1, 1, value);
        assert_eq!(world.transmit_refused(&report), "OutOfBounds", "{value}");
    }
    // The rest of a report does not suffer.
    let mut report = world.report(1, 1, 99);
    report.answers.push(answer(1, greatest));
    world.transmit(&report);
    assert_eq!(world.latest(1), greatest);
    let none = world.try_ask(&oracle::latestRoundDataCall {});
    assert_eq!(none.err().as_deref(), Some("NoData"));
}
