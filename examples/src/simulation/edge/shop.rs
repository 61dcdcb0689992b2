//! The machines, what is done to them, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use peaberry_core::simulation::{FaultCounts, FaultKind};
use peaberry_core::{Channel, Instant};
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::device::{Device, DeviceBuilder, Metric};
use peaberry_edge::fleet::{Fleet, FleetCommand, FleetEvent, FleetSettings};
use peaberry_edge::ops::Sample;
use peaberry_edge::order::{OrderCommand, OrderEvent, StepRun};
use peaberry_edge::payload::{Action, Command, Gap, Level, OrderPhase, Payload, Record, Wire};
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::spool::{DropPolicy, SpoolSettings, StreamSettings};
use peaberry_edge::topic::{Lane, Stream, Topic};
use peaberry_edge::uplink::memory::Faults;
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink, Message, Uplink};
use peaberry_edge::{BootEpoch, DeviceId, Name, Position};

use super::disk::{Disk, Fate};
use super::reached;
use crate::simulation::{Reached, Run};

const GATEWAY: &str = "gateway";
const FOG: &str = "fog";
const TILL: &str = "till";
/// Violations that are kept of one run.
const VIOLATIONS_MAX: usize = 8;
/// Metrics that a controller hands in.
const FED: &str = "group.pressure";

pub(super) struct Shop {
    rng: fastrand::Rng,
    now: Instant,
    broker: MemoryBroker,
    gateway_disk: Arc<Disk>,
    fog_disk: Arc<Disk>,
    gateway: Option<Fleet<MemoryUplink>>,
    fog: Option<Intake<MemoryUplink>>,
    till: MemoryUplink,
    till_seq: u64,
    broker_is_up: bool,
    cut: BTreeSet<&'static str>,
    trouble: bool,
    /// Steps that are under way, and when they are done: gone with the power.
    steps: Vec<(Instant, DeviceId, StepRun)>,
    orders: Vec<(DeviceId, Name)>,
    /// How often each step that must not be repeated was begun.
    begun: BTreeMap<(DeviceId, Name, Name), u32>,
    /// What each rule's action was for.
    acted: BTreeSet<(DeviceId, u64, u64)>,
    boots: BTreeMap<DeviceId, u64>,
    /// What the controllers hand in, again and again.
    handed_in: Vec<(DeviceId, BootEpoch, Sample)>,
    faults: FaultCounts,
    reached: Reached,
    violations: Vec<String>,
    trace: u64,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("the words here are names")
}

fn machine(id: &str, seed: u64) -> DeviceBuilder {
    let machine = CoffeeMachine::new(seed);
    Device::builder(name(id))
        .metric(Metric::of(machine.sensor(CoffeeMetric::Temperature)).every(Duration::from_secs(1)))
        .metric(Metric::fed(name(FED)))
        .rule(Rule {
            name: name("pressure.high"),
            metric: name(FED),
            condition: Condition::Above(10.0),
            hysteresis: 1.0,
            broken_ms_min: 0,
            is_latched: false,
            level: Level::Critical,
            action: Some(name("valve.open")),
        })
        .takes_orders(coffee::recipes(), coffee::capabilities())
        .heartbeat_every(Duration::from_secs(4))
        .batch(Duration::from_secs(1), 4)
}

fn settings() -> FleetSettings {
    let mut spool = SpoolSettings::default().with_stream(
        Stream::Telemetry,
        StreamSettings::new(DropPolicy::DropOldest, 5),
    );
    // So small that an outage of some seconds fills it.
    spool.bytes_max = 6_000;
    spool.reserved_bytes = 4_000;
    spool.window_max = 8;
    spool.resend_after = Duration::from_secs(3);
    FleetSettings { spool }
}

