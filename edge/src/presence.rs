//! Which devices there are, as their collector sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use peaberry_core::Instant;

use crate::identity::BootEpoch;
use crate::name::{DeviceId, Name};
use crate::payload::{Health, Payload, Record, Status, Text};

/// The devices of a site: when each was last heard of, how it says it is doing, and what it is. Feed it with every record,
/// old ones too: what an earlier start reports does not overwrite what a later one said.
///
/// Time comes from outside and is the collector's own: a device's clock decides nothing here.
///
/// ```
/// use std::time::Duration;
/// use peaberry_core::Instant;
/// use peaberry_edge::payload::{Health, Payload, Record, Status};
/// use peaberry_edge::presence::Presence;
/// use peaberry_edge::{BootEpoch, Name, RecordId};
///
/// let mut presence = Presence::new(Duration::from_secs(90));
/// let device = Name::new("m-1").unwrap();
/// let id = RecordId { device: device.clone(), boot: BootEpoch::FIRST, sequence: 1 };
/// let health = Health { status: Status::Maintenance, ..Health::default() };
/// presence.observe(Instant::default(), &Record { id, at_ms: 0, payload: Payload::Health(health) });
/// let soon = Instant::default() + Duration::from_secs(60);
/// assert_eq!(presence.status(soon, &device), Status::Maintenance);
/// assert_eq!(presence.status(soon + Duration::from_secs(60), &device), Status::Offline);
/// ```
#[derive(Debug)]
pub struct Presence {
    silence_max: Duration,
    devices: BTreeMap<DeviceId, Sighting>,
}

/// What is known of a device.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sighting {
    /// When it was last heard of, on the collector's clock.
    pub last_seen: Instant,
    /// Its latest start.
    pub boot: BootEpoch,
    /// Where it stands, in its own words; empty until it has said so.
    pub location: Text,
    /// What it can do.
    pub capabilities: Vec<Name>,
    /// Its last health report of that start.
    pub health: Option<Health>,
    reported: (BootEpoch, u64),
}

impl Presence {
    /// Devices are offline when they have been silent for longer than `silence_max`: three heartbeats are usual.
    #[must_use]
    pub const fn new(silence_max: Duration) -> Self {
        Self {
            silence_max,
            devices: BTreeMap::new(),
        }
    }

    /// Forgets a device: one that is gone for good, or whose name somebody has made up. Call it with
    /// [`Collector::forget`](crate::collector::Collector::forget), or made-up names fill the memory. If it is heard of again, it
    /// is a new one. Answers whether it was known.
    pub fn forget(&mut self, device: &DeviceId) -> bool {
        self.devices.remove(device).is_some()
    }

    /// Takes note of a record that came in `now`.
    pub fn observe(&mut self, now: Instant, record: &Record) {
        let id = &record.id;
        let sighting = self
            .devices
            .entry(id.device.clone())
            .or_insert_with(|| Sighting {
                last_seen: now,
                boot: id.boot,
                location: Text::default(),
                capabilities: Vec::new(),
                health: None,
                reported: (id.boot, 0),
            });
        sighting.last_seen = sighting.last_seen.max(now);
        sighting.boot = sighting.boot.max(id.boot);
        if let Payload::Health(health) = &record.payload
            && (id.boot, id.sequence) > sighting.reported
        {
            sighting.reported = (id.boot, id.sequence);
            sighting.take(health);
        }
    }

    /// How a device is doing: as it says, or offline when it has been silent too long, or never heard of.
    #[must_use]
    pub fn status(&self, now: Instant, device: &DeviceId) -> Status {
        let Some(sighting) = self.devices.get(device) else {
            return Status::Offline;
        };
        if now.since(sighting.last_seen) > self.silence_max {
            return Status::Offline;
        }
        let health = sighting.health.as_ref();
        health.map_or(Status::Online, |health| health.status)
    }

    /// What is known of a device.
    #[must_use]
    pub fn get(&self, device: &DeviceId) -> Option<&Sighting> {
        self.devices.get(device)
    }

    /// Everything known, in ascending order of devices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&DeviceId, &Sighting)> {
        self.devices.iter()
    }
}

impl Sighting {
    fn take(&mut self, health: &Health) {
        // Most reports say neither.
        if !health.location.as_str().is_empty() {
            self.location = health.location.clone();
        }
        if !health.capabilities.is_empty() {
            self.capabilities.clone_from(&health.capabilities);
        }
        self.health = Some(health.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordId;

    fn health(boot: u64, sequence: u64, status: Status, location: &str) -> Record {
        Record {
            id: RecordId {
                device: Name::new("m").unwrap(),
                boot: BootEpoch::new(boot).unwrap(),
                sequence,
            },
            at_ms: 0,
            payload: Payload::Health(Health {
                status,
                location: location.into(),
                ..Health::default()
            }),
        }
    }

    #[test]
    fn a_backlog_does_not_overwrite_what_came_later() {
        let mut presence = Presence::new(Duration::from_secs(1));
        let now = Instant::default();
        let device = Name::new("m").unwrap();
        presence.observe(now, &health(2, 1, Status::Error, "bar"));
        presence.observe(now, &health(1, 900, Status::Online, ""));
        assert_eq!(presence.status(now, &device), Status::Error);
        presence.observe(now, &health(2, 2, Status::Online, ""));
        assert_eq!(presence.status(now, &device), Status::Online);
        assert_eq!(presence.get(&device).unwrap().location.as_str(), "bar");
        assert_eq!(presence.get(&device).unwrap().boot.get(), 2);
    }

    #[test]
    fn a_device_that_is_forgotten_is_new_when_it_is_heard_of_again() {
        let mut presence = Presence::new(Duration::from_secs(1));
        let (now, device) = (Instant::default(), Name::new("m").unwrap());
        presence.observe(now, &health(u64::MAX, 1, Status::Error, "nowhere"));
        assert!(presence.forget(&device));
        assert!(!presence.forget(&device));
        assert_eq!(presence.iter().len(), 0);
        presence.observe(now, &health(1, 1, Status::Online, ""));
        assert_eq!(presence.status(now, &device), Status::Online);
    }
}
