//! Which keys are forgotten.

use super::rig::{CHAIN, Rig, payment, rules};
use crate::outbox::{OutboxConfig, Outcome, Stage};

fn rig_that_keeps(ended_kept: usize) -> Rig {
    Rig::with(OutboxConfig {
        ended_kept,
        ..OutboxConfig::new().chain(CHAIN, rules())
    })
}

/// An early intent that ends late is the newest end, also after a restart: its retry is answered.
#[test]
fn keys_are_forgotten_in_the_order_of_their_ends() {
    let mut rig = rig_that_keeps(2);
    let early = rig.submit(payment("early"));
    for name in ["one", "two", "three"] {
        let taken = rig.submit(payment(name));
        rig.cancel(&taken);
    }
    rig.restart();
    rig.cancel(&early);
    rig.turn(Vec::new());
    rig.restart();
    let retry = rig.submit(payment("early"));
    assert!(
        retry.is_known,
        "it was forgotten first although it ended last"
    );
    assert_eq!(retry.stage, Stage::Ended(Outcome::Cancelled));
    assert!(rig.submit(payment("three")).is_known);
    assert!(!rig.submit(payment("one")).is_known);
}

/// Whoever is told of an end can ask once more, however little is kept.
#[test]
fn what_ends_in_this_turn_is_not_forgotten_in_it() {
    let mut rig = rig_that_keeps(0);
    let taken = rig.submit(payment("only"));
    rig.cancel(&taken);
    assert!(rig.submit(payment("only")).is_known);
    rig.turn(Vec::new());
    assert!(!rig.submit(payment("only")).is_known);
}
