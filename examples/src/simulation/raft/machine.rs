use std::collections::BTreeMap;

use bytes::Bytes;
use peaberry_consensus::{Apply, Restore, RestoreError, StateMachine};

/// Numbers by key. A command swaps one for another and answers the old one; a query answers the present one.
///
/// A command executed twice, lost, or overtaken shows in an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Registers {
    values: BTreeMap<u8, u64>,
}

/// The command that sets `key` to `value`.
pub(super) fn swap(key: u8, value: u64) -> Bytes {
    let mut command = vec![key];
    command.extend_from_slice(&value.to_be_bytes());
    command.into()
}

/// The query for `key`.
pub(super) fn get(key: u8) -> Bytes {
    vec![key].into()
}

impl StateMachine for Registers {
    type Snapshot = std::vec::IntoIter<Bytes>;
    type Restore = Self;

    fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes {
        let Some((&key, value)) = apply.command.split_first() else {
            return Bytes::new();
        };
        let Ok(value) = value.try_into() else {
            return Bytes::new();
        };
        let old = self
            .values
            .insert(key, u64::from_be_bytes(value))
            .unwrap_or(0);
        Bytes::copy_from_slice(&old.to_be_bytes())
    }

    fn query(&self, query: &[u8]) -> Bytes {
        let value = query.first().and_then(|key| self.values.get(key)).copied();
        Bytes::copy_from_slice(&value.unwrap_or(0).to_be_bytes())
    }

    fn snapshot(&self) -> Self::Snapshot {
        let chunks: Vec<_> = self
            .values
            .iter()
            .map(|(&key, &value)| swap(key, value))
            .collect();
        chunks.into_iter()
    }

    fn begin_restore(&self) -> Self {
        Self::default()
    }
}

impl Restore for Registers {
    type Machine = Self;

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        if let Some((&key, value)) = chunk.split_first() {
            let value = value
                .try_into()
                .map_err(|_| RestoreError::new("a register has 8 bytes"))?;
            self.values.insert(key, u64::from_be_bytes(value));
        }
        Ok(())
    }

    fn finish(self) -> Result<Self, RestoreError> {
        Ok(self)
    }
}
