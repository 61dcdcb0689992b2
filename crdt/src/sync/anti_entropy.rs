use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::config::{ConfigError, SyncConfig};
use super::frame::{self, Hello, Kind, Passage, Session};
use super::membership::{Member, Membership, MembershipError};
use super::outcome::{SyncEvent, Transmit};
use super::peer::{Owed, Part, Peer};
use super::transfer::{Departing, Stage};
use crate::random::Random;
use crate::wire::{IdTable, Message, schema};
use crate::{Lattice, Replicated, VersionVector, mutant};

/// To how many peers a delta of several parts or pieces may be on its way at once. The others wait: these stay in memory.
pub const TRANSFERS_MAX: usize = 2;

/// After so many attempts without an answer a peer gives up its place among them.
const SILENT_ATTEMPTS: u32 = 8;

/// After so many of a part that was not taken, whatever the peer says beside.
const UNTAKEN_ATTEMPTS: u32 = 32;

/// After how many of them the next one is waited for twice as long: a lossy link takes several.
const ATTEMPTS_A_PACE: u32 = 4;

/// How many events a peer is sent without having told what it knows, when others may have told it of them. Asking costs
/// two vectors and a round trip.
const UNASKED_EVENTS_MAX: u64 = 32;

/// How many replica ids a session's table holds at most; later ones are told inside each frame.
pub(super) const TABLE_IDS_MAX: usize = 4096;

/// After how many frames that had to tell ids a new session is begun, whose table has them.
const TOLD_FRAMES_MAX: u32 = 16;

/// One replica's side of the sync with all its peers; see the [module](crate::sync).
///
/// The state stays with the caller, who hands it in, tells of own writes by [`changed`](Self::changed), and makes it
/// durable before what rests on it leaves: the frames of [`poll_transmit`](Self::poll_transmit) speak of the state they
/// are given.
///
/// # Example
///
/// ```
/// use core::time::Duration;
/// use peaberry_crdt::sync::{AntiEntropy, Member, Membership, SyncConfig};
/// use peaberry_crdt::{AddWinsSet, Causal, Lattice, Limits, ReplicaId, Writer};
///
/// type Tags = Causal<AddWinsSet<String>>;
/// let [anna, ben] = [1, 2].map(|number| Member::new(number).unwrap());
/// let sides = [anna, ben].map(|local| {
///     let config = SyncConfig::new(local, 7, Membership::new([anna, ben]), local.get());
///     (AntiEntropy::<Tags>::new(config, Duration::ZERO).unwrap(), Tags::bottom())
/// });
/// let [(mut annas, mut here), (mut bens, mut there)] = sides;
///
/// let mut writer = Writer::new(ReplicaId::new(1).unwrap(), 0, 10);
/// here.write(&mut writer, |tags, mint| Ok(tags.add(mint, "decaf".into()))).unwrap();
/// annas.changed();
///
/// for now in (0..10).map(Duration::from_secs) {
///     while let Some(sent) = annas.poll_transmit(now, &here) {
///         bens.handle(now, anna, &sent.frame, &mut there, &Limits::NONE).unwrap();
///     }
///     while let Some(sent) = bens.poll_transmit(now, &there) {
///         annas.handle(now, ben, &sent.frame, &mut here, &Limits::NONE).unwrap();
///     }
/// }
/// assert_eq!(here, there);
/// assert_eq!(annas.stable(&here), *here.vector());
/// ```
pub struct AntiEntropy<R: Replicated> {
    pub(super) config: SyncConfig,
    random: Random,
    pub(super) session: Session,
    pub(super) peers: BTreeMap<Member, Peer<R::Delta>>,
    pub(super) is_evicted: bool,
    /// Who was refused and is to be told the membership.
    pub(super) strangers: BTreeSet<Member>,
    /// Until when no other of them is told.
    strangers_after: Duration,
    /// Frames that had to tell ids since the session began.
    told_frames: u32,
    stable: VersionVector,
    /// What any peer has told that it knows, of what was known here then.
    pub(super) shown: VersionVector,
    /// The last peer that was served, so that none is passed over.
    served: Option<Member>,
    /// The delta that comes in pieces.
    pub(super) stage: Stage,
}

