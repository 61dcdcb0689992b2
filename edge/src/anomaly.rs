//! Finds what a metric has not done before, without labels and without looking ahead.

mod profile;
mod surprise;

use crate::error::EdgeError;
use crate::ops::{Operator, Sample};
use crate::ring::Ring;

use self::profile::Profile;
use self::surprise::Surprise;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Half an hour each.
const DAY_BINS: usize = 48;
const WEEK_BINS: usize = 7 * DAY_BINS;

/// How a detector judges. The defaults are meant for metrics that follow people: by the day and the week.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AnomalySettings {
    /// How surprising a sample must be to be told, in multiples of the usual surprise. 3 by default.
    pub threshold: f64,
    /// Over how long deviations are averaged on the slower of the two scales. 3 hours by default.
    pub smoothing_ms: u64,
    /// After how long a surprise counts half in what is usual. 14 days by default.
    pub memory_ms: u64,
    /// For how long after a surprise only much greater ones are told. 2 days by default.
    pub quiet_ms: u64,
    /// How much greater: a factor above 1. 1.3 by default.
    pub growth: f64,
    /// How much of a new day or week goes into the profile of one: above 0, at most 1. 0.3 by default.
    pub learning: f64,
}

impl Default for AnomalySettings {
    fn default() -> Self {
        Self {
            threshold: 3.0,
            smoothing_ms: 3 * HOUR_MS,
            memory_ms: 14 * DAY_MS,
            quiet_ms: 2 * DAY_MS,
            growth: 1.3,
            learning: 0.3,
        }
    }
}

/// A sample that a metric's past does not explain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anomaly {
    /// The sample.
    pub sample: Sample,
    /// How many times greater the surprise is than usual.
    pub score: f64,
}

/// Judges each sample by three expectations: that it equals the last one, the usual value at this time of the day, and the
/// usual one at this time of the week. Deviations are taken as they are and averaged over hours, and each of these six is
/// measured against the root mean square of its own past: an expectation that never held surprises nobody. The mean of the
/// two greatest is the score. In a run of surprises, the first is told, and then those that are much greater.
///
/// Constant time, no allocation, about 4 KiB for each metric; it knows days and weeks from the time since the device's start.
/// For a day it tells nothing, and it takes a week to know weeks. Its memory does not survive a restart.
///
/// ```
/// use peaberry_edge::anomaly::{AnomalyDetector, AnomalySettings};
/// use peaberry_edge::ops::{Operator, Sample};
///
/// let mut detector = AnomalyDetector::new(AnomalySettings::default()).unwrap();
/// let mut told = Vec::new();
/// for quarter in 0..96 * 10_u64 {
///     let busy = (quarter % 96) as f64 / 96.0;
///     // On the ninth day, nobody comes at noon.
///     let is_empty = (8 * 96 + 40..8 * 96 + 60).contains(&quarter);
///     let value = if is_empty { 1.0 } else { 50.0 * (busy * 6.3).cos() + (quarter * 7 % 5) as f64 };
///     told.extend(detector.push(Sample::new(quarter * 900_000, value)));
/// }
/// let at: Vec<_> = told.iter().map(|anomaly| anomaly.sample.at_ms / 900_000).collect();
/// assert!(!at.is_empty() && at.iter().all(|quarter| (808..870).contains(quarter)), "{at:?}");
/// ```
#[derive(Clone, Debug)]
pub struct AnomalyDetector {
    settings: AnomalySettings,
    last: Option<Sample>,
    day: Profile<DAY_BINS>,
    week: Profile<WEEK_BINS>,
    /// Of the change, the day, the week; each as it is and averaged.
    surprises: [[Surprise; 2]; 3],
    weights: Weights,
    /// What was surprising of late, rising: each is greater than the one before by the growth.
    recent: Ring<Sample, RECENT_MAX>,
}

/// Since each is 1.3 times the one before, the last of them is more than a thousand times the first.
const RECENT_MAX: usize = 32;

/// How much the newest sample weighs, for the time between it and the last.
#[derive(Clone, Copy, Debug, Default)]
struct Weights {
    gap_ms: u64,
    smoothing: f64,
    memory: f64,
}

impl AnomalyDetector {
    /// Knows nothing yet.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for a duration of zero, a growth below 1, a learning outside of 0 to 1, or a threshold that
    /// is no number.
    pub fn new(settings: AnomalySettings) -> Result<Self, EdgeError> {
        check(&settings)?;
        Ok(Self {
            settings,
            last: None,
            day: Profile::new(DAY_MS, settings.learning),
            week: Profile::new(7 * DAY_MS, settings.learning),
            surprises: [[Surprise::default(); 2]; 3],
            weights: Weights::default(),
            recent: Ring::new(),
        })
    }

