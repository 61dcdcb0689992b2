//! Time from outside.

use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A point on a [`Clock`]'s monotonic time line, in nanoseconds since an origin of the clock's choosing.
///
/// Comparable only with instants of the same clock; it means nothing after a restart and is never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The instant `nanos` nanoseconds after the clock's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How much later this is than `earlier`; zero when it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time (584 years after the origin).
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at the origin.
    fn sub(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

/// Wall time for people: nanoseconds since 1970-01-01 UTC. It may jump; nothing is ever ordered by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The timestamp `nanos` nanoseconds after the epoch.
    #[must_use]
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_unix_nanos(self) -> u64 {
        self.0
    }
}

/// Completes at a clock's deadline. May be dropped at any time.
pub struct Sleep(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Sleep {
    /// A sleep that ends when `future` does.
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}

/// Where time comes from. Callable from any thread.
///
/// An implementer promises, and `conformance::clock` checks:
/// - `now` never goes back, on any thread, and keeps counting while the machine is suspended
///   wherever the platform lets it;
/// - `sleep_until` completes no earlier than its deadline, and at once when that has passed.
pub trait Clock: Send + Sync {
    /// The present, for measuring how long things take.
    fn now(&self) -> Instant;

    /// The present as people write it. It may jump in both directions.
    fn timestamp(&self) -> Timestamp;

    /// A future that completes once `now()` has reached `deadline`.
    fn sleep_until(&self, deadline: Instant) -> Sleep;
}

/// The machine's own clock.
///
/// On Linux it reads `CLOCK_BOOTTIME`, which counts suspended time, so that a lease does not outlive
/// a laptop's lid; elsewhere the standard library's monotonic clock, which may not.
///
/// ```
/// use peaberry_core::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let earlier = clock.now();
/// assert!(clock.now() >= earlier);
/// ```
#[derive(Clone, Debug)]
pub struct SystemClock {
    #[cfg(not(target_os = "linux"))]
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock that reads the machine's.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a clock is an ambient source: say it where it is taken"
    )]
    #[cfg_attr(
        not(target_os = "linux"),
        expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the machine's clock"
        )
    )]
    pub fn new() -> Self {
        Self {
            #[cfg(not(target_os = "linux"))]
            origin: std::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn now(&self) -> Instant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Instant(seconds * 1_000_000_000 + nanos)
    }

    #[cfg(not(target_os = "linux"))]
    fn now(&self) -> Instant {
        Instant::default() + self.origin.elapsed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's calendar"
    )]
    fn timestamp(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let clock = self.clone();
        Sleep::new(async move {
            // Timers run on the monotonic clock, which stops during suspend: look again before believing one.
            loop {
                let left = deadline.since(clock.now());
                if left.is_zero() {
                    return;
                }
                futures_timer::Delay::new(left.min(SLEEP_STEP_MAX)).await;
            }
        })
    }
}

/// How long a sleep trusts a timer that does not count suspended time.
const SLEEP_STEP_MAX: Duration = Duration::from_secs(1);
