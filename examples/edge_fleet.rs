//! Ten thousand coffee machines in one process, over sixteen connections, by a timer wheel and a commit for each connection.
//!
//! You will learn what a device costs (no task, no channel, no sleep; some kilobytes), and what its site sees of it. A third
//! of the way through, one connection in sixteen is cut for a while, and one boiler in a hundred breaks: a rule of its own
//! machine stops it, on the spot, whether the machine can be heard or not.
//!
//! ```sh
//! cargo run --release --example edge_fleet -- --devices 10000
//! ```
//!
//! Tested as: `cargo run --example edge_fleet -- --devices 1600 --seconds 60`
//!
//! You will see the table grow while virtual time passes: how many machines are online, in error, or silent; readings and
//! records a second; what waits in spools; bytes a device, those of its collector too. At the end: what the devices alone take,
//! counted by the allocator, each with sensors, operators, a rule, orders, a twin and a hundred samples.

use std::alloc::System;
use std::collections::BTreeSet;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use clap::Parser;
use peaberry_core::{Batch, Channel, Durability, Instant, MemoryStorage, Storage};
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::device::{Device, DeviceBuilder, Metric};
use peaberry_edge::fleet::{Fleet, FleetCommand, FleetEvent, FleetSettings};
use peaberry_edge::ops::{Cusum, Ewma, Operator};
use peaberry_edge::order::{OrderCommand, Recipes};
use peaberry_edge::payload::{Level, Status};
use peaberry_edge::presence::Presence;
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink};
use peaberry_edge::{DeviceId, EdgeError, Name};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Failure = Box<dyn Error>;

const CONNECTIONS: usize = 16;

/// The most that a device may take: 6.4 KiB. Of fewer devices than these, each has a large share of what drives them all.
const DEVICE_BYTES_MAX: usize = 6_553;
const DEVICES_TO_SHARE: usize = 1_000;

const TURN: Duration = Duration::from_millis(50);
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A machine is offline when it was silent for so long.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Runs many simulated coffee machines in virtual time.
#[derive(Parser)]
struct Arguments {
    /// How many machines.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: u32,
    /// How long, in virtual seconds; long enough for the connection to be cut, noticed and mended.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(60..=86_400))]
    seconds: u64,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let devices = arguments.devices as usize;
    let empty = live_bytes();
    let mut site = Site::open(devices)?;
    let mut office = Office::open(&site.broker)?;
    let (third, mut online_min) = (arguments.seconds / 3, devices);
    println!("{HEADER}");
    for second in 1..=arguments.seconds {
        if second == third {
            site.broker.cut("gateway-0");
            site.break_boilers();
        }
        if second == third + 25 {
            site.broker.mend("gateway-0");
        }
        for _ in 0..Duration::from_secs(1).as_millis() / TURN.as_millis() {
            site.turn()?;
            office.turn(site.now)?;
        }
        let each = live_bytes().saturating_sub(empty) / devices;
        let row = office.row(&site, each);
        online_min = online_min.min(row.online);
        row.show(second, second % 5 == 0 || second == arguments.seconds)?;
    }

    let stopped = site.stopped.len();
    let status = office.states(site.now);
    println!(
        "{stopped} boilers broke, and each of these machines stopped itself; never fewer than {online_min} were online"
    );
    let cut_off = devices.div_ceil(CONNECTIONS);
    check(
        online_min <= devices - cut_off,
        "a silent machine is not online",
    )?;
    check(
        stopped == devices.div_ceil(100),
        "each broken boiler was seen by its rule",
    )?;
    check(
        status == (devices - stopped, stopped, 0),
        "all were heard of again",
    )?;
    let (late, dropped) = site.late_and_dropped();
    check(
        (late, dropped) == (0, 0),
        "no deadline was missed and no record dropped",
    )?;

