use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use peaberry_core::{Instant, Storage, StorageError};

use super::{Collector, Received};
use crate::error::EdgeError;
use crate::identity::{BootEpoch, RecordId};
use crate::name::DeviceId;
use crate::payload::{Delivery, Wire};
use crate::uplink::{AckToken, Message, Uplink, UplinkEvent};

/// So many messages are committed together at most.
const COMMIT_MAX: usize = 1_024;

/// How many refusals, and how many earlier starts, a report names.
const REFUSALS_MAX: usize = 16;

/// A [`Collector`] on an uplink: takes what comes, commits it, and only then acknowledges it, to the broker and to the
/// devices.
pub struct Intake<U> {
    collector: Collector,
    uplink: U,
    events: Vec<UplinkEvent>,
    seq: u64,
    /// Acknowledgements that the uplink had no room for.
    waiting: Vec<Message>,
}

/// What a turn of an [`Intake`] did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct IntakeReport {
    /// Records that are new and durable now.
    pub new: u64,
    /// Records seen before.
    pub repeated: u64,
    /// Of these, how many were of an earlier start than another that is known; see [`Received::OfEarlierStart`].
    pub of_earlier_starts: u64,
    /// The first of these starts.
    pub earlier_starts: BTreeSet<(DeviceId, BootEpoch)>,
    /// Records that were not taken and will come again.
    pub deferred: u64,
    /// Messages that were refused, and filters that the broker refuses us. A refusal is no answer: what a device of ours has
    /// sent stays in its spool and comes again.
    pub refused: u64,
    /// The first reasons, with their topics or filters.
    pub refusals: Vec<(Arc<str>, EdgeError)>,
    /// Whether the disk was full: nothing was taken.
    pub is_full: bool,
}

impl<U: Uplink> Intake<U> {
    /// Subscribes to everything that the devices of the collector's site send.
    pub fn new(collector: Collector, mut uplink: U) -> Self {
        uplink.subscribe(&collector.filter());
        Self {
            collector,
            uplink,
            events: Vec::new(),
            seq: 0,
            waiting: Vec::new(),
        }
    }

    /// The collector.
    pub const fn collector(&mut self) -> &mut Collector {
        &mut self.collector
    }

    /// Takes what has come. `Pending`: nothing has; the waker of `cx` is woken when something does, and
    /// [`Collector::deadline`] says when to come back anyway.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] when the store failed other than by being full; [`EdgeError::Stored`]. Stop: nothing that was
    /// not durable has been acknowledged.
    pub fn turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        storage: &dyn Storage,
    ) -> Result<Poll<IntakeReport>, EdgeError> {
        let polled = self.uplink.poll_events(cx, &mut self.events);
        let mut report = IntakeReport::default();
        let (mut tokens, mut durable) = (Vec::new(), 0);
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                UplinkEvent::Inbound { message, token } => {
                    tokens.extend(token);
                    let received = self.collector.receive(storage, &message);
                    note(received, &message, &mut report)?;
                }
                UplinkEvent::NotSubscribed { filter, reason } => {
                    let error = EdgeError::NotSubscribed {
                        filter: filter.to_string(),
                        reason: reason.to_string(),
                    };
                    report.refuse(&filter, error);
                }
                _ => {}
            }
            if tokens.len() >= COMMIT_MAX {
                self.commit(storage, &mut tokens, &mut durable, &mut report)?;
            }
        }
        self.events = events;
        self.commit(storage, &mut tokens, &mut durable, &mut report)?;
        self.tell(now);
        Ok(polled.map(|()| report))
    }

    fn commit(
        &mut self,
        storage: &dyn Storage,
        tokens: &mut Vec<AckToken>,
        durable: &mut u64,
        report: &mut IntakeReport,
    ) -> Result<(), EdgeError> {
        match self.collector.commit(storage) {
            Ok(()) => *durable = report.new,
            Err(EdgeError::Storage {
                source: StorageError::Full { .. },
                ..
            }) => {
                report.is_full = true;
                // What earlier commits of this turn made durable stays taken.
                report.deferred += report.new - *durable;
                report.new = *durable;
            }
            Err(error) => return Err(error),
        }
        // Also where nothing was kept: the device sends again, and the broker's window is free for it.
        for token in tokens.drain(..) {
            self.uplink.acknowledge(token);
        }
        Ok(())
    }

    fn tell(&mut self, now: Instant) {
        if self.uplink.room() == 0 {
            return;
        }
        // The collector keeps one for each stream, and replaces it by a later one: here they would pile up.
        if self.waiting.is_empty() {
            self.waiting = self.collector.acks(now);
        }
        while self.uplink.room() > 0
            && let Some(message) = self.waiting.pop()
        {
            self.seq += 1;
            // One that is lost is made up for when the device sends again.
            let _ = self.uplink.submit(self.seq, message);
        }
    }
}

/// Counts what became of a message; what makes no sense is named and passed over.
pub(super) fn note(
    received: Result<Received, EdgeError>,
    message: &Message,
    report: &mut IntakeReport,
) -> Result<(), EdgeError> {
    match received {
        Ok(Received::New(_)) => report.new += 1,
        Ok(Received::Repeated) => report.repeated += 1,
        Ok(Received::OfEarlierStart { .. }) => {
            report.repeated += 1;
            report.of_earlier_starts += 1;
            if let Ok(Delivery { record, .. }) = Delivery::decode(&message.payload)
                && report.earlier_starts.len() < REFUSALS_MAX
            {
                let RecordId { device, boot, .. } = record.id;
                report.earlier_starts.insert((device, boot));
            }
        }
        Ok(Received::Deferred) => report.deferred += 1,
        Err(error @ (EdgeError::Storage { .. } | EdgeError::Stored { .. })) => return Err(error),
        Err(error) => report.refuse(&message.topic, error),
    }
    Ok(())
}

impl IntakeReport {
    fn refuse(&mut self, topic: &Arc<str>, error: EdgeError) {
        self.refused += 1;
        if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push((topic.clone(), error));
        }
    }
}

impl<U> fmt::Debug for Intake<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("collector", &self.collector)
            .finish_non_exhaustive()
    }
}
