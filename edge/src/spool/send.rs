//! What is sent next, and what became of it.

use std::time::Duration;

use peaberry_core::mutant::is_planted;
use peaberry_core::{Batch, Instant, Storage, Subspace};

use super::entry::Entry;
use super::lane::Lane;
use super::unwanted::{TOO_LONG_MAX, Unwanted, Which};
use super::{AckLevel, Spool, SpoolSettings};
use crate::coverage::Arrival;
use crate::error::EdgeError;
use crate::identity::{BOOT_SKIP_MAX, Position, SEQUENCE_JUMP_MAX};
use crate::payload::{GapReason, Payload, SinkAck, put_delivery};
use crate::topic::{Lane as TopicLane, Stream, Topic};
use crate::uplink::Message;

/// One send in so many prefers the backlog to what is new.
pub const BACKLOG_SHARE: u32 = 8;

/// Gaps are told at most this often: while more is being dropped, one record tells of all.
const GAP_INTERVAL: Duration = Duration::from_secs(1);

/// The longest that resending is put off, as a power of two.
const BACKOFF_MAX: u32 = 5;

/// A record on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Names it among all that this spool has with its uplink: for [`Uplink::submit`](crate::uplink::Uplink::submit).
    pub seq: u64,
    /// Which record it is.
    pub at: Position,
    /// Of which stream.
    pub stream: Stream,
    /// What to send.
    pub message: Message,
}

/// What is between the spool and its broker.
#[derive(Debug, Default)]
pub(super) struct Link {
    is_up: bool,
    pub(super) in_flight: Vec<InFlight>,
    /// The upper half of every number given out.
    tag: u32,
    count: u32,
    told_at: Option<Instant>,
    /// Counts the connections.
    connection: u32,
    pub(super) unwanted: Unwanted,
}

/// How long the sink has been silent about what was sent of one stream or, where there is no sink, how long ago the broker
/// refused something of it. Each stream waits for itself: what the sink says of one says nothing of a record of another that
/// the broker has lost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    waiting_since: Option<Instant>,
    backoff: u32,
}

impl Patience {
    const fn since(now: Instant, backoff: u32) -> Self {
        Self {
            waiting_since: Some(now),
            backoff,
        }
    }

    /// When it is at its end.
    fn ends_at(self, settings: &SpoolSettings) -> Option<Instant> {
        let since = self.waiting_since?;
        Some(since + settings.resend_after * (1 << self.backoff))
    }

    /// Something was sent or, where there is no sink, refused.
    fn begin(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    seq: u64,
    stream: Stream,
    after: Option<Position>,
    at: Position,
}

impl Link {
    pub(super) fn new(unwanted: Unwanted) -> Self {
        Self {
            unwanted,
            ..Self::default()
        }
    }
}

impl Lane {
    /// Where the broker's word is all there is to wait for: it has the record at `at`, and between `after` and that nothing is
    /// held.
    fn note_broker_has(&mut self, now: Instant, after: Option<Position>, at: Position) {
        let accepted = self.accepted.get_or_insert_default();
        match accepted.take(after, at) {
            // One hole too many, left by records that were refused: it goes again with them.
            Arrival::Deferred => self.patience.begin(now),
            Arrival::New | Arrival::Repeated => self.may_let_go = true,
        }
    }
}

impl Spool {
    /// From now on the numbers of [`Outgoing`] have `tag` as their upper half: spools that share an uplink are told apart by
    /// it. See [`tag_of`](Self::tag_of).
    pub const fn set_tag(&mut self, tag: u32) {
        self.link.tag = tag;
    }

    /// The [tag](Self::set_tag) of the spool that gave out this number.
    #[must_use]
    pub const fn tag_of(seq: u64) -> u32 {
        (seq >> 32) as u32
    }

