//! Which records of one stream have arrived, and up to where none is missing.

use peaberry_core::wire::{self, Reader, WireError};

use crate::identity::{BOOT_JUMP_MAX, BootEpoch, Position, SEQUENCE_JUMP_MAX};

/// How many runs apart from the beginning are remembered. A device that sends what is new before its backlog needs one; each
/// reconnection amid that may add one.
pub(crate) const ISLANDS_MAX: usize = 16;

/// What has arrived of one stream of one device: everything up to a position, and a few runs behind it.
///
/// Each arrival says which record its device held right before it, so nothing is counted: between the two there is nothing to
/// wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    through: Option<Position>,
    /// Runs behind a hole: nothing is missing behind `after` up to `last`. Ascending and apart from one another.
    islands: Vec<Island>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Island {
    after: Position,
    last: Position,
}

/// What [`Coverage::take`] makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Not seen before.
    New,
    /// Seen before, or given up by its device since.
    Repeated,
    /// One hole too many: not taken. It comes again.
    Deferred,
}

impl Coverage {
    /// Nothing is missing up to here.
    pub(crate) const fn through(&self) -> Option<Position> {
        self.through
    }

    /// The last that has arrived.
    pub(crate) fn newest(&self) -> Option<Position> {
        self.through
            .max(self.islands.last().map(|island| island.last))
    }

    /// Whether a record at `at` may follow on what has been heard: see [`BOOT_JUMP_MAX`] and [`SEQUENCE_JUMP_MAX`]. One that
    /// is too far ahead would make all later ones look repeated.
    pub(crate) fn is_in_reach(&self, at: Position) -> bool {
        let known = self.newest();
        let boot = known.map_or(0, |known| known.boot.get());
        let sequence = match known {
            Some(known) if known.boot == at.boot => known.sequence,
            _ => 0,
        };
        at.boot.get() <= boot.saturating_add(BOOT_JUMP_MAX)
            && at.sequence <= sequence.saturating_add(SEQUENCE_JUMP_MAX)
    }

    /// The record at `at` arrived; its device held the one at `after` right before it.
    pub(crate) fn take(&mut self, after: Option<Position>, at: Position) -> Arrival {
        if self.through.is_some_and(|through| at <= through) {
            return Arrival::Repeated;
        }
        let is_known = |island: &Island| island.after < at && at <= island.last;
        let arrival = if self.islands.iter().any(is_known) {
            Arrival::Repeated
        } else {
            Arrival::New
        };
        match after {
            Some(after) if self.through.is_none_or(|through| through < after) => {
                if !self.add_island(Island { after, last: at }) {
                    return Arrival::Deferred;
                }
            }
            _ => self.through = Some(at),
        }
        self.absorb();
        arrival
    }

    fn add_island(&mut self, mut new: Island) -> bool {
        let touches = |island: &Island| island.after <= new.last && new.after <= island.last;
        let is_apart = !self.islands.iter().any(touches);
        if is_apart && self.islands.len() >= ISLANDS_MAX {
            return false;
        }
        self.islands.retain(|island| {
            let is_one = island.after <= new.last && new.after <= island.last;
            if is_one {
                new.after = new.after.min(island.after);
                new.last = new.last.max(island.last);
            }
            !is_one
        });
        let place = self
            .islands
            .partition_point(|island| island.after < new.after);
        self.islands.insert(place, new);
        true
    }

