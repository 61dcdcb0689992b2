//! Which nonce an intent gets.

use super::rig::{Rig, payment};
use crate::outbox::AccountView;

fn view(latest_number: u64, latest_nonce: u64, pending_nonce: u64) -> AccountView {
    AccountView {
        final_number: Some(latest_number.saturating_sub(8)),
        latest_number,
        latest_nonce,
        pending_nonce,
        final_nonce: None,
        canonical: Vec::new(),
        sights: Vec::new(),
    }
}

/// A node that names a nonce out of all proportion gets no transaction signed that could never be included.
#[test]
fn a_nonce_that_cannot_be_is_not_leased_but_looked_at_again() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 3, 1_000));
    assert!(rig.signed.is_empty(), "{:?}", rig.signed);
    rig.look(|_| view(10, 3, 3));
    assert_eq!(rig.signed.last().unwrap().nonce, 3);
}

/// Neither does it hide what is missing below.
#[test]
fn a_nonce_that_cannot_be_hides_no_gap() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    // Another wallet has used five.
    rig.look(|_| view(10, 5, 5));
    rig.broadcast(Ok(())).expect("it is sent");
    assert_eq!(rig.signed.len(), 1);
    // Two of those are undone.
    rig.look(|_| view(11, 3, 1_000));
    assert_eq!(rig.signed.len(), 2, "nothing fills the gap");
    assert_eq!(rig.signed.last().unwrap().nonce, 3);
}