    drop(office);
    let each = live_bytes().saturating_sub(empty) / devices;
    println!(
        "{each} bytes for each of {devices} machines once the office is gone, all that drives them counted; {DEVICE_BYTES_MAX} are allowed"
    );
    if devices < DEVICES_TO_SHARE {
        println!("so few have to share the {CONNECTIONS} connections: try --devices 10000");
        return Ok(());
    }
    check(
        each <= DEVICE_BYTES_MAX,
        "a device takes no more than its share",
    )
}

fn check(holds: bool, claim: &str) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    Err(format!("this does not hold: {claim}").into())
}

fn live_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

/// The machines, their connections and the time.
struct Site {
    broker: MemoryBroker,
    fleets: Vec<Fleet<MemoryUplink>>,
    /// The machines whose boilers will break.
    weak: Vec<CoffeeMachine>,
    /// Those that a rule has stopped.
    stopped: BTreeSet<DeviceId>,
    now: Instant,
}

impl Site {
    fn open(devices: usize) -> Result<Self, Failure> {
        let (broker, now) = (MemoryBroker::new(1), Instant::default());
        let (recipes, capabilities) = (Recipes::from(coffee::recipes()), coffee::capabilities());
        let (mut fleets, mut weak) = (Vec::new(), Vec::new());
        for connection in 0..CONNECTIONS.min(devices) {
            let mut built = Vec::new();
            for number in (connection..devices).step_by(CONNECTIONS) {
                let machine = CoffeeMachine::new(number as u64);
                let device = device(number, &machine)?;
                built.push(device.takes_orders(recipes.clone(), capabilities.clone()));
                if number % 100 == 0 {
                    weak.push(machine);
                }
            }
            let uplink = broker.connect(&format!("gateway-{connection}"));
            let (site, storage) = (Name::new("berlin")?, Arc::new(MemoryStorage::new()));
            let settings = FleetSettings::default();
            fleets.push(Fleet::open(uplink, site, storage, built, settings, now)?);
        }
        Ok(Self {
            broker,
            fleets,
            weak,
            stopped: BTreeSet::new(),
            now,
        })
    }

    fn break_boilers(&self) {
        self.weak.iter().for_each(|machine| machine.overheat(15.0));
    }

    fn turn(&mut self) -> Result<(), EdgeError> {
        self.now += TURN;
        let (mut cx, mut events) = (Context::from_waker(Waker::noop()), Vec::new());
        for fleet in &mut self.fleets {
            fleet.turn(&mut cx, self.now, &mut events)?;
            for event in std::mem::take(&mut events) {
                let FleetEvent::Act { device, act } = event else {
                    continue;
                };
                let reason = act.alert.rule.as_str().into();
                let command = OrderCommand::SafeStop { reason };
                self.stopped.insert(device.clone());
                let command = FleetCommand::Order { device, command };
                fleet.command(self.now, command, &mut events)?;
            }
            events.clear();
        }
        Ok(())
    }

    fn late_and_dropped(&self) -> (u64, u64) {
        let all = self.fleets.iter().map(Fleet::status);
        all.fold((0, 0), |(late, dropped), status| {
            let dropped = dropped + status.dropped_records;
            (late + status.late_readings, dropped)
        })
    }
}

fn device(number: usize, machine: &CoffeeMachine) -> Result<DeviceBuilder, EdgeError> {
    let mut cusum = Cusum::new(93.0, 0.5, 8.0)?;
    let metric = Metric::of(machine.sensor(CoffeeMetric::Temperature))
        .every(Duration::from_secs(5))
        .smooth(Ewma::new(0.5)?)
        .watch(Name::new("boiler.shift")?, Level::Warning, move |sample| {
            cusum.push(sample)?.shift.map(|_| sample.value)
        })
        .keep_history();
    let rule = Rule {
        name: Name::new("too.hot")?,
        metric: CoffeeMetric::Temperature.name(),
        condition: Condition::Above(98.0),
        hysteresis: 2.0,
        broken_ms_min: 0,
        is_latched: true,
        level: Level::Critical,
        action: Some(Name::new("stop")?),
    };
    Ok(Device::builder(Name::new(&format!("m-{number}"))?)
        .location("by the window")
        .metric(metric)
        .rule(rule)
        .has_twin()
        .heartbeat_every(HEARTBEAT)
        .batch(Duration::from_secs(5), 100)
        .phase(Duration::from_millis(number as u64 * 7_919 % 5_000)))
}

