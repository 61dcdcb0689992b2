//! Registers: all concurrent values, or the last by hybrid time.

use core::fmt::Debug;

use crate::store::renamed_store;
use crate::wire::Element;
use crate::{
    ApplyError, Dot, DotFun, Edit, FarFutureStamp, Limits, Mint, Stamp, VersionVector, WriteError,
    dot_store,
};

/// A register that keeps every value no other write has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MvRegister<V> {
    store: DotFun<V>,
}

/// A register of which the last write is read: the highest by stamp, then replica, then value.
///
/// A write removes those it has seen, so only concurrent ones are held beside each other. Stamps come from one
/// [`Hlc`](crate::Hlc) for each replica; let it observe the [`stamps`](Self::stamps) of what a peer sends. Those from
/// the far future, which would win for ever, are refused by [`Causal::apply_within`](crate::Causal::apply_within).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LwwRegister<V> {
    store: DotFun<(Stamp, V)>,
}

impl<V: Clone + Debug + Eq> MvRegister<V> {
    /// Replaces the values known here.
    pub fn write(&self, mint: Mint, value: V) -> Edit<Self> {
        Edit::put(Self {
            store: DotFun::one(mint.dot(), value),
        })
        .removing(&self.store)
    }

    /// Removes the values known here.
    pub fn clear(&self) -> Edit<Self> {
        Edit::nothing().removing(&self.store)
    }

    /// The concurrent values, in the order of their dots; none if never written or cleared.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.store.iter().map(|(_, value)| value)
    }
}

impl<V: Clone + Debug + Ord> LwwRegister<V> {
    /// Writes the value at `stamp`.
    ///
    /// # Errors
    ///
    /// [`WriteError::StaleStamp`] if `stamp` does not exceed those known here.
    pub fn write(&self, mint: Mint, stamp: Stamp, value: V) -> Result<Edit<Self>, WriteError> {
        if let Some((_, seen)) = self
            .stamps()
            .filter(|(_, seen)| *seen >= stamp)
            .max_by_key(|(_, seen)| *seen)
        {
            return Err(WriteError::StaleStamp { given: stamp, seen });
        }
        Ok(Edit::put(Self {
            store: DotFun::one(mint.dot(), (stamp, value)),
        })
        .removing(&self.store))
    }

    /// The last value; `None` if never written.
    #[must_use]
    pub fn value(&self) -> Option<&V> {
        let last = self
            .store
            .iter()
            .max_by_key(|(dot, (stamp, value))| (*stamp, dot.replica(), value));
        last.map(|(_, (_, value))| value)
    }

    /// The stamp of each write held, with its dot.
    pub fn stamps(&self) -> impl Iterator<Item = (Dot, Stamp)> + '_ {
        self.store.iter().map(|(dot, (stamp, _))| (dot, *stamp))
    }
}

impl<V> Default for MvRegister<V> {
    fn default() -> Self {
        Self {
            store: DotFun::default(),
        }
    }
}

impl<V> Default for LwwRegister<V> {
    fn default() -> Self {
        Self {
            store: DotFun::default(),
        }
    }
}

dot_store!(
    [V: Clone + Debug + Eq]
    [V: Clone + Debug + Eq + Element]
    "MvRegister", MvRegister<V> { store: DotFun<V> }
);

renamed_store!(
    [V: Clone + Debug + Eq]
    [V: Clone + Debug + Eq + Element]
    LwwRegister<V> {
        fn copy_dot(&self, dot: Dot, into: &mut Self) {
            if crate::mutant::is_planted("lww_tie_by_arrival")
                && let Some((stamp, _)) = self.store.get(dot)
                && into.store.iter().any(|(_, (held, _))| held == stamp)
            {
                return;
            }
            self.store.copy_dot(dot, &mut into.store);
        }

        fn for_each_stamp(&self, visit: &mut dyn FnMut(Dot, Stamp)) {
            for (dot, (stamp, _)) in self.store.iter() {
                visit(dot, *stamp);
            }
        }

        fn for_each_named(&self, _visit: &mut dyn FnMut(Dot)) {}

        fn admit(
            &self,
            delta: &Self,
            known: &VersionVector,
            limits: &Limits,
        ) -> Result<(), ApplyError> {
            let latest = limits.wall_ms.saturating_add(limits.drift_ms_max);
            for (dot, (stamp, _)) in delta.store.iter() {
                if stamp.wall_ms > latest && !known.covers(dot) {
                    return Err(ApplyError::FarFuture(FarFutureStamp {
                        replica: dot.replica(),
                        stamp_ms: stamp.wall_ms,
                        wall_ms: limits.wall_ms,
                        drift_ms_max: limits.drift_ms_max,
                    }));
                }
            }
            Ok(())
        }
    }
    describe(out) {
        out.push_str("LwwRegister<");
        V::describe(out);
        out.push('>');
    }
);
