//! What a device takes: each of its parts, and ten thousand whole ones on sixteen uplinks, with their share of everything that
//! drives them. A whole one holds
//!
//! - a simulated coffee machine and its sensor of the boiler, read every 5 s, of which the readings are smoothed (EWMA), watched
//!   (CUSUM), kept (the last 100), filtered by significance and told in a record each;
//! - a rule with an action, and a heartbeat every 30 s;
//! - orders: recipes that its make shares, capabilities and a stock of three resources of its own, stored;
//! - a twin with an entry reported, stored;
//! - a spool that keeps records until the broker has them, and its share of a courier, a timer wheel and a fleet.
//!
//! Bytes are those asked of the allocator and not given back after a minute of this. What the devices' disk and their broker
//! hold is counted too: both are in memory here. Stacks and code are not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

use std::alloc::System;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use peaberry_core::{Instant, MemoryStorage};
use peaberry_edge::Name;
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, DeviceBuilder, HISTORY, Metric};
use peaberry_edge::fleet::{Fleet, FleetCommand, FleetSettings};
use peaberry_edge::ops::{Cusum, Ewma, Operator};
use peaberry_edge::order::{OrderCommand, Recipes};
use peaberry_edge::payload::Level;
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::spool::{AckLevel, SpoolSettings};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEVICES: usize = 10_000;
const UPLINKS: usize = 16;

/// 6.4 KiB.
const BYTES_MAX: usize = 6_553;

fn live_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

/// What devices of one make share.
struct Make {
    recipes: Recipes,
    capabilities: [Name; 5],
    settings: FleetSettings,
}

impl Make {
    fn new() -> Self {
        Self {
            recipes: coffee::recipes().into(),
            capabilities: coffee::capabilities(),
            settings: FleetSettings {
                spool: SpoolSettings {
                    keep_until: AckLevel::Broker,
                    ..FleetSettings::salted(0).spool
                },
            },
        }
    }
}

type Part = fn(DeviceBuilder, &CoffeeMachine, &Make) -> DeviceBuilder;

fn metric(builder: DeviceBuilder, machine: &CoffeeMachine, _: &Make) -> DeviceBuilder {
    let period = Duration::from_secs(5);
    builder.metric(Metric::of(machine.sensor(CoffeeMetric::Temperature)).every(period))
}

fn history(builder: DeviceBuilder, machine: &CoffeeMachine, _: &Make) -> DeviceBuilder {
    let period = Duration::from_secs(5);
    let metric = Metric::of(machine.sensor(CoffeeMetric::Temperature)).every(period);
    builder.metric(metric.keep_history())
}

/// Smoothing, a watch, the significance filter and a history.
fn operators(builder: DeviceBuilder, machine: &CoffeeMachine, _: &Make) -> DeviceBuilder {
    let mut cusum = Cusum::new(93.0, 0.5, 8.0).unwrap();
    let metric = Metric::of(machine.sensor(CoffeeMetric::Temperature))
        .every(Duration::from_secs(5))
        .smooth(Ewma::new(0.3).unwrap())
        .watch(
            Name::new("boiler.shift").unwrap(),
            Level::Warning,
            move |sample| cusum.push(sample)?.shift.map(|_| sample.value),
        )
        .significant(0.01, Duration::from_secs(5))
        .keep_history();
    builder.metric(metric)
}

fn rule(builder: DeviceBuilder, _: &CoffeeMachine, _: &Make) -> DeviceBuilder {
    builder.rule(Rule {
        name: Name::new("too.hot").unwrap(),
        metric: CoffeeMetric::Temperature.name(),
        condition: Condition::Above(98.0),
        hysteresis: 2.0,
        broken_ms_min: 0,
        is_latched: false,
        level: Level::Critical,
        action: Some(Name::new("heater.off").unwrap()),
    })
}

fn orders(builder: DeviceBuilder, _: &CoffeeMachine, make: &Make) -> DeviceBuilder {
    builder.takes_orders(make.recipes.clone(), make.capabilities.clone())
}

fn twin(builder: DeviceBuilder, _: &CoffeeMachine, _: &Make) -> DeviceBuilder {
    builder.has_twin()
}

