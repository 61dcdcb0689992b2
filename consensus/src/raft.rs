//! Raft as a protocol.

mod bounds;
mod config;
mod entry;
mod event;
mod log_store;
mod message;
mod pacemaker;
mod proposals;
mod read_index;
mod recovery;
mod snapshot;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use peaberry_core::mutant::is_planted;
use peaberry_core::{
    Effects, Envelope, Input, Instant, PeerId, Protocol, ReadId, StorageError, Subspace, Turn,
};
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, Ready, SnapshotStatus, StateRole};

pub use self::config::{RAFT, RaftConfig};
pub use self::event::{Misbehaviour, Outcome, RaftCommand, RaftEvent, ReadError, Rejection};
use self::log_store::{LogStore, Position, snapshot_at};
#[doc(hidden)]
pub use self::message::decode_any_raft_bytes;
pub use self::message::raft_message_kind;
use self::message::{RaftMessage, SnapshotAck, SnapshotChunk};
use self::pacemaker::Pacemaker;
use self::proposals::Proposals;
use self::read_index::Reads;
pub use self::recovery::OpenError;
use self::snapshot::{Received, Snapshots};
use crate::state_machine::{Apply, SNAPSHOT_CHUNK_BYTES_MAX, StateMachine};

/// Proposals and queries end as unknown or unavailable when they are older than this many longest election timeouts.
const PATIENCE_ELECTIONS: u64 = 3;

/// The read that brings old log entries; reads of snapshot chunks are named by the peer they are for, from 1.
const READ_LOG: ReadId = ReadId(0);

/// Replicates a [`StateMachine`] by Raft.
///
/// A [`Protocol`] on raft-rs: it owns the log, the snapshots, the completions and the reads, and lets a
/// [`Node`](peaberry_core::Node) do the rest. Pre-vote and check-quorum are on; nothing turns them off, since without
/// them a cluster can stay without a leader for ever.
///
/// What survives what: a completed proposal survives the crash of every replica and the loss of any minority's disks.
/// One seed gives one history. A failed sync stops the node before anything that waited for it has left.
///
/// # Example
///
/// ```
/// use std::sync::{Arc, mpsc};
/// use bytes::Bytes;
/// use peaberry_consensus::{Outcome, RaftCommand, RaftConfig, RaftEvent, RaftGroup};
/// use peaberry_core::{MemoryNetwork, MemoryStorage, Node, PeerId, SystemClock};
/// # use peaberry_consensus::{Apply, Restore, RestoreError, StateMachine};
/// # #[derive(Default)] struct Sum(u64);
/// # impl StateMachine for Sum {
/// #     type Snapshot = std::iter::Once<Bytes>; type Restore = Sum;
/// #     fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes {
/// #         self.0 += u64::from(apply.command[0]); Bytes::copy_from_slice(&self.0.to_be_bytes())
/// #     }
/// #     fn query(&self, _: &[u8]) -> Bytes { Bytes::new() }
/// #     fn snapshot(&self) -> Self::Snapshot { std::iter::once(Bytes::new()) }
/// #     fn begin_restore(&self) -> Sum { Sum(0) }
/// # }
/// # impl Restore for Sum {
/// #     type Machine = Sum;
/// #     fn chunk(&mut self, _: &[u8]) -> Result<(), RestoreError> { Ok(()) }
/// #     fn finish(self) -> Result<Sum, RestoreError> { Ok(self) }
/// # }
///
/// // A group of one, for brevity: it elects itself.
/// let local = PeerId::new(1).unwrap();
/// let storage = Arc::new(MemoryStorage::new());
/// let config = RaftConfig::new(0, local, [local], 0x5eed);
/// let channel = config.channel();
/// let group = RaftGroup::open(config, storage.as_ref(), Sum::default()).unwrap();
///
/// let transport = Arc::new(MemoryNetwork::new().join(local));
/// let mut node = Node::new(transport, storage, Arc::new(SystemClock::new()));
/// let (sender, events) = mpsc::channel();
/// let commands = node
///     .add(channel, group, move |batch: &mut Vec<_>| batch.drain(..).for_each(|event| drop(sender.send(event))))
///     .unwrap();
/// let thread = node.spawn("raft").unwrap();
///
/// while !matches!(events.recv().unwrap(), RaftEvent::Leader { leader: Some(_), .. }) {}
/// commands.submit(RaftCommand::Propose { command: Bytes::from_static(&[42]), token: "mine" }).unwrap();
/// let RaftEvent::Completed { token: "mine", outcome: Outcome::Committed { response, .. } } = events.recv().unwrap()
/// else { panic!("the only replica commits at once") };
/// assert_eq!(response.as_ref(), 42_u64.to_be_bytes());
/// drop(thread);
/// ```
pub struct RaftGroup<S: StateMachine, T> {
    config: RaftConfig,
    space: Subspace,
    raw: RawNode<LogStore>,
    machine: S,
    applied: u64,
    pacemaker: Pacemaker,
    /// Ticks since the start: the group's own count of time.
    tick: u64,
    proposals: Proposals<T>,
    reads: Reads<T>,
    snapshots: Snapshots<S>,
    /// A snapshot that has arrived whole and that raft has yet to accept.
    received: Option<Received<S>>,
    /// Turns whose commit makes readies durable, with the last ready's number.
    persisting: VecDeque<Persisting>,
    /// Bytes that the log has grown by since the last snapshot.
    log_bytes: usize,
    is_fetching: bool,
    /// Term and leader as last told to the application.
    told: (u64, u64),
    /// Whether the founding members still have to be written.
    is_new: bool,
    notices: Vec<Bytes>,
}

