//! Clients, replicas and a network that misbehave by a seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use peaberry_core::{Clock, Instant};

use super::*;
use crate::fence::{Gate, Token};
use crate::test_cluster::TestClock;

const CLIENTS: u64 = 4;

/// What all workers saw, in the order in which it was true.
#[derive(Default)]
struct Seen {
    /// Who takes itself for the holder of each lock.
    holders: BTreeMap<LockPath, Vec<(u64, std::rc::Rc<Guard>)>>,
    last_token: BTreeMap<LockPath, Token>,
    gates: BTreeMap<LockPath, Gate>,
    rounds: u64,
    losses: u64,
}

impl Seen {
    fn acquired(&mut self, who: u64, path: &LockPath, guard: &std::rc::Rc<Guard>) {
        let holders = self.holders.entry(path.clone()).or_default();
        for (other, held) in holders.iter() {
            let both = !held.valid_for().is_zero() && !guard.valid_for().is_zero();
            assert!(!both, "{who} and {other} hold {path} at once");
        }
        holders.push((who, guard.clone()));
        if !guard.valid_for().is_zero() {
            let last = self.last_token.insert(path.clone(), guard.token());
            assert!(last < Some(guard.token()), "tokens of {path} go back");
            let gate = self.gates.entry(path.clone()).or_default();
            gate.admit(guard.token(), guard.floor()).unwrap();
        }
    }

    fn released(&mut self, who: u64, path: &LockPath) {
        if let Some(holders) = self.holders.get_mut(path) {
            holders.retain(|(other, _)| *other != who);
        }
    }
}

async fn work(who: u64, client: LockClient, clock: TestClock, seen: &RefCell<Seen>, end: Instant) {
    let mut rng = fastrand::Rng::with_seed(who);
    while clock.now() < end {
        let ttl = Duration::from_millis(rng.u64(1_500..4_000));
        let Ok(session) = client.open_session(SessionOptions::new("w").ttl(ttl)).await else {
            continue;
        };
        while clock.now() < end && !session.valid_for().is_zero() {
            let lock = path(["a", "b"][rng.usize(..2)]);
            let Ok(guard) = session.acquire(&lock).await else {
                break;
            };
            let guard = std::rc::Rc::new(guard);
            seen.borrow_mut().acquired(who, &lock, &guard);
            let pause = Duration::from_millis(rng.u64(..400));
            let rest = clock.sleep_until(clock.now() + pause);
            let outcome = guard.run(rest).await;
            seen.borrow_mut().losses += u64::from(outcome.is_err());
            seen.borrow_mut().rounds += 1;
            seen.borrow_mut().released(who, &lock);
            let guard = std::rc::Rc::into_inner(guard).expect("nobody else keeps it");
            if rng.bool() {
                let _ = guard.release().await;
            }
        }
    }
}

fn run_seed(seed: u64) -> (u64, u64) {
    let mut cluster = Cluster::new(3, seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|at| cluster.client(peer(101 + at), seed ^ (at << 32)))
        .collect();
    let seen = RefCell::new(Seen::default());
    let clock = cluster.clock.clone();
    let (heal_at, end) = (
        clock.now() + Duration::from_secs(60),
        clock.now() + Duration::from_secs(90),
    );
    let mut tasks: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(at, client)| Box::pin(work(at as u64, client, clock.clone(), &seen, end)))
        .collect();
    let mut pinned: Vec<Pin<&mut dyn Future<Output = ()>>> =
        tasks.iter_mut().map(|task| task.as_mut() as _).collect();

    cluster.faults.lock().percent = 8;
    cluster.run_tasks(&mut pinned, heal_at, |cluster| match rng.u32(..2_000) {
        0..5 => {
            cluster.appoint([None, Some(peer(1)), Some(peer(2)), Some(peer(3))][rng.usize(..4)])
        }
        5..15 => {
            cluster.paused.insert(peer(rng.u64(101..101 + CLIENTS)));
        }
        15..20 => {
            cluster.paused.insert(peer(rng.u64(1..=3)));
        }
        20..40 => {
            cluster.paused.pop_first();
        }
        _ => {}
    });
    cluster.paused.clear();
    cluster.faults.lock().percent = 0;
    cluster.appoint(Some(peer(1)));
    let before = seen.borrow().rounds;
    cluster.run_tasks(&mut pinned, end, |_| {});
    let after = seen.borrow().rounds;
    assert!(
        after >= before + 50,
        "{before} to {after}: it goes on once healed"
    );
    cluster.agreed.lock().table.assert_consistent();
    drop(pinned);
    drop(tasks);
    let seen = seen.into_inner();
    (seen.rounds, seen.losses)
}

/// Nobody ever holds what another still holds, tokens only grow, and it goes on once the faults end.
#[test]
fn two_guards_of_one_lock_are_never_valid_at_once() {
    let (mut rounds, mut losses) = (0, 0);
    for seed in 0..12 {
        println!("seed {seed}");
        let (r, l) = run_seed(seed);
        rounds += r;
        losses += l;
    }
    assert!(rounds > 3_000, "{rounds} rounds: too few to show anything");
    assert!(losses > 20, "{losses} losses: the faults never bit");
}
