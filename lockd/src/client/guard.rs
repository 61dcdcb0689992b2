use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::handle::SessionShared;
use super::lease::Lost;
use super::protocol::ClientCommand;
use crate::error::LockError;
use crate::fence::Token;
use crate::request::Grant;

/// A held lock. Dropping it gives the lock up, as soon as the service hears of it; [`release`](Self::release) says
/// whether it was held until then.
///
/// A guard can be lost at any time without its holder noticing: a paused process holds nothing. So show the
/// [`token`](Self::token) to the guarded resource, and have that ask a [`Gate`](crate::fence::Gate). Where it cannot,
/// look at [`valid_for`](Self::valid_for) right before each step, and never take a step that may last longer.
#[derive(Debug)]
#[must_use = "dropping the guard releases the lock"]
pub struct Guard {
    session: Arc<SessionShared>,
    claim: u64,
    grant: Grant,
    /// Whether the lock is given up when this is dropped.
    is_armed: bool,
}

/// What a holder knows of its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// Held; renewals are answered.
    Held,
    /// Held, but a renewal is overdue: less than half of the lease is left. Finish, or prepare to stop.
    Uncertain,
    /// The lease has ended, or may have. Somebody else may hold the lock. This is final.
    Lost,
}

impl Guard {
    pub(super) const fn new(session: Arc<SessionShared>, claim: u64, grant: Grant) -> Self {
        Self {
            session,
            claim,
            grant,
            is_armed: true,
        }
    }

    /// The grant's number: larger than that of every earlier holder of this lock. Show it with each request.
    #[must_use]
    pub const fn token(&self) -> Token {
        self.grant.token
    }

    /// No holder with a token below this can still be valid; what a [`Gate`](crate::fence::Gate) wants to know.
    #[must_use]
    pub const fn floor(&self) -> Token {
        self.grant.floor
    }

    /// How long the lock is still held for certain, whatever happens; zero when it is lost.
    ///
    /// Counted from when the last answered renewal was *sent*, on a clock that counts suspended time, less a margin for
    /// log time's ticks and 1 % for clocks that run apart.
    #[must_use]
    pub fn valid_for(&self) -> Duration {
        self.session.lease.valid_for()
    }

    /// Whether the lock is held.
    #[must_use]
    pub fn state(&self) -> GuardState {
        let left = self.valid_for();
        if left.is_zero() {
            GuardState::Lost
        } else if left < self.session.lease.ttl / 2 {
            GuardState::Uncertain
        } else {
            GuardState::Held
        }
    }

    /// Completes when the lock is lost; at once when it has been.
    #[must_use = "a future does nothing unless polled"]
    pub fn lost(&self) -> Lost {
        Lost::new(self.session.lease.clone())
    }

    /// Runs `work` for as long as the lock is held.
    ///
    /// # Errors
    ///
    /// [`LockError::SessionLost`]: the lock was lost first, and `work` was dropped where it stood.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, LockError> {
        let mut lost = self.lost();
        let mut work = pin!(work);
        std::future::poll_fn(move |cx| {
            if Pin::new(&mut lost).poll(cx).is_ready() {
                return Poll::Ready(Err(LockError::SessionLost));
            }
            work.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Gives the lock up and waits until the service has passed it on. Dropping the future gives it up all the same.
    ///
    /// # Errors
    ///
    /// [`LockError`]: it may have been lost before, so what was done last may have been done without the lock.
    pub async fn release(mut self) -> Result<(), LockError> {
        self.is_armed = false;
        self.session.release(self.claim).await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.is_armed {
            self.session
                .submit_quietly(ClientCommand::Abandon { id: self.claim });
        }
    }
}
