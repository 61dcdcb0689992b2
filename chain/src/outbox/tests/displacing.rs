//! When a nonce is given up.

use super::rig::{Rig, payment, rules, view};
use crate::outbox::{
    AccountView, Ask, Deferral, EntryId, Outcome, Request, Sight, Stage, Submission,
};

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
        failures: Vec::new(),
        lacking: Vec::new(),
    }
}

/// What is told of each entry that is looked for, by its nonce.
fn sights(request: &Request, of: impl Fn(u64) -> Sight) -> Vec<(EntryId, Sight)> {
    let Ask::Look { wanted, .. } = &request.ask else {
        panic!("not a look");
    };
    let sights = wanted.iter().map(|one| (one.entry, of(one.nonce)));
    sights.collect()
}

fn newest_max(request: &Request) -> u64 {
    let Ask::Look { wanted, .. } = &request.ask else {
        panic!("not a look");
    };
    wanted.first().expect("it is looked for").newest_max
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
        failures: Vec::new(),
        lacking: Vec::new(),
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

/// A filler whose nonce is used by whatever it may be has nothing more to do, however long ago it was signed.
#[test]
fn a_filler_is_let_go_when_its_nonce_is_used() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 5, 5));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.look(|_| view(11, 4, 4));
    assert_eq!(rig.signed.last().unwrap().nonce, 4);
    rig.broadcast(Ok(())).expect("the filler is sent");
    let mut wanted = Vec::new();
    for number in 90_000..90_040 {
        let request = rig.look(|request| AccountView {
            final_nonce: Some(5),
            sights: sights(request, |nonce| match nonce {
                4 => Sight::Missing,
                _ => Sight::Ahead,
            }),
            ..view(number, 5, 5)
        });
        wanted.push(sights(&request, |_| Sight::Ahead).len());
    }
    assert_eq!(wanted[..3], [2, 2, 2]);
    assert_eq!(wanted[3..], [1; 37], "its filler is looked for still");
}

/// In a row: where too few nodes say by what its nonce is used, in between, none of the looks before counts.
#[test]
fn what_is_undecided_in_between_begins_the_count_anew() {
    let mut rig = sent();
    let undecided = |request: &Request, number| {
        let mut view = missing(request, number);
        for (_, sight) in &mut view.sights {
            *sight = Sight::Undecided;
        }
        view
    };
    for number in 20..24 {
        rig.look(|request| missing(request, number));
        rig.look(|request| missing(request, number));
        rig.look(|request| undecided(request, number));
    }
    assert!(!rig.stages.contains(&Stage::Displaced), "{:?}", rig.stages);
    for number in 24..27 {
        rig.look(|request| missing(request, number));
    }
    assert!(rig.stages.contains(&Stage::Displaced), "{:?}", rig.stages);
}

/// Block 2 was final when it was signed. Up to three quarters of the receipts' time above that it is given up, and not a
/// block later: nodes that are ahead of the newest block seen have forgotten more; also in a life that has seen no other.
#[test]
fn a_quarter_of_the_receipts_time_is_left_over() {
    let last = 2 + rules().receipts_kept / 4 * 3;
    for (number, is_given_up) in [(last, true), (last + 1, false)] {
        for restarts in [false, true] {
            let mut rig = sent();
            if restarts {
                rig.restart();
            }
            for _ in 0..3 {
                rig.look(|request| {
                    assert_eq!(newest_max(request), last, "of each node by itself");
                    missing(request, number)
                });
                rig.broadcast(Ok(()));
            }
            assert_eq!(
                rig.stages.contains(&Stage::Displaced),
                is_given_up,
                "{number}"
            );
            assert_eq!(is_unknown(&rig), !is_given_up, "{:?}", rig.stages);
        }
    }
}

