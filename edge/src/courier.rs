//! Carries what spools hold to an uplink, and what comes back to the spools. A [`Fleet`](crate::fleet::Fleet) stands on one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use peaberry_core::{Batch, Durability, Instant, Operation, Storage, StorageError};

use crate::error::EdgeError;
use crate::identity::RecordId;
use crate::name::{DeviceId, SiteId};
use crate::payload::{Payload, SinkAck, Wire};
use crate::spool::Spool;
use crate::time::BootClock;
use crate::topic::{Lane, Topic};
use crate::uplink::{AckToken, Message, SubmitError, Uplink, UplinkEvent};

/// The spools of one or many devices, the store they share and the uplink they share: a gateway, or a device of its own.
///
/// Whoever hosts it calls [`turn`](Self::turn) when it is woken and at its [deadline](Self::deadline). All records appended
/// before a turn become durable with one sync, then leave.
pub struct Courier<U> {
    uplink: U,
    spools: Vec<Spool>,
    clocks: Vec<BootClock>,
    devices: BTreeMap<DeviceId, usize>,
    batch: Batch,
    events: Vec<UplinkEvent>,
    /// What is dealt with once the next commit succeeds.
    heard: Vec<AckToken>,
    /// Spools with something staged.
    staged: BTreeSet<usize>,
    /// Spools that may have something to send.
    ready: BTreeSet<usize>,
    /// Spools by when they want to be tended.
    deadlines: BTreeSet<(Instant, usize)>,
    due: Vec<Option<Instant>>,
    /// Records that the uplink would not take for their length, to be reported.
    too_long: Vec<(usize, Arc<str>)>,
    is_up: bool,
}

/// A message for a device that is no acknowledgement of its spool.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The device's index among the courier's.
    pub device: usize,
    /// What it is about.
    pub lane: Lane,
    /// Its bytes: a stranger's.
    pub message: Message,
    /// For [`Courier::acknowledge`], once what it asks for is durable.
    pub token: Option<AckToken>,
}

/// What a turn of a [`Courier`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CourierReport {
    /// Messages for the devices.
    pub inbound: Vec<Inbound>,
    /// Messages that made no sense, with why; they are passed over.
    pub refused: Vec<(Message, EdgeError)>,
    /// Records that the broker will not take while the connection lasts: the device's index, and why.
    pub refused_records: Vec<(usize, Arc<str>)>,
    /// Records that were lost because the disk was full. A gap will tell.
    pub lost_records: u64,
    /// Records handed to the uplink.
    pub sent: u64,
    /// Records that the broker has acknowledged.
    pub accepted: u64,
    /// Whether the uplink went up or down, each time that it did.
    pub links: Vec<bool>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// Everything is durable.
    All,
    /// The disk was full. All but the records that were staged is durable; so many are lost.
    WithoutRecords { lost_records: u64 },
    /// The disk is full, and nothing is durable.
    Nothing { lost_records: u64 },
}

impl Committed {
    pub(crate) const fn lost_records(self) -> u64 {
        match self {
            Self::All => 0,
            Self::WithoutRecords { lost_records } | Self::Nothing { lost_records } => lost_records,
        }
    }
}

/// How often the uplink is asked in one turn.
const POLLS_MAX: u32 = 16;

/// A batch of more is not kept for the next: ten thousand devices may all have something to say, once.
const BATCH_BYTES_KEPT: usize = 16 << 10;

/// Nor is room for so many of the uplink's events.
const EVENTS_KEPT: usize = 256;

impl<U: Uplink> Courier<U> {
    /// A courier for `spools`, which have been opened with `batch` at the time `now`: makes their boot epochs durable. All are
    /// of `site`. With more than one the uplink subscribes to all of the site's devices.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] if the store failed: open them again.
    pub fn new(
        mut uplink: U,
        site: &SiteId,
        mut spools: Vec<Spool>,
        batch: &Batch,
        now: Instant,
        storage: &dyn Storage,
    ) -> Result<Self, EdgeError> {
        begin(&mut spools, batch, storage)?;
        let mut devices = BTreeMap::new();
        for (at, spool) in spools.iter_mut().enumerate() {
            spool.committed();
            spool.set_tag(u32::try_from(at).unwrap_or(u32::MAX));
            devices.insert(spool.device().clone(), at);
        }
        match spools.as_slice() {
            [one] => uplink.subscribe(&Topic::down_filter(site, one.device())),
            _ => uplink.subscribe(&Topic::site_down_filter(site)),
        }
        Ok(Self {
            clocks: spools
                .iter()
                .map(|spool| BootClock::new(spool.boot(), now))
                .collect(),
            due: vec![None; spools.len()],
            uplink,
            devices,
            spools,
            batch: Batch::new(),
            events: Vec::new(),
            heard: Vec::new(),
            staged: BTreeSet::new(),
            ready: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            too_long: Vec::new(),
            is_up: false,
        })
    }