/// A commit under way.
#[derive(Clone, Copy, Debug)]
struct Persisting {
    turn: Turn,
    ready: u64,
    /// The index of a snapshot that the commit installs.
    snapshot: Option<u64>,
}

/// Why a group cannot go on. Its node reports it and runs its neighbours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RaftError {
    /// Storage could not be read.
    #[error("could not read the group's log")]
    Storage(#[source] StorageError),
    /// raft-rs found its own state contradictory. Nothing of this turn has left the node.
    #[error("the raft core stopped: {0}")]
    Broken(String),
}

type Fx<'a, 'b, T> = &'a mut Effects<'b, RaftEvent<T>>;

impl<S: StateMachine, T> fmt::Debug for RaftGroup<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftGroup")
            .field("group", &self.config.group)
            .field("local", &self.config.local)
            .field("term", &self.raw.raft.term)
            .field("role", &self.raw.raft.state)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl<S: StateMachine, T: Send + 'static> Protocol for RaftGroup<S, T> {
    type Command = RaftCommand<T>;
    type Event = RaftEvent<T>;
    type Error = RaftError;

    fn step(
        &mut self,
        now: Instant,
        input: Input<RaftCommand<T>>,
        fx: &mut Effects<'_, RaftEvent<T>>,
    ) -> Result<(), RaftError> {
        guarded(|| self.take(now, input, fx))
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, RaftEvent<T>>,
    ) -> Result<(), RaftError> {
        guarded(|| {
            self.pacemaker.start(now);
            self.drive(fx);
            Ok(())
        })
    }

    fn deadline(&self) -> Option<Instant> {
        // A snapshot is written one chunk a turn: the next turn is due at once.
        if self.snapshots.is_taking() {
            Some(Instant::default())
        } else {
            self.pacemaker.deadline()
        }
    }
}

/// Turns a panic of raft-rs into an error of this group, so that its neighbours go on.
fn guarded(act: impl FnOnce() -> Result<(), RaftError>) -> Result<(), RaftError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(RaftError::Broken(
            text.unwrap_or_else(|| "panic without a message".into()),
        ))
    })
}

