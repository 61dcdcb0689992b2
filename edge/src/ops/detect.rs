use super::{Operator, Sample, setting, weight};
use crate::error::EdgeError;

/// Sums up how far samples lie above and below a target, beyond a slack: sees a small shift that lasts.
///
/// The two-sided tabular CUSUM of Page, *Continuous Inspection Schemes* (1954).
#[derive(Clone, Copy, Debug)]
pub struct Cusum {
    target: f64,
    slack: f64,
    threshold: f64,
    high: f64,
    low: f64,
}

/// Where the sums of a [`Cusum`] stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CusumStep {
    /// How much has gathered above the target.
    pub high: f64,
    /// How much has gathered below it.
    pub low: f64,
    /// Set when one of them passed the threshold; both then begin at zero again.
    pub shift: Option<Shift>,
}

/// Which way a mean has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Upwards.
    Up,
    /// Downwards.
    Down,
}

impl Cusum {
    /// Watches for a shift from `target`. What lies within `slack` of it does not count (half the shift looked for is usual);
    /// a sum above `threshold` is a shift.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for a target that is no number, a negative slack, or a threshold not above zero.
    pub fn new(target: f64, slack: f64, threshold: f64) -> Result<Self, EdgeError> {
        Ok(Self {
            target: setting("target", target, true, "it must be a number")?,
            slack: setting("slack", slack, slack >= 0.0, "it must not be negative")?,
            threshold: setting(
                "threshold",
                threshold,
                threshold > 0.0,
                "it must be above 0",
            )?,
            high: 0.0,
            low: 0.0,
        })
    }
}

impl Operator for Cusum {
    type Output = CusumStep;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<CusumStep> {
        if !sample.is_number() {
            return None;
        }
        let above = sample.value - self.target;
        self.high = (self.high + above - self.slack).max(0.0);
        self.low = (self.low - above - self.slack).max(0.0);
        let shift = if self.high > self.threshold {
            Some(Shift::Up)
        } else if self.low > self.threshold {
            Some(Shift::Down)
        } else {
            None
        };
        let step = CusumStep {
            high: self.high,
            low: self.low,
            shift,
        };
        if shift.is_some() {
            (self.high, self.low) = (0.0, 0.0);
        }
        Some(step)
    }
}

/// How many standard deviations a sample lies from the mean of those before it, both exponentially weighted.
///
/// Mean and variance after Finch, *Incremental calculation of weighted mean and variance* (2009). Zero for the first sample. A
/// line that was flat has no deviation, and the first step off it would score zero, too: give it the
/// [least deviation](Self::deviation_min) that matters.
#[derive(Clone, Copy, Debug)]
pub struct ZScore {
    weight: f64,
    mean: f64,
    variance: f64,
    deviation_min: f64,
    has_begun: bool,
}

impl ZScore {
    /// Gives the newest sample the weight `weight`: 2 / (n + 1) remembers about n samples.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] unless it is above 0 and at most 1.
    pub fn new(weight: f64) -> Result<Self, EdgeError> {
        Ok(Self {
            weight: self::weight("weight", weight)?,
            mean: 0.0,
            variance: 0.0,
            deviation_min: 0.0,
            has_begun: false,
        })
    }

    /// Takes the deviation to be at least `deviation`, in the unit of the samples: a step off a flat line counts in it. 0 by
    /// default.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] if it is negative or no number.
    pub fn deviation_min(mut self, deviation: f64) -> Result<Self, EdgeError> {
        let (name, reason) = ("least deviation", "it must not be negative");
        self.deviation_min = setting(name, deviation, deviation >= 0.0, reason)?;
        Ok(self)
    }

    /// The mean of what was seen.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// The variance of what was seen.
    #[must_use]
    pub const fn variance(&self) -> f64 {
        self.variance
    }
}

impl Operator for ZScore {
    type Output = f64;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<f64> {
        if !sample.is_number() {
            return None;
        }
        if !self.has_begun {
            self.has_begun = true;
            self.mean = sample.value;
            return Some(0.0);
        }
        let difference = sample.value - self.mean;
        let deviation = self.variance.sqrt().max(self.deviation_min);
        let score = if deviation > 0.0 {
            difference / deviation
        } else {
            0.0
        };
        let step = self.weight * difference;
        self.mean += step;
        self.variance = (1.0 - self.weight) * (self.variance + difference * step);
        Some(score)
    }
}
