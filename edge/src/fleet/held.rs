//! What a fleet holds back until it is durable.

use crate::name::DeviceId;
use crate::order::OrderEvent;
use crate::payload::Notification;
use crate::uplink::Uplink;

use super::{Fleet, FleetEvent};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Holds back an event until what it tells of is durable. While it waits for room on the disk, perhaps for long, nothing
    /// is held that a later one says as well: so many events as there are devices and steps of their orders, however often
    /// somebody asks.
    pub(super) fn hold(&mut self, event: FleetEvent<A>) {
        if self.is_stuck {
            self.held.retain(|earlier| !says_as_much(&event, earlier));
        }
        self.held.push(event);
    }

    /// Lets go of the beginning of a step that `event` aborts. Whether it was held, so that nobody has heard of it.
    pub(super) fn withdraw(&mut self, id: &DeviceId, event: &OrderEvent) -> bool {
        let OrderEvent::Abort { run: aborted } = event else {
            return false;
        };
        let count = self.held.len();
        self.held.retain(|held| {
            !matches!(
                held,
                FleetEvent::Order { device, event: OrderEvent::Begin { run, .. } } if device == id && run == aborted
            )
        });
        self.held.len() < count
    }
}

/// Whether who hears `later` need not have heard `earlier`.
fn says_as_much<A>(later: &FleetEvent<A>, earlier: &FleetEvent<A>) -> bool {
    match (later, earlier) {
        // Each is all that is desired and not reported.
        (FleetEvent::Delta { device, .. }, FleetEvent::Delta { device: of, .. }) => device == of,
        (
            FleetEvent::Order { device, event },
            FleetEvent::Order {
                device: of,
                event: earlier,
            },
        ) => device == of && (event == earlier || are_of_machine(event, earlier)),
        _ => false,
    }
}

/// Whether both tell a person how the machine is, and are not about an order.
const fn are_of_machine(later: &OrderEvent, earlier: &OrderEvent) -> bool {
    const fn is_one(event: &OrderEvent) -> bool {
        matches!(event, OrderEvent::Notify(Notification { order: None, .. }))
    }
    is_one(later) && is_one(earlier)
}