    /// The uplink is up. Where the broker does not remember the session, everything goes again that no sink has acknowledged;
    /// else, what the broker has not accepted.
    pub fn up(&mut self, now: Instant, is_resumed: bool) {
        self.link.is_up = true;
        self.link.connection = self.link.connection.wrapping_add(1);
        let in_flight = std::mem::take(&mut self.link.in_flight);
        let has_sink = self.has_sink();
        for lane in &mut self.lanes {
            if !is_resumed {
                lane.note_forgotten();
            }
            let is_refused = !has_sink && lane.patience.waiting_since.is_some();
            if !is_resumed || is_refused {
                lane.patience = Patience::default();
                lane.rewind(None);
                continue;
            }
            // What the broker has accepted is not sent again now, and the sink may not have it.
            if is_planted("edge_sink_no_longer_waited_for") {
                lane.patience = Patience::default();
            } else if lane.patience.waiting_since.is_some() {
                lane.patience = Patience::since(now, 0);
            }
            let of_lane = in_flight.iter().filter(|one| one.stream == lane.stream);
            if let Some(lowest) = of_lane.min_by_key(|one| one.at) {
                lane.rewind_to(lowest.after);
            }
        }
    }

    /// The uplink is down: nothing is sent, and nothing is known of what was on its way.
    pub const fn down(&mut self) {
        self.link.is_up = false;
    }

    /// The next record to send, if the window has room for one. It counts as on its way until it is accepted, returned or
    /// refused, or the uplink comes up anew.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`] if the spool cannot be read.
    pub fn next(
        &mut self,
        now: Instant,
        storage: &dyn Storage,
    ) -> Result<Option<Outgoing>, EdgeError> {
        let room = self
            .settings
            .window_max
            .saturating_sub(self.link.in_flight.len());
        if !self.link.is_up || room == 0 {
            return Ok(None);
        }
        let has_sink = self.has_sink();
        while let Some((lane, kind)) = self.choose() {
            let owner = self.owner;
            let Some(lane) = self.lanes.get_mut(lane) else {
                return Ok(None);
            };
            let found = match kind {
                Kind::Backlog => {
                    let unsent = lane.unsent_backlog();
                    let found = lane.next_backlog(storage, owner, room)?;
                    if let (None, Some((sent, end)), false) = (&found, unsent, has_sink) {
                        // All of it has given way, and what was sent before it named the last of it as what it follows on.
                        lane.note_broker_has(now, sent, end);
                    }
                    found
                }
                Kind::Live => lane.next_live(storage, owner, room)?,
            };
            if let Some((entry, after)) = found {
                let stream = lane.stream;
                if has_sink {
                    lane.patience.begin(now);
                }
                return Ok(Some(self.send(stream, &entry, after)));
            }
        }
        Ok(None)
    }

    /// Whether [`next`](Self::next) might have something: it need not be asked otherwise.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        let has_some = |lane: &Lane| lane.has_backlog() || lane.has_live();
        self.link.is_up
            && self.link.in_flight.len() < self.settings.window_max
            && self.lanes.iter().any(has_some)
    }

    fn choose(&self) -> Option<(usize, Kind)> {
        let reserved = self.lanes.iter().position(|lane| {
            self.settings.stream(lane.stream).is_reserved && (lane.has_backlog() || lane.has_live())
        });
        if let Some(lane) = reserved {
            return Some((lane, self.in_order(lane)));
        }
        let live = || {
            self.lanes.iter().position(|lane| {
                let is_live_first = self.settings.stream(lane.stream).is_live_first;
                lane.has_live() && (is_live_first || !lane.has_backlog())
            })
        };
        let backlog = || self.lanes.iter().position(Lane::has_backlog);
        let live = || live().map(|lane| (lane, Kind::Live));
        let backlog = || backlog().map(|lane| (lane, Kind::Backlog));
        if self.link.count % BACKLOG_SHARE == BACKLOG_SHARE - 1 {
            return backlog().or_else(live);
        }
        live().or_else(backlog)
    }

    fn in_order(&self, lane: usize) -> Kind {
        match self.lanes.get(lane) {
            Some(lane) if lane.has_backlog() => Kind::Backlog,
            _ => Kind::Live,
        }
    }