/// Where everything arrives.
struct Office {
    archive: MemoryStorage,
    intake: Intake<MemoryUplink>,
    presence: Presence,
    records: u64,
    shown: (u64, u64),
}

impl Office {
    fn open(broker: &MemoryBroker) -> Result<Self, Failure> {
        let archive = MemoryStorage::new();
        let (owner, site) = (Channel::new(COLLECTOR, 1), Name::new("berlin")?);
        let collector = Collector::open(&archive, owner, site, CollectorSettings::default())?;
        Ok(Self {
            archive,
            intake: Intake::new(collector, broker.connect("office")),
            presence: Presence::new(SILENCE_MAX),
            records: 0,
            shown: (0, 0),
        })
    }

    /// Takes what has come, and looks at it.
    fn turn(&mut self, now: Instant) -> Result<(), Failure> {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.intake.turn(&mut cx, now, &self.archive)?;
        let collector = self.intake.collector();
        let inbox = collector.inbox();
        let mut read = inbox.start;
        while read < inbox.end {
            for record in collector.records(&self.archive, read, 1 << 20)? {
                self.presence.observe(now, &record);
                read += 1;
            }
        }
        if read > inbox.start {
            self.records += read - inbox.start;
            let mut batch = Batch::new();
            collector.discard(&mut batch, read);
            self.archive.commit(&batch, Durability::Buffered)?;
        }
        Ok(())
    }

    /// How many are online, in error, offline.
    fn states(&self, now: Instant) -> (usize, usize, usize) {
        let count = |wanted| {
            let ids = self.presence.iter().map(|(id, _)| id);
            ids.filter(|id| self.presence.status(now, id) == wanted)
                .count()
        };
        (
            count(Status::Online),
            count(Status::Error),
            count(Status::Offline),
        )
    }

    fn row(&mut self, site: &Site, bytes_each: usize) -> Row {
        let (online, error, offline) = self.states(site.now);
        let (mut readings, mut spooled) = (0, 0);
        for status in site.fleets.iter().map(Fleet::status) {
            readings += status.readings;
            spooled += status.spooled_records;
        }
        let (readings_before, records_before) = self.shown;
        self.shown = (readings, self.records);
        Row {
            online,
            error,
            offline,
            readings: readings - readings_before,
            records: self.records - records_before,
            spooled,
            bytes_each,
        }
    }
}

const HEADER: &str = " time  online   error  silent  readings/s  records/s  spooled  bytes each";

/// How things stand, and what the last second brought.
struct Row {
    online: usize,
    error: usize,
    offline: usize,
    readings: u64,
    records: u64,
    spooled: u64,
    bytes_each: usize,
}

impl Row {
    /// On a terminal the last row is written over until it is one to keep.
    fn show(&self, second: u64, is_kept: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout();
        let is_terminal = out.is_terminal();
        if !is_terminal && !is_kept {
            return Ok(());
        }
        let Self {
            online,
            error,
            offline,
            readings,
            records,
            spooled,
            bytes_each,
        } = self;
        let row = format!(
            "{second:>4}s  {online:>6}  {error:>6}  {offline:>6}  {readings:>10}  {records:>9}  {spooled:>7}  {bytes_each:>10}"
        );
        match (is_terminal, is_kept) {
            (false, _) => writeln!(out, "{row}"),
            (true, false) => write!(out, "\r{row}"),
            (true, true) => writeln!(out, "\r{row}"),
        }?;
        out.flush()
    }
}
