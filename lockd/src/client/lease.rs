use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_core::{Clock, Instant, Sleep};

/// What a session's guards know of its lease, whatever its client's node is doing.
pub(super) struct Lease {
    clock: Arc<dyn Clock>,
    pub(super) ttl: Duration,
    /// Nanoseconds on the clock.
    valid_until: AtomicU64,
    is_lost: AtomicBool,
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    last_id: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Lease {
    pub(super) fn new(clock: Arc<dyn Clock>, ttl: Duration) -> Self {
        Self {
            clock,
            ttl,
            valid_until: AtomicU64::new(0),
            is_lost: AtomicBool::new(false),
            watches: Mutex::default(),
        }
    }

    pub(super) fn extend(&self, until: Instant) {
        self.valid_until
            .fetch_max(until.as_nanos(), Ordering::SeqCst);
    }

    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut self.watches.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    fn valid_until(&self) -> Instant {
        Instant::from_nanos(self.valid_until.load(Ordering::SeqCst))
    }

    /// Zero once lost, and for ever after.
    pub(super) fn valid_for(&self) -> Duration {
        if self.is_lost.load(Ordering::SeqCst) {
            return Duration::ZERO;
        }
        let left = self.valid_until().since(self.clock.now());
        if left.is_zero() {
            // What has been reported lost stays lost: a late renewal changes nothing.
            self.lose();
        }
        left
    }
}

/// Completes when a session's lease has ended, or may have. May be dropped at any time.
pub struct Lost {
    lease: Arc<Lease>,
    id: u64,
    sleep: Option<(Instant, Sleep)>,
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").finish_non_exhaustive()
    }
}

impl Lost {
    pub(super) fn new(lease: Arc<Lease>) -> Self {
        let mut watches = lease.watches.lock();
        watches.last_id += 1;
        let id = watches.last_id;
        drop(watches);
        Self {
            lease,
            id,
            sleep: None,
        }
    }
}

impl Future for Lost {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waker = cx.waker().clone();
        this.lease.watches.lock().wakers.insert(this.id, waker);
        loop {
            if this.lease.valid_for().is_zero() {
                return Poll::Ready(());
            }
            // The client's node may be starved: the deadline is watched from here too.
            let until = this.lease.valid_until();
            if this.sleep.as_ref().is_none_or(|(at, _)| *at != until) {
                this.sleep = Some((until, this.lease.clock.sleep_until(until)));
            }
            let slept = this
                .sleep
                .as_mut()
                .map_or(Poll::Ready(()), |(_, sleep)| Pin::new(sleep).poll(cx));
            if slept.is_pending() {
                return Poll::Pending;
            }
            this.sleep = None;
        }
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.lease.watches.lock().wakers.remove(&self.id);
    }
}
