use core::time::Duration;

use thiserror::Error;

use super::membership::{Member, Membership, MembershipError};
use crate::wire::Budget;

/// The shortest and the longest that anything of the pace may be: a sync that never waits would never be silent.
const PACE: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(366 * 86_400)];

/// How much longer a frame may be than the part in it.
const AROUND_BYTES: usize = 64;

/// A configuration that a sync cannot go by. Nothing was made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A time is too short, or longer than a year.
    #[error("{name} is {given:?}; let it be from {:?} to {:?}", PACE[0], PACE[1])]
    Pace {
        /// Which field.
        name: &'static str,
        /// What it is.
        given: Duration,
    },
    /// A full frame of a member that goes by it would be refused by the others.
    #[error(
        "parts of {part_bytes} bytes, with {} around them, are over the {bytes_max} bytes that a frame may have; lower `part_bytes` or raise the budget",
        AROUND_BYTES
    )]
    Parts {
        /// The length to which deltas are split.
        part_bytes: usize,
        /// What a frame may have.
        bytes_max: usize,
    },
    /// Nobody would take the membership.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

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
    /// How often digests are exchanged at rest. Half to all of it, by chance. This and the other times: from a
    /// millisecond to a year.
    pub idle: Duration,
    /// How long to wait for an answer at first; each time twice as long, up to `retry_max`. What another peer brought
    /// is made known to the rest after a quarter to half of it.
    pub retry_min: Duration,
    /// The longest wait for an answer.
    pub retry_max: Duration,
    /// The length to which deltas are split, in bytes. What cannot be told apart is sent in pieces of so many bytes, and
    /// applied when all of them are there: so no frame that carries events is longer, but for about 50 bytes.
    pub part_bytes: usize,
    /// What a peer's frame may spend, and what a delta that comes in pieces may but for its length. The state may become as
    /// large as its [`bounds`](Budget::bounds) say: what would have it outgrow them is refused. The same at all members.
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

    /// Whether a sync can go by it; [`AntiEntropy::new`](super::AntiEntropy::new) looks.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let [shortest, longest] = PACE;
        let pace = [
            ("idle", self.idle),
            ("retry_min", self.retry_min),
            ("retry_max", self.retry_max),
        ];
        for (name, given) in pace {
            if !(shortest..=longest).contains(&given) {
                return Err(ConfigError::Pace { name, given });
            }
        }
        let (part_bytes, bytes_max) = (self.part_bytes, self.budget.bytes_max);
        if part_bytes.saturating_add(AROUND_BYTES) > bytes_max {
            return Err(ConfigError::Parts {
                part_bytes,
                bytes_max,
            });
        }
        Ok(self.membership.check()?)
    }
}
