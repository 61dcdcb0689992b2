//! How fees rise, and how far.

use super::rig::{CHAIN, MARKET, Rig, account, payment, rules, view};
use crate::ChainError;
use crate::outbox::{ATTEMPTS_MAX, AccountView, Ask, ChainRules, Deferral, OutboxConfig, Stage};

/// Nothing is included, and nothing waits but what the node was given.
fn nothing(latest_number: u64, pending_nonce: u64) -> AccountView {
    view(latest_number, 0, pending_nonce)
}

fn has_told(rig: &Rig, wanted: &Deferral) -> bool {
    let is_it = |stage: &Stage| matches!(stage, Stage::Deferred { reason } if reason == wanted);
    rig.stages.iter().any(is_it)
}

/// What the newest that was signed offers.
fn offered(rig: &Rig) -> u128 {
    rig.signed.last().unwrap().fees.fee_max()
}

/// Answers a broadcast as a node that takes nothing below this fee.
fn offer_to_a_node_that_holds(rig: &mut Rig, enough: u128) {
    let answer = match offered(rig) < enough {
        true => Err(ChainError::ReplacementUnderpriced),
        false => Ok(()),
    };
    rig.broadcast(answer);
}

/// A node that holds something far dearer does not say how much dearer: a few steps lead above it, and no farther than the
/// next.
#[test]
fn an_underpriced_replacement_soon_offers_enough() {
    let mut rig = Rig::new();
    rig.submit(payment("one").with_fee_cap(1 << 40));
    rig.look(|_| nothing(10, 0));
    let enough = 600 * MARKET;
    for number in 11..40 {
        offer_to_a_node_that_holds(&mut rig, enough);
        if offered(&rig) >= enough && matches!(rig.stages.last(), Some(Stage::Sent { .. })) {
            break;
        }
        rig.look(|_| nothing(number, 1));
    }
    assert!((enough..enough * 2).contains(&offered(&rig)));
    assert!(rig.signed.len() <= 12, "{}", rig.signed.len());
    assert!(!has_told(&rig, &Deferral::FeeCap));
    assert!(matches!(rig.stages.last(), Some(Stage::Sent { .. })));
}

/// Only the cap ends the ladder: it is reached, offered whole, and told.
#[test]
fn the_ladder_ends_at_the_cap() {
    for cap in [rules().fee_cap, 1 << 90] {
        let mut rig = Rig::new();
        rig.submit(payment("one").with_fee_cap(cap));
        rig.look(|_| nothing(10, 0));
        for number in 11..2_000 {
            rig.broadcast(Ok(()));
            rig.look(|_| nothing(number, 1));
            if has_told(&rig, &Deferral::FeeCap) {
                break;
            }
        }
        assert!(has_told(&rig, &Deferral::FeeCap));
        assert!(offered(&rig) > cap / 11 * 10, "{} of {cap}", offered(&rig));
    }
}

/// Where the cap is raised afterwards, and so many attempts as are kept are made, that is told by its name, and the newest
/// goes on being sent.
#[test]
fn so_many_attempts_as_are_kept_are_told_by_their_name() {
    let config = |fee_cap| {
        let rules = ChainRules { fee_cap, ..rules() };
        OutboxConfig::new().chain(CHAIN, rules)
    };
    let mut rig = Rig::with(config(MARKET << 60));
    rig.submit(payment("one"));
    rig.look(|_| nothing(10, 0));
    let mut number = 10;
    let mut climb = |rig: &mut Rig, wanted: &Deferral| {
        for _ in 0..2_000 {
            number += 1;
            rig.broadcast(Ok(()));
            rig.look(|_| nothing(number, 1));
            if has_told(rig, wanted) {
                return;
            }
        }
        panic!("never told: {wanted:?}");
    };
    climb(&mut rig, &Deferral::FeeCap);
    rig.config = config(u128::MAX);
    rig.restart();
    climb(&mut rig, &Deferral::AttemptsMax);
    assert_eq!(rig.signed.len(), ATTEMPTS_MAX - 1);
    assert!(!has_told(&rig, &Deferral::FeeCap));
    let newest = format!("fee_max: {}", offered(&rig));
    let legacy = format!("gas_price: {}", offered(&rig));
    for _ in 0..3 {
        rig.wait();
        let request = rig.broadcast(Ok(())).expect("it is sent again");
        let Ask::Broadcast { raw, .. } = request.ask else {
            panic!("not a broadcast");
        };
        let text = String::from_utf8_lossy(&raw).into_owned();
        assert!(text.contains(&newest) || text.contains(&legacy), "{text}");
        number += 4;
        rig.look(|_| nothing(number, 1));
    }
    assert_eq!(rig.signed.len(), ATTEMPTS_MAX - 1);
}

