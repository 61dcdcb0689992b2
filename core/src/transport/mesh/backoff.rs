use std::time::Duration;

/// Growing, jittered delays between attempts.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    rng: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            min,
            max: max.max(min),
            next: min,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// How long to wait now: between half and one and a half of a mean that doubles each time.
    pub(super) fn delay(&mut self) -> Duration {
        let mean = self.next;
        self.next = (mean * 2).min(self.max);
        mean.mul_f64(0.5 + self.rng.f64()).min(self.max)
    }

    /// Starts again from the shortest delay, after a success.
    pub(super) const fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_maximum_and_start_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(1000), 7);
        let first = backoff.delay();
        assert!(ms(5) <= first && first <= ms(15));
        let late: Vec<_> = (0..50).map(|_| backoff.delay()).collect();
        assert!(late.iter().all(|&delay| delay <= ms(1000)));
        assert!(late.iter().skip(10).all(|&delay| delay >= ms(500)));
        backoff.reset();
        assert!(backoff.delay() <= ms(15));
    }

    #[test]
    fn seeds_spread_peers() {
        let delays = |seed| {
            let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1), seed);
            [(); 4].map(|()| backoff.delay())
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
