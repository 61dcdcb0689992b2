//! Who says at once that he has no value is no better than who says nothing: he shuts nobody out, as a leader or otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod ground;

use std::sync::Arc;

use peaberry_chain::EvmAddress;
use peaberry_oracle::{Body, Config, RoundId, SignedObservation, leader_of};

use self::ground::MEMBERS;
use self::ground::alone::{Alone, attested, signed};

const ALL: [Option<i128>; 2] = [Some(10_000), Some(500)];
const NONE: [Option<i128>; 2] = [None, None];
const FIRST: [Option<i128>; 2] = [Some(10_000), None];

fn config() -> Arc<Config> {
    Arc::new(Config::new(ground::form(EvmAddress::repeat_byte(0xcc))).unwrap())
}

/// A follower's epoch whose leader makes his reports of `set`, in each round, for 1.6 times the patience. Answers whether it
/// was given up.
fn is_given_up(set: &dyn Fn(RoundId) -> Vec<SignedObservation>, is_asked: bool) -> bool {
    let config = config();
    let leader = leader_of(&config, 1);
    let mut alone = Alone::open(&config, (leader + 1) % MEMBERS);
    alone.see(&ALL);
    alone.enter(1);
    let patience_ms = u64::try_from(config.timing().progress.as_millis()).unwrap();
    let round_ms = patience_ms / 5;
    let mut wished = 1;
    for number in 1..=8 {
        let round = RoundId::new(1, number).unwrap();
        if is_asked {
            alone.hear(leader, Body::Ask(round));
        }
        let observations = set(round);
        let report = attested(
            &config,
            round,
            &observations,
            &[leader, (leader + 2) % MEMBERS],
        );
        alone.hear(
            leader,
            Body::Proposal {
                round,
                observations,
            },
        );
        if !report.report.answers.is_empty() {
            alone.hear(leader, Body::Final(report));
        }
        alone.wait(round_ms);
        let beats = alone.said().into_iter().filter_map(|(_, body)| match body {
            Body::Beat { new_epoch, .. } => Some(new_epoch),
            _ => None,
        });
        wished = beats.fold(wished, u32::max);
    }
    wished > 1
}

/// Reports of the leader's own word and of two more, who see everything.
fn shut_out(config: &Config, round: RoundId, lie: &[Option<i128>]) -> Vec<SignedObservation> {
    let leader = leader_of(config, round.epoch());
    let dropped = (leader + 3) % MEMBERS;
    let members = (0..MEMBERS).filter(|it| *it != dropped);
    members
        .map(|it| signed(config, it, round, if it == leader { lie } else { &ALL }))
        .collect()
}

/// Two values of 2f+1 = 3 make no answer. Whether it is all feeds that the leader starves or one, and whether he asks.
#[test]
fn a_leader_whose_reports_lack_what_others_see_is_given_up() {
    let config = config();
    for is_asked in [true, false] {
        for lie in [NONE, FIRST] {
            let set = |round| shut_out(&config, round, &lie);
            assert!(is_given_up(&set, is_asked), "{lie:?}, {is_asked}");
        }
        let whole = |round| shut_out(&config, round, &ALL);
        assert!(!is_given_up(&whole, is_asked), "nothing is missing");
    }
}

/// f+1 of the set have no value: an honest one among them proves that nobody else would have got an answer either.
#[test]
fn a_leader_is_not_blamed_for_values_that_nobody_has() {
    let config = config();
    let leader = leader_of(&config, 1);
    let two_without = |round| {
        let members = (0..MEMBERS).filter(|it| *it != (leader + 3) % MEMBERS);
        let values = |it| {
            if it == (leader + 1) % MEMBERS {
                &ALL
            } else {
                &FIRST
            }
        };
        members
            .map(|it| signed(&config, it, round, values(it)))
            .collect()
    };
    assert!(!is_given_up(&two_without, true));
}

/// Whom a leader proposes, in how many milliseconds, when others answer after so long.
fn proposed(answers: &[(u64, [Option<i128>; 2])]) -> (u64, usize) {
    let config = config();
    let leader = leader_of(&config, 1);
    let mut alone = Alone::open(&config, leader);
    alone.see(&ALL);
    alone.enter(1);
    let round = alone.oracle.asked().unwrap();
    alone.said();
    for now in 0..1_000 {
        for (other, (at, values)) in (1..).zip(answers) {
            let member = (leader + other) % MEMBERS;
            if *at == now {
                let word = signed(&config, member, round, values);
                alone.hear(member, Body::Observation(word));
            }
        }
        alone.wait(1);
        for (_, body) in alone.said() {
            if let Body::Proposal { observations, .. } = body {
                return (now, observations.len());
            }
        }
    }
    panic!("no proposal of round {round}");
}

/// The grace of 20 ms is for who would only make the answer better. Who is needed for it is waited for, up to half of the
/// patience of a second; and nobody is waited for in vain when f+1 have no value.
#[test]
fn a_leader_waits_for_the_values_that_it_needs() {
    let grace = 19..=21;
    let (at, count) = proposed(&[(0, ALL), (0, ALL), (300, ALL)]);
    assert!(grace.contains(&at) && count == 3, "{at} ms: enough at once");
    for lie in [NONE, FIRST] {
        let (at, count) = proposed(&[(0, lie), (0, ALL), (300, ALL)]);
        assert_eq!((at, count), (300, 4), "the slow one is heard");
        let (at, count) = proposed(&[(0, lie), (0, ALL)]);
        assert!(
            (498..=500).contains(&at) && count == 3,
            "{at} ms: no longer"
        );
        let (at, count) = proposed(&[(0, lie), (0, ALL), (300, lie)]);
        assert_eq!((at, count), (300, 4));
        let (at, count) = proposed(&[(0, lie), (0, lie), (300, ALL)]);
        assert!(grace.contains(&at) && count == 3, "{at} ms: no use to wait");
    }
}