impl Shop {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let faults = Faults {
            lost: 5,
            unanswered: 5,
            repeated: 20,
            forgotten: 20,
        };
        let broker = MemoryBroker::with_faults(rng.u64(..), faults);
        let mut shop = Self {
            now: Instant::default() + Duration::from_secs(1),
            gateway_disk: Disk::new(),
            fog_disk: Disk::new(),
            gateway: None,
            fog: None,
            till: broker.connect(TILL),
            till_seq: 0,
            broker,
            broker_is_up: true,
            cut: BTreeSet::new(),
            trouble: true,
            steps: Vec::new(),
            orders: Vec::new(),
            begun: BTreeMap::new(),
            acted: BTreeSet::new(),
            boots: BTreeMap::new(),
            handed_in: Vec::new(),
            faults: FaultCounts::default(),
            reached: reached::none(),
            violations: Vec::new(),
            trace: 0,
            rng,
        };
        shop.boot_fog();
        shop.boot_gateway();
        shop.refill();
        shop
    }

    fn complain(&mut self, violation: String) {
        if self.violations.len() < VIOLATIONS_MAX && !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    fn boot_gateway(&mut self) {
        self.gateway_disk.reopen();
        self.handed_in.clear();
        let uplink = self.broker.connect(GATEWAY);
        if self.cut.contains(GATEWAY) {
            self.broker.cut(GATEWAY);
        }
        let devices = [machine("m-1", 1), machine("m-2", 2)];
        let storage = self.gateway_disk.clone();
        let fleet = Fleet::open(uplink, name("site"), storage, devices, settings(), self.now);
        let fleet = match fleet {
            Ok(fleet) => fleet,
            Err(error) => return self.complain(format!("the gateway does not start: {error}")),
        };
        let boots: Vec<_> = fleet
            .devices()
            .map(|device| (device.id().clone(), device.boot().get()))
            .collect();
        for (device, boot) in boots {
            let last = self.boots.insert(device.clone(), boot);
            if last.is_some_and(|last| boot <= last) {
                self.complain(format!("{device} begins boot epoch {boot} again"));
            }
        }
        self.gateway = Some(fleet);
    }

    fn boot_fog(&mut self) {
        self.fog_disk.reopen();
        let uplink = self.broker.connect(FOG);
        if self.cut.contains(FOG) {
            self.broker.cut(FOG);
        }
        let owner = Channel::new(COLLECTOR, 1);
        let settings = CollectorSettings::default();
        match Collector::open(self.fog_disk.as_ref(), owner, name("site"), settings) {
            Ok(collector) => self.fog = Some(Intake::new(collector, uplink)),
            Err(error) => self.complain(format!("the collector does not start: {error}")),
        }
    }

    fn refill(&mut self) {
        for device in ["m-1", "m-2"] {
            for resource in ["water", "beans", "milk"] {
                let command = OrderCommand::Stock {
                    resource: name(resource),
                    units: 1_000_000,
                };
                self.command(FleetCommand::Order {
                    device: name(device),
                    command,
                });
            }
        }
    }

    fn command(&mut self, command: FleetCommand) {
        let mut events = Vec::new();
        if let Some(fleet) = &mut self.gateway
            && let Err(error) = fleet.command(self.now, command, &mut events)
        {
            self.complain(format!("the gateway cannot read its store: {error}"));
        }
        self.carry_out(events);
    }

    /// Something goes wrong, in most steps nothing.
    pub(super) fn make_trouble(&mut self) {
        match self.rng.u32(..200) {
            0 => self.crash_gateway(FaultKind::Crash),
            1 => self.crash_gateway(FaultKind::Restart),
            2 => self.crash_fog(FaultKind::Crash),
            3 => self.doom(Fate::DieBefore, FaultKind::CrashBeforeCommit),
            4 => self.doom(Fate::DieAfter, FaultKind::CrashAfterCommit),
            5 => self.fill(),
            6 => self.kill_broker(),
            7 => self.cut(GATEWAY),
            8 => self.cut(FOG),
            9..16 => self.get_well(),
            _ => {}
        }
    }

    fn get_well(&mut self) {
        if !self.broker_is_up {
            self.broker.start();
            self.broker_is_up = true;
        }
        for link in std::mem::take(&mut self.cut) {
            self.broker.mend(link);
        }
    }

    fn crash_gateway(&mut self, kind: FaultKind) {
        self.faults.add_many(kind, 1);
        self.reached.mark(reached::GATEWAY_CRASHED);
        if !self.steps.is_empty() {
            self.reached.mark(reached::STEP_UNKNOWN);
        }
        self.steps.clear();
        self.gateway = None;
        self.boot_gateway();
    }

    fn crash_fog(&mut self, kind: FaultKind) {
        self.faults.add_many(kind, 1);
        self.reached.mark(reached::FOG_CRASHED);
        self.fog = None;
        self.boot_fog();
    }

    fn doom(&mut self, fate: Fate, kind: FaultKind) {
        self.faults.add_many(kind, 1);
        let disk = if self.rng.bool() {
            &self.gateway_disk
        } else {
            &self.fog_disk
        };
        disk.plan(fate);
    }

    fn fill(&mut self) {
        self.faults.add_many(FaultKind::DiskFull, 1);
        let commits = self.rng.u32(1..6);
        let disk = if self.rng.bool() {
            &self.gateway_disk
        } else {
            &self.fog_disk
        };
        disk.plan(Fate::Full(commits));
    }

    fn kill_broker(&mut self) {
        self.reached.mark(reached::BROKER_KILLED);
        self.broker.kill();
        self.broker_is_up = false;
    }

    fn cut(&mut self, link: &'static str) {
        self.faults.add_many(FaultKind::Isolate, 1);
        self.reached.mark(reached::LINK_CUT);
        self.broker.cut(link);
        self.cut.insert(link);
    }

    pub(super) fn end_trouble(&mut self) {
        self.trouble = false;
        self.broker.set_faults(Faults::default());
        self.get_well();
        for disk in [&self.gateway_disk, &self.fog_disk] {
            disk.reopen();
        }
    }

    /// Lets so much time pass, and everybody do what is theirs.
    pub(super) fn step(&mut self, time: Duration) {
        self.now += time;
        if self.trouble {
            self.order();
            self.hand_in();
        }
        self.finish_steps();
        self.turn_gateway();
        self.turn_fog();
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.till.poll_events(&mut cx, &mut Vec::new());
    }

    /// The till places an order, or one again that it has not heard of.
    fn order(&mut self) {
        match self.rng.u32(..20) {
            0 if self.orders.len() < 12 => {
                let device = if self.rng.bool() { "m-1" } else { "m-2" };
                let key = format!("o-{}", self.orders.len());
                self.orders.push((name(device), name(&key)));
                self.place(self.orders.len() - 1);
            }
            1..4 if !self.orders.is_empty() => {
                self.reached.mark(reached::ORDER_REPEATED);
                let at = self.rng.usize(..self.orders.len());
                self.place(at);
            }
            _ => {}
        }
    }

    fn place(&mut self, at: usize) {
        let Some((device, key)) = self.orders.get(at).cloned() else {
            return;
        };
        let topic = Topic {
            site: name("site"),
            device: device.clone(),
            lane: Lane::Commands,
        };
        let action = Action::PlaceOrder {
            key,
            recipe: name("espresso"),
        };
        let payload = Command { device, action }.encode();
        self.till_seq += 1;
        // A till without a broker tries again.
        let _ = self
            .till
            .submit(self.till_seq, Message::new(topic.to_string(), payload));
    }

    /// Controllers hand in a sample each, and sometimes all that they still have.
    fn hand_in(&mut self) {
        let mut samples = Vec::new();
        if let Some(fleet) = &self.gateway {
            for device in fleet.devices() {
                let sample = Sample::new(device.at_ms(self.now), self.rng.f64() * 12.0);
                samples.push((device.id().clone(), device.boot(), sample));
            }
        }
        self.handed_in.extend(samples.iter().cloned());
        if self.rng.u32(..10) == 0 {
            self.reached.mark(reached::BACKLOG_REPEATED);
            samples = self.handed_in.clone();
        }
        for (device, _, sample) in samples {
            self.command(FleetCommand::Sample {
                device,
                metric: name(FED),
                sample,
            });
        }
    }

    fn finish_steps(&mut self) {
        let now = self.now;
        let done: Vec<_> = self.steps.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, device, run) in done {
            let command = OrderCommand::Done {
                run,
                quality_permille: 900,
            };
            self.command(FleetCommand::Order { device, command });
        }
    }

    fn turn_gateway(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        let Some(fleet) = &mut self.gateway else {
            return;
        };
        let outcome = fleet.turn(&mut cx, self.now, &mut events);
        self.carry_out(events);
        if outcome.is_err() {
            // It died around a commit: what it wanted done at once was done.
            self.reached.mark(reached::GATEWAY_CRASHED);
            self.steps.clear();
            self.gateway = None;
            self.boot_gateway();
        }
    }

    fn turn_fog(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let Some(fog) = &mut self.fog else {
            return;
        };
        if fog.turn(&mut cx, self.now, self.fog_disk.as_ref()).is_err() {
            self.reached.mark(reached::FOG_CRASHED);
            self.fog = None;
            self.boot_fog();
        }
    }

    fn carry_out(&mut self, events: Vec<FleetEvent<Name>>) {
        for event in events {
            match event {
                FleetEvent::Order {
                    device,
                    event: OrderEvent::Begin { run, key, step },
                } => {
                    let count = self
                        .begun
                        .entry((device.clone(), key.clone(), step.name.clone()))
                        .or_default();
                    *count += 1;
                    let is_twice = *count > 1 && step.name.as_str() == "grind";
                    if is_twice {
                        self.complain(format!("{device} brews {key} twice"));
                    }
                    let takes = Duration::from_millis(self.rng.u64(200..1500));
                    self.steps.push((self.now + takes, device, run));
                }
                FleetEvent::Order {
                    event: OrderEvent::Abort { run },
                    ..
                } => self.steps.retain(|(_, _, running)| *running != run),
                FleetEvent::Act { device, act } => {
                    let boot = self.boots.get(&device).copied().unwrap_or_default();
                    if !self.acted.insert((device.clone(), boot, act.at_ms)) {
                        self.complain(format!("a rule of {device} acts twice on one sample"));
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        let spooled = self
            .gateway
            .as_ref()
            .map(|fleet| fleet.status().spooled_records);
        // Heartbeats and telemetry go on: what is left is what was made just now.
        self.steps.is_empty() && spooled.is_some_and(|spooled| spooled <= 2)
    }

    pub(super) fn conclude(mut self) -> Run {
        let records = self.inbox();
        self.check_each_once(&records);
        self.check_nothing_is_missing(&records);
        self.check_orders(&records);
        let left = self.gateway.as_ref().map(|it| it.status().spooled_records);
        if left.is_none_or(|left| left > 8) {
            self.complain(format!("{left:?} records did not come home in the calm"));
        }
        let forgotten = self.broker.counts().forgotten;
        if forgotten > 0 {
            self.reached.mark(reached::BROKER_FORGOT);
        }
        for record in &records {
            let digest = record.id.sequence ^ (record.at_ms << 20);
            self.trace = self
                .trace
                .rotate_left(5)
                .wrapping_mul(31)
                .wrapping_add(digest);
        }
        Run {
            virtual_time: self.now.since(Instant::default()),
            faults: self.faults,
            reached: self.reached,
            operations: records.len() as u64,
            violations: self.violations,
            unknown: 0,
            trace: self.trace,
        }
    }

    fn inbox(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let Some(fog) = &mut self.fog else {
            return records;
        };
        let collector = fog.collector();
        let range = collector.inbox();
        let mut next = range.start;
        while next < range.end {
            match collector.records(self.fog_disk.as_ref(), next, 1 << 20) {
                Ok(page) if page.is_empty() => break,
                Ok(page) => {
                    next += page.len() as u64;
                    records.extend(page);
                }
                Err(error) => {
                    self.complain(format!("the inbox cannot be read: {error}"));
                    break;
                }
            }
        }
        records
    }

    fn check_each_once(&mut self, records: &[Record]) {
        let mut seen = BTreeSet::new();
        for record in records {
            if !seen.insert(record.id.clone()) {
                self.complain(format!("{} is in the inbox twice", record.id));
            }
        }
    }

    /// Every sequence below one that has come has come too, or a gap tells of it.
    fn check_nothing_is_missing(&mut self, records: &[Record]) {
        let mut come: BTreeMap<(DeviceId, BootEpoch), BTreeSet<u64>> = BTreeMap::new();
        let mut gaps: BTreeMap<DeviceId, Vec<Gap>> = BTreeMap::new();
        for record in records {
            let id = &record.id;
            let of_start = come.entry((id.device.clone(), id.boot)).or_default();
            of_start.insert(id.sequence);
            if let Payload::Gap(gap) = &record.payload {
                self.reached.mark(reached::GAP_TOLD);
                gaps.entry(id.device.clone()).or_default().push(*gap);
            }
        }
        let spooled = self
            .gateway
            .as_ref()
            .map_or(0, |it| it.status().spooled_records);
        let mut missing = Vec::new();
        for ((device, boot), sequences) in &come {
            let last = sequences.last().copied().unwrap_or_default();
            let is_present = self.boots.get(device) == Some(&boot.get());
            for sequence in 1..last {
                let position = Position::new(*boot, sequence);
                let is_told = gaps.get(device).is_some_and(|gaps| {
                    gaps.iter()
                        .any(|gap| gap.first <= position && position <= gap.last)
                });
                // What is spooled still is not lost.
                let may_be_spooled = is_present && spooled > 0 && sequence + spooled + 2 >= last;
                if !sequences.contains(&sequence) && !is_told && !may_be_spooled {
                    missing.push(format!("{device}/{position} was lost and no gap tells it"));
                }
            }
        }
        missing.into_iter().for_each(|it| self.complain(it));
    }

    /// Every order that was begun has come to an end that the collector knows of.
    fn check_orders(&mut self, records: &[Record]) {
        let mut ended = BTreeSet::new();
        for record in records {
            if let Payload::Order(update) = &record.payload
                && update.phase.is_final()
            {
                if update.phase == OrderPhase::Completed {
                    self.reached.mark(reached::COMPLETED);
                }
                ended.insert((record.id.device.clone(), update.key.clone()));
            }
        }
        let begun: BTreeSet<_> = self
            .begun
            .keys()
            .map(|(device, key, _)| (device.clone(), key.clone()))
            .collect();
        for (device, key) in begun.difference(&ended) {
            self.complain(format!("nobody knows what became of {key} at {device}"));
        }
    }
}
