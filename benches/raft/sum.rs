//! The machine that is replicated.

use bytes::Bytes;
use peaberry_consensus::{Apply, Restore, RestoreError, StateMachine};

/// Adds up the lengths of the commands.
#[derive(Default)]
pub(crate) struct Sum(u64);

impl StateMachine for Sum {
    type Snapshot = std::iter::Once<Bytes>;
    type Restore = Self;

    fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes {
        self.0 += apply.command.len() as u64;
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn query(&self, _query: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn snapshot(&self) -> Self::Snapshot {
        std::iter::once(Bytes::copy_from_slice(&self.0.to_be_bytes()))
    }

    fn begin_restore(&self) -> Self {
        Self(0)
    }
}

impl Restore for Sum {
    type Machine = Self;

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        let bytes = chunk.try_into();
        self.0 = u64::from_be_bytes(bytes.map_err(|_| RestoreError::new("a sum is 8 bytes"))?);
        Ok(())
    }

    fn finish(self) -> Result<Self, RestoreError> {
        Ok(self)
    }
}
