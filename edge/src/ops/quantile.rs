use super::{Operator, Sample, setting};
use crate::error::EdgeError;

/// Estimates a quantile of all samples so far from five markers.
///
/// The P² algorithm of Jain and Chlamtac, *The P² Algorithm for Dynamic Calculation of Quantiles and Histograms Without
/// Storing Observations* (1985). Exact for the first five samples. It has no error bound: on smooth distributions it is
/// typically within a percent of the range, on ordered input worse.
#[derive(Clone, Copy, Debug)]
pub struct Quantile {
    part: f64,
    count: u64,
    heights: [f64; 5],
    positions: [f64; 5],
    desired: [f64; 5],
}

impl Quantile {
    /// The value below which the part `part` of all samples lies: 0.5 is the median.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] unless it lies between 0 and 1.
    pub fn new(part: f64) -> Result<Self, EdgeError> {
        let is_inside = part > 0.0 && part < 1.0;
        Ok(Self {
            part: setting("part", part, is_inside, "it must lie between 0 and 1")?,
            count: 0,
            heights: [0.0; 5],
            positions: [1.0, 2.0, 3.0, 4.0, 5.0],
            desired: [
                1.0,
                1.0 + 2.0 * part,
                1.0 + 4.0 * part,
                3.0 + 2.0 * part,
                5.0,
            ],
        })
    }

    fn begin(&mut self, value: f64) -> f64 {
        let [a, b, c, d, e] = &mut self.heights;
        let slots = [a, b, c, d, e];
        let mut value = value;
        // One step of an insertion sort; what is beyond the count does not hold a sample yet.
        for (index, slot) in (0..).zip(slots) {
            if index == self.count {
                *slot = value;
                break;
            }
            if value < *slot {
                core::mem::swap(slot, &mut value);
            }
        }
        self.count += 1;
        #[expect(clippy::cast_precision_loss, reason = "it is at most five")]
        let rank = (self.part * self.count as f64).ceil();
        let mut at = 0.0;
        for &height in &self.heights {
            at += 1.0;
            if at >= rank {
                return height;
            }
        }
        value
    }

    fn raise(&mut self, value: f64) {
        let [lowest, h1, h2, h3, highest] = &mut self.heights;
        *lowest = lowest.min(value);
        *highest = highest.max(value);
        let is_below = [false, value < *h1, value < *h2, value < *h3, true];
        for (position, is_below) in self.positions.iter_mut().zip(is_below) {
            if is_below {
                *position += 1.0;
            }
        }
        let steps = [
            0.0,
            self.part / 2.0,
            self.part,
            f64::midpoint(1.0, self.part),
            1.0,
        ];
        for (desired, step) in self.desired.iter_mut().zip(steps) {
            *desired += step;
        }
    }

    #[expect(clippy::indexing_slicing, reason = "called with 1, 2 and 3 of five")]
    fn adjust(&mut self, i: usize) {
        let (h, n) = (&self.heights, &self.positions);
        let off = self.desired[i] - n[i];
        let step = if off >= 1.0 && n[i + 1] - n[i] > 1.0 {
            1.0
        } else if off <= -1.0 && n[i - 1] - n[i] < -1.0 {
            -1.0
        } else {
            return;
        };
        let above = (n[i] - n[i - 1] + step) * (h[i + 1] - h[i]) / (n[i + 1] - n[i]);
        let below = (n[i + 1] - n[i] - step) * (h[i] - h[i - 1]) / (n[i] - n[i - 1]);
        let parabolic = h[i] + step / (n[i + 1] - n[i - 1]) * (above + below);
        let height = if h[i - 1] < parabolic && parabolic < h[i + 1] {
            parabolic
        } else {
            let j = if step > 0.0 { i + 1 } else { i - 1 };
            h[i] + step * (h[j] - h[i]) / (n[j] - n[i])
        };
        self.heights[i] = height;
        self.positions[i] += step;
    }
}

impl Operator for Quantile {
    type Output = f64;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<f64> {
        if !sample.is_number() {
            return None;
        }
        if self.count < 5 {
            return Some(self.begin(sample.value));
        }
        self.count += 1;
        self.raise(sample.value);
        for marker in 1..4 {
            self.adjust(marker);
        }
        let [_, _, middle, _, _] = self.heights;
        Some(middle)
    }
}
