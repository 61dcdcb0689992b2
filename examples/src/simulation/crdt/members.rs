//! The members: what they do, and what is done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::future::Future as _;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::simulation::{Boot, BootError, SimulatedStorage, World};
use peaberry_core::{
    Batch, Channel, Clock, Durability, LogId, Node, Order, PeerId, ScanLimit, Storage, Subspace,
};
use peaberry_crdt::protocol::{
    CRDT, Continuity, Mutation, OpenError, Replica, ReplicaEvent, ReplicaHandle, ReplicaOptions,
};
use peaberry_crdt::sync::{Member, Membership, SyncConfig, SyncError};
use peaberry_crdt::{ApplyError, Causal, Dot, Hlc, Lattice, ReplicaId, Tolerance, WriteError};

use super::beside::{Sides, Writes};
use super::calendar::{Latest, Watched, unjustified};
use super::damage::damaging;
use super::document::{Document, Op};
use super::history::History;
use super::passing::Passing;
use super::{peer, reached};
use crate::simulation::{Reached, Run};

type Clocks = (Arc<dyn Clock>, Arc<Mutex<Hlc>>);

/// What the machines' lives share with the harness.
#[derive(Default)]
struct Lives {
    handles: BTreeMap<PeerId, ReplicaHandle<Document>>,
    /// What members have beside the document; nothing in most worlds.
    sides: BTreeMap<PeerId, Sides>,
    last_id: BTreeMap<PeerId, ReplicaId>,
    /// What each member is booted with: the newest membership that its operator has given it.
    memberships: BTreeMap<PeerId, Membership>,
    /// What each machine's calendar shows, and the clock that its writes are stamped by, in its present life.
    clocks: BTreeMap<PeerId, Clocks>,
    /// What each machine's calendar has shown.
    latest: BTreeMap<PeerId, Latest>,
    /// Members whose store was exchanged for an older one: nobody vouches for them any more.
    restored: BTreeSet<PeerId>,
    /// What each tolerates that boots.
    tolerance: Tolerance,
}

/// What a store had of one document once.
struct Backup {
    channel: Channel,
    keys: Vec<(Bytes, Bytes)>,
    log_start: u64,
    log: Vec<Bytes>,
}

/// What kind of a world it is.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// The shipped store on files that tear, or one in memory.
    pub(super) on_files: bool,
    /// A text and a stock beside the document.
    pub(super) has_sides: bool,
    /// Peers pass on each write's delta as they make it.
    pub(super) is_passed_on: bool,
    /// How many dots a document may hold, where that is few.
    pub(super) dots_max: Option<usize>,
}

pub(super) struct Members {
    rng: fastrand::Rng,
    kind: Kind,
    lives: Arc<Mutex<Lives>>,
    history: Arc<Mutex<History>>,
    reached: Arc<Mutex<Reached>>,
    damage: Arc<AtomicBool>,
    membership: Membership,
    /// All memberships before.
    past: Vec<Membership>,
    evicted: Option<PeerId>,
    backups: BTreeMap<PeerId, Vec<Backup>>,
    pending: Vec<(PeerId, Mutation<Option<Dot>>)>,
    /// Events whose writer was told that they are durable.
    answered: Vec<(PeerId, Dot)>,
    operations: u64,
    passing: Option<Passing>,
    beside: Option<Beside>,
}

/// What is done with what members have beside the document.
struct Beside {
    writes: Writes,
    rng: fastrand::Rng,
}

impl Members {
    pub(super) fn new(world: &mut World, rng: fastrand::Rng, count: u64, kind: Kind) -> Self {
        let is_passed_on = kind.is_passed_on;
        let members = (1..=count).map(|id| member(peer(id)));
        // Of its own, so that the other worlds are what they were.
        let rng_of_passing = rng.clone().fork();
        let mut it = Self {
            rng,
            kind,
            lives: Arc::default(),
            history: Arc::default(),
            reached: Arc::new(Mutex::new(reached::none())),
            damage: Arc::new(AtomicBool::new(true)),
            membership: Membership::new(members),
            past: Vec::new(),
            evicted: None,
            backups: BTreeMap::new(),
            pending: Vec::new(),
            answered: Vec::new(),
            operations: 0,
            beside: kind.has_sides.then(|| Beside {
                writes: Writes::default(),
                rng: rng_of_passing.clone(),
            }),
            passing: is_passed_on.then(|| Passing::new(rng_of_passing)),
        };
        it.history.lock().is_passed_on = is_passed_on;
        for id in 1..=count {
            it.add(world, peer(id));
        }
        it
    }

