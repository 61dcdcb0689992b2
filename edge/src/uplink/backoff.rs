use std::time::Duration;

/// The waits between attempts to connect: each up to twice as long as the one before, and by dice, so that many who lost the
/// same broker do not come back at once.
pub(super) struct Backoff {
    rng: fastrand::Rng,
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(seed: u64, min: Duration, max: Duration) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            min,
            max,
            next: min,
        }
    }

    /// Waits behind an attempt that was up, or not, and ended after `lasted`. Only one that was up for long starts over: one
    /// that ends as soon as it is there must not be tried again and again.
    pub(super) async fn wait(&mut self, was_up: bool, lasted: Duration) {
        if was_up && lasted >= self.max {
            self.next = self.min;
        }
        let millis = u64::try_from(self.next.as_millis()).unwrap_or(u64::MAX);
        let jittered = Duration::from_millis(self.rng.u64(millis / 2..=millis));
        tokio::time::sleep(jittered).await;
        self.next = self.next.saturating_mul(2).min(self.max);
    }
}
