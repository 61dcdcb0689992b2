//! What nodes say no to, and what becomes of it.

use super::rig::{Rig, payment, refused};
use crate::ChainError;
use crate::outbox::{AccountView, Stage};

fn nothing() -> AccountView {
    AccountView {
        final_number: Some(2),
        latest_number: 10,
        latest_nonce: 0,
        pending_nonce: 0,
        final_nonce: None,
        places: Vec::new(),
        sights: Vec::new(),
        failures: Vec::new(),
        lacking: Vec::new(),
    }
}

/// Sends an intent and lets nodes refuse it in these words, again and again; answers how much was signed in the end.
fn signed_after(error: impl Fn(usize) -> ChainError) -> (usize, Rig) {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| nothing());
    for time in 0..24 {
        rig.broadcast(Err(error(time)));
        rig.wait();
    }
    (rig.signed.len(), rig)
}

/// A hiccup passes: nothing that was taken is called off for it.
#[test]
fn words_that_promise_nothing_call_nothing_off() {
    for words in [
        "internal error",
        "txpool is full",
        "quota exceeded",
        "nonce too high",
    ] {
        let (signed, rig) = signed_after(|_| refused(words));
        assert_eq!(signed, 1, "{words}: it was called off");
        let is_told = |stage: &Stage| matches!(stage, Stage::Deferred { .. });
        assert!(rig.stages.iter().any(is_told), "{words}: nobody was told");
    }
}

/// What no node ever takes is called off, but only if it is said time after time, and nothing else in between.
#[test]
fn what_is_invalid_is_called_off_after_several_verdicts_in_a_row() {
    let (signed, _) = signed_after(|_| refused("exceeds block gas limit"));
    assert!(signed > 1);
    let (signed, _) = signed_after(|time| {
        refused(if time % 4 == 3 {
            "internal error"
        } else {
            "exceeds block gas limit"
        })
    });
    assert_eq!(signed, 1);
}