    fn add(&mut self, world: &mut World, at: PeerId) {
        self.lives
            .lock()
            .memberships
            .insert(at, self.membership.clone());
        let (lives, reached, history) = (
            self.lives.clone(),
            self.reached.clone(),
            self.history.clone(),
        );
        let (damage, kind) = (self.damage.clone(), self.kind);
        world.add(at, move |boot| {
            let node = boot_member(boot, kind, &lives, &reached, &damage, &history);
            node.inspect_err(|error| {
                if let Some(damage) = damage_of(error) {
                    history.lock().complain(damage);
                }
            })
        });
    }

    /// Does one thing: mostly a write.
    pub(super) fn act(&mut self, world: &mut World) {
        let Some(at) = self.rng.choice(world.peers().collect::<Vec<_>>()) else {
            return;
        };
        match self.rng.u8(..40) {
            0..2 => self.back_up(world, at),
            2..5 => self.restore(world, at),
            5 => self.close(world, at),
            6 if self.evicted.is_none() => self.evict(at),
            7 if self.evicted.is_some() => self.come_back(world),
            _ => self.write(world, at),
        }
        self.pass_on(world);
        self.write_beside(world);
        self.hear_answers();
    }

    /// Has somebody write a text or a stock.
    fn write_beside(&mut self, world: &World) {
        let Some(Beside { writes, rng }) = &mut self.beside else {
            return;
        };
        let running = world.peers().filter(|at| world.is_running(*at));
        let Some(at) = rng.choice(running.collect::<Vec<_>>()) else {
            return;
        };
        if let Some(sides) = self.lives.lock().sides.get(&at) {
            writes.ask(at, sides, rng);
        }
    }

    /// What `at` had answered for does not hold any more.
    fn forget_answers(&mut self, at: PeerId) {
        self.answered.retain(|(writer, _)| *writer != at);
        self.pending.retain(|(writer, _)| *writer != at);
        if let Some(beside) = &mut self.beside {
            beside.writes.forget(at);
        }
    }

    /// Lets single writes' deltas arrive that were passed on, in whatever order.
    fn pass_on(&mut self, world: &World) {
        let Some(mut passing) = self.passing.take() else {
            return;
        };
        let peers = world.peers().collect::<Vec<_>>();
        for (from, to, delta) in passing.arrivals(world.now(), &peers) {
            let is_in = |peer| self.evicted != Some(peer);
            if !is_in(from) || !is_in(to) {
                continue;
            }
            let Some(handle) = self.handle(world, to) else {
                continue;
            };
            let (history, reached) = (self.history.clone(), self.reached.clone());
            let mutation = handle.mutate(move |doc: &mut Document, _| {
                match doc.apply(&delta) {
                    Ok(_) => reached.lock().mark(reached::PASSED_ON),
                    Err(ApplyError::Gap { .. }) => reached.lock().mark(reached::GAP),
                    Err(error) => {
                        let complaint = format!("{to} refuses a delta: {error}");
                        history.lock().complain(complaint);
                    }
                }
                None
            });
            self.pending.push((to, mutation));
        }
        self.passing = Some(passing);
    }

    fn handle(&self, world: &World, at: PeerId) -> Option<ReplicaHandle<Document>> {
        world
            .is_running(at)
            .then(|| self.lives.lock().handles.get(&at).cloned())?
    }

