//! Waking a parked node once, and only when it is parked.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;

/// A wake-up that costs one atomic swap unless its owner sleeps.
#[derive(Debug)]
pub struct Signal {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl Signal {
    /// A signal whose owner is awake.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(AWAKE),
            waker: Mutex::new(None),
        }
    }

    /// Wakes the owner, or keeps it from parking next time. Call it after the news is visible.
    pub fn wake(&self) {
        if self.state.swap(NOTIFIED, Ordering::SeqCst) == PARKED
            && let Some(waker) = self.waker.lock().take()
        {
            waker.wake();
        }
    }

    /// Tells that the owner is about to look for news: what comes from now on counts as new.
    pub(crate) fn begin(&self) {
        self.state.store(AWAKE, Ordering::SeqCst);
    }

    /// Whether there is news that the owner has not looked at.
    pub(crate) fn is_notified(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// Parks the owner, to be woken through `waker`. `false`: there is news already.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        let mut slot = self.waker.lock();
        if !slot.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
        drop(slot);
        self.state
            .compare_exchange(AWAKE, PARKED, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}
