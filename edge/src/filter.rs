//! What is worth sending: the fewest readings from which the rest can be told within a deadband.

use crate::error::EdgeError;
use crate::ops::{Operator, Sample, SwingingDoor};

/// Reduces a metric to the corners of a line that is never off by more than its deadband, rounded so that they take few
/// bytes in a [`Column`](crate::payload::Column).
///
/// Read the value between two corners off the line between them: [`interpolate`] does. A corner is told when the sample
/// behind it has come, so what the far end knows lags behind the sensor by one corner; while nothing happens, a corner is
/// told at least as often as the silence allows. Rules and detectors belong before this, on every sample.
///
/// ```
/// use peaberry_edge::filter::{SignificanceFilter, interpolate};
/// use peaberry_edge::ops::{Operator, Sample};
///
/// let mut filter = SignificanceFilter::new(0.5, 60_000).unwrap();
/// let samples: Vec<_> = (0..100).map(|at| Sample::new(at * 100, (at as f64 / 10.0).sin() / 5.0 + 93.0)).collect();
/// let mut corners: Vec<_> = samples.iter().filter_map(|sample| filter.push(*sample)).collect();
/// corners.extend(filter.flush());
/// assert!(corners.len() < 5);
/// assert!(samples.iter().all(|s| (interpolate(&corners, s.at_ms).unwrap() - s.value).abs() <= 0.5));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SignificanceFilter {
    door: SwingingDoor,
    silence_ms_max: u64,
    told_ms: Option<u64>,
    last: Option<Sample>,
}

impl SignificanceFilter {
    /// Keeps within `deadband` of every sample, and tells a corner at least every `silence_ms_max` as long as samples come.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] unless the deadband is above 0 and the silence above 0 ms.
    pub fn new(deadband: f64, silence_ms_max: u64) -> Result<Self, EdgeError> {
        if silence_ms_max == 0 {
            return Err(EdgeError::Setting {
                setting: "silence",
                value: 0.0,
                reason: "it must be above 0 ms",
            });
        }
        SwingingDoor::new(deadband)?;
        // Rounding to a decimal takes at most a tenth of the deadband, and the door what is left.
        let quantum = 10_f64.powf((deadband / 5.0).log10().floor());
        let door = SwingingDoor::new(deadband - quantum / 2.0)?.rounded_to(quantum);
        Ok(Self {
            door,
            silence_ms_max,
            told_ms: None,
            last: None,
        })
    }

    /// The corner at the last sample; the line begins anew behind it. Call it before the device goes to sleep.
    pub fn flush(&mut self) -> Option<Sample> {
        self.told_ms = None;
        self.last = None;
        self.door.flush()
    }
}

impl Operator for SignificanceFilter {
    type Output = Sample;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Sample> {
        if !sample.is_number() || self.last.is_some_and(|last| sample.at_ms <= last.at_ms) {
            return None;
        }
        let is_due = self
            .told_ms
            .is_some_and(|told_ms| sample.at_ms - told_ms >= self.silence_ms_max);
        let corner = if is_due {
            self.door.close_and_open(sample)
        } else {
            self.door.push(sample)
        };
        if let Some(corner) = corner {
            self.told_ms = Some(corner.at_ms);
        }
        self.last = Some(sample);
        corner
    }
}

/// The value at `at_ms` on the line through `corners`, which are in ascending time; `None` outside of them.
#[must_use]
pub fn interpolate(corners: &[Sample], at_ms: u64) -> Option<f64> {
    let after = corners.partition_point(|corner| corner.at_ms < at_ms);
    let next = corners.get(after)?;
    if next.at_ms == at_ms {
        return Some(next.value);
    }
    let last = corners.get(after.checked_sub(1)?)?;
    #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
    let part = (at_ms - last.at_ms) as f64 / (next.at_ms - last.at_ms) as f64;
    Some(last.value + part * (next.value - last.value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_sample_is_told_within_the_deadband_and_silence_is_bounded(
            steps in proptest::collection::vec((1..5_000_u64, -3.0..3.0_f64), 1..300),
            deadband in 0.001..10.0_f64,
        ) {
            const SILENCE_MS: u64 = 20_000;
            let mut filter = SignificanceFilter::new(deadband, SILENCE_MS).unwrap();
            let mut sample = Sample::new(0, 50.0);
            let mut samples = Vec::new();
            let mut corners = Vec::new();
            for (step_ms, step) in steps {
                sample = Sample::new(sample.at_ms + step_ms, sample.value + step);
                samples.push(sample);
                corners.extend(filter.push(sample));
                let told = corners.last().unwrap().at_ms;
                prop_assert!(sample.at_ms - told < SILENCE_MS + 5_000);
            }
            corners.extend(filter.flush());
            for sample in samples {
                let told = interpolate(&corners, sample.at_ms).unwrap();
                prop_assert!((told - sample.value).abs() <= deadband * (1.0 + 1e-9) + 1e-9);
            }
        }
    }
}
