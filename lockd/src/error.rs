//! Why a client did not get what it asked for.

use crate::request::Refusal;

/// Why a call of a [`LockClient`](crate::LockClient) failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The table said no; nothing changed.
    #[error("the lock service refused")]
    Refused(#[from] Refusal),
    /// The session's lease has ended, or may have: all it held is lost. Open another session.
    #[error("the session is lost and with it all its locks: open another")]
    SessionLost,
    /// Too many calls of this client are unanswered. Nothing was sent.
    #[error("too many calls are unanswered: try again when some are done")]
    Busy,
    /// No answer came while the lease lasted. What was asked for may have happened; the lease's end undoes it.
    #[error("no answer came while the lease lasted")]
    Unconfirmed,
    /// The client's node has stopped. What was asked for may have happened.
    #[error("the client's node has stopped")]
    Stopped,
}

impl LockError {
    /// Whether the same call may succeed later, on the same session.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Busy => true,
            Self::Refused(refusal) => matches!(
                refusal,
                Refusal::Held
                    | Refusal::TooManySessions
                    | Refusal::TooManyLocks
                    | Refusal::TooManyClaims
                    | Refusal::TooManyWaiters
                    | Refusal::TooManyReplies
            ),
            Self::SessionLost | Self::Unconfirmed | Self::Stopped => false,
        }
    }
}
