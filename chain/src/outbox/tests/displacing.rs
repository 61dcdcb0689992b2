//! When a nonce is given up.

use super::rig::{Rig, payment, rules};
use crate::outbox::{AccountView, Ask, Deferral, Request, Sight, Stage};

/// Its nonce is used for good, and by none of its attempts as far as the node knows.
fn missing(request: &Request, latest_number: u64) -> AccountView {
    let Ask::Look { wanted, .. } = &request.ask else {
        panic!("not a look");
    };
    AccountView {
        final_number: Some(latest_number - 8),
        latest_number,
        latest_nonce: 1,
        pending_nonce: 1,
        final_nonce: Some(1),
        places: Vec::new(),
        sights: wanted
            .iter()
            .map(|one| (one.entry, Sight::Missing))
            .collect(),
    }
}

fn sent() -> Rig {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| AccountView {
        final_number: Some(2),
        latest_number: 10,
        latest_nonce: 0,
        pending_nonce: 0,
        final_nonce: None,
        places: Vec::new(),
        sights: Vec::new(),
    });
    rig.broadcast(Ok(())).expect("it is sent");
    rig
}

/// While receipts are there, that none is found counts.
#[test]
fn a_nonce_used_by_something_else_is_given_up() {
    let mut rig = sent();
    for number in 20..23 {
        rig.look(|request| missing(request, number));
    }
    assert!(rig.stages.contains(&Stage::Displaced));
    assert_eq!(rig.signed.last().unwrap().nonce, 1);
}

/// One look that finds the newest block far below where it was does not make forgotten receipts young.
#[test]
fn who_is_behind_makes_no_receipt_younger() {
    let mut rig = sent();
    let late = 3 + rules().receipts_kept;
    for number in late..late + 2 {
        rig.look(|request| missing(request, number));
    }
    rig.look(|request| AccountView {
        latest_number: 20,
        ..missing(request, late + 2)
    });
    rig.look(|request| missing(request, 20));
    assert!(!rig.stages.contains(&Stage::Displaced));
}

/// A node that forgets receipts, met after a long time down, cannot have an intent paid a second time; nor after a
/// reorganisation that brought it into an older block than the newest one when it was signed.
#[test]
fn no_nonce_is_given_up_where_receipts_may_be_forgotten() {
    let mut rig = sent();
    rig.restart();
    // Block 2 was final when it was signed.
    let late = 3 + rules().receipts_kept;
    for number in late..late + 6 {
        rig.look(|request| missing(request, number));
        rig.broadcast(Ok(()));
    }
    assert!(!rig.stages.contains(&Stage::Displaced));
    let nonces = rig.signed.iter().map(|one| one.nonce);
    assert!(nonces.into_iter().all(|nonce| nonce == 0));
    let is_told = |stage: &Stage| {
        matches!(
            stage,
            Stage::Deferred {
                reason: Deferral::Unknown(_)
            }
        )
    };
    assert!(rig.stages.iter().any(is_told), "{:?}", rig.stages);
}
