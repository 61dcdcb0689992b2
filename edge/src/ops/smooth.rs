use super::{Operator, Sample, weight};
use crate::error::EdgeError;

/// The exponentially weighted moving average: each sample moves it by a constant part of the way.
#[derive(Clone, Copy, Debug)]
pub struct Ewma {
    weight: f64,
    mean: Option<f64>,
}

impl Ewma {
    /// Gives the newest sample the weight `weight`: 2 / (n + 1) remembers about n samples.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] unless it is above 0 and at most 1.
    pub fn new(weight: f64) -> Result<Self, EdgeError> {
        Ok(Self {
            weight: self::weight("weight", weight)?,
            mean: None,
        })
    }
}

impl Operator for Ewma {
    type Output = Sample;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Sample> {
        if !sample.is_number() {
            return None;
        }
        let mean = match self.mean {
            Some(mean) => mean + self.weight * (sample.value - mean),
            None => sample.value,
        };
        self.mean = Some(mean);
        Some(Sample::new(sample.at_ms, mean))
    }
}

/// How fast a value changes: per second, from one sample to the next. Samples of the same millisecond as the last yield
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateOfChange {
    last: Option<Sample>,
}

impl RateOfChange {
    /// Begins with the next sample.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None }
    }
}

impl Operator for RateOfChange {
    type Output = Sample;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Sample> {
        if !sample.is_number() {
            return None;
        }
        let Some(last) = self.last else {
            self.last = Some(sample);
            return None;
        };
        if sample.at_ms <= last.at_ms {
            return None;
        }
        self.last = Some(sample);
        #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
        let seconds = (sample.at_ms - last.at_ms) as f64 / 1000.0;
        Some(Sample::new(
            sample.at_ms,
            (sample.value - last.value) / seconds,
        ))
    }
}
