//! A durable replica as a [`Protocol`] of `peaberry-core`: [`AntiEntropy`] on a node's transport, its document in the node's
//! store.
//!
//! [`Replica::open`] reads what the store holds, [`Replica::add_to`] hosts it on a node and gives a [`ReplicaHandle`].
//!
//! # What survives
//!
//! - Whatever [`ReplicaHandle::mutate`] has answered for is durable here. Whatever a peer was told, or told us to know, is
//!   too: frames leave behind the commit.
//! - A dot is minted only within a range that was made durable before. At the next start the replica goes on under its
//!   id only if all dots of that range are accounted for, which [`ReplicaHandle::close`] sees to, *and* the caller
//!   vouches that this is the store as it was left ([`Continuity::Vouched`]). Else it takes a fresh id: after a crash,
//!   and after a backup was restored, dots may have been seen outside that the store knows nothing of. A plain counter
//!   mints no dots: vouched for, it keeps its id after a crash too, and a [`BoundedCounter`](crate::BoundedCounter) its
//!   rights.
//! - The document is a checkpoint and a log of deltas, in one batch with the reservation. A checkpoint is taken when the
//!   log has grown to twice its size, so a write costs what it writes, and opening reads about three times the state.
//!
//! ```
//! use std::sync::Arc;
//! use peaberry_core::{MemoryNetwork, MemoryStorage, Node, PeerId, SystemClock};
//! use peaberry_crdt::protocol::{Replica, ReplicaOptions};
//! use peaberry_crdt::sync::{Member, Membership, SyncConfig};
//! use peaberry_crdt::{AddWinsSet, Causal, Lattice, ReplicaId};
//!
//! let bar = PeerId::new(1).unwrap();
//! let storage = Arc::new(MemoryStorage::new());
//! let member = Member::new(1).unwrap();
//! let config = SyncConfig::new(member, 7, Membership::new([member]), 0xBEA4);
//! let options = ReplicaOptions::new(config, ReplicaId::new(0xC0FFEE).unwrap());
//! let replica = Replica::open(storage.as_ref(), options, Causal::<AddWinsSet<String>>::bottom()).unwrap();
//! let transport = Arc::new(MemoryNetwork::new().join(bar));
//! let mut node = Node::new(transport, storage, Arc::new(SystemClock::new()));
//! let tags = replica.add_to(&mut node, |_event| {}).unwrap();
//! let done = tags.mutate(|tags, writer| tags.write(writer, |set, mint| Ok(set.add(mint, "decaf".into()))).map(drop));
//! while node.turn() == peaberry_core::Next::Again {}
//! assert!(tags.read(|tags| tags.value().contains(&"decaf".to_string())));
//! # let _ = done;
//! ```

mod handle;
mod image;
mod options;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::{
    AddError, Channel, Clock, Effects, Envelope, Input, Instant, Node, PeerId, Protocol,
    ProtocolId, Storage, Turn,
};

pub use self::handle::{Changes, Mutation, MutationError, ReplicaHandle};
pub use self::image::OpenError;
#[doc(hidden)]
pub use self::image::decode_any_identity;
pub use self::options::{Continuity, ReplicaOptions};

use self::handle::{Command, Done, Finish, Signals};
use self::image::Image;
use crate::random::Random;
use crate::sync::{AntiEntropy, Member, Membership, Refusal, SyncError, SyncEvent};
use crate::wire::Message;
use crate::{Limits, ReplicaId, Replicated, Tolerance, VersionVector, Writer};

/// The protocol of replicas; the group is the document.
pub const CRDT: ProtocolId = ProtocolId(30);

/// What a replica tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaEvent {
    /// The document has changed, and what it is now is durable.
    Changed,
    /// A peer's frame was refused; the exchange goes on. [`SyncError::Unreadable`] is not told: links damage frames.
    Refused(SyncError),
    /// A peer does not take what this replica has sent it, so what is written here does not reach it: a clock is wrong, or
    /// two replicas have used one id. It is asked again after a while.
    RefusedBy {
        /// Who refuses.
        member: Member,
        /// Why.
        reason: Refusal,
    },
    /// A peer had much made for it that it did not take, several times in succession; it is served more rarely. See
    /// [`SyncEvent::ServedInVain`].
    ServedInVain {
        /// Who.
        member: Member,
    },
    /// There are other members from now on.
    Membership(Membership),
    /// This member is not among them any more, and writes no longer. Once it is made a member again, open it anew:
    /// it starts empty and under a new id.
    Evicted {
        /// The epoch that is without it.
        epoch: u64,
    },
}

