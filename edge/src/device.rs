//! One device: what it measures, judges, makes and believes, put together from parts.
//!
//! A [`Device`] decides and does nothing: its host tells it the time and what came for it, and finds what it wants recorded
//! and done in an [`Outlet`]. A [`Fleet`](crate::fleet::Fleet) hosts any number of them on one node; each part can be used
//! without it, and without the others.
//!
//! # One sample
//!
//! sensor → [`Probe`](crate::sensor::Probe) → smoothing, if any → history, rules and watches, on each sample → significance filter, if any →
//! batch → record. Rules and watches come before the filter: nothing is judged by what was worth sending.

mod builder;
mod configure;
mod lane;
mod latches;

use std::time::Duration;

use peaberry_core::Instant;

pub use self::builder::DeviceBuilder;
pub use self::configure::{CONFIG_PREFIX, Configured};
pub use self::lane::{HISTORY, Metric};
use self::lane::{Lane, Outcome};

use crate::identity::BootEpoch;
use crate::name::{DeviceId, Name};
use crate::ops::Sample;
use crate::order::Orders;
use crate::payload::{Alert, COLUMNS_MAX, Health, Payload, Readings, Status, Text};
use crate::rules::{Acknowledged, Rules};
use crate::time::{BootClock, DeviceTime, Learned, WallClock};
use crate::twin::Twin;

/// One device in one of its starts. Made by [`DeviceBuilder`].
///
/// `A` is what its rules have done at once.
#[derive(Debug)]
pub struct Device<A = Name> {
    id: DeviceId,
    clock: BootClock,
    wall: WallClock,
    status: Status,
    location: Text,
    /// Whether the next health report says where it stands and what it can do.
    tells_profile: bool,
    firmware: Text,
    lanes: Box<[Lane]>,
    rules: Rules<A>,
    orders: Option<Box<Orders>>,
    twin: Option<Box<Twin>>,
    heartbeat_ms: u64,
    heartbeat_due_ms: u64,
    batch_ms: u64,
    batch_readings_max: usize,
    /// When the oldest reading that waits was made.
    waiting_since_ms: Option<u64>,
    readings: u64,
    late_readings: u64,
}

/// What a device wants recorded and done. Its host empties it.
#[derive(Debug)]
pub struct Outlet<A> {
    /// To be told to the outside, in this order.
    pub payloads: Vec<Payload>,
    /// To be done here, at once.
    pub acts: Vec<Act<A>>,
    /// Whether other latched rules are raised than before: [save them](Device::save_latches), with what is recorded.
    pub has_latched: bool,
}

impl<A> Default for Outlet<A> {
    fn default() -> Self {
        Self {
            payloads: Vec::new(),
            acts: Vec::new(),
            has_latched: false,
        }
    }
}

/// A rule fired and wants this done.
#[derive(Clone, Debug, PartialEq)]
pub struct Act<A> {
    /// The rule and the value that decided it.
    pub alert: Alert,
    /// What to do.
    pub action: A,
    /// When the sample was made, in milliseconds since the device's start.
    pub at_ms: u64,
}

/// What its host knows of a device, for its health reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "as many as a health report has")]
pub struct Surroundings {
    /// Records waiting in its spool.
    pub spooled_records: u64,
    /// Their bytes.
    pub spooled_bytes: u64,
    /// Records dropped from its spool in this start.
    pub dropped_records: u64,
    /// How often its uplink was lost in this start.
    pub uplink_losses: u64,
}

