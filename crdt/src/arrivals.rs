//! In which order a state came to know its events.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::mem;

use crate::mutant;
use crate::wire::{DecodeError, Decoder, Encoder};
use crate::{Changed, Dot, Interval, IntervalVersionVector, VersionVector};

/// How many intervals are kept at most, or twice as many as there are replicas, if those are more; beyond, neighbouring
/// steps become one.
const INTERVALS_MAX: usize = 512;

/// The steps in which events became known, oldest first; what is in none of them was known before.
///
/// As long as a state knows with every event all that its writer had seen, which is so if deltas come from
/// `delta_since`, so it did after every step: a delta can be cut there. It is a hint, no part of a state's value, and not
/// told to others: with fewer steps, parts are larger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals {
    steps: VecDeque<Step>,
    intervals: usize,
    intervals_max: usize,
}

#[derive(Clone, Debug)]
enum Step {
    /// Of one replica: its events came one after the other.
    One(Interval),
    /// Of several: nothing is known of the order among them.
    Many(Vec<Interval>),
}

impl Step {
    fn of(mut intervals: Vec<Interval>) -> Option<Self> {
        if intervals.len() > 1 {
            return Some(Self::Many(intervals));
        }
        intervals.pop().map(Self::One)
    }

    fn intervals(&self) -> &[Interval] {
        match self {
            Self::One(interval) => core::slice::from_ref(interval),
            Self::Many(intervals) => intervals,
        }
    }

    /// Both as one.
    fn join(self, other: &Self) -> Option<Self> {
        let intervals = self.intervals().iter().chain(other.intervals());
        let joined = IntervalVersionVector::of(intervals.copied().collect());
        Self::of(joined.iter().collect())
    }
}

impl Arrivals {
    /// What `known` lacks of `to` becomes known.
    pub(crate) fn record(&mut self, known: &VersionVector, to: &VersionVector) {
        let mut new = to.iter().filter_map(|(replica, upto)| {
            Interval::new(replica, known.get(replica).saturating_add(1), upto)
        });
        let Some(first) = new.next() else {
            return;
        };
        let mut others: Vec<Interval> = new.collect();
        if others.is_empty() {
            if !self.extend_last(first) {
                self.push(Step::One(first));
            }
        } else {
            others.push(first);
            others.sort_unstable();
            self.push(Step::Many(others));
        }
    }

    /// Forgets what is not needed for who knows `stable`.
    pub(crate) fn forget(&mut self, stable: &VersionVector) {
        let is_known = |events: &Interval| events.last() <= stable.get(events.replica());
        while let Some(first) = self.steps.front()
            && first.intervals().iter().all(is_known)
        {
            self.intervals -= first.intervals().len();
            self.steps.pop_front();
        }
    }

    /// The steps beyond `known`.
    pub(crate) fn after(&self, known: &VersionVector) -> Self {
        let mut after = Self::default();
        for step in &self.steps {
            let left = step.intervals().iter().filter_map(|events| {
                let first = known.get(events.replica()).saturating_add(1);
                Interval::new(events.replica(), first.max(events.first()), events.last())
            });
            if let Some(step) = Step::of(left.collect()) {
                after.intervals += step.intervals().len();
                after.steps.push_back(step);
            }
        }
        after
    }