    fn write(&mut self, world: &World, at: PeerId) {
        let Some(handle) = self.handle(world, at) else {
            return;
        };
        if self.evicted == Some(at) {
            self.reached.lock().mark(reached::LATE_WRITE);
        }
        let clocks = self.lives.lock().clocks.get(&at).cloned();
        let Some((calendar, clock)) = clocks else {
            return;
        };
        let wall_ms = wall_ms_of(calendar.as_ref());
        let (mut rng, history) = (self.rng.fork(), self.history.clone());
        let (reached, is_bounded) = (self.reached.clone(), self.kind.dots_max.is_some());
        let outbox = self.passing.as_ref().map(Passing::outbox);
        let mutation = handle.mutate(move |doc: &mut Document, writer| {
            let seen = doc.vector().clone();
            let mut op = Op::draw(doc.value(), &mut clock.lock(), wall_ms, &mut rng);
            if is_bounded {
                op = op.that_can_be_removed();
            }
            let delta = doc.write(writer, |shop, mint| op.edit(shop, mint));
            match delta {
                Ok(delta) if !delta.is_empty() => {
                    let counter = seen.get(writer.replica()) + 1;
                    let dot = Dot::new(writer.replica(), counter).expect("above zero");
                    history.lock().record(dot, op, seen);
                    if let Some(outbox) = outbox {
                        outbox.lock().push((at, delta));
                    }
                    Some(dot)
                }
                Ok(_) => None,
                Err(error) => {
                    match error {
                        // Its clock was ahead, and was set back, perhaps while this waited for its turn. That is rare: one of
                        // hundreds of worlds.
                        WriteError::FarFuture(far)
                            if unjustified(&far, calendar.as_ref()).is_none() => {}
                        WriteError::Outgrown(_) if is_bounded => {
                            reached.lock().mark(reached::WRITE_WITHOUT_ROOM);
                        }
                        _ => history.lock().complain(format!("a write failed: {error}")),
                    }
                    None
                }
            }
        });
        self.pending.push((at, mutation));
    }

    /// Each member removes whatever can be removed.
    pub(super) fn make_room(&mut self, world: &World) {
        for at in world.peers().collect::<Vec<_>>() {
            let Some(handle) = self.handle(world, at) else {
                continue;
            };
            for op in Op::REMOVALS {
                let history = self.history.clone();
                let mutation = handle.mutate(move |doc: &mut Document, writer| {
                    let seen = doc.vector().clone();
                    let removed = doc.write(writer, |shop, mint| op.edit(shop, mint));
                    match removed {
                        Ok(delta) if delta.is_empty() => None,
                        Ok(_) => {
                            let counter = seen.get(writer.replica()) + 1;
                            let dot = Dot::new(writer.replica(), counter).expect("above zero");
                            history.lock().record(dot, op, seen);
                            Some(dot)
                        }
                        Err(error) => {
                            let complaint = format!("a removal failed: {error}");
                            history.lock().complain(complaint);
                            None
                        }
                    }
                });
                self.pending.push((at, mutation));
            }
        }
        self.hear_answers();
    }

    /// An orderly end, after which the id may be kept.
    fn close(&mut self, world: &mut World, at: PeerId) {
        let Some(handle) = self.handle(world, at) else {
            return;
        };
        drop(handle.close());
        if let Some(sides) = self.lives.lock().sides.get(&at) {
            sides.close();
        }
        world.run_for(Duration::from_millis(20));
        world.kill(at);
        world.run_for(Duration::from_millis(self.rng.u64(1..500)));
        world.restart(at);
    }

    fn back_up(&mut self, world: &World, at: PeerId) {
        if !self.kind.on_files {
            let storage = world.storage(at);
            let channels = [channel()].into_iter().chain(Sides::CHANNELS);
            let backups = channels.map(|channel| Backup::of(&storage, channel));
            self.backups.insert(at, backups.collect());
        }
    }

    fn restore(&mut self, world: &mut World, at: PeerId) {
        if !self.backups.contains_key(&at) {
            return;
        }
        world.kill(at);
        // Whether a commit that failed is there after the restart is unknown: from now on nobody vouches for the store,
        // and what it had told was durable is so at the others only.
        self.lives.lock().restored.insert(at);
        self.forget_answers(at);
        let storage = world.storage(at);
        let mut backups = self.backups.get(&at).into_iter().flatten();
        if backups.all(|backup| backup.restore(&storage)) {
            self.reached.lock().mark(reached::STALE_BACKUP);
        }
        world.restart(at);
    }

    fn evict(&mut self, at: PeerId) {
        let membership = self.membership.without(member(at));
        self.evicted = Some(at);
        self.answered.retain(|(writer, _)| *writer != at);
        self.reached.lock().mark(reached::EVICTED);
        self.publish(membership, None);
    }

