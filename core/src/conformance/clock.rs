//! What a [`Clock`] promises.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::clock::{Clock, Sleep};

/// How far ahead the suite sets deadlines.
const AHEAD: Duration = Duration::from_millis(20);
/// How often each thread looks at the clock.
const LOOKS: usize = 10_000;
const THREADS: usize = 4;
/// How often a sleeper may look before the suite calls it forgotten.
const PATIENCE: usize = 10_000;

/// Runs the whole suite. `pass` lets at least the given time pass on this clock: it waits for a real one and moves a
/// simulated one.
///
/// # Panics
///
/// When the clock breaks a promise, naming it.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use peaberry_core::conformance;
/// use peaberry_core::simulation::SimulatedClock;
///
/// let clock = SimulatedClock::new();
/// conformance::clock::check(&clock.clone(), |duration| clock.advance(duration));
/// ```
pub fn check(clock: &dyn Clock, mut pass: impl FnMut(Duration)) {
    now_never_goes_back_on_any_thread(clock);
    now_counts_what_passes(clock, &mut pass);
    a_deadline_in_the_past_is_due_at_once(clock, &mut pass);
    a_sleeper_is_woken_behind_its_deadline_and_not_before(clock, &mut pass);
    a_dropped_sleep_disturbs_nobody(clock, &mut pass);
}

/// `now` never goes back, on any thread.
///
/// # Panics
///
/// When it does.
pub fn now_never_goes_back_on_any_thread(clock: &dyn Clock) {
    let latest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..LOOKS {
                    // Read before the clock is, so that another thread's later look cannot be in it.
                    let seen = latest.load(Ordering::SeqCst);
                    let now = clock.now().as_nanos();
                    assert!(now >= seen, "now went back from {seen} to {now} ns");
                    latest.fetch_max(now, Ordering::SeqCst);
                }
            });
        }
    });
}

/// `now` counts at least the time that passes.
///
/// # Panics
///
/// When it does not.
pub fn now_counts_what_passes(clock: &dyn Clock, pass: &mut dyn FnMut(Duration)) {
    let before = clock.now();
    pass(AHEAD);
    let counted = clock.now().since(before);
    assert!(
        counted >= AHEAD,
        "{AHEAD:?} passed, now counted {counted:?}"
    );
}

/// `sleep_until` completes at once when its deadline has passed.
///
/// # Panics
///
/// When it does not.
pub fn a_deadline_in_the_past_is_due_at_once(clock: &dyn Clock, pass: &mut dyn FnMut(Duration)) {
    let deadline = clock.now();
    pass(AHEAD);
    let (_, waker) = Alarm::new();
    let mut sleep = clock.sleep_until(deadline);
    assert!(
        is_over(&mut sleep, &waker),
        "a deadline in the past is not due at the first poll"
    );
}

/// `sleep_until` completes no earlier than its deadline, wakes its task then, and is complete when polled again.
///
/// # Panics
///
/// When it completes early, or never.
pub fn a_sleeper_is_woken_behind_its_deadline_and_not_before(
    clock: &dyn Clock,
    pass: &mut dyn FnMut(Duration),
) {
    let deadline = clock.now() + AHEAD;
    let (alarm, waker) = Alarm::new();
    let mut sleep = clock.sleep_until(deadline);
    if is_over(&mut sleep, &waker) {
        assert!(clock.now() >= deadline, "over at the first poll, too early");
        return;
    }
    for _ in 0..PATIENCE {
        pass(Duration::from_millis(1));
        if alarm.0.swap(false, Ordering::SeqCst) && is_over(&mut sleep, &waker) {
            let now = clock.now();
            assert!(now >= deadline, "woken at {now:?}, before {deadline:?}");
            return;
        }
    }
    panic!(
        "a sleeper was never woken, {:?} behind its deadline",
        clock.now().since(deadline)
    );
}

/// A sleep may be dropped at any time; others go on.
///
/// # Panics
///
/// When dropping one stops another.
pub fn a_dropped_sleep_disturbs_nobody(clock: &dyn Clock, pass: &mut dyn FnMut(Duration)) {
    let (_, waker) = Alarm::new();
    let mut dropped = clock.sleep_until(clock.now() + AHEAD);
    let _ = is_over(&mut dropped, &waker);
    drop(dropped);
    a_sleeper_is_woken_behind_its_deadline_and_not_before(clock, pass);
}

struct Alarm(AtomicBool);

impl Alarm {
    fn new() -> (Arc<Self>, Waker) {
        let alarm = Arc::new(Self(AtomicBool::new(false)));
        (alarm.clone(), Waker::from(alarm))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn is_over(sleep: &mut Sleep, waker: &Waker) -> bool {
    Pin::new(sleep).poll(&mut Context::from_waker(waker)) == Poll::Ready(())
}
