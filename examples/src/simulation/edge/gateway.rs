//! The machines' side: a fleet on one disk and one or two uplinks, with the works, the controllers and the application around it.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Waker};
use std::time::Duration;

use peaberry_core::simulation::FaultKind;
use peaberry_core::{Instant, StorageError, Timestamp};
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, DeviceBuilder, Metric};
use peaberry_edge::fleet::{Fleet, FleetCommand, FleetEvent, FleetSettings};
use peaberry_edge::order::OrderCommand;
use peaberry_edge::payload::{Level, Record, Wire};
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::spool::{AckLevel, DropPolicy, SpoolSettings, StreamSettings};
use peaberry_edge::topic::Stream;
use peaberry_edge::twin::TwinValue;
use peaberry_edge::{BootEpoch, BootSalt, DeviceId, EdgeError, Name};

use super::controllers::{Controllers, PRESSURE, PRESSURE_MAX};
use super::disk::Disk;
use super::findings::Findings;
use super::ledger::Ledger;
use super::link::{Accepted, Link};
use super::network::{GATEWAY, Network};
use super::trace::Trace;
use super::works::Works;
use super::{SITE, YEAR_MS, name, reached, wall_ms};

/// What there is of each resource at the beginning, and after each refill: some drinks.
const PORTION: u64 = 300;

pub(super) struct Gateway {
    pub(super) disk: Disk,
    rng: fastrand::Rng,
    character: Character,
    fleet: Option<Fleet<Link>>,
    life: u32,
    pub(super) works: Works,
    controllers: Controllers,
    boots: BTreeMap<DeviceId, BootEpoch>,
    /// What twins desire and the application has not brought about: gone with the power.
    wishes: Vec<(DeviceId, Name, TwinValue)>,
    /// How far the time server's answers are off.
    pub(super) calendar_back_ms: u64,
    /// What the broker has said that it has, in all lives.
    accepted: Accepted,
    /// Starts of which their devices have heard that their sink knows a later one.
    overtaken: BTreeSet<(DeviceId, BootEpoch)>,
    /// Somebody has read that a device is to be started again.
    is_to_start_again: bool,
    has_new_disk: bool,
}

/// What is different from world to world.
#[derive(Clone, Copy)]
struct Character {
    device_count: u64,
    decimates: bool,
    bytes_max: u64,
    uplink_count: usize,
    keep_until: AckLevel,
}

fn machine(number: u64) -> DeviceBuilder {
    let machine = CoffeeMachine::new(number);
    let builder = Device::builder(device(number))
        .metric(Metric::of(machine.sensor(CoffeeMetric::Temperature)).every(Duration::from_secs(1)))
        .metric(Metric::fed(name(PRESSURE)))
        .rule(rule(
            "pressure.high",
            PRESSURE_MAX,
            false,
            Some("valve.open"),
        ))
        .rule(rule("pressure.burst", 11.5, true, None))
        .heartbeat_every(Duration::from_secs(4))
        .batch(Duration::from_secs(1), 4);
    // The third has but sensors.
    if number == 3 {
        return builder;
    }
    builder
        .takes_orders(coffee::recipes(), coffee::capabilities())
        .has_twin()
}

fn rule(word: &str, bound: f64, is_latched: bool, action: Option<&str>) -> Rule<Name> {
    Rule {
        name: name(word),
        metric: name(PRESSURE),
        condition: Condition::Above(bound),
        hysteresis: 1.0,
        broken_ms_min: 0,
        is_latched,
        level: Level::Critical,
        action: action.map(name),
    }
}

/// The devices that take orders, and the one that does not.
pub(super) fn device(number: u64) -> DeviceId {
    name(&format!("m-{number}"))
}