    /// A machine takes the place of the evicted one, which is left alone.
    fn come_back(&mut self, world: &mut World) {
        let number = world.peers().map(PeerId::get).max().unwrap_or(0) + 1;
        if number > 6 {
            return;
        }
        // Half of them on the old machine, which starts empty then; half on a new one.
        let number = if self.rng.bool() {
            number
        } else {
            self.evicted.map_or(number, PeerId::get)
        };
        let membership = self.membership.with(member(peer(number)));
        if self.evicted == Some(peer(number)) {
            self.evicted = None;
            self.publish(membership, Some(peer(number)));
            self.forget_answers(peer(number));
            if let Some(passing) = &mut self.passing {
                passing.forget(peer(number));
            }
            world.kill(peer(number));
            world.restart(peer(number));
        } else {
            self.publish(membership, Some(peer(number)));
            self.add(world, peer(number));
        }
        self.reached.lock().mark(reached::REJOINED);
    }

    /// The operator tells the newcomer, if there is one, and one who was in before and stays; the others hear of it from
    /// each other. Whom none of these could tell, because it may know of an epoch only that all of them are strangers to,
    /// he tells too.
    fn publish(&mut self, membership: Membership, newcomer: Option<PeerId>) {
        let before = std::mem::replace(&mut self.membership, membership);
        let members: Vec<PeerId> = self
            .membership
            .iter()
            .map(|(it, _)| peer(it.get()))
            .collect();
        let stay = members
            .iter()
            .copied()
            .filter(|at| Some(*at) != newcomer && before.joined(member(*at)).is_some());
        let first = self.rng.choice(stay.collect::<Vec<_>>());
        self.past.push(before);
        let mut knowing: Vec<PeerId> = first.into_iter().chain(newcomer).collect();
        knowing.iter().for_each(|at| self.give(*at));
        loop {
            let mut others = members.iter().filter(|at| !knowing.contains(at));
            let Some(next) = others.clone().next() else {
                break;
            };
            if let Some(heard) = others.find(|at| self.is_told_by(&knowing, **at)) {
                knowing.push(*heard);
            } else {
                self.reached.lock().mark(reached::TOLD_BY_HAND);
                self.give(*next);
                knowing.push(*next);
            }
        }
    }

    /// Whether a member believes one of `knowing`, whatever epoch it knows by now.
    fn is_told_by(&self, knowing: &[PeerId], at: PeerId) -> bool {
        let lives = self.lives.lock();
        let given = lives.memberships.get(&at).map_or(0, Membership::epoch);
        let mut may_know = self.past.iter().filter(|past| past.epoch() >= given);
        may_know.all(|past| {
            let is_known = |by: &PeerId| past.joined(member(*by)).is_some();
            past.joined(member(at)).is_none() || knowing.iter().any(is_known)
        })
    }

    /// The operator tells one the membership.
    fn give(&self, at: PeerId) {
        let mut lives = self.lives.lock();
        lives.memberships.insert(at, self.membership.clone());
        if let Some(handle) = lives.handles.get(&at) {
            // A machine that is down reads it when it boots.
            let _ = handle.reconfigure(self.membership.clone());
        }
        if let Some(sides) = lives.sides.get(&at) {
            sides.reconfigure(&self.membership);
        }
    }

    fn hear_answers(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let (answered, operations) = (&mut self.answered, &mut self.operations);
        self.pending.retain_mut(
            |(at, mutation)| match Pin::new(mutation).as_mut().poll(&mut cx) {
                Poll::Pending => true,
                Poll::Ready(outcome) => {
                    *operations += u64::from(outcome.is_ok());
                    answered.extend(outcome.ok().flatten().map(|dot| (*at, dot)));
                    false
                }
            },
        );
        if let Some(Beside { writes, .. }) = &mut self.beside {
            let history = &self.history;
            let answers = writes.hear(|complaint| history.lock().complain(complaint));
            *operations += answers;
            if answers > 0 {
                self.reached.lock().mark(reached::WRITTEN_BESIDE);
            }
        }
        if let Some(evicted) = self.evicted {
            self.answered.retain(|(writer, _)| *writer != evicted);
            if let Some(beside) = &mut self.beside {
                beside.writes.forget(evicted);
            }
        }
    }

    /// Looks at what every member shows.
    pub(super) fn look(&self) {
        let handles = self.lives.lock().handles.clone();
        for (at, handle) in handles {
            handle.read(|doc| self.history.lock().check(at, doc));
            self.look_at_stamps(at, &handle);
        }
        for (at, sides) in &self.lives.lock().sides {
            if let Err(error) = sides.check() {
                self.history.lock().complain(format!("at {at} {error}"));
            }
        }
    }

