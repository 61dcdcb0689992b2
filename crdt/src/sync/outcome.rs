//! What a frame has done, or why it was refused.

use alloc::vec::Vec;
use core::fmt;

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
    /// A member does not take an event that this replica has sent it, or several that cannot be told apart. What comes before
    /// gets through; the rest is sent again after a while, each time after twice as long, up to an hour. The exchange with
    /// all others goes on.
    RefusedBy {
        /// Who refuses.
        member: Member,
        /// Why.
        reason: Refusal,
    },
    /// A member has had made for it what it did not take, several times in succession: it said that it knew nothing, also
    /// after it had said that it knew everything, or began a new life, while that was on its way. More is made for it after a longer and longer while, up to
    /// [`retry_max`](super::SyncConfig::retry_max). It is broken or hostile.
    ServedInVain {
        /// Who.
        member: Member,
    },
}

/// Why a peer does not take a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It was read as nonsense there, or is over the peer's budget, or the peer's state would outgrow it.
    Malformed,
    /// The peer holds another value for one of its events: two writers used one replica id.
    Conflict,
    /// A stamp leads the peer's clock by more than it allows; or our clock, or its, is wrong.
    FarFuture,
    /// A total rises by more than the peer allows at once.
    Jump,
    /// An event edits beyond the text that its writer saw.
    OutOfBounds,
}

/// By their numbers on the wire.
const REFUSALS: [(u8, Refusal); 5] = [
    (1, Refusal::Malformed),
    (2, Refusal::Conflict),
    (3, Refusal::FarFuture),
    (4, Refusal::Jump),
    (5, Refusal::OutOfBounds),
];

impl Refusal {
    pub(super) fn number(self) -> u8 {
        REFUSALS
            .iter()
            .find(|(_, refusal)| *refusal == self)
            .map_or(0, |(number, _)| *number)
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        REFUSALS
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, refusal)| *refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is malformed or over the budget",
            Self::Conflict => "one of its events has another value there",
            Self::FarFuture => "it has a stamp from the far future",
            Self::Jump => "a total rises too far at once",
            Self::OutOfBounds => "an event edits beyond its text",
        })
    }
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
    /// It arrived as it was sent, and is nonsense, or over the [`budget`](super::SyncConfig::budget) or
    /// [`transfer_bytes_max`](super::SyncConfig::transfer_bytes_max). A delta will come again, after a longer and longer
    /// while, and be refused again: a bound that the state has outgrown must be raised.
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
    /// The sender tells of more replicas than any state with our bounds could know: what it knows would be remembered without
    /// an end. Raise `ids_max` of the [`budget`](super::SyncConfig::budget), at all members.
    #[error(
        "member {from} tells of {given} replicas, over the limit of {max}; raise it at all members"
    )]
    TooManyIds {
        /// Who told.
        from: Member,
        /// Of how many, with those of which it told before.
        given: usize,
        /// The limit.
        max: usize,
    },
    /// The sender does not take part in the present epoch, or not with the state it has. It was told.
    #[error("member {from} is not in epoch {epoch}; let it join again with an empty state")]
    NotAMember {
        /// Who sent it.
        from: Member,
        /// Our epoch.
        epoch: u64,
    },
    /// The sender claims a later membership and takes no part in the present one, so it is not believed. It may be right,
    /// if this replica was away while all whom it knew were replaced: then configure the membership here.
    #[error(
        "member {from} is not in epoch {epoch} and claims epoch {claimed}; if that is true, configure it here"
    )]
    ForeignMembership {
        /// Who sent it.
        from: Member,
        /// Our epoch.
        epoch: u64,
        /// The epoch that it claims.
        claimed: u64,
    },
    /// Two memberships of one epoch: two operators changed it at once. Decide, and give the one that holds a higher
    /// epoch: until then these two exchange nothing.
    #[error(
        "member {from} has another membership of epoch {epoch}; configure one with a higher epoch"
    )]
    TwoMemberships {
        /// Who has the other.
        from: Member,
        /// The epoch of both.
        epoch: u64,
    },
    /// A delta that does not go with what is held: two writers used one replica id, a value passes its limits, or the
    /// state would outgrow the [`bounds`](crate::wire::Budget::bounds) of the budget. Its
    /// sender is told, and sends it again after a longer and longer while.
    #[error("delta from member {from} was refused")]
    Refused {
        /// Who sent it.
        from: Member,
        /// Why.
        source: ApplyError,
    },
}
