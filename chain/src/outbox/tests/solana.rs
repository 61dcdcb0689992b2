//! When a Solana transaction has expired.

use alloy_primitives::Bytes;

use super::rig::{Rig, payment_on_solana};
use crate::outbox::{Ask, Deferral, Found, SolanaView, Stage};

const LAST_VALID: u64 = 150;
const SIGNED_SLOT: u64 = 1_000;

fn sent() -> Rig {
    let mut rig = Rig::new();
    rig.submit(payment_on_solana("one"));
    let request = rig.find(|ask| matches!(ask, Ask::SignSolana(_))).unwrap();
    let found = Found::SignedSolana {
        raw: Bytes::from_static(b"signed"),
        signature: [1; 64],
        last_valid_height: LAST_VALID,
        signed_slot: SIGNED_SLOT,
    };
    rig.answer(&request, Ok(found));
    rig.broadcast(Ok(())).expect("it is sent");
    rig
}

/// A node above the last height at which it is valid, whose ledger begins at `first_slot`, knows nothing of it.
fn ignorant(rig: &mut Rig, first_slot: u64) {
    for _ in 0..3 {
        if let Some(request) = rig.find(|ask| matches!(ask, Ask::LookSolana { .. })) {
            let Ask::LookSolana { wanted, .. } = &request.ask else {
                continue;
            };
            let view = SolanaView {
                final_height: LAST_VALID + 1,
                latest_slot: 2_000,
                first_slot,
                sights: wanted.iter().map(|(entry, _)| (*entry, None)).collect(),
            };
            rig.answer(&request, Ok(Found::Solana(view)));
            return;
        }
        rig.wait();
    }
    panic!("nobody looks");
}

/// A node whose ledger begins later cannot know: nothing is signed anew, and the caller is told.
#[test]
fn a_node_without_the_past_proves_no_expiry() {
    let mut rig = sent();
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
    let mut rig = sent();
    ignorant(&mut rig, 0);
    ignorant(&mut rig, 0);
    assert!(!rig.stages.contains(&Stage::Expired));
    ignorant(&mut rig, 0);
    assert!(rig.stages.contains(&Stage::Expired));
    assert!(rig.find(|ask| matches!(ask, Ask::SignSolana(_))).is_some());
}
