//! When what is included is over.

use alloy_primitives::B256;

use super::rig::{Rig, payment};
use crate::TxId;
use crate::outbox::{AccountView, Ask, Outcome, Place, Request, Sight, Stage};

const BLOCK: B256 = B256::repeat_byte(12);

fn view(latest_number: u64, latest_nonce: u64) -> AccountView {
    AccountView {
        final_number: Some(latest_number - 8),
        latest_number,
        latest_nonce,
        pending_nonce: latest_nonce,
        final_nonce: None,
        places: Vec::new(),
        sights: Vec::new(),
    }
}

/// A look that finds all blocks asked about below the final one.
fn on_chain(request: &Request, place: Place, number: u64, final_nonce: Option<u64>) -> AccountView {
    let Ask::Look { blocks, .. } = &request.ask else {
        panic!("not a look");
    };
    AccountView {
        final_nonce,
        places: blocks.iter().map(|_| place).collect(),
        ..view(number, 1)
    }
}

/// An intent whose transaction of nonce 0 is in block 12.
fn included() -> Rig {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.look(|request| {
        let Ask::Look { wanted, .. } = &request.ask else {
            panic!("not a look");
        };
        let sights = wanted.iter().map(|one| {
            let sight = Sight::Included {
                transaction: *one.attempts.first().unwrap(),
                block_number: 12,
                block_hash: BLOCK,
                is_success: true,
            };
            (one.entry, sight)
        });
        AccountView {
            sights: sights.collect(),
            ..view(12, 1)
        }
    });
    rig
}

fn is_final(rig: &Rig) -> bool {
    let is_it = |stage: &Stage| {
        matches!(stage, Stage::Ended(Outcome::Final(inclusion))
            if matches!(inclusion.transaction, TxId::Evm(_)))
    };
    rig.stages.iter().any(is_it)
}

/// What a node says of a number once, or of a fork whose final block does not count the transaction, ends nothing.
#[test]
fn a_stale_answer_about_a_block_ends_nothing() {
    let mut rig = included();
    for number in 30..36 {
        rig.look(|request| on_chain(request, Place::Canonical, number, Some(0)));
    }
    for number in 36..42 {
        rig.look(|request| on_chain(request, Place::Canonical, number, None));
    }
    rig.look(|request| on_chain(request, Place::Canonical, 42, Some(1)));
    rig.look(|request| on_chain(request, Place::Canonical, 43, Some(1)));
    assert!(!is_final(&rig));
    rig.look(|request| on_chain(request, Place::Canonical, 44, Some(1)));
    assert!(is_final(&rig));
}

/// What the final block leads to is final at once, if its nonce is counted there.
#[test]
fn what_is_on_the_final_branch_ends_in_one_look() {
    let mut rig = included();
    rig.look(|request| on_chain(request, Place::Final, 30, Some(0)));
    rig.look(|request| on_chain(request, Place::Final, 31, None));
    assert!(!is_final(&rig));
    rig.look(|request| on_chain(request, Place::Final, 32, Some(1)));
    assert!(is_final(&rig));
}

/// Should what was taken for final be gone all the same, its nonce is filled: what comes behind it is not stuck for ever.
#[test]
fn a_nonce_that_the_chain_lacks_is_filled_although_it_was_used_for_good() {
    let mut rig = included();
    for number in 30..33 {
        rig.look(|request| on_chain(request, Place::Canonical, number, Some(1)));
    }
    assert!(is_final(&rig));
    rig.submit(payment("two"));
    for number in 33..40 {
        rig.look(|_| view(number, 0));
        rig.broadcast(Ok(()));
    }
    let nonces: Vec<u64> = rig.signed.iter().map(|one| one.nonce).collect();
    assert_eq!(nonces.get(..3), Some(&[0, 1, 0][..]), "{nonces:?}");
}
