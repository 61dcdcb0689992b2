//! Carries what spools hold to their uplinks, and what comes back to the spools. A [`Fleet`](crate::fleet::Fleet) stands on one.

mod commit;
mod lines;
mod syncer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use peaberry_core::{Batch, Instant, Storage};

pub(crate) use self::commit::Committed;
use self::commit::Relief;
use self::lines::Lines;
use self::syncer::Syncer;
use crate::error::EdgeError;
use crate::identity::RecordId;
use crate::name::{DeviceId, SiteId};
use crate::payload::{Gap, Payload, SinkAck, Wire};
use crate::spool::Spool;
use crate::time::BootClock;
use crate::topic::{Lane, Stream, Topic};
use crate::uplink::{AckToken, Message, SubmitError, Uplink, UplinkEvent};

/// The spools of one or many devices, the store they share, and their uplinks: one that all share (a gateway), one for each,
/// or a few.
///
/// Whoever hosts it calls [`turn`](Self::turn) when it is woken and at its [deadline](Self::deadline). All records appended
/// before a turn become durable with one sync, then leave.
pub struct Courier<U> {
    lines: Lines<U>,
    site: SiteId,
    spools: Vec<Spool>,
    clocks: Vec<BootClock>,
    devices: BTreeMap<DeviceId, usize>,
    batch: Batch,
    events: Vec<UplinkEvent>,
    /// Records that were not taken while a sync lasted.
    rejected: BTreeMap<(usize, Stream), Gap>,
    /// What is dealt with once the next commit succeeds.
    heard: Vec<(usize, AckToken)>,
    /// What is to be cut: by device, a sink's acknowledgements.
    acks: Vec<(usize, Message)>,
    /// Spools of which the broker has acknowledged something, in this turn.
    accepted: Vec<usize>,
    /// Those that have not forgotten it yet, and when they do.
    letting_go: BTreeSet<usize>,
    let_go_at: Option<Instant>,
    relief: Relief,
    /// Spools with something staged.
    staged: BTreeSet<usize>,
    /// Syncs beside the turns; `None`: within them.
    syncer: Option<Syncer>,
    /// Spools whose records are written and not synced, and what is dealt with once they are.
    syncing: BTreeSet<usize>,
    heard_syncing: Vec<(usize, AckToken)>,
    /// Spools by when they want to be tended.
    deadlines: BTreeSet<(Instant, usize)>,
    due: Vec<Option<Instant>>,
    /// Records that the uplink would not take for their length, to be reported.
    too_long: Vec<(usize, Arc<str>)>,
    refused_messages: u64,
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
    /// By which uplink it came.
    pub uplink: usize,
    /// For [`Courier::acknowledge`], with the uplink, once what it asks for is durable.
    pub token: Option<AckToken>,
}

/// What a turn of a [`Courier`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CourierReport {
    /// Messages for the devices.
    pub inbound: Vec<Inbound>,
    /// Messages that made no sense, or were for no device here, with why; they are passed over.
    pub refused: Vec<(Message, EdgeError)>,
    /// What the broker does not let an uplink hear while the connection lasts: its index, the filter, and why.
    pub not_subscribed: Vec<(usize, Arc<str>, Arc<str>)>,
    /// Records that the broker will not take while the connection lasts: the device's index, and why.
    pub refused_records: Vec<(usize, Arc<str>)>,
    /// Records that were lost because the disk was full. A gap will tell.
    pub lost_records: u64,
    /// Records handed to the uplink.
    pub sent: u64,
    /// Records that the broker has acknowledged.
    pub accepted: u64,
    /// Which uplink went up (`true`) or down, each time that one did.
    pub links: Vec<(usize, bool)>,
}

/// What the broker has is forgotten with the next commit, and so late where there is none: a write of its own costs as much
/// as that of a record. Until then it would be sent once more after a crash, and known by its identity.
const LET_GO_DELAY: Duration = Duration::from_secs(1);

/// So much may be staged while a sync lasts: one that hangs must not take all memory. Ten thousand devices say as much in some
/// seconds.
const STAGED_BYTES_MAX: usize = 8 << 20;

