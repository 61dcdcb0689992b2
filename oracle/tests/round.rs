//! Stories of rounds, on a simulated network without faults but those that the story tells of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ground;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_core::simulation::World;
use peaberry_core::{Handle, PeerId};
use peaberry_oracle::{
    Config, EcdsaQuorum, Oracle, OracleCommand, OracleEvent, ResetBy, RoundId, leader_of, slot_of,
};

use self::ground::{config, key};

/// The peer of this id.
fn peer(id: u8) -> PeerId {
    ground::peer(id - 1)
}

/// What each transmitter waits for the one before it.
const A_SECOND: Duration = Duration::from_secs(1);

/// Four oracles, and what they have told.
struct Stage {
    world: World,
    config: Arc<Config>,
    handles: Arc<Mutex<BTreeMap<PeerId, Handle<OracleCommand>>>>,
    told: Arc<Mutex<Vec<(PeerId, OracleEvent)>>>,
}

impl Stage {
    fn new() -> Self {
        Self::of(config(A_SECOND))
    }

    fn of(config: Arc<Config>) -> Self {
        let mut stage = Self {
            world: World::new(1),
            config,
            handles: Arc::default(),
            told: Arc::default(),
        };
        for number in 0..4 {
            let (config, handles, told) = (
                stage.config.clone(),
                stage.handles.clone(),
                stage.told.clone(),
            );
            stage.world.add(peer(number + 1), move |boot| {
                let (storage, at) = (boot.storage(), boot.peer());
                let attestor = EcdsaQuorum::new(&config, key(number));
                let oracle =
                    Oracle::open(config.clone(), key(number), attestor, 0, storage.as_ref())?;
                let mut node = boot.node();
                let told = told.clone();
                let handle =
                    oracle.add_to(&mut node, move |event| told.lock().push((at, event)))?;
                handles.lock().insert(at, handle);
                Ok(node)
            });
        }
        stage
    }

    fn see(&self, btc: i128, eth: i128, observed_at_ms: u64) {
        for handle in self.handles.lock().values() {
            let values = vec![Some(btc), Some(eth)];
            // One that is down sees nothing.
            let _ = handle.submit(OracleCommand::Observe {
                values,
                observed_at_ms,
            });
        }
    }

    /// Nobody knows the second price.
    fn see_of_first(&self, btc: i128, observed_at_ms: u64) {
        for handle in self.handles.lock().values() {
            let values = vec![Some(btc), None];
            let observe = OracleCommand::Observe {
                values,
                observed_at_ms,
            };
            handle.submit(observe).unwrap();
        }
    }

    /// The contract has an answer of `round` for the feed.
    fn land(&self, feed: u8, round: RoundId) {
        for handle in self.handles.lock().values() {
            let _ = handle.submit(OracleCommand::Landed { feed, round });
        }
    }

    /// What has been told in so long; with the earlier forgotten.
    fn run(&mut self, time: Duration) -> Vec<(PeerId, OracleEvent)> {
        self.told.lock().clear();
        self.world.run_for(time);
        self.told.lock().clone()
    }
}

/// The answers of each report of one oracle, in order.
fn answers(told: &[(PeerId, OracleEvent)], of: PeerId) -> Vec<Vec<i128>> {
    let reports = told.iter().filter_map(|(at, event)| match event {
        OracleEvent::Agreed { report, .. } if *at == of => Some(&report.report),
        _ => None,
    });
    reports
        .map(|report| report.answers.iter().map(|it| it.value).collect())
        .collect()
}

/// The round and the feeds of the newest report of one oracle.
fn newest(told: &[(PeerId, OracleEvent)], of: PeerId) -> Option<(RoundId, Vec<u8>)> {
    let reports = told.iter().filter_map(|(at, event)| match event {
        OracleEvent::Agreed { report, .. } if *at == of => Some(&report.report),
        _ => None,
    });
    let report = reports.last()?;
    let feeds = report.answers.iter().map(|it| it.feed);
    Some((report.round, feeds.collect()))
}

fn is_transmitted(told: &[(PeerId, OracleEvent)], round: RoundId) -> bool {
    let is_of = |event: &OracleEvent| matches!(event, OracleEvent::Transmit { report, .. } if report.report.round == round);
    told.iter().any(|(_, event)| is_of(event))
}

