//! Which keys are forgotten.

use super::rig::{CHAIN, Rig, payment, rules};
use crate::outbox::{OutboxConfig, Outcome, Refusal, Stage};

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
    let forgotten = rig.offer(payment("one"));
    assert!(
        matches!(forgotten, Err(Refusal::Forgotten { .. })),
        "{forgotten:?}"
    );
}

/// Whoever is told of an end can ask once more, however little is kept.
#[test]
fn what_ends_in_this_turn_is_not_forgotten_in_it() {
    let mut rig = rig_that_keeps(0);
    let taken = rig.submit(payment("only"));
    rig.cancel(&taken);
    assert!(rig.submit(payment("only")).is_known);
    rig.turn(Vec::new());
    assert!(rig.offer(payment("only")).is_err());
}

/// However long ago: a key is never carried out twice, also under another intent, and in no later life.
#[test]
fn a_forgotten_key_is_never_used_again() {
    let mut rig = rig_that_keeps(0);
    for name in ["one", "two"] {
        let taken = rig.submit(payment(name));
        rig.cancel(&taken);
        rig.turn(Vec::new());
    }
    for _ in 0..2 {
        rig.restart();
        for name in ["one", "two"] {
            let refusal = rig.offer(payment(name)).unwrap_err();
            let Refusal::Forgotten { key } = &refusal else {
                panic!("{refusal}");
            };
            assert_eq!(key.as_bytes(), name.as_bytes());
        }
    }
    assert_eq!(rig.outbox.open_count(), 0);
    assert!(!rig.submit(payment("three")).is_known);
}