impl<A: Clone> Device<A> {
    /// Begins to put a device together.
    #[must_use]
    pub fn builder(id: DeviceId) -> DeviceBuilder<A> {
        DeviceBuilder::new(id)
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &DeviceId {
        &self.id
    }

    /// Which start it is in.
    #[must_use]
    pub const fn boot(&self) -> BootEpoch {
        self.clock.boot()
    }

    /// Milliseconds since its start.
    #[must_use]
    pub fn at_ms(&self, now: Instant) -> u64 {
        self.clock.at(now).since_boot_ms
    }

    /// The wall time in milliseconds since 1970, if it has been learned.
    #[must_use]
    pub fn wall_ms(&self, at_ms: u64) -> Option<u64> {
        let offset = self.wall.offset()?;
        Some(at_ms.saturating_add_signed(offset.ms))
    }

    /// How it is doing: [`Status::Error`] while its orders are stopped, else as [set](Self::set_status).
    #[must_use]
    pub fn status(&self) -> Status {
        let is_stopped = self
            .orders()
            .is_some_and(|orders| orders.stopped().is_some());
        if is_stopped {
            Status::Error
        } else {
            self.status
        }
    }

    /// Says that somebody works on it, or no longer. In maintenance it takes no orders.
    pub const fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// Its orders, if it takes any.
    #[must_use]
    pub fn orders(&self) -> Option<&Orders> {
        self.orders.as_deref()
    }

    /// Its orders, to be stepped.
    pub fn orders_mut(&mut self) -> Option<&mut Orders> {
        self.orders.as_deref_mut()
    }

    /// Its twin, if it has one.
    #[must_use]
    pub fn twin(&self) -> Option<&Twin> {
        self.twin.as_deref()
    }

    /// Its twin, to be written.
    pub fn twin_mut(&mut self) -> Option<&mut Twin> {
        self.twin.as_deref_mut()
    }

    /// The last [`HISTORY`] samples of a metric, oldest first; none if it keeps no history.
    pub fn history(&self, metric: &Name) -> impl DoubleEndedIterator<Item = &Sample> + '_ {
        let lane = self.lanes.iter().find(|lane| lane.metric() == metric);
        lane.into_iter().flat_map(Lane::history)
    }

