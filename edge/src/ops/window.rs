use super::{Operator, Sample, Statistics, length_ms};
use crate::error::EdgeError;
use crate::ring::Ring;

/// A window that has closed, and what was in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Where it begins, milliseconds since the device's start.
    pub from_ms: u64,
    /// Where it ends; not part of it, except for a session, which ends with its last sample.
    pub to_ms: u64,
    /// What was in it; never empty.
    pub statistics: Statistics,
}

/// Windows of one length side by side, the first beginning at the device's start. A window closes when a sample of a later
/// one comes, or with [`close_at`](Self::close_at); one without samples is not told.
#[derive(Clone, Copy, Debug)]
pub struct Tumbling {
    length_ms: u64,
    index: u64,
    statistics: Statistics,
}

impl Tumbling {
    /// Windows of `length_ms`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for zero.
    pub fn new(length_ms: u64) -> Result<Self, EdgeError> {
        Ok(Self {
            length_ms: self::length_ms("length", length_ms)?,
            index: 0,
            statistics: Statistics::new(),
        })
    }

    /// Closes the window if it ends at `now_ms` or before: for a sensor that has gone silent.
    pub fn close_at(&mut self, now_ms: u64) -> Option<Window> {
        let index = now_ms / self.length_ms;
        if index <= self.index {
            return None;
        }
        let closed = Window {
            from_ms: self.index * self.length_ms,
            to_ms: (self.index + 1) * self.length_ms,
            statistics: self.statistics,
        };
        self.index = index;
        self.statistics = Statistics::new();
        (closed.statistics.count() > 0).then_some(closed)
    }
}

impl Operator for Tumbling {
    type Output = Window;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Window> {
        if !sample.is_number() || sample.at_ms / self.length_ms < self.index {
            return None;
        }
        let closed = self.close_at(sample.at_ms);
        self.statistics.push(sample.value);
        closed
    }
}

/// Samples that follow one another within a gap. A session closes when a sample comes later than that, or with
/// [`close_at`](Self::close_at).
#[derive(Clone, Copy, Debug)]
pub struct Session {
    gap_ms: u64,
    open: Option<Window>,
    /// Where the last one that closed ended: what is not later comes too late.
    closed_ms: Option<u64>,
}

impl Session {
    /// A silence longer than `gap_ms` ends a session.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for zero.
    pub fn new(gap_ms: u64) -> Result<Self, EdgeError> {
        Ok(Self {
            gap_ms: length_ms("gap", gap_ms)?,
            open: None,
            closed_ms: None,
        })
    }

    /// Closes the session if its last sample is longer ago than the gap.
    pub fn close_at(&mut self, now_ms: u64) -> Option<Window> {
        let last_ms = self.open.as_ref()?.to_ms;
        if now_ms.saturating_sub(last_ms) <= self.gap_ms {
            return None;
        }
        self.closed_ms = Some(last_ms);
        self.open.take()
    }
}

impl Operator for Session {
    type Output = Window;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Window> {
        if !sample.is_number() {
            return None;
        }
        let is_early = self.open.is_some_and(|open| sample.at_ms < open.from_ms);
        if is_early || self.closed_ms.is_some_and(|closed| sample.at_ms <= closed) {
            return None;
        }
        let closed = self.close_at(sample.at_ms);
        let open = self.open.get_or_insert(Window {
            from_ms: sample.at_ms,
            to_ms: sample.at_ms,
            statistics: Statistics::new(),
        });
        open.to_ms = open.to_ms.max(sample.at_ms);
        open.statistics.push(sample.value);
        closed
    }
}

/// Sums whose spread is a smaller part of the largest square in them have lost five of sixteen digits.
const SCALE_MIN: f64 = 1e-5;

