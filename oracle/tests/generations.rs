//! What outlives a configuration goes by what a feed and a member are, and not by the numbers that they have in it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod ground;

use std::sync::Arc;

use peaberry_chain::EvmAddress;
use peaberry_oracle::{
    Body, Config, ConfigForm, Keyring, OracleCommand, OracleEvent, ResetBy, RoundId, leader_of,
};

use self::ground::alone::{Alone, attested, signed};
use self::ground::{MEMBERS, feed, key};

fn form() -> ConfigForm {
    let mut form = ground::form(EvmAddress::repeat_byte(0xcc));
    form.feeds = vec![feed("BTC/USD", Some(2_000)), feed("ETH/USD", Some(2_000))];
    form
}

fn made(form: ConfigForm) -> Arc<Config> {
    Arc::new(Config::new(form).unwrap())
}

/// The next generation, with the feeds the other way round and a third one before them.
fn next() -> ConfigForm {
    let mut next = form();
    next.generation = 2;
    next.feeds.reverse();
    next.feeds.insert(0, feed("SOL/USD", Some(2_000)));
    next
}

/// The leader of the epoch proposes what all see.
fn propose(alone: &mut Alone, config: &Config, round: RoundId, values: &[Option<i128>]) {
    let observations = (0..MEMBERS)
        .map(|it| signed(config, it, round, values))
        .collect();
    alone.hear(
        leader_of(config, round.epoch()),
        Body::Proposal {
            round,
            observations,
        },
    );
}

fn trips(events: &[OracleEvent]) -> Vec<(u8, i128, i128)> {
    let trips = events.iter().filter_map(|event| match event {
        OracleEvent::Tripped {
            feed,
            last,
            refused,
        } => Some((*feed, *last, *refused)),
        _ => None,
    });
    trips.collect()
}

/// A member that follows in epoch 1 of the first generation and in epoch 2 of the next one.
fn follower() -> u8 {
    let leaders = [leader_of(&made(form()), 1), leader_of(&made(next()), 2)];
    (0..MEMBERS).find(|it| !leaders.contains(it)).unwrap()
}

/// Installing other weights, or other feeds, disarms no breaker and closes none: a person must.
#[test]
fn what_is_tripped_stays_so_and_the_last_answers_are_known_in_the_next_generation() {
    let (old, own) = (made(form()), follower());
    let round = |epoch, number| RoundId::new(epoch, number).unwrap();
    let seen = [Some(10_000), Some(500)];
    let mut alone = Alone::open(&old, own);
    alone.enter(1);
    propose(&mut alone, &old, round(1, 1), &seen);
    let set: Vec<_> = (0..MEMBERS)
        .map(|it| signed(&old, it, round(1, 1), &seen))
        .collect();
    let others: Vec<u8> = (0..MEMBERS).filter(|it| *it != own).collect();
    let last = attested(&old, round(1, 1), &set, &others);
    alone.hear(others[0], Body::Final(last));
    propose(&mut alone, &old, round(1, 2), &[Some(20_000), Some(500)]);
    assert_eq!(trips(&alone.told()), [(0, 10_000, 20_000)]);

    let new = made(next());
    let mut alone = alone.reopened(&new, own);
    assert_eq!(
        trips(&alone.told()),
        [(2, 10_000, 20_000)],
        "told again at the start, by its new number"
    );
    alone.enter(2);
    // The feed that was not tripped is measured by its last answer, the new one by nothing.
    let jump = [Some(700), Some(900), Some(20_000)];
    propose(&mut alone, &new, round(2, 1), &jump);
    assert_eq!(trips(&alone.told()), [(1, 500, 900)]);

    // A restart forgets nothing of it, and a reset is of the feed.
    let mut alone = alone.reopened(&new, own);
    assert_eq!(trips(&alone.told()), [(1, 500, 900), (2, 10_000, 20_000)]);
    alone.command(OracleCommand::Reset { feed: 2 });
    let by = ResetBy::Operator;
    assert!(alone.told().contains(&OracleEvent::Reset { feed: 2, by }));
    let mut alone = alone.reopened(&old, own);
    assert_eq!(trips(&alone.told()), [(1, 500, 900)]);
}

/// Sixteen pieces against a member that was put out do not stand in the way of one against his successor.
#[test]
fn evidence_is_held_against_who_signed_and_not_against_who_has_his_number() {
    let old = made(form());
    let leader = leader_of(&old, 1);
    let offender = (leader + 1) % MEMBERS;
    let mut alone = Alone::open(&old, leader);
    alone.enter(1);
    let contradict = |alone: &mut Alone, config: &Config, by: u8| {
        let number = config
            .members()
            .iter()
            .position(|it| it.signer == key(by).address());
        let number = u8::try_from(number.unwrap()).unwrap();
        let round = alone.oracle.asked().unwrap();
        for value in [500, 501] {
            let mut word = signed(
                config,
                number,
                round,
                &vec![Some(value); config.feeds().len()],
            );
            word = word.observation.sign(config, number, key(by).as_ref());
            alone.hear(number, Body::Observation(word));
        }
        let told = alone.told().into_iter();
        let told = told.filter(|it| matches!(it, OracleEvent::Evidence { .. }));
        told.count()
    };
    for _ in 0..17 {
        let round = alone.oracle.asked().unwrap();
        contradict(&mut alone, &old, offender);
        while alone.oracle.asked() == Some(round) {
            alone.wait(100);
        }
    }
    assert_eq!(contradict(&mut alone, &old, offender), 0, "enough is kept");

    let mut form = next();
    form.members[usize::from(offender)].signer = key(40).address();
    let new = made(form);
    let epoch = (2..).find(|it| leader_of(&new, *it) == leader).unwrap();
    let mut alone = alone.reopened(&new, leader);
    alone.enter(epoch);
    assert_eq!(contradict(&mut alone, &new, 40), 1);
    let kept = alone.kept();
    let against = |member: u8| {
        let signer = key(member).address();
        kept.iter().filter(|(it, _)| *it == signer).count()
    };
    assert_eq!((against(offender), against(40)), (16, 1));
}
