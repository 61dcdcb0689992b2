//! How a replica is set up.

use crate::sync::SyncConfig;
use crate::{ReplicaId, Tolerance};

/// Whether a replica may go on under the id of its last life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it is vouched for or it is not")]
pub enum Continuity {
    /// It takes a fresh id. Right after crashes, and wherever a backup may have been restored.
    #[default]
    Unproven,
    /// The caller knows that the store is as the last life left it. After [`close`](super::ReplicaHandle::close) the
    /// replica keeps its id; after a crash it takes a fresh one all the same, but for a document whose events take no dots
    /// ([`Replicated::MINTS`](crate::Replicated::MINTS)), such as a [`BoundedCounter`](crate::BoundedCounter): nothing
    /// left before the commit, so its store has all that anybody has seen.
    Vouched,
}

/// Options of a [`Replica`](super::Replica).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaOptions {
    /// Which member this is, of which document, among whom, and the pace. A member's number is its peer's. A membership
    /// of a higher epoch in the store holds instead of the one given here. `joined` is found in the store.
    pub sync: SyncConfig,
    /// The id to take if the last one cannot be kept. Random, and never the same twice.
    pub fresh: ReplicaId,
    /// Whether the last id may be kept.
    pub continuity: Continuity,
    /// How many dots are reserved at once. One mutation may mint a quarter of it.
    pub reservation: u64,
    /// How much is tolerated of peers' values, and how far ahead own stamps may be
    /// ([`Writer::tolerate`](crate::Writer::tolerate)). Stamps are held against the calendar of the node's clock; where that is
    /// not to be trusted, as on a machine without a battery, tolerate any drift until it is set, and then call
    /// [`ReplicaHandle::tolerate`](super::ReplicaHandle::tolerate).
    pub tolerance: Tolerance,
}

impl ReplicaOptions {
    /// Nothing vouched for, 4,096 dots reserved at once, peers' clocks five minutes ahead at most.
    #[must_use]
    pub const fn new(sync: SyncConfig, fresh: ReplicaId) -> Self {
        Self {
            sync,
            fresh,
            continuity: Continuity::Unproven,
            reservation: 4096,
            tolerance: Tolerance::USUAL,
        }
    }
}
