use super::{Operator, Sample, length_ms, setting, weight};
use crate::error::EdgeError;

/// Forecasts the next sample from level, trend and season, and says how far off it was.
///
/// Additive triple exponential smoothing of Holt (1957) and Winters, *Forecasting Sales by Exponentially Weighted Moving
/// Averages* (1960). `SEASON` is the number of samples in one season; the first season only learns. Samples are taken to
/// follow one another evenly, whatever their times say, unless their [period](Self::every) is known: then samples that are
/// missing do not shift the season.
#[derive(Clone, Copy, Debug)]
pub struct HoltWinters<const SEASON: usize> {
    level_weight: f64,
    trend_weight: f64,
    season_weight: f64,
    level: f64,
    trend: f64,
    seasonal: [f64; SEASON],
    phase: usize,
    seen: usize,
    /// 0: times do not count.
    period_ms: u64,
    last_ms: Option<u64>,
}

/// What a [`HoltWinters`] expected, and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// What it expected of the sample.
    pub expected: f64,
    /// The sample less that.
    pub residual: f64,
}

impl<const SEASON: usize> HoltWinters<SEASON> {
    /// Weights of the newest sample in level, trend and season. A trend weight of zero is a series without trend.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] unless level and season weight are above 0, none is negative, and all are at most 1.
    pub fn new(
        level_weight: f64,
        trend_weight: f64,
        season_weight: f64,
    ) -> Result<Self, EdgeError> {
        const { assert!(SEASON > 0, "a season has one sample at least") };
        Ok(Self {
            level_weight: weight("level weight", level_weight)?,
            trend_weight: setting(
                "trend weight",
                trend_weight,
                (0.0..=1.0).contains(&trend_weight),
                "it must be between 0 and 1",
            )?,
            season_weight: weight("season weight", season_weight)?,
            level: 0.0,
            trend: 0.0,
            seasonal: [0.0; SEASON],
            phase: 0,
            seen: 0,
            period_ms: 0,
            last_ms: None,
        })
    }

    /// Samples come every `period_ms`, give or take a half: where some are missing, the season goes on without them, and
    /// the trend for one season at most. One that comes less than half a period after the last is passed over. A first season with a
    /// hole is learned anew.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Setting`] for zero.
    pub fn every(mut self, period_ms: u64) -> Result<Self, EdgeError> {
        self.period_ms = length_ms("period", period_ms)?;
        Ok(self)
    }

    /// How many periods have passed since the last sample; `None`: not one.
    fn periods(&mut self, at_ms: u64) -> Option<u64> {
        if self.period_ms == 0 {
            return Some(1);
        }
        let Some(last_ms) = self.last_ms else {
            self.last_ms = Some(at_ms);
            return Some(1);
        };
        let passed_ms = at_ms.checked_sub(last_ms)?;
        let periods = passed_ms.saturating_add(self.period_ms / 2) / self.period_ms;
        if periods == 0 {
            return None;
        }
        self.last_ms = Some(at_ms);
        Some(periods)
    }

    /// Goes on over samples that are missing.
    fn pass_over(&mut self, missing: u64) {
        if self.seen < SEASON {
            self.seen = 0;
            return;
        }
        let season = SEASON as u64;
        let phases = usize::try_from(missing % season).unwrap_or(0);
        self.phase = (self.phase + phases) % SEASON;
        #[expect(clippy::cast_precision_loss, reason = "a season is shorter than 2^53")]
        let steps = missing.min(season) as f64;
        self.level += self.trend * steps;
    }

    /// What the next sample is expected to be; `None` while the first season is learned.
    #[must_use]
    pub fn expected(&self) -> Option<f64> {
        if self.seen < SEASON {
            return None;
        }
        Some(self.level + self.trend + self.seasonal.get(self.phase)?)
    }

    fn learn_first(&mut self, value: f64) {
        if let Some(slot) = self.seasonal.get_mut(self.seen) {
            *slot = value;
        }
        self.seen += 1;
        if self.seen == SEASON {
            #[expect(clippy::cast_precision_loss, reason = "a season is shorter than 2^53")]
            let count = SEASON as f64;
            // Dividing first, so that large values do not overflow.
            self.level = self.seasonal.iter().map(|value| value / count).sum();
            for slot in &mut self.seasonal {
                *slot -= self.level;
            }
        }
    }
}

impl<const SEASON: usize> Operator for HoltWinters<SEASON> {
    type Output = Forecast;

    #[inline]
    fn push(&mut self, sample: Sample) -> Option<Forecast> {
        let value = sample.value;
        if !sample.is_number() {
            return None;
        }
        let periods = self.periods(sample.at_ms)?;
        if periods > 1 {
            self.pass_over(periods - 1);
        }
        let Some(expected) = self.expected() else {
            self.learn_first(value);
            return None;
        };
        let seasonal = self.seasonal.get_mut(self.phase)?;
        let before = self.level + self.trend;
        let level = self.level_weight * (value - *seasonal) + (1.0 - self.level_weight) * before;
        self.trend =
            self.trend_weight * (level - self.level) + (1.0 - self.trend_weight) * self.trend;
        *seasonal = self.season_weight * (value - before) + (1.0 - self.season_weight) * *seasonal;
        self.level = level;
        self.phase = (self.phase + 1) % SEASON;
        Some(Forecast {
            expected,
            residual: value - expected,
        })
    }
}
