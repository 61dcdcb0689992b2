//! The one function that acts.

mod committer;
mod host;
mod queue;
mod slot;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(feature = "simulation"))]
use self::committer::Committer;
use self::committer::{CommitThread, TURNS_IN_FLIGHT_MAX};
#[cfg(feature = "simulation")]
pub(crate) use self::committer::{Committer, commit_group};
pub use self::host::{NodeTask, NodeThread};
use self::queue::Ready;
pub use self::queue::{Busy, Handle};
use self::slot::{Slot, TypedSlot};
use crate::clock::{Clock, Instant};
use crate::effects::{Outbox, PendingRead};
use crate::mailbox::{Arrived, Mailbox};
use crate::peer::{Channel, PeerId, Peers, ProtocolId};
use crate::protocol::{Protocol, ProtocolFailure, Turn};
use crate::recorder::{Recording, RecordingError};
use crate::signal::Signal;
use crate::storage::{Durability, Storage, StorageError};
use crate::transport::memory::MemoryNetwork;
use crate::transport::{Outgoing, Transport, TransportError};

/// Hosts protocols and performs their effects, all in one turn, one commit, one sync.
///
/// A turn takes every input that is there, lets each protocol concerned [`step`](Protocol::step) and
/// [`settle`](Protocol::settle), and then, in this order and no other:
///
/// 1. sends the messages that need nothing,
/// 2. emits the events that need nothing,
/// 3. commits what all of them wrote, as one batch, synced if anything waits for it,
/// 4. sends and emits what waited.
///
/// So nothing that depends on bytes leaves before those bytes are durable, whatever the protocols do. When a commit
/// fails, what waited for it never leaves and the node [stops](Next::Stopped).
///
/// # Example
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::{Arc, mpsc};
/// use peaberry_core::{
///     Channel, Effects, Input, Instant, MemoryNetwork, MemoryStorage, Next, Node, PeerId, Protocol, ProtocolId,
///     SystemClock,
/// };
///
/// struct Doubler;
/// impl Protocol for Doubler {
///     type Command = u32;
///     type Event = u32;
///     type Error = Infallible;
///     fn step(&mut self, _: Instant, input: Input<u32>, fx: &mut Effects<'_, u32>) -> Result<(), Infallible> {
///         if let Input::Command(number) = input {
///             fx.emit(number * 2);
///         }
///         Ok(())
///     }
/// }
///
/// let transport = MemoryNetwork::new().join(PeerId::new(1).unwrap());
/// let mut node = Node::new(Arc::new(transport), Arc::new(MemoryStorage::new()), Arc::new(SystemClock::new()));
/// let (events, doubled) = mpsc::channel();
/// let channel = Channel::new(ProtocolId(2000), 0);
/// let doubler = node
///     .add(channel, Doubler, move |batch: &mut Vec<u32>| batch.drain(..).for_each(|event| events.send(event).unwrap()))
///     .unwrap();
///
/// doubler.submit(21).unwrap();
/// assert!(matches!(node.turn(), Next::Sleep(None)));
/// assert_eq!(doubled.recv().unwrap(), 42);
/// ```
pub struct Node {
    transport: Arc<dyn Transport>,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    signal: Arc<Signal>,
    mailbox: Arc<Mailbox>,
    ready: Arc<Ready>,
    report: Box<dyn FnMut(Report) + Send>,
    accept: BTreeMap<ProtocolId, Peers>,
    bound: BTreeSet<ProtocolId>,
    slots: Vec<Box<dyn Slot>>,
    by_channel: BTreeMap<Channel, usize>,
    deadlines: BTreeSet<(Instant, usize)>,
    /// Slots with input for the coming turn.
    touched: Vec<usize>,
    turn: Turn,
    now: Instant,
    outbox: Outbox,
    arrived: Arrived,
    committer: Option<Box<dyn Committer>>,
    in_flight: VecDeque<Waiting>,
    /// Slots whose events wait for this turn's commit.
    emitters: Vec<usize>,
    /// What a commit waited for and has got: kept for its memory.
    spare: Waiting,
    failure: Option<StorageError>,
    linger: Duration,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("local", &self.transport.local())
            .field("turn", &self.turn)
            .field("channels", &self.by_channel.keys())
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

/// What to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever hosts a node handles every case"
)]
pub enum Next {
    /// There is more to do: turn again.
    Again,
    /// Nothing to do until the node is woken, or until the deadline if there is one.
    Sleep(Option<Instant>),
    /// A commit failed, and the node does nothing any more; see [`Node::failure`].
    Stopped,
}

