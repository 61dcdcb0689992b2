//! What the significance filter saves on a day of a coffee machine's boiler, and on three months of a real machine's temperature,
//! and what it costs in truth.
//!
//! The second needs the folder `sensors` of the one that `PEABERRY_DATA` names; without it, that test says so and passes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it measures, and ends at what should not be"
)]

use std::time::Duration;

use peaberry_core::{Channel, Instant, MemoryStorage, ProtocolId, Subspace};
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, Metric, Outlet, Surroundings};
use peaberry_edge::filter::{SignificanceFilter, interpolate};
use peaberry_edge::ops::{Operator, Sample};
use peaberry_edge::payload::{Column, Payload, Readings, Wire};
use peaberry_edge::{BootEpoch, Name};

/// In degrees.
const DEADBAND: f64 = 0.5;
/// How long the filter may be silent, in seconds.
const SILENCE: u64 = 600;
/// A reading every second, of one day.
const SECONDS: u64 = 86_400;
/// A drink every five minutes, for which the boiler works half a minute.
const DRINK_EVERY: u64 = 300;
const DRINK_TAKES: u64 = 30;

struct Told {
    bytes: usize,
    samples: Vec<Sample>,
}

/// What a machine of seed 7 tells of its boiler, with or without a filter.
fn day(is_filtered: bool) -> Told {
    let machine = CoffeeMachine::new(7);
    let extract = coffee::recipes()
        .into_iter()
        .flat_map(|recipe| recipe.steps)
        .find(|step| step.name.as_str() == "extract")
        .unwrap();
    let mut metric = Metric::of(machine.sensor(CoffeeMetric::Temperature));
    if is_filtered {
        metric = metric.significant(DEADBAND, Duration::from_secs(SILENCE));
    }
    let storage = MemoryStorage::new();
    let space = Subspace::of(Channel::new(ProtocolId(2000), 1));
    let builder = Device::builder(Name::new("m-1").unwrap())
        .metric(metric)
        .heartbeat_every(Duration::from_secs(SECONDS * 2))
        .batch(Duration::from_secs(600), 1_000);
    let mut device: Device = builder
        .start(&storage, &space, BootEpoch::FIRST, Instant::default())
        .unwrap();
    let mut told = Told {
        bytes: 0,
        samples: Vec::new(),
    };
    let mut outlet = Outlet::default();
    for second in 0..SECONDS {
        match second % DRINK_EVERY {
            0 => machine.begin(&extract),
            DRINK_TAKES => machine.end(&extract.name),
            _ => {}
        }
        device.poll(second * 1_000, Surroundings::default(), &mut outlet);
        outlet.payloads.drain(..).for_each(|it| told.take(&it));
    }
    device.flush(&mut outlet);
    outlet.payloads.drain(..).for_each(|it| told.take(&it));
    told
}

impl Told {
    fn take(&mut self, payload: &Payload) {
        if let Payload::Readings(readings) = payload {
            self.bytes += readings.encode().len();
            for column in &readings.columns {
                let samples = column
                    .iter()
                    .map(|(at_ms, value)| Sample::new(at_ms, value));
                self.samples.extend(samples);
            }
        }
    }
}

#[test]
fn nine_tenths_of_the_bytes_are_saved_and_no_sample_is_off_by_more_than_the_deadband() {
    let (all, significant) = (day(false), day(true));
    let off = |sample: &Sample| {
        let told = interpolate(&significant.samples, sample.at_ms)?;
        Some((told - sample.value).abs())
    };
    let worst = all.samples.iter().filter_map(off).fold(0.0, f64::max);
    // Behind the last that was told nothing is known yet, for as long as the filter may be silent.
    let unknown = all.samples.iter().filter(|it| off(it).is_none()).count();
    assert!(unknown <= usize::try_from(SILENCE).unwrap(), "{unknown}");
    #[expect(clippy::cast_precision_loss, reason = "a day's bytes are few")]
    let saved = 1.0 - significant.bytes as f64 / all.bytes as f64;
    println!(
        "{} readings in {} bytes, {} of them in {} bytes: {:.1} % saved, off by {worst:.3} at most",
        all.samples.len(),
        all.bytes,
        significant.samples.len(),
        significant.bytes,
        saved * 100.0,
    );
    assert_eq!(all.samples.len() as u64, SECONDS);
    assert!(saved >= 0.9, "{saved}");
    assert!(worst <= DEADBAND * (1.0 + 1e-9), "{worst}");
}

/// A large machine's temperature every five minutes, with the failures that its owners have labelled.
const REAL: &str = "sensors/realKnownCause/machine_temperature_system_failure.csv";

/// In its degrees, of which it has a hundred. From one reading to the next it jitters by more than half of one: a deadband within
/// that saves less.
const REAL_DEADBAND: f64 = 2.0;

/// Bytes of these samples in batches of a thousand.
fn bytes(samples: &[Sample]) -> usize {
    let batches = samples.chunks(1_000).map(|batch| {
        let mut column = Column::new(Name::new("temperature").unwrap());
        for sample in batch {
            column.push(sample.at_ms, sample.value).unwrap();
        }
        let columns = vec![column];
        Readings { columns }.encode().len()
    });
    batches.sum()
}

#[test]
fn on_a_real_machine_too_no_sample_is_off_by_more_than_the_deadband() {
    let Some(folder) = std::env::var_os("PEABERRY_DATA") else {
        println!("skipped: PEABERRY_DATA names no folder with {REAL}");
        return;
    };
    let text = std::fs::read_to_string(std::path::Path::new(&folder).join(REAL)).unwrap();
    let values = text
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap().1);
    let values = values.map(|value| value.parse::<f64>().unwrap());
    let all: Vec<_> = (0..)
        .step_by(300_000)
        .zip(values)
        .map(|(at, value)| Sample::new(at, value))
        .collect();
    for deadband in [0.5, 1.0, REAL_DEADBAND] {
        let mut filter = SignificanceFilter::new(deadband, 6 * 3_600_000).unwrap();
        let mut told: Vec<_> = all
            .iter()
            .filter_map(|sample| filter.push(*sample))
            .collect();
        told.extend(filter.flush());
        let off =
            |sample: &Sample| (interpolate(&told, sample.at_ms).unwrap() - sample.value).abs();
        let worst = all.iter().map(off).fold(0.0, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "some hundred thousand bytes")]
        let saved = 1.0 - bytes(&told) as f64 / bytes(&all) as f64;
        println!(
            "deadband {deadband}: {} of {} samples, {:.1} % of {} bytes saved, off by {worst:.3} at most",
            told.len(),
            all.len(),
            saved * 100.0,
            bytes(&all)
        );
        assert!(worst <= deadband * (1.0 + 1e-9), "{worst}");
        assert!(deadband < REAL_DEADBAND || saved >= 0.9, "{saved}");
    }
}