/// One durable replica of a document.
pub struct Replica<D: Replicated> {
    channel: Channel,
    doc: Arc<Mutex<D>>,
    signals: Arc<Signals>,
    /// The sync's, for handles to look at.
    membership: Arc<Mutex<Membership>>,
    writer: Writer,
    sync: AntiEntropy<D>,
    image: Image,
    tolerance: Tolerance,
    /// Whether it began empty, in this life or one before, and has not caught up with its peers since.
    is_new: bool,
    /// Whose calendar peers' stamps are held against: the node's, once there is one.
    calendar: Option<Arc<dyn Clock>>,
    reservation: u64,
    /// The reservation that a commit is on its way for.
    reserving: Option<(Turn, u64)>,
    /// What waits for it, each with the dots that it needs.
    waiting: VecDeque<(u64, Finish<D>)>,
    /// What to answer when a turn is durable.
    finished: VecDeque<(Turn, Vec<Done>)>,
    done: Vec<Done>,
    /// The last turn that wrote, until it is durable.
    dirty: Option<Turn>,
    /// What is durable of the document, and will be.
    durable: VersionVector,
    is_closed: bool,
    must_write: bool,
    deadline: Option<Instant>,
}

impl<D: Replicated> std::fmt::Debug for Replica<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("channel", &self.channel)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl<D: Replicated + Message + Send + 'static> Replica<D>
where
    D::Delta: Send,
{
    /// The replica as the store holds it, or a new one that starts as `empty`.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing changed.
    pub fn open(
        storage: &dyn Storage,
        options: ReplicaOptions,
        empty: D,
    ) -> Result<Self, OpenError> {
        let channel = Channel::new(CRDT, options.sync.document);
        let fresh = options.fresh.get();
        let opened = Image::open(storage, channel, &options, empty)?;
        let (image, doc, replica, mut config, is_new) = opened;
        // Every life needs another seed, and `fresh` is another in each. Mixed between: who makes it of the same seed would
        // have the one cancel the other.
        config.seed = Random::new(Random::new(config.seed).next() ^ fold(fresh)).next();
        let minted = doc.vector().get(replica);
        let bounds = config.budget.bounds();
        // Whatever the clock says, everything is due.
        let sync = AntiEntropy::new(config, Duration::ZERO)?;
        // Who is alone knows all that there is.
        let is_new = is_new && !sync.is_alone();
        Ok(Self {
            channel,
            writer: Writer::new(replica, minted, minted).within(bounds),
            membership: Arc::new(Mutex::new(sync.membership().clone())),
            sync,
            is_new,
            durable: doc.vector().clone(),
            doc: Arc::new(Mutex::new(doc)),
            signals: Arc::default(),
            image,
            tolerance: options.tolerance,
            calendar: None,
            reservation: options.reservation.max(2),
            reserving: None,
            waiting: VecDeque::new(),
            finished: VecDeque::new(),
            done: Vec::new(),
            dirty: None,
            is_closed: false,
            must_write: true,
            deadline: None,
        })
    }

    /// Under which id it writes in this life.
    #[must_use]
    pub const fn replica(&self) -> ReplicaId {
        self.writer.replica()
    }

    /// Hosts it on `node`. `tell` is called on the thread that turns the node.
    ///
    /// # Errors
    ///
    /// As [`Node::add`].
    pub fn add_to(
        mut self,
        node: &mut Node,
        mut tell: impl FnMut(ReplicaEvent) + Send + 'static,
    ) -> Result<ReplicaHandle<D>, AddError> {
        let (doc, signals) = (self.doc.clone(), self.signals.clone());
        let (replica, membership) = (self.replica(), self.membership.clone());
        self.calendar = Some(node.clock().clone());
        let commands = node.add(self.channel, self, move |events: &mut Vec<ReplicaEvent>| {
            events.drain(..).for_each(&mut tell);
        })?;
        Ok(ReplicaHandle::new(
            commands, doc, signals, membership, replica,
        ))
    }

    fn command(&mut self, now: Instant, command: Command<D>, fx: &mut Effects<'_, ReplicaEvent>) {
        match command {
            Command::Mutate(dots, mutate) => self.waiting.push_back((dots, mutate)),
            Command::Tolerate(tolerance) => self.tolerance = tolerance,
            Command::Membership(membership) => {
                // The handle has checked it.
                if let Ok(Some(event)) = self.sync.reconfigure(time_of(now), membership) {
                    self.is_new &= !self.sync.is_alone();
                    self.tell(event, fx);
                }
            }
            Command::Close(done) => {
                self.is_closed = true;
                self.must_write = true;
                self.done.push(done);
            }
        }
    }

    fn tell(&mut self, event: SyncEvent, fx: &mut Effects<'_, ReplicaEvent>) {
        let event = match event {
            SyncEvent::Reconfigured(membership) => ReplicaEvent::Membership(membership),
            SyncEvent::Evicted(membership) => ReplicaEvent::Evicted {
                epoch: membership.epoch(),
            },
            SyncEvent::RefusedBy { member, reason } => {
                fx.emit(ReplicaEvent::RefusedBy { member, reason });
                return;
            }
            SyncEvent::ServedInVain { member } => {
                fx.emit(ReplicaEvent::ServedInVain { member });
                return;
            }
        };
        self.must_write = true;
        self.membership.lock().clone_from(self.sync.membership());
        fx.emit_after_commit(event);
    }

    /// What a peer's delta may bring now. It decides what is let in, and nothing of what is made of it.
    fn limits(&mut self) -> Limits {
        let mut tolerance = self.tolerance;
        if self.is_new && self.sync.has_caught_up(&*self.doc.lock()) {
            self.is_new = false;
            self.must_write = true;
        }
        if self.is_new {
            // The totals of others have risen for long, and all of that is new here.
            tolerance.advance_max = u64::MAX;
        }
        match &self.calendar {
            Some(calendar) => {
                let wall_ms = calendar.timestamp().as_unix_nanos() / 1_000_000;
                tolerance.at(wall_ms)
            }
            None => Tolerance {
                drift_ms_max: u64::MAX,
                ..tolerance
            }
            .at(0),
        }
    }

    fn message(&mut self, now: Instant, message: &Envelope, fx: &mut Effects<'_, ReplicaEvent>) {
        let from = member_of(message.from);
        let limits = self.limits();
        let received = self.sync.handle(
            time_of(now),
            from,
            &message.payload,
            &mut *self.doc.lock(),
            &limits,
        );
        match received {
            Ok(handled) => {
                if let Some(event) = handled.event {
                    self.tell(event, fx);
                }
            }
            Err(SyncError::Unreadable { .. }) => {}
            Err(refused) => fx.emit(ReplicaEvent::Refused(refused)),
        }
    }

    fn committed(&mut self, turn: Turn) {
        if self.dirty.is_some_and(|dirty| dirty <= turn) {
            self.dirty = None;
            self.durable = self.image.written().clone();
            if self.sync.is_alone() {
                // No peer wakes it, and none has to acknowledge anything.
                self.collect();
            }
        }
        if let Some((_, reserved)) = self.reserving.take_if(|(reserving, _)| *reserving <= turn) {
            self.writer.reserve(reserved);
        }
        while let Some((_, done)) = self.finished.pop_front_if(|(then, _)| *then <= turn) {
            done.into_iter().for_each(|done| done());
        }
    }

    /// Forgets what every member knows. Whatever a peer has acknowledged is durable there; what is not here yet soon is, or
    /// nothing left.
    fn collect(&mut self) {
        let mut doc = self.doc.lock();
        let stable = self.sync.stable(&*doc).meet(&self.durable);
        doc.collect(&stable);
    }

    /// Whether dots are reserved for what comes next.
    fn has_dots(&self) -> bool {
        let needed = self.waiting.front().map_or(0, |(dots, _)| *dots);
        let remaining = self.writer.remaining();
        remaining > self.reservation / 4 && remaining >= needed
    }

    /// Carries out what waits, as far as dots are reserved.
    fn mutate(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let is_refused = self.is_closed || self.sync.is_evicted();
        let limits = self.limits();
        self.writer.tolerate(limits.wall_ms, limits.drift_ms_max);
        self.writer.others_know(self.sync.shown());
        let mut doc = self.doc.lock();
        // Not only own events are new: a mutation may join what the application got in another way.
        let before = doc.vector().clone();
        while is_refused || self.has_dots() {
            let Some((_, mutate)) = self.waiting.pop_front() else {
                break;
            };
            let target = (!is_refused).then_some((&mut *doc, &mut self.writer));
            self.done.push(mutate(target));
        }
        if *doc.vector() != before {
            self.sync.changed();
        }
    }

    /// Writes what is new, with the reservation, as one batch.
    fn write(&mut self, fx: &mut Effects<'_, ReplicaEvent>) {
        let doc = self.doc.lock();
        let minted = doc.vector().get(self.writer.replica());
        let mut reserved = minted.saturating_add(self.writer.remaining());
        let needed = self.waiting.front().map_or(0, |(dots, _)| *dots);
        let wants_more = self.reserving.is_none()
            && !self.is_closed
            && (self.writer.remaining() <= self.reservation / 2
                || self.writer.remaining() < needed);
        if wants_more {
            reserved = minted.saturating_add(self.reservation.max(needed));
        } else if let Some((_, reserving)) = self.reserving {
            reserved = reserving;
        }
        // A counter's totals rise without dots being minted. They must not be taken for all that was reserved.
        reserved = reserved.max(minted.saturating_add(1));
        if self.is_closed {
            reserved = minted;
        }
        let is_changed = doc.vector() != self.image.written();
        if is_changed || wants_more || self.must_write {
            let replica = self.writer.replica();
            let members = self.sync.membership();
            self.image
                .write(fx.batch(), &*doc, replica, reserved, members, self.is_new);
            self.must_write = false;
            let turn = fx.notify_committed();
            self.dirty = Some(turn);
            if wants_more {
                self.reserving = Some((turn, reserved));
            }
        }
        if is_changed {
            fx.emit_after_commit(ReplicaEvent::Changed);
            self.signals.changed();
        }
        if self.done.is_empty() {
            return;
        }
        // Also what changed nothing is answered behind the commit of what it may have read.
        let turn = fx.notify_committed();
        self.finished
            .push_back((turn, std::mem::take(&mut self.done)));
    }

    fn send(&mut self, now: Instant, fx: &mut Effects<'_, ReplicaEvent>) {
        let doc = self.doc.lock();
        while let Some(frame) = self.sync.poll_transmit(time_of(now), &*doc) {
            let Some(to) = PeerId::new(frame.to.get()) else {
                continue;
            };
            if self.dirty.is_some() {
                fx.send_after_commit(to, Bytes::from(frame.frame));
            } else {
                fx.send(to, Bytes::from(frame.frame));
            }
        }
        let due = self.sync.poll_timeout(time_of(now));
        self.deadline = due.map(|due| Instant::default() + due);
    }
}

impl<D: Replicated + Message + Send + 'static> Protocol for Replica<D>
where
    D::Delta: Send,
{
    type Command = Command<D>;
    type Event = ReplicaEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<Command<D>>,
        fx: &mut Effects<'_, ReplicaEvent>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Command(command) => self.command(now, command, fx),
            Input::Message(message) => self.message(now, &message, fx),
            Input::Committed(turn) => self.committed(turn),
            Input::Timeout => self.collect(),
            // A tick makes up for what was lost.
            Input::Unreachable(_) | Input::Read(..) => {}
        }
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, ReplicaEvent>,
    ) -> Result<(), Infallible> {
        self.mutate();
        self.write(fx);
        self.send(now, fx);
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are in it")]
const fn fold(id: u128) -> u64 {
    (id >> 64) as u64 ^ id as u64
}

/// A peer as a member.
fn member_of(peer: PeerId) -> Member {
    Member::new(peer.get()).expect("neither peers nor members are zero")
}

const fn time_of(now: Instant) -> Duration {
    Duration::from_nanos(now.as_nanos())
}