/// What a node tells its operator.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Report {
    /// A protocol failed: what it wrote in that turn was dropped and it gets no further input. Its neighbours go on.
    ProtocolFailed {
        /// Its channel.
        channel: Channel,
        /// Its error.
        error: ProtocolFailure,
    },
    /// A protocol's flight recording has stopped; the protocol goes on without it.
    RecordingStopped {
        /// Its channel.
        channel: Channel,
        /// Why.
        error: Arc<RecordingError>,
    },
    /// A commit or a read failed, and the node has stopped. Nothing that waited for that commit has left.
    StorageFailed {
        /// The store's error.
        error: StorageError,
    },
}

/// Why a protocol could not be added. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The node already hosts a protocol on this channel.
    #[error("channel {channel} is taken: give each group of a protocol its own number")]
    ChannelTaken {
        /// The channel.
        channel: Channel,
    },
    /// The transport refused the binding.
    #[error("could not receive messages for the protocol")]
    Bind(#[from] TransportError),
}

/// What waits for one turn's commit.
#[derive(Debug, Default)]
struct Waiting {
    turn: Turn,
    sends: Vec<Outgoing>,
    emitters: Vec<usize>,
    notify: Vec<Channel>,
    reads: Vec<PendingRead>,
}

impl Node {
    /// A node for protocols that have no peers, such as an outbox: whatever they send is lost. Its own name is peer 1.
    #[must_use]
    pub fn alone(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Self {
        let transport = MemoryNetwork::new().join(PeerId::FIRST);
        Self::new(Arc::new(transport), storage, clock)
    }

    /// A node without protocols that commits inline, on the thread that turns it.
    #[must_use]
    pub fn new(
        transport: Arc<dyn Transport>,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let signal = Arc::new(Signal::new());
        Self {
            mailbox: Arc::new(Mailbox::new(signal.clone())),
            ready: Arc::new(Ready::new(signal.clone())),
            signal,
            report: Box::new(|_| {}),
            accept: BTreeMap::new(),
            bound: BTreeSet::new(),
            slots: Vec::new(),
            by_channel: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            touched: Vec::new(),
            turn: Turn::default(),
            now: clock.now(),
            outbox: Outbox::default(),
            arrived: Arrived::default(),
            committer: None,
            in_flight: VecDeque::new(),
            emitters: Vec::new(),
            spare: Waiting::default(),
            failure: None,
            linger: Duration::ZERO,
            transport,
            storage,
            clock,
        }
    }

    /// Tells `report` of failed protocols and a failed store.
    #[must_use]
    pub fn with_report(mut self, report: impl FnMut(Report) + Send + 'static) -> Self {
        self.report = Box::new(report);
        self
    }

    /// Commits on a thread of its own, so that the next turn runs while the disk syncs.
    ///
    /// Worth it with many writers (about a fifth more throughput at 256 of them); with one it adds a thread hop to each
    /// commit, and a leader whose disk hangs goes on sending heartbeats.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub fn with_commit_thread(mut self) -> std::io::Result<Self> {
        let thread = CommitThread::start(self.storage.clone(), self.signal.clone())?;
        self.committer = Some(Box::new(thread));
        Ok(self)
    }

