mod chaos;

use std::task::Poll;
use std::time::Duration;

use super::*;
use crate::LockError;
use crate::path::LockPath;
use crate::test_cluster::{Cluster, peer};

fn path(text: &str) -> LockPath {
    text.parse().unwrap()
}

fn open(cluster: &mut Cluster, client: &LockClient, ttl_s: u64) -> Session {
    let options = SessionOptions::new("worker").ttl(Duration::from_secs(ttl_s));
    cluster.run(client.open_session(options)).unwrap()
}

#[test]
fn a_released_lock_goes_to_the_first_in_line_with_a_greater_token() {
    let mut cluster = Cluster::new(1, 0);
    let clients = [101, 102, 103].map(|number| cluster.client(peer(number), number));
    let sessions = clients
        .each_ref()
        .map(|client| open(&mut cluster, client, 30));
    let lock = path("orders/7");

    let first = cluster.run(sessions[0].acquire(&lock)).unwrap();
    let mut second = Box::pin(sessions[1].acquire(&lock));
    assert!(cluster.poll(&mut second).is_pending());
    let mut third = Box::pin(sessions[2].acquire(&lock));
    assert!(cluster.poll(&mut third).is_pending());
    let seen = cluster.run(clients[0].inspect(&lock)).unwrap().unwrap();
    assert_eq!((seen.token, seen.waiters), (first.token(), 2));
    assert_eq!(&*seen.owner, "worker");

    let token = first.token();
    cluster.run(first.release()).unwrap();
    assert!(cluster.poll(&mut third).is_pending());
    let second = cluster.run(second).unwrap();
    assert!(second.token() > token);
    assert_eq!(second.floor(), second.token());
    assert_eq!(second.state(), GuardState::Held);
}

#[test]
fn dropping_a_guard_or_a_waiting_future_gives_the_place_up() {
    let mut cluster = Cluster::new(1, 0);
    let client = cluster.client(peer(101), 1);
    let session = open(&mut cluster, &client, 30);
    let lock = path("a");
    let held = cluster.run(session.acquire(&lock)).unwrap();
    assert!(cluster.run(session.try_acquire(&lock)).unwrap().is_none());

    let mut waiting = Box::pin(session.acquire(&lock));
    assert!(cluster.poll(&mut waiting).is_pending());
    drop(waiting);
    let seen = cluster.run(client.inspect(&lock)).unwrap().unwrap();
    assert_eq!(seen.waiters, 0);
    drop(held);
    assert_eq!(cluster.run(client.inspect(&lock)).unwrap(), None);
}

#[test]
fn a_grant_whose_notice_was_lost_is_found_by_asking() {
    let mut cluster = Cluster::new(1, 0);
    let client = cluster.client(peer(101), 1);
    let session = open(&mut cluster, &client, 30);
    let lock = path("a");
    let held = cluster.run(session.acquire(&lock)).unwrap();
    let mut waiting = Box::pin(session.acquire(&lock));
    assert!(cluster.poll(&mut waiting).is_pending());
    cluster.agreed.lock().notices_are_lost = true;
    cluster.run(held.release()).unwrap();
    assert!(cluster.poll(&mut waiting).is_pending());
    assert!(cluster.run(waiting).is_ok());
}

#[test]
fn a_holder_that_sleeps_knows_of_its_loss_before_another_holds() {
    let mut cluster = Cluster::new(1, 0);
    let sleeper = cluster.client(peer(101), 1);
    let other = cluster.client(peer(102), 2);
    let (sleeper, other) = (
        open(&mut cluster, &sleeper, 5),
        open(&mut cluster, &other, 5),
    );
    let lock = path("a");
    let guard = cluster.run(sleeper.acquire(&lock)).unwrap();
    let mut lost = Box::pin(guard.lost());
    cluster.paused.insert(peer(101));

    let mut waiting = Box::pin(other.acquire(&lock));
    let mut states = Vec::new();
    let taken = loop {
        let polled = cluster.poll(&mut waiting);
        if states.last() != Some(&guard.state()) {
            states.push(guard.state());
        }
        match polled {
            Poll::Ready(taken) => break taken.unwrap(),
            Poll::Pending => cluster.pass(Duration::from_millis(10)),
        }
    };
    use GuardState::{Held, Lost, Uncertain};
    assert_eq!(states, [Held, Uncertain, Lost]);
    assert!(cluster.poll(&mut lost).is_ready());
    assert!(taken.token() > guard.token());
}