    /// Nothing that a member took, from whom it may be, was far ahead of what its calendar had shown by then. What is passed on
    /// beside the sync it takes as it is, and in the end anything.
    fn look_at_stamps(&self, at: PeerId, handle: &ReplicaHandle<Document>) {
        let lives = self.lives.lock();
        if self.passing.is_some() || lives.tolerance != Tolerance::USUAL {
            return;
        }
        let tolerated_ms = lives.latest.get(&at).map_or(0, Latest::tolerated_ms);
        let held_ms = handle.read(|doc| doc.value().latest_stamp_ms());
        if held_ms.is_some_and(|held_ms| held_ms > tolerated_ms) {
            let complaint = format!("{at} has taken the stamp {held_ms:?}, over {tolerated_ms} ms");
            self.history.lock().complain(complaint);
        }
    }

    /// Links are whole again, and the operator sets back all calendars to the earliest that any shows. What was stamped by
    /// those that ran ahead is in their states, so all are told to tolerate it. The membership nobody is told once more.
    pub(super) fn end_trouble(&self, world: &mut World) {
        self.damage.store(false, Ordering::Relaxed);
        let mut lives = self.lives.lock();
        lives.tolerance = Tolerance::ANYTHING;
        let shown = |clock: &Arc<dyn Clock>| clock.timestamp().as_unix_nanos();
        let calendars = lives.clocks.values().map(|(calendar, _)| shown(calendar));
        let earliest = calendars.min().unwrap_or_default();
        for (at, (calendar, _)) in &lives.clocks {
            let ahead = shown(calendar).saturating_sub(earliest);
            let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
            world.jump_calendar(*at, ahead.saturating_neg());
        }
        for handle in lives.handles.values() {
            // A machine that is down tolerates it from its boot on.
            let _ = handle.tolerate(Tolerance::ANYTHING);
        }
        for sides in lives.sides.values() {
            sides.tolerate(Tolerance::ANYTHING);
        }
    }

    /// The members of the last membership, if all of them are up to it.
    fn current(&self) -> Option<Vec<ReplicaHandle<Document>>> {
        let lives = self.lives.lock();
        self.membership
            .iter()
            .map(|(member, _)| lives.handles.get(&peer(member.get())).cloned())
            .collect()
    }

    pub(super) fn are_settled(&self) -> bool {
        let Some(handles) = self.current() else {
            return false;
        };
        if !self.have_heard(&handles) {
            return false;
        }
        let mut digests = handles
            .iter()
            .map(|handle| handle.read(|doc| doc.vector().digest()));
        let first = digests.next();
        digests.all(|digest| Some(digest) == first) && self.are_sides_settled()
    }

    fn are_sides_settled(&self) -> bool {
        self.beside.is_none()
            || self.with_sides(|sides| {
                let is_level =
                    |pair: &[&Sides]| matches!(pair, [one, other] if one.are_level_with(other));
                sides.windows(2).all(is_level)
                    && sides
                        .iter()
                        .all(|sides| sides.have_heard_of(&self.membership))
            })
    }

    /// Looks at what the members of the last membership have beside the document.
    fn with_sides<R>(&self, look: impl FnOnce(&[&Sides]) -> R) -> R {
        let lives = self.lives.lock();
        let members = self.membership.iter();
        let sides = members.filter_map(|(member, _)| lives.sides.get(&peer(member.get())));
        look(&sides.collect::<Vec<_>>())
    }

    /// What is wrong, in the end, with what there is beside the document.
    fn conclude_sides(&self) {
        let Some(Beside { writes, .. }) = &self.beside else {
            return;
        };
        self.with_sides(|sides| {
            let is_equal =
                |pair: &[&Sides]| matches!(pair, [one, other] if one.are_equal_to(other));
            if !sides.windows(2).all(is_equal) {
                let complaint = "divergence: a text or a stock differs in the end".to_owned();
                self.history.lock().complain(complaint);
            }
            for (at, dot) in sides.iter().flat_map(|sides| writes.lost_at(sides)) {
                let complaint =
                    format!("{at} answered for {dot:?} beside the document, and it is lost");
                self.history.lock().complain(complaint);
            }
        });
    }

