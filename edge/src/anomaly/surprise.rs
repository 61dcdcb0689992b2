use super::DAY_MS;

/// How far off an expectation is, against how far off it was before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Surprise {
    deviation: f64,
    mean_square: f64,
    count: u32,
    seen_ms: u64,
}

impl Surprise {
    /// Takes a deviation, and returns how many times the usual one the averaged one is; 0 in the first day.
    pub(super) fn take(&mut self, deviation: f64, smoothing: f64, memory: f64, gap_ms: u64) -> f64 {
        self.deviation += smoothing * (deviation - self.deviation);
        self.seen_ms = self.seen_ms.saturating_add(gap_ms);
        self.count = self.count.saturating_add(1);
        let square = self.deviation * self.deviation;
        let score = if self.seen_ms > DAY_MS && self.mean_square > 0.0 {
            (square / self.mean_square).sqrt()
        } else {
            0.0
        };
        let weight = memory.max(1.0 / f64::from(self.count));
        self.mean_square += weight * (square - self.mean_square);
        score
    }
}
