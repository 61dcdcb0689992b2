//! What was made for a peer and not taken: who has that done over and over waits for more, and is named.

use core::mem;
use core::time::Duration;

/// So many times in succession what is made for a peer may be in vain before the next is waited for.
const FREE: u32 = 2;

/// After so many times in succession that what was made for a peer was in vain it is named, and each time that it was twice as
/// often.
const NAMED: u32 = 4;

/// What one peer has had made in vain.
#[derive(Debug)]
pub(super) struct InVain {
    /// When something was made for it last.
    made_at: Duration,
    /// How often in succession that was in vain.
    times: u32,
    /// When the last of that was made.
    last: Duration,
    /// When that was made of which it said, before it was sent, that it knows it: from another, unless it says anew that it
    /// knows nothing.
    claimed_of: Option<Duration>,
    must_be_named: bool,
}

impl InVain {
    pub(super) const fn new() -> Self {
        Self {
            made_at: Duration::ZERO,
            times: 0,
            last: Duration::ZERO,
            claimed_of: None,
            must_be_named: false,
        }
    }

    /// Something is made for it.
    pub(super) const fn begins(&mut self, now: Duration) {
        self.made_at = now;
    }

    /// It says that it knows what was made, and has not been sent it all.
    pub(super) const fn is_claimed(&mut self) {
        self.claimed_of = Some(self.made_at);
    }

    /// It says that it knows nothing; `has_open` if something is on its way to it, or was refused. The longest wait is
    /// `wait_max`.
    pub(super) fn begins_anew(&mut self, now: Duration, wait_max: Duration, has_open: bool) {
        self.pardon(now, wait_max);
        let claimed_of = self.claimed_of.take();
        let has_claimed = claimed_of.is_some_and(|made_at| !is_long_ago(made_at, now, wait_max));
        // Who has had that done before, and asks anew while it waits, waits longer.
        let is_waiting = self.times >= FREE;
        if has_open || has_claimed || is_waiting {
            self.count();
        }
    }

    /// What was made last was not taken. Whoever has that done over and over, as by saying that it knows nothing when it has
    /// been sent the first of many parts, waits for the next as it would for an answer.
    pub(super) fn count(&mut self) {
        self.times = self.times.saturating_add(1);
        self.last = self.made_at;
        // Once for each time that it becomes twice as much.
        self.must_be_named |= self.times >= NAMED && self.times.is_power_of_two();
    }

    /// What was in vain so long ago counts no more.
    pub(super) const fn pardon(&mut self, now: Duration, wait_max: Duration) {
        if is_long_ago(self.last, now, wait_max) {
            self.times = 0;
        }
    }

    /// Until when nothing is made for it, if a wait begins with `wait_min` and lasts at most `wait_max`. Once is for nothing,
    /// so a peer that begins anew is served at once; and so is what lies longer back than two of the longest.
    pub(super) fn rests_until(
        &mut self,
        now: Duration,
        wait_min: Duration,
        wait_max: Duration,
    ) -> Option<Duration> {
        self.pardon(now, wait_max);
        let doublings = self.times.checked_sub(FREE)?;
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let wait = wait_min.saturating_mul(factor).min(wait_max);
        let until = self.made_at.saturating_add(wait);
        (until > now).then_some(until)
    }

    /// Whether it has had much made in vain, and nobody was told since.
    pub(super) const fn is_to_be_named(&mut self) -> bool {
        mem::replace(&mut self.must_be_named, false)
    }
}

/// Whether it lies longer back than two of the longest waits.
const fn is_long_ago(then: Duration, now: Duration, wait_max: Duration) -> bool {
    let until = then.saturating_add(wait_max.saturating_mul(2));
    now.as_nanos() >= until.as_nanos()
}
