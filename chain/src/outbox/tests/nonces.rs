//! Which nonce an intent gets.

use super::rig::{CHAIN, Rig, account, payment, refused, view};
use crate::outbox::{Ask, Found, OutboxCommand};
use peaberry_core::Input;

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

/// Two of another wallet's five transactions are undone, and nothing waits that could fill the gap.
fn rig_with_a_gap() -> Rig {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 5, 5));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.look(|_| view(11, 4, 4));
    rig
}

/// What fills a gap has as much gas as the chain wants for it.
#[test]
fn a_filler_is_weighed_by_the_chain() {
    let rig = rig_with_a_gap();
    let filler = rig.signed.last().unwrap();
    assert_eq!((filler.nonce, filler.gas_limit), (4, 30_000));
}

/// A filler that no node takes gives its nonce to an intent.
#[test]
fn an_intent_takes_the_nonce_of_a_filler_that_is_refused() {
    let mut rig = rig_with_a_gap();
    for name in ["two", "three", "four"] {
        rig.submit(payment(name));
    }
    rig.serve();
    for _ in 0..24 {
        while let Some(request) = rig.find(|ask| matches!(ask, Ask::Broadcast { .. })) {
            let Ask::Broadcast { raw, .. } = &request.ask else {
                continue;
            };
            let is_in_front = raw.windows(8).any(|bytes| bytes == b"nonce: 4");
            let is_filler = rig.signed.last().unwrap().nonce != 4;
            let answer = if is_in_front && is_filler {
                Err(refused("intrinsic gas too low"))
            } else {
                Ok(Found::Broadcast)
            };
            rig.answer(&request, answer);
            rig.serve();
        }
        rig.wait();
    }
    let last = rig.signed.last().unwrap();
    assert_eq!(last.nonce, 4, "nothing took the filler's place");
    assert_ne!(
        last.to,
        Some(account()),
        "another filler is in the way of what waits"
    );
}

fn is_look(ask: &Ask) -> bool {
    matches!(ask, Ask::Look { .. })
}

fn is_broadcast(ask: &Ask) -> bool {
    matches!(ask, Ask::Broadcast { .. })
}

/// What a node takes while a look is under way the look may not have seen, and nothing is sent again for that. What a later one
/// does not see is lost.
#[test]
fn what_is_taken_while_a_look_is_under_way_is_not_sent_again() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.wait();
    let look = rig.find(is_look).expect("it is looked at again");
    rig.broadcast(Ok(())).expect("it is sent");
    rig.answer(&look, Ok(Found::Account(view(10, 0, 0))));
    assert!(rig.find(is_broadcast).is_none(), "the look was older");
    rig.look(|_| view(10, 0, 0));
    assert!(rig.find(is_broadcast).is_some(), "the node lacks it");
}

/// A block that comes while a look is under way is looked at, too.
#[test]
fn who_is_woken_while_looking_looks_again_at_once() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.serve();
    for is_woken in [false, true] {
        let look = rig.find(is_look).expect("it is looked at");
        if is_woken {
            rig.turn(vec![Input::Command(OutboxCommand::Wake(CHAIN))]);
        }
        rig.answer(&look, Ok(Found::Account(view(10, 0, 0))));
        rig.serve();
        if !is_woken {
            assert!(rig.find(is_look).is_none(), "it is not time yet");
            rig.wait();
        }
    }
    assert!(rig.find(is_look).is_some(), "the new block is not seen");
}
