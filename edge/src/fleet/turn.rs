//! What a fleet does when it is its turn.

use std::task::Context;

use peaberry_core::{Channel, Instant, Protocol, Subspace};

use crate::courier::CourierReport;
use crate::device::Surroundings;
use crate::error::EdgeError;
use crate::name::{DeviceId, Name};
use crate::payload::{OrderUpdate, Payload};
use crate::spool::Spool;
use crate::topic::Topic;
use crate::uplink::{Message, Uplink};

use super::{FLEET, Fleet, FleetEvent};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// [Decides](Self::decide) and [settles](Self::settle): for a host whose commits do not keep it waiting.
    ///
    /// # Errors
    ///
    /// Those of both: stop. Carry out what is in `events` also then.
    pub fn turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        self.decide(cx, now, events)?;
        self.settle(cx, now, events)
    }

    /// The first half of a turn: takes what the uplinks say and does what is due. What it adds to `events` needs nothing
    /// durable, such as a rule's act or the end of a step: carry it out before you call [`settle`](Self::settle), which may
    /// wait for the disk. This neither reads nor writes it. The waker of `cx` is woken when an uplink has something to say.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] if a sync [beside](Self::sync_beside) the turns has failed: stop. Carry out what is in `events`
    /// also then.
    pub fn decide(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        if !self.has_begun {
            self.has_begun = true;
            for at in 0..self.hosted.len() {
                self.step_orders(at, now, None, events)?;
                // What was desired before and has not been brought about is desired still.
                self.learned(at, now, events)?;
                self.rest_twins();
            }
        }
        self.take_synced(cx, events)?;
        let mut report = CourierReport::default();
        let _ = self.courier.hear(cx, now, &mut report);
        self.take(report, now, events)?;
        self.answer_what_is_owed(now, events)?;
        self.do_what_is_due(now, events)
    }

    /// The second half of a turn: spools and commits what was decided, and lets out what waited for that; adds to `events` what is to be
    /// done now. Where the fleet [syncs beside](Self::sync_beside) its turns, the waker of `cx` is woken when the sync has
    /// ended.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] when the store failed other than by being full, or [`EdgeError::Stored`]: stop. Nothing that
    /// was not durable has left. Carry out what is in `events` also then.
    pub fn settle(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let storage = self.storage.clone();
        let mut report = CourierReport::default();
        self.courier.cut(now, storage.as_ref(), &mut report)?;
        take_refused(report.refused, events);
        self.spool_told(events)?;
        self.courier.tend(now, storage.as_ref())?;
        self.commit(cx, now, events)?;
        self.rest_twins();
        self.courier.send(now, storage.as_ref()).map(drop)
    }

    fn do_what_is_due(
        &mut self,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let now_ms = self.ms(now);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now_ms, &mut due);
        for (due_ms, at) in due.drain(..) {
            let at = at as usize;
            let Some(hosted) = self.hosted.get_mut(at) else {
                continue;
            };
            // Another timer was set meanwhile.
            if hosted.wake_ms != Some(due_ms) {
                continue;
            }
            hosted.wake_ms = None;
            if hosted.device.due_ms() <= now_ms {
                let around = surroundings(self.courier.spool(at), self.courier.losses_of(at));
                hosted.device.poll(now_ms, around, &mut self.outlet);
                self.empty_outlet(at, now, events);
            }
            self.time_out(at, now, events)?;
            self.schedule(at);
        }
        self.due = due;
        Ok(())
    }

    pub(super) fn empty_outlet(
        &mut self,
        at: usize,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) {
        let mut outlet = std::mem::take(&mut self.outlet);
        if let Some(hosted) = self.hosted.get(at) {
            if std::mem::take(&mut outlet.has_latched)
                && let Some(spool) = self.courier.spool(at)
            {
                let space = Subspace::of(Channel::new(FLEET, spool.owner().group));
                let mut effects = self.state.effects();
                hosted.device.save_latches(&space, effects.batch());
            }
            let device = hosted.device.id();
            events.extend(outlet.acts.drain(..).map(|act| FleetEvent::Act {
                device: device.clone(),
                act,
            }));
        }
        for payload in outlet.payloads.drain(..) {
            self.tell(at, now, payload);
        }
        self.outlet = outlet;
        self.schedule(at);
    }

    /// Has a record spooled at the end of the turn: that may have to read the disk, and what is decided must not wait for it.
    pub(super) fn tell(&mut self, at: usize, now: Instant, payload: Payload) {
        if let Payload::Twin(bytes) = &payload {
            *self.twins_say.entry(at).or_default() += bytes.len();
        }
        self.to_spool.push(ToSpool {
            at,
            now,
            payload,
            ended: None,
        });
    }

    /// The same for the end of an order, which is told until its record is durable.
    pub(super) fn tell_end(&mut self, at: usize, now: Instant, end: OrderUpdate) {
        self.to_spool.push(ToSpool {
            at,
            now,
            ended: Some(end.key.clone()),
            payload: Payload::Order(end),
        });
    }

    /// Spools what is to be told.
    pub(super) fn spool_told(&mut self, events: &mut Vec<FleetEvent<A>>) -> Result<(), EdgeError> {
        let mut to_spool = std::mem::take(&mut self.to_spool);
        self.twins_say.clear();
        for told in to_spool.drain(..) {
            let is_kept = self.append(told.at, told.now, told.payload, events)?;
            let Some(key) = told.ended else {
                continue;
            };
            if is_kept {
                self.held.telling.push((told.at, key));
            } else {
                self.untold.insert((told.at, key));
            }
        }
        if to_spool.capacity() <= RECORDS_KEPT {
            self.to_spool = to_spool;
        }
        Ok(())
    }

    /// Spools a record. Whether it is kept.
    pub(super) fn append(
        &mut self,
        at: usize,
        now: Instant,
        payload: Payload,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<bool, EdgeError> {
        match self.courier.append(at, now, self.storage.as_ref(), payload) {
            Ok(_) => Ok(true),
            Err(error) => self.refuse(at, error, events).map(|()| false),
        }
    }

    /// Has the wheel wake a device no later than it wants to be.
    pub(super) fn schedule(&mut self, at: usize) {
        let origin = self.origin;
        let Some(hosted) = self.hosted.get_mut(at) else {
            return;
        };
        let orders = hosted.device.orders().and_then(Protocol::deadline);
        let orders = orders.map(|at| {
            let nanos = at.since(origin).as_nanos();
            u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX)
        });
        let due_ms = hosted.device.due_ms().min(orders.unwrap_or(u64::MAX));
        if hosted.wake_ms.is_none_or(|wake_ms| due_ms < wake_ms) {
            hosted.wake_ms = Some(due_ms);
            self.wheel
                .insert(due_ms, u32::try_from(at).unwrap_or(u32::MAX));
        }
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }
}

/// A record that is to be spooled.
pub(super) struct ToSpool {
    at: usize,
    now: Instant,
    payload: Payload,
    /// The order whose end it tells.
    ended: Option<Name>,
}

/// Room for so many records is kept for the next turn.
const RECORDS_KEPT: usize = 16;

pub(super) fn surroundings(spool: Option<&Spool>, uplink_losses: u64) -> Surroundings {
    let status = spool.map(Spool::status).unwrap_or_default();
    Surroundings {
        spooled_records: status.records,
        spooled_bytes: status.bytes,
        dropped_records: status.dropped_records,
        uplink_losses,
    }
}

pub(super) fn take_refused<A>(
    messages: Vec<(Message, EdgeError)>,
    events: &mut Vec<FleetEvent<A>>,
) {
    for (message, error) in messages {
        let device = Topic::parse(&message.topic).ok().map(|topic| topic.device);
        events.push(refused(device, error));
    }
}

pub(super) const fn refused<A>(device: Option<DeviceId>, error: EdgeError) -> FleetEvent<A> {
    FleetEvent::Refused { device, error }
}
