//! What a group replicates.

use bytes::Bytes;
use peaberry_core::Batch;

/// A deterministic machine that every replica of a group feeds the same commands in the same order.
///
/// Implementers promise: for the same commands in the same order, [`apply`](Self::apply) leaves the same state and
/// answers the same bytes on every replica, every time. So no clock, no randomness, no order of a hash map, no floats
/// that a compiler may round otherwise; time comes inside the command, stamped by whoever proposed it.
///
/// State lives in memory: after a restart it is rebuilt from the last snapshot and the log behind it. Bytes are the
/// interface on purpose: commands, answers and snapshots travel and are stored, whatever the machine's types are.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use peaberry_consensus::{Apply, Restore, RestoreError, StateMachine};
///
/// /// Adds up the numbers it is told.
/// #[derive(Default)]
/// struct Sum(u64);
///
/// impl StateMachine for Sum {
///     type Snapshot = std::iter::Once<Bytes>;
///     type Restore = Sum;
///
///     fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes {
///         self.0 += apply.command.len() as u64;
///         Bytes::copy_from_slice(&self.0.to_be_bytes())
///     }
///
///     fn query(&self, _query: &[u8]) -> Bytes {
///         Bytes::copy_from_slice(&self.0.to_be_bytes())
///     }
///
///     fn snapshot(&self) -> Self::Snapshot {
///         std::iter::once(Bytes::copy_from_slice(&self.0.to_be_bytes()))
///     }
///
///     fn begin_restore(&self) -> Sum {
///         Sum(0)
///     }
/// }
///
/// impl Restore for Sum {
///     type Machine = Sum;
///
///     fn chunk(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
///         let bytes = chunk.try_into().map_err(|_| RestoreError::new("a sum is 8 bytes"))?;
///         self.0 = u64::from_be_bytes(bytes);
///         Ok(())
///     }
///
///     fn finish(self) -> Result<Sum, RestoreError> {
///         Ok(self)
///     }
/// }
/// ```
pub trait StateMachine: Send + Sized + 'static {
    /// A frozen view of the state that is written out chunk by chunk while the machine goes on.
    ///
    /// Each chunk has at most [`SNAPSHOT_CHUNK_BYTES_MAX`] bytes, and so little work in it that no group on the same
    /// node misses a heartbeat. Chunks of one state are the same bytes on every replica. A snapshot without chunks
    /// becomes one empty chunk.
    type Snapshot: Iterator<Item = Bytes> + Send + 'static;

    /// A machine being rebuilt from chunks.
    type Restore: Restore<Machine = Self>;

    /// Takes one committed command and answers it. The answer reaches whoever proposed the command.
    ///
    /// A command is what some replica proposed: it may be malformed, and that must have a deterministic answer too.
    fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes;

    /// Answers a question about the state, changing nothing.
    fn query(&self, query: &[u8]) -> Bytes;

    /// Freezes the present state.
    fn snapshot(&self) -> Self::Snapshot;

    /// Begins a machine that takes this one's place: the same settings, none of the state.
    fn begin_restore(&self) -> Self::Restore;
}

/// The longest chunk of a snapshot, in bytes.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 256 << 10;

/// A machine being rebuilt from the chunks of a snapshot, in their order.
pub trait Restore: Send + 'static {
    /// What comes out.
    type Machine;

    /// Takes the next chunk.
    ///
    /// # Errors
    ///
    /// The bytes are not a snapshot of this machine. The group drops the rebuild and keeps the machine it has.
    fn chunk(&mut self, chunk: &[u8]) -> Result<(), RestoreError>;

    /// The rebuilt machine, behind the last chunk.
    ///
    /// # Errors
    ///
    /// Chunks are missing. As with [`chunk`](Self::chunk).
    fn finish(self) -> Result<Self::Machine, RestoreError>;
}

/// Why bytes are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot of this state machine: {reason}")]
pub struct RestoreError {
    reason: String,
}

impl RestoreError {
    /// An error that says what is wrong with the bytes.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

/// One committed command, and what applying it may write down.
#[derive(Debug)]
#[non_exhaustive]
pub struct Apply<'a> {
    /// The place in the group's log of the entry that holds the command, from 1 upwards, with gaps. Commands proposed
    /// together share an entry and are applied in its order: to number commands, count them in the machine's state.
    pub index: u64,
    /// The command as it was proposed.
    pub command: &'a [u8],
    notices: &'a mut Vec<Bytes>,
    batch: &'a mut Batch,
}

impl<'a> Apply<'a> {
    /// A command at `index`; for tests of a machine without a group.
    pub const fn new(
        index: u64,
        command: &'a [u8],
        notices: &'a mut Vec<Bytes>,
        batch: &'a mut Batch,
    ) -> Self {
        Self {
            index,
            command,
            notices,
            batch,
        }
    }

    /// Tells this replica's application something, beside the answer: every replica emits it, at least once, as
    /// [`RaftEvent::Notice`](crate::RaftEvent::Notice).
    pub fn notify(&mut self, notice: Bytes) {
        self.notices.push(notice);
    }

    /// Writes that join the replica's batch, for a machine that mirrors its state into a
    /// [`Subspace`](peaberry_core::Subspace) of its own.
    pub const fn batch(&mut self) -> &mut Batch {
        self.batch
    }
}
