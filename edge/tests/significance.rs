//! What the significance filter saves on a day of a coffee machine's boiler, and what it costs in truth.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it measures, and ends at what should not be"
)]

use std::time::Duration;

use peaberry_core::{Channel, Instant, MemoryStorage, ProtocolId, Subspace};
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, Metric, Outlet, Surroundings};
use peaberry_edge::filter::interpolate;
use peaberry_edge::ops::Sample;
use peaberry_edge::payload::{Payload, Wire};
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
