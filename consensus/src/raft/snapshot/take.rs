//! Taking a snapshot of this replica's own state.

use bytes::Bytes;
use peaberry_core::Batch;

use super::area::AreaWriter;
use super::{Manifest, Snapshots};
use crate::raft::log_store::Position;
use crate::state_machine::StateMachine;

/// A snapshot being written out.
#[derive(Debug)]
pub(super) struct Taking<V> {
    writer: AreaWriter,
    at: Position,
    voters: Vec<u64>,
    view: View<V>,
}

struct View<V>(V);

impl<V> std::fmt::Debug for View<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl<S: StateMachine> Snapshots<S> {
    /// Freezes `machine`, whose last applied entry is at `at`. Does nothing while another snapshot is under way.
    pub(in crate::raft) fn begin_taking(
        &mut self,
        machine: &S,
        at: Position,
        voters: Vec<u64>,
        batch: &mut Batch,
    ) {
        if self.taking.is_some() || self.receiving.is_some() {
            return;
        }
        let Some(writer) = self.writer(batch) else {
            return;
        };
        self.taking = Some(Taking {
            writer,
            at,
            voters,
            view: View(machine.snapshot()),
        });
    }

    pub(in crate::raft) const fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// Writes one chunk; answers the place of the snapshot that this completes.
    pub(in crate::raft) fn take_chunk(&mut self, batch: &mut Batch) -> Option<Position> {
        let taking = self.taking.as_mut()?;
        if let Some(chunk) = taking.view.0.next() {
            taking.writer.push(&chunk, batch);
            return None;
        }
        let Taking {
            mut writer,
            at,
            voters,
            ..
        } = self.taking.take()?;
        if writer.chunks() == 0 {
            // A transfer needs something to carry.
            writer.push(&Bytes::new(), batch);
        }
        let manifest = Manifest {
            at,
            voters,
            chunks: writer.chunks(),
            crc: writer.crc(),
        };
        self.leave_area(&writer);
        self.switch(&writer, manifest, batch);
        Some(at)
    }

    /// Gives up the snapshot being taken, for one that is being received.
    pub(super) fn stop_taking(&mut self) {
        if let Some(taking) = self.taking.take() {
            self.leave_area(&taking.writer);
        }
    }
}
