//! What a fleet holds back until it is durable.

use crate::name::{DeviceId, Name};
use crate::order::OrderEvent;
use crate::payload::Notification;
use crate::uplink::{AckToken, Uplink};

use super::{Fleet, FleetEvent};

/// What waits for a commit to be durable.
pub(super) struct Held<A> {
    pub(super) events: Vec<FleetEvent<A>>,
    /// Messages, by their uplinks, that are dealt with then.
    pub(super) tokens: Vec<(usize, AckToken)>,
    /// Ends of orders whose records are in it.
    pub(super) telling: Vec<(usize, Name)>,
}

/// See [`Fleet::is_held_up`]. Of a gateway's devices each may have an order taken, begun and ended in one sync.
const EVENTS_MAX: usize = 1_000;
const EVENTS_EACH: usize = 4;

impl<A> Default for Held<A> {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            tokens: Vec::new(),
            telling: Vec::new(),
        }
    }
}

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Holds back an event until what it tells of is durable. While it waits for room on the disk or for another sync, perhaps
    /// for long, nothing is held that a later one says as well: so many events as there are devices and steps of their orders,
    /// however often somebody asks.
    pub(super) fn hold(&mut self, event: FleetEvent<A>) {
        if self.is_stuck || self.courier.is_syncing() {
            let events = &mut self.held.events;
            events.retain(|earlier| !says_as_much(&event, earlier));
        }
        self.held_count += 1;
        self.held.events.push(event);
    }

    /// Whether so much waits for a sync that no order is taken before it has ended: each new key is another event.
    pub(super) fn is_held_up(&self) -> bool {
        let events_max = EVENTS_MAX + EVENTS_EACH * self.hosted.len();
        self.courier.is_syncing() && self.held.events.len() >= events_max
    }

    /// Lets go of the beginning of a step that `event` aborts. Whether it was held, so that nobody has heard of it.
    pub(super) fn withdraw(&mut self, id: &DeviceId, event: &OrderEvent) -> bool {
        let OrderEvent::Abort { run: aborted } = event else {
            return false;
        };
        let mut was_held = false;
        for held in [&mut self.held, &mut self.syncing] {
            let count = held.events.len();
            held.events.retain(|held| {
                !matches!(
                    held,
                    FleetEvent::Order { device, event: OrderEvent::Begin { run, .. } } if device == id && run == aborted
                )
            });
            was_held |= held.events.len() < count;
        }
        was_held
    }

    /// What waited is durable.
    pub(super) fn release(&mut self, held: Held<A>, events: &mut Vec<FleetEvent<A>>) {
        events.extend(held.events);
        for (uplink, token) in held.tokens {
            self.courier.acknowledge(uplink, token);
        }
        self.told.extend(held.telling);
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
