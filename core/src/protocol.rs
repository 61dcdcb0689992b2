//! The contract of everything that decides.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Instant;
use crate::effects::Effects;
use crate::peer::PeerId;
use crate::storage::StorageError;
use crate::transport::Envelope;

/// Something that decides: it takes one input and a time, changes its own state, and writes down what should happen.
///
/// A protocol never sends, writes, sleeps, spawns, or looks at a clock; a [`Node`](crate::Node) does. It may *read*
/// storage while it is being opened, and later through [`Effects::read`]. For one sequence of inputs it must produce
/// one sequence of effects: no ambient time, no thread RNG, no order of a hash map.
///
/// Effects may be lost in a crash between the commit and their delivery, so at its first
/// [`settle`](Self::settle) after a restart a protocol emits again whatever it cannot prove done.
///
/// # Example
///
/// ```
/// use std::convert::Infallible;
/// use bytes::Bytes;
/// use peaberry_core::{Effects, Input, Instant, PeerId, Protocol};
///
/// /// Answers each message with the number of messages it has seen, once that number is durable.
/// struct Counter { seen: u64 }
///
/// impl Protocol for Counter {
///     type Command = ();
///     type Event = u64;
///     type Error = Infallible;
///
///     fn step(&mut self, _now: Instant, input: Input<()>, fx: &mut Effects<'_, u64>) -> Result<(), Infallible> {
///         if let Input::Message(message) = input {
///             self.seen += 1;
///             fx.batch().put(b"seen", &self.seen.to_be_bytes());
///             fx.send_after_commit(message.from, Bytes::copy_from_slice(&self.seen.to_be_bytes()));
///             fx.emit_after_commit(self.seen);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Protocol: Send + 'static {
    /// What the application asks of it.
    type Command: Send + 'static;
    /// What it tells the application.
    type Event: Send + 'static;
    /// Why it cannot go on. See [`step`](Self::step).
    type Error: std::error::Error + Send + Sync + 'static;

    /// Takes one input at the time `now`, which never goes back.
    ///
    /// # Errors
    ///
    /// The protocol's own state can no longer be trusted, or its part of the store contradicts it. The node drops
    /// everything the protocol wrote down in this turn, reports the error, and gives it no further input; its
    /// neighbours go on. A peer's misbehaviour is not an error: it is an event that names the peer.
    fn step(
        &mut self,
        now: Instant,
        input: Input<Self::Command>,
        fx: &mut Effects<'_, Self::Event>,
    ) -> Result<(), Self::Error>;

    /// Called once behind the last input of a turn, and once in the first turn after the protocol was added: the place
    /// to merge what the inputs asked for.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, Self::Event>,
    ) -> Result<(), Self::Error> {
        let _ = (now, fx);
        Ok(())
    }

    /// When the protocol wants [`Input::Timeout`], if nothing else happens before. It changes only inside `step` and
    /// `settle`. A deadline in the past is due at once.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// What a [`Protocol`] reacts to.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a protocol decides about every input; a new one must be looked at"
)]
pub enum Input<C> {
    /// A commit this protocol asked about with [`Effects::notify_committed`] is durable, and so is every one before.
    /// Exactly once for each, in order.
    Committed(Turn),
    /// The answer to [`Effects::read`].
    Read(ReadId, Result<Vec<Bytes>, StorageError>),
    /// Messages to this peer were refused or probably lost.
    Unreachable(PeerId),
    /// A peer's message. Its bytes are a stranger's: check them.
    Message(Envelope),
    /// The application's wish.
    Command(C),
    /// The [`deadline`](Protocol::deadline) has passed.
    Timeout,
}

/// One turn of a node; turns of a node are numbered upwards from 1 since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn(pub(crate) u64);

impl Turn {
    /// The turn's number; 0 stands before the first turn.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Names a read, in the words of the protocol that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// A protocol's error as a node reports it.
#[derive(Clone)]
pub struct ProtocolFailure(pub(crate) Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Debug for ProtocolFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ProtocolFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for ProtocolFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
