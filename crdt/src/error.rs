//! What can go wrong.

use thiserror::Error;

use crate::document::PathError;
use crate::{CounterJump, Dot, FarFutureStamp, Outgrown, ReplicaId, Stamp};

/// A write was refused. Neither the state nor the writer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Persist a larger reservation, then [`Writer::reserve`](crate::Writer::reserve).
    #[error(
        "replica {replica} has minted all dots up to its reservation of {reserved}; reserve more"
    )]
    ReservationExhausted {
        /// Whose reservation.
        replica: ReplicaId,
        /// Its end.
        reserved: u64,
    },
    /// The writer belongs to another document, or one of the two is stale. Take a new replica id.
    #[error(
        "state knows {known} events of replica {replica}, its writer minted {minted}; take a new replica id"
    )]
    NotContinuous {
        /// Whose events.
        replica: ReplicaId,
        /// What the state knows.
        known: u64,
        /// What the writer minted.
        minted: u64,
    },
    /// The edit put something under a dot that is not its event's, or removes a dot that the state does not know. It
    /// was made for another event or from another state.
    #[error("edit of event {event:?} names the foreign dot {dot:?}")]
    ForeignDot {
        /// The event being written.
        event: Dot,
        /// The dot it held.
        dot: Dot,
    },
    /// The edit put something under its dot in two places, such as two fields of a store. The dot is what a removal names and
    /// has one meaning: put what changes together in one place, or write two events.
    #[error("edit of event {event:?} puts something in two places")]
    DotTwice {
        /// The event being written.
        event: Dot,
    },
    /// A write to a register must exceed every stamp it has seen; ask the clock that observed them.
    #[error("stamp {given:?} does not exceed {seen:?}, which the register has seen")]
    StaleStamp {
        /// The stamp of the write.
        given: Stamp,
        /// The highest stamp seen.
        seen: Stamp,
    },
    /// The path leads to no place of the document where this edit could be made.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no such place in the list or text.
    #[error("index {index} lies beyond the length of {len}")]
    OutOfBounds {
        /// The index given.
        index: usize,
        /// The length.
        len: usize,
    },
    /// The place to insert at lies on too long a path; insert elsewhere, or put the elements into a new list.
    #[error("the path to the place has more than {depth_max} branches")]
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// A replica's total would not fit 64 bits.
    #[error("total of replica {replica} would exceed 64 bits")]
    CounterOverflow {
        /// Whose total.
        replica: ReplicaId,
    },
    /// Others would refuse the stamp, and all that is written after it; see
    /// [`Writer::tolerate`](crate::Writer::tolerate). Set the clock right; if it is, it was ahead when something was written
    /// that this write has seen.
    #[error(
        "others would refuse this write: {0}; set the clock right, or have all replicas tolerate it"
    )]
    FarFuture(FarFutureStamp),
    /// The state is as large as its writer may make it; see [`Writer::within`](crate::Writer::within).
    #[error(transparent)]
    Outgrown(#[from] Outgrown),
}

/// A delta was refused. The state did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Events are missing between the state and the delta. Ask for a delta since the state's own vector.
    #[error(
        "delta starts after event {from} of replica {replica}, of which {known} are known; ask for one since then"
    )]
    Gap {
        /// Whose events are missing.
        replica: ReplicaId,
        /// What is known.
        known: u64,
        /// What the delta starts from.
        from: u64,
    },
    /// One dot with two meanings: two writers have used one replica id. Quarantine it.
    #[error("event {counter} of replica {replica} has two different values; the id was used twice")]
    Conflict {
        /// Whose event.
        replica: ReplicaId,
        /// Its counter.
        counter: u64,
    },
    /// An event of a text edits beyond the text that its writer saw. Its replica forges events.
    #[error("event {counter} of replica {replica} edits beyond the text that it had seen")]
    OutOfBounds {
        /// Whose event.
        replica: ReplicaId,
        /// Its counter.
        counter: u64,
    },
    /// An event of a text had not seen its replica's event before it, as every writer's has. Its replica forges events.
    #[error("event {counter} of replica {replica} had not seen the one before it")]
    Forked {
        /// Whose event.
        replica: ReplicaId,
        /// Its counter.
        counter: u64,
    },
    /// A stamp from the far future; see [`Limits`](crate::Limits).
    #[error(transparent)]
    FarFuture(#[from] FarFutureStamp),
    /// A total that rises too far at once; see [`Limits`](crate::Limits).
    #[error(transparent)]
    Jump(#[from] CounterJump),
    /// The state would become too large; see [`Limits`](crate::Limits).
    #[error(transparent)]
    Outgrown(#[from] Outgrown),
}
