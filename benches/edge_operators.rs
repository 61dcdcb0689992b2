//! How many samples does one core take through deadband, EWMA, CUSUM and z-score, and how late does a rule act among 10000
//! devices?
//!
//! Unit: samples per second of wall time on one thread; nothing waits. The samples are seeded, made before, and the same for
//! both. `hand-written-loop` is the floor: the same arithmetic, in one function over plain numbers, without checking that a
//! sample is one. Allocations are counted, and there must be none.
//!
//! Then a fleet of 10000 devices runs 60 virtual seconds at one reading a second each, with a rule that fires: how many readings
//! came a period late in virtual time (there must be none), and how long the slowest of a hundred turns took, in wall time:
//! what a reading waits for its action if it comes at the worst moment.

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant as Stopwatch};

use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use peaberry_core::{Instant, MemoryStorage};
use peaberry_edge::coffee::{CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, Metric};
use peaberry_edge::fleet::{Fleet, FleetEvent, FleetSettings};
use peaberry_edge::ops::{Cusum, Deadband, Ewma, Operator, Sample, ZScore};
use peaberry_edge::payload::Level;
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::uplink::MemoryBroker;
use peaberry_edge::{EdgeError, Name};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

type Failure = Box<dyn std::error::Error>;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEADBAND: f64 = 0.02;
const WEIGHT: f64 = 0.2;
const TARGET: f64 = 93.0;
const SLACK: f64 = 0.25;
const THRESHOLD: f64 = 8.0;
const DEVICES: u32 = 10_000;

fn main() -> Result<(), Failure> {
    let effort = Effort::from_environment();
    let samples = samples();
    let comparison = interleave(
        effort.pairs(),
        Better::More,
        || ours(effort, &samples).expect("the settings are in range"),
        || peer(effort, &samples),
    );
    let measure = Measure::new(
        "samples/s, deadband + EWMA + CUSUM + z-score",
        "samples/s",
        "hand-written-loop",
        "one thread; ours also refuses what is no number and carries times; no allocation",
        &comparison,
    );
    report(&measure, &comparison);
    write("edge_operators", effort, &[measure])?;
    fleet(effort)
}

fn samples() -> Vec<Sample> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..100_000_u64)
        .map(|at| {
            let shift = if at % 10_000 > 9_000 { 2.0 } else { 0.0 };
            Sample::new(at * 1000, TARGET + shift + rng.f64() - 0.5)
        })
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
fn ours(effort: Effort, samples: &[Sample]) -> Result<f64, EdgeError> {
    let judges = Cusum::new(TARGET, SLACK, THRESHOLD)?.beside(ZScore::new(0.01)?);
    let mut chain = Deadband::new(DEADBAND)?.then(Ewma::new(WEIGHT)?.then(judges));
    let region = Region::new(ALLOCATOR);
    let watch = Stopwatch::now();
    let mut count = 0;
    while watch.elapsed() < effort.run_time() {
        for sample in samples {
            black_box(chain.push(black_box(*sample)));
        }
        count += samples.len();
    }
    let seconds = watch.elapsed().as_secs_f64();
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    assert_eq!(allocations, 0, "operators allocate nothing");
    Ok(count as f64 / seconds)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
fn peer(effort: Effort, samples: &[Sample]) -> f64 {
    let (mut last, mut smooth) = (f64::NAN, f64::NAN);
    let (mut high, mut low) = (0.0_f64, 0.0_f64);
    let (mut mean, mut variance) = (TARGET, 0.0_f64);
    let watch = Stopwatch::now();
    let mut count = 0;
    while watch.elapsed() < effort.run_time() {
        for sample in samples {
            let value = black_box(sample.value);
            if (value - last).abs() <= DEADBAND {
                continue;
            }
            last = value;
            smooth = if smooth.is_nan() {
                value
            } else {
                smooth + WEIGHT * (value - smooth)
            };
            let above = smooth - TARGET;
            high = (high + above - SLACK).max(0.0);
            low = (low - above - SLACK).max(0.0);
            let is_shift = high > THRESHOLD || low > THRESHOLD;
            if is_shift {
                (high, low) = (0.0, 0.0);
            }
            let off = smooth - mean;
            let score = if variance > 0.0 {
                off / variance.sqrt()
            } else {
                0.0
            };
            mean += 0.01 * off;
            variance = 0.99 * (variance + 0.01 * off * off);
            black_box((is_shift, score));
        }
        count += samples.len();
    }
    count as f64 / watch.elapsed().as_secs_f64()
}

fn device(number: u32) -> Result<peaberry_edge::device::DeviceBuilder, EdgeError> {
    let machine = CoffeeMachine::new(u64::from(number));
    let rule = Rule {
        name: Name::new("warm")?,
        metric: CoffeeMetric::Temperature.name(),
        condition: Condition::Above(93.09),
        hysteresis: 0.05,
        broken_ms_min: 0,
        is_latched: false,
        level: Level::Info,
        action: Some(Name::new("log")?),
    };
    Ok(Device::builder(Name::new(&format!("m-{number}"))?)
        .metric(Metric::of(machine.sensor(CoffeeMetric::Temperature)).keep_history())
        .rule(rule)
        .phase(Duration::from_millis(u64::from(number) % 1000)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
fn fleet(effort: Effort) -> Result<(), Failure> {
    let seconds = if effort == Effort::Check { 2 } else { 60 };
    let broker = MemoryBroker::new(1);
    broker.kill();
    let devices = (0..DEVICES).map(device).collect::<Result<Vec<_>, _>>()?;
    let storage = Arc::new(MemoryStorage::new());
    let (uplink, site) = (broker.connect("gateway"), Name::new("site")?);
    let mut now = Instant::default();
    let mut fleet = Fleet::open(
        uplink,
        site,
        storage,
        devices,
        FleetSettings::default(),
        now,
    )?;
    let (mut events, mut acts) = (Vec::new(), 0);
    let mut waits = Vec::new();
    for _ in 0..seconds * 1000 {
        now += Duration::from_millis(1);
        let watch = Stopwatch::now();
        fleet.turn(&mut Context::from_waker(Waker::noop()), now, &mut events)?;
        waits.push(watch.elapsed());
        acts += events
            .drain(..)
            .filter(|it| matches!(it, FleetEvent::Act { .. }))
            .count();
    }
    waits.sort_unstable();
    let p99 = waits
        .get(waits.len() * 99 / 100)
        .copied()
        .unwrap_or_default();
    let status = fleet.status();
    println!(
        "{} readings and {acts} actions of {DEVICES} devices: {} deadlines missed in virtual time; a turn takes {p99:?} (p99)",
        status.readings, status.late_readings
    );
    assert_eq!(status.late_readings, 0, "no deadline is missed");
    assert!(acts > 0, "rules fire");
    Ok(())
}
