use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use peaberry_core::{Batch, Durability, Storage, StorageError, Subspace};

use super::{Gate, Stale, Token};

/// A [`Gate`] for each of many resources that survives restarts: a raised floor is durable before its token passes.
///
/// Callable from any thread; callers take turns. A token that raises no floor costs a read and no sync.
///
/// ```
/// use std::sync::Arc;
/// use peaberry_core::{Channel, MemoryStorage, ProtocolId, Subspace};
/// use peaberry_lockd::fence::{DurableGate, Token};
///
/// let storage = Arc::new(MemoryStorage::new());
/// let floors = Subspace::of(Channel::new(ProtocolId(2000), 0)).within(b"floor/");
/// let (early, late) = (Token::new(1, 7).unwrap(), Token::new(1, 9).unwrap());
/// DurableGate::new(storage.clone(), floors.clone()).admit(b"printer", late, late).unwrap();
///
/// let reopened = DurableGate::new(storage, floors);
/// assert!(reopened.admit(b"printer", early, early).unwrap_err().is_stale());
/// ```
pub struct DurableGate {
    storage: Arc<dyn Storage>,
    floors: Subspace,
    turn: Mutex<Batch>,
}

impl fmt::Debug for DurableGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableGate")
            .field("floors", &self.floors)
            .finish_non_exhaustive()
    }
}

/// Why a [`DurableGate`] let nothing pass.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DurableGateError {
    /// The token is stale. Nothing changed.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The floor could not be read or made durable; a raised floor may be kept all the same.
    #[error("could not keep the floor of a resource")]
    Storage(#[from] StorageError),
    /// What is kept under the resource's name is no floor: another writer uses the same subspace. Nothing changed.
    #[error("the kept floor is not a token: give the gate a subspace of its own")]
    NotAFloor,
}

impl DurableGateError {
    /// Whether the holder has lost its lock, rather than the store its promise.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(self, Self::Stale(_))
    }
}

impl DurableGate {
    /// A gate that keeps floors in `floors`, where nobody else writes.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, floors: Subspace) -> Self {
        Self {
            storage,
            floors,
            turn: Mutex::default(),
        }
    }

    /// As [`Gate::admit`], for the resource named `resource`.
    ///
    /// # Errors
    ///
    /// See [`DurableGateError`].
    pub fn admit(
        &self,
        resource: &[u8],
        token: Token,
        floor: Token,
    ) -> Result<(), DurableGateError> {
        let mut batch = self.turn.lock();
        let before = self.kept_floor(resource)?;
        let mut gate = before.map_or_else(Gate::new, Gate::from_floor);
        gate.admit(token, floor)?;
        if gate.floor() != before
            && let Some(raised) = gate.floor()
        {
            batch.clear();
            self.floors.put(&mut batch, resource, &raised.to_bytes());
            self.storage.commit(&batch, Durability::Synced)?;
        }
        Ok(())
    }

    fn kept_floor(&self, resource: &[u8]) -> Result<Option<Token>, DurableGateError> {
        let Some(bytes) = self.floors.get(&*self.storage, resource)? else {
            return Ok(None);
        };
        let floor = bytes.as_ref().try_into().ok().and_then(Token::from_bytes);
        floor.map(Some).ok_or(DurableGateError::NotAFloor)
    }
}
