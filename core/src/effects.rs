//! What a protocol wants to happen.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::{Batch, LogId, Mark};
use crate::digest::Digest;
use crate::peer::{Channel, PeerId};
use crate::protocol::{ReadId, Turn};
use crate::transport::Outgoing;

/// Where a protocol writes down what should happen in this turn.
///
/// The node performs it in one order: messages and events that need nothing, then the commit of everything that all
/// protocols of the turn wrote, then the messages and events that waited for it. Whatever waits forces the commit to be
/// synced, together with every buffered one before it.
#[derive(Debug)]
pub struct Effects<'a, E> {
    outbox: &'a mut Outbox,
    events: &'a mut Vec<E>,
    events_after_commit: &'a mut Vec<E>,
    channel: Channel,
    turn: Turn,
}

impl<'a, E> Effects<'a, E> {
    pub(crate) const fn new(
        outbox: &'a mut Outbox,
        events: &'a mut Vec<E>,
        events_after_commit: &'a mut Vec<E>,
        channel: Channel,
        turn: Turn,
    ) -> Self {
        Self {
            outbox,
            events,
            events_after_commit,
            channel,
            turn,
        }
    }

    /// The same turn's effects for a protocol that the present one hosts: it writes into this turn's batch, and its events
    /// come to these two vectors, for its host to pass on: those of the second only behind the commit.
    pub const fn nest<'b, F>(
        &'b mut self,
        events: &'b mut Vec<F>,
        events_after_commit: &'b mut Vec<F>,
    ) -> Effects<'b, F> {
        Effects::new(
            self.outbox,
            events,
            events_after_commit,
            self.channel,
            self.turn,
        )
    }

    /// Sends `payload` on this protocol's channel, without waiting for the commit: for what depends on no new bytes.
    pub fn send(&mut self, to: PeerId, payload: Bytes) {
        self.outbox.sends.push(Outgoing {
            to,
            channel: self.channel,
            payload,
        });
    }

    /// Sends `payload` once everything written so far, in this turn and before, is durable.
    pub fn send_after_commit(&mut self, to: PeerId, payload: Bytes) {
        self.outbox.sends_after_commit.push(Outgoing {
            to,
            channel: self.channel,
            payload,
        });
        self.outbox.synced = true;
    }

    /// Tells the application at once: for what depends on no new bytes.
    pub fn emit(&mut self, event: E) {
        self.events.push(event);
    }

    /// Tells the application once everything written so far, in this turn and before, is durable: for whatever the
    /// outside may act on.
    pub fn emit_after_commit(&mut self, event: E) {
        self.events_after_commit.push(event);
        self.outbox.synced = true;
    }

    /// The turn's batch, shared with the protocols of the same node: keep to your own
    /// [`Subspace`](crate::Subspace) and logs.
    pub const fn batch(&mut self) -> &mut Batch {
        &mut self.outbox.batch
    }

    /// Makes the turn's batch durable although nothing waits for it.
    pub const fn sync(&mut self) {
        self.outbox.synced = true;
    }

    /// Asks for [`Input::Committed`](crate::Input::Committed) with the returned turn, once everything written up to the
    /// end of this turn is durable. Asking twice in one turn is asking once.
    pub fn notify_committed(&mut self) -> Turn {
        if self.outbox.notify.last() != Some(&self.channel) {
            self.outbox.notify.push(self.channel);
        }
        self.outbox.synced = true;
        self.turn
    }

    /// Reads a log's entries off the protocol's path; they come back as [`Input::Read`](crate::Input::Read), as
    /// [`Storage::log_read`](crate::Storage::log_read) finds them after this turn's commit.
    pub fn read(&mut self, id: ReadId, log: LogId, range: Range<u64>, bytes_max: usize) {
        self.outbox.reads.push(PendingRead {
            channel: self.channel,
            id,
            log,
            range,
            bytes_max,
        });
    }

    /// This protocol's channel.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        self.channel
    }
}

/// All that one turn wants done. Reused from turn to turn.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) batch: Batch,
    pub(crate) synced: bool,
    pub(crate) sends: Vec<Outgoing>,
    pub(crate) sends_after_commit: Vec<Outgoing>,
    pub(crate) notify: Vec<Channel>,
    pub(crate) reads: Vec<PendingRead>,
}

#[derive(Debug)]
pub(crate) struct PendingRead {
    pub(crate) channel: Channel,
    pub(crate) id: ReadId,
    pub(crate) log: LogId,
    pub(crate) range: Range<u64>,
    pub(crate) bytes_max: usize,
}

/// A place in an outbox to roll back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxMark {
    batch: Mark,
    synced: bool,
    sends: usize,
    sends_after_commit: usize,
    notify: usize,
    reads: usize,
}

