//! Where every live log entry lies: twelve bytes of memory each.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::record::{ENTRY_FIXED, Record, StoredEntries};
use crate::batch::{LogId, indices};
use crate::mutant::is_planted;

/// Where one entry's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// In the segment's file; the entry's length and checksum lie right before.
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Place {
    /// What the entry takes in its segment.
    pub(super) fn bytes(&self) -> u64 {
        ENTRY_FIXED as u64 + u64::from(self.length)
    }

    /// Whether `next` lies right behind this one.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        let behind = u64::from(self.offset) + u64::from(self.length) + ENTRY_FIXED as u64;
        self.segment == next.segment && u64::from(next.offset) == behind
    }
}

/// The places of `entries`, whose payload begins at `payload_offset` of `segment`.
pub(super) fn places(
    entries: StoredEntries<'_>,
    segment: u32,
    payload_offset: u32,
) -> impl Iterator<Item = Place> {
    entries.map(move |(at, length)| Place {
        segment,
        offset: payload_offset + super::bytes::length32(at),
        length,
    })
}

/// The places of all logs' entries, and which segments they keep from being freed.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    logs: BTreeMap<LogId, Log>,
    pins: BTreeMap<(u32, LogId), Pin>,
    live_bytes: u64,
}

#[derive(Debug, Default)]
struct Log {
    first: u64,
    places: VecDeque<Place>,
}

impl Log {
    fn bounds(&self) -> Range<u64> {
        indices(self.first, self.places.len())
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first)).map_or(self.places.len(), |position| {
            position.min(self.places.len())
        })
    }
}

/// The entries of one log that live in one segment.
#[derive(Clone, Copy, Debug)]
struct Pin {
    /// None of them is before this index.
    from: u64,
    count: u64,
}

impl LogIndex {
    pub(super) fn bounds(&self, log: LogId) -> Range<u64> {
        self.logs.get(&log).map_or(0..0, Log::bounds)
    }

    /// All logs ever written, with their bounds.
    pub(super) fn all_bounds(&self) -> impl ExactSizeIterator<Item = (LogId, Range<u64>)> {
        self.logs
            .iter()
            .map(|(&log, places)| (log, places.bounds()))
    }

    /// The places of the entries in `range` that there are, with their indices.
    pub(super) fn places(
        &self,
        log: LogId,
        range: Range<u64>,
    ) -> impl Iterator<Item = (u64, Place)> {
        self.logs.get(&log).into_iter().flat_map(move |log| {
            let from = log.position(range.start);
            let to = log.position(range.end).max(from);
            let first = log.first + from as u64;
            (first..).zip(log.places.range(from..to).copied())
        })
    }

    /// What all live entries take.
    pub(super) const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(super) fn is_pinned(&self, segment: u32) -> bool {
        self.pins_of(segment).next().is_some()
    }

    /// The logs with entries in `segment`, and the index from which on to look for them.
    pub(super) fn pins_of(&self, segment: u32) -> impl Iterator<Item = (LogId, u64)> {
        let smallest = super::record::SMALLEST_LOG;
        self.pins
            .range((segment, smallest)..)
            .take_while(move |((pinned, _), _)| *pinned == segment)
            .map(|(&(_, log), pin)| (log, pin.from))
    }

    /// Sets a log as recovery found it.
    pub(super) fn restore(&mut self, log: LogId, first: u64, places: impl Iterator<Item = Place>) {
        self.logs.entry(log).or_default().first = first;
        self.push(log, places);
    }

    /// Applies a record that was checked against the bounds; records of keys are not for it.
    pub(super) fn apply(&mut self, record: &Record<'_>, segment: u32, payload_offset: u32) {
        match *record {
            Record::Keys(_) => {}
            Record::Append {
                log,
                first,
                entries,
            } => {
                let indexed = self.logs.entry(log).or_default();
                if indexed.places.is_empty() {
                    indexed.first = first;
                }
                self.push(log, places(entries, segment, payload_offset));
            }
            Record::Truncate { log, from } => self.truncate(log, from),
            Record::Discard { log, to } => self.discard(log, to),
            Record::Move {
                log,
                first,
                entries,
            } => {
                for (index, place) in (first..).zip(places(entries, segment, payload_offset)) {
                    self.relocate(log, index, place);
                }
            }
        }
    }

