//! The orders of a fleet's devices.

use peaberry_core::mutant::is_planted;
use peaberry_core::{Input, Instant, Protocol};

use crate::error::EdgeError;
use crate::name::DeviceId;
use crate::order::{OrderCommand, OrderEvent, StepRun};
use crate::payload::{OrderPhase, OrderUpdate, Payload, Status, Text};
use crate::uplink::Uplink;

use super::{Fleet, FleetEvent};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    pub(super) fn order(
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
                // However the machine is by now: whoever asks again is told how that order stands.
                Some(orders) if orders.standing(key).is_some() => None,
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

    /// A step of an order that is under way may have had its time.
    pub(super) fn time_out(
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
}

fn is_beginning<A>(event: &FleetEvent<A>, id: &DeviceId, aborted: StepRun) -> bool {
    matches!(
        event,
        FleetEvent::Order { device, event: OrderEvent::Begin { run, .. } } if device == id && *run == aborted
    )
}