    /// How many steps, and of each its intervals less one, and these.
    pub(crate) fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.steps.len() as u64);
        for step in &self.steps {
            let intervals = step.intervals();
            out.varint(intervals.len() as u64 - 1);
            for events in intervals {
                out.id(events.replica());
                out.varint(events.first());
                out.varint(events.last() - events.first());
            }
        }
    }

    /// The steps in which a state came to know what it does, up to `known`.
    pub(crate) fn decode(
        known: &VersionVector,
        input: &mut Decoder<'_>,
    ) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("order of events");
        let mut arrivals = Self::default();
        let mut told = BTreeMap::new();
        for _ in 0..input.count()? {
            let mut intervals = Vec::new();
            for _ in 0..=input.count()? {
                let (replica, first) = (input.id()?, input.varint()?);
                let last = first.checked_add(input.varint()?).ok_or(malformed)?;
                let events = Interval::new(replica, first, last).ok_or(malformed)?;
                // Each of a replica's events once, and one after the other.
                let before = told.insert(replica, last).unwrap_or(0);
                if first <= before || last > known.get(replica) {
                    return Err(malformed);
                }
                intervals.push(events);
            }
            if !intervals.is_sorted() {
                return Err(malformed);
            }
            arrivals.intervals += intervals.len();
            arrivals.steps.extend(Step::of(intervals));
        }
        arrivals.intervals_max = 2 * told.len();
        Ok(arrivals)
    }

    /// Each step's events, in order, and whether they came one after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[Interval], bool)> {
        self.steps
            .iter()
            .map(|step| (step.intervals(), matches!(step, Step::One(_))))
    }

    fn extend_last(&mut self, next: Interval) -> bool {
        let Some(Step::One(last)) = self.steps.back_mut() else {
            return false;
        };
        if last.replica() != next.replica() || last.last().checked_add(1) != Some(next.first()) {
            return false;
        }
        Interval::new(last.replica(), last.first(), next.last())
            .map(|joined| *last = joined)
            .is_some()
    }

    fn push(&mut self, step: Step) {
        self.intervals += step.intervals().len();
        self.steps.push_back(step);
        if self.intervals > self.intervals_max.max(INTERVALS_MAX) {
            self.coarsen();
        }
    }

    /// Joins neighbours until half as much is kept as may be; of each replica one interval is left in any case.
    fn coarsen(&mut self) {
        let intervals = self.steps.iter().flat_map(Step::intervals);
        let replicas: BTreeSet<_> = intervals.map(|events| events.replica()).collect();
        let kept = replicas.len().max(INTERVALS_MAX / 2);
        while self.intervals > kept && self.steps.len() > 1 {
            let mut steps = mem::take(&mut self.steps).into_iter();
            while let Some(step) = steps.next() {
                let joined = match steps.next() {
                    Some(next) => step.join(&next),
                    None => Some(step),
                };
                self.steps.extend(joined);
            }
            self.intervals = self.steps.iter().map(|step| step.intervals().len()).sum();
        }
        self.intervals_max = 2 * replicas.len();
    }
}

/// The order of a delta's events, by places that are counted from zero.
pub(crate) struct Order {
    /// Of each replica, in ascending order.
    pieces: Vec<Piece>,
    places: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    events: Interval,
    /// The place of the first.
    place: u64,
    /// Whether each has a place of its own, behind the one before; else all have one.
    is_run: bool,
}

impl Order {
    /// Of `events`, one interval for each replica, which became known as `arrivals` say.
    pub(crate) fn of(events: &[Interval], arrivals: &Arrivals) -> Self {
        if mutant::is_planted("effect_before_cause") {
            return Self::by_replica(events);
        }
        let mut rest = IntervalVersionVector::of(events.to_vec());
        for (known, _) in arrivals.iter() {
            for interval in known {
                rest.cut(*interval);
            }
        }
        // What came before the first step.
        let rest: Vec<Interval> = rest.iter().collect();
        let mut order = Self {
            pieces: Vec::new(),
            places: 0,
        };
        order.push(&rest, rest.len() == 1);
        for (events, is_run) in arrivals.iter() {
            order.push(events, is_run);
        }
        order.pieces.sort_unstable();
        order
    }

    /// A planted bug: one replica's events after the other's.
    fn by_replica(events: &[Interval]) -> Self {
        let mut order = Self {
            pieces: Vec::new(),
            places: 0,
        };
        for events in events {
            order.push(core::slice::from_ref(events), true);
        }
        order
    }

    fn push(&mut self, events: &[Interval], is_run: bool) {
        let place = self.places;
        for events in events.iter().copied() {
            let piece = Piece {
                events,
                place,
                is_run,
            };
            self.pieces.push(piece);
            self.places = place + if is_run { events.len() } else { 1 };
        }
    }

    /// How many places there are.
    pub(crate) const fn places(&self) -> u64 {
        self.places
    }

    /// The place of an event.
    pub(crate) fn place(&self, event: Dot) -> Option<u64> {
        self.pieces_within(event.into())
            .next()
            .map(|(_, place)| place)
    }

