//! When something happened, on a device whose calendar may be wrong.
//!
//! A record carries its boot epoch and the milliseconds since that start: they never go back, whatever is done to the
//! calendar. Wall time is learned apart from it, as one offset for each start, and told in every
//! [`Health`](crate::payload::Health) report, so that a reader can date records that were made before anyone knew the time.
//! Nothing is ordered, expired or dropped by wall time. A calendar that is set back ten years moves nothing: the device's own
//! is never asked, and a time server that jumps is believed only when it has said the same [`JUMP_SAMPLES`] times.

use std::time::Duration;

use peaberry_core::{Instant, Timestamp};

use crate::identity::BootEpoch;

/// A point in a device's life. Points of one device are ordered by what happened first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct DeviceTime {
    /// In which start.
    pub boot: BootEpoch,
    /// Milliseconds since that start.
    pub since_boot_ms: u64,
}

/// Turns a clock's instants into [`DeviceTime`]s.
#[derive(Clone, Copy, Debug)]
pub struct BootClock {
    boot: BootEpoch,
    origin: Instant,
}

impl BootClock {
    /// The clock of the start `boot`, which was at `origin`.
    #[must_use]
    pub const fn new(boot: BootEpoch, origin: Instant) -> Self {
        Self { boot, origin }
    }

    /// The start it counts from.
    #[must_use]
    pub const fn boot(&self) -> BootEpoch {
        self.boot
    }

    /// `now` as a point in the device's life.
    #[must_use]
    pub fn at(&self, now: Instant) -> DeviceTime {
        let since_boot_ms = u64::try_from(now.since(self.origin).as_millis()).unwrap_or(u64::MAX);
        DeviceTime {
            boot: self.boot,
            since_boot_ms,
        }
    }
}

/// How many samples in a row must agree before a jump of the time server is believed.
pub const JUMP_SAMPLES: u8 = 3;

/// How fast a crystal may drift: 100 parts in a million, a millisecond every ten seconds.
const DRIFT_PPM: u64 = 100;

/// What wall time is, as far as it has been learned in this start of the device.
///
/// ```
/// use std::time::Duration;
/// use peaberry_core::Timestamp;
/// use peaberry_edge::time::WallClock;
///
/// let mut clock = WallClock::new();
/// assert_eq!(clock.offset(), None);
/// // 5 s after the start a server says it is 10:00:00; the question took 40 ms.
/// clock.observe(5_000, Timestamp::from_unix_nanos(36_000_000_000_000), Duration::from_millis(40));
/// assert_eq!(clock.offset().unwrap().ms, 36_000_000 - 20 - (5_000 - 40));
/// assert_eq!(clock.offset().unwrap().uncertainty_ms, 20);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    held: Option<Held>,
    jump: Option<(WallOffset, u8)>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    offset: WallOffset,
    at_ms: u64,
}

impl Held {
    /// How far the clock may be off by now beyond what it was.
    const fn drift_ms(&self, since_boot_ms: u64) -> u64 {
        since_boot_ms.saturating_sub(self.at_ms) / (1_000_000 / DRIFT_PPM)
    }
}

/// Wall time less the time since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct WallOffset {
    /// Add this to `since_boot_ms` for milliseconds since 1970-01-01 UTC.
    pub ms: i64,
    /// The true offset lies within this of it, if the server was right.
    pub uncertainty_ms: u64,
}

/// What a sample of the time changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Learned {
    /// The first offset of this start.
    First,
    /// A better one.
    Better,
    /// Nothing: what is held is at least as good.
    Nothing,
    /// The sample contradicts what is held, which stays for now.
    Suspect {
        /// How far it is off.
        by_ms: i64,
    },
    /// [`JUMP_SAMPLES`] samples agreed on another time, which is now held: tell somebody.
    Jumped {
        /// How far the offset moved.
        by_ms: i64,
    },
}

