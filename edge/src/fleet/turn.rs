//! What a fleet does when it is its turn.

use std::task::Context;

use peaberry_core::mutant::is_planted;
use peaberry_core::{Input, Instant, Protocol};

use crate::courier::CourierReport;
use crate::device::{Configured, Surroundings};
use crate::error::EdgeError;
use crate::name::{DeviceId, Name};
use crate::order::{OrderCommand, OrderEvent, StepRun};
use crate::payload::{
    Action, Command, Level, Notification, OrderPhase, OrderUpdate, Payload, Status, Text, Wire,
};
use crate::spool::Spool;
use crate::time::DeviceTime;
use crate::topic::{Lane, Topic};
use crate::twin::TwinValue;
use crate::uplink::{Message, Uplink};

use super::{Fleet, FleetCommand, FleetEvent};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Takes a command of the application. What it asks for is done in the next [`turn`](Self::turn); what is at once goes to
    /// `events` now.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`] if the store cannot be read: stop. A command that makes no sense is
    /// refused by an event.
    pub fn command(
        &mut self,
        now: Instant,
        command: FleetCommand,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        match command {
            FleetCommand::Order { device, command } => match self.find(&device, events) {
                Some(at) => self.order(at, now, command, events),
                None => Ok(()),
            },
            FleetCommand::Sample {
                device,
                metric,
                at: made,
                value,
            } => match self.find(&device, events) {
                Some(at) => self.sample(at, now, &metric, made, value, events),
                None => Ok(()),
            },
            FleetCommand::Report { device, key, value } => match self.find(&device, events) {
                Some(at) => self.write_twin(at, now, key, value, true, events),
                None => Ok(()),
            },
            FleetCommand::Desire { device, key, value } => match self.find(&device, events) {
                Some(at) => {
                    self.write_twin(at, now, key, value, false, events)?;
                    self.learned(at, now, events)
                }
                None => Ok(()),
            },
            FleetCommand::Tell { device, payload } => match self.find(&device, events) {
                Some(at) => self.tell(at, now, payload, events),
                None => Ok(()),
            },
            FleetCommand::Acknowledge { device, rule } => {
                let Some(at) = self.find(&device, events) else {
                    return Ok(());
                };
                let mut outlet = std::mem::take(&mut self.outlet);
                if let Some(hosted) = self.hosted.get_mut(at) {
                    hosted.device.acknowledge(&rule, &mut outlet);
                }
                self.outlet = outlet;
                self.empty_outlet(at, now, events)
            }
            FleetCommand::Time { wall, round_trip } => {
                for hosted in &mut self.hosted {
                    hosted.device.observe_time(now, wall, round_trip);
                }
                Ok(())
            }
        }
    }

    /// Takes what the uplinks say, does what is due, commits, and lets out what waited; adds to `events` what is to be done.
    /// The waker of `cx` is woken when one has something to say.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] when the store failed other than by being full, or [`EdgeError::Stored`]: stop. Nothing that
    /// was not durable has left.
    pub fn turn(
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
            }
        }
        let mut report = CourierReport::default();
        let storage = self.storage.clone();
        let _ = self.courier.hear(cx, now, storage.as_ref(), &mut report)?;
        self.take(report, now, events)?;
        self.do_what_is_due(now, events)?;
        self.courier.tend(now, storage.as_ref())?;
        self.commit(now, events)?;
        self.courier.send(now, storage.as_ref()).map(drop)
    }

    fn sample(
        &mut self,
        at: usize,
        now: Instant,
        metric: &Name,
        made: DeviceTime,
        value: f64,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let mut outlet = std::mem::take(&mut self.outlet);
        if let Some(hosted) = self.hosted.get_mut(at) {
            let present = DeviceTime {
                boot: hosted.device.boot(),
                since_boot_ms: hosted.device.at_ms(now),
            };
            let reason = if made > present {
                Some(format!("{metric} is from the future"))
            } else if hosted.device.feed(metric, made, value, &mut outlet) {
                None
            } else {
                Some(format!("{} has no metric {metric}", hosted.device.id()))
            };
            let error = reason.map(|reason| EdgeError::malformed("sample", reason));
            let device = hosted.device.id();
            events.extend(error.map(|error| refused(Some(device.clone()), error)));
        }
        self.outlet = outlet;
        self.empty_outlet(at, now, events)
    }

    /// Takes what the courier has heard.
    fn take(
        &mut self,
        report: CourierReport,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        for (message, error) in report.refused {
            let device = Topic::parse(&message.topic).ok().map(|topic| topic.device);
            events.push(refused(device, error));
        }
        for (at, reason) in report.refused_records {
            let device = self.hosted.get(at).map(|it| it.device.id().clone());
            events.push(refused(device, EdgeError::malformed("record", &*reason)));
        }
        for (uplink, is_up) in report.links {
            events.push(FleetEvent::Link { uplink, is_up });
            if is_up {
                self.say_hello(uplink, now, events)?;
            }
        }
        for inbound in report.inbound {
            let token = inbound.token.map(|token| (inbound.device, token));
            self.tokens.extend(token);
            self.inbound(inbound.device, inbound.lane, &inbound.message, now, events)?;
        }
        Ok(())
    }

    /// Each twin of an uplink says what it knows.
    fn say_hello(
        &mut self,
        uplink: usize,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        for at in self.courier.devices_of(uplink) {
            let twin = self.hosted.get(at).and_then(|it| it.device.twin());
            if let Some(hello) = twin.map(crate::twin::Twin::hello) {
                self.tell(at, now, Payload::Twin(hello), events)?;
            }
        }
        Ok(())
    }

    fn inbound(
        &mut self,
        at: usize,
        lane: Lane,
        message: &Message,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let outcome = match lane {
            Lane::Commands => self.obey(at, &message.payload, now, events),
            Lane::DesiredTwin => self.learn(at, &message.payload, now, events),
            Lane::Acks | Lane::Up(_) => Ok(()),
        };
        match outcome {
            Err(error @ (EdgeError::Storage { .. } | EdgeError::Stored { .. })) => Err(error),
            Err(error) => {
                let device = self.hosted.get(at).map(|it| it.device.id().clone());
                events.push(refused(device, error));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn obey(
        &mut self,
        at: usize,
        bytes: &[u8],
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        let device = hosted.device.id().clone();
        match Command::decode(bytes)?.addressed_to(&device)? {
            Action::Ping => {
                let at_ms = hosted.device.at_ms(now);
                let around = surroundings(self.courier.spool(at), self.courier.losses_of(at));
                hosted.device.heartbeat(at_ms, around, &mut self.outlet);
                self.empty_outlet(at, now, events)
            }
            Action::Custom { name, bytes } => {
                self.held.push(FleetEvent::Custom {
                    device,
                    name,
                    bytes,
                });
                Ok(())
            }
            action => match OrderCommand::from_action(action) {
                Some(command) => self.order(at, now, command, events),
                None => Ok(()),
            },
        }
    }

    fn learn(
        &mut self,
        at: usize,
        bytes: &[u8],
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        let wall_ms = hosted.device.wall_ms(hosted.device.at_ms(now));
        let id = hosted.device.id().clone();
        let Some(twin) = hosted.device.twin_mut() else {
            let reason = format!("{id} has none");
            return Err(EdgeError::malformed("twin message", reason));
        };
        let received = twin.receive(bytes, wall_ms, self.state.effects().batch())?;
        for answer in received.answers {
            self.tell(at, now, Payload::Twin(answer), events)?;
        }
        if received.has_changed {
            self.learned(at, now, events)?;
        }
        Ok(())
    }

    /// Applies what is desired of settings, and hands the rest to the application.
    fn learned(
        &mut self,
        at: usize,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let delta = self.hosted.get(at).and_then(|it| it.device.twin());
        let delta = delta.map(crate::twin::Twin::delta).unwrap_or_default();
        let mut rest = Vec::new();
        for (key, value) in delta {
            let Some(hosted) = self.hosted.get_mut(at) else {
                return Ok(());
            };
            match hosted.device.configure(&key, &value) {
                Configured::Applied => self.write_twin(at, now, key, value, true, events)?,
                Configured::NotASetting => rest.push((key, value)),
                Configured::Refused(reason) => {
                    let text = Text::new(&format!("{key} = {value} is refused: {reason}"));
                    let level = Level::Warning;
                    let order = None;
                    let told = Notification { level, text, order };
                    self.tell(at, now, Payload::Notification(told), events)?;
                }
            }
        }
        self.schedule(at);
        if !rest.is_empty()
            && let Some(hosted) = self.hosted.get(at)
        {
            self.held.push(FleetEvent::Delta {
                device: hosted.device.id().clone(),
                delta: rest,
            });
        }
        Ok(())
    }

    fn write_twin(
        &mut self,
        at: usize,
        now: Instant,
        key: Name,
        value: TwinValue,
        is_report: bool,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        let wall_ms = hosted.device.wall_ms(hosted.device.at_ms(now));
        let id = hosted.device.id().clone();
        let mut effects = self.state.effects();
        let written = match hosted.device.twin_mut() {
            Some(twin) if is_report => twin.report(key, value, wall_ms, effects.batch()),
            Some(twin) => twin.desire(key, value, wall_ms, effects.batch()),
            None => Err(EdgeError::malformed(
                "twin entry",
                format!("{id} has no twin"),
            )),
        };
        match written {
            Ok(delta) => self.tell(at, now, Payload::Twin(delta), events),
            Err(error) => {
                events.push(refused(Some(id), error));
                Ok(())
            }
        }
    }

    fn order(
        &mut self,
        at: usize,
        now: Instant,
        command: OrderCommand,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get(at) else {
            return Ok(());
        };
        if let OrderCommand::Place { key, .. } = &command {
            let reason = match hosted.device.orders() {
                None => Some("this device takes no orders"),
                Some(_) if hosted.device.status() == Status::Maintenance => {
                    Some("the machine is in maintenance")
                }
                Some(_) if self.is_stuck => Some("the disk is full"),
                Some(_) => None,
            };
            if let Some(reason) = reason {
                let update = OrderUpdate {
                    reason: Some(Text::new(reason)),
                    ..OrderUpdate::new(key.clone(), OrderPhase::Rejected)
                };
                let device = hosted.device.id().clone();
                self.tell(at, now, Payload::Order(update.clone()), events)?;
                // Nothing of it is to be durable, so nothing is waited for.
                let event = OrderEvent::Update(update);
                events.push(FleetEvent::Order { device, event });
                return Ok(());
            }
        }
        self.step_orders(at, now, Some(Input::Command(command)), events)
    }

    /// Gives the orders of a device an input, or their first turn, and passes on what they say.
    pub(super) fn step_orders(
        &mut self,
        at: usize,
        now: Instant,
        input: Option<Input<OrderCommand>>,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        let id = hosted.device.id().clone();
        let Some(orders) = hosted.device.orders_mut() else {
            return Ok(());
        };
        let (begin, begin_after) = (
            self.state.events().len(),
            self.state.events_after_commit().len(),
        );
        if let Some(input) = input {
            let Ok(()) = orders.step(now, input, &mut self.state.effects());
        }
        let Ok(()) = orders.settle(now, &mut self.state.effects());
        let said = self.state.events().get(begin..).unwrap_or_default();
        let waits = self.state.events_after_commit().get(begin_after..);
        let said: Vec<_> = said
            .iter()
            .chain(waits.unwrap_or_default())
            .cloned()
            .collect();
        for event in said {
            self.pass_on(at, &id, now, event, events)?;
        }
        self.schedule(at);
        Ok(())
    }

    fn pass_on(
        &mut self,
        at: usize,
        id: &DeviceId,
        now: Instant,
        event: OrderEvent,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let device = id.clone();
        match &event {
            OrderEvent::Abort { run } => {
                // A step that waits for the commit, on a full disk perhaps for long, is withdrawn: it must not begin later.
                let run = *run;
                let held = self.held.len();
                self.held.retain(|event| !is_beginning(event, id, run));
                if self.held.len() == held {
                    events.push(FleetEvent::Order { device, event });
                }
                return Ok(());
            }
            OrderEvent::Begin { .. } if is_planted("edge_step_before_journal") => {
                events.push(FleetEvent::Order { device, event });
                return Ok(());
            }
            OrderEvent::Begin { .. } => {}
            OrderEvent::Notify(notification) => {
                let payload = Payload::Notification(notification.clone());
                self.tell(at, now, payload, events)?;
            }
            OrderEvent::Update(update) => {
                let is_told = self.append(at, now, Payload::Order(update.clone()), events)?;
                // A rejection is no end: an order of this key may be under way.
                if update.phase.is_final() && update.phase != OrderPhase::Rejected {
                    let end = (at, update.key.clone());
                    if is_told {
                        self.telling.push(end);
                    } else {
                        self.untold.insert(end);
                    }
                }
            }
        }
        self.held.push(FleetEvent::Order { device, event });
        Ok(())
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
                self.empty_outlet(at, now, events)?;
            }
            self.time_out(at, now, events)?;
            self.schedule(at);
        }
        self.due = due;
        Ok(())
    }

    /// A step of an order that is under way may have had its time.
    fn time_out(
        &mut self,
        at: usize,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let orders = self.hosted.get(at).and_then(|it| it.device.orders());
        let deadline = orders.and_then(Protocol::deadline);
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.step_orders(at, now, Some(Input::Timeout), events)?;
        }
        Ok(())
    }

    fn empty_outlet(
        &mut self,
        at: usize,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let mut outlet = std::mem::take(&mut self.outlet);
        if let Some(hosted) = self.hosted.get(at) {
            let device = hosted.device.id();
            events.extend(outlet.acts.drain(..).map(|act| FleetEvent::Act {
                device: device.clone(),
                act,
            }));
        }
        for payload in outlet.payloads.drain(..) {
            self.append(at, now, payload, events)?;
        }
        self.outlet = outlet;
        self.schedule(at);
        Ok(())
    }

    fn tell(
        &mut self,
        at: usize,
        now: Instant,
        payload: Payload,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        self.append(at, now, payload, events).map(drop)
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
            Err(error @ (EdgeError::Storage { .. } | EdgeError::Stored { .. })) => Err(error),
            Err(error) => {
                let device = self.hosted.get(at).map(|it| it.device.id().clone());
                events.push(refused(device, error));
                Ok(false)
            }
        }
    }

    fn find(&self, device: &DeviceId, events: &mut Vec<FleetEvent<A>>) -> Option<usize> {
        let found = self.courier.find(device);
        if found.is_none() {
            let error = EdgeError::malformed("command", format!("there is no device {device}"));
            events.push(refused(Some(device.clone()), error));
        }
        found
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

fn is_beginning<A>(event: &FleetEvent<A>, id: &DeviceId, aborted: StepRun) -> bool {
    matches!(
        event,
        FleetEvent::Order { device, event: OrderEvent::Begin { run, .. } } if device == id && *run == aborted
    )
}

fn surroundings(spool: Option<&Spool>, uplink_losses: u64) -> Surroundings {
    let status = spool.map(Spool::status).unwrap_or_default();
    Surroundings {
        spooled_records: status.records,
        spooled_bytes: status.bytes,
        dropped_records: status.dropped_records,
        uplink_losses,
    }
}

const fn refused<A>(device: Option<DeviceId>, error: EdgeError) -> FleetEvent<A> {
    FleetEvent::Refused { device, error }
}