/// The contract has halted a feed by its own breaker and takes answers again: nobody waits for the heartbeat.
#[test]
fn an_answer_is_due_when_the_contract_takes_answers_again() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    stage.run(Duration::from_secs(5));
    stage.see(10_000, 500, 1_010_000);
    assert_eq!(
        answers(&stage.run(Duration::from_secs(5)), peer(1)),
        [] as [Vec<i128>; 0]
    );
    let resume = |stage: &Stage| {
        let (feed, from_ms) = (0, 1_020_000);
        for handle in stage.handles.lock().values() {
            let resumed = OracleCommand::Resumed { feed, from_ms };
            handle.submit(resumed).unwrap();
        }
    };
    resume(&stage);
    stage.see(10_000, 500, 1_019_999);
    assert_eq!(
        answers(&stage.run(Duration::from_secs(5)), peer(1)),
        [] as [Vec<i128>; 0],
        "the contract would not take it"
    );
    stage.see(10_000, 500, 1_020_000);
    let told = stage.run(Duration::from_secs(5));
    assert_eq!(answers(&told, peer(1)), [[10_000, 500]], "once");
    resume(&stage);
    assert_eq!(
        answers(&stage.run(Duration::from_secs(5)), peer(1)),
        [] as [Vec<i128>; 0],
        "saying it again changes nothing"
    );
}

#[test]
fn a_report_comes_when_a_price_deviates_or_its_time_has_come_and_not_before() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    let told = stage.run(Duration::from_secs(5));
    assert_eq!(
        answers(&told, peer(1)),
        [[10_000, 500]],
        "the first answer is news, the same again is not"
    );
    stage.see(10_099, 504, 1_010_000);
    assert_eq!(
        answers(&stage.run(Duration::from_secs(5)), peer(1)),
        [] as [Vec<i128>; 0]
    );
    stage.see(10_099, 505, 1_020_000);
    let told = stage.run(Duration::from_secs(5));
    assert_eq!(
        answers(&told, peer(1)),
        [[10_099, 505]],
        "one feed deviates by its whole percent"
    );
    stage.see(10_099, 505, 1_080_000);
    let told = stage.run(Duration::from_secs(5));
    assert_eq!(answers(&told, peer(4)), [[10_099, 505]], "the heartbeat");
}

/// The first transmitter is down: the second steps in one stage later, and hears that it has landed before the third.
#[test]
fn a_silent_transmitter_costs_one_slot() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    let told = stage.run(Duration::from_millis(2_500));
    let round = told.iter().find_map(|(_, event)| match event {
        OracleEvent::Agreed { report, .. } => Some(report.report.round),
        _ => None,
    });
    let slots: BTreeMap<u32, PeerId> = told
        .iter()
        .filter_map(|(at, event)| match event {
            OracleEvent::Transmit { slot, .. } => Some((*slot, *at)),
            _ => None,
        })
        .collect();
    let round = round.unwrap();
    for (slot, at) in &slots {
        let member = stage.config.member_of(*at).unwrap();
        assert_eq!(slot_of(&stage.config, round, member), *slot);
    }
    assert!(
        slots.len() >= 2 && slots.len() < 4,
        "{slots:?}: one a second"
    );
    stage.land(0, round);
    stage.land(1, round);
    let told = stage.run(Duration::from_secs(10));
    let later = told
        .iter()
        .filter(|(_, event)| matches!(event, OracleEvent::Transmit { .. }));
    assert_eq!(later.count(), 0, "what has landed is not transmitted again");

    // Nor after a restart.
    stage.world.kill(peer(1));
    stage.world.restart(peer(1));
    let told = stage.run(Duration::from_secs(5));
    assert!(
        !told
            .iter()
            .any(|(_, event)| matches!(event, OracleEvent::Transmit { .. }))
    );
}