impl Outbox {
    pub(crate) const fn mark(&self) -> OutboxMark {
        OutboxMark {
            batch: self.batch.mark(),
            synced: self.synced,
            sends: self.sends.len(),
            sends_after_commit: self.sends_after_commit.len(),
            notify: self.notify.len(),
            reads: self.reads.len(),
        }
    }

    /// A digest of what was written down after `mark` was taken, the same for the same effects in the same order.
    pub(crate) fn digest_since(&self, mark: OutboxMark) -> u64 {
        let mut digest = Digest::new();
        for (sends, from) in [
            (&self.sends, mark.sends),
            (&self.sends_after_commit, mark.sends_after_commit),
        ] {
            let sends = sends.get(from..).unwrap_or_default();
            digest.number(sends.len() as u64);
            for message in sends {
                digest.number(message.to.get());
                digest.bytes(&message.payload);
            }
        }
        self.batch.feed_since(mark.batch, &mut digest);
        digest.number((self.notify.len() - mark.notify) as u64);
        for read in self.reads.get(mark.reads..).unwrap_or_default() {
            digest.number(read.id.0);
            digest.number(u64::from(read.log.number));
            digest.number(read.range.start);
            digest.number(read.range.end);
            digest.number(read.bytes_max as u64);
        }
        digest.value()
    }

    /// Drops what was written down after `mark` was taken.
    pub(crate) fn rollback(&mut self, mark: OutboxMark) {
        self.batch.rollback(mark.batch);
        self.synced = mark.synced;
        self.sends.truncate(mark.sends);
        self.sends_after_commit.truncate(mark.sends_after_commit);
        self.notify.truncate(mark.notify);
        self.reads.truncate(mark.reads);
    }
}

/// An outbox of one's own, to unit-test a protocol without a node.
///
/// ```
/// # use std::convert::Infallible;
/// # use bytes::Bytes;
/// # use peaberry_core::{Channel, Effects, EffectsBuffer, Input, Instant, PeerId, Protocol, ProtocolId};
/// # struct Greeter;
/// # impl Protocol for Greeter {
/// #     type Command = PeerId; type Event = (); type Error = Infallible;
/// #     fn step(&mut self, _: Instant, input: Input<PeerId>, fx: &mut Effects<'_, ()>) -> Result<(), Infallible> {
/// #         if let Input::Command(peer) = input { fx.send(peer, Bytes::from_static(b"hello")); }
/// #         Ok(())
/// #     }
/// # }
/// let mut buffer = EffectsBuffer::new(Channel::new(ProtocolId(2000), 0));
/// let anna = PeerId::new(1).unwrap();
/// Greeter.step(Instant::default(), Input::Command(anna), &mut buffer.effects()).unwrap();
/// assert_eq!(buffer.sends()[0].payload, "hello");
/// ```
#[derive(Debug)]
pub struct EffectsBuffer<E> {
    outbox: Outbox,
    events: Vec<E>,
    events_after_commit: Vec<E>,
    channel: Channel,
    turn: Turn,
}

impl<E> EffectsBuffer<E> {
    /// Nothing written down yet, for a protocol on `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self {
            outbox: Outbox::default(),
            events: Vec::new(),
            events_after_commit: Vec::new(),
            channel,
            turn: Turn(1),
        }
    }

    /// What to hand to `step` and `settle`.
    pub const fn effects(&mut self) -> Effects<'_, E> {
        Effects::new(
            &mut self.outbox,
            &mut self.events,
            &mut self.events_after_commit,
            self.channel,
            self.turn,
        )
    }

    /// Messages that need nothing.
    #[must_use]
    pub fn sends(&self) -> &[Outgoing] {
        &self.outbox.sends
    }

    /// Messages that wait for the commit.
    #[must_use]
    pub fn sends_after_commit(&self) -> &[Outgoing] {
        &self.outbox.sends_after_commit
    }

    /// Events that need nothing.
    #[must_use]
    pub fn events(&self) -> &[E] {
        &self.events
    }

    /// Events that wait for the commit.
    #[must_use]
    pub fn events_after_commit(&self) -> &[E] {
        &self.events_after_commit
    }

    /// What would be committed.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.outbox.batch
    }

    /// Whether the commit must be synced.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.outbox.synced
    }

    /// Forgets everything and begins the next turn; answers the turn that ended.
    pub fn next_turn(&mut self) -> Turn {
        self.outbox = Outbox::default();
        self.events.clear();
        self.events_after_commit.clear();
        let ended = self.turn;
        self.turn = Turn(ended.0 + 1);
        ended
    }
}
