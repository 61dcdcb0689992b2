//! What a fleet is asked for, and what it wants done.

use std::time::Duration;

use bytes::Bytes;
use peaberry_core::{Instant, Timestamp};

use crate::device::Act;
use crate::error::EdgeError;
use crate::name::{DeviceId, Name};
use crate::order::{OrderCommand, OrderEvent};
use crate::payload::{Level, Notification, Payload, Text};
use crate::time::{DeviceTime, Learned};
use crate::twin::TwinValue;
use crate::uplink::Uplink;

use super::Fleet;
use super::turn::refused;

/// What the application asks of a fleet or tells it. Commands of others come by the uplink.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FleetCommand {
    /// About the orders of a device: what its works report, what its tank holds, and orders placed on the spot.
    Order {
        /// Which device.
        device: DeviceId,
        /// What.
        command: OrderCommand,
    },
    /// A sample of a metric that is handed in. One from the future is refused: it would silence the rules until then.
    Sample {
        /// Of which device.
        device: DeviceId,
        /// Which metric.
        metric: Name,
        /// When it was made. One of an earlier start is passed over.
        at: DeviceTime,
        /// Its value.
        value: f64,
    },
    /// The device reports an entry of its twin.
    Report {
        /// Which device.
        device: DeviceId,
        /// Which entry.
        key: Name,
        /// Its value.
        value: TwinValue,
    },
    /// Somebody on the spot desires an entry of its twin.
    Desire {
        /// Which device.
        device: DeviceId,
        /// Which entry.
        key: Name,
        /// Its value.
        value: TwinValue,
    },
    /// The device has something of its own to tell.
    Tell {
        /// Which device.
        device: DeviceId,
        /// What.
        payload: Payload,
    },
    /// Somebody has seen a latched rule's alert.
    Acknowledge {
        /// Of which device.
        device: DeviceId,
        /// Which rule.
        rule: Name,
    },
    /// A time server's answer, for all devices; see [`WallClock::observe`](crate::time::WallClock::observe). A jump that a
    /// device believes it tells in a notification.
    Time {
        /// What it says.
        wall: Timestamp,
        /// How long it took to say so.
        round_trip: Duration,
    },
}

/// What a fleet wants done, or tells its application.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FleetEvent<A> {
    /// A rule fired: do this now. Comes before anything is durable, and also when the store fails.
    Act {
        /// Of which device.
        device: DeviceId,
        /// What.
        act: Act<A>,
    },
    /// The works of a device are to begin a step, which is durable, or to abort one, at once; and what its orders told: at
    /// once where nothing of it is to be durable, as with progress and rejections, else once it is.
    Order {
        /// Which device.
        device: DeviceId,
        /// What.
        event: OrderEvent,
    },
    /// The twin of a device learned something: this is desired and not reported. Bring it about, and
    /// [report](FleetCommand::Report) it. Settings have been applied already. It is all that there is to bring about: what an
    /// earlier one says besides is desired no more, or reported. Empty: there is nothing any more.
    Delta {
        /// Which device.
        device: DeviceId,
        /// What, in ascending order of keys.
        delta: Vec<(Name, TwinValue)>,
    },
    /// A command of the application's own. It is handed over once, and acknowledged to the broker then: it is not durable
    /// here, and lost with the power if the application has not made it so.
    Custom {
        /// For which device.
        device: DeviceId,
        /// What it is.
        name: Name,
        /// Its bytes: a stranger's.
        bytes: Bytes,
    },
    /// Something was refused, and nothing else stops: a stranger's message, a command to no device of ours, a record for
    /// which there is no room.
    Refused {
        /// Which device it was for, where it was for one.
        device: Option<DeviceId>,
        /// Why.
        error: EdgeError,
    },
    /// An uplink went up or down.
    Link {
        /// Which, in the order in which they were given.
        uplink: usize,
        /// Whether it is up.
        is_up: bool,
    },
    /// The disk was full, and so many records are lost. Gap records will say which.
    Lost {
        /// How many.
        records: u64,
    },
}

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
                Some(at) => {
                    self.tell(at, now, payload);
                    Ok(())
                }
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
                self.empty_outlet(at, now, events);
                Ok(())
            }
            FleetCommand::Time { wall, round_trip } => {
                self.learn_time(now, wall, round_trip, events)
            }
        }
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
        self.empty_outlet(at, now, events);
        Ok(())
    }

    /// Each device judges by itself what it is told of the time. One that has believed a jump says so: until then it dated
    /// its records otherwise.
    fn learn_time(
        &mut self,
        now: Instant,
        wall: Timestamp,
        round_trip: Duration,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        for at in 0..self.hosted.len() {
            let learned = self.hosted.get_mut(at);
            let learned = learned.map(|it| it.device.observe_time(now, wall, round_trip));
            if matches!(learned, Some(Learned::First | Learned::Jumped { .. })) {
                self.date_twin(at, now, events)?;
            }
            if let Some(Learned::Jumped { by_ms }) = learned {
                let text = format!("the wall clock was set by {by_ms} ms; records are dated anew");
                let (level, text, order) = (Level::Warning, Text::new(&text), None);
                let told = Notification { level, text, order };
                self.tell(at, now, Payload::Notification(told));
            }
        }
        Ok(())
    }

    fn find(&self, device: &DeviceId, events: &mut Vec<FleetEvent<A>>) -> Option<usize> {
        let found = self.courier.find(device);
        if found.is_none() {
            let error = EdgeError::malformed("command", format!("there is no device {device}"));
            events.push(refused(Some(device.clone()), error));
        }
        found
    }
}