/// Renewed by acquiring again, and by nothing behind it: what the client then counts on is what the table grants.
#[test]
fn acquiring_again_renews_the_session_if_asked_to() {
    let mut cluster = Cluster::new(1, 0);
    let [client, other] = [101, 102].map(|number| cluster.client(peer(number), number));
    let (session, other) = (
        open(&mut cluster, &client, 30),
        open(&mut cluster, &other, 30),
    );
    let lock = path("a");
    let guard = cluster.run(session.acquire(&lock)).unwrap();
    cluster.pass(Duration::from_secs(8));
    let before = session.valid_for();
    let again = AcquireOptions::new().reentrant();
    let again = cluster.run(session.acquire_with(&lock, again)).unwrap();
    assert_eq!(again.token(), guard.token());
    assert!(session.valid_for() > before + Duration::from_secs(7));
    let seen = cluster.run(client.inspect(&lock)).unwrap().unwrap();
    assert!(seen.remaining_ms > 29_000 && seen.holds == 2, "{seen:?}");

    cluster.paused.insert(peer(101));
    let mut waiting = Box::pin(other.acquire(&lock));
    let mut valid = 0;
    while cluster.poll(&mut waiting).is_pending() {
        valid += u64::from(guard.state() != GuardState::Lost);
        cluster.pass(Duration::from_millis(100));
    }
    assert_eq!(guard.state(), GuardState::Lost);
    assert!(valid > 280, "{valid} tenths of a second");
}

#[test]
fn a_lock_outlives_its_leader_and_its_lease_is_not_begun_anew() {
    let mut cluster = Cluster::new(3, 0);
    let client = cluster.client(peer(101), 1);
    let session = open(&mut cluster, &client, 6);
    let lock = path("a");
    let guard = cluster.run(session.acquire(&lock)).unwrap();
    for term in 0..40 {
        cluster.appoint(Some(peer(1 + term % 3)));
        cluster.pass(Duration::from_secs(3));
        assert_ne!(guard.state(), GuardState::Lost, "in term {term}");
    }
    let other = cluster.client(peer(102), 2);
    cluster.pass(Duration::from_secs(2));
    cluster.paused.insert(peer(101));
    cluster.pass(Duration::from_secs(2));
    // Any entry carries log time into the table; the next leader goes on from there.
    let _other_session = open(&mut cluster, &other, 30);
    cluster.appoint(Some(peer(2)));
    let before = cluster.run(other.inspect(&lock)).unwrap().unwrap();
    assert!(before.remaining_ms < 5_000, "{before:?}");
    cluster.pass(Duration::from_secs(7));
    assert_eq!(cluster.run(other.inspect(&lock)).unwrap(), None);
}

#[test]
fn a_leader_that_slept_for_an_hour_expires_nobody_by_waking_up() {
    let mut cluster = Cluster::new(1, 0);
    let client = cluster.client(peer(101), 1);
    let session = open(&mut cluster, &client, 5);
    let lock = path("a");
    let _guard = cluster.run(session.acquire(&lock)).unwrap();
    cluster.paused.extend([peer(1), peer(101)]);
    cluster.pass(Duration::from_secs(3_600));
    cluster.paused.remove(&peer(1));
    let other = cluster.client(peer(102), 2);
    assert!(cluster.run(other.inspect(&lock)).unwrap().is_some());
}

