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
        let Some(all) = self.cuts(bytes_max) else {
            return Vec::from([self]);
        };
        let (cuts, places) = all;
        let mut parts = Vec::new();
        // Those that may have to be halved, the next one last.
        let mut left = Vec::from([(self.from.clone(), self, places)]);
        while let Some((after, part, places)) = left.pop() {
            let Some(last) = part.cut_behind(&cuts, places, bytes_max) else {
                parts.push(part);
                continue;
            };
            let (former, latter) = places.cut(last);
            let middle = cuts.upto(&after, former.last);
            let end = cuts.upto(&after, latter.last);
            let [first, second] = [(&after, &middle), (&middle, &end)]
                .map(|(after, upto)| part.between(after, upto, &mut || ()));
            left.push((middle, second, latter));
            left.push((after, first, former));
        }
        parts
    }

    /// The first of the parts that [`split`](Self::split) makes, without making the others.
    #[must_use]
    pub fn first_part(self, bytes_max: usize) -> Self {
        self.first_part_by(bytes_max, &mut || ())
    }

    /// Calls `step` for each dot of a part that is looked at.
    pub(crate) fn first_part_by(self, bytes_max: usize, step: &mut impl FnMut()) -> Self {
        let Some((cuts, places)) = self.cuts(bytes_max) else {
            return self;
        };
        self.halved(&cuts, places, bytes_max, step)
    }

    /// As much as has room of these events, which are all up to a place and perhaps no delta: some may have been removed by
    /// events behind it. `None` if nothing can be told apart from those.
    pub(crate) fn first_closed_part(
        self,
        cuts: &mut Cuts,
        last: u64,
        bytes_max: usize,
        step: &mut impl FnMut(),
    ) -> Option<Self> {
        cuts.spans = self.spans(&cuts.order);
        let missing = self.overclaims();
        let open = missing.filter_map(|dot| cuts.order.place(dot)).min();
        let Some(open) = open else {
            let places = Places { first: 0, last };
            return Some(self.halved(cuts, places, bytes_max, step));
        };
        let last = cuts.last_before(open)?;
        let upto = cuts.upto(&self.from, last);
        let part = self.between(&self.from, &upto, step);
        Some(part.halved(cuts, Places { first: 0, last }, bytes_max, step))
    }

    /// The first half, and of it the first, until it fits.
    fn halved(
        self,
        cuts: &Cuts,
        mut places: Places,
        bytes_max: usize,
        step: &mut impl FnMut(),
    ) -> Self {
        let from = self.from.clone();
        let mut part = self;
        while let Some(last) = part.cut_behind(cuts, places, bytes_max) {
            (places, _) = places.cut(last);
            part = part.between(&from, &cuts.upto(&from, places.last), step);
        }
        part
    }

    /// Where it may be cut, and what there is to cut; `None` if it is one part.
    fn cuts(&self, bytes_max: usize) -> Option<(Cuts, Places)> {
        if self.alive.is_some() || self.to_bytes().len() <= bytes_max {
            return None;
        }
        let events: Vec<Interval> = self.events().collect();
        let mut cuts = Cuts::of(Order::of(&events, &self.arrivals));
        let last = cuts.places().checked_sub(1)?;
        cuts.spans = self.spans(&cuts.order);
        Some((cuts, Places { first: 0, last }))
    }

    /// The place behind which to halve a part of these places; `None` if it fits, or there is none.
    fn cut_behind(&self, cuts: &Cuts, places: Places, bytes_max: usize) -> Option<u64> {
        let last = cuts.nearest_middle(places)?;
        (self.to_bytes().len() > bytes_max).then_some(last)
    }
}

/// The events in `(after, upto]` of a store and its log, as they are there. Calls `step` for each dot that it looks at.
pub(crate) fn events_between<S: DotStore>(
    (held, removed): (&S, &RemovalLog),
    after: &VersionVector,
    upto: &VersionVector,
    step: &mut impl FnMut(),
) -> Delta<S> {
    let mut store = S::default();
    held.for_each_between(after, upto, &mut |dot| {
        step();
        held.copy_dot(dot, &mut store);
    });
    let mut log = RemovalLog::default();
    for (replica, run) in removed.between(after, Some(upto)) {
        log.push(replica, run);
    }
    Delta::of_events(after, upto, store, log)
}

impl<S: DotStore> Delta<S> {
    fn between(
        &self,
        after: &VersionVector,
        upto: &VersionVector,
        step: &mut impl FnMut(),
    ) -> Self {
        events_between((&self.store, &self.log), after, upto, step)
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

impl Places {
    /// Those up to a place, and those behind it.
    const fn cut(self, last: u64) -> (Self, Self) {
        let first = last + 1;
        (Self { last, ..self }, Self { first, ..self })
    }
}

/// Where a delta may be cut.
pub(crate) struct Cuts {
    order: Order,
    /// The places behind which it may not.
    spans: Vec<Places>,
}

impl Cuts {
    /// Of nothing that was removed.
    pub(crate) const fn of(order: Order) -> Self {
        let spans = Vec::new();
        Self { order, spans }
    }

    pub(crate) const fn places(&self) -> u64 {
        self.order.places()
    }

    /// What is known behind a place, if this is known before the first.
    pub(crate) fn upto(&self, known: &VersionVector, last: u64) -> VersionVector {
        let mut upto = known.clone();
        self.order.raise(&mut upto, last);
        upto
    }

    /// The last place before another behind which it may be cut.
    fn last_before(&self, place: u64) -> Option<u64> {
        let last = place.checked_sub(1)?;
        let at = self.spans.partition_point(|span| span.last < last);
        match self.spans.get(at).filter(|span| span.first <= last) {
            Some(span) => span.first.checked_sub(1),
            None => Some(last),
        }
    }

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

    /// However small the first part is: it is halved, and what is behind it is not looked at again. What was written by
    /// turns came in steps of which few are kept, the oldest long: then some halves are nearly as long as the whole.
    #[test]
    fn the_first_part_is_made_in_as_many_steps_as_there_are_dots() {
        for (turns, times) in [(u32::MAX, 2), (3, 10)] {
            let mut set: Causal<AddWinsSet<u32>> = Causal::bottom();
            let mut writers = [writer(2), writer(1)];
            for element in 1..=8_000 {
                let writer = &mut writers[usize::from(element % turns == 0)];
                set.write(writer, |set, mint| Ok(set.add(mint, element)))
                    .unwrap();
            }
            let whole = || set.delta_since(&VersionVector::new());
            for bytes_max in [0, 400, 5_000, 1 << 20] {
                let mut steps = 0;
                let first = whole().first_part_by(bytes_max, &mut || steps += 1);
                assert!(steps <= times * 8_000, "{steps} steps");
                let bytes = crate::wire::Message::to_bytes(&first).len();
                assert!(turns == 3 || bytes <= bytes_max.max(100), "{bytes} bytes");
            }
            let parts = whole().split(400);
            assert_eq!(parts.first(), Some(&whole().first_part(400)));
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
