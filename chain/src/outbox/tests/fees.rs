//! How fees rise, and how far.

use super::rig::{CHAIN, MARKET, Rig, account, payment, rules};
use crate::ChainError;
use crate::outbox::{ATTEMPTS_MAX, AccountView, ChainRules, OutboxConfig};

/// Nothing is included, and nothing waits but what the node was given.
fn nothing(latest_number: u64, pending_nonce: u64) -> AccountView {
    AccountView {
        final_number: Some(latest_number.saturating_sub(8)),
        latest_number,
        latest_nonce: 0,
        pending_nonce,
        final_nonce: None,
        places: Vec::new(),
        sights: Vec::new(),
    }
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
    for _ in 0..60 {
        rig.broadcast(Err(ChainError::FeeTooLow {
            message: String::new(),
        }));
        rig.wait();
    }
    assert_eq!(rig.signed.len(), ATTEMPTS_MAX - 1);
    rig.cancel(&taken);
    for _ in 0..3 {
        rig.wait();
        rig.broadcast(Ok(()));
    }
    assert_eq!(rig.signed.len(), ATTEMPTS_MAX);
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
