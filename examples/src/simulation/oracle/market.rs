//! Two prices that wander, and how each oracle sees them.

/// What 1 is in the first feed: 18 decimals, so that a float cannot hold a price.
const WEI: i128 = 1_000_000_000_000_000_000;
/// The width of a step, and of what one oracle sees beside another, in hundredths of a percent.
const STEP_BPS: i128 = 30;

pub(super) struct Market {
    prices: [i128; 2],
    rng: fastrand::Rng,
    /// Whether all see the same.
    is_exact: bool,
    /// Whether sources fail now and then.
    pub(super) fails: bool,
    /// What the honest saw last, by feed: the lowest and the highest.
    pub(super) range: [(i128, i128); 2],
}

impl Market {
    pub(super) fn new(mut rng: fastrand::Rng) -> Self {
        let prices = [20_000 * WEI + i128::from(rng.u64(..)), 150_000];
        Self {
            prices,
            is_exact: rng.u8(..4) == 0,
            rng,
            fails: true,
            range: prices.map(|it| (it, it)),
        }
    }

    /// Moves on.
    pub(super) fn step(&mut self) {
        for price in &mut self.prices {
            *price += *price * i128::from(self.rng.i64(-100..=100)) * STEP_BPS / 1_000_000;
        }
        self.range = self.prices.map(|it| (it, it));
    }

    /// A step that no breaker believes.
    pub(super) fn jump(&mut self) {
        self.prices[1] = if self.prices[1] > 150_000 {
            self.prices[1] / 2
        } else {
            self.prices[1] * 2
        };
    }

    /// What one honest oracle sees. Now and then a source fails.
    pub(super) fn see(&mut self) -> Vec<Option<i128>> {
        let mut seen = Vec::new();
        for (price, range) in self.prices.iter().zip(&mut self.range) {
            let noise = if self.is_exact {
                0
            } else {
                i128::from(self.rng.i64(-100..=100))
            };
            let value = price + price * noise * STEP_BPS / 2_000_000;
            *range = (range.0.min(value), range.1.max(value));
            seen.push((self.rng.u8(..20) > 0 || !self.fails).then_some(value));
        }
        seen
    }
}