    fn have_heard(&self, handles: &[ReplicaHandle<Document>]) -> bool {
        handles
            .iter()
            .all(|handle| handle.membership() == self.membership)
    }

    pub(super) fn conclude(mut self, world: &World) -> Run {
        self.hear_answers();
        self.look();
        let handles = self.current().unwrap_or_default();
        if !self.have_heard(&handles) {
            let complaint = "the membership has not spread in the calm".to_owned();
            self.history.lock().complain(complaint);
        } else if !self.are_settled() {
            let complaint = "divergence: the members did not become equal in the calm".to_owned();
            self.history.lock().complain(complaint);
        }
        let mut bytes = handles
            .iter()
            .map(|handle| handle.read(Document::canonical_bytes));
        let first = bytes.next();
        if self.are_settled() && !bytes.all(|bytes| Some(bytes) == first) {
            let complaint = "divergence: equal states have different bytes".to_owned();
            self.history.lock().complain(complaint);
        }
        for (at, dot) in &self.answered {
            for handle in &handles {
                if !handle.read(|doc| doc.vector().covers(*dot)) {
                    let complaint = format!("{at} answered for {dot:?}, and it is lost");
                    self.history.lock().complain(complaint);
                }
            }
        }
        if self.are_settled() {
            self.conclude_sides();
        }
        Run {
            virtual_time: Duration::from_nanos(world.now().as_nanos()),
            faults: world.faults(),
            own_faults: Reached::default(),
            reached: self.reached.lock().clone(),
            covered: Vec::new(),
            operations: self.operations,
            violations: std::mem::take(&mut self.history.lock().violations),
            unknown: 0,
            trace: world.trace().digest(),
        }
    }
}

fn boot_member(
    boot: &mut Boot,
    kind: Kind,
    lives: &Arc<Mutex<Lives>>,
    reached: &Arc<Mutex<Reached>>,
    damage: &Arc<AtomicBool>,
    history: &Arc<Mutex<History>>,
) -> Result<Node, BootError> {
    let at = boot.peer();
    let storage = if kind.on_files {
        crate::simulation::disk_of(boot)?
    } else {
        boot.storage()
    };
    let fresh = (u128::from(boot.seed()) << 64) | u128::from(at.get());
    let (given, tolerance) = {
        let lives = lives.lock();
        (lives.memberships.get(&at).cloned(), lives.tolerance)
    };
    let membership = given.ok_or("it was given a membership")?;
    let config = SyncConfig::new(member(at), 0, membership, boot.seed());
    let fresh = ReplicaId::new(fresh).ok_or("an id is not zero")?;
    let mut options = ReplicaOptions::new(config, fresh);
    // Small, so that reservations are extended, deltas cut and checkpoints taken all the time.
    options.reservation = 8;
    options.tolerance = tolerance;
    options.sync.part_bytes = 200;
    if let Some(dots_max) = kind.dots_max {
        options.sync.budget.dots_max = dots_max;
    }
    options.sync.idle = Duration::from_millis(400);
    options.sync.retry_max = Duration::from_secs(1);
    if !lives.lock().restored.contains(&at) {
        options.continuity = Continuity::Vouched;
    }
    let of_sides = kind.has_sides.then(|| options.clone());
    let replica = Replica::open(storage.as_ref(), options, Causal::bottom())?;
    let id = replica.replica();
    let rng = fastrand::Rng::with_seed(boot.seed());
    let transport = damaging(boot.transport(), rng, damage.clone(), reached.clone());
    let transport = Arc::new(transport);
    let latest = lives.lock().latest.entry(at).or_default().clone();
    let calendar: Arc<dyn Clock> = Arc::new(Watched::new(boot.clock(), latest));
    let mut node = Node::new(transport, storage.clone(), calendar.clone());
    let (heard, complaints) = (reached.clone(), history.clone());
    let is_bounded = kind.dots_max.is_some();
    let shown = calendar.clone();
    let hear = move |event| tell(&event, is_bounded, &heard, &complaints, shown.as_ref());
    let handle = replica.add_to(&mut node, hear.clone())?;
    let sides = of_sides.map(|options| Sides::open(storage.as_ref(), &options, &mut node, hear));
    let sides = sides.transpose()?;
    let mut lives = lives.lock();
    lives.sides.extend(sides.map(|sides| (at, sides)));
    // Whatever it is told of it has let in.
    let clock = Arc::new(Mutex::new(Hlc::new(0)));
    lives.clocks.insert(at, (calendar, clock));
    if let Some(last) = lives.last_id.insert(at, id) {
        reached.lock().mark(if last == id {
            reached::ID_KEPT
        } else {
            reached::ID_FRESH
        });
    }
    lives.handles.insert(at, handle);
    Ok(node)
}

