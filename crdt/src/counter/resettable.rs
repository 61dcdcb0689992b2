//! A counter under dots, which can be reset and nested in a map.

use crate::store::dot_store_by_field;
use crate::{DotFun, Edit, Mint, WriteError};

/// A counter that can be reset, and removed with the key of a map that holds it.
///
/// Each replica has one running total since the last reset it has seen, under the dot of its latest change. A reset
/// removes the totals it has seen. A change that is concurrent with a reset brings back its replica's whole running
/// total, not only the change: that is the price of holding one total for each replica and not every change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResettableCounter {
    store: DotFun<Running>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Running {
    up: u64,
    down: u64,
}

impl ResettableCounter {
    /// Adds `amount`, which may be negative.
    ///
    /// # Errors
    ///
    /// [`WriteError::CounterOverflow`] if the replica's running total does not fit.
    pub fn add(&self, mint: Mint, amount: i64) -> Result<Edit<Self>, WriteError> {
        let replica = mint.dot().replica();
        let held = self.store.iter().find(|(dot, _)| dot.replica() == replica);
        let mut running = held.map(|(_, running)| *running).unwrap_or_default();
        let total = if amount < 0 {
            &mut running.down
        } else {
            &mut running.up
        };
        *total = total
            .checked_add(amount.unsigned_abs())
            .ok_or(WriteError::CounterOverflow { replica })?;
        let replaced = held
            .map(|(dot, running)| DotFun::one(dot, *running))
            .unwrap_or_default();
        Ok(Edit::put(Self {
            store: DotFun::one(mint.dot(), running),
        })
        .removing(&replaced))
    }

    /// Sets what is known here to zero.
    pub fn reset(&self) -> Edit<Self> {
        Edit::nothing().removing(&self.store)
    }

    /// The sum of the running totals.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.store
            .iter()
            .map(|(_, running)| i128::from(running.up) - i128::from(running.down))
            .sum()
    }
}

dot_store_by_field!([] ResettableCounter);
