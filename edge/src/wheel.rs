//! When each of many things is due.

/// A hierarchical timing wheel (Varghese and Lauck, *Hashed and Hierarchical Timing Wheels*, 1987) with ticks of a
/// millisecond: setting a timer and taking one that is due cost the same however many there are, and a timer costs 16 bytes.
///
/// It is driven from outside and holds numbers, not what they stand for. A timer cannot be taken back: give it another, and
/// pass over the one that comes out of time.
///
/// ```
/// use peaberry_edge::wheel::Wheel;
///
/// let mut wheel = Wheel::new(1_000);
/// wheel.insert(1_500, 7);
/// wheel.insert(100_000, 8);
/// let mut due = Vec::new();
/// wheel.expire(1_499, &mut due);
/// assert!(due.is_empty() && wheel.next_ms().unwrap() <= 1_500);
/// wheel.expire(2_000, &mut due);
/// assert_eq!(due, [(1_500, 7)]);
/// ```
#[derive(Debug)]
pub struct Wheel {
    /// Everything up to here has come out.
    elapsed_ms: u64,
    levels: Vec<Level>,
    overdue: Vec<(u64, u32)>,
    count: usize,
}

/// 64 slots; bit by bit, whether there is something in them.
#[derive(Debug)]
struct Level {
    occupied: u64,
    slots: Vec<Vec<(u64, u32)>>,
}

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for 64 bits of milliseconds.
const LEVELS: usize = 64_usize.div_ceil(SLOT_BITS as usize);

impl Wheel {
    /// An empty wheel that stands at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        let level = |_| Level {
            occupied: 0,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
        };
        Self {
            elapsed_ms: now_ms,
            levels: (0..LEVELS).map(level).collect(),
            overdue: Vec::new(),
            count: 0,
        }
    }

    /// Has `key` come out once it is `due_ms`; at once if that has passed.
    pub fn insert(&mut self, due_ms: u64, key: u32) {
        self.count += 1;
        self.place((due_ms, key));
    }

    /// When to look again: never later than the first timer is due, perhaps earlier. `None` when there is none.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        if !self.overdue.is_empty() {
            return Some(self.elapsed_ms);
        }
        self.next_slot().map(|(at_ms, _, _)| at_ms)
    }

    /// Adds to `due` what is due at `now_ms`, with the time it was due at; earlier ones first.
    pub fn expire(&mut self, now_ms: u64, due: &mut Vec<(u64, u32)>) {
        let begin = due.len();
        due.append(&mut self.overdue);
        while let Some((at_ms, level, slot)) = self.next_slot()
            && at_ms <= now_ms
        {
            self.elapsed_ms = at_ms;
            let mut entries = self.take(level, slot);
            for entry in entries.drain(..) {
                if entry.0 <= at_ms {
                    due.push(entry);
                } else {
                    self.place(entry);
                }
            }
            self.give_back(level, slot, entries);
        }
        self.elapsed_ms = self.elapsed_ms.max(now_ms);
        let come = due.get_mut(begin..).unwrap_or_default();
        self.count -= come.len();
        come.sort_unstable();
    }

    /// How many timers there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn place(&mut self, entry: (u64, u32)) {
        if entry.0 <= self.elapsed_ms {
            self.overdue.push(entry);
            return;
        }
        // The highest group of bits in which it differs from the present.
        let differing = 63 - ((entry.0 ^ self.elapsed_ms) | 1).leading_zeros();
        let level = differing / SLOT_BITS;
        let slot = slot_of(entry.0, level);
        if let Some(level) = self.levels.get_mut(level as usize)
            && let Some(entries) = level.slots.get_mut(slot as usize)
        {
            level.occupied |= 1 << slot;
            entries.push(entry);
        }
    }

    /// When the first slot that holds something begins, and which it is. Since it differs from the present in this group of
    /// bits and no higher, it lies ahead.
    fn next_slot(&self) -> Option<(u64, u32, u32)> {
        let levels = (0_u32..).zip(&self.levels);
        let (level, held) = levels.into_iter().find(|(_, level)| level.occupied != 0)?;
        let slot = held.occupied.trailing_zeros();
        let shift = level * SLOT_BITS;
        let above = u64::MAX.checked_shl(shift + SLOT_BITS).unwrap_or(0);
        let at_ms = (self.elapsed_ms & above) | (u64::from(slot) << shift);
        Some((at_ms, level, slot))
    }

    fn take(&mut self, level: u32, slot: u32) -> Vec<(u64, u32)> {
        let Some(level) = self.levels.get_mut(level as usize) else {
            return Vec::new();
        };
        level.occupied &= !(1 << slot);
        level
            .slots
            .get_mut(slot as usize)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// A slot keeps its memory.
    fn give_back(&mut self, level: u32, slot: u32, emptied: Vec<(u64, u32)>) {
        let level = self.levels.get_mut(level as usize);
        if let Some(entries) = level.and_then(|level| level.slots.get_mut(slot as usize))
            && entries.capacity() == 0
            && emptied.capacity() <= KEPT_MAX
        {
            *entries = emptied;
        }
    }
}

/// Timers for which an empty slot keeps room.
const KEPT_MAX: usize = 64;

#[expect(clippy::cast_possible_truncation, reason = "it is below 64")]
const fn slot_of(due_ms: u64, level: u32) -> u32 {
    ((due_ms >> (level * SLOT_BITS)) & (SLOTS as u64 - 1)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a sorted list does it.
        #[test]
        fn timers_come_out_when_they_are_due_and_once(
            start in prop_oneof![0..1000_u64, any::<u64>().prop_map(|at| at >> 2)],
            steps in proptest::collection::vec((0..200_000_u64, 0..5_u8, 0..50_000_u64), 1..80),
        ) {
            let mut wheel = Wheel::new(start);
            let mut model: Vec<(u64, u32)> = Vec::new();
            let mut now = start;
            for (key, (delay, what, passed)) in (0_u32..).zip(steps) {
                let delay = if what == 0 { delay << 20 } else { delay };
                wheel.insert(now + delay, key);
                model.push((now + delay, key));
                if what > 2 {
                    now += passed;
                    let mut due = Vec::new();
                    wheel.expire(now, &mut due);
                    let mut expected: Vec<_> = model.extract_if(.., |(at, _)| *at <= now).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(due, expected);
                }
                let first = model.iter().map(|(at, _)| *at).min();
                match (wheel.next_ms(), first) {
                    (None, None) => {}
                    (Some(next), Some(first)) => prop_assert!(next <= first.max(now)),
                    other => prop_assert!(false, "{other:?}"),
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