    /// Stages a record of device `device`; it is durable after the next [`turn`](Self::turn).
    ///
    /// # Errors
    ///
    /// Those of [`Spool::append`].
    ///
    /// # Panics
    ///
    /// If there is no such device.
    pub fn append(
        &mut self,
        device: usize,
        now: Instant,
        storage: &dyn Storage,
        payload: Payload,
    ) -> Result<RecordId, EdgeError> {
        let clock = self.clocks.get(device).expect("the device is one of ours");
        let at_ms = clock.at(now).since_boot_ms;
        let spool = self
            .spools
            .get_mut(device)
            .expect("every clock has a spool");
        let appended = spool.append(storage, &mut self.batch, at_ms, payload);
        if spool.is_staged() {
            self.staged.insert(device);
        }
        appended
    }

    /// The spool of device `device`.
    #[must_use]
    pub fn spool(&self, device: usize) -> Option<&Spool> {
        self.spools.get(device)
    }

    /// The index of a device.
    pub(crate) fn find(&self, device: &DeviceId) -> Option<usize> {
        self.devices.get(device).copied()
    }

    /// Whether the uplink is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.is_up
    }

    /// Says that a message from [`CourierReport::inbound`] was dealt with.
    pub fn acknowledge(&mut self, token: AckToken) {
        self.uplink.acknowledge(token);
    }

    /// When [`turn`](Self::turn) wants to be called, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes what the uplink says, commits what is staged, and sends what is durable. `Pending`: the uplink had nothing to
    /// say; the waker of `cx` is woken when it does.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] when the store failed other than by being full; [`EdgeError::Stored`]. Stop: nothing that was
    /// not durable has been sent.
    pub fn turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        storage: &dyn Storage,
    ) -> Result<Poll<CourierReport>, EdgeError> {
        let mut report = CourierReport::default();
        let polled = self.hear(cx, now, storage, &mut report)?;
        self.tend(now, storage)?;
        report.lost_records = self.commit(storage, &Batch::new())?.lost_records();
        self.acknowledge_heard();
        report.sent = self.send(now, storage)?;
        Ok(polled.map(|()| report))
    }

    /// Takes what the uplink says, until it has nothing more to say: only then will it wake us.
    pub(crate) fn hear(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        storage: &dyn Storage,
        report: &mut CourierReport,
    ) -> Result<Poll<()>, EdgeError> {
        report.refused_records.append(&mut self.too_long);
        let mut events = std::mem::take(&mut self.events);
        let mut polls = 0;
        while self.uplink.poll_events(cx, &mut events).is_ready() {
            polls += 1;
            if polls == POLLS_MAX {
                cx.waker().wake_by_ref();
                break;
            }
        }
        for event in events.drain(..) {
            self.take(event, now, storage, report)?;
        }
        if events.capacity() <= EVENTS_KEPT {
            self.events = events;
        }
        Ok(if polls > 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        })
    }

    /// Acknowledges to the broker what was heard and is dealt with: once all of it is durable.
    pub(crate) fn acknowledge_heard(&mut self) {
        for token in self.heard.drain(..) {
            self.uplink.acknowledge(token);
        }
    }

    fn take(
        &mut self,
        event: UplinkEvent,
        now: Instant,
        storage: &dyn Storage,
        report: &mut CourierReport,
    ) -> Result<(), EdgeError> {
        match event {
            UplinkEvent::Up { is_resumed } => {
                self.set_link(true, report);
                for spool in &mut self.spools {
                    spool.up(now, is_resumed);
                }
                self.ready.extend(0..self.spools.len());
                (0..self.spools.len()).for_each(|device| self.schedule(device));
            }
            UplinkEvent::Down { .. } => {
                self.set_link(false, report);
                self.spools.iter_mut().for_each(Spool::down);
            }
            UplinkEvent::Accepted(seq) => {
                report.accepted += 1;
                let device = Spool::tag_of(seq) as usize;
                if let Some(spool) = self.spools.get_mut(device) {
                    spool.accepted(now, seq, storage, &mut self.batch)?;
                    self.touched(device);
                }
            }
            UplinkEvent::Refused { seq, reason } => {
                let device = Spool::tag_of(seq) as usize;
                if let Some(spool) = self.spools.get_mut(device) {
                    spool.refused(seq);
                    report.refused_records.push((device, reason));
                    self.touched(device);
                }
            }
            UplinkEvent::Inbound { message, token } => {
                self.inbound(message, token, now, storage, report)?;
            }
        }
        Ok(())
    }

    fn inbound(
        &mut self,
        message: Message,
        token: Option<AckToken>,
        now: Instant,
        storage: &dyn Storage,
        report: &mut CourierReport,
    ) -> Result<(), EdgeError> {
        let topic = match Topic::parse(&message.topic) {
            Ok(topic) => topic,
            Err(error) => {
                self.heard.extend(token);
                report.refused.push((message, error));
                return Ok(());
            }
        };
        let Some(&device) = self.devices.get(&topic.device) else {
            // Another gateway's.
            self.heard.extend(token);
            return Ok(());
        };
        if topic.lane != Lane::Acks {
            let lane = topic.lane;
            report.inbound.push(Inbound {
                device,
                lane,
                message,
                token,
            });
            return Ok(());
        }
        self.heard.extend(token);
        let Some(spool) = self.spools.get_mut(device) else {
            return Ok(());
        };
        let outcome = SinkAck::decode(&message.payload)
            .and_then(|ack| spool.acknowledged(now, &ack, storage, &mut self.batch));
        // Also where it was refused: that the device must start anew is staged.
        self.touched(device);
        match outcome {
            Err(error @ (EdgeError::Storage { .. } | EdgeError::Stored { .. })) => Err(error),
            Err(error) => {
                report.refused.push((message, error));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn set_link(&mut self, is_up: bool, report: &mut CourierReport) {
        self.is_up = is_up;
        report.links.push(is_up);
    }

    fn touched(&mut self, device: usize) {
        if let Some(spool) = self.spools.get(device) {
            if spool.is_staged() {
                self.staged.insert(device);
            }
            if spool.wants_to_send() {
                self.ready.insert(device);
            }
        }
        self.schedule(device);
    }

    fn schedule(&mut self, device: usize) {
        let next = self.spools.get(device).and_then(Spool::deadline);
        let Some(due) = self.due.get_mut(device) else {
            return;
        };
        if *due == next {
            return;
        }
        if let Some(at) = due.take() {
            self.deadlines.remove(&(at, device));
        }
        *due = next;
        self.deadlines.extend(next.map(|at| (at, device)));
    }

    /// Has spools do what time calls for.
    pub(crate) fn tend(&mut self, now: Instant, storage: &dyn Storage) -> Result<(), EdgeError> {
        while let Some(&(at, device)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.remove(&(at, device));
            if let Some(due) = self.due.get_mut(device) {
                *due = None;
            }
            if let (Some(spool), Some(clock)) =
                (self.spools.get_mut(device), self.clocks.get(device))
            {
                let at_ms = clock.at(now).since_boot_ms;
                spool.tend(now, at_ms, storage, &mut self.batch)?;
            }
            self.touched(device);
        }
        Ok(())
    }

    /// Whether spools have anything to commit.
    pub(crate) fn is_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Makes durable what is staged, and with it the puts and deletions of `state`. Where the disk is full, what spools have
    /// staged is given up and old records make room.
    pub(crate) fn commit(
        &mut self,
        storage: &dyn Storage,
        state: &Batch,
    ) -> Result<Committed, EdgeError> {
        if self.staged.is_empty() && state.is_empty() {
            return Ok(Committed::All);
        }
        match self.try_commit(storage, state) {
            Ok(()) => return Ok(Committed::All),
            Err(StorageError::Full { .. }) => {}
            Err(error) => return Err(not_committed(error)),
        }
        let losers = self.staged.clone();
        let lost_records = self.give_up();
        self.relieve(losers, storage)?;
        match self.try_commit(storage, state) {
            Ok(()) => Ok(Committed::WithoutRecords { lost_records }),
            Err(StorageError::Full { .. }) => {
                self.give_up();
                Ok(Committed::Nothing { lost_records })
            }
            Err(error) => Err(not_committed(error)),
        }
    }

    fn try_commit(&mut self, storage: &dyn Storage, state: &Batch) -> Result<(), StorageError> {
        let must_sync = |device: &usize| self.spools.get(*device).is_some_and(Spool::must_sync);
        let durability = if !state.is_empty() || self.staged.iter().any(must_sync) {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        for operation in state.operations() {
            match operation {
                Operation::Put { key, value } => self.batch.put(key, value),
                Operation::Delete { key } => self.batch.delete(key),
                other => unreachable!("what goes with records puts and deletes, not {other:?}"),
            }
        }
        let outcome = storage.commit(&self.batch, durability);
        if self.batch.bytes() > BATCH_BYTES_KEPT {
            self.batch = Batch::new();
        } else {
            self.batch.clear();
        }
        outcome?;
        for device in std::mem::take(&mut self.staged) {
            if let Some(spool) = self.spools.get_mut(device) {
                spool.committed();
            }
            self.touched(device);
        }
        Ok(())
    }

    /// Nothing that spools have staged is kept. Answers how many records that were.
    fn give_up(&mut self) -> u64 {
        let mut lost = 0;
        for device in std::mem::take(&mut self.staged) {
            if let Some(spool) = self.spools.get_mut(device) {
                lost += spool.aborted();
            }
            self.schedule(device);
        }
        lost
    }

    /// Spools give up old records: those that have just lost new ones or, where these have none, the fullest.
    fn relieve(&mut self, losers: BTreeSet<usize>, storage: &dyn Storage) -> Result<(), EdgeError> {
        for device in losers {
            if let Some(spool) = self.spools.get_mut(device)
                && spool.relieve(storage, &mut self.batch)?
            {
                self.staged.insert(device);
            }
        }
        if self.staged.is_empty() {
            let spools = self.spools.iter_mut().enumerate();
            let fullest = spools
                .filter(|(_, spool)| spool.can_give_up())
                .max_by_key(|(_, spool)| spool.status().bytes);
            if let Some((device, spool)) = fullest {
                spool.relieve(storage, &mut self.batch)?;
                self.staged.insert(device);
            }
        }
        Ok(())
    }

    /// One record of each spool in turn, so that none waits for another's backlog. Answers how many were handed over.
    pub(crate) fn send(&mut self, now: Instant, storage: &dyn Storage) -> Result<u64, EdgeError> {
        let mut sent = 0;
        while !self.ready.is_empty() && self.uplink.room() > 0 {
            for device in std::mem::take(&mut self.ready) {
                let Some(spool) = self.spools.get_mut(device) else {
                    continue;
                };
                if self.uplink.room() == 0 {
                    self.ready.insert(device);
                    continue;
                }
                let Some(outgoing) = spool.next(now, storage)? else {
                    continue;
                };
                match self.uplink.submit(outgoing.seq, outgoing.message) {
                    Ok(()) => {
                        sent += 1;
                        self.ready.insert(device);
                    }
                    Err(error @ SubmitError::TooLong { .. }) => {
                        // What is behind it must not wait for it.
                        spool.too_long(outgoing.seq, storage, &mut self.batch)?;
                        self.too_long.push((device, error.to_string().into()));
                        self.ready.insert(device);
                        if spool.is_staged() {
                            self.staged.insert(device);
                        }
                    }
                    Err(_) => spool.returned(outgoing.seq),
                }
                self.schedule(device);
            }
        }
        Ok(sent)
    }

    /// The uplink, to look at it.
    pub(crate) const fn uplink(&self) -> &U {
        &self.uplink
    }
}

/// Makes the boot epochs in `batch` durable. A device must start also where its disk is full: old records make room.
fn begin(spools: &mut [Spool], batch: &Batch, storage: &dyn Storage) -> Result<(), EdgeError> {
    match storage.commit(batch, Durability::Synced) {
        Err(StorageError::Full { .. }) => {}
        outcome => return outcome.map_err(not_committed),
    }
    let mut batch = batch.clone();
    for spool in spools {
        spool.relieve(storage, &mut batch)?;
    }
    let outcome = storage.commit(&batch, Durability::Synced);
    outcome.map_err(not_committed)
}

const fn not_committed(source: StorageError) -> EdgeError {
    EdgeError::Storage {
        doing: "make spooled records durable",
        source,
    }
}

impl<U> fmt::Debug for Courier<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier")
            .field("devices", &self.spools.len())
            .field("is_up", &self.is_up)
            .finish_non_exhaustive()
    }
}