/// The statistics of the last samples, told with each one: those no older than its length, and at most `N`.
///
/// Sums are kept relative to a value of the window and made anew every `N` samples, and when most of what they held has left,
/// such as an outlier beside which the rest was lost in rounding; extremes come from monotone queues. Amortised constant
/// time; three rings of `N`.
#[derive(Clone, Copy, Debug)]
pub struct Sliding<const N: usize> {
    length_ms: u64,
    samples: Ring<Sample, N>,
    /// Candidates for the smallest, ascending; for the largest, descending.
    lows: Ring<Sample, N>,
    highs: Ring<Sample, N>,
    shift: f64,
    sum: f64,
    squares: f64,
    /// The largest square that went into the sums since they were made: their rounding is of its order.
    scale: f64,
    until_anew: usize,
}

impl<const N: usize> Sliding<N> {
    /// The last `length_ms` before each sample, that instant included.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for zero.
    pub fn new(length_ms: u64) -> Result<Self, EdgeError> {
        Ok(Self {
            length_ms: self::length_ms("length", length_ms)?,
            samples: Ring::new(),
            lows: Ring::new(),
            highs: Ring::new(),
            shift: 0.0,
            sum: 0.0,
            squares: 0.0,
            scale: 0.0,
            until_anew: 0,
        })
    }

    /// The samples in the window, oldest first.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> + '_ {
        self.samples.iter()
    }

    fn evict(&mut self, now_ms: u64) {
        let oldest_ms = now_ms.saturating_sub(self.length_ms);
        while let Some(&oldest) = self.samples.first() {
            if oldest.at_ms >= oldest_ms && !self.samples.is_full() {
                return;
            }
            self.samples.pop();
            for queue in [&mut self.lows, &mut self.highs] {
                // Equal samples are equal candidates: dropping either is right.
                if queue.first() == Some(&oldest) {
                    queue.pop();
                }
            }
            let off = oldest.value - self.shift;
            self.sum -= off;
            self.squares -= off * off;
        }
    }

    fn gather(&mut self, sample: Sample) {
        self.samples.push(sample);
        while self.lows.last().is_some_and(|low| low.value > sample.value) {
            self.lows.pop_last();
        }
        self.lows.push(sample);
        while self
            .highs
            .last()
            .is_some_and(|high| high.value < sample.value)
        {
            self.highs.pop_last();
        }
        self.highs.push(sample);
        let off = sample.value - self.shift;
        self.sum += off;
        self.squares += off * off;
        self.scale = self.scale.max(off * off);
        let is_lost = self.spread() < self.scale * SCALE_MIN;
        if is_lost || self.until_anew == 0 || self.samples.len() == 1 {
            self.sum_anew(sample.value);
        }
        self.until_anew -= 1;
    }

    fn sum_anew(&mut self, shift: f64) {
        self.until_anew = N;
        self.shift = shift;
        (self.sum, self.squares, self.scale) = (0.0, 0.0, 0.0);
        for sample in self.samples.iter() {
            let off = sample.value - shift;
            self.sum += off;
            self.squares += off * off;
            self.scale = self.scale.max(off * off);
        }
    }

    /// The sum of the squared distances from the mean.
    fn spread(&self) -> f64 {
        (self.squares - self.sum * self.mean_off()).max(0.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a ring is smaller than 2^53")]
    fn mean_off(&self) -> f64 {
        self.sum / self.samples.len() as f64
    }

    fn statistics(&self) -> Option<Statistics> {
        let count = self.samples.len() as u64;
        let (mean, squares) = (self.mean_off(), self.spread());
        let (min, max) = (self.lows.first()?.value, self.highs.first()?.value);
        let mean = self.shift + mean;
        Some(Statistics::of_parts(count, mean, squares, min, max))
    }
}

impl<const N: usize> Operator for Sliding<N> {
    type Output = Statistics;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Statistics> {
        let last = self.samples.last();
        if !sample.is_number() || last.is_some_and(|last| sample.at_ms < last.at_ms) {
            return None;
        }
        self.evict(sample.at_ms);
        self.gather(sample);
        self.statistics()
    }
}