/// Nor is room for so many of the uplink's events.
const EVENTS_KEPT: usize = 256;

impl<U: Uplink> Courier<U> {
    /// A courier for `spools`, which have been opened with `batch` at the time `now`, by one uplink: see
    /// [`over`](Self::over).
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] if the store failed: open them again.
    pub fn new(
        uplink: U,
        site: &SiteId,
        spools: Vec<Spool>,
        batch: &Batch,
        now: Instant,
        storage: &dyn Storage,
    ) -> Result<Self, EdgeError> {
        Self::over(vec![uplink], site, spools, batch, now, storage)
    }

    /// A courier for `spools`, which have been opened with `batch` at the time `now`: makes their boot epochs durable. All are
    /// of `site`. The spool at index `i` goes by the uplink at index `i` modulo their number: as many uplinks as spools are
    /// one for each. Each time that an uplink goes up, it subscribes to what is for the devices that go by it, and to nothing
    /// else.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] if the store failed: open them again.
    ///
    /// # Panics
    ///
    /// If there is no uplink.
    pub fn over(
        uplinks: Vec<U>,
        site: &SiteId,
        mut spools: Vec<Spool>,
        batch: &Batch,
        now: Instant,
        storage: &dyn Storage,
    ) -> Result<Self, EdgeError> {
        commit::begin(&mut spools, batch, storage)?;
        let mut devices = BTreeMap::new();
        for (at, spool) in spools.iter_mut().enumerate() {
            spool.committed();
            spool.set_tag(u32::try_from(at).unwrap_or(u32::MAX));
            devices.insert(spool.device().clone(), at);
        }
        Ok(Self {
            clocks: spools
                .iter()
                .map(|spool| BootClock::new(spool.boot(), now))
                .collect(),
            due: vec![None; spools.len()],
            lines: Lines::new(uplinks, spools.len()),
            site: site.clone(),
            devices,
            spools,
            batch: Batch::new(),
            events: Vec::new(),
            rejected: BTreeMap::new(),
            heard: Vec::new(),
            acks: Vec::new(),
            accepted: Vec::new(),
            letting_go: BTreeSet::new(),
            let_go_at: None,
            relief: Relief::default(),
            staged: BTreeSet::new(),
            syncer: None,
            syncing: BTreeSet::new(),
            heard_syncing: Vec::new(),
            deadlines: BTreeSet::new(),
            too_long: Vec::new(),
            refused_messages: 0,
        })
    }

    /// Syncs beside the turns, on a thread of its own: what was durable before is sent while a sync lasts, what is staged
    /// meanwhile shares the next, and nothing leaves before its own has ended. `storage` is the one that every turn is given.
    /// For a disk whose syncs take longer than the broker needs for a window; it costs a thread.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub fn sync_beside(mut self, storage: Arc<dyn Storage>) -> std::io::Result<Self> {
        self.syncer = Some(Syncer::start(storage)?);
        Ok(self)
    }

    /// Stages a record of device `device`; it is durable after the next [`turn`](Self::turn).
    ///
    /// # Errors
    ///
    /// Those of [`Spool::append`]. Also [`EdgeError::SpoolFull`] where syncs are [beside](Self::sync_beside) the turns and so much
    /// waits for one to end that no more is kept: 8 MiB of all devices together.
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
        let is_held_up = self.is_syncing() && self.batch.bytes() >= STAGED_BYTES_MAX;
        let spool = self
            .spools
            .get_mut(device)
            .expect("every clock has a spool");
        if is_held_up {
            let stream = payload.stream();
            let (gap, error) = spool.reject(stream);
            let so_far = self.rejected.entry((device, stream)).or_insert(gap);
            if *so_far != gap {
                so_far.widen(&gap);
            }
            return Err(error);
        }
        if spool.is_nearly_full() && spool.may_let_go() {
            // What need not be kept gives way first.
            spool.let_go(now, storage, &mut self.batch)?;
        }
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

    /// Whether every uplink is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.lines.up() == self.lines.count()
    }

    /// The uplinks, in the order in which they were given.
    pub fn uplinks(&self) -> impl ExactSizeIterator<Item = &U> {
        self.lines.all()
    }

    /// How many uplinks are up.
    pub(crate) const fn uplinks_up(&self) -> usize {
        self.lines.up()
    }

    /// How often any uplink was lost.
    pub(crate) fn losses(&self) -> u64 {
        self.lines.losses()
    }

    /// How often the uplink of a device was lost.
    pub(crate) fn losses_of(&self, device: usize) -> u64 {
        self.lines.losses_of(device)
    }

    /// The devices that go by an uplink.
    pub(crate) fn devices_of(&self, uplink: usize) -> impl Iterator<Item = usize> + use<U> {
        self.lines.devices_of(uplink)
    }

    /// How many messages were [refused](CourierReport::refused) since this start.
    #[must_use]
    pub const fn refused_messages(&self) -> u64 {
        self.refused_messages
    }

    /// Says that a message from [`CourierReport::inbound`], which came by this uplink, was dealt with.
    pub fn acknowledge(&mut self, uplink: usize, token: AckToken) {
        if let Some(uplink) = self.lines.uplink_mut(uplink) {
            uplink.acknowledge(token);
        }
    }

    /// When [`turn`](Self::turn) wants to be called, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let first = self.deadlines.first().map(|(at, _)| *at);
        // While a sync lasts nothing is committed, and its end wakes.
        let let_go_at = self.let_go_at.filter(|_| !self.is_syncing());
        first.into_iter().chain(let_go_at).min()
    }

    /// Takes what the uplinks say, commits what is staged, and sends what is durable. `Pending`: no uplink had anything
    /// to say; the waker of `cx` is woken when one does.
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
        let polled = self.hear(cx, now, &mut report);
        self.cut(now, storage, &mut report)?;
        self.tend(now, storage)?;
        let _ = self.take_synced(cx)?;
        if !self.is_syncing() && self.has_to_commit(now) {
            let committed = self.commit(now, storage, &Batch::new())?;
            report.lost_records = committed.lost_records();
            if self.is_syncing() {
                self.hold_heard();
                let _ = self.take_synced(cx)?;
            }
        }
        if !self.is_syncing() {
            self.acknowledge_heard();
        }
        report.sent = self.send(now, storage)?;
        Ok(polled.map(|()| report))
    }

    /// Takes what those uplinks say that have something to say. It needs no disk: what sinks have is [cut](Self::cut) later.
    pub(crate) fn hear(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        report: &mut CourierReport,
    ) -> Poll<()> {
        report.refused_records.append(&mut self.too_long);
        let mut events = std::mem::take(&mut self.events);
        let mut polled = Poll::Pending;
        for line in self.lines.woken(cx) {
            if self.lines.poll(line, cx, &mut events) {
                polled = Poll::Ready(());
            }
            for event in events.drain(..) {
                self.take(line, event, now, report);
            }
        }
        if events.capacity() <= EVENTS_KEPT {
            self.events = events;
        }
        self.note_accepted(now);
        polled
    }

    /// Spools whose records the broker has acknowledged may send more, and are going to forget these.
    fn note_accepted(&mut self, now: Instant) {
        let mut accepted = std::mem::take(&mut self.accepted);
        accepted.sort_unstable();
        accepted.dedup();
        for device in accepted.drain(..) {
            self.touched(device);
            if self.spools.get(device).is_some_and(Spool::may_let_go) {
                self.letting_go.insert(device);
                self.let_go_at.get_or_insert(now + LET_GO_DELAY);
            }
        }
        self.accepted = accepted;
    }

    /// Acknowledges to the broker what was heard and is dealt with: once all of it is durable.
    pub(crate) fn acknowledge_heard(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        self.acknowledge_each(heard);
    }

    /// A message from [`CourierReport::inbound`] asked for nothing that is to be durable.
    pub(crate) fn note_heard(&mut self, uplink: usize, token: AckToken) {
        self.heard.push((uplink, token));
    }

    fn acknowledge_each(&mut self, heard: Vec<(usize, AckToken)>) {
        for (line, token) in heard {
            if let Some(uplink) = self.lines.uplink_mut(line) {
                uplink.acknowledge(token);
            }
        }
    }

    fn take(&mut self, line: usize, event: UplinkEvent, now: Instant, report: &mut CourierReport) {
        match event {
            UplinkEvent::Up { is_resumed } => {
                self.lines.set_up(line, true);
                report.links.push((line, true));
                for device in self.lines.devices_of(line) {
                    if let Some(spool) = self.spools.get_mut(device) {
                        spool.up(now, is_resumed);
                    }
                    self.lines.ready(device);
                    self.schedule(device);
                }
            }
            UplinkEvent::Down { .. } => {
                self.lines.set_up(line, false);
                report.links.push((line, false));
                // What the broker waits for it sends again, under other tokens.
                self.heard.retain(|(of, _)| *of != line);
                for device in self.lines.devices_of(line) {
                    if let Some(spool) = self.spools.get_mut(device) {
                        spool.down();
                    }
                }
                // Or the next connection would have it again.
                self.let_go_at = self.let_go_at.map(|at| at.min(now));
            }
            UplinkEvent::Accepted(seq) => {
                report.accepted += 1;
                let device = Spool::tag_of(seq) as usize;
                if let Some(spool) = self.spools.get_mut(device) {
                    spool.note_accepted(now, seq);
                    self.accepted.push(device);
                }
            }
            UplinkEvent::Refused { seq, reason } => {
                let device = Spool::tag_of(seq) as usize;
                if let Some(spool) = self.spools.get_mut(device) {
                    spool.refused(now, seq);
                    report.refused_records.push((device, reason));
                    self.touched(device);
                }
            }
            UplinkEvent::NotSubscribed { filter, reason } => {
                report.not_subscribed.push((line, filter, reason));
            }
            UplinkEvent::Inbound { message, token } => {
                self.inbound(line, message, token, report);
            }
        }
    }

    fn inbound(
        &mut self,
        line: usize,
        message: Message,
        token: Option<AckToken>,
        report: &mut CourierReport,
    ) {
        let (device, lane) = match self.addressee(line, &message) {
            Ok(addressee) => addressee,
            Err(error) => {
                self.heard.extend(token.map(|token| (line, token)));
                self.refuse(message, error, report);
                return;
            }
        };
        if lane != Lane::Acks {
            report.inbound.push(Inbound {
                device,
                lane,
                message,
                uplink: line,
                token,
            });
            return;
        }
        self.heard.extend(token.map(|token| (line, token)));
        self.acks.push((device, message));
    }

    /// Spools cut what sinks have acknowledged; they may have to read where that ends.
    pub(crate) fn cut(
        &mut self,
        now: Instant,
        storage: &dyn Storage,
        report: &mut CourierReport,
    ) -> Result<(), EdgeError> {
        for (device, message) in std::mem::take(&mut self.acks) {
            let Some(spool) = self.spools.get_mut(device) else {
                continue;
            };
            let outcome = SinkAck::decode(&message.payload)
                .and_then(|ack| spool.acknowledged(now, &ack, storage, &mut self.batch));
            // Also where it was refused: that the device must start anew is staged.
            self.touched(device);
            match outcome {
                Err(error @ (EdgeError::Storage { .. } | EdgeError::Stored { .. })) => {
                    return Err(error);
                }
                Err(error) => self.refuse(message, error, report),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn refuse(&mut self, message: Message, error: EdgeError, report: &mut CourierReport) {
        self.refused_messages += 1;
        report.refused.push((message, error));
    }

    /// Which device of ours a message is for. A session may be older than this start, and want what is for devices that go by
    /// another uplink since, or are gone: what is ours is taken whatever way it came, and the session is told to leave it.
    fn addressee(&mut self, line: usize, message: &Message) -> Result<(usize, Lane), EdgeError> {
        let topic = Topic::parse(&message.topic)?;
        let device = if topic.site == self.site {
            self.find(&topic.device)
        } else {
            None
        };
        if device.map(|device| self.lines.line_of(device)) != Some(line)
            && let Some(uplink) = self.lines.uplink_mut(line)
        {
            uplink.unsubscribe(&Topic::down_filter(&topic.site, &topic.device));
        }
        match device {
            Some(device) => Ok((device, topic.lane)),
            None => Err(EdgeError::NotCarried {
                device: topic.device.into(),
                site: topic.site.into(),
            }),
        }
    }

    /// Has an uplink ask for what is sent to its devices. Whether all of it is asked for.
    fn subscribe(&mut self, at: usize) -> bool {
        let devices = self.lines.devices_of(at);
        let Some(line) = self.lines.get_mut(at) else {
            return true;
        };
        let count = devices.len();
        if line.subscribed < count {
            let spools = devices.skip(line.subscribed);
            let spools = spools.filter_map(|device| self.spools.get(device));
            let mut filters = spools.map(|spool| Topic::down_filter(&self.site, spool.device()));
            line.subscribed += line.uplink.subscribe_now(&mut filters);
        }
        line.subscribed >= count
    }

    fn touched(&mut self, device: usize) {
        if let Some(spool) = self.spools.get(device) {
            if spool.is_staged() {
                self.staged.insert(device);
            }
            if spool.wants_to_send() {
                self.lines.ready(device);
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

    /// By each uplink one record of each of its spools in turn, so that none waits for another's backlog. Answers how many
    /// were handed over.
    pub(crate) fn send(&mut self, now: Instant, storage: &dyn Storage) -> Result<u64, EdgeError> {
        let mut sent = 0;
        for line in self.lines.take_busy() {
            sent += self.send_by(line, now, storage)?;
        }
        Ok(sent)
    }

    fn send_by(
        &mut self,
        at: usize,
        now: Instant,
        storage: &dyn Storage,
    ) -> Result<u64, EdgeError> {
        let mut sent = 0;
        // Before any record leaves: what answers it is to be heard.
        if !self.subscribe(at) {
            self.lines.stay_busy(at);
        }
        while let Some(line) = self.lines.get_mut(at)
            && !line.ready.is_empty()
        {
            if line.uplink.room() == 0 {
                self.lines.stay_busy(at);
                break;
            }
            for device in std::mem::take(&mut line.ready) {
                sent += u64::from(self.send_one(at, device, now, storage)?);
            }
        }
        Ok(sent)
    }

    /// Sends a record of a device, if there is one and its uplink has room.
    fn send_one(
        &mut self,
        at: usize,
        device: usize,
        now: Instant,
        storage: &dyn Storage,
    ) -> Result<bool, EdgeError> {
        let (Some(line), Some(spool)) = (self.lines.get_mut(at), self.spools.get_mut(device))
        else {
            return Ok(false);
        };
        if line.uplink.room() == 0 {
            line.ready.insert(device);
            return Ok(false);
        }
        let Some(outgoing) = spool.next(now, storage)? else {
            return Ok(false);
        };
        let submitted = line.uplink.submit(outgoing.seq, outgoing.message);
        let is_sent = submitted.is_ok();
        match submitted {
            Ok(()) => {
                line.ready.insert(device);
            }
            Err(error @ SubmitError::TooLong { .. }) => {
                // What is behind it must not wait for it.
                line.ready.insert(device);
                spool.too_long(now, outgoing.seq, storage, &mut self.batch)?;
                self.too_long.push((device, error.to_string().into()));
                if spool.is_staged() {
                    self.staged.insert(device);
                }
            }
            Err(_) => spool.returned(outgoing.seq),
        }
        self.schedule(device);
        Ok(is_sent)
    }
}

impl<U: Uplink> fmt::Debug for Courier<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier")
            .field("devices", &self.spools.len())
            .field("uplinks", &self.lines.count())
            .field("uplinks_up", &self.lines.up())
            .finish_non_exhaustive()
    }
}
