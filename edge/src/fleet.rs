//! One driver for any number of devices: one timer wheel, one commit; no task, channel or sleep for each.
//!
//! A [`Fleet`] hosts [`Device`]s with their [spools](crate::spool) on one store. All go by one [`Uplink`], or by
//! [several](Fleet::open_over): a few that they share, or one for each. Whoever hosts it calls [`turn`](Fleet::turn) when it is
//! woken and at its [deadline](Fleet::deadline), and carries out the [events](FleetEvent); [`FleetThread`] does that on a
//! thread of its own. A host that waits for a disk calls [`decide`](Fleet::decide), carries out what it says, and then calls
//! [`settle`](Fleet::settle), as that thread does.
//!
//! # One turn
//!
//! 1. What the uplink and the application say is taken: acknowledgements cut spools, commands place orders, twins learn.
//! 2. What is due is done: sensors read, batches and heartbeats told, steps given up that took too long.
//! 3. Rules that fired act, and steps are broken off, at once: before the disk is read or written.
//! 4. **One commit** makes all of it durable: records, orders, twins.
//! 5. What waited for it leaves: steps begin, records are sent, messages are acknowledged to the broker.
//!
//! So no step begins and no record leaves that a crash could make unheard of, and ten thousand devices share one sync. A
//! fleet may [sync beside](Fleet::sync_beside) its turns: then a disk whose syncs hang keeps no rule from acting.
//!
//! # When the disk is full
//!
//! Records of the turn are given up and told in a gap, oldest telemetry makes room, and what orders and twins have to write
//! is kept until there is some; until then no order is taken, and whoever sends one is told why.

mod command;
mod commit;
mod held;
mod host;
mod inbound;
mod open;
mod orders;
mod turn;
mod twins;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use peaberry_core::{EffectsBuffer, Instant, ProtocolId, Storage};

pub use self::command::{FleetCommand, FleetEvent};
pub use self::host::{FleetHandle, FleetThread};

use self::held::Held;
use self::turn::ToSpool;
use self::twins::Owed;
use crate::courier::Courier;
use crate::device::{Device, Outlet};
use crate::identity::BootSalt;
use crate::name::{DeviceId, Name, SiteId};
use crate::order::OrderEvent;
use crate::spool::{Spool, SpoolSettings, SpoolStatus};
use crate::uplink::Uplink;
use crate::wheel::Wheel;

/// The protocol under whose channels fleets keep their orders and twins; the group is the device's number in its store.
pub const FLEET: ProtocolId = ProtocolId(62);

/// The devices of one store. See [the module](self).
///
/// `A` is what rules have done at once.
pub struct Fleet<U, A = Name> {
    /// The spools of the devices, under their indices, and their uplinks.
    courier: Courier<U>,
    site: SiteId,
    storage: Arc<dyn Storage>,
    hosted: Vec<Hosted<A>>,
    origin: Instant,
    wheel: Wheel,
    /// What orders and twins write; kept until there is room for it.
    state: EffectsBuffer<OrderEvent>,
    /// The size up to which it is not looked through for what was written twice.
    state_bytes_max: usize,
    /// What waits for the next commit, and for the sync under way.
    held: Held<A>,
    syncing: Held<A>,
    /// How many events were held back so far.
    held_count: u64,
    /// Ends of orders whose records are durable.
    told: Vec<(usize, Name)>,
    /// Ends whose records were given up.
    untold: BTreeSet<(usize, Name)>,
    outlet: Outlet<A>,
    /// Devices whose twins were looked at.
    awake: BTreeSet<usize>,
    /// Devices whose twins have left a question without an answer.
    owing: BTreeMap<usize, Owed>,
    /// Records that are to be spooled at the end of the turn.
    to_spool: Vec<ToSpool>,
    /// How much of that twins have said, by their devices.
    twins_say: BTreeMap<usize, usize>,
    due: Vec<(u64, u32)>,
    has_begun: bool,
    /// The last commit found no room.
    is_full: bool,
    /// And what orders or twins had to write waits for some.
    is_stuck: bool,
}

struct Hosted<A> {
    device: Device<A>,
    /// For when the wheel has it.
    wake_ms: Option<u64>,
    /// What its twin has said last that it knows.
    said: Option<[u8; 16]>,
    /// What its twin has answered last, and which desired settings it has refused, by their digests.
    answered: u64,
    refused: Vec<u64>,
    /// Whether the application was handed last what it has yet to bring about, and not that there is nothing.
    has_wishes: bool,
}