    /// How many samples it has taken in this start, and how many of these a whole period or more after they were due.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.readings, self.late_readings)
    }

    /// Takes a time server's answer; see [`WallClock::observe`].
    pub fn observe_time(
        &mut self,
        now: Instant,
        wall: peaberry_core::Timestamp,
        round_trip: Duration,
    ) -> Learned {
        let at_ms = self.at_ms(now);
        self.wall.observe(at_ms, wall, round_trip)
    }

    /// When it wants to be [polled](Self::poll) next, in milliseconds since its start.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        let flush = self
            .waiting_since_ms
            .map(|at| at.saturating_add(self.batch_ms));
        let lanes = self.lanes.iter().filter_map(Lane::due_ms);
        let first = lanes.chain(flush).min().unwrap_or(u64::MAX);
        first.min(self.heartbeat_due_ms)
    }

    /// Does what is due: reads sensors, tells batches and heartbeats. What was missed is not made up for.
    pub fn poll(&mut self, at_ms: u64, around: Surroundings, out: &mut Outlet<A>) {
        for at in 0..self.lanes.len() {
            self.read(at, at_ms, out);
        }
        let is_old = self
            .waiting_since_ms
            .is_some_and(|since| at_ms >= since.saturating_add(self.batch_ms));
        if is_old {
            self.flush(out);
        }
        if at_ms >= self.heartbeat_due_ms {
            self.heartbeat(at_ms, around, out);
        }
    }

    fn read(&mut self, at: usize, at_ms: u64, out: &mut Outlet<A>) {
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        let Some((polled, is_late)) = lane.poll(at_ms) else {
            return;
        };
        self.late_readings += u64::from(is_late);
        out.payloads.extend(polled.alert.map(Payload::Alert));
        if let Some(sample) = polled.sample {
            self.take(at, sample, out);
        }
    }

    /// Takes a sample of a metric that is not read but handed in, by a controller on a field bus, say. Whoever hands in may
    /// repeat what it is not sure has come: a sample that is not later than the last, or of another start, is passed over by
    /// everything. Of samples that are not later than the present the caller takes care.
    ///
    /// Returns whether there is such a metric.
    pub fn feed(
        &mut self,
        metric: &Name,
        made: DeviceTime,
        value: f64,
        out: &mut Outlet<A>,
    ) -> bool {
        let at = self.lanes.iter().position(|lane| lane.metric() == metric);
        let Some(at) = at else {
            return false;
        };
        if made.boot == self.boot() {
            self.take(at, Sample::new(made.since_boot_ms, value), out);
        }
        true
    }

    fn take(&mut self, at: usize, sample: Sample, out: &mut Outlet<A>) {
        let Some(lane) = self.lanes.get_mut(at) else {
            return;
        };
        let metric = lane.metric().clone();
        let is_smoothed = lane.is_smoothed();
        let outcome = lane.take(sample, &mut out.payloads);
        self.readings += u64::from(!matches!(outcome, Outcome::PassedOver));
        let (judged, waiting) = match outcome {
            Outcome::Taken { smoothed, waiting } => (Some(smoothed), waiting),
            // Rules know by themselves which samples they have judged.
            Outcome::PassedOver if !is_smoothed => (Some(sample), 0),
            Outcome::PassedOver | Outcome::Swallowed => (None, 0),
        };
        if let Some(judged) = judged {
            self.judge(&metric, judged, out);
        }
        if waiting > 0 {
            self.waiting_since_ms.get_or_insert(sample.at_ms);
            if self.waiting_readings() >= self.batch_readings_max {
                self.flush(out);
            }
        }
    }

    fn judge(&mut self, metric: &Name, judged: Sample, out: &mut Outlet<A>) {
        let boot = self.clock.boot();
        for fired in self.rules.judge(metric, boot, judged) {
            out.has_latched |= fired.is_latched;
            if let Some(action) = fired.action {
                out.acts.push(Act {
                    alert: fired.alert.clone(),
                    action: action.clone(),
                    at_ms: judged.at_ms,
                });
            }
            out.payloads.push(Payload::Alert(fired.alert));
        }
    }

    /// How many readings wait to be told in a batch.
    #[must_use]
    pub fn waiting_readings(&self) -> usize {
        self.lanes.iter().map(Lane::waiting).sum()
    }

    /// Tells the readings that wait.
    pub fn flush(&mut self, out: &mut Outlet<A>) {
        self.waiting_since_ms = None;
        let columns: Vec<_> = self.lanes.iter_mut().filter_map(Lane::flush).collect();
        if !columns.is_empty() {
            out.payloads.push(Payload::Readings(Readings { columns }));
        }
    }

    /// Has the next health report say again where it stands and what it can do: somebody new may listen.
    pub const fn tell_profile(&mut self) {
        self.tells_profile = true;
    }

    /// Tells its health now, and again after its period.
    pub fn heartbeat(&mut self, at_ms: u64, around: Surroundings, out: &mut Outlet<A>) {
        self.heartbeat_due_ms = at_ms.saturating_add(self.heartbeat_ms);
        out.payloads
            .push(Payload::Health(self.health(at_ms, around)));
    }

    fn health(&mut self, at_ms: u64, around: Surroundings) -> Health {
        let failed = self.lanes.iter().filter(|lane| lane.is_failed()).count();
        let offset = self.wall.offset_at(at_ms);
        let (mut location, mut capabilities) = (Text::default(), Vec::new());
        if std::mem::take(&mut self.tells_profile) {
            location = self.location.clone();
            let orders = self.orders.as_deref();
            capabilities = orders.map_or_else(Vec::new, |orders| orders.capabilities().to_vec());
        }
        Health {
            status: self.status(),
            uptime_ms: at_ms,
            firmware: self.firmware.clone(),
            spooled_records: around.spooled_records,
            spooled_bytes: around.spooled_bytes,
            dropped_records: around.dropped_records,
            uplink_losses: around.uplink_losses,
            sensor_errors: self.lanes.iter().map(Lane::faults).sum(),
            alerts_active: (self.rules.raised().count() + failed) as u64,
            wall_offset_ms: offset.map(|offset| offset.ms),
            wall_uncertainty_ms: offset.map(|offset| offset.uncertainty_ms),
            location,
            capabilities,
        }
    }

    /// Somebody has seen a latched rule's alert; see [`Rules::acknowledge`].
    pub fn acknowledge(&mut self, rule: &Name, out: &mut Outlet<A>) -> Acknowledged {
        let acknowledged = self.rules.acknowledge(rule);
        out.has_latched |= acknowledged != Acknowledged::NotRaised;
        if let Acknowledged::Cleared(alert) = &acknowledged {
            out.payloads.push(Payload::Alert(alert.clone()));
        }
        acknowledged
    }
}

/// How many metrics a device may have: as many as one batch has columns.
pub const METRICS_MAX: usize = COLUMNS_MAX;

#[cfg(test)]
mod tests;