/// The newer report leaves a feed out, so that it lands makes the older one no less needed.
#[test]
fn a_report_waits_on_where_the_one_that_landed_leaves_its_feed_out() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    stage.run(Duration::from_secs(5));
    stage.see(10_200, 510, 1_010_000);
    let agreed_of = |told: &[(PeerId, OracleEvent)], prices: &[i128]| {
        told.iter().find_map(|(_, event)| match event {
            OracleEvent::Agreed { report, .. } => {
                let report = &report.report;
                let answers = report.answers.iter().map(|it| it.value);
                answers.eq(prices.iter().copied()).then_some(report.round)
            }
            _ => None,
        })
    };
    let told = stage.run(Duration::from_millis(500));
    let both = agreed_of(&told, &[10_200, 510]).unwrap();
    // Nobody knows the second price any more, and the first moves on.
    stage.see_of_first(10_400, 1_011_000);
    let told = stage.run(Duration::from_millis(450));
    let one = agreed_of(&told, &[10_400]).unwrap();
    assert!(one > both);
    stage.land(0, one);
    let told = stage.run(Duration::from_secs(5));
    assert!(
        is_transmitted(&told, both),
        "its second feed is still wanted"
    );
    assert!(!is_transmitted(&told, one), "it has landed");
}

/// Of a round with two reports, by the hand of its leader, the one that landed has one feed: the other is wanted for the other.
#[test]
fn a_report_waits_on_where_another_of_its_round_has_landed_for_one_of_its_feeds() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    let told = stage.run(Duration::from_millis(800));
    let (round, _) = newest(&told, peer(1)).unwrap();
    stage.land(1, round);
    let told = stage.run(Duration::from_secs(5));
    assert!(is_transmitted(&told, round), "for its first feed");
    stage.land(0, round);
    let told = stage.run(Duration::from_secs(5));
    assert!(!is_transmitted(&told, round), "both feeds have landed");
}

/// The newest report has one feed only. Where none of two has landed when all restart, the other feed, of which nobody has a
/// report any more, is due anew.
#[test]
fn a_feed_whose_report_is_lost_in_a_restart_is_due_anew() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    stage.run(Duration::from_millis(800));
    stage.see(10_200, 500, 1_010_000);
    let told = stage.run(Duration::from_millis(800));
    let (both, feeds) = newest(&told, peer(1)).unwrap();
    assert_eq!(feeds, [0, 1]);
    stage.see_of_first(10_400, 1_011_000);
    let told = stage.run(Duration::from_millis(800));
    let (one, feeds) = newest(&told, peer(1)).unwrap();
    assert!(one > both);
    assert_eq!(feeds, [0]);
    for id in 1..=4 {
        stage.world.kill(peer(id));
    }
    for id in 1..=4 {
        stage.world.restart(peer(id));
    }
    stage.see(10_400, 500, 1_012_000);
    let told = stage.run(Duration::from_secs(5));
    assert!(is_transmitted(&told, one));
    let (anew, feeds) = newest(&told, peer(1)).unwrap();
    assert!(anew > one, "the second feed had nothing that waited");
    assert_eq!(feeds, [0, 1]);
    // Once; and what has landed is not due anew.
    stage.land(0, anew);
    stage.land(1, anew);
    assert_eq!(newest(&stage.run(Duration::from_secs(5)), peer(1)), None);
}

/// So many reports wait that one must make room: it is one of which newer ones have every feed.
#[test]
fn a_report_makes_no_room_while_no_newer_one_has_its_feed() {
    let mut stage = Stage::of(config(Duration::from_secs(10)));
    stage.see(10_000, 500, 1_000_000);
    let mut told = stage.run(Duration::from_millis(800));
    let (both, _) = newest(&told, peer(1)).unwrap();
    for moves in 1..=10_u32 {
        stage.see_of_first(
            10_000 + 200 * i128::from(moves),
            1_000_000 + u64::from(moves),
        );
        told.extend(stage.run(Duration::from_millis(450)));
    }
    assert_eq!(answers(&told, peer(1)).len(), 11, "more than can wait");
    told.extend(stage.run(Duration::from_secs(40)));
    let of_both = told.iter().filter(|(_, event)| {
        matches!(event, OracleEvent::Transmit { report, .. } if report.report.round == both)
    });
    assert_eq!(of_both.count(), 4);
}

