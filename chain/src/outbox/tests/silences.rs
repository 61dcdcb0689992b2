//! Who is told that nothing can be found out, and who is not.

use alloy_primitives::{Address, B256};

use super::rig::{Rig, account, payment, payment_from, unreachable, view};
use crate::ChainError;
use crate::outbox::{AccountView, Ask, Request, Sight, Stage};

/// A look that finds everything asked about included.
fn included(request: &Request, number: u64) -> AccountView {
    let Ask::Look { wanted, .. } = &request.ask else {
        panic!("not a look");
    };
    let sights = wanted.iter().map(|one| {
        let sight = Sight::Included {
            transaction: *one.attempts.first().unwrap(),
            block_number: 12,
            block_hash: B256::repeat_byte(12),
            is_success: true,
            reason: None,
        };
        (one.entry, sight)
    });
    AccountView {
        sights: sights.collect(),
        ..view(number, 1, 1)
    }
}

fn stalls(rig: &Rig) -> usize {
    let is_it = |stage: &&Stage| matches!(stage, Stage::Stalled { .. });
    rig.stages.iter().filter(is_it).count()
}

fn is_included(rig: &Rig) -> bool {
    matches!(rig.stages.last(), Some(Stage::Included(_)))
}

/// One answer is lost, what it was about is on the chain, and nobody asks again: that is no silence, however long ago.
#[test]
fn a_lost_answer_about_what_is_included_is_no_stall() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.broadcast(Err(unreachable())).expect("it is sent");
    rig.look(|request| included(request, 12));
    for _ in 0..20 {
        rig.look(|_| view(13, 1, 1));
    }
    assert!(rig.submit(payment("one")).is_known);
    assert_eq!(stalls(&rig), 0, "{:?}", rig.stages);
    assert!(is_included(&rig));
}

/// Nor is one that nobody follows up, whatever becomes of it.
#[test]
fn one_failure_alone_lasts_for_no_time() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.broadcast(Err(unreachable())).expect("it is sent");
    for number in 11..40 {
        rig.look(|_| view(number, 0, 1));
    }
    assert!(rig.submit(payment("one")).is_known);
    assert_eq!(stalls(&rig), 0, "{:?}", rig.stages);
}

/// A silence about one entry is over when the chain has it; that is told before, and another silence would be told again.
#[test]
fn what_is_included_stands_still_no_more() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    for number in 10..40 {
        rig.look(|_| view(number, 0, 0));
        rig.broadcast(Err(unreachable()));
    }
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
    rig.stages.clear();
    rig.look(|request| included(request, 40));
    assert!(
        matches!(
            rig.stages[..],
            [
                Stage::Signed { .. } | Stage::Sent { .. },
                Stage::Included(_)
            ]
        ),
        "{:?}",
        rig.stages
    );
    // Its block is undone, and nobody takes it again.
    rig.stages.clear();
    for number in 41..141 {
        rig.look(|_| view(number, 0, 0));
        rig.broadcast(Err(unreachable()));
    }
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
}

/// What is included waits for no price, whoever is asked for one in vain.
#[test]
fn a_price_that_nobody_names_holds_up_only_what_needs_it() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.silence = |ask| matches!(ask, Ask::Fees);
    for _ in 0..20 {
        rig.look(|_| view(11, 0, 1));
    }
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
    rig.look(|request| included(request, 12));
    assert!(is_included(&rig), "{:?}", rig.stages);
    for _ in 0..20 {
        rig.look(|_| view(13, 1, 1));
    }
    assert!(rig.submit(payment("one")).is_known);
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
    // Whoever comes now begins to wait now.
    rig.submit(payment("two"));
    rig.wait();
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
}

/// A signer that is silent about one intent is told of, and its nonce is filled: what comes behind goes on.
#[test]
fn a_signer_that_hangs_holds_up_no_other_intent() {
    const SLOW: u64 = 50_000;
    let mut rig = Rig::new();
    rig.silence = |ask| {
        let Ask::Sign { transaction, .. } = ask else {
            return false;
        };
        transaction.gas_limit == SLOW
    };
    rig.submit(payment("slow").with_gas_limit(SLOW));
    rig.submit(payment("quick"));
    rig.look(|_| view(10, 0, 0));
    for number in 11..30 {
        rig.broadcast(Ok(()));
        rig.look(|_| view(number, 0, 0));
    }
    let mut nonces: Vec<u64> = rig.signed.iter().map(|one| one.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces, [0, 1]);
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
    rig.silence = |_| false;
    rig.look(|_| view(31, 0, 0));
    rig.look(|_| view(31, 0, 0));
    let is_slow = |one: &crate::evm::Transaction| one.gas_limit == SLOW && one.nonce == 2;
    assert!(rig.signed.iter().any(is_slow), "{:?}", rig.signed);
}

/// A look in which nothing could be found out about this one intent, though the node answered all else.
fn unseen(request: &Request, number: u64) -> AccountView {
    let Ask::Look { wanted, .. } = &request.ask else {
        panic!("not a look");
    };
    let failures = wanted.iter().map(|one| (one.entry, unreachable()));
    AccountView {
        failures: failures.collect(),
        ..view(number, 1, 1)
    }
}