    /// Islands that the beginning has reached belong to it.
    fn absorb(&mut self) {
        let Some(mut through) = self.through else {
            return;
        };
        self.islands.retain(|island| {
            let is_reached = island.after <= through;
            if is_reached {
                through = through.max(island.last);
            }
            !is_reached
        });
        self.through = Some(through);
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        put_position(out, self.through);
        wire::put_varint(out, self.islands.len() as u64);
        for island in &self.islands {
            put_position(out, Some(island.after));
            put_position(out, Some(island.last));
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let through = read_position(&mut reader)?;
        let count = reader.length(ISLANDS_MAX)?;
        let mut islands = Vec::with_capacity(count);
        let mut end = through;
        for _ in 0..count {
            let after = read_position(&mut reader)?.ok_or(WireError::Truncated)?;
            let last = read_position(&mut reader)?.ok_or(WireError::Truncated)?;
            if last <= after || end.is_some_and(|end| after <= end) {
                return Err(WireError::Varint);
            }
            end = Some(last);
            islands.push(Island { after, last });
        }
        reader.finish()?;
        Ok(Self { through, islands })
    }
}

/// Boot and sequence; a boot of 0 is none.
fn put_position(out: &mut Vec<u8>, position: Option<Position>) {
    wire::put_varint(out, position.map_or(0, |position| position.boot.get()));
    if let Some(position) = position {
        wire::put_varint(out, position.sequence);
    }
}

fn read_position(reader: &mut Reader<'_>) -> Result<Option<Position>, WireError> {
    let Some(boot) = BootEpoch::new(reader.varint()?) else {
        return Ok(None);
    };
    let sequence = reader.varint()?;
    Ok(Some(Position { boot, sequence }))
}

/// Feeds any bytes at all to the decoder.
pub(crate) fn decode_any(bytes: &[u8]) {
    if let Ok(coverage) = Coverage::decode(bytes) {
        let mut again = Vec::new();
        coverage.encode_into(&mut again);
        assert_eq!(again, bytes, "a coverage has one spelling");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(sequence: u64) -> Position {
        Position::new(BootEpoch::FIRST, sequence)
    }

    proptest! {
        /// Against a set: whatever arrives in whatever order and as often as it likes, and with records dropped in between,
        /// `through` never passes a record that is held and has not arrived.
        #[test]
        fn nothing_held_is_passed_over(
            steps in proptest::collection::vec((0_usize..12, any::<bool>()), 0..60),
        ) {
            let mut held: Vec<u64> = (1..=12).map(|n| n * 3).collect();
            let mut arrived = BTreeSet::new();
            let mut coverage = Coverage::default();
            for (pick, is_drop) in steps {
                if held.is_empty() { break; }
                let pick = pick % held.len();
                if is_drop && pick.is_multiple_of(3) {
                    // A record that has not arrived is given up by its device.
                    held.remove(pick);
                    continue;
                }
                let after = pick.checked_sub(1).map(|before| at(held[before]));
                let arrival = coverage.take(after, at(held[pick]));
                prop_assert_eq!(arrival == Arrival::New, arrived.insert(held[pick]));
                for record in &held {
                    if coverage.through() >= Some(at(*record)) {
                        prop_assert!(arrived.contains(record), "{record} has not arrived");
                    }
                }
                let mut bytes = Vec::new();
                coverage.encode_into(&mut bytes);
                prop_assert_eq!(&Coverage::decode(&bytes).unwrap(), &coverage);
            }
            // Behind the last record that a device gave up, there is another some day.
            held.push(99);
            for (index, record) in held.iter().enumerate() {
                let after = index.checked_sub(1).map(|before| at(held[before]));
                coverage.take(after, at(*record));
            }
            prop_assert!(coverage.through() >= held.last().map(|last| at(*last)));
            prop_assert!(coverage.islands.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            decode_any(&bytes);
        }
    }

    #[test]
    fn one_hole_too_many_is_deferred_and_memory_stays_bounded() {
        let mut coverage = Coverage::default();
        for n in 0..ISLANDS_MAX as u64 {
            let arrival = coverage.take(Some(at(10 * n + 5)), at(10 * n + 6));
            assert_eq!(arrival, Arrival::New);
        }
        assert_eq!(coverage.take(Some(at(999)), at(1000)), Arrival::Deferred);
        assert_eq!(coverage.take(Some(at(6)), at(8)), Arrival::New, "joins one");
        assert_eq!(coverage.take(None, at(5)), Arrival::New);
        assert_eq!(coverage.through(), Some(at(8)));
        assert_eq!(coverage.take(Some(at(999)), at(1000)), Arrival::New);
    }
}