fn device(number: usize, parts: &[Part], make: &Make) -> DeviceBuilder {
    let machine = CoffeeMachine::new(number as u64);
    let builder = Device::builder(Name::new(&format!("machine-{number}")).unwrap())
        .location("by the window")
        .heartbeat_every(Duration::from_secs(30))
        .batch(Duration::ZERO, 100)
        .phase(Duration::from_millis(number as u64 * 7_919 % 5_000));
    parts
        .iter()
        .fold(builder, |builder, part| part(builder, &machine, make))
}

struct Site {
    fleets: Vec<Fleet<MemoryUplink>>,
    broker: MemoryBroker,
    now: Instant,
}

impl Site {
    /// Devices of these parts that have stocked up, reported an entry of their twins and measured `seconds` seconds.
    fn run(devices: usize, parts: &[Part], seconds: u64) -> Self {
        let (broker, make, now) = (MemoryBroker::new(1), Make::new(), Instant::default());
        let uplinks = UPLINKS.min(devices);
        let open = |at: usize| {
            let numbers = (at..devices).step_by(uplinks);
            let built = numbers.map(|number| device(number, parts, &make));
            let uplink = broker.connect(&format!("gateway-{at}"));
            let site = Name::new("site").unwrap();
            let storage = Arc::new(MemoryStorage::new());
            Fleet::open(uplink, site, storage, built, make.settings.clone(), now).unwrap()
        };
        let fleets = (0..uplinks).map(open).collect();
        let mut this = Self {
            fleets,
            broker,
            now,
        };
        for fleet in &mut this.fleets {
            set_up(fleet, now);
        }
        for _ in 0..seconds * 20 {
            this.turn();
        }
        this
    }

    fn turn(&mut self) {
        self.now += Duration::from_millis(50);
        let (mut cx, mut events) = (Context::from_waker(Waker::noop()), Vec::new());
        for fleet in &mut self.fleets {
            fleet.turn(&mut cx, self.now, &mut events).unwrap();
            events.clear();
        }
    }
}

fn set_up(fleet: &mut Fleet<MemoryUplink>, now: Instant) {
    let ids: Vec<_> = fleet.devices().map(|device| device.id().clone()).collect();
    let mut events = Vec::new();
    for device in ids {
        let hosted = fleet.device(&device).unwrap();
        let (takes_orders, has_twin) = (hosted.orders().is_some(), hosted.twin().is_some());
        if takes_orders {
            for resource in ["water", "beans", "milk"] {
                let resource = Name::new(resource).unwrap();
                let command = OrderCommand::Stock {
                    resource,
                    units: 1_000,
                };
                let device = device.clone();
                let command = FleetCommand::Order { device, command };
                fleet.command(now, command, &mut events).unwrap();
            }
        }
        if has_twin {
            let (key, value) = (Name::new("config.period_ms").unwrap(), 5_000.into());
            let command = FleetCommand::Report { device, key, value };
            fleet.command(now, command, &mut events).unwrap();
        }
    }
}

/// Bytes for each device.
fn measure(devices: usize, parts: &[Part]) -> usize {
    let before = live_bytes();
    let site = Site::run(devices, parts, 60);
    let bytes = live_bytes().saturating_sub(before) / devices;
    let spooled: u64 = site
        .fleets
        .iter()
        .map(|fleet| fleet.status().spooled_records)
        .sum();
    let last_turn = devices as u64 / 10;
    assert!(
        spooled <= last_turn,
        "the broker has taken all but the last: {spooled}"
    );
    drop(site.broker);
    bytes
}

/// One test: others in this process would be counted too.
#[test]
fn a_whole_device_takes_less_than_its_share() {
    let parts: [(&str, Vec<Part>); 6] = [
        ("a spool and a heartbeat", vec![]),
        ("a metric", vec![metric]),
        ("a metric with its history", vec![history]),
        ("operators", vec![operators]),
        ("operators and a rule", vec![operators, rule]),
        ("orders, without a metric", vec![orders]),
    ];
    for (words, parts) in parts {
        println!("{:>5} bytes: {words}", measure(500, &parts));
    }
    println!(
        "{:>5} bytes: a twin, without a metric",
        measure(500, &[twin])
    );
    let whole: [Part; 4] = [operators, rule, orders, twin];
    let bytes = measure(DEVICES, &whole);
    println!(
        "{bytes:>5} bytes: everything, with {HISTORY} samples, {DEVICES} devices on {UPLINKS} uplinks"
    );
    assert!(bytes <= BYTES_MAX, "{bytes} bytes a device");
}
