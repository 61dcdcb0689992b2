//! What one state has over another.

use crate::removal_log::RemovalLog;
use crate::{Interval, IntervalVersionVector, VersionVector};

/// The events in `(from, to]` of each replica: what is alive of them, and what they removed.
///
/// Only a write and [`Causal::delta_since`](crate::Causal::delta_since) make one, so it carries all it claims. It may
/// be lost, repeated and reordered: applied twice it changes nothing, applied too early it is refused.
#[derive(Clone, Debug)]
pub struct Delta<S> {
    pub(crate) from: VersionVector,
    pub(crate) to: VersionVector,
    pub(crate) store: S,
    pub(crate) log: RemovalLog,
    /// For a peer that lacks events the log has dropped: which dots up to `from` are alive.
    pub(crate) alive: Option<IntervalVersionVector>,
}

impl<S> Delta<S> {
    /// What the receiver must know.
    #[must_use]
    pub const fn from(&self) -> &VersionVector {
        &self.from
    }

    /// What the receiver knows afterwards, beside what it knew.
    #[must_use]
    pub const fn to(&self) -> &VersionVector {
        &self.to
    }

    /// The events carried, one interval for each replica.
    pub fn events(&self) -> impl Iterator<Item = Interval> + '_ {
        self.to.since(&self.from)
    }

    /// What is alive of the events carried; for a look before applying, such as at stamps.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Whether removals are told as the set of dots still alive, since the log no longer reaches back far enough.
    #[must_use]
    pub const fn is_beyond_log(&self) -> bool {
        self.alive.is_some()
    }

    /// Whether no event is carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events().next().is_none()
    }
}