fn tell(
    event: &ReplicaEvent,
    is_bounded: bool,
    reached: &Mutex<Reached>,
    history: &Mutex<History>,
    calendar: &dyn Clock,
) {
    let name = match event {
        ReplicaEvent::Evicted { .. } => reached::LEARNED_EVICTION,
        ReplicaEvent::Membership(_) => reached::MEMBERSHIP_HEARD,
        ReplicaEvent::Refused(SyncError::NotAMember { .. }) => reached::STRANGER_REFUSED,
        ReplicaEvent::Refused(SyncError::Refused {
            source: ApplyError::FarFuture(far),
            ..
        }) => {
            let mut history = history.lock();
            if let Some(complaint) = unjustified(far, calendar) {
                history.complain(complaint);
            }
            if !history.has_stamp(far.replica, far.stamp_ms) {
                history.complain(format!("a stamp is refused that nobody wrote: {far:?}"));
            }
            reached::FAR_FUTURE
        }
        ReplicaEvent::Refused(SyncError::Refused {
            source: ApplyError::Outgrown(_),
            ..
        }) if is_bounded => reached::DELTA_WITHOUT_ROOM,
        ReplicaEvent::RefusedBy { .. } => reached::TOLD_OF_REFUSAL,
        // All are honest, and a damaged frame is unreadable.
        ReplicaEvent::Refused(
            error @ (SyncError::Malformed { .. } | SyncError::Refused { .. }),
        ) => {
            let complaint = format!("an honest peer is refused: {error}: {:?}", error.source());
            history.lock().complain(complaint);
            return;
        }
        _ => return,
    };
    reached.lock().mark(name);
}

/// What a calendar shows that tells no more than tens of seconds, so that stamps of different members tie.
fn wall_ms_of(calendar: &dyn Clock) -> u64 {
    calendar.timestamp().as_unix_nanos() / 10_000_000_000 * 10_000
}

/// Why a member that does not boot points to a bug.
fn damage_of(error: &BootError) -> Option<String> {
    let is_damage = matches!(
        error.downcast_ref::<OpenError>(),
        Some(OpenError::Damaged(_) | OpenError::Broken(_))
    );
    is_damage
        .then(|| format!("a member does not open its store: {error}"))
        .or_else(|| crate::simulation::damage(error))
}

impl Backup {
    fn of(storage: &SimulatedStorage, channel: Channel) -> Self {
        let log = LogId::new(channel, 0);
        let scan = Subspace::of(channel).scan(
            storage,
            Bound::Unbounded,
            Bound::Unbounded,
            Order::Ascending,
            ScanLimit::count(16),
        );
        let bounds = storage.log_bounds(log).unwrap_or_default();
        Self {
            channel,
            keys: scan.unwrap_or_default(),
            log_start: bounds.start,
            log: storage
                .log_read(log, bounds, usize::MAX)
                .unwrap_or_default(),
        }
    }

    /// Whether the store took it.
    fn restore(&self, storage: &SimulatedStorage) -> bool {
        let (keys, log) = (Subspace::of(self.channel), LogId::new(self.channel, 0));
        let Ok(bounds) = storage.log_bounds(log) else {
            return false;
        };
        let mut batch = Batch::new();
        keys.clear(&mut batch);
        for (key, value) in &self.keys {
            keys.put(&mut batch, key, value);
        }
        // The log goes on at its end: what counts is the order of the entries.
        if bounds.end > bounds.start {
            batch.discard(log, bounds.end);
        }
        let next = bounds.end.max(self.log_start);
        batch.append(log, next, self.log.iter().map(|entry| entry.as_ref()));
        storage.commit(&batch, Durability::Synced).is_ok()
    }
}

const fn channel() -> Channel {
    Channel::new(CRDT, 0)
}

fn member(peer: PeerId) -> Member {
    Member::new(peer.get()).expect("peers are not zero")
}