impl<S: StateMachine, T: Send + 'static> RaftGroup<S, T> {
    fn take(
        &mut self,
        now: Instant,
        input: Input<RaftCommand<T>>,
        fx: Fx<'_, '_, T>,
    ) -> Result<(), RaftError> {
        match input {
            Input::Command(command) => self.command(command, fx),
            Input::Message(envelope) => self.message(&envelope, fx),
            Input::Timeout => {
                if self.pacemaker.is_due(now) {
                    self.tick(fx);
                }
            }
            Input::Committed(turn) => self.committed(turn),
            Input::Read(READ_LOG, entries) => self.log_read(entries.map_err(RaftError::Storage)?),
            Input::Read(ReadId(peer), chunks) => {
                self.chunk_read(peer, chunks.map_err(RaftError::Storage)?, fx);
            }
            Input::Unreachable(peer) => self.raw.report_unreachable(peer.get()),
        }
        self.pacemaker.reseed(&mut self.raw);
        Ok(())
    }

    fn command(&mut self, command: RaftCommand<T>, fx: Fx<'_, '_, T>) {
        match command {
            RaftCommand::Propose { command, token } => {
                let (bytes, bytes_max) = (command.len(), self.config.command_bytes_max);
                if bytes > bytes_max {
                    let outcome = Outcome::Rejected(Rejection::TooLarge { bytes, bytes_max });
                    fx.emit(RaftEvent::Completed { token, outcome });
                } else {
                    self.proposals.push(&command, token);
                }
            }
            RaftCommand::Read { query, token } => {
                if let Err(overloaded) = self.reads.push(query, token, self.tick) {
                    fx.emit(overloaded);
                }
            }
            RaftCommand::ReadStale { query, token } => {
                let answer = Ok(self.machine.query(&query));
                fx.emit(RaftEvent::Answered { token, answer });
            }
        }
    }

    fn message(&mut self, envelope: &Envelope, fx: Fx<'_, '_, T>) {
        if let Err(reason) = self.try_message(envelope, fx) {
            fx.emit(RaftEvent::Misbehaved {
                peer: envelope.from,
                reason,
            });
        }
    }

    fn try_message(&mut self, envelope: &Envelope, fx: Fx<'_, '_, T>) -> Result<(), Misbehaviour> {
        let from = envelope.from;
        if self.raw.raft.prs().get(from.get()).is_none() || from == self.config.local {
            return Err(Misbehaviour::NotAMember);
        }
        match RaftMessage::decode(from, self.config.local, &envelope.payload)? {
            RaftMessage::Raft(message) => self.raft_message(message),
            RaftMessage::SnapshotChunk(chunk) => self.snapshot_chunk(from, &chunk, fx),
            RaftMessage::SnapshotAck(ack) => {
                self.snapshot_ack(from, ack);
                Ok(())
            }
        }
    }

    fn raft_message(&mut self, message: Message) -> Result<(), Misbehaviour> {
        bounds::check(&self.raw, &message)?;
        // An error means that the message came too late to matter: from a finished election, say.
        let _ = self.raw.step(message);
        Ok(())
    }

    fn tick(&mut self, fx: Fx<'_, '_, T>) {
        self.tick += 1;
        self.pacemaker.tick(&mut self.raw);
        let patience = PATIENCE_ELECTIONS * 2 * u64::from(self.config.election_ticks);
        if let Some(before) = self.tick.checked_sub(patience) {
            self.proposals.give_up(before, |event| fx.emit(event));
        }
        self.reads.tick(self.tick, patience, |event| fx.emit(event));
        for peer in self.snapshots.tick_sending(self.tick) {
            self.raw.report_snapshot(peer, SnapshotStatus::Failure);
        }
    }

    /// Tells raft-rs what has become durable.
    fn committed(&mut self, turn: Turn) {
        while let Some(done) = self
            .persisting
            .pop_front_if(|persisting| persisting.turn <= turn)
        {
            self.raw.on_persist_ready(done.ready);
            if let Some(index) = done.snapshot {
                self.raw.advance_apply_to(index);
            }
        }
    }

    fn log_read(&mut self, stored: Vec<Bytes>) {
        self.is_fetching = false;
        let Some((range, _)) = self.raw.store().wanted() else {
            return;
        };
        // Entries that are gone or damaged end the window: raft-rs then asks again, or sends a snapshot.
        let entries = (range.start..)
            .zip(&stored)
            .map_while(|(index, bytes)| entry::decode(index, bytes).ok());
        let entries = entries.collect();
        if let Some(context) = self.raw.mut_store().fetched(entries) {
            self.raw.on_entries_fetched(context);
        }
        self.raw.mut_store().forget_fetched();
    }
}

