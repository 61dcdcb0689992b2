//! How fees rise, and how far.

use super::rig::{MARKET, Rig, account, payment, rules};
use crate::ChainError;
use crate::outbox::{ATTEMPTS_MAX, AccountView, ChainRules, Sight};

/// Nothing is included, and nothing waits but what the node was given.
fn nothing(latest_number: u64, pending_nonce: u64) -> AccountView {
    AccountView {
        final_number: Some(latest_number.saturating_sub(8)),
        latest_number,
        latest_nonce: 0,
        pending_nonce,
        final_nonce: None,
        canonical: Vec::new(),
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
        assert!(rig.signed.len() > 1, "three blocks went by, and no more was offered");
    }
}
