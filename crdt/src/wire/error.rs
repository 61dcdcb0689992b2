//! Why bytes are refused.

use core::fmt;

use thiserror::Error;

use crate::ReplicaId;

/// Bytes were refused, before anything was made of them. Nothing changed; drop them, or ask for them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early.
    #[error("message is truncated")]
    Truncated,
    /// They go on behind the end.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    /// They do not start as a message of this format does.
    #[error("not a message of this format")]
    Magic,
    /// They are of a version that this build does not read.
    #[error("message is of format version {found}, this build reads up to {known}")]
    Version {
        /// The version found.
        found: u8,
        /// The highest version known.
        known: u8,
    },
    /// A message of another kind: a state where a delta should be.
    #[error("message is of kind {found}, expected {expected}")]
    Kind {
        /// The kind found.
        found: u8,
        /// The kind to be read.
        expected: u8,
    },
    /// A message of another type: a map where a set should be.
    #[error("message has schema {found:08x}, expected {expected:08x}")]
    Schema {
        /// The schema found.
        found: u32,
        /// The schema to be read.
        expected: u32,
    },
    /// Bytes were damaged.
    #[error("checksum is {found:08x}, the bytes give {expected:08x}")]
    Checksum {
        /// The checksum found.
        found: u32,
        /// The checksum of the bytes.
        expected: u32,
    },
    /// More than the [`Budget`](crate::wire::Budget) allows.
    #[error("message has {given} {bound}, over the limit of {max}")]
    OverBudget {
        /// Which bound.
        bound: Bound,
        /// How many or how much.
        given: u64,
        /// The limit.
        max: u64,
    },
    /// A field has no meaning, or is not in its only form.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A delta claims an event and carries neither what it put, nor what it removed, nor what removed it.
    #[error("delta claims event {counter} of replica {replica} without carrying it")]
    OverClaim {
        /// Whose event.
        replica: ReplicaId,
        /// Its counter.
        counter: u64,
    },
    /// Something is held or removed that the message does not claim to know.
    #[error("event {counter} of replica {replica} is named and not claimed as known")]
    Unclaimed {
        /// Whose event.
        replica: ReplicaId,
        /// Its counter.
        counter: u64,
    },
}

/// Which bound of a [`Budget`](crate::wire::Budget) was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Its length.
    Bytes,
    /// Its ids.
    Ids,
    /// Its dots.
    Dots,
    /// Its intervals.
    Intervals,
    /// Its removal events.
    Events,
    /// Its nesting.
    Depth,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Ids => "replica ids",
            Self::Dots => "dots",
            Self::Intervals => "intervals",
            Self::Events => "removal events",
            Self::Depth => "levels",
        })
    }
}
