//! What clients ask, and what the replicated table answers.

pub(crate) mod decode;
pub(crate) mod encode;
mod entry;
#[cfg(test)]
pub(crate) mod strategies;

use std::fmt;

use peaberry_core::PeerId;

pub use self::entry::{Entry, EntryReply, Operation};
pub(crate) use self::entry::{
    EntryWriter, answers_of, begin_queries, put_answer, put_entry_reply, put_frame, read_queries,
};
use crate::fence::Token;
use crate::path::LockPath;

/// Names a session. The table gives them out and never repeats one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The table's incarnation when it was opened.
    pub incarnation: u64,
    /// Which session of that incarnation, from 1.
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session-{}.{}", self.incarnation, self.number)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a request stands among those of its session: what makes a retry recognisable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence {
    /// The request's number. A client counts upwards and never uses one for two requests.
    pub number: u64,
    /// The client has the answers of all requests numbered below: they will not be retried, and their replies may go.
    pub acknowledged: u64,
}

/// A request to be replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Opens a session. The same peer and nonce name the same session for as long as it lives.
    Open {
        /// The client's choice, random.
        nonce: u128,
        /// The length of the lease, [`TTL_MS_MIN`](crate::limits::TTL_MS_MIN) to
        /// [`TTL_MS_MAX`](crate::limits::TTL_MS_MAX).
        ttl_ms: u64,
        /// A name for people, at most [`OWNER_BYTES_MAX`](crate::limits::OWNER_BYTES_MAX) bytes. No credential.
        owner: Box<str>,
    },
    /// Starts a session's lease anew.
    Renew {
        /// Which.
        session: SessionId,
    },
    /// Ends a session and gives up all it holds.
    Close {
        /// Which.
        session: SessionId,
    },
    /// Asks for a lock. The claim is named by the request's own number from here on.
    Acquire {
        /// For whom.
        session: SessionId,
        /// The request's place, and the claim's name.
        sequence: Sequence,
        /// Which lock.
        path: LockPath,
        /// What to do when it is held.
        contention: Contention,
        /// What to do when the same session holds it.
        reentry: Reentry,
    },
    /// Makes sure that the claim of an acquire neither waits nor holds, whether that has arrived or not.
    Cancel {
        /// Whose.
        session: SessionId,
        /// This request's place.
        sequence: Sequence,
        /// The acquire's number.
        claim: u64,
    },
    /// Gives up one hold.
    Release {
        /// Whose.
        session: SessionId,
        /// This request's place.
        sequence: Sequence,
        /// The acquire's number.
        claim: u64,
        /// What the acquire was granted.
        token: Token,
    },
}

/// What an acquire does when the lock is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contention {
    /// Joins the end of the queue.
    #[default]
    Wait,
    /// Gives up at once.
    Refuse,
}

/// What an acquire does when its own session holds the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reentry {
    /// What it does when a stranger holds it: claims of one session exclude each other.
    #[default]
    Exclude,
    /// Shares the hold and its token. The lock is free once every hold is released. Taken, whether it joins, holds alone
    /// or waits, such an acquire also starts the session's lease anew, as [`Request::Renew`] does.
    Join,
}

/// What a holder is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Shown with every request to the guarded resource.
    pub token: Token,
    /// No holder with a token below this can still be valid.
    pub floor: Token,
}

/// The table's answer to one [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// To [`Request::Open`].
    Opened {
        /// The session's name.
        session: SessionId,
    },
    /// To [`Request::Renew`].
    Renewed,
    /// To [`Request::Close`].
    Closed,
    /// To [`Request::Acquire`]: it holds.
    Granted(Grant),
    /// To [`Request::Acquire`]: it waits. A [`Notice`] follows.
    Queued {
        /// How many claims wait before it.
        ahead: u32,
    },
    /// To [`Request::Cancel`], and to an acquire that was cancelled before it arrived.
    Cancelled,
    /// To [`Request::Release`].
    Released,
    /// To any: no, and nothing changed.
    Refused(Refusal),
}