/// A leader keeps back a report that was due, and brings it when the price has come back: what all know of is no deviation
/// from what they see, but the contract holds what was kept back.
#[test]
fn a_feed_is_due_when_a_report_that_was_kept_back_has_landed() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    let told = stage.run(Duration::from_secs(5));
    let (known, _) = newest(&told, peer(1)).unwrap();
    stage.land(0, known);
    stage.land(1, known);
    stage.see(10_000, 500, 1_001_000);
    assert_eq!(newest(&stage.run(Duration::from_secs(5)), peer(1)), None);

    let kept_back = RoundId::new(known.epoch(), known.round() + 1).unwrap();
    stage.land(0, kept_back);
    let told = stage.run(Duration::from_secs(5));
    let (mends, _) = newest(&told, peer(1)).unwrap();
    assert!(mends > kept_back);
    assert_eq!(answers(&told, peer(1)), [[10_000, 500]], "once");
    stage.land(0, mends);
    stage.land(1, mends);
    assert_eq!(newest(&stage.run(Duration::from_secs(5)), peer(1)), None);

    // It is not forgotten either.
    let again = RoundId::new(mends.epoch(), mends.round() + 1).unwrap();
    for id in 1..=4 {
        stage.world.kill(peer(id));
        stage.world.restart(peer(id));
        stage.world.run_for(Duration::from_millis(20));
        stage.land(0, again);
        stage.world.run_for(Duration::from_millis(20));
    }
    stage.see(10_000, 500, 1_002_000);
    assert!(newest(&stage.run(Duration::from_secs(5)), peer(1)).is_some());
}

/// Where too few know one feed and one of them is silent, so that nobody can prove it, the other feed's answers come on.
#[test]
fn a_feed_that_too_few_know_does_not_hold_up_the_other() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    stage.run(Duration::from_secs(3));
    stage.world.kill(peer(4));
    for moves in 1..=5_u32 {
        let price = 10_000 + 200 * i128::from(moves);
        let observed_at_ms = 1_000_000 + 10_000 * u64::from(moves);
        stage.see(price, 500, observed_at_ms);
        let values = vec![Some(price), None];
        let handle = stage.handles.lock().get(&peer(3)).cloned().unwrap();
        let observe = OracleCommand::Observe {
            values,
            observed_at_ms,
        };
        handle.submit(observe).unwrap();
        let told = stage.run(Duration::from_secs(10));
        assert!(answers(&told, peer(1)).contains(&vec![price]), "{told:?}");
    }
}

#[test]
fn what_may_not_have_landed_is_transmitted_again_after_a_restart() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    stage.run(Duration::from_secs(10));
    stage.world.kill(peer(2));
    stage.world.restart(peer(2));
    let told = stage.run(Duration::from_secs(5));
    assert!(
        told.iter()
            .any(|(at, event)| *at == peer(2) && matches!(event, OracleEvent::Transmit { .. }))
    );
}

/// A jump trips the breaker of its feed, the other feed goes on; f+1 operators close it for all.
#[test]
fn a_jump_stops_its_feed_until_operators_believe_it() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    stage.run(Duration::from_secs(3));
    stage.see(15_000, 500, 1_010_000);
    let told = stage.run(Duration::from_secs(5));
    let tripped = told.iter().filter(|(_, event)| {
        *event
            == OracleEvent::Tripped {
                feed: 0,
                last: 10_000,
                refused: 15_000,
            }
    });
    assert_eq!(tripped.count(), 4, "everybody refuses");
    assert_eq!(answers(&told, peer(1)), [] as [Vec<i128>; 0]);

    stage.see(15_000, 600, 1_020_000);
    let told = stage.run(Duration::from_secs(5));
    assert_eq!(
        answers(&told, peer(1)),
        [[600]],
        "the other feed goes on alone"
    );

    // A restart does not close it.
    stage.world.kill(peer(3));
    stage.world.restart(peer(3));
    let reset = |stage: &Stage, id| {
        let handle = stage.handles.lock().get(&peer(id)).cloned().unwrap();
        handle.submit(OracleCommand::Reset { feed: 0 }).unwrap();
    };
    reset(&stage, 1);
    stage.see(15_000, 600, 1_030_000);
    let told = stage.run(Duration::from_secs(5));
    assert!(told.iter().all(|(_, event)| !matches!(
        event,
        OracleEvent::Reset {
            by: ResetBy::Quorum,
            ..
        }
    )));
    assert_eq!(
        answers(&told, peer(1)),
        [] as [Vec<i128>; 0],
        "one operator is not enough for the others"
    );

    // Nor does it take back what an operator has said: everybody forgets what was heard, and hears it again.
    for id in [1, 3, 4] {
        stage.world.kill(peer(id));
    }
    for id in [1, 3, 4] {
        stage.world.restart(peer(id));
    }
    stage.see(15_000, 600, 1_040_000);
    stage.run(Duration::from_secs(2));

    reset(&stage, 2);
    let told = stage.run(Duration::from_secs(5));
    let closed = told.iter().filter(|(_, event)| {
        *event
            == OracleEvent::Reset {
                feed: 0,
                by: ResetBy::Quorum,
            }
    });
    assert_eq!(
        closed.count(),
        2,
        "two operators have closed it for the two others"
    );
    assert_eq!(answers(&told, peer(3)), [[15_000, 600]]);
}

