use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Instant, Sleep, Timestamp};

/// The rate of a clock that is right, in parts per million.
pub const RATE_TRUE: u32 = 1_000_000;

/// What a simulated calendar shows when its world begins: 2026-01-01 00:00 UTC.
const CALENDAR_ORIGIN_NANOS: u64 = 1_767_225_600 * 1_000_000_000;

/// A clock that moves only when its world does, and may drift from it.
///
/// Clones share the time. Alone, without a [`World`](super::World), it is moved by [`advance`](Self::advance):
///
/// ```
/// use std::time::Duration;
/// use peaberry_core::Clock;
/// use peaberry_core::simulation::SimulatedClock;
///
/// let clock = SimulatedClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now().since(before), Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct SimulatedClock {
    shared: Arc<Shared>,
}

struct Shared {
    /// Nanoseconds since the world began; every clock of a world reads the same.
    world: Arc<AtomicU64>,
    line: Mutex<Line>,
    has_sleepers: AtomicBool,
}

/// How this clock's time runs along the world's.
struct Line {
    world_base: u64,
    local_base: u64,
    rate: u32,
    calendar_offset_nanos: i64,
    sleepers: Vec<(Instant, Waker)>,
}

impl Line {
    fn local(&self, world: u64) -> u64 {
        let passed = u128::from(world.saturating_sub(self.world_base));
        let local = passed * u128::from(self.rate) / u128::from(RATE_TRUE);
        self.local_base
            .saturating_add(u64::try_from(local).unwrap_or(u64::MAX))
    }
}

impl SimulatedClock {
    /// A clock of its own, at its origin.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a clock is an ambient source: say it where it is taken"
    )]
    pub fn new() -> Self {
        Self::of_world(Arc::default(), 0)
    }

    /// A clock that shows `local_base` now and runs with the world's time.
    pub(super) fn of_world(world: Arc<AtomicU64>, local_base: u64) -> Self {
        let world_base = world.load(Ordering::Relaxed);
        Self {
            shared: Arc::new(Shared {
                world,
                line: Mutex::new(Line {
                    world_base,
                    local_base,
                    rate: RATE_TRUE,
                    calendar_offset_nanos: 0,
                    sleepers: Vec::new(),
                }),
                has_sleepers: AtomicBool::new(false),
            }),
        }
    }

    /// Moves the time of this clock, its clones, and every clock of its world.
    pub fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let world = self.shared.world.load(Ordering::Relaxed);
        self.shared
            .world
            .store(world.saturating_add(nanos), Ordering::Relaxed);
        self.wake_sleepers();
    }

    /// From now on `rate` millionths of a second pass on this clock in each true microsecond; at least 1.
    pub fn set_rate(&self, rate: u32) {
        let world = self.shared.world.load(Ordering::Relaxed);
        let mut line = self.shared.line.lock();
        line.local_base = line.local(world);
        line.world_base = world;
        line.rate = rate.max(1);
    }

    /// Moves the calendar, not the monotonic time, by `nanos`.
    pub fn jump_calendar(&self, nanos: i64) {
        let mut line = self.shared.line.lock();
        line.calendar_offset_nanos = line.calendar_offset_nanos.saturating_add(nanos);
    }

    /// Shows `local` from now on, as after a reboot: instants of before mean nothing.
    pub(super) fn reboot(&self, local: u64) {
        let world = self.shared.world.load(Ordering::Relaxed);
        let mut line = self.shared.line.lock();
        line.local_base = local;
        line.world_base = world;
        line.sleepers.clear();
    }

    /// The first world time, in nanoseconds, at which this clock shows `local`.
    pub(super) fn world_time(&self, local: Instant) -> u64 {
        let line = self.shared.line.lock();
        let left = u128::from(local.as_nanos().saturating_sub(line.local_base));
        let world = (left * u128::from(RATE_TRUE)).div_ceil(u128::from(line.rate));
        line.world_base
            .saturating_add(u64::try_from(world).unwrap_or(u64::MAX))
    }

    /// Wakes the sleepers whose deadline has come.
    pub(super) fn wake_sleepers(&self) {
        if !self.shared.has_sleepers.load(Ordering::Relaxed) {
            return;
        }
        let now = self.now();
        let mut line = self.shared.line.lock();
        let due: Vec<_> = line
            .sleepers
            .extract_if(.., |(deadline, _)| *deadline <= now)
            .collect();
        let any_left = !line.sleepers.is_empty();
        self.shared.has_sleepers.store(any_left, Ordering::Relaxed);
        drop(line);
        for (_, waker) in due {
            waker.wake();
        }
    }

    fn poll_deadline(&self, deadline: Instant, waker: &Waker) -> Poll<()> {
        if self.now() >= deadline {
            return Poll::Ready(());
        }
        let mut line = self.shared.line.lock();
        let known = |(at, kept): &(Instant, Waker)| *at == deadline && kept.will_wake(waker);
        if !line.sleepers.iter().any(known) {
            line.sleepers.push((deadline, waker.clone()));
        }
        self.shared.has_sleepers.store(true, Ordering::Relaxed);
        Poll::Pending
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Instant {
        let world = self.shared.world.load(Ordering::Relaxed);
        Instant::from_nanos(self.shared.line.lock().local(world))
    }

    fn timestamp(&self) -> Timestamp {
        let world = self.shared.world.load(Ordering::Relaxed);
        let offset = self.shared.line.lock().calendar_offset_nanos;
        let calendar = CALENDAR_ORIGIN_NANOS.saturating_add(world);
        Timestamp::from_unix_nanos(calendar.saturating_add_signed(offset))
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let clock = self.clone();
        Sleep::new(poll_fn(move |cx| clock.poll_deadline(deadline, cx.waker())))
    }
}

impl fmt::Debug for SimulatedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimulatedClock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_at_its_world_time_and_not_before_whatever_the_rate() {
        for rate in [
            1, 333_333, 800_000, 999_999, RATE_TRUE, 1_200_000, 7_000_001,
        ] {
            let clock = SimulatedClock::new();
            clock.advance(Duration::from_nanos(12_345));
            clock.set_rate(rate);
            let deadline = clock.now() + Duration::from_nanos(98_765_432);
            let world = clock.world_time(deadline);
            clock.advance(Duration::from_nanos(world - 12_345 - 1));
            assert!(clock.now() < deadline, "rate {rate}");
            clock.advance(Duration::from_nanos(1));
            assert!(clock.now() >= deadline, "rate {rate}");
        }
    }

    #[test]
    fn a_calendar_jump_leaves_the_monotonic_time_alone() {
        let clock = SimulatedClock::new();
        let (now, calendar) = (clock.now(), clock.timestamp());
        clock.jump_calendar(-5_000_000_000);
        assert_eq!(clock.now(), now);
        assert_eq!(
            calendar.as_unix_nanos() - clock.timestamp().as_unix_nanos(),
            5_000_000_000
        );
    }
}