/// What a turn's inputs led to.
impl<S: StateMachine, T: Send + 'static> RaftGroup<S, T> {
    fn drive(&mut self, fx: Fx<'_, '_, T>) {
        if self.is_new {
            self.found(fx.batch());
        }
        self.proposals
            .flush(&mut self.raw, self.tick, |event| fx.emit(event));
        self.reads.flush(&mut self.raw, self.tick);
        while self.raw.has_ready() {
            self.ready(fx);
        }
        self.release_reads(fx);
        self.received = None;
        self.take_snapshot(fx);
        self.read_ahead(fx);
        self.tell_leader(fx);
        self.pacemaker.reseed(&mut self.raw);
    }

    /// Does what raft-rs asks for, in the order it asks for it.
    fn ready(&mut self, fx: Fx<'_, '_, T>) {
        let mut ready = self.raw.ready();
        for message in ready.take_messages() {
            self.send(&message, fx, false);
        }
        let snapshot = self.install(&ready, fx);
        let must_sync = ready.must_sync();
        self.persist(&mut ready, fx);
        let waits = must_sync || !self.persisting.is_empty();
        for message in ready.take_persisted_messages() {
            self.send(&message, fx, waits);
        }
        let committed = ready.take_committed_entries();
        self.reads.confirm(ready.take_read_states());
        let number = ready.number();
        self.raw.advance_append_async(ready);
        self.persisted_by(number, must_sync, snapshot, fx);
        self.apply(committed, fx);
    }

    /// Writes entries and hard state to the turn's batch.
    fn persist(&mut self, ready: &mut Ready, fx: Fx<'_, '_, T>) {
        let entries = ready.take_entries();
        self.log_bytes += entries.iter().map(entry::cost).sum::<usize>();
        self.raw.mut_store().append(entries, fx.batch());
        // A commit index alone is not worth a write: a restarted replica learns it from the next leader.
        if let Some(hard_state) = ready.hs()
            && ready.must_sync()
        {
            recovery::write_hard_state(&self.space, hard_state, fx.batch());
        }
        if let Some(hard_state) = ready.hs() {
            self.raw.mut_store().set_hard_state(hard_state.clone());
        }
    }

    /// Arranges for raft-rs to hear when ready `number` is durable.
    fn persisted_by(
        &mut self,
        number: u64,
        must_sync: bool,
        snapshot: Option<u64>,
        fx: Fx<'_, '_, T>,
    ) {
        if must_sync {
            let turn = fx.notify_committed();
            self.persisting.push_back(Persisting {
                turn,
                ready: number,
                snapshot,
            });
        } else if let Some(last) = self.persisting.back_mut() {
            // Nothing of its own to wait for, but those before it come first.
            last.ready = number;
        } else {
            self.raw.on_persist_ready(number);
        }
    }

    fn send(&mut self, message: &Message, fx: Fx<'_, '_, T>, after_commit: bool) {
        let Some(to) = PeerId::new(message.to) else {
            return;
        };
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.snapshots.begin_sending(message.to, self.tick);
            return;
        }
        let Some(payload) = message::encode_raft(message) else {
            return;
        };
        if after_commit && !is_planted("send_before_persist") {
            fx.send_after_commit(to, payload);
        } else {
            fx.send(to, payload);
        }
    }

    /// Applies committed entries and ends their proposals.
    fn apply(&mut self, entries: Vec<Entry>, fx: Fx<'_, '_, T>) {
        let Some(last) = entries.last().map(|entry| entry.index) else {
            return;
        };
        for entry in &entries {
            self.apply_entry(entry, fx);
        }
        self.applied = last;
        self.raw.advance_apply_to(last);
        let cache_bytes = self.config.log_cache_bytes;
        self.raw.mut_store().evict(last, cache_bytes);
    }

    fn apply_entry(&mut self, entry: &Entry, fx: Fx<'_, '_, T>) {
        let index = entry.index;
        let at = Position {
            index,
            term: entry.term,
        };
        let tokens = self.proposals.committed(at, |event| fx.emit(event));
        let mut tokens = tokens.into_iter();
        for command in entry::commands(entry) {
            let mut apply = Apply::new(index, command, &mut self.notices, fx.batch());
            let response = self.machine.apply(&mut apply);
            if let Some(token) = tokens.next() {
                let outcome = Outcome::Committed { index, response };
                fx.emit(RaftEvent::Completed { token, outcome });
            }
            for notice in self.notices.drain(..) {
                fx.emit(RaftEvent::Notice { index, notice });
            }
        }
    }

    fn release_reads(&mut self, fx: Fx<'_, '_, T>) {
        let machine = &self.machine;
        self.reads.release(
            self.applied,
            |query| machine.query(query),
            |event| fx.emit(event),
        );
    }

    /// Asks storage for what raft-rs and the transfers want to send next.
    fn read_ahead(&mut self, fx: Fx<'_, '_, T>) {
        if self.raw.raft.state != StateRole::Leader {
            self.snapshots.stop_sending();
        }
        for (peer, log, range) in self.snapshots.reads() {
            fx.read(ReadId(peer), log, range, SNAPSHOT_CHUNK_BYTES_MAX);
        }
        if !self.is_fetching
            && let Some((range, bytes_max)) = self.raw.store().wanted()
        {
            self.is_fetching = true;
            fx.read(READ_LOG, self.raw.store().log(), range, bytes_max);
        }
    }

    fn tell_leader(&mut self, fx: Fx<'_, '_, T>) {
        let (term, leader) = (self.raw.raft.term, self.raw.raft.leader_id);
        if self.told != (term, leader) {
            self.told = (term, leader);
            fx.emit(RaftEvent::Leader {
                term,
                leader: PeerId::new(leader),
            });
        }
    }
}

