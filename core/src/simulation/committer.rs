//! A commit thread as the world plays it: batches wait, the disk works beside the turns, the node hears of it later.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::substrate::{Event, Substrate};
use crate::batch::Batch;
use crate::node::{Committer, commit_group};
use crate::signal::Signal;
use crate::storage::{Durability, Storage, StorageError};

/// How long it takes a batch to reach the thread that commits, in nanoseconds.
const HAND_OFF_NANOS_MAX: u64 = 20_000;

/// One life's commits beside its turns: the node's end and the world's.
#[derive(Clone)]
pub(super) struct SimulatedCommitter {
    machine: usize,
    incarnation: u64,
    storage: Arc<dyn Storage>,
    signal: Arc<Signal>,
    substrate: Arc<Mutex<Substrate>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Batch, Durability)>,
    /// Done by the disk, not yet known to the node.
    done: Vec<Result<(), StorageError>>,
    finished: Vec<Result<(), StorageError>>,
    is_busy: bool,
}

impl SimulatedCommitter {
    pub(super) fn new(
        (machine, incarnation): (usize, u64),
        storage: Arc<dyn Storage>,
        signal: Arc<Signal>,
        substrate: Arc<Mutex<Substrate>>,
    ) -> Self {
        Self {
            machine,
            incarnation,
            storage,
            signal,
            substrate,
            state: Arc::default(),
        }
    }

    pub(super) const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Commits some of what waits, as one group, as a thread does that looks now; the outcome is not known yet.
    pub(super) fn begin(&self) {
        let group: Vec<_> = {
            let mut state = self.state.lock();
            let waiting = state.waiting.len();
            let count = self.substrate.lock().rng.usize(1..=waiting.max(1));
            state.waiting.drain(..count.min(waiting)).collect()
        };
        let outcome = commit_group(self.storage.as_ref(), &group);
        let outcomes = group.iter().map(|_| outcome.clone());
        self.state.lock().done.extend(outcomes);
    }

    /// Tells the node; answers whether there is another group to begin.
    pub(super) fn end(&self) -> bool {
        let mut state = self.state.lock();
        let done = std::mem::take(&mut state.done);
        let has_failed = done.iter().any(Result::is_err);
        state.finished.extend(done);
        // A thread that has failed commits nothing more.
        let goes_on = !has_failed && !state.waiting.is_empty();
        state.is_busy = goes_on || has_failed;
        drop(state);
        self.signal.wake();
        goes_on
    }
}

impl Committer for SimulatedCommitter {
    fn submit(&self, batch: Batch, durability: Durability) {
        let mut state = self.state.lock();
        state.waiting.push_back((batch, durability));
        if !std::mem::replace(&mut state.is_busy, true) {
            let mut substrate = self.substrate.lock();
            let hand_off = substrate.rng.u64(..HAND_OFF_NANOS_MAX);
            let at = substrate.now_nanos() + hand_off;
            let (machine, incarnation) = (self.machine, self.incarnation);
            let event = Event::CommitBegins {
                machine,
                incarnation,
            };
            substrate.queue.push(at, event);
        }
    }

    fn take_finished(&self) -> Vec<Result<(), StorageError>> {
        std::mem::take(&mut self.state.lock().finished)
    }
}

impl fmt::Debug for SimulatedCommitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedCommitter")
            .field("machine", &self.machine)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}
