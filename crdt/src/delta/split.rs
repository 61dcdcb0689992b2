//! Cutting a delta into parts.
//!
//! A part is a set of events, as its delta is, and after each the receiver must know with every event all that its writer
//! had seen. So parts follow the order in which the sender came to know the events, see [`Arrivals`](crate::arrivals).
//! And a part must carry what it claims: a dead dot comes with the event that removed it. So there is no cut from the
//! place of a dot on up to that of its removal; the dot's value, which would fill the gap, is gone.

use alloc::vec::Vec;

use crate::arrivals::Order;
use crate::removal_log::{LogRun, RemovalLog, Removed};
use crate::wire::{Message, StoreCodec};
use crate::{Delta, Dot, DotStore, Interval, VersionVector};

impl<S: StoreCodec> Delta<S> {
    /// Cuts the delta into parts of at most `bytes_max` bytes each, standing alone, to be applied in order. After each
    /// part the receiver's state is that of the events it knows, and these are causally closed if they were at the
    /// sender; so the link may fail between two parts.
    ///
    /// What cannot be told apart stays together, so a part may be larger: all from an element's addition to its removal,
    /// and what the sender got to know at once. A delta beyond the log is one part, and one that was read from bytes is,
    /// if it has events of several replicas.
    #[must_use]
    pub fn split(self, bytes_max: usize) -> Vec<Self> {
        if self.alive.is_some() || self.to_bytes().len() <= bytes_max {
            return Vec::from([self]);
        }
        let events: Vec<Interval> = self.events().collect();
        let order = Order::of(&events, &self.arrivals);
        let Some(last) = order.places().checked_sub(1) else {
            return Vec::from([self]);
        };
        let whole = Places { first: 0, last };
        let cuts = Cuts {
            spans: self.spans(&order),
            order,
        };
        let mut parts = Vec::new();
        self.cut(self.from.clone(), whole, &cuts, bytes_max, &mut parts);
        parts
    }

    /// The parts of these places, which follow `after`, halved until they fit.
    fn cut(
        &self,
        after: VersionVector,
        places: Places,
        cuts: &Cuts,
        bytes_max: usize,
        parts: &mut Vec<Self>,
    ) {
        let mut upto = after.clone();
        cuts.order.raise(&mut upto, places.last);
        let part = self.between(&after, &upto);
        let Some(last) = cuts.nearest_middle(places) else {
            parts.push(part);
            return;
        };
        if part.to_bytes().len() <= bytes_max {
            parts.push(part);
            return;
        }
        let mut middle = after.clone();
        cuts.order.raise(&mut middle, last);
        let (former, latter) = (
            Places { last, ..places },
            Places {
                first: last + 1,
                ..places
            },
        );
        self.cut(after, former, cuts, bytes_max, parts);
        self.cut(middle, latter, cuts, bytes_max, parts);
    }
}

impl<S: DotStore> Delta<S> {
    fn between(&self, after: &VersionVector, upto: &VersionVector) -> Self {
        let mut store = S::default();
        self.store.for_each_after(after, &mut |dot| {
            if upto.covers(dot) {
                self.store.copy_dot(dot, &mut store);
            }
        });
        let mut log = RemovalLog::default();
        for (replica, run) in self.log.between(after, Some(upto)) {
            log.push(replica, run);
        }
        Self::of_events(after, upto, store, log)
    }

    /// From the places of dots to those of their removals: disjoint, ascending, and not touching.
    fn spans(&self, order: &Order) -> Vec<Places> {
        let mut spans = Vec::new();
        for (replica, runs) in self.log.runs() {
            for run in runs {
                let Some(events) = Interval::new(replica, run.first, run.last()) else {
                    continue;
                };
                for (events, place) in order.pieces_within(events) {
                    spans.extend(removed_by(run, events).filter_map(|dots| {
                        let first = dots
                            .first()
                            .max(self.from.get(dots.replica()).saturating_add(1));
                        let first = Dot::new(dots.replica(), first)?;
                        if dots.last() < first.counter() {
                            return None;
                        }
                        let first = order.place(first)?;
                        // Behind the later of the two it may be cut.
                        let last = first.max(place).checked_sub(1)?;
                        let first = first.min(place);
                        (first <= last).then_some(Places { first, last })
                    }));
                }
            }
        }
        spans.sort_unstable();
        let mut joined: Vec<Places> = Vec::new();
        for span in spans {
            match joined.last_mut() {
                Some(last) if span.first <= last.last + 1 => last.last = last.last.max(span.last),
                _ => joined.push(span),
            }
        }
        joined
    }
}

/// What some of a run's events removed. Where they removed one dot each, one after the other, no cut lies between the
/// spans of neighbours: that of each begins before the one before it ends.
fn removed_by(run: &LogRun, events: Interval) -> impl Iterator<Item = Interval> + '_ {
    let (each, all) = match &run.removed {
        Removed::Each(dots) => {
            let first = dots.first() + (events.first() - run.first);
            let last = dots.first() + (events.last() - run.first);
            (Interval::new(dots.replica(), first, last), None)
        }
        Removed::All(dots) => (None, Some(dots.iter())),
    };
    each.into_iter().chain(all.into_iter().flatten())
}