/// What could not be looked for leaves the count where it is, and what was found of its attempts is not asked for again until
/// the count goes on.
#[test]
fn an_answer_that_is_lost_leaves_the_count_where_it_is() {
    let mut rig = sent();
    let lacking = |request: &Request| {
        let Ask::Look { wanted, .. } = &request.ask else {
            panic!("not a look");
        };
        let [one] = &wanted[..] else {
            panic!("{wanted:?}");
        };
        (one.entry, one.attempts.clone(), one.lacking.clone())
    };
    rig.look(|request| missing(request, 20));
    for is_known in [false, true] {
        rig.look(|request| {
            let (entry, attempts, found) = lacking(request);
            assert_eq!(found.iter().eq(&attempts), is_known);
            assert_eq!(found.is_empty(), !is_known);
            AccountView {
                sights: Vec::new(),
                failures: vec![(entry, super::rig::unreachable())],
                lacking: vec![(entry, attempts)],
                ..missing(request, 20)
            }
        });
    }
    for number in 20..22 {
        rig.look(|request| missing(request, number));
    }
    assert!(rig.stages.contains(&Stage::Displaced));
}

/// Block 2 was final when it was signed, and stays so for long: something else had used the nonce by then, as not every node knew.
/// Nobody has forgotten anything, and the next final block decides.
#[test]
fn what_was_signed_under_this_final_block_is_not_unknown() {
    let mut rig = sent();
    for _ in 0..20 {
        rig.look(|request| missing(request, 10));
    }
    assert!(!is_unknown(&rig), "{:?}", rig.stages);
    assert!(!rig.stages.contains(&Stage::Displaced));
    rig.look(|request| missing(request, 11));
    assert!(rig.stages.contains(&Stage::Displaced));
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

/// As many as may be on their way, and of none it is known what became of it: the next one has its nonce all the same.
#[test]
fn what_nobody_knows_of_holds_up_nobody_else() {
    let mut rig = Rig::new();
    let names = ["one", "two", "three", "four"];
    for name in names {
        rig.submit(payment(name));
    }
    assert_eq!(names.len(), rules().in_flight_max);
    rig.look(|_| view(10, 0, 0));
    for _ in names {
        rig.broadcast(Ok(())).expect("it is sent");
    }
    rig.restart();
    let used = |request: &Request, number| AccountView {
        latest_nonce: 4,
        pending_nonce: 4,
        final_nonce: Some(4),
        ..missing(request, number)
    };
    let late = 20 + rules().receipts_kept;
    for number in late..late + 6 {
        rig.look(|request| used(request, number));
        rig.broadcast(Ok(()));
    }
    assert!(is_unknown(&rig), "{:?}", rig.stages);
    let nonces = |rig: &Rig| -> Vec<u64> { rig.signed.iter().map(|one| one.nonce).collect() };
    assert!(!nonces(&rig).contains(&4), "{:?}", nonces(&rig));
    rig.submit(payment("five"));
    rig.look(|request| used(request, late + 6));
    rig.serve();
    assert!(nonces(&rig).contains(&4), "{:?}", nonces(&rig));
}

/// Nor does it bring anything any more that another could need: what would be reverted beside it is rejected.
#[test]
fn what_nobody_knows_of_keeps_nothing_from_its_end() {
    let mut rig = sent();
    let late = 20 + rules().receipts_kept;
    for number in late..late + 6 {
        rig.look(|request| missing(request, number));
        rig.broadcast(Ok(()));
    }
    assert!(is_unknown(&rig), "{:?}", rig.stages);
    rig.would_revert = true;
    rig.submit(Submission {
        gas_limit: None,
        ..payment("doomed")
    });
    for number in late + 6..late + 16 {
        rig.look(|request| missing(request, number));
    }
    let is_rejected = |stage: &Stage| matches!(stage, Stage::Ended(Outcome::Rejected { reason }) if reason.contains("no beans"));
    assert!(rig.stages.iter().any(is_rejected), "{:?}", rig.stages);
}

/// A look that finds the nonce free, and says so of the final block where that is asked.
fn free(request: &Request, latest_number: u64) -> AccountView {
    let Ask::Look {
        asks_final_nonce, ..
    } = &request.ask
    else {
        panic!("not a look");
    };
    AccountView {
        final_nonce: asks_final_nonce.then_some(0),
        ..view(latest_number, 0, 1)
    }
}

fn is_unknown(rig: &Rig) -> bool {
    let is_it = |stage: &Stage| {
        matches!(
            stage,
            Stage::Deferred {
                reason: Deferral::Unknown(_)
            }
        )
    };
    rig.stages.iter().any(is_it)
}

/// Looks at a nonce that stays free while the chain grows from block 10 to this one.
fn waits_until(rig: &mut Rig, last: u64, look: impl Fn(&Request, u64) -> AccountView) {
    for number in (10..=last).step_by(500) {
        rig.look(|request| look(request, number));
        rig.broadcast(Ok(()));
    }
}

/// What waited for longer than receipts are kept, and was in no final block, was not forgotten: it never was there.
#[test]
fn a_nonce_that_was_free_for_long_is_given_up_when_something_else_uses_it() {
    let mut rig = sent();
    let late = 3 * rules().receipts_kept;
    waits_until(&mut rig, late, free);
    // Also in another life.
    rig.restart();
    for number in late + 1..late + 4 {
        rig.look(|request| missing(request, number));
        rig.broadcast(Ok(()));
    }
    assert!(!is_unknown(&rig), "{:?}", rig.stages);
    assert!(rig.stages.contains(&Stage::Displaced));
    assert_eq!(rig.signed.last().unwrap().nonce, 1);
}

/// That the newest block's nonce is free proves nothing: it may be that of a node which is behind the final block.
#[test]
fn only_the_state_of_a_final_block_proves_a_nonce_free() {
    let mut rig = sent();
    let late = 3 * rules().receipts_kept;
    waits_until(&mut rig, late, |_, number| view(number, 0, 1));
    for number in late + 1..late + 7 {
        rig.look(|request| missing(request, number));
        rig.broadcast(Ok(()));
    }
    assert!(is_unknown(&rig), "{:?}", rig.stages);
    assert!(!rig.stages.contains(&Stage::Displaced));
}

/// Nor does a proof reach farther than receipts do: what may have been included behind it, and forgotten, stays open.
#[test]
fn a_proof_grows_old_as_the_signing_does() {
    let mut rig = sent();
    let proved = 2 * rules().receipts_kept;
    waits_until(&mut rig, proved, free);
    assert_unknown(rig, proved + rules().receipts_kept, true);
}

/// Whoever was told that nobody knows is told when somebody does.
#[test]
fn what_is_unknown_is_known_once_its_nonce_is_proved_free() {
    let mut rig = sent();
    let late = 3 + rules().receipts_kept;
    for number in late..late + 6 {
        rig.look(|request| missing(request, number));
        rig.broadcast(Ok(()));
    }
    assert!(is_unknown(&rig));
    rig.stages.clear();
    for number in late + 10..late + 13 {
        rig.look(|request| free(request, number));
    }
    assert!(
        matches!(
            rig.stages[..],
            [Stage::Sent { .. } | Stage::Signed { .. }, ..]
        ),
        "{:?}",
        rig.stages
    );
    for number in late + 13..late + 16 {
        rig.look(|request| missing(request, number));
    }
    assert!(rig.stages.contains(&Stage::Displaced));
}

/// A single answer that names a final block far above the chain, with the nonce free, proves nothing, neither then nor in
/// another life; nor does it when something is signed under it.
#[test]
fn one_answer_that_leads_makes_no_receipt_younger() {
    let late = 3 * rules().receipts_kept;
    let leading = |number, pending_nonce| AccountView {
        final_number: Some(1 << 40),
        final_nonce: Some(0),
        ..view(number, 0, pending_nonce)
    };
    for restarts in [false, true] {
        let mut rig = sent();
        rig.look(|_| leading(late, 1));
        assert_unknown(rig, late, restarts);

        let mut rig = Rig::new();
        rig.submit(payment("one"));
        rig.look(|_| leading(10, 0));
        rig.broadcast(Ok(())).expect("it is sent");
        assert_unknown(rig, late, restarts);
    }
}

/// What is missing from here on is not given up.
fn assert_unknown(mut rig: Rig, late: u64, restarts: bool) {
    if restarts {
        rig.restart();
    }
    for number in late..late + 6 {
        rig.look(|request| missing(request, number));
        rig.broadcast(Ok(()));
    }
    assert!(is_unknown(&rig), "{:?}", rig.stages);
    assert!(!rig.stages.contains(&Stage::Displaced));
}

/// Where something above the chain was once named, later looks prove what is so.
#[test]
fn what_was_signed_under_a_block_that_never_was_is_proved_anew() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| AccountView {
        final_number: Some(1 << 40),
        ..view(10, 0, 0)
    });
    rig.broadcast(Ok(())).expect("it is sent");
    rig.restart();
    // The first of them does not know yet that there is something to prove.
    for number in 100..104 {
        rig.look(|request| free(request, number));
        rig.broadcast(Ok(()));
    }
    for number in 110..113 {
        rig.look(|request| missing(request, number));
    }
    assert!(rig.stages.contains(&Stage::Displaced));
}