impl<R: Replicated> fmt::Debug for AntiEntropy<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AntiEntropy")
            .field("local", &self.config.local)
            .field("membership", &self.config.membership)
            .field("is_evicted", &self.is_evicted)
            .finish_non_exhaustive()
    }
}

impl<R: Replicated> AntiEntropy<R> {
    /// A new life at the time `now`, which is measured from any origin and never goes back.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn new(config: SyncConfig, now: Duration) -> Result<Self, ConfigError> {
        config.check()?;
        let mut random = Random::new(config.seed);
        let session = Session {
            number: random.next().max(1),
            table: IdTable::new(),
        };
        let mut side = Self {
            is_evicted: false,
            random,
            session,
            peers: BTreeMap::new(),
            strangers: BTreeSet::new(),
            strangers_after: Duration::ZERO,
            told_frames: 0,
            stable: VersionVector::new(),
            shown: VersionVector::new(),
            served: None,
            stage: Stage::default(),
            config,
        };
        side.admit_members(now);
        Ok(side)
    }

    /// Who takes part, as far as this replica has heard.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.config.membership
    }

    /// Whether this replica was evicted; it sends nothing then.
    #[must_use]
    pub const fn is_evicted(&self) -> bool {
        self.is_evicted
    }

    /// Whether this replica takes part, and nobody else.
    #[cfg(feature = "protocol")]
    pub(crate) fn is_alone(&self) -> bool {
        self.peers.is_empty() && !self.is_evicted
    }

    /// What any peer has told that it knows, in this life of ours.
    #[cfg(feature = "protocol")]
    pub(crate) const fn shown(&self) -> &VersionVector {
        &self.shown
    }

    /// Whether the state has had all that each peer told of that has told anything, and those are more than half of them.
    /// One would not do: it may be as new as we.
    #[cfg(feature = "protocol")]
    pub(crate) fn has_caught_up(&mut self, state: &R) -> bool {
        for peer in self.peers.values_mut().filter(|peer| peer.has_told) {
            peer.is_matched |= peer.known.partial_le(state.vector());
        }
        let matched = self.peers.values().filter(|peer| peer.is_matched).count();
        let is_behind = |peer: &Peer<_>| peer.has_told && !peer.is_matched;
        2 * matched > self.peers.len()
            && !self.peers.values().any(is_behind)
            && !self.shown.is_empty()
    }

    /// Tells that the caller has written to the state.
    pub fn changed(&mut self) {
        for peer in self.peers.values_mut() {
            peer.is_stale = true;
        }
    }

    /// What every member has acknowledged, of what `state` knows: history up to here may be forgotten by
    /// [`Replicated::collect`]. Never goes back within a life, also when a member joins who has acknowledged nothing: such
    /// a one is sent all of the state.
    pub fn stable(&mut self, state: &R) -> VersionVector {
        let known = self.peers.values().map(|peer| &peer.known);
        let now = known.fold(state.vector().clone(), |all, known| all.meet(known));
        self.stable.join(&now);
        self.stable.clone()
    }

    /// Configures a later membership; it spreads by itself to those who know this member. One that is not later changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`MembershipError`]; nothing changed.
    pub fn reconfigure(
        &mut self,
        now: Duration,
        membership: Membership,
    ) -> Result<Option<SyncEvent>, MembershipError> {
        membership.check()?;
        Ok(self.adopt(now, membership))
    }

    /// A membership that was checked holds from now on, if it is a later one.
    pub(super) fn adopt(&mut self, now: Duration, membership: Membership) -> Option<SyncEvent> {
        if membership.epoch() <= self.config.membership.epoch() {
            return None;
        }
        self.config.membership = membership.clone();
        self.admit_members(now);
        for peer in self.peers.values_mut() {
            let hears_us = peer.hears_us && mutant::is_planted("membership_said_once");
            peer.must_hear();
            peer.hears_us = hears_us;
        }
        Some(if self.is_evicted {
            SyncEvent::Evicted(membership)
        } else {
            SyncEvent::Reconfigured(membership)
        })
    }

    fn admit_members(&mut self, now: Duration) {
        let config = &self.config;
        self.is_evicted = config.membership.joined(config.local) != Some(config.joined);
        if self.is_evicted {
            self.peers.clear();
            self.stage = Stage::default();
            return;
        }
        let peers = &mut self.peers;
        peers.retain(|member, peer| config.membership.joined(*member) == Some(peer.joined));
        self.stage.retain(|member| peers.contains_key(&member));
        for (member, joined) in config.membership.iter() {
            if member != config.local {
                peers
                    .entry(member)
                    .or_insert_with(|| Peer::new(joined, now));
            }
        }
    }

    /// When to ask [`poll_transmit`](Self::poll_transmit) again, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self, now: Duration) -> Option<Duration> {
        let are_places_taken = self.in_transfer().count() >= TRANSFERS_MAX;
        let peers = self.peers.values();
        let due = peers.map(|peer| peer.due(now, are_places_taken));
        let strangers = (!self.strangers.is_empty()).then_some(self.strangers_after.max(now));
        due.chain(strangers).min()
    }

    /// The next frame to send; ask until there is none.
    pub fn poll_transmit(&mut self, now: Duration, state: &R) -> Option<Transmit> {
        if self.strangers_after <= now
            && let Some(to) = self.strangers.pop_first()
        {
            self.strangers_after = now + self.config.retry_min / 4;
            let frame = self.hello(to, state);
            return Some(Transmit { to, frame });
        }
        let after = self.served;
        let members: Vec<Member> = self.peers.keys().copied().collect();
        let start = members.partition_point(|member| Some(*member) <= after);
        let (former, latter) = members.split_at(start);
        for &to in latter.iter().chain(former) {
            if let Some(frame) = self.transmit_to(to, now, state) {
                self.served = Some(to);
                return Some(Transmit { to, frame });
            }
        }
        None
    }

    fn transmit_to(&mut self, to: Member, now: Duration, state: &R) -> Option<Vec<u8>> {
        let attempts = self.peers.get(&to)?.attempts;
        let wait = self.wait(attempts);
        let hello_after = now + self.config.retry_min;
        let peer = self.peers.get_mut(&to)?;
        if !peer.is_met() {
            if peer.due(now, false) > now {
                return None;
            }
            peer.attempts = peer.attempts.saturating_add(1);
            peer.retry_at = now + wait;
            peer.hello_after = hello_after;
            return Some(self.hello(to, state));
        }
        if peer.owes_hello {
            peer.hello_after = hello_after;
            return Some(self.hello(to, state));
        }
        if peer.owed == Owed::Nothing {
            return self.transmit_events(to, now, wait, state);
        }
        if peer.untold.is_none() || peer.owed == Owed::VectorReset {
            // All that it would be told is in what is told now; between the frames of a vector, more may have arrived.
            peer.ack = None;
        }
        self.tell_vector(to, state.vector())
    }

    /// Tells the vector that is owed. One that is too long for a frame is told piece by piece: each entry is true by
    /// itself, as an acknowledgement is, and the last piece says that this is all.
    fn tell_vector(&mut self, to: Member, vector: &VersionVector) -> Option<Vec<u8>> {
        let ids_max = self.ids_in_a_frame();
        let peer = self.peers.get_mut(&to)?;
        let owed = core::mem::replace(&mut peer.owed, Owed::Nothing);
        let mut rest = match peer.untold.take() {
            Some(rest) if owed != Owed::VectorReset => rest,
            _ => vector.clone(),
        };
        let slice = take_ids(&mut rest, ids_max);
        let is_last = rest.is_empty();
        let kind = match owed {
            Owed::VectorReset if is_last => Kind::VectorReset,
            Owed::VectorReset => Kind::VectorResetBegun,
            _ if !is_last => Kind::Ack,
            Owed::VectorAsking => Kind::VectorAsking,
            Owed::Vector | Owed::Nothing => Kind::Vector,
        };
        if !is_last {
            peer.untold = Some(rest);
            peer.owed = match owed {
                Owed::VectorAsking => owed,
                _ => Owed::Vector,
            };
        }
        Some(self.write(to, kind, &slice))
    }

    /// How many entries of a vector surely have room in a frame, or ids in a hello: an entry takes up to 29 bytes.
    const fn ids_in_a_frame(&self) -> usize {
        let ids = self.config.part_bytes / 32;
        if ids == 0 { 1 } else { ids }
    }

    fn transmit_events(
        &mut self,
        to: Member,
        now: Duration,
        wait: Duration,
        state: &R,
    ) -> Option<Vec<u8>> {
        self.fill(to, now, state);
        let idle = self.config.idle;
        let jitter = self.random.next();
        let passage = self.passage(to);
        let ids_max = self.ids_in_a_frame();
        let peer = self.peers.get_mut(&to)?;
        if let Some((refused, reason)) = peer.refusal.take() {
            return Some(frame::write(passage, Kind::Refusal, |out| {
                out.extend_from_slice(&refused);
                out.push(reason.number());
            }));
        }
        if let Some(progress) = peer.progress.take() {
            return Some(frame::write(passage, Kind::PieceAck, |out| {
                progress.encode(out)
            }));
        }
        if let Some(mut ack) = peer.ack.take() {
            let slice = take_ids(&mut ack, ids_max);
            peer.ack = (!ack.is_empty()).then_some(ack);
            return Some(self.write(to, Kind::Ack, &slice));
        }
        if !peer.parts.is_empty()
            && (!peer.is_sent || peer.retry_at <= now)
            && let Some(frame) = self.write_part(to, now)
        {
            return Some(frame);
        }
        let peer = self.peers.get_mut(&to)?;
        if peer.ask_at.is_some_and(|at| at <= now) {
            peer.ask_at = Some(now + wait);
            peer.attempts = peer.attempts.saturating_add(1);
            peer.owe(Owed::VectorAsking);
            return self.tell_vector(to, state.vector());
        }
        if peer.digest_at > now {
            return None;
        }
        peer.digest_at = now + idle / 2 + scaled(idle / 2, jitter);
        let digest = state.vector().digest();
        Some(frame::write(passage, Kind::Digest, |out| {
            out.extend_from_slice(&digest)
        }))
    }

    /// The first of the parts for a peer, or the next piece of it if it is too long for a frame.
    fn write_part(&mut self, to: Member, now: Duration) -> Option<Vec<u8>> {
        let passage = self.passage(to);
        let is_full = self.are_places_taken(to);
        let ids_max = self.ids_in_a_frame().min(TABLE_IDS_MAX);
        let peer = self.peers.get(&to)?;
        let attempts = peer.attempts.max(peer.part_attempts / ATTEMPTS_A_PACE);
        let (wait, retry_max) = (self.wait(attempts), self.config.retry_max);
        let part_bytes = self.config.part_bytes;
        let peer = self.peers.get_mut(&to)?;
        let mut tells = false;
        let mut frame = None;
        if let Some(Part::Delta(delta)) = peer.parts.front() {
            let written = frame::write(passage, Kind::Delta, |out| {
                frame::put(delta, &self.session, out);
            });
            if written.len() <= part_bytes.saturating_add(frame::AROUND_BYTES) {
                tells = tells_ids(R::gives(delta), &self.session.table);
                frame = Some(written);
            } else if is_full {
                // To make it again takes a walk over the state: not before a place is free, or rarely.
                peer.drop_parts();
                peer.place_at = now + retry_max;
                return None;
            } else {
                let pieces = Departing::new(R::gives(delta).clone(), delta.to_bytes());
                peer.parts.pop_front();
                peer.parts.push_front(Part::Pieces(pieces));
            }
        }
        if let Some(Part::Pieces(departing)) = peer.parts.front_mut() {
            departing.sent = departing.sent.saturating_add(1);
            frame = Some(frame::write(passage, Kind::Piece, |out| {
                departing.next(part_bytes).encode(out);
            }));
        }
        peer.sent = frame::checksum_of(frame.as_deref().unwrap_or_default());
        peer.is_sent = true;
        peer.retry_at = now + wait;
        peer.attempts = peer.attempts.saturating_add(1);
        peer.part_attempts = peer.part_attempts.saturating_add(1);
        // A full table would be the same in the next session.
        let has_room = self.session.table.len() < ids_max;
        self.told_frames += u32::from(tells && has_room);
        if self.told_frames == TOLD_FRAMES_MAX {
            peer.owes_hello = true;
        }
        frame
    }

    /// To whom more than one frame of a delta is on its way, and who takes it.
    fn in_transfer(&self) -> impl Iterator<Item = Member> + '_ {
        let peers = self.peers.iter();
        let taking = peers.filter(|(_, peer)| peer.is_in_transfer() && !gives_up(peer));
        taking.map(|(member, _)| *member)
    }

    /// Whether others have all places for transfers. Whoever has taken nothing for long gives up its own for it: it is
    /// asked what it knows before anything is made for it again.
    fn are_places_taken(&mut self, but: Member) -> bool {
        let others = self.in_transfer().filter(|member| *member != but);
        if others.count() >= TRANSFERS_MAX {
            return true;
        }
        let peers = self.peers.iter_mut().filter(|(member, _)| **member != but);
        let mut others: Vec<_> = peers.filter(|(_, peer)| peer.is_in_transfer()).collect();
        if others.len() >= TRANSFERS_MAX {
            for (_, peer) in &mut others {
                if gives_up(peer) {
                    peer.drop_parts();
                    peer.is_told = false;
                    peer.hold_until = peer.hold_until.max(peer.retry_at);
                }
            }
        }
        false
    }

    /// Looks what a peer lacks, if anything has happened since.
    fn fill(&mut self, to: Member, now: Duration, state: &R) {
        if !self.lacks(to, now, state) {
            return;
        }
        let is_full = self.are_places_taken(to);
        let (part_bytes, retry_max) = (self.config.part_bytes, self.config.retry_max);
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        if is_full && peer.place_at > now {
            return;
        }
        peer.is_stale = false;
        if !peer.is_told && is_many(&peer.known, state.vector()) {
            peer.ask_at.get_or_insert(now);
            return;
        }
        if !peer.is_proving && !is_full {
            peer.take_parts(now, R::split(state.delta_since(&peer.known), part_bytes));
            return;
        }
        // The first part is of use by itself.
        let bytes_max = peer.narrowed.unwrap_or(part_bytes);
        let part = state.first_part_since(&peer.known, bytes_max);
        let is_whole = |part| {
            let mut then = peer.known.clone();
            then.join(R::gives(part));
            state.vector().partial_le(&then)
        };
        if is_full && !part.as_ref().is_some_and(is_whole) {
            // What follows is made again when there is a place, or after a while.
            peer.place_at = now + retry_max;
        }
        peer.take_parts(now, part);
    }

    /// Whether something has happened since events for a peer were looked for, it lacks some, and none are on their way.
    fn lacks(&mut self, to: Member, now: Duration, state: &R) -> bool {
        let (retry_min, retry_max) = (self.config.retry_min, self.config.retry_max);
        let Some(peer) = self.peers.get_mut(&to) else {
            return false;
        };
        // What changes what it knows, or what there is to know, says so.
        if !peer.is_stale {
            return false;
        }
        let knows_all = state.vector().partial_le(&peer.known);
        if knows_all || peer.knows_what_it_refused() {
            peer.release();
        }
        if knows_all {
            peer.narrowed = None;
        }
        if peer.hold_until > now {
            return false;
        }
        peer.drop_known(R::gives, self.config.part_bytes);
        peer.is_stale = !knows_all && peer.parts.is_empty();
        if peer.is_stale
            && let Some(until) = peer.in_vain.rests_until(now, retry_min, retry_max)
        {
            peer.hold_until = until;
            return false;
        }
        peer.is_stale
    }

    /// How long to wait for an answer after so many attempts.
    fn wait(&mut self, attempts: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempts.min(16)).unwrap_or(1);
        let wait = self
            .config
            .retry_min
            .saturating_mul(factor)
            .min(self.config.retry_max);
        wait / 2 + self.jitter(wait / 2)
    }

    /// A part of `whole`, by chance.
    pub(super) fn jitter(&mut self, whole: Duration) -> Duration {
        scaled(whole, self.random.next())
    }

    fn hello(&mut self, to: Member, state: &R) -> Vec<u8> {
        self.renew_session(state.vector());
        let (mut echo, mut is_heard) = (0, false);
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.owes_hello = false;
            is_heard = peer.hears_us;
            echo = peer.session.as_ref().map_or(0, |session| session.number);
        }
        frame::write_hello(&Hello {
            schema: schema::<R::Delta>(),
            document: self.config.document,
            membership: self.config.membership.clone(),
            joined: self.config.joined,
            session: self.session.number,
            echo,
            is_heard,
            digest: state.vector().digest(),
            ids: self.session.table.as_slice().to_vec(),
        })
    }

    /// Begins a session whose table has the ids that frames had to tell, if that was often.
    fn renew_session(&mut self, vector: &VersionVector) {
        let is_first = self.session.table.is_empty() && !vector.is_empty();
        if !is_first && self.told_frames < TOLD_FRAMES_MAX {
            return;
        }
        self.told_frames = 0;
        let ids = vector
            .iter()
            .map(|(replica, _)| replica)
            .take(self.ids_in_a_frame().min(TABLE_IDS_MAX));
        self.session = Session {
            number: self.random.next().max(1),
            table: ids.collect(),
        };
        self.peers.values_mut().for_each(Peer::must_hear);
    }

    fn passage(&self, to: Member) -> Passage {
        let met = self.peers.get(&to).and_then(|peer| peer.session.as_ref());
        Passage {
            from: self.session.number,
            to: met.map_or(0, |session| session.number),
        }
    }

    fn write<M: Message>(&self, to: Member, kind: Kind, message: &M) -> Vec<u8> {
        frame::write(self.passage(to), kind, |out| {
            frame::put(message, &self.session, out)
        })
    }
}