/// Places in an order, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Places {
    first: u64,
    last: u64,
}

/// Where a delta may be cut.
struct Cuts {
    order: Order,
    /// The places behind which it may not.
    spans: Vec<Places>,
}

impl Cuts {
    /// The place behind which a cut comes closest to the middle; `None` if there is none but the last.
    fn nearest_middle(&self, places: Places) -> Option<u64> {
        let middle = places.first + (places.last - places.first) / 2;
        let at = self.spans.partition_point(|span| span.last < middle);
        let (before, behind) = match self.spans.get(at).filter(|span| span.first <= middle) {
            None => (Some(middle), Some(middle)),
            Some(span) => (span.first.checked_sub(1), Some(span.last + 1)),
        };
        let before = before.filter(|place| *place >= places.first && *place < places.last);
        let behind = behind.filter(|place| *place < places.last);
        match (before, behind) {
            (Some(before), Some(behind)) if behind - middle < middle - before => Some(behind),
            (before, behind) => before.or(behind),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use crate::{
        AddWinsSet, Causal, Lattice, MvRegister, ObservedRemoveMap, ReplicaId, VersionVector,
        Writer,
    };

    fn writer(number: u128) -> Writer {
        Writer::new(ReplicaId::new(number).unwrap(), 0, 10_000)
    }

    /// Found by seed 986 of `soak --target crdt`: a write of one replica was told in a part before the removal, by
    /// another replica, that its writer had seen, and what had been removed was shown beside what was written after.
    #[test]
    fn no_part_tells_an_effect_before_its_cause() {
        type Shelves = Causal<ObservedRemoveMap<u8, MvRegister<u8>>>;
        let fill = |shelves: &mut Shelves, writer: &mut Writer, value| {
            let edit = |map: &ObservedRemoveMap<u8, MvRegister<u8>>, mint| {
                map.update(0, |held: &MvRegister<u8>| Ok(held.write(mint, value)))
            };
            shelves.write(writer, edit).unwrap();
        };
        let shown = |shelves: &Shelves| {
            let held = shelves.value().get(&0);
            held.map_or_else(Vec::new, |held| held.values().copied().collect())
        };
        let (mut here, mut there) = (Shelves::bottom(), Shelves::bottom());
        fill(&mut here, &mut writer(5), 68);
        there.join(&here);
        here.write(&mut writer(9), |map, _| Ok(map.remove(&0)))
            .unwrap();
        // The lower id, so that nothing but the cause puts it behind.
        fill(&mut here, &mut writer(2), 14);
        let parts = here.delta_since(there.vector()).split(0);
        assert_eq!(parts.len(), 2);
        let mut seen = Vec::from([shown(&there)]);
        for part in parts {
            there.apply(&part).unwrap();
            seen.push(shown(&there));
        }
        assert_eq!(seen, [&[68][..], &[], &[14]]);
        assert_eq!(there, here);
    }

    /// Many short-lived elements of two writers by turns: each part is as small as it can be.
    #[test]
    fn what_does_not_overlap_is_cut_apart() {
        let mut set: Causal<AddWinsSet<u32>> = Causal::bottom();
        let mut writers = [writer(2), writer(1)];
        for element in 0..100 {
            for (number, writer) in (0..).zip(&mut writers) {
                let element = 2 * element + number;
                set.write(writer, |set, mint| Ok(set.add(mint, element)))
                    .unwrap();
                if element % 3 == 0 {
                    set.write(writer, |set, _| Ok(set.remove(&element)))
                        .unwrap();
                }
            }
        }
        let parts = set.delta_since(&VersionVector::new()).split(0);
        assert_eq!(
            parts.len(),
            200,
            "an addition, with its removal if there is one"
        );
        let bytes_max = 400;
        for part in set.delta_since(&VersionVector::new()).split(bytes_max) {
            assert!(crate::wire::Message::to_bytes(&part).len() <= bytes_max);
        }
    }

    /// A removal at the end of what was there from the beginning: nothing between can be told apart from either.
    #[test]
    fn from_an_addition_to_its_removal_all_is_one_part() {
        let mut set: Causal<AddWinsSet<u32>> = Causal::bottom();
        let mut writers = [writer(2), writer(1)];
        for (number, at) in (0..50).zip((0..2).cycle()) {
            let writer = &mut writers[at];
            set.write(writer, |set, mint| Ok(set.add(mint, number)))
                .unwrap();
        }
        set.write(&mut writers[1], |set, _| Ok(set.remove(&10)))
            .unwrap();
        let parts = set.delta_since(&VersionVector::new()).split(0);
        assert_eq!(parts.len(), 11);
        let mut receiver = Causal::bottom();
        for part in parts {
            assert!(receiver.apply(&part).is_ok());
        }
        assert_eq!(receiver, set);
    }
}