impl WallClock {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            held: None,
            jump: None,
        }
    }

    /// What was learned, and how sure it was then.
    #[must_use]
    pub fn offset(&self) -> Option<WallOffset> {
        self.held.map(|held| held.offset)
    }

    /// What is known `since_boot_ms` after the start: what was learned, less sure by what a crystal may have drifted since.
    #[must_use]
    pub fn offset_at(&self, since_boot_ms: u64) -> Option<WallOffset> {
        let held = self.held?;
        let drift_ms = held.drift_ms(since_boot_ms);
        Some(WallOffset {
            uncertainty_ms: held.offset.uncertainty_ms.saturating_add(drift_ms),
            ..held.offset
        })
    }

    /// Takes a server's answer `wall`, which arrived `since_boot_ms` after the start and took `round_trip` from question to
    /// answer.
    pub fn observe(
        &mut self,
        since_boot_ms: u64,
        wall: Timestamp,
        round_trip: Duration,
    ) -> Learned {
        let round_trip_ms = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
        let uncertainty_ms = round_trip_ms.div_ceil(2);
        let answered_ms = since_boot_ms
            .saturating_sub(round_trip_ms)
            .saturating_add(uncertainty_ms);
        let wall_ms = wall.as_unix_nanos() / 1_000_000;
        let sample = WallOffset {
            ms: signed(wall_ms) - signed(answered_ms),
            uncertainty_ms,
        };
        let Some(held) = self.held else {
            self.hold(sample, since_boot_ms);
            return Learned::First;
        };
        let drift_ms = held.drift_ms(since_boot_ms);
        let worn_ms = held.offset.uncertainty_ms.saturating_add(drift_ms);
        if agree(sample, held.offset, drift_ms) {
            self.jump = None;
            if uncertainty_ms >= worn_ms && worn_ms > 0 {
                return Learned::Nothing;
            }
            self.hold(sample, since_boot_ms);
            return Learned::Better;
        }
        self.suspect(sample, held.offset, since_boot_ms)
    }

    fn suspect(&mut self, sample: WallOffset, held: WallOffset, at_ms: u64) -> Learned {
        let by_ms = sample.ms.saturating_sub(held.ms);
        let count = match self.jump {
            Some((other, count)) if agree(sample, other, 0) => count + 1,
            _ => 1,
        };
        if count >= JUMP_SAMPLES {
            self.hold(sample, at_ms);
            return Learned::Jumped { by_ms };
        }
        self.jump = Some((sample, count));
        Learned::Suspect { by_ms }
    }

    fn hold(&mut self, offset: WallOffset, at_ms: u64) {
        self.held = Some(Held { offset, at_ms });
        self.jump = None;
    }
}

fn agree(one: WallOffset, other: WallOffset, slack_ms: u64) -> bool {
    let bound = one
        .uncertainty_ms
        .saturating_add(other.uncertainty_ms)
        .saturating_add(slack_ms)
        // Rounding to milliseconds, twice.
        .saturating_add(2);
    one.ms.abs_diff(other.ms) <= bound
}

/// Half of what 64 bits hold, so that the difference of two fits.
fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: u64 = 365 * 86_400_000;

    fn wall(ms: u64) -> Timestamp {
        Timestamp::from_unix_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_clock_set_back_ten_years_is_believed_only_when_it_insists_and_reorders_nothing() {
        let mut clock = WallClock::new();
        let begin = 56 * YEAR_MS;
        let rtt = Duration::from_millis(10);
        assert_eq!(clock.observe(1_000, wall(begin), rtt), Learned::First);
        let held = clock.offset().unwrap();
        for second in [2, 3] {
            let back = wall(begin - 10 * YEAR_MS + second * 1_000);
            assert!(matches!(
                clock.observe(1_000 + second * 1_000, back, rtt),
                Learned::Suspect { by_ms } if by_ms < -9 * signed(YEAR_MS)
            ));
            assert_eq!(clock.offset(), Some(held));
        }
        let back = wall(begin - 10 * YEAR_MS + 4_000);
        assert!(matches!(
            clock.observe(5_000, back, rtt),
            Learned::Jumped { .. }
        ));
        let boot = BootClock::new(BootEpoch::FIRST, Instant::from_nanos(7));
        assert!(boot.at(Instant::from_nanos(7)) < boot.at(Instant::from_nanos(9_000_007)));
    }

    #[test]
    fn a_shorter_round_trip_is_better_and_a_single_lie_changes_nothing() {
        let mut clock = WallClock::new();
        clock.observe(1_000, wall(YEAR_MS), Duration::from_millis(500));
        let lie = clock.observe(2_000, wall(3 * YEAR_MS), Duration::from_millis(1));
        assert!(matches!(lie, Learned::Suspect { .. }));
        let better = clock.observe(2_000, wall(YEAR_MS + 1_100), Duration::from_millis(10));
        assert_eq!(better, Learned::Better);
        assert_eq!(clock.offset().unwrap().uncertainty_ms, 5);
        // A day later it may be 8.64 s off.
        let later = clock.offset_at(2_000 + 86_400_000).unwrap();
        assert_eq!(later.uncertainty_ms, 5 + 8_640);
    }
}