impl Gateway {
    pub(super) fn new(mut rng: fastrand::Rng, trace: &Trace) -> Self {
        let character = Character {
            device_count: rng.u64(1..=3),
            decimates: rng.bool(),
            // An outage of some seconds fills the smaller one.
            bytes_max: if rng.bool() { 6_000 } else { 12_000 },
            uplink_count: rng.usize(1..=GATEWAY.len()),
            keep_until: if rng.u32(..4) > 0 {
                AckLevel::Sink
            } else {
                AckLevel::Broker
            },
        };
        Self {
            disk: Disk::new("gateway", rng.u64(..), Some(Ledger::default()), trace),
            works: Works::new(rng.fork()),
            controllers: Controllers::new(rng.fork()),
            character,
            fleet: None,
            life: 0,
            boots: BTreeMap::new(),
            wishes: Vec::new(),
            calendar_back_ms: 0,
            accepted: Accepted::default(),
            overtaken: BTreeSet::new(),
            is_to_start_again: false,
            has_new_disk: true,
            rng,
        }
    }

    pub(super) const fn fleet(&self) -> Option<&Fleet<Link>> {
        self.fleet.as_ref()
    }

    /// The devices that take orders and have twins.
    pub(super) fn machines(&self) -> impl Iterator<Item = DeviceId> + use<> {
        (1..=self.character.device_count.min(2)).map(device)
    }

    /// Which acknowledgement lets records go.
    pub(super) const fn keep_until(&self) -> AckLevel {
        self.character.keep_until
    }

    /// Every record that the broker has said that it has.
    pub(super) fn accepted(&self) -> Vec<Record> {
        let accepted = self.accepted.lock();
        let records = accepted
            .iter()
            .map(|message| Record::decode(&message.payload));
        records.filter_map(Result::ok).collect()
    }

    /// Whether a device has said of a start of its own that its sink knows a later one.
    pub(super) fn is_known_overtaken(&self, device: &DeviceId, boot: BootEpoch) -> bool {
        self.overtaken.contains(&(device.clone(), boot))
    }

    fn settings(&mut self) -> FleetSettings {
        let policy = if self.character.decimates {
            DropPolicy::Decimate
        } else {
            DropPolicy::DropOldest
        };
        let telemetry = StreamSettings::new(policy, 5).live_first();
        let mut spool = SpoolSettings::default().with_stream(Stream::Telemetry, telemetry);
        spool.bytes_max = self.character.bytes_max;
        spool.reserved_bytes = 3_000;
        spool.window_max = 8;
        spool.resend_after = Duration::from_secs(3);
        spool.keep_until = self.character.keep_until;
        spool.boot_salt = BootSalt::Given(self.rng.u64(..));
        FleetSettings { spool }
    }

    /// Starts on what the disk holds. Where that fails, it is tried again at the next step.
    fn boot(&mut self, now: Instant, network: &Network, findings: &mut Findings) {
        let opened = self.disk.open().map_err(|source| EdgeError::Storage {
            doing: "open the gateway's store",
            source,
        });
        let names = GATEWAY.into_iter().take(self.character.uplink_count);
        let links = names.map(|name| {
            let rng = self.rng.fork();
            network.connect(name, rng, &self.accepted)
        });
        let links = links.collect();
        let machines = (1..=self.character.device_count).map(machine);
        let settings = self.settings();
        let opened = opened.and_then(|storage| {
            Fleet::open_over(links, name(SITE), storage, machines, settings, now)
        });
        match opened {
            Ok(fleet) => self.begin_life(now, fleet, findings),
            Err(EdgeError::Storage {
                source: StorageError::Full { .. },
                ..
            }) => findings.reach(reached::BOOT_ON_FULL_DISK),
            Err(error) => {
                if is_damage(&error) {
                    findings.complain(format!("the gateway does not start: {error:?}"));
                }
                self.disk.lose_power();
            }
        }
    }

    fn begin_life(&mut self, now: Instant, fleet: Fleet<Link>, findings: &mut Findings) {
        self.life += 1;
        for device in fleet.devices() {
            let boot = device.boot();
            let last = self.boots.insert(device.id().clone(), boot);
            if last.is_some_and(|last| boot <= last) {
                let id = device.id();
                findings.complain(format!("{id} begins boot epoch {boot} again"));
            }
        }
        self.fleet = Some(fleet);
        if std::mem::take(&mut self.has_new_disk) {
            self.refill(now, findings);
        }
    }

