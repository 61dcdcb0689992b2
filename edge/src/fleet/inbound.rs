//! What a fleet hears from its uplinks.

use peaberry_core::Instant;

use crate::courier::CourierReport;
use crate::error::EdgeError;
use crate::order::OrderCommand;
use crate::payload::{Action, Command, Wire};
use crate::topic::{Lane, Topic};
use crate::uplink::{Message, Uplink};

use super::turn::{refused, surroundings, take_refused};
use super::{Fleet, FleetEvent};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Takes what the courier has heard.
    pub(super) fn take(
        &mut self,
        report: CourierReport,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        take_refused(report.refused, events);
        for (_, filter, reason) in report.not_subscribed {
            let device = Topic::device_of_filter(&filter);
            let (filter, reason) = (filter.to_string(), reason.to_string());
            events.push(refused(device, EdgeError::NotSubscribed { filter, reason }));
        }
        for (at, reason) in report.refused_records {
            self.refuse(at, EdgeError::malformed("record", &*reason), events)?;
        }
        for (uplink, is_up) in report.links {
            events.push(FleetEvent::Link { uplink, is_up });
            if !is_up {
                // What the broker waits for it sends again, under other tokens.
                self.held.tokens.retain(|(of, _)| *of != uplink);
            } else {
                for at in self.courier.devices_of(uplink) {
                    if let Some(hosted) = self.hosted.get_mut(at) {
                        hosted.device.tell_profile();
                    }
                    self.say_hello(at, now);
                }
            }
        }
        for inbound in report.inbound {
            let before = self.what_waits();
            self.inbound(inbound.device, inbound.lane, &inbound.message, now, events)?;
            let Some(token) = inbound.token else {
                continue;
            };
            // What waits for room must not fill the broker's window with what does not, nor with what a twin's service says
            // again to whoever has lost it.
            let waits_for_nothing = match inbound.lane {
                Lane::Commands => self.what_waits() == before,
                Lane::DesiredTwin => self.is_stuck,
                Lane::Acks | Lane::Up(_) => false,
            };
            if waits_for_nothing {
                self.courier.note_heard(inbound.uplink, token);
            } else {
                self.held.tokens.push((inbound.uplink, token));
            }
        }
        Ok(())
    }

    /// Grows with all that is to be durable before a message is acknowledged.
    fn what_waits(&self) -> (usize, u64) {
        (self.state.batch().bytes(), self.held_count)
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
            Lane::Commands => self.obey(at, message, now, events),
            Lane::DesiredTwin => self.learn(at, &message.payload, now, events),
            Lane::Acks | Lane::Up(_) => Ok(()),
        };
        outcome.or_else(|error| self.refuse(at, error, events))
    }

    /// What was refused is told and passed over; what the store says ends the turn.
    pub(super) fn refuse(
        &self,
        at: usize,
        error: EdgeError,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        if matches!(error, EdgeError::Storage { .. } | EdgeError::Stored { .. }) {
            return Err(error);
        }
        let device = self.hosted.get(at).map(|it| it.device.id().clone());
        events.push(refused(device, error));
        Ok(())
    }

    fn obey(
        &mut self,
        at: usize,
        message: &Message,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        let Some(hosted) = self.hosted.get_mut(at) else {
            return Ok(());
        };
        let device = hosted.device.id().clone();
        match Command::decode(&message.payload)?.addressed_to(&device)? {
            Action::Ping => {
                let at_ms = hosted.device.at_ms(now);
                let around = surroundings(self.courier.spool(at), self.courier.losses_of(at));
                hosted.device.tell_profile();
                hosted.device.heartbeat(at_ms, around, &mut self.outlet);
                self.empty_outlet(at, now, events);
                Ok(())
            }
            Action::Custom { name, bytes } => {
                // Nothing of it is kept here.
                events.push(FleetEvent::Custom {
                    device,
                    name,
                    bytes,
                });
                Ok(())
            }
            Action::PlaceOrder { key, .. }
                if message.is_retained && !self.knows_order(at, &key) =>
            {
                self.reject(at, now, &key, RETAINED, events);
                Ok(())
            }
            action => match OrderCommand::from_action(action) {
                Some(command) => self.order(at, now, command, events),
                None => Ok(()),
            },
        }
    }
}

/// The broker hands it out with each subscription, also when its key is long forgotten: it would be made again.
const RETAINED: &str =
    "the order was kept by the broker: place it with a message that is not retained";
