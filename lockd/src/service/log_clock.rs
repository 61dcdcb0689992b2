use std::time::Duration;

use peaberry_core::Instant;

use crate::limits::ADVANCE_MS_MAX;

/// How far one tick moves log time, in milliseconds, and how long it takes at least.
pub(crate) const TICK_MS: u64 = 50;
const TICK: Duration = Duration::from_millis(TICK_MS);

/// How far log time may run ahead of the log before an entry must carry it there.
const UNSTAMPED_MS_MAX: u64 = ADVANCE_MS_MAX - 20 * TICK_MS;

/// A leader's log time: ticks counted one by one, never a difference of two clocks, so that log time is never ahead of
/// real time. Ticks that were missed, in a pause or under load, are lost.
#[derive(Debug, Default)]
pub(super) struct LogClock {
    time: u64,
    /// Log time in the table, as far as this leader has seen.
    committed: u64,
    next_tick: Option<Instant>,
}

impl LogClock {
    /// A clock that goes on from the table's time.
    pub(super) const fn starting_at(time: u64) -> Self {
        Self {
            time,
            committed: time,
            next_tick: None,
        }
    }

    pub(super) const fn time(&self) -> u64 {
        self.time
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next_tick
    }

    /// Lets time run while `needed`, and stand still else.
    pub(super) fn run(&mut self, now: Instant, needed: bool) {
        self.next_tick = match self.next_tick {
            _ if !needed => None,
            None => Some(now + TICK),
            running => running,
        };
    }

    /// Counts at most one tick, and none that would leave the table behind by more than one entry can make up for.
    pub(super) fn tick(&mut self, now: Instant) {
        let Some(due) = self.next_tick.filter(|&due| due <= now) else {
            return;
        };
        self.time = (self.time + TICK_MS).min(self.committed + ADVANCE_MS_MAX);
        let next = due + TICK;
        self.next_tick = Some(if next > now { next } else { now + TICK });
    }

    /// The table has reached `time`.
    pub(super) fn committed(&mut self, time: u64) {
        self.committed = self.committed.max(time);
        self.time = self.time.max(time);
    }

    /// Whether the table must be told the time although nothing else is to be done.
    pub(super) const fn is_far_ahead(&self) -> bool {
        self.time >= self.committed + UNSTAMPED_MS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_pause_counts_one_tick() {
        let mut clock = LogClock::starting_at(1_000);
        clock.run(at(0), true);
        clock.tick(at(49));
        assert_eq!(clock.time(), 1_000);
        clock.tick(at(3_600_000));
        clock.tick(at(3_600_000));
        assert_eq!(clock.time(), 1_050);
    }

    #[test]
    fn late_ticks_do_not_slow_time_down() {
        let mut clock = LogClock::starting_at(0);
        clock.run(at(0), true);
        for tick in 1..=100 {
            clock.tick(at(tick * 50 + tick % 7));
        }
        assert_eq!(clock.time(), 5_000);
    }

    #[test]
    fn time_waits_for_the_table() {
        let mut clock = LogClock::starting_at(0);
        clock.run(at(0), true);
        for tick in 1..=1_000 {
            clock.tick(at(tick * 50));
        }
        assert_eq!(clock.time(), ADVANCE_MS_MAX);
        assert!(clock.is_far_ahead());
        clock.committed(ADVANCE_MS_MAX);
        assert!(!clock.is_far_ahead());
    }
}
