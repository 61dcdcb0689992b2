//! The orders of a fleet's devices.

use peaberry_core::{Input, Instant, Protocol};

use crate::error::EdgeError;
use crate::name::Name;
use crate::order::{OrderCommand, OrderEvent};
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
                Some(_) if self.knows_order(at, key) => None,
                None => Some("this device takes no orders"),
                Some(_) if hosted.device.status() == Status::Maintenance => {
                    Some("the machine is in maintenance")
                }
                Some(_) if self.is_stuck => Some("the disk is full"),
                Some(_) if self.is_held_up() => Some("the disk does not keep up"),
                Some(_) => None,
            };
            if let Some(reason) = reason {
                self.reject(at, now, key, reason, events);
                return Ok(());
            }
        }
        self.step_orders(at, now, Some(Input::Command(command)), events)
    }

    pub(super) fn knows_order(&self, at: usize, key: &Name) -> bool {
        let orders = self.hosted.get(at).and_then(|it| it.device.orders());
        orders.is_some_and(|orders| orders.standing(key).is_some())
    }

    /// An order is not taken. Nothing of that is to be durable, so nothing is waited for.
    pub(super) fn reject(
        &mut self,
        at: usize,
        now: Instant,
        key: &Name,
        reason: &str,
        events: &mut Vec<FleetEvent<A>>,
    ) {
        let Some(hosted) = self.hosted.get(at) else {
            return;
        };
        let device = hosted.device.id().clone();
        let update = OrderUpdate {
            reason: Some(Text::new(reason)),
            ..OrderUpdate::new(key.clone(), OrderPhase::Rejected)
        };
        self.tell(at, now, Payload::Order(update.clone()));
        let event = OrderEvent::Update(update);
        events.push(FleetEvent::Order { device, event });
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
        let at_once = self.state.events().get(begin..).unwrap_or_default();
        let waits = self.state.events_after_commit().get(begin_after..);
        let (at_once, waits) = (at_once.to_vec(), waits.unwrap_or_default().to_vec());
        for event in at_once {
            self.tell_order_event(at, now, &event);
            // A step that waits for the commit, on a full disk perhaps for long, is withdrawn: it must not begin later.
            if !self.withdraw(&id, &event) {
                let device = id.clone();
                events.push(FleetEvent::Order { device, event });
            }
        }
        for event in waits {
            self.tell_order_event(at, now, &event);
            let device = id.clone();
            self.hold(FleetEvent::Order { device, event });
        }
        self.schedule(at);
        Ok(())
    }

    /// Tells what of an event is to be known far away.
    fn tell_order_event(&mut self, at: usize, now: Instant, event: &OrderEvent) {
        match event {
            OrderEvent::Abort { .. } | OrderEvent::Begin { .. } => {}
            OrderEvent::Notify(notification) => {
                self.tell(at, now, Payload::Notification(notification.clone()));
            }
            // A rejection is no end: an order of this key may be under way.
            OrderEvent::Update(update)
                if update.phase.is_final() && update.phase != OrderPhase::Rejected =>
            {
                self.tell_end(at, now, update.clone());
            }
            OrderEvent::Update(update) => self.tell(at, now, Payload::Order(update.clone())),
        }
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
