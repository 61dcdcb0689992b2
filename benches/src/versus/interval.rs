use std::fmt;

/// Where the true median of what was sampled lies, with 95 % confidence.
///
/// From the order statistics of the sample and the binomial distribution (Conover, *Practical Nonparametric
/// Statistics*, 3.2): nothing is supposed about how the samples are spread. With fewer than six samples there is no
/// such interval, and all of them lie within the one given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end, a sample.
    pub low: f64,
    /// Its upper end, a sample.
    pub high: f64,
    /// How many samples there were.
    pub samples: usize,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, high, samples } = self;
        let what = if *samples < SAMPLES_MIN {
            "range"
        } else {
            "95 %"
        };
        write!(f, "{what}: {low:.3} to {high:.3}, {samples} pairs")
    }
}

/// The fewest samples whose smallest and largest enclose the median with 95 % confidence.
const SAMPLES_MIN: usize = 6;

impl Interval {
    /// The interval for the median of `samples`.
    ///
    /// # Panics
    ///
    /// When there are none.
    #[must_use]
    pub fn of_median(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let outside = ranks_outside(samples.len());
        let low = samples.get(outside);
        let high = samples.iter().rev().nth(outside);
        Self {
            low: *low.expect("there are samples"),
            high: *high.expect("there are samples"),
            samples: samples.len(),
        }
    }
}

/// How many of the smallest, and as many of the largest, of `count` samples can be left out.
fn ranks_outside(count: usize) -> usize {
    // The chance that at most `k` of the samples lie below the median, for k = 0, 1, …, must stay under 2.5 %.
    let mut chance = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut below = 0.0;
    for k in 0..count / 2 {
        below += chance;
        if below > 0.025 {
            return k.saturating_sub(1);
        }
        chance *= (count - k) as f64 / (k + 1) as f64;
    }
    (count / 2).saturating_sub(1)
}

/// The middle value, or the mean of the two in the middle.
///
/// # Panics
///
/// When there are none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2);
    let lower = values.iter().rev().nth(values.len() / 2);
    (upper.expect("there are values") + lower.expect("there are values")) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([7.0]), 7.0);
    }

    /// The ranks of the published tables for 95 %.
    #[test]
    fn ranks_are_those_of_the_tables() {
        let ranks = [
            (1, 0),
            (5, 0),
            (6, 0),
            (9, 1),
            (10, 1),
            (20, 5),
            (30, 9),
            (40, 13),
        ];
        for (count, outside) in ranks {
            assert_eq!(ranks_outside(count), outside, "{count} samples");
        }
    }

    #[test]
    fn an_outlier_does_not_widen_the_interval() {
        let samples = (1..=9).map(f64::from).chain([1e9]).collect();
        let interval = Interval::of_median(samples);
        assert_eq!((interval.low, interval.high), (2.0, 9.0));
    }
}
