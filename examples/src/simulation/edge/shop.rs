//! The machines, the broker and the collector together, and what is done to them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use peaberry_core::Instant;
use peaberry_core::simulation::FaultKind;
use peaberry_edge::device::Device;
use peaberry_edge::fleet::Fleet;

use super::customers::Customers;
use super::disk::{Disk, Fate};
use super::findings::Findings;
use super::fog::Fog;
use super::gateway::Gateway;
use super::link::Link;
use super::network::{FOG, GATEWAY, Network};
use super::trace::Trace;
use super::{TARGET, audit, reached};
use crate::simulation::{Run, count_faults};

pub(super) struct Shop {
    rng: fastrand::Rng,
    now: Instant,
    step: u64,
    network: Network,
    gateway: Gateway,
    fog: Fog,
    customers: Customers,
    /// Until which step they take no turns.
    gateway_sleeps_until: u64,
    fog_sleeps_until: u64,
    is_trouble: bool,
    /// In some worlds the machines' disk is.
    loses_disk: bool,
    findings: Findings,
    trace: Trace,
}

impl Shop {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let trace = Trace::default();
        let network = Network::new(rng.u64(..), trace.clone());
        let gateway = Gateway::new(rng.fork(), &trace);
        let machines: Vec<_> = gateway.machines().collect();
        Self {
            fog: Fog::new(rng.fork(), machines.clone(), &trace),
            customers: Customers::new(rng.fork(), &network, machines),
            now: Instant::default() + Duration::from_secs(1),
            step: 0,
            network,
            gateway,
            gateway_sleeps_until: 0,
            fog_sleeps_until: 0,
            is_trouble: true,
            loses_disk: rng.u32(..4) == 0,
            findings: Findings::new(trace.clone()),
            trace,
            rng,
        }
    }

    /// Something goes wrong, in most steps nothing.
    pub(super) fn make_trouble(&mut self) {
        match self.rng.u32(..300) {
            0 => self.crash_someone(FaultKind::Crash),
            1 => self.crash_someone(FaultKind::Restart),
            2 => {
                self.gateway.crash(FaultKind::CrashAll, &mut self.findings);
                self.fog.crash(FaultKind::CrashAll, &mut self.findings);
                self.network.kill_broker(&mut self.findings);
            }
            3..6 => {
                let fate = Fate::DieBefore(self.rng.u32(1..4));
                self.some_disk().plan(fate);
            }
            6..9 => {
                let fate = Fate::DieAfter(self.rng.u32(1..4));
                self.some_disk().plan(fate);
            }
            9..12 => {
                let operations = self.rng.u64(..30);
                self.some_disk().die_within_write(operations);
            }
            12 => self.some_disk().fail_next_sync(),
            13..15 => {
                let fate = Fate::Full(self.rng.u32(1..6));
                self.some_disk().plan(fate);
            }
            15..18 => {
                let bytes = self.rng.u64(..3_000);
                self.some_disk().leave_room(bytes);
            }
            18..20 => self.network.kill_broker(&mut self.findings),
            20..22 => {
                let link = *self.rng.choice(&GATEWAY).expect("there are some");
                self.network.cut(link, &mut self.findings);
            }
            22 => self.network.cut(FOG, &mut self.findings),
            23 => self.network.storm(FaultKind::LossBurst, &mut self.findings),
            24 => self
                .network
                .storm(FaultKind::DuplicateBurst, &mut self.findings),
            25 => self
                .network
                .storm(FaultKind::DelayBurst, &mut self.findings),
            26 => self.pause_someone(),
            27 => self.set_calendar(true),
            28 => self.set_calendar(false),
            29..42 => self.get_well(),
            42..50 => self.fog.desire(self.now, &mut self.findings),
            50..54 if self.loses_disk && self.rng.bool() => self.gateway.disk.back_up(),
            50..54 if self.loses_disk => self.lose_disk(),
            _ => {}
        }
    }

    fn crash_someone(&mut self, kind: FaultKind) {
        if self.rng.bool() {
            self.gateway.crash(kind, &mut self.findings);
        } else {
            self.fog.crash(kind, &mut self.findings);
        }
    }

    fn some_disk(&mut self) -> &Disk {
        if self.rng.u32(..3) > 0 {
            &self.gateway.disk
        } else {
            &self.fog.disk
        }
    }

    /// Once: what a second loss takes was named by nobody who has not come to say so.
    fn lose_disk(&mut self) {
        self.loses_disk = false;
        self.gateway.lose_disk(&mut self.findings);
        self.fog.note_loss();
    }

    fn pause_someone(&mut self) {
        self.findings.count(FaultKind::Pause);
        let until = self.step + self.rng.u64(5..60);
        if self.rng.bool() {
            self.gateway_sleeps_until = until;
        } else {
            self.fog_sleeps_until = until;
        }
    }

    fn set_calendar(&mut self, is_back: bool) {
        if is_back {
            self.findings.count(FaultKind::CalendarJump);
            self.findings.reach(reached::CALENDAR_SET_BACK);
        }
        self.gateway
            .set_calendar(self.now, is_back, &mut self.findings);
    }

    fn get_well(&mut self) {
        self.network.mend();
        self.gateway.disk.make_room();
        self.fog.disk.make_room();
    }

    pub(super) fn end_trouble(&mut self) {
        self.is_trouble = false;
        // A device whose calendar is ten years back takes what a service desires for a thing of the future.
        self.set_calendar(false);
        self.network.clear_up();
        for disk in [&self.gateway.disk, &self.fog.disk] {
            disk.heal();
        }
        (self.gateway_sleeps_until, self.fog_sleeps_until) = (0, 0);
    }

    /// Lets so much time pass, and everybody do what is theirs.
    pub(super) fn step(&mut self, time: Duration) {
        self.now += time;
        self.step += 1;
        let (now, step) = (self.now, self.step);
        self.trace.add(step);
        self.network.weather.step.store(step, Ordering::Relaxed);
        if self.is_trouble {
            self.customers.come(&mut self.findings);
        }
        if step >= self.gateway_sleeps_until {
            if self.is_trouble {
                self.gateway.live(now, &mut self.findings);
            }
            self.gateway.turn(now, &self.network, &mut self.findings);
        }
        if step >= self.fog_sleeps_until {
            self.fog.turn(now, step, &self.network, &mut self.findings);
        }
    }

    /// Machines that stand still go on.
    pub(super) fn resume(&mut self) {
        self.gateway.resume(self.now, &mut self.findings);
    }

    /// What has not come home or to its end, of all that was made during the trouble; `None`: all is quiet.
    pub(super) fn unrest(&self) -> Option<String> {
        let Some(fleet) = self.gateway.fleet() else {
            return Some("the gateway does not run".to_owned());
        };
        if !self.fog.has_read_all() {
            return Some("the collector does not run, or its inbox is not read".to_owned());
        }
        let of_devices = || fleet.devices().find_map(|device| unrest_of(fleet, device));
        let of_twins = || {
            let mut machines = self.gateway.machines();
            let apart = machines.find(|device| {
                let here = fleet.device(device).and_then(|device| device.twin());
                let both = here.zip(self.fog.twin(device));
                both.is_none_or(|(here, there)| here.hello() != there.hello())
            });
            apart.map(|device| format!("the twin of {device} and the service's are apart"))
        };
        let of_works = || {
            let is_idle = self.gateway.works.is_idle();
            (!is_idle).then(|| "a step is under way".to_owned())
        };
        // What a disk had and lost, its twin may lack for ever.
        let may_part = || self.gateway.disk.ledger().has_lost();
        of_devices()
            .or_else(|| of_twins().filter(|_| !may_part()))
            .or_else(of_works)
    }

    pub(super) fn conclude(mut self) -> Run {
        let unrest = self.unrest();
        let findings = &mut self.findings;
        if let Some(unrest) = unrest {
            findings.complain(format!("it never became quiet: {unrest}"));
        }
        audit::check(&self.gateway, &self.fog, findings);
        if self.network.broker.counts().forgotten > 0 {
            findings.reach(reached::BROKER_FORGOT);
        }
        let weather = &self.network.weather;
        for (count, branch) in [
            (&weather.refusals, reached::BROKER_REFUSED),
            (&weather.delayed, reached::MESSAGE_LATE),
            (&weather.repeated, reached::MESSAGE_TWICE),
        ] {
            if count.load(Ordering::Relaxed) > 0 {
                findings.reach(branch);
            }
        }
        for disk in [&self.gateway.disk, &self.fog.disk] {
            findings.faults.merge(&disk.faults());
        }
        for (kind, count) in count_faults(&findings.faults, &(TARGET.fault_kinds)()) {
            self.trace.add((kind, count));
        }
        Run {
            virtual_time: self.now.since(Instant::default()),
            faults: self.findings.faults,
            reached: self.findings.reached,
            operations: self.fog.records().count() as u64,
            violations: self.findings.violations,
            trace: self.trace.digest(),
            ..Run::default()
        }
    }
}

/// What of a device has not come home or to its end.
fn unrest_of(fleet: &Fleet<Link>, device: &Device) -> Option<String> {
    let id = device.id();
    let spool = fleet.spool(id).unwrap_or_default();
    if spool.records > 0 {
        return Some(format!("{id} has {} records to tell", spool.records));
    }
    if spool.has_gaps {
        return Some(format!("{id} has a gap to tell"));
    }
    let orders = device.orders()?;
    if let Some(reason) = orders.stopped() {
        return Some(format!("{id} is stopped: {reason}"));
    }
    let open = orders.open_count();
    (open > 0).then(|| format!("{id} has {open} open orders"))
}