/// One look that names a block far above the chain, the newest or the final one, does not make receipts old for the rest of this
/// life; neither of what was signed before, nor under it.
#[test]
fn one_answer_that_leads_makes_receipts_old_for_a_while_only() {
    let absurd = |latest_number, final_number| AccountView {
        final_number: Some(final_number),
        ..view(latest_number, 0, 0)
    };
    for (latest_number, final_number) in [(10, 1 << 40), (1 << 40, 2)] {
        for is_signed_under in [true, false] {
            let mut rig = Rig::new();
            rig.submit(payment("one"));
            if is_signed_under {
                rig.look(|_| absurd(latest_number, final_number));
                rig.broadcast(Ok(())).expect("it is sent");
            } else {
                rig.look(|_| absurd(10, 2));
                rig.broadcast(Ok(())).expect("it is sent");
                rig.look(|_| absurd(latest_number, final_number));
            }
            for number in 100..104 {
                rig.look(|request| free(request, number));
                rig.broadcast(Ok(()));
            }
            for number in 110..260 {
                rig.look(|request| missing(request, number));
                rig.broadcast(Ok(()));
            }
            assert!(
                rig.stages.contains(&Stage::Displaced),
                "{latest_number} {final_number} {is_signed_under}: {:?}",
                rig.stages
            );
        }
    }
}