    fn send(&mut self, stream: Stream, entry: &Entry, after: Option<Position>) -> Outgoing {
        let at = entry.head.at;
        let seq = u64::from(self.link.tag) << 32 | u64::from(self.link.count);
        self.link.count = self.link.count.wrapping_add(1);
        self.link.in_flight.push(InFlight {
            seq,
            stream,
            after,
            at,
        });
        self.sent_records += 1;
        let mut payload = Vec::with_capacity(entry.record.len() + 20);
        put_delivery(&mut payload, &entry.record, at.boot, after);
        let topic = Topic {
            site: self.site.clone(),
            device: self.device.clone(),
            lane: TopicLane::Up(stream),
        };
        let message = Message::new(topic.to_string(), payload);
        Outgoing {
            seq,
            at,
            stream,
            message,
        }
    }

    /// The broker has the record: the window moves. Where a sink must acknowledge, that is all.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`] if the spool cannot be read.
    pub fn accepted(
        &mut self,
        now: Instant,
        seq: u64,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        self.note_accepted(now, seq);
        self.let_go(now, storage, batch)
    }

    /// The broker has the record; what that lets go of is for [`let_go`](Self::let_go), once for many records.
    pub(crate) fn note_accepted(&mut self, now: Instant, seq: u64) {
        let Some(one) = self.take_in_flight(seq) else {
            return;
        };
        let is_all = !self.has_sink() || is_planted("edge_spool_cut_on_puback");
        if is_all {
            self.link.unwanted.taken((one.stream, one.at));
        }
        let lane = self.lane(one.stream);
        lane.note_accepted(one.after, one.at);
        if !is_all {
            return;
        }
        lane.note_broker_has(now, one.after, one.at);
    }

    /// Whether a sink's acknowledgement is waited for.
    fn has_sink(&self) -> bool {
        self.settings.keep_until == AckLevel::Sink
    }

    /// Whether [`let_go`](Self::let_go) has anything to forget.
    pub(crate) fn may_let_go(&self) -> bool {
        self.lanes.iter().any(|lane| lane.may_let_go)
    }