/// A rise that could not be signed is signed when the signer answers again.
#[test]
fn a_rise_that_could_not_be_signed_is_tried_again() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| nothing(10, 0));
    rig.silence = |ask| matches!(ask, Ask::Sign { .. });
    rig.broadcast(Err(ChainError::FeeTooLow {
        message: String::new(),
    }));
    rig.look(|_| nothing(10, 1));
    rig.look(|_| nothing(10, 1));
    assert_eq!(rig.signed.len(), 1);
    rig.silence = |_| false;
    rig.look(|_| nothing(10, 1));
    rig.look(|_| nothing(10, 1));
    assert_eq!(rig.signed.len(), 2);
}

/// What a life before has sent is sent again before the first look, and its fees rise all the same.
#[test]
fn fees_rise_also_for_what_was_sent_before_the_first_look() {
    for lost in [false, true] {
        let mut rig = Rig::new();
        rig.submit(payment("one"));
        rig.look(|_| nothing(10, 0));
        rig.broadcast(Ok(())).expect("it is sent");
        rig.restart();
        let answer = if lost {
            Err(ChainError::NonceTooLow { transaction: None })
        } else {
            Ok(())
        };
        rig.broadcast(answer).expect("it is sent again");
        assert_eq!(rig.signed.len(), 1);
        for number in 11..20 {
            rig.look(|_| nothing(number, 1));
            rig.broadcast(Ok(()));
        }
        assert!(
            rig.signed.len() > 1,
            "three blocks went by, and no more was offered"
        );
    }
}

/// Whether the newest that was signed is a transfer of nothing to oneself.
fn is_cancel(rig: &Rig) -> bool {
    rig.signed.last().unwrap().to == Some(account())
}

/// An intent at its own cap can be called off, for what the chain's cap allows.
#[test]
fn calling_off_is_possible_at_the_intents_own_cap() {
    let mut rig = Rig::new();
    let taken = rig.submit(payment("one").with_fee_cap(MARKET));
    rig.look(|_| nothing(10, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.cancel(&taken);
    rig.serve();
    assert!(is_cancel(&rig), "nothing was signed to call it off");
    assert!(rig.signed.last().unwrap().fees.fee_max() > MARKET);
}

/// Where the chain's own cap leaves no room either, the calling off is signed at the same price.
#[test]
fn calling_off_at_the_chains_cap_is_signed_at_the_same_price() {
    let mut rig = Rig::with(OutboxConfig::new().chain(
        CHAIN,
        ChainRules {
            fee_cap: MARKET,
            ..rules()
        },
    ));
    let taken = rig.submit(payment("one"));
    rig.look(|_| nothing(10, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.cancel(&taken);
    rig.serve();
    assert!(is_cancel(&rig), "nothing was signed to call it off");
    assert_eq!(rig.signed.last().unwrap().fees.fee_max(), MARKET);
}

/// However often an intent's fees have risen, there is one attempt left to call it off.
#[test]
fn the_last_attempt_is_the_cancels() {
    let mut rig = Rig::new();
    let taken = rig.submit(payment("one").with_fee_cap(u128::MAX));
    rig.look(|_| nothing(10, 0));
    for _ in 0..3 * ATTEMPTS_MAX {
        rig.broadcast(Err(ChainError::FeeTooLow {
            message: String::new(),
        }));
        rig.wait();
    }
    let before = rig.signed.len();
    assert!(before < ATTEMPTS_MAX, "{before}");
    assert!(has_told(&rig, &Deferral::FeeCap));
    rig.cancel(&taken);
    for _ in 0..3 {
        rig.wait();
        rig.broadcast(Ok(()));
    }
    assert_eq!(rig.signed.len(), before + 1);
    assert!(is_cancel(&rig));
}

/// On a chain where everything takes more gas, calling off has what the intent has.
#[test]
fn calling_off_has_the_gas_that_its_chain_wants() {
    let mut rig = Rig::new();
    let taken = rig.submit(payment("one").with_gas_limit(500_000));
    rig.look(|_| nothing(10, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.cancel(&taken);
    rig.serve();
    assert!(is_cancel(&rig));
    assert_eq!(rig.signed.last().unwrap().gas_limit, 500_000);
}
