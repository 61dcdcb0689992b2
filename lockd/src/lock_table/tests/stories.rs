//! One claim about the table each, small enough to read.

use super::*;
use crate::fence::Token;
use crate::limits::REAPED_PER_ENTRY_MAX;
use crate::request::{Contention, Reentry, Refusal, Sequence};

const TTL_MS: u64 = 30_000;

fn open(nonce: u128) -> Request {
    Request::Open {
        nonce,
        ttl_ms: TTL_MS,
        owner: "worker".into(),
    }
}

const fn sequence(number: u64) -> Sequence {
    Sequence {
        number,
        acknowledged: 0,
    }
}

fn acquire(of: u64, number: u64, path: &str) -> Request {
    Request::Acquire {
        session: session(of),
        sequence: sequence(number),
        path: path.parse().unwrap(),
        contention: Contention::Wait,
        reentry: Reentry::Exclude,
    }
}

/// As [`acquire`], and shares the hold if the session has it already.
fn join(of: u64, number: u64, path: &str) -> Request {
    Request::Acquire {
        session: session(of),
        sequence: sequence(number),
        path: path.parse().unwrap(),
        contention: Contention::Wait,
        reentry: Reentry::Join,
    }
}

const fn release(of: u64, number: u64, claim: u64, token: Token) -> Request {
    Request::Release {
        session: session(of),
        sequence: sequence(number),
        claim,
        token,
    }
}

const fn cancel(of: u64, number: u64, claim: u64) -> Request {
    Request::Cancel {
        session: session(of),
        sequence: sequence(number),
        claim,
    }
}

/// A table at time 0 with sessions 1 to `count` of peer 1.
fn with_sessions(count: u64) -> Machine<LockTable> {
    let mut table = Machine::new(LockTable::new());
    let opens: Vec<_> = (1..=count)
        .map(|nonce| (peer(1), open(nonce.into())))
        .collect();
    table.entry(0, &opens);
    table
}

fn run<S: StateMachine>(table: &mut Machine<S>, time: u64, requests: &[Request]) -> Outcome {
    let requests: Vec<_> = requests.iter().map(|r| (peer(1), r.clone())).collect();
    table.entry(time, &requests)
}

fn granted(reply: &Reply) -> Token {
    match reply {
        Reply::Granted(grant) => grant.token,
        other => panic!("not granted: {other:?}"),
    }
}

#[test]
fn two_grants_of_one_entry_have_two_tokens() {
    let mut table = with_sessions(2);
    let held = run(&mut table, 0, &[acquire(1, 1, "a"), acquire(1, 2, "b")]);
    run(&mut table, 0, &[acquire(2, 1, "a"), acquire(2, 2, "b")]);
    let releases = [
        release(1, 3, 1, granted(&held.replies[0])),
        release(1, 4, 2, granted(&held.replies[1])),
    ];
    let notices = run(&mut table, 0, &releases).notices;
    assert_eq!(notices.len(), 2);
    assert!(notices[0].grant.token < notices[1].grant.token);
}

#[test]
fn a_retried_acquire_gets_the_token_of_the_first_even_if_it_was_granted_later() {
    let mut table = with_sessions(2);
    let held = run(&mut table, 0, &[acquire(1, 1, "a"), acquire(1, 1, "a")]);
    assert_eq!(held.replies[0], held.replies[1]);

    let queued = run(&mut table, 0, &[acquire(2, 1, "a")]);
    assert_eq!(queued.replies, [Reply::Queued { ahead: 0 }]);
    let freed = run(
        &mut table,
        0,
        &[release(1, 2, 1, granted(&held.replies[0]))],
    );
    let retried = run(&mut table, 0, &[acquire(2, 1, "a")]);
    assert_eq!(retried.replies, [Reply::Granted(freed.notices[0].grant)]);
}

#[test]
fn a_cancel_that_overtakes_its_acquire_still_keeps_it_out() {
    let mut table = with_sessions(1);
    run(&mut table, 0, &[cancel(1, 2, 1)]);
    let late = run(&mut table, 0, &[acquire(1, 1, "a")]);
    assert_eq!(late.replies, [Reply::Cancelled]);
    assert!(table.state.locks.is_empty());
}

#[test]
fn a_cancel_gives_back_what_was_granted_meanwhile() {
    let mut table = with_sessions(1);
    run(&mut table, 0, &[acquire(1, 1, "a"), cancel(1, 2, 1)]);
    assert!(table.state.locks.is_empty());
}

#[test]
fn a_grant_passes_over_a_waiter_whose_lease_has_run_out() {
    let mut table = with_sessions(3);
    run(
        &mut table,
        0,
        &[acquire(1, 1, "a"), acquire(2, 1, "a"), acquire(3, 1, "a")],
    );
    run(
        &mut table,
        9_000,
        &[Request::Renew {
            session: session(3),
        }],
    );
    run(&mut table, 19_000, &[]);
    run(&mut table, 29_000, &[]);
    let expired = run(&mut table, 30_000, &[]);
    assert_eq!(expired.notices.len(), 1);
    assert_eq!(expired.notices[0].session, session(3));
    assert_eq!(expired.next_expiry_ms, Some(39_000));
}

