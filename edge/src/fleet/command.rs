//! What a fleet is asked for, and what it wants done.

use bytes::Bytes;

use crate::device::Act;
use crate::error::EdgeError;
use crate::name::{DeviceId, Name};
use crate::order::{OrderCommand, OrderEvent};
use crate::payload::Payload;
use crate::time::DeviceTime;
use crate::twin::TwinValue;

use std::time::Duration;

use peaberry_core::Timestamp;

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
    /// A time server's answer, for all devices; see [`WallClock::observe`](crate::time::WallClock::observe).
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
    /// A rule fired: do this now. Comes before anything is durable.
    Act {
        /// Of which device.
        device: DeviceId,
        /// What.
        act: Act<A>,
    },
    /// The works of a device are to begin a step, which is durable, or to abort one, at once; and what its orders told, once
    /// it is durable.
    Order {
        /// Which device.
        device: DeviceId,
        /// What.
        event: OrderEvent,
    },
    /// The twin of a device learned something: this is desired and not reported. Bring it about, and
    /// [report](FleetCommand::Report) it. Settings have been applied already.
    Delta {
        /// Which device.
        device: DeviceId,
        /// What, in ascending order of keys.
        delta: Vec<(Name, TwinValue)>,
    },
    /// A command of the application's own.
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
