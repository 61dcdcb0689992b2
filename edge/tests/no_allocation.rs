//! What judges each sample asks for no memory, from its making on: the operators, the significance filter, the detector and
//! the ring.
//!
//! A program with one test: allocations are counted for all threads together.

#![allow(clippy::unwrap_used, reason = "a test ends at what should not be")]

use std::alloc::System;
use std::hint::black_box;

use peaberry_edge::anomaly::{AnomalyDetector, AnomalySettings};
use peaberry_edge::filter::SignificanceFilter;
use peaberry_edge::ops::{
    Cusum, Deadband, Ewma, HoltWinters, Operator, Quantile, RateOfChange, Sample, Session, Sliding,
    SwingingDoor, Tumbling, ZScore,
};
use peaberry_edge::{EdgeError, Ring};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOUR_MS: u64 = 3_600_000;
const DAY: u64 = 288;

/// A reading each five minutes of two months that follow the day, with shifts, holes, what is no number and what comes late.
fn samples() -> Vec<Sample> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut samples = Vec::new();
    for at in (0..60 * DAY).filter(|at| at % 1_000 < 960) {
        let at_ms = at * 300_000;
        let shift = if at % 5_000 > 4_800 { 30.0 } else { 0.0 };
        let phase = f64::from(u32::try_from(at % DAY).unwrap()) / 288.0;
        let value = 90.0 + 10.0 * (phase * 6.3).sin() + shift + rng.f64();
        samples.push(Sample::new(at_ms, value));
        match at % 97 {
            0 => samples.push(Sample::new(at_ms + 1, f64::NAN)),
            1 => samples.push(Sample::new(at_ms + 1, f64::INFINITY)),
            2 => samples.push(Sample::new(at_ms.saturating_sub(7_000_000), value)),
            3 => samples.push(Sample::new(at_ms, value)),
            _ => {}
        }
    }
    samples
}

/// How often `work`, which does the same each time, asks for memory. What threads of the harness ask for beside it is not
/// there each time.
fn allocations(work: impl Fn()) -> usize {
    let count = || {
        let region = Region::new(ALLOCATOR);
        work();
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..5).map(|_| count()).min().unwrap()
}

/// What was looked at, and who asked for memory.
struct Census {
    samples: Vec<Sample>,
    spenders: Vec<&'static str>,
}

impl Census {
    fn of<O: Operator>(&mut self, name: &'static str, make: fn() -> Result<O, EdgeError>) {
        self.of_closed(name, make, |_| ());
    }

    /// Of an operator that is closed with `close` from time to time.
    fn of_closed<O: Operator>(
        &mut self,
        name: &'static str,
        make: fn() -> Result<O, EdgeError>,
        close: fn(&mut O),
    ) {
        let run = || {
            let mut operator = make().unwrap();
            let mut yields = 0;
            for (count, sample) in self.samples.iter().enumerate() {
                yields += usize::from(black_box(operator.push(black_box(*sample))).is_some());
                if count % 500 == 499 {
                    close(&mut operator);
                }
            }
            // It had something to say, so that was done without memory, too.
            assert!(yields > 0, "{name} yields {yields}");
        };
        if allocations(run) > 0 {
            self.spenders.push(name);
        }
    }

    fn of_ring(&mut self) {
        let run = || {
            let mut ring = Ring::<Sample, 64>::new();
            for (count, sample) in self.samples.iter().enumerate() {
                black_box(ring.push(*sample));
                match count % 500 {
                    497 => _ = black_box(ring.pop()),
                    498 => _ = black_box(ring.pop_last()),
                    499 => _ = black_box(ring.iter().rev().count()),
                    0 => ring.clear(),
                    _ => {}
                }
            }
        };
        if allocations(run) > 0 {
            self.spenders.push("ring");
        }
    }
}

#[test]
fn what_judges_each_sample_asks_for_no_memory() {
    let mut census = Census {
        samples: samples(),
        spenders: Vec::new(),
    };
    assert!(
        allocations(|| drop(black_box(Box::new(7)))) > 0,
        "they are counted"
    );
    census.of("tumbling window", || Tumbling::new(HOUR_MS));
    census.of_closed(
        "session window",
        || Session::new(HOUR_MS),
        |session| _ = black_box(session.close_at(u64::MAX)),
    );
    census.of("sliding window", || Sliding::<64>::new(4 * HOUR_MS));
    census.of("deadband", || Deadband::new(1.5));
    census.of_closed(
        "swinging door",
        || SwingingDoor::new(0.8),
        |door| _ = black_box(door.flush()),
    );
    census.of("EWMA", || Ewma::new(0.2));
    census.of("CUSUM", || Cusum::new(90.0, 0.5, 8.0));
    census.of("z-score", || ZScore::new(0.01)?.deviation_min(0.1));
    census.of("Holt-Winters", || HoltWinters::<288>::new(0.3, 0.1, 0.2));
    census.of("Holt-Winters in a rhythm", || {
        HoltWinters::<288>::new(0.3, 0.1, 0.2)?.every(300_000)
    });
    census.of("rate of change", || Ok(RateOfChange::new()));
    census.of("quantile", || Quantile::new(0.95));
    census.of("a chain of them", || {
        let judges = Cusum::new(90.0, 0.5, 8.0)?.beside(ZScore::new(0.01)?);
        Ok(Deadband::new(0.5)?.then(Ewma::new(0.2)?).then(judges))
    });
    census.of_closed(
        "significance filter",
        || SignificanceFilter::new(0.8, HOUR_MS),
        |filter| _ = black_box(filter.flush()),
    );
    census.of("anomaly detector", || {
        AnomalyDetector::new(AnomalySettings::default())
    });
    census.of_ring();
    assert_eq!(census.spenders, [""; 0]);
}
