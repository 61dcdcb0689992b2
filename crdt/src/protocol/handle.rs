//! What an application holds of a replica.

use std::boxed::Box;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::vec::Vec;

use futures_channel::oneshot;
use parking_lot::Mutex;
use peaberry_core::Handle;
use thiserror::Error;

use crate::sync::{Membership, MembershipError};
use crate::{ReplicaId, Tolerance, Writer};

/// A mutation: with a document it is carried out, without one it is refused; what it returns is called when durable.
pub(super) type Finish<D> = Box<dyn FnOnce(Option<(&mut D, &mut Writer)>) -> Done + Send>;

/// What one mutation may reserve. Whatever of it is not used is never used.
const RESERVED_MAX: u64 = 1 << 32;

/// Answers who asked.
pub(super) type Done = Box<dyn FnOnce() + Send>;

/// What a [`ReplicaHandle`] asks of its replica.
pub enum Command<D> {
    /// With how many dots must be reserved before.
    #[doc(hidden)]
    Mutate(u64, Finish<D>),
    #[doc(hidden)]
    Tolerate(Tolerance),
    #[doc(hidden)]
    Membership(Membership),
    #[doc(hidden)]
    Close(Done),
}

impl<D> fmt::Debug for Command<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mutate(..) => "Mutate",
            Self::Tolerate(_) => "Tolerate",
            Self::Membership(_) => "Membership",
            Self::Close(_) => "Close",
        })
    }
}

/// Why a mutation was not carried out, or not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MutationError {
    /// Too many wait, or the node has stopped. Nothing changed.
    #[error("the replica takes no mutation now: its node has stopped, or 65,536 wait")]
    Busy,
    /// The replica is closed or evicted. Nothing changed; open it anew.
    #[error("the replica is closed or evicted and writes no longer")]
    Closed,
    /// The node stopped before the commit: whether it will be there after a restart is unknown.
    #[error("the node stopped before the mutation was durable")]
    Unknown,
    /// No member would take the membership. Nothing changed.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

/// Reads and changes one replica, from any thread. Cheap to clone.
pub struct ReplicaHandle<D> {
    commands: Handle<Command<D>>,
    doc: Arc<Mutex<D>>,
    signals: Arc<Signals>,
    membership: Arc<Mutex<Membership>>,
    replica: ReplicaId,
}

impl<D> Clone for ReplicaHandle<D> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            doc: self.doc.clone(),
            signals: self.signals.clone(),
            membership: self.membership.clone(),
            replica: self.replica,
        }
    }
}

impl<D> fmt::Debug for ReplicaHandle<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaHandle")
            .field("replica", &self.replica)
            .finish_non_exhaustive()
    }
}

impl<D> ReplicaHandle<D> {
    pub(super) const fn new(
        commands: Handle<Command<D>>,
        doc: Arc<Mutex<D>>,
        signals: Arc<Signals>,
        membership: Arc<Mutex<Membership>>,
        replica: ReplicaId,
    ) -> Self {
        Self {
            commands,
            doc,
            signals,
            membership,
            replica,
        }
    }