/// Why the table refused a request. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The session's lease has run out, it was closed, or it never was this peer's.
    #[error("the session has ended: open another")]
    SessionLost,
    /// The client has acknowledged the answer to this request before.
    #[error("the request's answer was acknowledged before: use a new sequence number")]
    StaleSequence,
    /// Somebody holds the lock, and the request would not wait.
    #[error("the lock is held")]
    Held,
    /// The claim does not hold the lock with this token.
    #[error("the claim does not hold the lock with this token")]
    NotHeld,
    /// The bytes are no request.
    #[error("the request is malformed")]
    Malformed,
    /// The lease is too short or too long.
    #[error(
        "the lease must be {} to {} ms long",
        crate::limits::TTL_MS_MIN,
        crate::limits::TTL_MS_MAX
    )]
    TtlOutOfRange,
    /// Too many sessions.
    #[error("too many sessions are open: close some")]
    TooManySessions,
    /// Too many locks.
    #[error("too many locks are held: release some")]
    TooManyLocks,
    /// Too many claims of this session.
    #[error("the session holds and waits for too many locks: release some")]
    TooManyClaims,
    /// Too many claims wait for this lock.
    #[error("too many wait for this lock: try again later")]
    TooManyWaiters,
    /// Too many replies of this session wait to be acknowledged.
    #[error("too many replies are unacknowledged: acknowledge some")]
    TooManyReplies,
}

/// Tells that a claim which waited now holds. It may be lost, and may come before the reply that told of the wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// The peer that opened the session.
    pub peer: PeerId,
    /// The session.
    pub session: SessionId,
    /// The acquire's number.
    pub claim: u64,
    /// The lock.
    pub path: LockPath,
    /// What it was granted.
    pub grant: Grant,
}

/// A question that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// Who holds a lock?
    Inspect {
        /// Which.
        path: LockPath,
    },
    /// How far is log time, and what comes next?
    Status,
    /// Which claims of a session hold? For a client that may have lost a notice. Only the session's own peer is told.
    Session {
        /// Which.
        session: SessionId,
        /// Only claims numbered above.
        after: u64,
    },
    /// Which locks are held? A page in the order of their paths.
    List {
        /// Only paths above.
        after: Option<LockPath>,
    },
}

/// The answer to one [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Query::Inspect`]; `None`: nobody holds it.
    Inspection(Option<Inspection>),
    /// To [`Query::Status`].
    Status(Status),
    /// To [`Query::Session`]: claims that hold, at most
    /// [`PAGE_LOCKS_MAX`](crate::limits::PAGE_LOCKS_MAX), in the order of their numbers.
    Session(Vec<(u64, Grant)>),
    /// To [`Query::Session`]: it has ended, or is another peer's.
    SessionLost,
    /// To [`Query::List`]: paths and tokens, at most [`PAGE_LOCKS_MAX`](crate::limits::PAGE_LOCKS_MAX).
    Locks(Vec<(LockPath, Token)>),
    /// The bytes were no query.
    Malformed,
}

/// A held lock, for people and for monitoring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// What the holder calls itself.
    pub owner: Box<str>,
    /// The holder's session.
    pub session: SessionId,
    /// The holder's token.
    pub token: Token,
    /// How long it has been held, in milliseconds of log time.
    pub held_ms: u64,
    /// What is left of the holder's lease, in milliseconds of log time.
    pub remaining_ms: u64,
    /// How many holds the holder has: more than one after re-entry.
    pub holds: u32,
    /// How many claims wait.
    pub waiters: u32,
}

/// How far the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Log time, in milliseconds.
    pub log_time_ms: u64,
    /// When the next lease runs out, in log time; `None` without sessions.
    pub next_expiry_ms: Option<u64>,
    /// How often the table was restored from a backup, and one.
    pub incarnation: u64,
    /// Sessions that have not been forgotten.
    pub sessions: u64,
    /// Locks held.
    pub locks: u64,
}
