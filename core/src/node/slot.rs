use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Instant;
use crate::effects::{Effects, Outbox};
use crate::node::queue::CommandQueue;
use crate::peer::{Channel, PeerId};
use crate::protocol::{Input, Protocol, ProtocolFailure, ReadId, Turn};
use crate::recorder::{Recording, RecordingError};
use crate::storage::StorageError;
use crate::transport::Envelope;

/// How many commands one turn takes for one protocol; the rest is the next turn's. While peers and the disk work on the
/// first of a crowd of commands, the node takes the next, and no crowd holds up its neighbours for long.
const COMMANDS_PER_TURN_MAX: usize = 1024;

/// A place in a node, whatever the protocol in it.
pub(super) trait Slot: Send {
    fn channel(&self) -> Channel;
    /// Marks the slot as having input; `false` if it was marked already.
    fn touch(&mut self) -> bool;
    fn committed(&mut self, turn: Turn);
    fn read(&mut self, id: ReadId, entries: Result<Vec<Bytes>, StorageError>);
    fn unreachable(&mut self, peer: PeerId);
    fn message(&mut self, message: Envelope);
    fn timeout(&mut self);
    fn deadline(&self) -> Option<Instant>;
    /// Steps every input and settles. After an error the slot is closed.
    fn visit(
        &mut self,
        now: Instant,
        turn: Turn,
        outbox: &mut Outbox,
    ) -> Result<(), ProtocolFailure>;
    /// Whether inputs are left over for the next turn.
    fn has_more(&self) -> bool;
    /// Whether events of `turn` wait for its commit.
    fn waits_for_commit(&self, turn: Turn) -> bool;
    fn emit(&mut self);
    /// Emits what waited for the commits of turns up to `turn`.
    fn emit_after_commit(&mut self, turn: Turn);
    fn close(&mut self);
    /// Why the slot's recording has stopped, told once.
    fn recording_failure(&mut self) -> Option<RecordingError>;
}

pub(super) struct TypedSlot<P: Protocol, S> {
    channel: Channel,
    /// `None` once it has failed.
    protocol: Option<P>,
    sink: S,
    queue: Arc<CommandQueue<P::Command>>,
    recording: Option<Box<Recording<P>>>,
    touched: bool,
    inbox: Inbox,
    /// Commands taken from the queue and not yet stepped.
    commands: VecDeque<P::Command>,
    /// Whether commands were left over, here or in the queue.
    has_more: bool,
    events: Vec<P::Event>,
    events_after_commit: Vec<P::Event>,
    waiting: VecDeque<(Turn, P::Event)>,
}

/// What came for a slot since its last visit.
#[derive(Default)]
struct Inbox {
    committed: Vec<Turn>,
    reads: Vec<(ReadId, Result<Vec<Bytes>, StorageError>)>,
    unreachable: Vec<PeerId>,
    messages: Vec<Envelope>,
    timeout: bool,
}

