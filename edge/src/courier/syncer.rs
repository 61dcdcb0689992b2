//! Syncs beside the turns, on a thread of its own.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use peaberry_core::{Batch, Durability, Storage, StorageError};

/// One sync at a time. Dropping it waits for the one under way.
pub(super) struct Syncer {
    /// `None` only while dropping.
    orders: Option<Sender<()>>,
    shared: Arc<Mutex<Shared>>,
    is_busy: bool,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    outcome: Option<Result<(), StorageError>>,
    waker: Option<Waker>,
}

impl Syncer {
    pub(super) fn start(storage: Arc<dyn Storage>) -> io::Result<Self> {
        let (orders, waiting) = channel();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let thread = std::thread::Builder::new()
            .name("courier-sync".to_owned())
            .spawn({
                let shared = shared.clone();
                move || {
                    while waiting.recv().is_ok() {
                        // Nothing more is written: this makes durable what is.
                        let outcome = sync(storage.as_ref());
                        let mut shared = shared.lock();
                        shared.outcome = Some(outcome);
                        if let Some(waker) = shared.waker.take() {
                            waker.wake();
                        }
                    }
                }
            })?;
        Ok(Self {
            orders: Some(orders),
            shared,
            is_busy: false,
            thread: Some(thread),
        })
    }

    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Begins to sync all that has been written. Not while it [is busy](Self::is_busy).
    pub(super) fn begin(&mut self) {
        self.is_busy = true;
        let begun = self.orders.as_ref().map(|orders| orders.send(()));
        if !matches!(begun, Some(Ok(()))) {
            self.shared.lock().outcome = Some(Err(StorageError::Poisoned));
        }
    }

    /// What became of the sync under way, once.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<(), StorageError>> {
        if !self.is_busy {
            return Poll::Pending;
        }
        let mut shared = self.shared.lock();
        match shared.outcome.take() {
            Some(outcome) => {
                self.is_busy = false;
                Poll::Ready(outcome)
            }
            None => {
                shared.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A store that panics is as good as one that has failed to sync: nobody knows what it holds.
fn sync(storage: &dyn Storage) -> Result<(), StorageError> {
    let synced = || storage.commit(&Batch::new(), Durability::Synced);
    catch_unwind(AssertUnwindSafe(synced)).unwrap_or(Err(StorageError::Poisoned))
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It ends without one: a panic of the store is an outcome.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Syncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncer")
            .field("is_busy", &self.is_busy)
            .finish_non_exhaustive()
    }
}