    /// An interval's events, cut where their places do not follow one another, each part with the place of its last.
    pub(crate) fn pieces_within(
        &self,
        wanted: Interval,
    ) -> impl Iterator<Item = (Interval, u64)> + '_ {
        let start = self.pieces.partition_point(|piece| {
            (piece.events.replica(), piece.events.last()) < (wanted.replica(), wanted.first())
        });
        let pieces = self.pieces.get(start..).unwrap_or_default().iter();
        pieces.map_while(move |piece| {
            if piece.events.replica() != wanted.replica() {
                return None;
            }
            let first = piece.events.first().max(wanted.first());
            let last = piece.events.last().min(wanted.last());
            let part = Interval::new(wanted.replica(), first, last)?;
            let behind = if piece.is_run {
                last - piece.events.first()
            } else {
                0
            };
            Some((part, piece.place + behind))
        })
    }

    /// Raises `known` by all events up to a place.
    pub(crate) fn raise(&self, known: &mut VersionVector, place: u64) -> Changed {
        let mut changed = Changed::No;
        for piece in self.pieces.iter().filter(|piece| piece.place <= place) {
            let last = if piece.is_run {
                let upto = piece.events.first().saturating_add(place - piece.place);
                piece.events.last().min(upto)
            } else {
                piece.events.last()
            };
            if known.raise(piece.events.replica(), last) == Changed::Yes {
                changed = Changed::Yes;
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, INTERVALS_MAX, Order};
    use crate::wire::{Budget, Decoder, Encoder, IdTable};
    use crate::{Dot, Interval, Lattice, ReplicaId, VersionVector};

    fn replica(number: u128) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    /// However many steps came, few are kept, and all events keep their order.
    #[test]
    fn arrivals_are_bounded_and_stay_in_order() {
        for replicas in [2, 1500] {
            let (mut arrivals, mut known) = (Arrivals::default(), VersionVector::new());
            for event in 0..20_000_u64 {
                let (replica, counter) = (
                    replica(u128::from(event % replicas) + 1),
                    event / replicas + 1,
                );
                let mut to = VersionVector::new();
                to.raise(replica, counter);
                arrivals.record(&known, &to);
                known.join(&to);
            }
            let bound = INTERVALS_MAX.max(2 * usize::try_from(replicas).unwrap());
            assert!(arrivals.intervals <= bound, "{}", arrivals.intervals);
            let events: alloc::vec::Vec<Interval> = known.since(&VersionVector::new()).collect();
            let order = Order::of(&events, &arrivals);
            let places = (0..20_000_u64).map(|event| {
                let dot = Dot::new(
                    replica(u128::from(event % replicas) + 1),
                    event / replicas + 1,
                );
                order.place(dot.unwrap()).unwrap()
            });
            assert!(places.is_sorted());
            arrivals.forget(&known);
            assert_eq!(arrivals.intervals, 0);
        }
    }

    /// As many intervals as replicas are no fewer in one step. Read again, they are not joined by the next event either.
    #[test]
    fn what_many_replicas_wrote_once_keeps_its_order() {
        let (mut arrivals, mut known) = (Arrivals::default(), VersionVector::new());
        let mut write = |arrivals: &mut Arrivals, number| {
            let to = VersionVector::from_iter([(replica(number), 1)]);
            arrivals.record(&known, &to);
            known.join(&to);
        };
        (1..=1_500).for_each(|number| write(&mut arrivals, number));
        assert_eq!(arrivals.steps.len(), 1_500);
        let table = IdTable::new();
        let mut out = Encoder::new(&table);
        arrivals.encode(&mut out);
        let mut bytes = alloc::vec::Vec::new();
        out.finish(&mut bytes);
        let of_all = (1..=1_500).map(|number| (replica(number), 1)).collect();
        let mut input = Decoder::new(&bytes, &table, Budget::default()).unwrap();
        let mut again = Arrivals::decode(&of_all, &mut input).unwrap();
        write(&mut again, 1_501);
        assert_eq!(again.steps.len(), 1_501);
    }

    /// What one replica wrote one after the other may be cut anywhere; what came at once, nowhere.
    #[test]
    fn places_follow_a_run_and_are_one_for_what_came_at_once() {
        let (mut arrivals, mut known) = (Arrivals::default(), VersionVector::new());
        known.raise(replica(1), 4);
        let mut step = |entries: &[(u128, u64)]| {
            let mut to = VersionVector::new();
            for (number, counter) in entries {
                to.raise(replica(*number), *counter);
            }
            arrivals.record(&known, &to);
            known.join(&to);
        };
        step(&[(1, 6)]);
        step(&[(1, 8)]);
        step(&[(2, 3), (3, 2)]);
        step(&[(1, 9)]);
        let events: alloc::vec::Vec<Interval> = known.since(&VersionVector::new()).collect();
        let order = Order::of(&events, &arrivals);
        let place = |number, counter| order.place(Dot::new(replica(number), counter).unwrap());
        assert_eq!(
            [place(1, 1), place(1, 4), place(1, 5), place(1, 8)],
            [0, 3, 4, 7].map(Some)
        );
        assert_eq!(
            [place(2, 1), place(2, 3), place(3, 2), place(1, 9)],
            [8, 8, 8, 9].map(Some)
        );
        assert_eq!((order.places(), place(1, 10)), (10, None));
        let mut upto = VersionVector::new();
        order.raise(&mut upto, 5);
        assert!(upto.iter().eq([(replica(1), 6)]));
        order.raise(&mut upto, 8);
        assert!(
            upto.iter()
                .eq([(replica(1), 8), (replica(2), 3), (replica(3), 2)])
        );
    }
}
