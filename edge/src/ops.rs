//! Operators on streams of samples: each takes one sample at a time, in constant time, and allocates nothing.
//!
//! Their state lies where you put it, with const-generic sizes where it has one, so they run where there is no allocator;
//! of `std` they need nothing but the square root.
//!
//! # What is no number
//!
//! A sample that is NaN, infinite or beyond [`VALUE_MAX`] changes no operator's state and yields nothing. Whoever feeds a sensor counts them
//! ([`Health::sensor_errors`](crate::payload::Health::sensor_errors)); one bad reading must not poison an average for ever.
//!
//! # Time
//!
//! Samples carry milliseconds since the device's start, which do not go back. One that does anyway is too late for a window
//! that has closed and is passed over there; other operators take samples in the order they come.
//!
//! ```
//! use peaberry_edge::ops::{Cusum, Deadband, Ewma, Operator, Sample, ZScore};
//!
//! let mut chain = Deadband::new(0.05).unwrap()
//!     .then(Ewma::new(0.2).unwrap())
//!     .then(Cusum::new(93.0, 0.25, 4.0).unwrap().beside(ZScore::new(0.01).unwrap()));
//! let mut shifts = 0;
//! for second in 0..200_u64 {
//!     let ripple = (second % 5) as f64 * 0.1;
//!     let value = if second < 100 { 93.0 } else { 95.0 } + ripple;
//!     let step = chain.push(Sample::new(second * 1000, value));
//!     if step.is_some_and(|(cusum, _)| cusum.is_some_and(|cusum| cusum.shift.is_some())) {
//!         shifts += 1;
//!     }
//! }
//! assert!(shifts > 0);
//! ```

mod chain;
mod compress;
mod detect;
mod quantile;
mod season;
mod smooth;
mod statistics;
mod window;

pub use self::chain::{Beside, Operator, Then};
pub use self::compress::{Deadband, SwingingDoor};
pub use self::detect::{Cusum, CusumStep, Shift, ZScore};
pub use self::quantile::Quantile;
pub use self::season::{Forecast, HoltWinters};
pub use self::smooth::{Ewma, RateOfChange};
pub use self::statistics::Statistics;
pub use self::window::{Session, Sliding, Tumbling, Window};

use crate::error::EdgeError;

/// The largest value that counts as a number: what no sensor measures, and of which the squares of many still add up.
pub const VALUE_MAX: f64 = 1e150;

/// A value at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Milliseconds since the device's start.
    pub at_ms: u64,
    /// What was measured.
    pub value: f64,
}

impl Sample {
    /// `value` at `at_ms`.
    #[must_use]
    pub const fn new(at_ms: u64, value: f64) -> Self {
        Self { at_ms, value }
    }

    /// Whether the value can be reckoned with: a number within [`VALUE_MAX`] of zero.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        // Also false for NaN.
        self.value.abs() <= VALUE_MAX
    }
}

/// `value`, if `is_allowed`.
fn setting(
    name: &'static str,
    value: f64,
    is_allowed: bool,
    reason: &'static str,
) -> Result<f64, EdgeError> {
    if is_allowed && value.is_finite() {
        return Ok(value);
    }
    Err(EdgeError::Setting {
        setting: name,
        value,
        reason,
    })
}

/// A weight of the newest sample.
fn weight(name: &'static str, value: f64) -> Result<f64, EdgeError> {
    setting(
        name,
        value,
        value > 0.0 && value <= 1.0,
        "it must be above 0 and at most 1",
    )
}

/// A length of time.
fn length_ms(name: &'static str, value: u64) -> Result<u64, EdgeError> {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    let shown = value as f64;
    setting(name, shown, value > 0, "it must be above 0 ms")?;
    Ok(value)
}

#[cfg(test)]
mod tests;
