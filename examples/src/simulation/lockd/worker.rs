use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_core::{Clock, PeerId, Sleep};
use peaberry_lockd::{Guard, LockClient, LockPath, Session, SessionOptions};

use super::history::Seen;

/// One client's life: sessions, and locks taken, kept a while, and given back or dropped.
pub(super) async fn work(
    who: PeerId,
    client: LockClient,
    clock: Arc<dyn Clock>,
    seen: Arc<Mutex<Seen>>,
    mut rng: fastrand::Rng,
) {
    let paths = ["orders/7", "printer"].map(|path| path.parse().expect("two segments at most"));
    loop {
        let ttl = Duration::from_millis(rng.u64(2_000..6_000));
        let options = SessionOptions::new("simulated").ttl(ttl);
        let Ok(session) = client.open_session(options).await else {
            return;
        };
        while !session.valid_for().is_zero() {
            let worker = Worker {
                who,
                session: &session,
                clock: &*clock,
                seen: &seen,
            };
            let goes_on = if rng.u8(..4) == 0 {
                worker.hold_both(&paths, &mut rng).await
            } else {
                let [one, other] = &paths;
                let path = if rng.bool() { one } else { other };
                worker.hold_one(path, &mut rng).await
            };
            if !goes_on {
                break;
            }
        }
    }
}

/// What one client's work goes on with.
struct Worker<'a> {
    who: PeerId,
    session: &'a Session,
    clock: &'a dyn Clock,
    seen: &'a Mutex<Seen>,
}

impl Worker<'_> {
    /// Takes one lock and gives it back; answers whether the session goes on.
    async fn hold_one(&self, path: &LockPath, rng: &mut fastrand::Rng) -> bool {
        let Some(guard) = self.take(path).await else {
            return false;
        };
        let is_lost = guard.run(self.rest(rng)).await.is_err();
        if is_lost || rng.u8(..4) == 0 {
            self.drop_quietly(path, guard);
            return true;
        }
        let releasing = self.seen.lock().releases(self.who, path, guard.token());
        let guard = Arc::into_inner(guard).expect("the history has let go of it");
        let outcome = guard.release().await;
        self.seen.lock().released(releasing, outcome);
        true
    }

    /// Takes both locks, always in one order, and drops both at once: two grants in one entry.
    async fn hold_both(&self, paths: &[LockPath; 2], rng: &mut fastrand::Rng) -> bool {
        let [outer, inner] = paths;
        let Some(first) = self.take(outer).await else {
            return false;
        };
        let Some(second) = self.take(inner).await else {
            self.drop_quietly(outer, first);
            return false;
        };
        // Lost or not, they are dropped.
        let _ = second.run(self.rest(rng)).await;
        self.drop_quietly(outer, first);
        self.drop_quietly(inner, second);
        true
    }

    async fn take(&self, path: &LockPath) -> Option<Arc<Guard>> {
        let asked = self.seen.lock().asks(self.who, path);
        let Ok(guard) = self.session.acquire(path).await else {
            self.seen.lock().was_refused(asked);
            return None;
        };
        let guard = Arc::new(guard);
        let is_valid = self.seen.lock().holds(self.who, asked, path, &guard);
        is_valid.then_some(guard)
    }

    /// Drops a guard, and notes before that it is not used any more.
    fn drop_quietly(&self, path: &LockPath, guard: Arc<Guard>) {
        self.seen.lock().drops(self.who, path);
        drop(guard);
    }

    fn rest(&self, rng: &mut fastrand::Rng) -> Sleep {
        let pause = Duration::from_millis(rng.u64(..300));
        self.clock.sleep_until(self.clock.now() + pause)
    }
}
