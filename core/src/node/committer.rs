use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::batch::Batch;
use crate::signal::Signal;
use crate::storage::{Durability, Storage, StorageError};

/// How many turns may wait for the commit thread before the node waits too.
pub(super) const TURNS_IN_FLIGHT_MAX: usize = 8;

/// Commits a node's batches in order, beside its turns.
pub(crate) trait Committer: Send {
    /// Takes the next batch.
    fn submit(&self, batch: Batch, durability: Durability);

    /// The outcomes since the last call, in order; wakes the node's signal when there are some. Nothing is committed
    /// behind a failure.
    fn take_finished(&self) -> Vec<Result<(), StorageError>>;
}

/// Commits on a thread of its own, all that wait with one sync.
#[derive(Debug)]
pub(super) struct CommitThread {
    /// `None` only while dropping.
    batches: Option<Sender<(Batch, Durability)>>,
    finished: Arc<Mutex<Vec<Result<(), StorageError>>>>,
    thread: Option<JoinHandle<()>>,
}

impl CommitThread {
    pub(super) fn start(storage: Arc<dyn Storage>, signal: Arc<Signal>) -> std::io::Result<Self> {
        let (batches, waiting) = channel();
        let finished = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::Builder::new()
            .name("peaberry-commit".into())
            .spawn({
                let finished = finished.clone();
                move || run(&waiting, storage.as_ref(), &finished, &signal)
            })?;
        Ok(Self {
            batches: Some(batches),
            finished,
            thread: Some(thread),
        })
    }
}

impl Committer for CommitThread {
    fn submit(&self, batch: Batch, durability: Durability) {
        let sent = self
            .batches
            .as_ref()
            .is_some_and(|batches| batches.send((batch, durability)).is_ok());
        if !sent {
            self.finished.lock().push(Err(StorageError::Poisoned));
        }
    }

    fn take_finished(&self) -> Vec<Result<(), StorageError>> {
        std::mem::take(&mut self.finished.lock())
    }
}

impl Drop for CommitThread {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has shown itself as an outcome that never came; nothing is left to report here.
            let _ = thread.join();
        }
    }
}

fn run(
    waiting: &Receiver<(Batch, Durability)>,
    storage: &dyn Storage,
    finished: &Mutex<Vec<Result<(), StorageError>>>,
    signal: &Signal,
) {
    while let Ok(first) = waiting.recv() {
        let group: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let outcome = commit_group(storage, &group);
        let failed = outcome.is_err();
        finished
            .lock()
            .extend(group.iter().map(|_| outcome.clone()));
        signal.wake();
        if failed {
            return;
        }
    }
}

/// Commits all of `group`; the last commit syncs for those before it.
pub(crate) fn commit_group(
    storage: &dyn Storage,
    group: &[(Batch, Durability)],
) -> Result<(), StorageError> {
    let Some(((last, _), earlier)) = group.split_last() else {
        return Ok(());
    };
    let strictest = group
        .iter()
        .map(|&(_, durability)| durability)
        .max()
        .unwrap_or(Durability::Buffered);
    for (batch, _) in earlier {
        storage.commit(batch, Durability::Buffered)?;
    }
    storage.commit(last, strictest)
}