    fn score(&mut self, sample: Sample, last: Sample) -> f64 {
        let gap_ms = sample.at_ms - last.at_ms;
        if gap_ms != self.weights.gap_ms {
            self.weights = Weights {
                gap_ms,
                smoothing: -(-float(gap_ms) / float(self.settings.smoothing_ms)).exp_m1(),
                memory: -(-float(gap_ms) / float(self.settings.memory_ms)
                    * core::f64::consts::LN_2)
                    .exp_m1(),
            };
        }
        let expected = [
            Some(last.value),
            self.day.expected(sample.at_ms),
            self.week.expected(sample.at_ms),
        ];
        let Weights {
            smoothing, memory, ..
        } = self.weights;
        let mut greatest = [0.0_f64; 2];
        for (pair, expected) in self.surprises.iter_mut().zip(expected) {
            let Some(expected) = expected else { continue };
            for (surprise, smoothing) in pair.iter_mut().zip([1.0, smoothing]) {
                let score = surprise.take(sample.value - expected, smoothing, memory, gap_ms);
                let [first, second] = greatest;
                greatest = if score > first {
                    [score, first]
                } else {
                    [first, second.max(score)]
                };
            }
        }
        let [first, second] = greatest;
        f64::midpoint(first, second)
    }

    /// Whether nothing of the kind was surprising of late.
    fn is_news(&mut self, sample: Sample, score: f64) -> bool {
        while self
            .recent
            .first()
            .is_some_and(|old| sample.at_ms - old.at_ms >= self.settings.quiet_ms)
        {
            self.recent.pop();
        }
        let greatest = self.recent.last().map_or(0.0, |recent| recent.value);
        let is_news = score >= 1.0 && score > greatest * self.settings.growth;
        if is_news {
            self.recent.push(Sample::new(sample.at_ms, score));
        }
        is_news
    }
}

impl Operator for AnomalyDetector {
    type Output = Anomaly;

    fn push(&mut self, sample: Sample) -> Option<Anomaly> {
        if !sample.is_number() || self.last.is_some_and(|last| sample.at_ms <= last.at_ms) {
            return None;
        }
        let score = match self.last {
            Some(last) => self.score(sample, last),
            None => 0.0,
        };
        let gap_ms = self.last.map_or(0, |last| sample.at_ms - last.at_ms);
        self.last = Some(sample);
        self.day.learn(sample, gap_ms);
        self.week.learn(sample, gap_ms);
        let is_told = self.is_news(sample, score) && score >= self.settings.threshold;
        is_told.then_some(Anomaly { sample, score })
    }
}

fn check(settings: &AnomalySettings) -> Result<(), EdgeError> {
    let refuse = |setting, value, reason| {
        Err(EdgeError::Setting {
            setting,
            value,
            reason,
        })
    };
    let durations = [settings.smoothing_ms, settings.memory_ms, settings.quiet_ms];
    if durations.contains(&0) {
        return refuse("a duration", 0.0, "it must be above 0 ms");
    }
    if !(settings.growth >= 1.0 && settings.growth.is_finite()) {
        return refuse("growth", settings.growth, "it must be 1 at least");
    }
    if !(settings.learning > 0.0 && settings.learning <= 1.0) {
        return refuse(
            "learning",
            settings.learning,
            "it must be above 0 and at most 1",
        );
    }
    if settings.threshold.is_nan() {
        return refuse("threshold", settings.threshold, "it must be a number");
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
const fn float(ms: u64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No look-ahead: whatever is still to come, what was said of the samples before is the same.
    #[test]
    fn what_comes_later_changes_nothing_that_was_said() {
        let settings = AnomalySettings {
            threshold: 0.0,
            ..AnomalySettings::default()
        };
        let judge = |samples: &[Sample]| -> Vec<_> {
            let mut detector = AnomalyDetector::new(settings).unwrap();
            samples.iter().map(|it| detector.push(*it)).collect()
        };
        let mut random = fastrand::Rng::with_seed(5);
        let samples: Vec<_> = (1..4000)
            .map(|at| {
                Sample::new(
                    at * 300_000,
                    random.f64() * if at > 3000 { 40.0 } else { 1.0 },
                )
            })
            .collect();
        let whole = judge(&samples);
        assert!(whole.iter().any(Option::is_some));
        for length in [1, 500, 2_999, 3_001, 3_500] {
            assert_eq!(judge(&samples[..length]), whole[..length], "{length}");
        }
    }

    #[test]
    fn what_is_no_number_or_comes_late_changes_nothing() {
        let settings = AnomalySettings {
            threshold: 0.0,
            ..AnomalySettings::default()
        };
        let mut clean = AnomalyDetector::new(settings).unwrap();
        let mut disturbed = clean.clone();
        let mut random = fastrand::Rng::with_seed(3);
        for at in 1..3000 {
            let sample = Sample::new(
                at * 300_000,
                random.f64() + if at > 2500 { 9.0 } else { 0.0 },
            );
            assert_eq!(clean.push(sample), disturbed.push(sample));
            for noise in [f64::NAN, f64::NEG_INFINITY, 1e300] {
                assert_eq!(disturbed.push(Sample::new(at * 300_000 + 1, noise)), None);
            }
            assert_eq!(disturbed.push(Sample::new(at * 300_000 - 5, 70.0)), None);
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let settings = AnomalySettings {
            growth: 0.5,
            ..AnomalySettings::default()
        };
        let error = AnomalyDetector::new(settings).unwrap_err();
        assert_eq!(
            error.to_string(),
            "growth of 0.5 is refused: it must be 1 at least"
        );
    }
}