/// The first entries, taken out.
fn take_ids(rest: &mut VersionVector, ids_max: usize) -> VersionVector {
    if rest.iter().len() <= ids_max {
        return core::mem::take(rest);
    }
    let (mut slice, mut others) = (VersionVector::new(), VersionVector::new());
    for (at, (replica, counter)) in rest.iter().enumerate() {
        let into = if at < ids_max {
            &mut slice
        } else {
            &mut others
        };
        into.raise(replica, counter);
    }
    *rest = others;
    slice
}

/// Whether a frame about these replicas must tell ids that the table lacks.
fn tells_ids(vector: &VersionVector, table: &IdTable) -> bool {
    vector
        .iter()
        .any(|(replica, _)| table.index(replica).is_none())
}

/// Whether the peer has been silent for long, or has taken nothing for longer.
const fn gives_up<D>(peer: &Peer<D>) -> bool {
    peer.attempts >= SILENT_ATTEMPTS || peer.part_attempts >= UNTAKEN_ATTEMPTS
}

/// Whether `known` lacks more of `vector` than is sent without asking.
fn is_many(known: &VersionVector, vector: &VersionVector) -> bool {
    let mut lacking = 0_u64;
    vector.iter().any(|(replica, count)| {
        lacking = lacking.saturating_add(count.saturating_sub(known.get(replica)));
        lacking > UNASKED_EVENTS_MAX
    })
}

/// A part of `whole`, by chance.
fn scaled(whole: Duration, chance: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(
        u64::try_from((u128::from(nanos) * u128::from(chance)) >> 64).unwrap_or(nanos),
    )
}
