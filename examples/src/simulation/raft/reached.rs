//! Which rare branches of a group the worlds reach.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_consensus::{Outcome, RaftEvent, Rejection};
use peaberry_core::{Layer, LogId, Storage, StorageError};

use super::{Seen, Token};
use crate::simulation::Reached;

const SNAPSHOT_TAKEN: &str = "snapshot_taken";
const SNAPSHOT_RECEIVED: &str = "snapshot_received";
const SNAPSHOT_CHUNK_SENT: &str = "snapshot_chunk_sent";
const OLD_ENTRIES_FETCHED: &str = "old_entries_fetched";
const PROPOSAL_SUPERSEDED: &str = "proposal_superseded";
const PROPOSAL_UNKNOWN: &str = "proposal_unknown";
const READ_UNAVAILABLE: &str = "read_unavailable";

pub(super) fn none() -> Reached {
    Reached::of(&[
        SNAPSHOT_TAKEN,
        SNAPSHOT_RECEIVED,
        SNAPSHOT_CHUNK_SENT,
        OLD_ENTRIES_FETCHED,
        PROPOSAL_SUPERSEDED,
        PROPOSAL_UNKNOWN,
        READ_UNAVAILABLE,
    ])
}

/// Counts `event`, if it tells of something rare.
pub(super) fn mark(reached: &mut Reached, event: &RaftEvent<Token>) {
    reached.mark(match event {
        RaftEvent::Snapshot { received: true, .. } => SNAPSHOT_RECEIVED,
        RaftEvent::Snapshot { .. } => SNAPSHOT_TAKEN,
        RaftEvent::Completed {
            outcome: Outcome::Rejected(Rejection::Superseded),
            ..
        } => PROPOSAL_SUPERSEDED,
        RaftEvent::Completed {
            outcome: Outcome::Unknown,
            ..
        } => PROPOSAL_UNKNOWN,
        RaftEvent::Answered { answer: Err(_), .. } => READ_UNAVAILABLE,
        _ => return,
    });
}

/// A running replica's store: counts what it reads from its logs, which is what it sends to others far behind.
pub(super) struct CountedReads {
    pub(super) inner: Arc<dyn Storage>,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl Layer for CountedReads {
    fn inner(&self) -> &dyn Storage {
        self.inner.as_ref()
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        // Log 0 holds a group's entries, the others its snapshots.
        let name = if log.number == 0 {
            OLD_ENTRIES_FETCHED
        } else {
            SNAPSHOT_CHUNK_SENT
        };
        self.seen.lock().reached.mark(name);
        self.inner.log_read(log, range, bytes_max)
    }
}