/// A member that is away while a jump is believed hears of it when it comes back, also when an answer was agreed on in
/// between: else the feed would stop with the next member that falls silent, and no other operator could help.
#[test]
fn who_was_away_during_a_reset_is_not_left_behind() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    stage.run(Duration::from_secs(3));
    stage.see(15_000, 500, 1_010_000);
    stage.run(Duration::from_secs(3));
    stage.world.kill(peer(4));
    for id in [1, 2] {
        let handle = stage.handles.lock().get(&peer(id)).cloned().unwrap();
        handle.submit(OracleCommand::Reset { feed: 0 }).unwrap();
    }
    stage.see(15_000, 500, 1_020_000);
    let told = stage.run(Duration::from_secs(5));
    assert_eq!(answers(&told, peer(3)), [[15_000, 500]], "by the others");

    // One of those who said it is gone for good: who was convinced by them says it for them.
    stage.world.kill(peer(1));
    stage.world.restart(peer(4));
    let told = stage.run(Duration::from_secs(2));
    let of_the_fourth: Vec<_> = told
        .iter()
        .filter(|(at, event)| {
            let is_of_breaker = matches!(
                event,
                OracleEvent::Tripped { .. } | OracleEvent::Reset { .. }
            );
            *at == peer(4) && is_of_breaker
        })
        .map(|(_, event)| event.clone())
        .collect();
    let (feed, by) = (0, ResetBy::Quorum);
    let tripped = OracleEvent::Tripped {
        feed,
        last: 10_000,
        refused: 15_000,
    };
    assert_eq!(of_the_fourth, [tripped, OracleEvent::Reset { feed, by }]);

    // It takes part again, which is needed now; and what was believed then says nothing of another jump.
    stage.see(15_300, 500, 1_030_000);
    let told = stage.run(Duration::from_secs(10));
    assert_eq!(answers(&told, peer(4)), [[15_300, 500]]);
    stage.see(25_000, 500, 1_040_000);
    let told = stage.run(Duration::from_secs(10));
    assert_eq!(answers(&told, peer(4)), [] as [Vec<i128>; 0]);
    let tripped =
        |(_, event): &&(_, OracleEvent)| matches!(event, OracleEvent::Tripped { last: 15_300, .. });
    assert_eq!(told.iter().filter(tripped).count(), 3);
}

#[test]
fn the_next_leader_takes_over_from_one_that_is_down() {
    let mut stage = Stage::new();
    stage.see(10_000, 500, 1_000_000);
    stage.run(Duration::from_secs(3));
    let epoch = 1;
    let leader = stage
        .config
        .member(leader_of(&stage.config, epoch))
        .unwrap()
        .peer;
    stage.world.kill(leader);
    stage.see(12_000, 500, 1_010_000);
    let told = stage.run(Duration::from_secs(10));
    for id in (1..=4).map(peer).filter(|it| *it != leader) {
        assert!(answers(&told, id).contains(&vec![12_000, 500]), "{id}");
    }
}