    /// The disk is gone, and in its place is an empty one, or one with what was once put by.
    pub(super) fn lose_disk(&mut self, findings: &mut Findings) {
        self.fall(true, findings);
        let is_restored = self.disk.replace(self.rng.u64(..));
        findings.reach(match is_restored {
            true => reached::DISK_RESTORED,
            false => reached::DISK_REPLACED,
        });
        self.works.forget();
        self.controllers.forget_backlog();
        self.boots.clear();
        self.overtaken.clear();
        self.has_new_disk = true;
    }

    /// Somebody reads what devices say, and does it.
    fn start_again(&mut self, findings: &mut Findings) {
        if self.is_to_start_again && self.fleet.is_some() && self.rng.u32(..20) == 0 {
            self.is_to_start_again = false;
            self.crash(FaultKind::Restart, findings);
        }
    }

    /// Power is lost, or the process ends.
    pub(super) fn crash(&mut self, kind: FaultKind, findings: &mut Findings) {
        findings.count(kind);
        self.fall(kind != FaultKind::Restart, findings);
    }

    fn fall(&mut self, is_power_lost: bool, findings: &mut Findings) {
        findings.reach(reached::GATEWAY_CRASHED);
        self.fleet = None;
        self.wishes.clear();
        self.works.lose_power(findings);
        if is_power_lost {
            self.disk.lose_power();
        } else {
            self.disk.end_process();
        }
    }

    /// There is enough for some drinks.
    pub(super) fn refill(&mut self, now: Instant, findings: &mut Findings) {
        for device in self.machines() {
            for resource in ["water", "beans", "milk"] {
                let command = OrderCommand::Stock {
                    resource: name(resource),
                    units: PORTION,
                };
                let device = device.clone();
                self.command(now, FleetCommand::Order { device, command }, findings);
            }
        }
    }

    pub(super) fn resume(&mut self, now: Instant, findings: &mut Findings) {
        for device in self.machines() {
            let command = OrderCommand::Resume;
            self.command(now, FleetCommand::Order { device, command }, findings);
        }
    }

    /// What happens on the spot, of its own accord.
    pub(super) fn live(&mut self, now: Instant, findings: &mut Findings) {
        if let Some(fleet) = &self.fleet {
            for command in self.controllers.hand_in(now, fleet.devices(), findings) {
                self.command(now, command, findings);
            }
        }
        let device = device(self.rng.u64(1..=self.character.device_count.min(2)));
        let command = match self.rng.u32(..200) {
            0..4 => {
                findings.reach(reached::TWIN_DESIRED_HERE);
                let (key, value) = a_wish(&mut self.rng);
                FleetCommand::Desire { device, key, value }
            }
            4..6 => FleetCommand::Report {
                device,
                key: name("firmware"),
                value: TwinValue::Integer(self.rng.i64(1..9)),
            },
            6..8 => FleetCommand::Acknowledge {
                device,
                rule: name("pressure.burst"),
            },
            8..10 => return self.refill(now, findings),
            10 => FleetCommand::Order {
                device,
                command: OrderCommand::SafeStop {
                    reason: "somebody pushed the button".into(),
                },
            },
            11..18 => FleetCommand::Order {
                device,
                command: OrderCommand::Resume,
            },
            18..28 => FleetCommand::Time {
                wall: Timestamp::from_unix_nanos(
                    (wall_ms(now) - self.calendar_back_ms) * 1_000_000,
                ),
                round_trip: Duration::from_millis(20),
            },
            _ => return,
        };
        self.command(now, command, findings);
    }

    /// The calendar is set back ten years, or forth again.
    pub(super) fn set_calendar(&mut self, now: Instant, is_back: bool, findings: &mut Findings) {
        self.calendar_back_ms = if is_back { 10 * YEAR_MS } else { 0 };
        let wall = Timestamp::from_unix_nanos((wall_ms(now) - self.calendar_back_ms) * 1_000_000);
        for _ in 0..peaberry_edge::time::JUMP_SAMPLES {
            let round_trip = Duration::from_millis(20);
            self.command(now, FleetCommand::Time { wall, round_trip }, findings);
        }
    }