    /// Forgets what the broker has, where that is all there is to wait for, and again what the sink has, where that found no
    /// room on the disk.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`] if the spool cannot be read.
    pub(crate) fn let_go(
        &mut self,
        now: Instant,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        for at in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(at) else {
                continue;
            };
            let accepted = lane.accepted.as_ref().and_then(|it| it.through());
            if std::mem::take(&mut lane.may_let_go)
                && let Some(through) = accepted.max(lane.acknowledged.as_deref().copied())
            {
                let stream = lane.stream;
                self.cut(now, stream, through, storage, batch)?;
            }
        }
        Ok(())
    }

    /// The uplink did not take the record after all: it goes again.
    pub fn returned(&mut self, seq: u64) {
        if let Some(one) = self.take_in_flight(seq) {
            self.lane(one.stream).rewind_to(one.after);
        }
    }

    /// The record is longer than what the uplink takes, as long as it is as it is. It keeps its place, as one that was
    /// [refused](Self::refused), and goes again as that does; where that has been in vain [so often](TOO_LONG_MAX), and
    /// everything before it is acknowledged, it is given up and told in a gap: nothing behind it waits for it. Answers
    /// whether it was given up.
    ///
    /// [`SpoolSettings::record_bytes_max`] keeps such records from being made.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`] if the spool cannot be read.
    pub fn too_long(
        &mut self,
        now: Instant,
        seq: u64,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<bool, EdgeError> {
        let Some(one) = self.take_in_flight(seq) else {
            return Ok(false);
        };
        let refusals = self.count_refusal(now, one, GapReason::TooLong);
        // Also where it is given up: what was accepted behind it then follows on what is before it.
        self.wait_to_send_again(now, one.stream);
        Ok(refusals >= TOO_LONG_MAX
            && self.give_up_unwanted((one.stream, one.at), GapReason::TooLong, storage, batch)?)
    }

    /// How often the record has been refused, this time included.
    fn count_refusal(&mut self, now: Instant, one: InFlight, reason: GapReason) -> u32 {
        let which = (one.stream, one.at);
        let (connection, is_oldest) = (self.link.connection, one.after.is_none());
        let unwanted = &mut self.link.unwanted;
        unwanted.count(now, connection, which, is_oldest, reason)
    }

    /// Gives a record up and tells that in a gap, if nothing is before it. Whether it was given up.
    fn give_up_unwanted(
        &mut self,
        which: Which,
        reason: GapReason,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<bool, EdgeError> {
        let is_given_up = self.give_up_oldest(which, reason, storage, batch)?;
        if is_given_up {
            self.link.unwanted.give_up(which);
            self.save_unwanted(batch);
        }
        Ok(is_given_up)
    }

    /// How often records were refused is written with what is staged now.
    pub(super) fn save_unwanted(&mut self, batch: &mut Batch) {
        let space = Subspace::of(self.owner);
        self.link.unwanted.save(&space, batch);
    }

    /// Gives up what the broker has refused [so often](super::REFUSED_MAX), the oldest first.
    fn give_up_refused(
        &mut self,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        for which in self.link.unwanted.hopeless() {
            let mut in_flight = self.link.in_flight.iter();
            if !in_flight.any(|one| (one.stream, one.at) == which) {
                self.give_up_unwanted(which, GapReason::Refused, storage, batch)?;
            }
        }
        Ok(())
    }

    /// The broker refused the record. It keeps its place and goes again when everything of its stream does: when the sink has
    /// been silent for [so long](SpoolSettings::resend_after) or, where there is none, so long from now, for twice as long
    /// each time that the broker takes nothing new in between; and with the next connection.
    ///
    /// Where there is no sink, and that has been in vain [so often](super::REFUSED_MAX), and everything before it is acknowledged,
    /// [`tend`](Self::tend) gives it up and tells that in a gap. What a sink waits for is never given up for that.
    pub fn refused(&mut self, now: Instant, seq: u64) {
        if let Some(one) = self.take_in_flight(seq) {
            if !self.has_sink() {
                self.count_refusal(now, one, GapReason::Refused);
            }
            self.wait_to_send_again(now, one.stream);
        }
    }

    /// A sink's silence is waited for already.
    fn wait_to_send_again(&mut self, now: Instant, stream: Stream) {
        if !self.has_sink() && !is_planted("edge_refused_stays") {
            self.lane(stream).patience.begin(now);
        }
    }

    fn take_in_flight(&mut self, seq: u64) -> Option<InFlight> {
        let in_flight = &mut self.link.in_flight;
        let at = in_flight.iter().position(|one| one.seq == seq)?;
        let one = in_flight.swap_remove(at);
        if in_flight.is_empty() {
            // Nothing is kept for a device that waits.
            *in_flight = Vec::new();
        }
        Some(one)
    }

    /// A sink has made everything of one stream durable up to a record: the spool forgets it. What it does not hold (any
    /// more) is passed over: an acknowledgement may come late and twice. What was there when the spool was opened is forgotten
    /// only when the broker has taken it since: on a disk that was restored the sink may never have seen it, and names it when it
    /// comes.
    ///
    /// # Errors
    ///
    /// [`EdgeError::WrongDevice`] if it is for another device, [`EdgeError::NeverMade`] for a record that this one has not made:
    /// nothing changed. [`EdgeError::LaterStart`] if the sink knows a later start of this device, or more of this one than it
    /// has made: nothing was cut, and that the next start is later is staged. Whoever else may have made that up hinders
    /// nothing: the next that can be so cuts. [`EdgeError::Storage`] or [`EdgeError::Stored`] if the spool cannot be read.
    pub fn acknowledged(
        &mut self,
        now: Instant,
        ack: &SinkAck,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        if ack.device != self.device {
            return Err(EdgeError::WrongDevice {
                addressed: ack.device.to_string(),
                device: self.device.to_string(),
            });
        }
        let through = Position::new(ack.boot, ack.through);
        self.check_made(ack.stream, through, batch)?;
        let lane = self.lanes.iter().find(|lane| lane.stream == ack.stream);
        match lane.and_then(|lane| lane.may_cut(through)) {
            Some(through) => self.cut(now, ack.stream, through, storage, batch),
            None => Ok(()),
        }
    }

    fn check_made(
        &mut self,
        stream: Stream,
        through: Position,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        let last = Position::new(self.boot, self.next_sequence - 1);
        if through <= last || is_planted("edge_any_ack_cuts") {
            return Ok(());
        }
        let device = self.device.to_string();
        let boots_ahead = through.boot.get() - self.boot.get();
        let is_in_reach = match boots_ahead {
            0 => through.sequence.saturating_sub(last.sequence) <= SEQUENCE_JUMP_MAX,
            _ => boots_ahead <= BOOT_SKIP_MAX,
        };
        if !is_in_reach {
            return Err(EdgeError::NeverMade {
                device,
                stream: stream.word(),
                through,
                last,
            });
        }
        // After this start the next is a later one anyway.
        if boots_ahead > 0 && self.skipped.is_none_or(|skipped| skipped < through.boot) {
            through.boot.skip(&Subspace::of(self.owner), batch);
            self.skipped = Some(through.boot);
            (self.is_staged, self.must_sync) = (true, true);
        }
        Err(EdgeError::LaterStart {
            device,
            known: through,
            own: self.boot,
        })
    }

    fn cut(
        &mut self,
        now: Instant,
        stream: Stream,
        through: Position,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        let owner = self.owner;
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.stream == stream) else {
            return Ok(());
        };
        if lane.cut(through, storage, owner, batch)? > 0 {
            self.is_staged = true;
            self.link.unwanted.save(&Subspace::of(owner), batch);
            // A lower one may come late.
            let before = lane.acknowledged.as_deref().copied();
            lane.acknowledged = Some(Box::new(
                before.map_or(through, |before| before.max(through)),
            ));
            lane.patience.backoff = 0;
            if self.settings.keep_until == AckLevel::Sink {
                lane.patience.waiting_since = Some(now);
            }
        }
        Ok(())
    }

    /// When [`tend`](Self::tend) wants to be called, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if !self.link.is_up {
            return None;
        }
        let gaps = (!self.gaps.is_empty()).then(|| {
            self.link
                .told_at
                .map_or_else(Instant::default, |at| at + GAP_INTERVAL)
        });
        let lanes = self.lanes.iter().filter(|lane| lane.count() > 0);
        let resend = lanes.filter_map(|lane| lane.patience.ends_at(&self.settings));
        resend.chain(gaps).min()
    }

    /// Does what time calls for: writes gap records, and sends every stream again that the sink has been silent about for
    /// too long, or of which the broker has refused something; what it has refused too often is given up.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`] if the spool cannot be read.
    pub fn tend(
        &mut self,
        now: Instant,
        at_ms: u64,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        if !self.link.is_up {
            return Ok(());
        }
        self.give_up_refused(storage, batch)?;
        let has_sink = self.has_sink();
        for lane in &mut self.lanes {
            let ends_at = lane.patience.ends_at(&self.settings);
            if ends_at.is_some_and(|at| at <= now) {
                let backoff = (lane.patience.backoff + 1).min(BACKOFF_MAX);
                let waiting_since = has_sink.then_some(now);
                lane.patience = Patience {
                    waiting_since,
                    backoff,
                };
                lane.rewind(None);
            }
        }
        let is_early = |at: Instant| now < at + GAP_INTERVAL;
        if self.gaps.is_empty() || self.link.told_at.is_some_and(is_early) {
            return Ok(());
        }
        self.link.told_at = Some(now);
        for gap in self.gaps.all() {
            // Nothing gives way to a gap record, or telling of drops would be another.
            if !self.fits(Stream::Alerts, GAP_COST) {
                return Ok(());
            }
            self.append(storage, batch, at_ms, Payload::Gap(gap))?;
            self.gaps.told(batch, &gap);
        }
        Ok(())
    }
}

/// More than any gap record costs.
const GAP_COST: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Backlog,
    Live,
}