/// Snapshots.
impl<S: StateMachine, T: Send + 'static> RaftGroup<S, T> {
    /// Begins a snapshot when the log has grown enough; writes a chunk of the one under way.
    fn take_snapshot(&mut self, fx: Fx<'_, '_, T>) {
        if self.log_bytes > self.config.snapshot_log_bytes && !self.snapshots.is_taking() {
            let term = raft::Storage::term(self.raw.store(), self.applied).unwrap_or_default();
            let at = Position {
                index: self.applied,
                term,
            };
            if at.index
                > self
                    .snapshots
                    .current()
                    .map_or(0, |stored| stored.manifest.at.index)
            {
                self.log_bytes = 0;
                let voters = self.voters();
                self.snapshots
                    .begin_taking(&self.machine, at, voters, fx.batch());
            }
        }
        if let Some(at) = self.snapshots.take_chunk(fx.batch()) {
            self.raw.mut_store().compact(at, fx.batch());
            fx.emit_after_commit(RaftEvent::Snapshot {
                index: at.index,
                received: false,
            });
        }
    }

    fn voters(&self) -> Vec<u64> {
        self.config.voters.iter().map(|voter| voter.get()).collect()
    }

    fn snapshot_chunk(
        &mut self,
        from: PeerId,
        chunk: &SnapshotChunk,
        fx: Fx<'_, '_, T>,
    ) -> Result<(), Misbehaviour> {
        if chunk.term < self.raw.raft.term || self.raw.raft.state == StateRole::Leader {
            return Ok(());
        }
        if !chunk.manifest.is_plausible(chunk.term, &self.voters()) {
            let what = "a snapshot of nothing, from the future, or with other members";
            return Err(Misbehaviour::Impossible(what));
        }
        let index = chunk.manifest.at.index;
        let mut ack = SnapshotAck {
            term: chunk.term,
            index,
            next: chunk.manifest.chunks,
        };
        let offered = self.received.as_ref().map(|received| &received.manifest);
        if offered.is_some_and(|offered| *offered != chunk.manifest) {
            // Raft has yet to decide about another one, whose chunks lie where these would go.
            return Ok(());
        }
        if offered.is_none() && index > self.applied {
            let receipt = self.snapshots.receive(&self.machine, chunk, fx.batch())?;
            ack.next = receipt.next;
            if let Some(received) = receipt.received {
                self.snapshot_received(from, chunk.term, received)?;
            }
        }
        fx.send(from, ack.encode());
        Ok(())
    }

    /// Offers a snapshot that has arrived whole to raft, which decides whether it is news.
    fn snapshot_received(
        &mut self,
        from: PeerId,
        term: u64,
        received: Received<S>,
    ) -> Result<(), Misbehaviour> {
        let manifest = &received.manifest;
        let mut message = Message {
            from: from.get(),
            to: self.config.local.get(),
            term,
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgSnapshot);
        message.set_snapshot(snapshot_at(manifest.at, manifest.conf_state()));
        self.received = Some(received);
        self.raft_message(message)
    }

    /// Replaces the state by the snapshot that raft has accepted; answers its index.
    fn install(&mut self, ready: &Ready, fx: Fx<'_, '_, T>) -> Option<u64> {
        let index = ready.snapshot().get_metadata().index;
        if index == 0 {
            return None;
        }
        let received = self
            .received
            .take()
            .expect("raft accepts only a snapshot that has arrived");
        let (at, conf_state) = (received.manifest.at, received.manifest.conf_state());
        self.raw.mut_store().reset(at, conf_state, fx.batch());
        self.machine = self.snapshots.install(received, fx.batch());
        self.applied = at.index;
        self.log_bytes = 0;
        self.proposals.jump(at.index, |event| fx.emit(event));
        fx.emit_after_commit(RaftEvent::Snapshot {
            index: at.index,
            received: true,
        });
        Some(index)
    }

    fn snapshot_ack(&mut self, from: PeerId, ack: SnapshotAck) {
        if ack.term != self.raw.raft.term {
            return;
        }
        if self.snapshots.acknowledged(from.get(), ack, self.tick) {
            self.raw.report_snapshot(from.get(), SnapshotStatus::Finish);
        }
    }

    fn chunk_read(&mut self, peer: u64, chunks: Vec<Bytes>, fx: Fx<'_, '_, T>) {
        let chunk = self
            .snapshots
            .chunk_read(peer, self.raw.raft.term, chunks.into_iter().next());
        if let (Some(chunk), Some(to)) = (chunk, PeerId::new(peer)) {
            fx.send(to, chunk.encode());
        }
    }
}
