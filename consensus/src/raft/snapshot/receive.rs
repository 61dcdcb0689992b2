//! Receiving a snapshot from the leader.

use std::fmt;

use peaberry_core::Batch;

use super::area::AreaWriter;
use super::{Manifest, Snapshots};
use crate::raft::event::Misbehaviour;
use crate::raft::message::SnapshotChunk;
use crate::state_machine::{Restore, StateMachine};

/// A snapshot whose chunks are arriving: each goes to disk and into the machine being rebuilt.
pub(super) struct Receiving<S: StateMachine> {
    manifest: Manifest,
    writer: AreaWriter,
    restore: S::Restore,
}

impl<S: StateMachine> fmt::Debug for Receiving<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving")
            .field("manifest", &self.manifest)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

/// What a chunk led to.
pub(in crate::raft) struct Receipt<S> {
    /// The chunk that is wanted next.
    pub(in crate::raft) next: u64,
    /// The whole, behind its last chunk.
    pub(in crate::raft) received: Option<Received<S>>,
}

/// A snapshot that has arrived whole.
pub(in crate::raft) struct Received<S> {
    pub(in crate::raft) manifest: Manifest,
    pub(in crate::raft) machine: S,
    writer: AreaWriter,
}

impl<S: StateMachine> Snapshots<S> {
    /// Takes a chunk of a snapshot newer than `applied`.
    ///
    /// # Errors
    ///
    /// The peer's bytes are no snapshot of this machine. What had arrived is dropped; the present state stays.
    pub(in crate::raft) fn receive(
        &mut self,
        machine: &S,
        chunk: &SnapshotChunk,
        batch: &mut Batch,
    ) -> Result<Receipt<S>, Misbehaviour> {
        let is_same = self
            .receiving
            .as_ref()
            .is_some_and(|receiving| receiving.manifest == chunk.manifest);
        if !is_same && !self.begin_receiving(machine, &chunk.manifest, batch) {
            return Ok(Receipt {
                next: 0,
                received: None,
            });
        }
        match self.take_in(chunk, batch) {
            Ok(receipt) => Ok(receipt),
            Err(reason) => {
                self.stop_receiving();
                Err(reason)
            }
        }
    }

    fn begin_receiving(&mut self, machine: &S, manifest: &Manifest, batch: &mut Batch) -> bool {
        self.stop_taking();
        self.stop_receiving();
        let Some(writer) = self.writer(batch) else {
            return false;
        };
        self.receiving = Some(Receiving {
            manifest: manifest.clone(),
            writer,
            restore: machine.begin_restore(),
        });
        true
    }

    fn take_in(
        &mut self,
        chunk: &SnapshotChunk,
        batch: &mut Batch,
    ) -> Result<Receipt<S>, Misbehaviour> {
        let receiving = self.receiving.as_mut().expect("begun just now");
        if chunk.number == receiving.writer.chunks() && chunk.number < chunk.manifest.chunks {
            let malformed =
                |_| Misbehaviour::Malformed("a chunk is not of this machine's snapshot");
            receiving.restore.chunk(&chunk.bytes).map_err(malformed)?;
            receiving.writer.push(&chunk.bytes, batch);
        }
        let next = receiving.writer.chunks();
        if next < chunk.manifest.chunks {
            return Ok(Receipt {
                next,
                received: None,
            });
        }
        let received = self.finish_receiving()?;
        Ok(Receipt {
            next,
            received: Some(received),
        })
    }

    fn finish_receiving(&mut self) -> Result<Received<S>, Misbehaviour> {
        let Receiving {
            manifest,
            writer,
            restore,
        } = self.receiving.take().expect("its last chunk has come");
        self.leave_area(&writer);
        if writer.crc() != manifest.crc {
            return Err(Misbehaviour::Malformed(
                "a snapshot's checksum does not match its chunks",
            ));
        }
        let incomplete =
            |_| Misbehaviour::Malformed("a snapshot is not whole behind its last chunk");
        Ok(Received {
            machine: restore.finish().map_err(incomplete)?,
            manifest,
            writer,
        })
    }

    fn stop_receiving(&mut self) {
        if let Some(receiving) = self.receiving.take() {
            self.leave_area(&receiving.writer);
        }
    }

    /// Makes a snapshot that has arrived whole the newest, and gives out its machine.
    pub(in crate::raft) fn install(&mut self, received: Received<S>, batch: &mut Batch) -> S {
        self.switch(&received.writer, received.manifest, batch);
        received.machine
    }
}