#[test]
fn a_forged_stamp_expires_no_lease_longer_than_the_jump() {
    let mut table = with_sessions(1);
    run(&mut table, u64::MAX, &[]);
    let renewed = run(
        &mut table,
        0,
        &[Request::Renew {
            session: session(1),
        }],
    );
    assert_eq!(renewed.replies, [Reply::Renewed]);
}

#[test]
fn a_dead_session_answers_lost_and_executes_nothing() {
    let mut table = with_sessions(1);
    for time in [10_000, 20_000, 30_000] {
        run(&mut table, time, &[]);
    }
    let late = run(&mut table, 30_000, &[acquire(1, 1, "a")]);
    assert_eq!(late.replies, [Reply::Refused(Refusal::SessionLost)]);
    assert!(table.state.locks.is_empty());
}

#[test]
fn another_peer_can_neither_use_nor_see_a_session() {
    let mut table = with_sessions(1);
    let held = run(&mut table, 0, &[acquire(1, 1, "a")]);
    let token = granted(&held.replies[0]);
    let stolen = table.entry(0, &[(peer(2), release(1, 2, 1, token))]);
    assert_eq!(stolen.replies, [Reply::Refused(Refusal::SessionLost)]);
    assert_eq!(table.state.locks.len(), 1);
}

#[test]
fn many_claims_of_ended_sessions_go_over_several_entries_and_are_granted_to_nobody_meanwhile() {
    let mut table = with_sessions(2);
    let count = REAPED_PER_ENTRY_MAX as u64 + 100;
    let numbers: Vec<_> = (1..=count).collect();
    for part in numbers.chunks(1_000) {
        let acquires: Vec<_> = part
            .iter()
            .map(|number| acquire(1, *number, &format!("lock-{number}")))
            .collect();
        let acquires: Vec<_> = acquires
            .into_iter()
            .map(|mut request| {
                if let Request::Acquire { sequence, .. } = &mut request {
                    sequence.acknowledged = sequence.number;
                }
                request
            })
            .collect();
        run(&mut table, 0, &acquires);
    }
    let closed = run(
        &mut table,
        0,
        &[Request::Close {
            session: session(1),
        }],
    );
    assert_eq!(
        closed.next_expiry_ms,
        Some(0),
        "there is more to do at once"
    );
    assert_eq!(table.state.locks.len(), 100);
    run(&mut table, 0, &[]);
    assert!(table.state.locks.is_empty());
    table.state.assert_consistent();
}

#[test]
fn reentry_shares_the_hold_until_the_last_release() {
    let mut table = with_sessions(1);
    let held = run(&mut table, 0, &[join(1, 1, "a"), join(1, 2, "a")]);
    let token = granted(&held.replies[0]);
    assert_eq!(granted(&held.replies[1]), token);
    run(&mut table, 0, &[release(1, 3, 1, token)]);
    assert_eq!(table.state.locks.len(), 1);
    run(&mut table, 0, &[release(1, 4, 2, token)]);
    assert!(table.state.locks.is_empty());
}

#[test]
fn acquiring_again_starts_the_lease_anew_once_and_only_if_asked_to() {
    let mut table = with_sessions(1);
    let plain = run(&mut table, 9_000, &[acquire(1, 1, "a")]);
    assert_eq!(plain.next_expiry_ms, Some(TTL_MS));
    let joined = run(&mut table, 18_000, &[join(1, 2, "a")]);
    assert_eq!(joined.next_expiry_ms, Some(18_000 + TTL_MS));
    let retried = run(&mut table, 27_000, &[join(1, 2, "a")]);
    assert_eq!(retried.replies, joined.replies);
    assert_eq!(retried.next_expiry_ms, Some(18_000 + TTL_MS));
}

#[test]
fn tokens_after_a_restore_are_above_all_before_and_a_repeated_restore_is_harmless() {
    let mut table = with_sessions(1);
    let before = granted(&run(&mut table, 0, &[acquire(1, 1, "a")]).replies[0]);
    for _ in 0..2 {
        let restored = Entry::Restored {
            log_time_ms: 5,
            from: 1,
        };
        table.command(&restored.encode());
    }
    table.entry(5, &[(peer(1), open(1))]);
    let id = SessionId {
        incarnation: 2,
        number: 1,
    };
    let again = match acquire(1, 1, "a") {
        Request::Acquire {
            sequence,
            path,
            contention,
            reentry,
            ..
        } => Request::Acquire {
            session: id,
            sequence,
            path,
            contention,
            reentry,
        },
        other => other,
    };
    assert!(granted(&run(&mut table, 5, &[again]).replies[0]) > before);
}
