//! What a frame has done, or why it was refused.

use alloc::vec::Vec;

use thiserror::Error;

use super::membership::{Member, Membership};
use crate::wire::DecodeError;
use crate::{ApplyError, Changed};

/// A frame to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transmit {
    /// To whom.
    pub to: Member,
    /// What: an own datagram, or a message behind its length.
    pub frame: Vec<u8>,
}

/// What a frame has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled {
    /// Whether the state changed.
    pub changed: Changed,
    /// What the application should hear of.
    pub event: Option<SyncEvent>,
}

/// What the application should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncEvent {
    /// A higher epoch was heard and holds from now on: keep it, and give it to [`SyncConfig`](super::SyncConfig) in the next life.
    Reconfigured(Membership),
    /// A higher epoch was heard in which this replica does not take part, or only from an empty state on. It sends
    /// nothing any more. To come back, be made a member again and start with an empty state and a new replica id.
    Evicted(Membership),
}

/// A frame was refused, and changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SyncError {
    /// It cannot be read: damaged on its way, or of an earlier session. It will come again.
    #[error("unreadable frame from member {from}")]
    Unreadable {
        /// Who sent it.
        from: Member,
        /// What is wrong.
        source: DecodeError,
    },
    /// It arrived as it was sent, and is nonsense or over the [`budget`](super::SyncConfig::budget). It will come again and
    /// be refused again: a budget that the state has outgrown must be raised.
    #[error("frame from member {from} is malformed or over the budget")]
    Malformed {
        /// Who sent it.
        from: Member,
        /// What is wrong.
        source: DecodeError,
    },
    /// The peer replicates another document, or another type under its name.
    #[error(
        "member {from} replicates document {document:#x} with schema {schema:08x}, and not ours; check its configuration"
    )]
    OtherDocument {
        /// Who says so.
        from: Member,
        /// Its document.
        document: u64,
        /// Its schema.
        schema: u32,
    },
    /// The sender does not take part in the present epoch, or not with the state it has. It was told.
    #[error("member {from} is not in epoch {epoch}; let it join again with an empty state")]
    NotAMember {
        /// Who sent it.
        from: Member,
        /// Our epoch.
        epoch: u64,
    },
    /// Two memberships of one epoch: two operators changed it at once. Decide, and give the one that holds a higher
    /// epoch.
    #[error(
        "member {from} has another membership of epoch {epoch}; configure one with a higher epoch"
    )]
    TwoMemberships {
        /// Who has the other.
        from: Member,
        /// The epoch of both.
        epoch: u64,
    },
    /// A delta that does not go with what is held: two writers used one replica id, or a value passes its limits.
    #[error("delta from member {from} was refused")]
    Refused {
        /// Who sent it.
        from: Member,
        /// Why.
        source: ApplyError,
    },
}
