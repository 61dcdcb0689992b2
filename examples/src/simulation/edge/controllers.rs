//! Controllers on a field bus: they hand in what they measure, and again what they are not sure has come.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_core::Instant;
use peaberry_edge::device::{Act, Device};
use peaberry_edge::fleet::FleetCommand;
use peaberry_edge::time::DeviceTime;
use peaberry_edge::{DeviceId, Name};

use super::findings::Findings;
use super::{name, reached};

/// The metric that they hand in.
pub(super) const PRESSURE: &str = "group.pressure";
/// Above it, a valve is opened.
pub(super) const PRESSURE_MAX: f64 = 10.0;

/// How much of a backlog is handed in at a time, mostly.
const PAGE: usize = 40;

pub(super) struct Controllers {
    rng: fastrand::Rng,
    handed_in: Vec<(DeviceId, DeviceTime, f64)>,
    made: BTreeMap<(DeviceId, DeviceTime), f64>,
    /// What a rule has acted on.
    acted: BTreeSet<(DeviceId, DeviceTime)>,
}

impl Controllers {
    pub(super) const fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            handed_in: Vec::new(),
            made: BTreeMap::new(),
            acted: BTreeSet::new(),
        }
    }

    /// What is handed in now.
    pub(super) fn hand_in<'a>(
        &mut self,
        now: Instant,
        devices: impl Iterator<Item = &'a Device>,
        findings: &mut Findings,
    ) -> Vec<FleetCommand> {
        let mut samples = self.old(findings);
        for device in devices {
            let (boot, since_boot_ms) = (device.boot(), device.at_ms(now));
            let at = DeviceTime {
                boot,
                since_boot_ms,
            };
            let sample = (device.id().clone(), at, self.rng.f64() * 12.0);
            self.made.insert((sample.0.clone(), at), sample.2);
            self.handed_in.push(sample.clone());
            samples.push(sample);
            match self.rng.u32(..100) {
                0 => samples.push((device.id().clone(), at, f64::NAN)),
                1 => {
                    let since_boot_ms = u64::MAX;
                    let at = DeviceTime {
                        boot,
                        since_boot_ms,
                    };
                    samples.push((device.id().clone(), at, 11.0));
                }
                _ => {}
            }
            let is_old = |(id, at, _): &(DeviceId, DeviceTime, f64)| {
                id == device.id() && at.boot != device.boot()
            };
            if samples.iter().any(is_old) {
                findings.reach(reached::BACKLOG_OF_EARLIER_START);
            }
        }
        let command = |(device, at, value)| FleetCommand::Sample {
            device,
            metric: name(PRESSURE),
            at,
            value,
        };
        samples.into_iter().map(command).collect()
    }

    /// What was handed in went to a disk that is gone: it is not handed in again.
    pub(super) fn forget_backlog(&mut self) {
        self.handed_in.clear();
    }

    fn old(&mut self, findings: &mut Findings) -> Vec<(DeviceId, DeviceTime, f64)> {
        let count = self.handed_in.len();
        let from = match self.rng.u32(..100) {
            0 => 0,
            1..10 => count.saturating_sub(PAGE),
            _ => return Vec::new(),
        };
        findings.reach(reached::BACKLOG_REPEATED);
        self.handed_in.get(from..).unwrap_or_default().to_vec()
    }

    /// A rule acts: on a sample of this start, and once.
    pub(super) fn acted(
        &mut self,
        device: DeviceId,
        boot: peaberry_edge::BootEpoch,
        act: &Act<Name>,
        findings: &mut Findings,
    ) {
        findings.reach(reached::ACTED);
        let at = DeviceTime {
            boot,
            since_boot_ms: act.at_ms,
        };
        let key = (device, at);
        let value = self.made.get(&key).copied().unwrap_or(f64::NAN);
        if value.total_cmp(&act.alert.value).is_ne() || value <= PRESSURE_MAX {
            let (device, boot) = (&key.0, boot.get());
            findings.complain(format!(
                "{device} acts on what is no sample of start {boot}"
            ));
        }
        if !self.acted.insert(key.clone()) {
            findings.complain(format!("a rule of {} acts twice on one sample", key.0));
        }
    }
}