/// The earlier life's session has a shorter lease: taken for one's own, it would end long before its guards know.
#[test]
fn an_answer_to_an_earlier_life_of_the_client_is_not_taken_for_ones_own() {
    let mut cluster = Cluster::new(1, 0);
    let options = |ttl_s| SessionOptions::new("worker").ttl(Duration::from_secs(ttl_s));
    cluster.pass(Duration::from_secs(1));
    cluster.paused.insert(peer(1));
    let earlier = cluster.client(peer(101), 1);
    let mut unanswered = Box::pin(earlier.open_session(options(2)));
    assert!(cluster.poll(&mut unanswered).is_pending());
    cluster.end(peer(101));
    let restarted = cluster.client(peer(101), 2);
    let mut opening = Box::pin(restarted.open_session(options(60)));
    assert!(cluster.poll(&mut opening).is_pending());
    cluster.paused.remove(&peer(1));
    let session = cluster.run(opening).unwrap();
    let lock = path("a");
    let guard = cluster.run(session.acquire(&lock)).unwrap();

    let other = cluster.client(peer(102), 3);
    let other = open(&mut cluster, &other, 60);
    let mut waiting = Box::pin(other.acquire(&lock));
    for _ in 0..10 {
        cluster.pass(Duration::from_secs(1));
        assert!(cluster.poll(&mut waiting).is_pending());
    }
    assert_eq!(guard.state(), GuardState::Held);
}

#[test]
fn closing_a_session_frees_its_locks_and_loses_its_guards_at_once() {
    let mut cluster = Cluster::new(1, 0);
    let client = cluster.client(peer(101), 1);
    let session = open(&mut cluster, &client, 30);
    let lock = path("a");
    let guard = cluster.run(session.acquire(&lock)).unwrap();
    cluster.run(session.close()).unwrap();
    assert_eq!(guard.state(), GuardState::Lost);
    assert_eq!(cluster.run(guard.release()), Err(LockError::SessionLost));
    assert_eq!(cluster.run(client.inspect(&lock)).unwrap(), None);
}

#[test]
fn work_under_a_guard_is_dropped_when_the_lock_is_lost() {
    let mut cluster = Cluster::new(1, 0);
    let client = cluster.client(peer(101), 1);
    let session = open(&mut cluster, &client, 2);
    let guard = cluster.run(session.acquire(&path("a"))).unwrap();
    assert_eq!(cluster.run(guard.run(async { 7 })), Ok(7));
    cluster.paused.insert(peer(1));
    let endless = guard.run(std::future::pending::<()>());
    assert_eq!(cluster.run(endless), Err(LockError::SessionLost));
}

#[test]
fn a_log_without_sessions_stands_still_and_one_with_them_hardly_moves() {
    let mut cluster = Cluster::new(1, 0);
    let client = cluster.client(peer(101), 1);
    let session = open(&mut cluster, &client, 30);
    let before = cluster.agreed.lock().entries;
    cluster.pass(Duration::from_secs(600));
    let renewals = cluster.agreed.lock().entries - before;
    assert!(renewals <= 200, "{renewals} entries in ten minutes");
    assert!(session.valid_for() > Duration::from_secs(15));

    cluster.run(session.close()).unwrap();
    cluster.pass(Duration::from_secs(1));
    let before = cluster.agreed.lock().entries;
    cluster.pass(Duration::from_secs(3_600));
    assert_eq!(cluster.agreed.lock().entries, before);
}

#[test]
fn many_sessions_share_the_entries_that_renew_them() {
    let mut cluster = Cluster::new(1, 0);
    let client = cluster.client(peer(101), 1);
    let sessions: Vec<_> = (0..300).map(|_| open(&mut cluster, &client, 3)).collect();
    cluster.pass(Duration::from_secs(3));
    let before = cluster.agreed.lock().entries;
    cluster.pass(Duration::from_secs(10));
    let entries = cluster.agreed.lock().entries - before;
    assert!(entries <= 110, "{entries} entries in ten seconds");
    assert!(
        sessions
            .iter()
            .all(|session| !session.valid_for().is_zero())
    );
}