/// How a [`Fleet`] stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetStatus {
    /// Readings taken in this start.
    pub readings: u64,
    /// Of these, how many a whole period or more after they were due.
    pub late_readings: u64,
    /// And how many wait to be told in a batch: they are in no spool yet.
    pub waiting_readings: u64,
    /// Records in all spools.
    pub spooled_records: u64,
    /// Records given up in this start.
    pub dropped_records: u64,
    /// Records handed to uplinks in this start, repetitions too.
    pub sent_records: u64,
    /// Whether every uplink is up.
    pub is_up: bool,
    /// How many are.
    pub uplinks_up: usize,
    /// How often any was lost in this start.
    pub losses: u64,
    /// Messages that came in this start and were no sense, or for no device here; see [`FleetEvent::Refused`] for each.
    pub refused_messages: u64,
}

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Syncs beside the turns, on a thread of its own: while a sync lasts, sensors are read, rules act, steps are broken off,
    /// and what was durable before is sent. What is decided meanwhile shares the next sync, and what waits for a sync leaves
    /// when that has ended. For a disk whose syncs take long, or may hang. Dropping the fleet waits for the sync under way.
    ///
    /// What waits is bounded: beyond 8 MiB of records, those that come are given up and told in a gap; beyond some events for
    /// each device, orders are rejected. A disk that hangs also in its reads or writes holds up the turns that come then: those
    /// are on the fleet's thread.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub fn sync_beside(mut self) -> std::io::Result<Self> {
        self.courier = self.courier.sync_beside(self.storage.clone())?;
        Ok(self)
    }

    /// The device called `id`.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<&Device<A>> {
        let hosted = self.hosted.get(self.courier.find(id)?)?;
        Some(&hosted.device)
    }

    /// Every device, in the order in which they were given.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = &Device<A>> {
        self.hosted.iter().map(|hosted| &hosted.device)
    }

    /// How the spool of a device stands.
    #[must_use]
    pub fn spool(&self, id: &DeviceId) -> Option<SpoolStatus> {
        let spool = self.courier.spool(self.courier.find(id)?)?;
        Some(spool.status())
    }

    /// How all of them stand.
    #[must_use]
    pub fn status(&self) -> FleetStatus {
        let mut status = FleetStatus {
            is_up: self.courier.is_up(),
            uplinks_up: self.courier.uplinks_up(),
            losses: self.courier.losses(),
            refused_messages: self.courier.refused_messages(),
            ..FleetStatus::default()
        };
        for (at, Hosted { device, .. }) in self.hosted.iter().enumerate() {
            let (readings, late) = device.counts();
            let spool = self.courier.spool(at).map(Spool::status);
            let spool = spool.unwrap_or_default();
            status.readings += readings;
            status.late_readings += late;
            status.waiting_readings += device.waiting_readings() as u64;
            status.spooled_records += spool.records;
            status.dropped_records += spool.dropped_records;
            status.sent_records += spool.sent_records;
        }
        status
    }

    /// When [`turn`](Self::turn) wants to be called, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if !self.has_begun {
            return Some(self.origin);
        }
        let devices = self.wheel.next_ms();
        let devices = devices.map(|at_ms| self.origin + Duration::from_millis(at_ms));
        devices.into_iter().chain(self.courier.deadline()).min()
    }

    /// The uplinks, to look at them, in the order in which they were given.
    pub fn uplinks(&self) -> impl ExactSizeIterator<Item = &U> {
        self.courier.uplinks()
    }
}

impl<U: Uplink, A> fmt::Debug for Fleet<U, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("site", &self.site)
            .field("devices", &self.hosted.len())
            .field("courier", &self.courier)
            .finish_non_exhaustive()
    }
}

/// How a fleet is set up.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "what its spools share")]
pub struct FleetSettings {
    /// Of each device's spool.
    pub spool: SpoolSettings,
}

impl FleetSettings {
    /// What is usual, with a [salt](SpoolSettings::boot_salt) that is given: where a seed is to replay what happens. Else it
    /// is drawn.
    #[must_use]
    pub fn salted(boot_salt: u64) -> Self {
        let spool = SpoolSettings {
            boot_salt: BootSalt::Given(boot_salt),
            ..SpoolSettings::default()
        };
        Self { spool }
    }
}

#[cfg(test)]
mod tests;
