use super::Sample;

/// Count, mean, spread and extremes of some values, gathered one at a time.
///
/// After Welford, *Note on a method for calculating corrected sums of squares and products* (1962), which loses no digits to
/// large means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    count: u64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Statistics {
    /// Of no values.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            count: 0,
            mean: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Takes a value; one that is no number is passed over.
    pub fn push(&mut self, value: f64) {
        if !Sample::new(0, value).is_number() {
            return;
        }
        self.count += 1;
        let difference = value - self.mean;
        self.mean += difference / self.count_f64();
        self.squares += difference * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// How many values.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; 0 of none.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// The mean square of their distance from the mean; 0 of none.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        (self.squares / self.count_f64()).max(0.0)
    }

    /// The square root of the variance.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.variance().sqrt()
    }

    /// The smallest; infinity of none.
    #[must_use]
    pub const fn min(&self) -> f64 {
        self.min
    }

    /// The largest; negative infinity of none.
    #[must_use]
    pub const fn max(&self) -> f64 {
        self.max
    }

    pub(super) const fn of_parts(count: u64, mean: f64, squares: f64, min: f64, max: f64) -> Self {
        Self {
            count,
            mean,
            squares,
            min,
            max,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact to 2^53 values")]
    const fn count_f64(&self) -> f64 {
        self.count as f64
    }
}

impl Default for Statistics {
    fn default() -> Self {
        Self::new()
    }
}
