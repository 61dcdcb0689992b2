use std::time::Duration;

/// The waits between attempts to connect: each up to twice as long as the one before, and by dice, so that many who lost the
/// same broker do not come back at once.
pub(super) struct Backoff {
    rng: fastrand::Rng,
    min: Duration,
    max: Duration,
    /// The next wait is at most so long, and at least half of it.
    longest: Duration,
}

impl Backoff {
    /// Waits from `min` to `max`, drawn from `seed`.
    pub(super) fn new(seed: u64, min: Duration, max: Duration) -> Self {
        let min = min.min(max);
        Self {
            rng: fastrand::Rng::with_seed(seed),
            min,
            max,
            longest: min,
        }
    }

    /// Waits behind an attempt that was up, or not, and ended after `lasted`.
    pub(super) async fn wait(&mut self, was_up: bool, lasted: Duration) {
        tokio::time::sleep(self.next(was_up, lasted)).await;
    }

    /// How long to wait behind an attempt that was up, or not, and ended after `lasted`. Only one that was up for long starts
    /// over: one that ends as soon as it is there must not be tried again and again.
    fn next(&mut self, was_up: bool, lasted: Duration) -> Duration {
        if was_up && lasted >= self.max {
            self.longest = self.min;
        }
        let millis = u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX);
        self.longest = self.longest.saturating_mul(2).min(self.max);
        Duration::from_millis(self.rng.u64(millis / 2..=millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN_MS: u64 = 100;
    const MAX: Duration = Duration::from_secs(30);

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(seed, Duration::from_millis(MIN_MS), MAX)
    }

    fn fails(backoff: &mut Backoff) -> u64 {
        let wait = backoff.next(false, MAX * 9);
        u64::try_from(wait.as_millis()).unwrap()
    }

    /// The most that each of a row of waits may be, in milliseconds.
    const LONGEST_MS: [u64; 12] = [
        100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000,
    ];

    #[test]
    fn waits_double_up_to_the_longest_and_each_is_half_of_that_at_least() {
        let (mut least, mut most) = ([u64::MAX; 12], [0; 12]);
        for seed in 0..1_000 {
            let mut backoff = backoff(seed);
            for (least, most) in least.iter_mut().zip(&mut most) {
                let wait = fails(&mut backoff);
                (*least, *most) = (wait.min(*least), wait.max(*most));
            }
        }
        for ((least, most), longest) in least.into_iter().zip(most).zip(LONGEST_MS) {
            // All of the range is drawn from, and nothing beside it.
            let (shortest, slack) = (longest / 2, longest / 50);
            assert!((shortest..=shortest + slack).contains(&least), "{least}");
            assert!((longest - slack..=longest).contains(&most), "{most}");
        }
    }

    #[test]
    fn two_seeds_wait_differently_and_one_always_the_same() {
        let waits = |seed| {
            let mut backoff = backoff(seed);
            LONGEST_MS.map(|_| fails(&mut backoff))
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn only_a_connection_that_lasted_starts_over() {
        let soon = MAX - Duration::from_millis(1);
        for (was_up, lasted, starts_over) in [
            (true, MAX, true),
            (true, soon, false),
            (true, Duration::ZERO, false),
            // It took long to find out that there is nobody.
            (false, MAX * 2, false),
        ] {
            let mut backoff = backoff(1);
            for _ in 0..8 {
                fails(&mut backoff);
            }
            let wait = backoff.next(was_up, lasted);
            let longest = Duration::from_millis(MIN_MS);
            assert_eq!(wait <= longest, starts_over, "{was_up}, {lasted:?}");
            // And doubles again from where it is.
            let next = fails(&mut backoff);
            assert_eq!(next <= 2 * MIN_MS, starts_over, "{was_up}, {lasted:?}");
        }
    }

    #[test]
    fn a_first_wait_over_the_longest_is_cut_to_it() {
        let longest = Duration::from_millis(50);
        let mut backoff = Backoff::new(1, Duration::from_secs(9), longest);
        for _ in 0..100 {
            assert!(backoff.next(true, longest) <= longest);
        }
        let mut without = Backoff::new(1, Duration::ZERO, Duration::ZERO);
        assert_eq!(without.next(false, Duration::ZERO), Duration::ZERO);
    }
}