    fn push(&mut self, log: LogId, places: impl Iterator<Item = Place>) {
        let indexed = self.logs.entry(log).or_default();
        let first_new = indexed.places.len();
        let first_index = indexed.bounds().end;
        indexed.places.extend(places);
        let added = (first_index..).zip(indexed.places.range(first_new..).copied());
        for stretch in stretches(added) {
            self.live_bytes += stretch.bytes;
            pin(&mut self.pins, log, &stretch);
        }
    }

    fn truncate(&mut self, log: LogId, from: u64) {
        let indexed = self.logs.entry(log).or_default();
        let kept = indexed.position(from);
        if is_planted("storage_keep_truncated_tail") {
            return;
        }
        let first_gone = indexed.first + kept as u64;
        for stretch in stretches((first_gone..).zip(indexed.places.drain(kept..))) {
            self.live_bytes -= stretch.bytes;
            unpin(&mut self.pins, log, &stretch);
        }
    }

    fn discard(&mut self, log: LogId, to: u64) {
        let indexed = self.logs.entry(log).or_default();
        if to <= indexed.first {
            return;
        }
        let gone = indexed.position(to);
        for stretch in stretches((indexed.first..).zip(indexed.places.drain(..gone))) {
            self.live_bytes -= stretch.bytes;
            unpin(&mut self.pins, log, &stretch);
        }
        indexed.first = to;
    }

    fn relocate(&mut self, log: LogId, index: u64, place: Place) {
        let Some(indexed) = self.logs.get_mut(&log) else {
            return;
        };
        if !indexed.bounds().contains(&index) {
            return;
        }
        let position = indexed.position(index);
        if let Some(old) = indexed.places.get_mut(position) {
            unpin(&mut self.pins, log, &Stretch::of(index, *old));
            *old = place;
            pin(&mut self.pins, log, &Stretch::of(index, place));
        }
    }
}

/// Neighbouring entries that live in one segment.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    segment: u32,
    from: u64,
    count: u64,
    bytes: u64,
}

impl Stretch {
    fn of(index: u64, place: Place) -> Self {
        Self {
            segment: place.segment,
            from: index,
            count: 1,
            bytes: place.bytes(),
        }
    }
}

fn stretches(places: impl Iterator<Item = (u64, Place)>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (index, place) in places {
        match stretches.last_mut() {
            Some(last) if last.segment == place.segment => {
                last.count += 1;
                last.bytes += place.bytes();
            }
            _ => stretches.push(Stretch::of(index, place)),
        }
    }
    stretches
}

fn pin(pins: &mut BTreeMap<(u32, LogId), Pin>, log: LogId, stretch: &Stretch) {
    let none = Pin {
        from: stretch.from,
        count: 0,
    };
    let pin = pins.entry((stretch.segment, log)).or_insert(none);
    pin.from = pin.from.min(stretch.from);
    pin.count += stretch.count;
}

fn unpin(pins: &mut BTreeMap<(u32, LogId), Pin>, log: LogId, stretch: &Stretch) {
    let Some(pin) = pins.get_mut(&(stretch.segment, log)) else {
        return;
    };
    pin.count -= stretch.count;
    if pin.from == stretch.from {
        pin.from += stretch.count;
    }
    if pin.count == 0 {
        pins.remove(&(stretch.segment, log));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Channel, ProtocolId};

    const LOG: LogId = LogId::new(Channel::new(ProtocolId(2000), 1), 0);

    fn places(segment: u32, count: u32) -> impl Iterator<Item = Place> {
        (0..count).map(move |index| Place {
            segment,
            offset: 100 * index,
            length: 92,
        })
    }

    #[test]
    fn a_segment_is_pinned_until_its_last_entry_is_gone_or_moved() {
        let mut index = LogIndex::default();
        index.restore(LOG, 5, places(1, 3).chain(places(2, 3)));
        assert_eq!(index.live_bytes(), 600);
        index.discard(LOG, 7);
        assert_eq!(index.pins_of(1).collect::<Vec<_>>(), [(LOG, 7)]);
        index.relocate(
            LOG,
            7,
            Place {
                segment: 3,
                offset: 8,
                length: 92,
            },
        );
        assert!(!index.is_pinned(1) && index.is_pinned(2) && index.is_pinned(3));
        index.truncate(LOG, 8);
        assert!(!index.is_pinned(2));
        assert_eq!((index.bounds(LOG), index.live_bytes()), (7..8, 100));
    }
}