    /// Takes its turn; starts again where it has fallen.
    pub(super) fn turn(&mut self, now: Instant, network: &Network, findings: &mut Findings) {
        for report in self.works.reports(now) {
            self.command(now, report, findings);
        }
        self.bring_about(now, findings);
        self.start_again(findings);
        let Some(fleet) = &mut self.fleet else {
            return self.boot(now, network, findings);
        };
        let mut events = Vec::new();
        let outcome = fleet.turn(&mut Context::from_waker(Waker::noop()), now, &mut events);
        self.carry_out(now, events, findings);
        if let Err(error) = outcome {
            self.stop_at(&error, findings);
        }
    }

    /// The store failed: what was told before it did has been done.
    fn stop_at(&mut self, error: &EdgeError, findings: &mut Findings) {
        if is_damage(error) {
            findings.complain(format!("the gateway cannot go on: {error:?}"));
        }
        let is_power_lost = self.rng.bool();
        self.fall(is_power_lost, findings);
    }

    fn command(&mut self, now: Instant, command: FleetCommand, findings: &mut Findings) {
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        let mut events = Vec::new();
        let outcome = fleet.command(now, command, &mut events);
        self.carry_out(now, events, findings);
        if let Err(error) = outcome {
            self.stop_at(&error, findings);
        }
    }

    /// The application brings about what twins desire, and reports it.
    fn bring_about(&mut self, now: Instant, findings: &mut Findings) {
        if self.rng.u32(..3) == 0 {
            return;
        }
        for (device, key, value) in std::mem::take(&mut self.wishes) {
            self.command(now, FleetCommand::Report { device, key, value }, findings);
        }
    }

    fn carry_out(&mut self, now: Instant, events: Vec<FleetEvent<Name>>, findings: &mut Findings) {
        for event in events {
            match event {
                FleetEvent::Order { device, event } => {
                    self.works.take(now, self.life, device, event, findings);
                }
                FleetEvent::Act { device, act } => {
                    let Some(&boot) = self.boots.get(&device) else {
                        continue;
                    };
                    self.controllers.acted(device, boot, &act, findings);
                }
                FleetEvent::Delta { device, delta } => {
                    let wishes = delta.into_iter();
                    let wishes = wishes.map(|(key, value)| (device.clone(), key, value));
                    self.wishes.extend(wishes);
                }
                FleetEvent::Lost { records } => {
                    if records > 0 {
                        findings.reach(reached::FULL_AND_GIVEN_UP);
                    }
                    if !self.works.is_idle() {
                        findings.reach(reached::FULL_WITH_ORDER);
                    }
                }
                FleetEvent::Refused {
                    error: EdgeError::LaterStart { device, own, .. },
                    ..
                } => {
                    findings.reach(reached::LATER_START_KNOWN);
                    self.overtaken.insert((name(&device), own));
                    self.is_to_start_again = true;
                }
                FleetEvent::Refused { error, .. } => findings.reach(match error {
                    EdgeError::SpoolFull { .. } => reached::SPOOL_REJECTED,
                    EdgeError::WrongDevice { .. } => reached::OTHER_DEVICE,
                    EdgeError::Malformed { what: "sample", .. } => reached::SAMPLE_FROM_THE_FUTURE,
                    _ => reached::STRANGER_REFUSED,
                }),
                _ => {}
            }
        }
    }
}

/// Something that might be desired of a machine.
pub(super) fn a_wish(rng: &mut fastrand::Rng) -> (Name, TwinValue) {
    match rng.u32(..6) {
        0 => (name("boiler.target"), TwinValue::Number(rng.f64())),
        1 => (name("grind.size"), TwinValue::Integer(rng.i64(..))),
        2 => (
            name("config.heartbeat_ms"),
            TwinValue::Integer(rng.i64(-1_000..6_000)),
        ),
        3 => (
            name("config.batch_ms"),
            TwinValue::Integer(rng.i64(0..2_000)),
        ),
        4 => (name("config.status"), "maintenance".into()),
        _ => (name("config.status"), "online".into()),
    }
}

/// Disks here lose what was not synced, fail and fill up; none damages what was synced.
pub(super) const fn is_damage(error: &EdgeError) -> bool {
    !matches!(
        error,
        EdgeError::Storage {
            source: StorageError::Poisoned | StorageError::Io { .. } | StorageError::Full { .. },
            ..
        }
    )
}
