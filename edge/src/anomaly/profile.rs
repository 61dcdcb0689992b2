use crate::ops::Sample;

use super::float;

/// What is usual at each time of a season.
#[derive(Clone, Debug)]
pub(super) struct Profile<const BINS: usize> {
    season_ms: u64,
    learning: f64,
    means: [f64; BINS],
    counts: [u16; BINS],
}

impl<const BINS: usize> Profile<BINS> {
    pub(super) const fn new(season_ms: u64, learning: f64) -> Self {
        Self {
            season_ms,
            learning,
            means: [0.0; BINS],
            counts: [0; BINS],
        }
    }

    /// The usual value at this time; `None` if this time of the season was never seen.
    pub(super) fn expected(&self, at_ms: u64) -> Option<f64> {
        let bin = self.bin(at_ms);
        let count = *self.counts.get(bin)?;
        if count == 0 {
            return None;
        }
        self.means.get(bin).copied()
    }

    /// Takes a sample that came `gap_ms` after the one before.
    pub(super) fn learn(&mut self, sample: Sample, gap_ms: u64) {
        let bin = self.bin(sample.at_ms);
        let (Some(mean), Some(count)) = (self.means.get_mut(bin), self.counts.get_mut(bin)) else {
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "there are hundreds of bins")]
        let bin_ms = float(self.season_ms) / BINS as f64;
        // How much of one visit to the bin this sample is.
        let part = (float(gap_ms) / bin_ms).min(1.0);
        let seen = f64::from(*count);
        *count = count.saturating_add(1);
        // The first visit is averaged; each later one moves the mean by the learning.
        let weight = if (seen + 1.0) * part < 1.0 || seen == 0.0 {
            1.0 / (seen + 1.0)
        } else {
            self.learning * part
        };
        *mean += weight * (sample.value - *mean);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is below the number of bins"
    )]
    const fn bin(&self, at_ms: u64) -> usize {
        let phase_ms = at_ms % self.season_ms;
        // A season of a week in ms times hundreds of bins is far below 2^64.
        (phase_ms * BINS as u64 / self.season_ms) as usize
    }
}