/// Of three looks the lowest final block counts, and a look that finds the nonce used begins anew.
#[test]
fn a_proof_is_as_old_as_the_oldest_of_its_looks() {
    let kept = rules().receipts_kept;
    let proved = |finals: [u64; 4]| {
        let mut rig = sent();
        for (index, number) in finals.into_iter().enumerate() {
            rig.look(|request| AccountView {
                // The third is that of a node which finds it used.
                final_nonce: Some(u64::from(index == 2 && number == 0)),
                final_number: Some(number.max(kept)),
                ..free(request, 4 * kept)
            });
        }
        for _ in 0..3 {
            rig.look(|request| missing(request, 4 * kept + 1));
        }
        rig.stages.contains(&Stage::Displaced)
    };
    let high = 4 * kept - 8;
    assert!(proved([high, high, high, high]));
    assert!(
        !proved([high, kept, high, high]),
        "an old block was not counted"
    );
    assert!(
        !proved([high, high, 0, high]),
        "looks that are not in a row were counted"
    );
}

/// What nobody knows is asked for now and then, and a receipt that is found ends the wait.
#[test]
fn what_is_unknown_is_asked_for_in_every_sixteenth_look() {
    let mut rig = sent();
    let late = 3 + rules().receipts_kept;
    let mut asked = Vec::new();
    for number in late..late + 64 {
        let request = rig.look(|request| missing(request, number));
        rig.broadcast(Ok(()));
        let Ask::Look { wanted, .. } = request.ask else {
            panic!("not a look");
        };
        asked.push(!wanted.is_empty());
    }
    assert!(is_unknown(&rig), "{:?}", rig.stages);
    assert_eq!(asked.iter().filter(|asked| **asked).count(), 3 + 4);
}
