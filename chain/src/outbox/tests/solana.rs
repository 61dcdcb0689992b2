//! When a Solana transaction has expired.

use alloy_primitives::{B256, Bytes};

use super::rig::{Rig, payment_on_solana};
use crate::outbox::{
    Ask, Deferral, Found, Inclusion, Outcome, SolanaSight, SolanaView, Stage, Taken,
};
use crate::{Revert, TxId};

const LAST_VALID: u64 = 150;
const SIGNED_SLOT: u64 = 1_000;

fn sent() -> (Rig, Taken) {
    let mut rig = Rig::new();
    let taken = rig.submit(payment_on_solana("one"));
    let request = rig.find(|ask| matches!(ask, Ask::SignSolana(_))).unwrap();
    let found = Found::SignedSolana {
        raw: Bytes::from_static(b"signed"),
        signature: [1; 64],
        last_valid_height: LAST_VALID,
        signed_slot: SIGNED_SLOT,
    };
    rig.answer(&request, Ok(found));
    rig.broadcast(Ok(())).expect("it is sent");
    (rig, taken)
}

/// The next look finds this of it; the final block's height.
fn seen(rig: &mut Rig, sight: &SolanaSight, final_height: u64) {
    for _ in 0..3 {
        if let Some(request) = rig.find(|ask| matches!(ask, Ask::LookSolana { .. })) {
            let Ask::LookSolana { wanted, .. } = &request.ask else {
                continue;
            };
            let sights = wanted.iter().map(|(entry, _)| (*entry, sight.clone()));
            let view = SolanaView {
                final_height,
                latest_slot: 2_000,
                sights: sights.collect(),
            };
            rig.answer(&request, Ok(Found::Solana(view)));
            return;
        }
        rig.wait();
    }
    panic!("nobody looks");
}

/// A node above the last height at which it is valid, whose ledger begins at `first_slot`, knows nothing of it.
fn ignorant(rig: &mut Rig, first_slot: u64) {
    seen(rig, &missing(2_000, first_slot), LAST_VALID + 1);
}

const fn missing(as_of: u64, since: u64) -> SolanaSight {
    SolanaSight::Missing { as_of, since }
}

fn included(slot: u64, failure: Option<Revert>) -> SolanaSight {
    SolanaSight::Included {
        slot,
        block_hash: B256::repeat_byte(5),
        is_final: false,
        failure,
    }
}

/// A node whose ledger begins later cannot know: nothing is signed anew, and the caller is told.
#[test]
fn a_node_without_the_past_proves_no_expiry() {
    let (mut rig, _) = sent();
    for _ in 0..8 {
        ignorant(&mut rig, SIGNED_SLOT + 1);
    }
    assert!(!rig.stages.contains(&Stage::Expired));
    assert!(rig.find(|ask| matches!(ask, Ask::SignSolana(_))).is_none());
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

/// Nor does one that knows the past, until it has said so three times in a row.
#[test]
fn expiry_is_concluded_from_three_looks_in_a_row() {
    let (mut rig, _) = sent();
    ignorant(&mut rig, 0);
    ignorant(&mut rig, 0);
    assert!(!rig.stages.contains(&Stage::Expired));
    ignorant(&mut rig, 0);
    assert!(rig.stages.contains(&Stage::Expired));
    assert!(rig.find(|ask| matches!(ask, Ask::SignSolana(_))).is_some());
}

/// What was called off is not sent again: it may be included all the same, or it expires.
#[test]
fn what_was_called_off_is_not_sent_again() {
    let (mut rig, taken) = sent();
    rig.cancel(&taken);
    for _ in 0..4 {
        seen(&mut rig, &missing(2_000, 0), LAST_VALID);
        rig.wait();
        assert!(
            rig.find(|ask| matches!(ask, Ask::Broadcast { .. }))
                .is_none()
        );
    }
    rig.restart();
    assert!(
        rig.find(|ask| matches!(ask, Ask::Broadcast { .. }))
            .is_none()
    );
    for _ in 0..3 {
        ignorant(&mut rig, 0);
    }
    assert_eq!(rig.stages.last(), Some(&Stage::Ended(Outcome::Cancelled)));
}

/// One node that has not come to the slot of what was included, or begins behind it, undoes nothing; one that has come there
/// and does not have it says that its fork was left.
#[test]
fn a_node_that_lags_makes_nothing_reorganised() {
    const SLOT: u64 = 1_500;
    let (mut rig, _) = sent();
    seen(&mut rig, &included(SLOT, None), 100);
    assert!(matches!(rig.stages.last(), Some(Stage::Included(_))));
    let behind = missing(SLOT - 1, 0);
    for _ in 0..8 {
        seen(&mut rig, &behind, 100);
        seen(&mut rig, &missing(2_000, SLOT + 1), 100);
    }
    seen(&mut rig, &included(SLOT, None), 100);
    for _ in 0..63 {
        seen(&mut rig, &behind, 100);
    }
    assert!(!rig.stages.contains(&Stage::Reorganised));
    seen(&mut rig, &behind, 100);
    assert!(rig.stages.contains(&Stage::Reorganised), "it is shorter");

    let (mut rig, _) = sent();
    seen(&mut rig, &included(SLOT, None), 100);
    seen(&mut rig, &missing(SLOT, 0), 100);
    assert!(rig.stages.contains(&Stage::Reorganised));
}

/// An inclusion says why it failed, and its journal keeps that.
#[test]
fn a_failure_is_told_with_its_reason() {
    let failure = Revert::Instruction {
        index: 2,
        error: "custom error 1".into(),
    };
    let (mut rig, _) = sent();
    seen(&mut rig, &included(1_500, Some(failure.clone())), 100);
    let told = Stage::Included(Inclusion {
        transaction: TxId::Solana([1; 64]),
        block_number: 1_500,
        block_hash: B256::repeat_byte(5),
        is_success: false,
        reason: Some(failure),
    });
    assert_eq!(rig.stages.last(), Some(&told));
    rig.restart();
    assert_eq!(rig.stages.last(), Some(&told));
}
