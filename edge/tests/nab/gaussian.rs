//! The plainest detector that the benchmark's authors compare with: a Gaussian over a window of the past.

use peaberry_edge::ops::{Sample, Statistics};

/// The window in samples, and after how many samples it is moved, as in the published results.
pub(crate) const WINDOW: usize = 6400;
const STEP: usize = 100;

/// How many standard deviations each sample lies from the mean of the window before it, on either side: the same order as
/// the tail probability that the published one uses, so the same score under the best threshold.
pub(crate) fn scores(samples: &[Sample], window: usize) -> Vec<f64> {
    let mut statistics = Statistics::new();
    let score = |(index, sample): (usize, &Sample)| {
        let score = distance(&statistics, sample.value);
        if index < window {
            statistics.push(sample.value);
        } else if (index - window + 1).is_multiple_of(STEP) {
            statistics = Statistics::new();
            let begin = index + 1 - window;
            for past in samples.iter().take(index + 1).skip(begin) {
                statistics.push(past.value);
            }
        }
        score
    };
    samples.iter().enumerate().map(score).collect()
}

fn distance(statistics: &Statistics, value: f64) -> f64 {
    if statistics.count() == 0 {
        return 0.0;
    }
    // The published one takes this for a spread of zero.
    (value - statistics.mean()).abs() / statistics.deviation().max(1e-6)
}