impl<P: Protocol, S> TypedSlot<P, S> {
    pub(super) fn new(
        channel: Channel,
        protocol: P,
        sink: S,
        queue: Arc<CommandQueue<P::Command>>,
        recording: Option<Recording<P>>,
    ) -> Self {
        let recording = recording.map(|mut recording| {
            recording.begin(channel, &protocol);
            Box::new(recording)
        });
        Self {
            channel,
            protocol: Some(protocol),
            sink,
            queue,
            recording,
            touched: false,
            inbox: Inbox::default(),
            commands: VecDeque::new(),
            has_more: false,
            events: Vec::new(),
            events_after_commit: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Steps the inputs in their fixed order and settles.
    fn run(&mut self, now: Instant, turn: Turn, outbox: &mut Outbox) -> Result<(), P::Error> {
        let Some(protocol) = &mut self.protocol else {
            // What still comes for a protocol that has failed must not pile up.
            self.inbox = Inbox::default();
            return Ok(());
        };
        let mut fx = Effects::new(
            outbox,
            &mut self.events,
            &mut self.events_after_commit,
            self.channel,
            turn,
        );
        let mut recording = self.recording.as_deref_mut();
        if let Some(recording) = &mut recording {
            recording.turn(now, turn);
        }
        let mut step = |input| {
            if let Some(recording) = &mut recording {
                recording.input(&input);
            }
            protocol.step(now, input, &mut fx)
        };
        for turn in self.inbox.committed.drain(..) {
            step(Input::Committed(turn))?;
        }
        for (id, entries) in self.inbox.reads.drain(..) {
            step(Input::Read(id, entries))?;
        }
        for peer in self.inbox.unreachable.drain(..) {
            step(Input::Unreachable(peer))?;
        }
        for message in self.inbox.messages.drain(..) {
            step(Input::Message(message))?;
        }
        let count = self.commands.len().min(COMMANDS_PER_TURN_MAX);
        for command in self.commands.drain(..count) {
            step(Input::Command(command))?;
        }
        if std::mem::take(&mut self.inbox.timeout) {
            step(Input::Timeout)?;
        }
        protocol.settle(now, &mut fx)
    }

    fn fail(&mut self, error: P::Error) -> ProtocolFailure {
        if let Some(recording) = &mut self.recording {
            recording.failed(&error);
        }
        self.protocol = None;
        self.inbox = Inbox::default();
        self.commands = VecDeque::new();
        self.has_more = false;
        self.events.clear();
        self.events_after_commit.clear();
        self.queue.close();
        ProtocolFailure(Arc::new(error))
    }
}

impl<P, S> Slot for TypedSlot<P, S>
where
    P: Protocol,
    S: FnMut(&mut Vec<P::Event>) + Send,
{
    fn channel(&self) -> Channel {
        self.channel
    }

    fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.touched, true)
    }

    fn committed(&mut self, turn: Turn) {
        self.inbox.committed.push(turn);
    }

    fn read(&mut self, id: ReadId, entries: Result<Vec<Bytes>, StorageError>) {
        self.inbox.reads.push((id, entries));
    }

    fn unreachable(&mut self, peer: PeerId) {
        if !self.inbox.unreachable.contains(&peer) {
            self.inbox.unreachable.push(peer);
        }
    }

    fn message(&mut self, message: Envelope) {
        self.inbox.messages.push(message);
    }

    fn timeout(&mut self) {
        self.inbox.timeout = true;
    }

    fn deadline(&self) -> Option<Instant> {
        self.protocol.as_ref().and_then(Protocol::deadline)
    }

    fn visit(
        &mut self,
        now: Instant,
        turn: Turn,
        outbox: &mut Outbox,
    ) -> Result<(), ProtocolFailure> {
        self.touched = false;
        // What was left over comes first; the queue keeps what came meanwhile, and its bound.
        let is_behind = !self.commands.is_empty();
        if !is_behind {
            self.queue.drain(&mut self.commands);
        }
        let mark = outbox.mark();
        let outcome = self.run(now, turn, outbox);
        self.has_more = is_behind || !self.commands.is_empty();
        if let Err(error) = outcome {
            return Err(self.fail(error));
        }
        if let (Some(recording), Some(protocol)) = (&mut self.recording, &self.protocol) {
            let events = (self.events.len(), self.events_after_commit.len());
            recording.effects(protocol, outbox, mark, events);
        }
        self.waiting.extend(
            self.events_after_commit
                .drain(..)
                .map(|event| (turn, event)),
        );
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.has_more
    }

    fn waits_for_commit(&self, turn: Turn) -> bool {
        self.waiting.back().is_some_and(|(last, _)| *last == turn)
    }

    fn emit(&mut self) {
        if !self.events.is_empty() {
            (self.sink)(&mut self.events);
            self.events.clear();
        }
    }

    fn emit_after_commit(&mut self, turn: Turn) {
        let ripe = self
            .waiting
            .partition_point(|(waits_for, _)| *waits_for <= turn);
        let mut events: Vec<_> = self.waiting.drain(..ripe).map(|(_, event)| event).collect();
        (self.sink)(&mut events);
    }

    fn close(&mut self) {
        self.queue.close();
    }

    fn recording_failure(&mut self) -> Option<RecordingError> {
        self.recording.as_mut()?.take_failure()
    }
}
