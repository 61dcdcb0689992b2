//! How many samples does one core take through deadband, EWMA, CUSUM and z-score, and how late does a rule act among 10000
//! devices?
//!
//! Unit: samples per second of wall time on one thread; nothing waits. The samples are seeded, made before, and the same for
//! both. `hand-written-loop` is the floor: the same arithmetic, in one function over plain numbers, without checking that a
//! sample is one. Allocations are counted, and there must be none.
//!
//! Then a fleet of 10000 devices on one disk, at one reading a second each, with a rule that fires. First a virtual minute, in
//! which time goes on by what each turn takes on this machine: how many readings came a period late (there must be none), and in
//! how many turns one may have been acted on later than 50 ms after it was due. Then some seconds of real time on the fleet's own
//! thread: how long it is from the moment at which a sensor is read until whoever acts is told, for the median and the slowest of
//! a hundred actions.

#[path = "edge/reaction.rs"]
mod reaction;

use std::alloc::System;
use std::hint::black_box;
use std::time::Instant as Stopwatch;

use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use peaberry_edge::EdgeError;
use peaberry_edge::ops::{Cusum, Deadband, Ewma, Operator, Sample, ZScore};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

type Failure = Box<dyn std::error::Error>;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEADBAND: f64 = 0.02;
const WEIGHT: f64 = 0.2;
const TARGET: f64 = 93.0;
const SLACK: f64 = 0.25;
const THRESHOLD: f64 = 8.0;

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
    let [median, slow] = reaction::measure(effort)?;
    Ok(write("edge_operators", effort, &[measure, median, slow])?)
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
