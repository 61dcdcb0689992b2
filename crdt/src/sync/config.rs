use core::time::Duration;

use super::membership::{Member, Membership};
use crate::wire::Budget;

/// What a sync is about, and its pace.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// Who this replica is.
    pub local: Member,
    /// Tells documents apart that share a link; the same at all members.
    pub document: u64,
    /// Who takes part.
    pub membership: Membership,
    /// The epoch in which this replica's state began: 1 for a founder, the epoch of joining for a later member.
    pub joined: u64,
    /// Drawn at random in every life: what session numbers and jitter are made of.
    pub seed: u64,
    /// How often digests are exchanged at rest. Half to all of it, by chance.
    pub idle: Duration,
    /// How long to wait for an answer at first; each time twice as long, up to `retry_max`. What another peer brought
    /// is made known to the rest after a quarter to half of it.
    pub retry_min: Duration,
    /// The longest wait for an answer.
    pub retry_max: Duration,
    /// The length to which deltas are split, in bytes. What cannot be told apart is sent in pieces of so many bytes, and
    /// applied when all of them are there: so no frame that carries events is longer, but for about 50 bytes.
    pub part_bytes: usize,
    /// What a peer's frame may spend, and what a delta that comes in pieces may but for its length.
    pub budget: Budget,
    /// How long a delta may be that comes in pieces, in bytes. They are held in memory, of one delta at a time, as they
    /// arrive. At least what the state takes: a new member may be sent all of it.
    pub transfer_bytes_max: usize,
}

impl SyncConfig {
    /// Digests every second, answers awaited for 200 ms to 10 s, parts of 64 KiB, frames of at most 4 MiB, deltas in pieces
    /// of at most 64 MiB.
    #[must_use]
    pub fn new(local: Member, document: u64, membership: Membership, seed: u64) -> Self {
        Self {
            local,
            document,
            joined: membership.joined(local).unwrap_or(1),
            membership,
            seed,
            idle: Duration::from_secs(1),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(10),
            part_bytes: 64 << 10,
            budget: Budget {
                bytes_max: 4 << 20,
                ..Budget::default()
            },
            transfer_bytes_max: Budget::default().bytes_max,
        }
    }
}