/// What cannot be looked for, for long, is told to stand still, and its first sight ends that; others are not told of it.
#[test]
fn what_cannot_be_looked_for_is_told_of_and_nobody_else() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    for _ in 0..20 {
        rig.look(|request| unseen(request, 12));
        rig.broadcast(Ok(()));
    }
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
    // Its account is in no trouble: whoever comes now is not told of any.
    rig.submit(payment("two"));
    rig.serve();
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
    rig.look(|request| included(request, 12));
    assert!(
        rig.stages
            .iter()
            .any(|stage| matches!(stage, Stage::Included(_)))
    );
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
}

/// What has used its nonce too few nodes say, for long: it is not on its way any more, and that is told, once, and its end.
#[test]
fn what_stays_undecided_is_told_of() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.stages.clear();
    let seen = |request: &Request, sight: Sight| {
        let Ask::Look { wanted, .. } = &request.ask else {
            panic!("not a look");
        };
        let sights = wanted.iter().map(|one| (one.entry, sight.clone()));
        AccountView {
            sights: sights.collect(),
            ..view(12, 1, 1)
        }
    };
    // One that lasts for no time, among others, is nothing to tell.
    for _ in 0..20 {
        rig.look(|request| seen(request, Sight::Undecided));
        rig.look(|request| seen(request, Sight::Ahead));
    }
    assert_eq!(stalls(&rig), 0, "{:?}", rig.stages);
    for _ in 0..20 {
        rig.look(|request| seen(request, Sight::Undecided));
    }
    let [Stage::Stalled { why, .. }] = &rig.stages[..] else {
        panic!("{:?}", rig.stages);
    };
    assert!(why.contains("used the nonce"), "{why}");
    rig.look(|request| included(request, 12));
    assert!(is_included(&rig), "{:?}", rig.stages);
}

/// A node that wants to be left alone is, also where it has answered the rest.
#[test]
fn a_limit_in_the_midst_of_a_look_is_kept_to() {
    let limit = std::time::Duration::from_secs(60);
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.look(|request| {
        let seen = unseen(request, 12);
        let limited = ChainError::RateLimited { retry_after: limit };
        let failures = seen.failures.iter().map(|(id, _)| (*id, limited.clone()));
        AccountView {
            failures: failures.collect(),
            ..seen
        }
    });
    // Five seconds each.
    for _ in 0..11 {
        rig.wait();
        let is_look = |ask: &Ask| matches!(ask, Ask::Look { .. });
        assert!(rig.find(is_look).is_none(), "it is asked again too early");
    }
    rig.look(|request| included(request, 12));
    assert!(is_included(&rig), "{:?}", rig.stages);
}

/// The trouble of a price is told to all who wait for it, once; a price that comes ends it, and the next silence is another.
#[test]
fn a_price_that_is_named_again_ends_the_trouble() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    for silence in 1..3 {
        rig.silence = |ask| matches!(ask, Ask::Fees);
        for _ in 0..5 {
            rig.look(|_| view(11, 0, 1));
        }
        assert_eq!(
            stalls(&rig),
            silence - 1,
            "told too early: {:?}",
            rig.stages
        );
        for _ in 0..20 {
            rig.look(|_| view(11, 0, 1));
        }
        assert_eq!(stalls(&rig), silence, "{:?}", rig.stages);
        assert!(matches!(rig.stages.last(), Some(Stage::Stalled { .. })));
        rig.silence = |_| false;
        rig.look(|_| view(11, 0, 1));
        rig.wait();
        rig.wait();
        assert!(
            !matches!(rig.stages.last(), Some(Stage::Stalled { .. })),
            "its end is not told: {:?}",
            rig.stages
        );
    }
}

/// Of two accounts that wait for a price one is over: the other's wait goes on, and is told as long as it is.
#[test]
fn an_idle_account_ends_no_other_ones_wait_for_a_price() {
    let mut rig = Rig::new();
    rig.submit(payment("one"));
    rig.look(|_| view(10, 0, 0));
    rig.broadcast(Ok(())).expect("it is sent");
    rig.silence = |ask| matches!(ask, Ask::Fees);
    rig.submit(payment_from(Address::repeat_byte(3), "two"));
    let is_first = |request: &Request| matches!(&request.ask, Ask::Look { account: of, .. } if *of == account());
    let looks = |rig: &mut Rig, is_over: bool| {
        for _ in 0..2 {
            rig.look(|request| match is_first(request) && is_over {
                true => included(request, 12),
                false => view(11, 0, u64::from(is_first(request))),
            });
        }
    };
    looks(&mut rig, false);
    looks(&mut rig, false);
    looks(&mut rig, true);
    assert!(
        rig.stages
            .iter()
            .any(|stage| matches!(stage, Stage::Included(_)))
    );
    assert_eq!(stalls(&rig), 0, "{:?}", rig.stages);
    // Were it counted from here on, it would not be long enough.
    for _ in 0..4 {
        looks(&mut rig, true);
    }
    assert_eq!(stalls(&rig), 1, "{:?}", rig.stages);
}
