//! One event, described before it happens.

use crate::{Dot, DotStore, Interval, IntervalVersionVector, VersionVector};

/// What one event puts under its own dot and which dots it removes. Made by the types' methods, such as
/// [`AddWinsSet::add`](crate::AddWinsSet::add), and carried out by [`Causal::write`](crate::Causal::write).
#[derive(Clone, Debug)]
#[must_use = "an edit does nothing until it is returned to `Causal::write`"]
pub struct Edit<S> {
    pub(crate) store: S,
    pub(crate) removed: IntervalVersionVector,
}

impl<S: DotStore> Edit<S> {
    /// Changes nothing, and mints no dot.
    pub fn nothing() -> Self {
        Self {
            store: S::default(),
            removed: IntervalVersionVector::new(),
        }
    }

    /// Puts `store`, whose only dot must be the event's, and removes nothing.
    pub fn put(store: S) -> Self {
        Self {
            store,
            removed: IntervalVersionVector::new(),
        }
    }

    /// Also removes every dot that `held` holds.
    pub fn removing<T: DotStore>(mut self, held: &T) -> Self {
        held.for_each_after(&VersionVector::new(), &mut |dot| {
            self.removed.insert(Interval::from(dot));
        });
        self
    }

    /// Also removes one dot.
    pub fn removing_dot(mut self, dot: Dot) -> Self {
        self.removed.insert(Interval::from(dot));
        self
    }

    /// The same edit of a store that contains this one.
    pub fn within<T>(self, wrap: impl FnOnce(S) -> T) -> Edit<T> {
        Edit {
            store: wrap(self.store),
            removed: self.removed,
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.store.is_empty() && self.removed.is_empty()
    }
}
