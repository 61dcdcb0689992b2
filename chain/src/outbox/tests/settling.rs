//! When what is included is over.

use alloy_primitives::B256;

use super::rig::{Rig, account, payment, unreachable};
use crate::TxId;
use crate::outbox::{AccountView, Ask, Found, Outcome, Place, Request, Sight, Stage, Submission};

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
        failures: Vec::new(),
        lacking: Vec::new(),
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
                reason: None,
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

/// But not by an intent: who seems to lack it may be behind, and nobody could tell afterwards what became of it.
#[test]
fn no_intent_gets_a_nonce_that_was_used_for_good() {
    let mut rig = included();
    for number in 30..33 {
        rig.look(|request| on_chain(request, Place::Canonical, number, Some(1)));
    }
    rig.submit(payment("two"));
    for number in 33..35 {
        rig.look(|_| view(number, 0));
        rig.broadcast(Ok(()));
    }
    rig.wait();
    let look = rig.find(|ask| matches!(ask, Ask::Look { .. }));
    let look = look.expect("it is looked at again");
    // It waits until it is known what gas it takes.
    rig.submit(Submission {
        gas_limit: None,
        ..payment("three")
    });
    rig.answer(&look, Ok(Found::Account(view(35, 0))));
    rig.serve();
    let nonces = |is_filler: bool| {
        let signed = rig.signed.iter();
        let those = signed.filter(|one| (one.to == Some(account())) == is_filler);
        those.map(|one| one.nonce).collect::<Vec<_>>()
    };
    assert_eq!(nonces(true), [0]);
    assert_eq!(nonces(false), [0, 1, 2]);
}

fn reorganised(rig: &Rig) -> usize {
    let is_it = |stage: &&Stage| **stage == Stage::Reorganised;
    rig.stages.iter().filter(is_it).count()
}

/// A node that is behind has neither the block nor the nonce: nothing is undone for that, unless it stays so for very long.
#[test]
fn a_node_that_is_behind_undoes_nothing() {
    let mut rig = included();
    let behind = |request: &Request| AccountView {
        latest_nonce: 0,
        pending_nonce: 0,
        ..on_chain(request, Place::Beyond, 11, None)
    };
    for _ in 0..63 {
        rig.look(behind);
    }
    // Another node has it still.
    rig.look(|request| on_chain(request, Place::Canonical, 13, None));
    for _ in 0..63 {
        rig.look(behind);
    }
    assert_eq!(reorganised(&rig), 0);
    rig.look(behind);
    assert_eq!(reorganised(&rig), 1);
}

/// Another block in its place is a reorganisation at once, however many nonces the account has.
#[test]
fn another_block_in_its_place_undoes_it_at_once() {
    let mut rig = included();
    rig.look(|request| on_chain(request, Place::Gone, 13, None));
    assert_eq!(reorganised(&rig), 1);
}

/// That nobody answers is told once when it has lasted, to who comes then, too, and where things stand when it is over.
#[test]
fn a_lasting_silence_is_told_once_and_its_end() {
    let mut rig = included();
    rig.stages.clear();
    let silent = |rig: &mut Rig| {
        rig.wait();
        while let Some(request) = rig.find(|_| true) {
            rig.answer(&request, Err(unreachable()));
        }
    };
    // Five seconds each, and half a minute until it is told.
    for _ in 0..6 {
        silent(&mut rig);
    }
    assert_eq!(rig.stages, []);
    for _ in 0..6 {
        silent(&mut rig);
    }
    let [Stage::Stalled { lasts, why }] = &rig.stages[..] else {
        panic!("{:?}", rig.stages);
    };
    assert!(
        lasts.as_secs() >= 30 && why.contains("no connection"),
        "{why}"
    );
    rig.submit(payment("two"));
    assert!(matches!(rig.stages[1..], [Stage::Stalled { .. }]));
    rig.look(|request| on_chain(request, Place::Canonical, 13, None));
    // The second was signed in the meantime; where both stand is told again.
    let is_included = |stage: &&Stage| matches!(stage, Stage::Included(_));
    assert_eq!(rig.stages.iter().filter(is_included).count(), 1);
    let last = rig.stages.last();
    assert!(matches!(last, Some(Stage::Signed { .. })), "{last:?}");
}

/// What lies below the final block and of which too few nodes say where, or have no state of the final block, waits for them:
/// that is told once, and its end as well.
#[test]
fn what_cannot_be_proven_final_is_told() {
    for place in [Place::Beyond, Place::Final] {
        let mut rig = included();
        rig.stages.clear();
        for number in 30..130 {
            rig.look(|request| on_chain(request, place, number, None));
        }
        assert!(
            matches!(rig.stages[..], [Stage::Stalled { .. }]),
            "{:?}",
            rig.stages
        );
        rig.look(|request| on_chain(request, Place::Final, 130, Some(1)));
        assert!(is_final(&rig));
    }
}
