//! Both clocks keep the promises of the trait, and the suite notices one that does not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peaberry_core::simulation::SimulatedClock;
use peaberry_core::{Clock, Instant, Sleep, SystemClock, Timestamp, conformance};

#[test]
fn the_system_clock_conforms() {
    let clock = SystemClock::new();
    conformance::clock::check(&clock, |duration| {
        let end = clock.now() + duration;
        while clock.now() < end {
            std::thread::park_timeout(end.since(clock.now()));
        }
    });
    assert!(clock.timestamp().as_unix_nanos() > 1_700_000_000_000_000_000);
}

#[test]
fn the_simulated_clock_conforms_at_every_rate() {
    for rate in [800_000, 1_000_000, 1_200_000] {
        let clock = SimulatedClock::new();
        clock.set_rate(rate);
        // A slow clock needs more of the world's time.
        conformance::clock::check(&clock.clone(), |duration| clock.advance(duration * 2));
    }
}

/// A clock that breaks one promise.
struct Broken {
    inner: SimulatedClock,
    looks: AtomicU64,
    goes_back: bool,
    sleeps_too_short: bool,
}

impl Clock for Broken {
    fn now(&self) -> Instant {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        let back = if self.goes_back && looks > 5_000 {
            1
        } else {
            0
        };
        self.inner.now() + Duration::from_nanos(1 - back)
    }

    fn timestamp(&self) -> Timestamp {
        self.inner.timestamp()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let early = if self.sleeps_too_short { 5 } else { 0 };
        self.inner
            .sleep_until(deadline - Duration::from_millis(early))
    }
}

#[test]
fn a_clock_that_breaks_a_promise_is_found_out() {
    let passes = |goes_back, sleeps_too_short| {
        let clock = Broken {
            inner: SimulatedClock::new(),
            looks: AtomicU64::new(0),
            goes_back,
            sleeps_too_short,
        };
        let pass = |duration| clock.inner.advance(duration);
        catch_unwind(AssertUnwindSafe(|| conformance::clock::check(&clock, pass))).is_ok()
    };
    assert!(passes(false, false));
    assert!(!passes(true, false), "it goes back");
    assert!(!passes(false, true), "its sleeps end early");
}