    /// Under which id it writes in this life.
    #[must_use]
    pub const fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Who takes part, as far as this replica has heard.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.membership.lock().clone()
    }

    /// Looks at the document as it is, with what is not durable yet. Be brief: the node waits for you. Do not call it
    /// from within a mutation.
    pub fn read<R>(&self, look: impl FnOnce(&D) -> R) -> R {
        look(&self.doc.lock())
    }

    /// Runs `change` on the node's thread, in one batch with others of its turn. The returned future need not be polled
    /// for it to happen; it ends with what `change` returned once that is durable.
    ///
    /// It may mint a quarter of what the replica [reserves](super::ReplicaOptions::reservation), and sometimes more. For a
    /// longer text, or a larger document at once, there is [`mutate_reserving`](Self::mutate_reserving).
    pub fn mutate<R: Send + 'static>(
        &self,
        change: impl FnOnce(&mut D, &mut Writer) -> R + Send + 'static,
    ) -> Mutation<R> {
        self.mutate_reserving(0, change)
    }

    /// As [`mutate`](Self::mutate), once `dots` dots are reserved: a text takes one for each character that is inserted or
    /// removed, everything else one for each write. Up to 2^32. It waits for one commit more, if there are not so many, and
    /// what comes behind waits with it.
    pub fn mutate_reserving<R: Send + 'static>(
        &self,
        dots: u64,
        change: impl FnOnce(&mut D, &mut Writer) -> R + Send + 'static,
    ) -> Mutation<R> {
        let (tell, told) = oneshot::channel();
        let mutate: Finish<D> = Box::new(move |target| {
            let outcome = target
                .map(|(doc, writer)| change(doc, writer))
                .ok_or(MutationError::Closed);
            // Who dropped the future does not want to know.
            Box::new(move || {
                let _ = tell.send(outcome);
            })
        });
        let dots = dots.min(RESERVED_MAX);
        match self.commands.submit(Command::Mutate(dots, mutate)) {
            Ok(()) => Mutation(Ok(told)),
            Err(_busy) => Mutation(Err(MutationError::Busy)),
        }
    }

    /// Changes that come from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let seen = self.signals.inner.lock().count;
        Changes {
            signals: self.signals.clone(),
            seen,
        }
    }

    /// Refuses peers' values beyond `tolerance` from now on.
    ///
    /// # Errors
    ///
    /// [`MutationError::Busy`]; nothing changed.
    pub fn tolerate(&self, tolerance: Tolerance) -> Result<(), MutationError> {
        self.submit(Command::Tolerate(tolerance))
    }

    /// Configures a later membership, and tells the other members of it; one that is not later changes nothing. Call it
    /// at one who was a member before the change: the others believe no one else.
    ///
    /// # Errors
    ///
    /// [`MutationError::Busy`] and [`MutationError::Membership`]; nothing changed.
    pub fn reconfigure(&self, membership: Membership) -> Result<(), MutationError> {
        membership.check()?;
        self.submit(Command::Membership(membership))
    }

    /// Ends writing, and accounts for every reserved dot, so that the next life may keep the id. Ends when that is
    /// durable.
    pub fn close(&self) -> Mutation<()> {
        let (tell, told) = oneshot::channel();
        let done = Box::new(move || {
            let _ = tell.send(Ok(()));
        });
        match self.submit(Command::Close(done)) {
            Ok(()) => Mutation(Ok(told)),
            Err(busy) => Mutation(Err(busy)),
        }
    }

    fn submit(&self, command: Command<D>) -> Result<(), MutationError> {
        self.commands
            .submit(command)
            .map_err(|_busy| MutationError::Busy)
    }
}

/// Ends when a mutation is durable. Dropping it takes nothing back.
#[derive(Debug)]
pub struct Mutation<R>(Result<oneshot::Receiver<Result<R, MutationError>>, MutationError>);

impl<R> Future for Mutation<R> {
    type Output = Result<R, MutationError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Err(busy) => Poll::Ready(Err(*busy)),
            Ok(told) => Pin::new(told)
                .poll(cx)
                .map(|told| told.unwrap_or(Err(MutationError::Unknown))),
        }
    }
}

/// Waits for a document to change.
#[derive(Debug)]
pub struct Changes {
    signals: Arc<Signals>,
    seen: u64,
}

impl Changes {
    /// Ends when the document has changed since the last call; many changes at once are one.
    pub async fn next(&mut self) {
        poll_fn(|cx| {
            let mut inner = self.signals.inner.lock();
            if inner.count != self.seen {
                self.seen = inner.count;
                return Poll::Ready(());
            }
            if !inner.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                inner.wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Tells of changes.
#[derive(Debug, Default)]
pub(super) struct Signals {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    count: u64,
    wakers: Vec<Waker>,
}

impl Signals {
    pub(super) fn changed(&self) {
        let wakers = {
            let mut inner = self.inner.lock();
            inner.count += 1;
            std::mem::take(&mut inner.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
