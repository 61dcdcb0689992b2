//! Ten thousand coffee machines in one process, on one connection, by one timer wheel and one commit.
//!
//! You will learn what a device costs: no task, no channel, no sleep; some kilobytes.
//!
//! ```sh
//! cargo run --release --example edge_fleet -- --devices 10000
//! ```
//!
//! Tested as: `cargo run --example edge_fleet -- --devices 200 --seconds 30`
//!
//! You will see a table of states and rates while virtual time passes, and the memory that a device takes, counted by the
//! allocator: at most 6.4 KiB, with a history of 100 samples and its share of everything else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use clap::Parser;
use comfy_table::Table;
use peaberry_core::{Channel, Instant, MemoryStorage};
use peaberry_edge::Name;
use peaberry_edge::coffee::{CoffeeMachine, CoffeeMetric};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::device::{Device, Metric};
use peaberry_edge::fleet::{Fleet, FleetSettings};
use peaberry_edge::payload::{Level, Status};
use peaberry_edge::presence::Presence;
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::uplink::MemoryBroker;

/// The most that a device may take, in bytes: 6.4 KiB.
const DEVICE_BYTES_MAX: usize = 6_553;

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator that counts is one that allocates")]
// SAFETY: it hands every call on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs many simulated coffee machines.
#[derive(Parser)]
struct Arguments {
    /// How many devices.
    #[arg(long, default_value_t = 10_000)]
    devices: u32,
    /// How long, in virtual seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

fn device(number: u32) -> Result<peaberry_edge::device::DeviceBuilder, peaberry_edge::EdgeError> {
    let machine = CoffeeMachine::new(u64::from(number));
    let metric = Metric::of(machine.sensor(CoffeeMetric::Temperature))
        .every(Duration::from_secs(5))
        .keep_history();
    let rule = Rule {
        name: Name::new("too.hot")?,
        metric: CoffeeMetric::Temperature.name(),
        condition: Condition::Above(98.0),
        hysteresis: 2.0,
        broken_ms_min: 0,
        is_latched: false,
        level: Level::Critical,
        action: Some(Name::new("heater.off")?),
    };
    Ok(Device::builder(Name::new(&format!("m-{number}"))?)
        .metric(metric)
        .rule(rule)
        .heartbeat_every(Duration::from_secs(30))
        .batch(Duration::from_secs(10), 100)
        .phase(Duration::from_millis(u64::from(number) * 7919 % 5000)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let (broker, site) = (MemoryBroker::new(1), Name::new("berlin")?);
    let (storage, archive) = (Arc::new(MemoryStorage::new()), MemoryStorage::new());
    let mut now = Instant::default();
    let empty = ALLOCATED.load(Ordering::Relaxed);
    let devices = (0..arguments.devices)
        .map(device)
        .collect::<Result<Vec<_>, _>>()?;
    let uplink = broker.connect("gateway");
    let mut fleet = Fleet::open(
        uplink,
        site.clone(),
        storage,
        devices,
        FleetSettings::default(),
        now,
    )?;
    let hosted = ALLOCATED.load(Ordering::Relaxed).saturating_sub(empty);
    let owner = Channel::new(COLLECTOR, 1);
    let collector = Collector::open(&archive, owner, site, CollectorSettings::default())?;
    let mut intake = Intake::new(collector, broker.connect("collector"));
    let mut presence = Presence::new(Duration::from_secs(90));
    let (mut events, mut read, mut records) = (Vec::new(), 0, 0_u64);

    let end = now + Duration::from_secs(arguments.seconds);
    let mut shown = now;
    let mut cx = Context::from_waker(Waker::noop());
    while now < end {
        now += Duration::from_millis(50);
        fleet.turn(&mut cx, now, &mut events)?;
        let _ = intake.turn(&mut cx, now, &archive)?;
        fleet.turn(&mut cx, now, &mut events)?;
        events.clear();
        let inbox = intake.collector().inbox();
        while read < inbox.end {
            for record in intake.collector().records(&archive, read, 1 << 20)? {
                presence.observe(now, &record);
                (read, records) = (read + 1, records + 1);
            }
        }
        if now.since(shown) >= Duration::from_secs(10) || now >= end {
            shown = now;
            let status = fleet.status();
            let online = presence
                .iter()
                .filter(|(id, _)| presence.status(now, id) == Status::Online);
            let seconds = now.as_nanos() as f64 / 1e9;
            let mut table = Table::new();
            table.set_header([
                "virtual s",
                "online",
                "readings/s",
                "records/s",
                "spooled",
                "late",
            ]);
            table.add_row([
                format!("{seconds:.0}"),
                online.count().to_string(),
                format!("{:.0}", status.readings as f64 / seconds),
                format!("{:.0}", records as f64 / seconds),
                status.spooled_records.to_string(),
                status.late_readings.to_string(),
            ]);
            println!("{table}");
        }
    }
    let each = hosted / arguments.devices.max(1) as usize;
    println!(
        "{each} bytes for each of {} devices, with a history of 100 samples",
        arguments.devices
    );
    let status = fleet.status();
    assert!(each <= DEVICE_BYTES_MAX, "a device takes {each} bytes");
    assert_eq!(
        presence.iter().len(),
        arguments.devices as usize,
        "all were heard of"
    );
    assert_eq!((status.late_readings, status.dropped_records), (0, 0));
    Ok(())
}