    /// Commits by what `start` makes of the node's store and signal.
    #[cfg(feature = "simulation")]
    pub(crate) fn with_committer<C: Committer + 'static>(
        mut self,
        start: impl FnOnce(Arc<dyn Storage>, Arc<Signal>) -> C,
    ) -> Self {
        self.committer = Some(Box::new(start(self.storage.clone(), self.signal.clone())));
        self
    }

    /// Lets its host look for input for `linger` after the last before it puts the thread to sleep; zero unless set.
    ///
    /// Waking a sleeping thread may cost ten times what a turn does: with few clients that wait for each other's answers,
    /// some tens of microseconds give twice the rate and half the latency, for as much of a core when there is nothing to
    /// do. A node that only ticks does not linger on a runtime. Leave it at zero on batteries and where cores are dear.
    #[must_use]
    pub const fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Listens, for protocols of this kind added from now on, to `peers` only. Without it to every authenticated peer.
    #[must_use]
    pub fn with_peers(mut self, protocol: ProtocolId, peers: Peers) -> Self {
        self.accept.insert(protocol, peers);
        self
    }

    /// Hosts `protocol` on `channel`. `sink` gets its events in batches, on the thread that turns the node, and empties
    /// the vector it is given; what it leaves is dropped.
    ///
    /// # Errors
    ///
    /// See [`AddError`].
    pub fn add<P: Protocol>(
        &mut self,
        channel: Channel,
        protocol: P,
        sink: impl FnMut(&mut Vec<P::Event>) + Send + 'static,
    ) -> Result<Handle<P::Command>, AddError> {
        self.add_slot(channel, protocol, sink, None)
    }

    /// As [`add`](Self::add), and keeps a flight recording of the protocol's inputs and effects; see
    /// [`recorder`](crate::recorder).
    ///
    /// # Errors
    ///
    /// See [`AddError`].
    pub fn add_recorded<P: Protocol>(
        &mut self,
        channel: Channel,
        protocol: P,
        recording: Recording<P>,
        sink: impl FnMut(&mut Vec<P::Event>) + Send + 'static,
    ) -> Result<Handle<P::Command>, AddError> {
        self.add_slot(channel, protocol, sink, Some(recording))
    }

    fn add_slot<P: Protocol>(
        &mut self,
        channel: Channel,
        protocol: P,
        sink: impl FnMut(&mut Vec<P::Event>) + Send + 'static,
        recording: Option<Recording<P>>,
    ) -> Result<Handle<P::Command>, AddError> {
        if self.by_channel.contains_key(&channel) {
            return Err(AddError::ChannelTaken { channel });
        }
        self.bind(channel.protocol)?;
        let at = self.slots.len();
        let handle = Handle::new(at, self.ready.clone());
        self.slots.push(Box::new(TypedSlot::new(
            channel,
            protocol,
            sink,
            handle.queue(),
            recording,
        )));
        self.by_channel.insert(channel, at);
        self.touch(at);
        Ok(handle)
    }

    fn bind(&mut self, protocol: ProtocolId) -> Result<(), TransportError> {
        if !self.bound.contains(&protocol) {
            let accept = self.accept.get(&protocol).cloned().unwrap_or(Peers::Any);
            self.transport
                .bind(protocol, accept, self.mailbox.clone())?;
            self.bound.insert(protocol);
        }
        Ok(())
    }

    /// Does everything there is to do now; see [`Node`]. Never waits, except for the disk when it commits inline.
    pub fn turn(&mut self) -> Next {
        if self.failure.is_some() {
            return Next::Stopped;
        }
        self.signal.begin();
        if let Err(error) = self.try_turn() {
            self.stop(error);
            return Next::Stopped;
        }
        self.next()
    }

    fn try_turn(&mut self) -> Result<(), StorageError> {
        self.finish_commits()?;
        if self.in_flight.len() >= TURNS_IN_FLIGHT_MAX {
            return Ok(());
        }
        self.now = self.now.max(self.clock.now());
        self.gather();
        self.turn.0 += 1;
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        for &at in &touched {
            self.visit(at);
        }
        self.send();
        for &at in &touched {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.emit();
            }
        }
        self.recycle(touched);
        self.commit()
    }

    /// Hands every input that has come to the slot it is for.
    fn gather(&mut self) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.mailbox.drain(&mut arrived);
        for (peer, channel) in arrived.unreachable.drain(..) {
            self.deliver(channel, |slot| slot.unreachable(peer));
        }
        for message in arrived.messages.drain(..) {
            self.deliver(message.channel, |slot| slot.message(message));
        }
        self.arrived = arrived;

        for at in self.ready.take() {
            self.touch(at);
        }
        while let Some(&(deadline, at)) = self.deadlines.first()
            && deadline <= self.now
        {
            self.deadlines.pop_first();
            if let Some(slot) = self.slots.get_mut(at) {
                slot.timeout();
            }
            self.touch(at);
        }
    }

    /// Gives an input to the slot on `channel`. What is for nobody is dropped: a peer may know groups that we do not.
    fn deliver(&mut self, channel: Channel, give: impl FnOnce(&mut dyn Slot)) {
        if let Some(&at) = self.by_channel.get(&channel)
            && let Some(slot) = self.slots.get_mut(at)
        {
            give(slot.as_mut());
            self.touch(at);
        }
    }

    fn touch(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at)
            && slot.touch()
        {
            self.touched.push(at);
        }
    }

    /// Lets one protocol take all its inputs and settle.
    fn visit(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let before = slot.deadline();
        let mark = self.outbox.mark();
        let outcome = slot.visit(self.now, self.turn, &mut self.outbox);
        let after = slot.deadline();
        if slot.waits_for_commit(self.turn) {
            self.emitters.push(at);
        }
        if let Err(error) = outcome {
            self.outbox.rollback(mark);
            let channel = slot.channel();
            (self.report)(Report::ProtocolFailed { channel, error });
        }
        if let Some(error) = slot.recording_failure() {
            let channel = slot.channel();
            let error = Arc::new(error);
            (self.report)(Report::RecordingStopped { channel, error });
        }
        let has_more = slot.has_more();
        self.reschedule(at, before, after);
        if has_more {
            self.touch(at);
        }
    }

    fn reschedule(&mut self, at: usize, before: Option<Instant>, after: Option<Instant>) {
        // A deadline that fired has left the set; one set again to the same instant must come back.
        if let Some(before) = before
            && Some(before) != after
        {
            self.deadlines.remove(&(before, at));
        }
        if let Some(after) = after {
            self.deadlines.insert((after, at));
        }
    }

    /// Keeps the vector's memory, behind slots that were touched meanwhile.
    fn recycle(&mut self, mut touched: Vec<usize>) {
        touched.clear();
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    /// Sends what needs nothing.
    fn send(&mut self) {
        let mut sends = std::mem::take(&mut self.outbox.sends);
        self.send_batch(&mut sends);
        self.outbox.sends = sends;
    }

    /// Sends `batch`; what the transport refuses comes back to its protocol as unreachable.
    fn send_batch(&mut self, batch: &mut Vec<Outgoing>) {
        if batch.is_empty() {
            return;
        }
        self.transport.send(batch);
        for refused in batch.drain(..) {
            self.deliver(refused.channel, |slot| slot.unreachable(refused.to));
        }
    }

    /// Commits the turn's batch and lets out what waited for it, or leaves both to the commit thread.
    fn commit(&mut self) -> Result<(), StorageError> {
        let nothing_waits = !self.outbox.synced && self.outbox.reads.is_empty();
        if self.outbox.batch.is_empty() && nothing_waits {
            return Ok(());
        }
        let durability = if self.outbox.synced {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        let waiting = self.take_waiting();
        if let Some(committer) = &self.committer {
            committer.submit(std::mem::take(&mut self.outbox.batch), durability);
            self.in_flight.push_back(waiting);
            return Ok(());
        }
        self.storage.commit(&self.outbox.batch, durability)?;
        self.outbox.batch.clear();
        self.finish(waiting)
    }

    /// Swaps what waits out of the outbox, for vectors whose memory served before.
    fn take_waiting(&mut self) -> Waiting {
        self.outbox.synced = false;
        let mut waiting = std::mem::take(&mut self.spare);
        waiting.turn = self.turn;
        std::mem::swap(&mut waiting.sends, &mut self.outbox.sends_after_commit);
        std::mem::swap(&mut waiting.emitters, &mut self.emitters);
        std::mem::swap(&mut waiting.notify, &mut self.outbox.notify);
        std::mem::swap(&mut waiting.reads, &mut self.outbox.reads);
        waiting
    }

    /// Lets out what waited for commits that the commit thread has finished, in order.
    fn finish_commits(&mut self) -> Result<(), StorageError> {
        let Some(committer) = &self.committer else {
            return Ok(());
        };
        let finished = committer.take_finished();
        for outcome in finished {
            outcome?;
            let waiting = self
                .in_flight
                .pop_front()
                .expect("each finished commit was in flight");
            self.finish(waiting)?;
        }
        Ok(())
    }

    /// Lets out what waited for one commit.
    fn finish(&mut self, mut waiting: Waiting) -> Result<(), StorageError> {
        self.send_batch(&mut waiting.sends);
        for at in waiting.emitters.drain(..) {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.emit_after_commit(waiting.turn);
            }
        }
        for channel in waiting.notify.drain(..) {
            self.deliver(channel, |slot| slot.committed(waiting.turn));
        }
        for read in waiting.reads.drain(..) {
            let entries = self.storage.log_read(read.log, read.range, read.bytes_max);
            self.deliver(read.channel, |slot| slot.read(read.id, entries));
        }
        self.spare = waiting;
        Ok(())
    }

    fn next(&self) -> Next {
        if self.failure.is_some() {
            Next::Stopped
        } else if self.in_flight.len() >= TURNS_IN_FLIGHT_MAX {
            Next::Sleep(None)
        } else if self.touched.is_empty() {
            Next::Sleep(self.deadlines.first().map(|&(deadline, _)| deadline))
        } else {
            Next::Again
        }
    }

    /// Takes no more input, and lets nothing out that waited for the failed commit.
    fn stop(&mut self, error: StorageError) {
        self.failure = Some(error.clone());
        for slot in &mut self.slots {
            slot.close();
        }
        (self.report)(Report::StorageFailed { error });
    }

    /// Why the node has stopped, if it has.
    #[must_use]
    pub const fn failure(&self) -> Option<&StorageError> {
        self.failure.as_ref()
    }

    /// The clock its protocols live by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Woken when input arrives, for those who host a node by other means than [`spawn`](Self::spawn) and
    /// [`into_task`](Self::into_task).
    #[must_use]
    pub const fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            slot.close();
        }
    }
}
