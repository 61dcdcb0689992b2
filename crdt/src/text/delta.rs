//! What one text has over another.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use super::edit::{Edit, Kind};
use super::log::{Log, Piece, chars};
use crate::{Dot, Interval, Lattice, ReplicaId, VersionVector};

/// What parts are reckoned to take: one by itself, one more replica, run and parent in it.
const PART_BYTES: usize = 48;
const REPLICA_BYTES: usize = 20;
pub(super) const RUN_BYTES: usize = 8;
const PARENT_BYTES: usize = 4;

/// The events of a [`Text`](crate::Text) in `(from, to]` of each replica, each with what it did and had seen.
///
/// Only [`Text::delta_since`](crate::Text::delta_since), [`split`](Self::split) and a validating decode make one. Its
/// events are told one by one, so it cannot claim one that it does not carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextDelta {
    from: VersionVector,
    to: VersionVector,
    pub(super) told: Vec<Told>,
    pub(super) inserted: String,
}

/// Successive events of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) replica: ReplicaId,
    /// How many come before.
    pub(super) known: u64,
    pub(super) runs: Vec<ToldRun>,
}

/// Events as long as they go on in one way; never two runs that are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToldRun {
    /// Of the first.
    pub(super) counter: u64,
    /// What the first had seen last, in ascending order; none for the replica's event before it alone.
    pub(super) parents: Option<Vec<Dot>>,
    pub(super) edit: Edit,
    /// Where its characters start.
    pub(super) byte: usize,
}

impl ToldRun {
    pub(super) const fn last(&self) -> u64 {
        self.counter + self.edit.len as u64 - 1
    }
}

impl Told {
    pub(super) fn last(&self) -> u64 {
        self.runs.last().map_or(self.known, ToldRun::last)
    }
}

/// What of one replica's events comes next in an order.
#[derive(Clone, Copy, Default)]
struct Next {
    run: usize,
    /// How many of its parents have come.
    parents: usize,
}

/// A delta in the making.
#[derive(Default)]
pub(super) struct Telling {
    /// In ascending order.
    told: Vec<Told>,
    inserted: String,
}

impl Telling {
    /// Goes on with events of a replica, of which the first `known` are not told. Where it stands holds until another is
    /// begun.
    pub(super) fn begin(&mut self, replica: ReplicaId, known: u64) -> usize {
        let held = self
            .told
            .binary_search_by_key(&replica, |told| told.replica);
        held.unwrap_or_else(|at| {
            let told = Told {
                replica,
                known,
                runs: Vec::new(),
            };
            self.told.insert(at, told);
            at
        })
    }

    /// Appends what follows the replica's last.
    pub(super) fn push(&mut self, at: usize, mut piece: Piece<'_>) {
        let Some(told) = self.told.get_mut(at) else {
            return;
        };
        let byte = self.inserted.len();
        self.inserted.push_str(piece.text);
        if piece.parents.is_none()
            && let Some(last) = told.runs.last_mut()
        {
            let count = last.edit.continued_by(piece.edit);
            if count > 0 {
                last.edit.extend(piece.edit, count);
            }
            if count == piece.edit.len {
                return;
            }
            piece.edit = piece.edit.skip(count);
            piece.counter += count as u64;
        }
        told.runs.push(ToldRun {
            counter: piece.counter,
            parents: piece.parents,
            edit: piece.edit,
            byte,
        });
    }

    /// The delta, if the events were told replica by replica in ascending order.
    pub(super) fn finish(mut self) -> TextDelta {
        self.told.retain(|told| !told.runs.is_empty());
        TextDelta::new(self.told, self.inserted)
    }
}

impl TextDelta {
    pub(super) fn new(told: Vec<Told>, inserted: String) -> Self {
        let (mut from, mut to) = (VersionVector::new(), VersionVector::new());
        for told in &told {
            from.raise(told.replica, told.known);
            to.raise(told.replica, told.last());
        }
        let mut needed = VersionVector::new();
        let runs = told.iter().flat_map(|told| &told.runs);
        for parent in runs.filter_map(|run| run.parents.as_ref()).flatten() {
            if to.get(parent.replica()) == 0 {
                needed.raise(parent.replica(), parent.counter());
            }
        }
        from.join(&needed);
        to.join(&needed);
        Self {
            from,
            to,
            told,
            inserted,
        }
    }

    pub(super) fn since(log: &Log, known: &VersionVector, upto: &VersionVector) -> Self {
        let mut telling = Telling::default();
        // Of what a peer says to know and is not there, nothing.
        for events in upto.since(known) {
            let (replica, known, upto) = (events.replica(), events.first() - 1, events.last());
            let at = telling.begin(replica, known);
            log.told(replica, known, upto, |piece| telling.push(at, piece));
        }
        telling.finish()
    }

    /// A first part, as [`split`](Self::split) makes them, without what lies behind.
    pub(super) fn first_part_since(
        log: &Log,
        known: &VersionVector,
        upto: &VersionVector,
        bytes_max: usize,
    ) -> Option<Self> {
        let upto = log.first_since(known, upto, bytes_max.saturating_add(PART_BYTES));
        Self::since(log, known, &upto).parts(bytes_max, 1).pop()
    }

    /// What the receiver must know: the events before those carried, and what they had seen.
    #[must_use]
    pub const fn from(&self) -> &VersionVector {
        &self.from
    }

    /// What the receiver knows afterwards, beside what it knew.
    #[must_use]
    pub const fn to(&self) -> &VersionVector {
        &self.to
    }

    /// The events carried, one interval for each replica.
    pub fn events(&self) -> impl Iterator<Item = Interval> + '_ {
        self.to.since(&self.from)
    }

    /// Whether no event is carried.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// The first event up to `upto` that another delta of one replica's events tells otherwise.
    pub(super) fn first_difference(&self, told: &Told, other: &Self, upto: u64) -> Option<u64> {
        let others = other.told.first().map_or(&[][..], |told| &told.runs);
        let mut cuts: Vec<u64> = told
            .runs
            .iter()
            .chain(others)
            .map(|run| run.counter)
            .collect();
        cuts.push(upto + 1);
        cuts.sort_unstable();
        cuts.dedup();
        let at = |delta: &Self, runs: &[ToldRun], counter: u64, end: u64| {
            let run = runs.get(
                runs.partition_point(|run| run.counter <= counter)
                    .checked_sub(1)?,
            )?;
            let skip = usize::try_from(counter - run.counter).ok()?;
            let count = usize::try_from(end - counter).ok()?;
            let parents = run.parents.clone().filter(|_| skip == 0);
            let text = String::from(delta.text_of(run, skip, count));
            (skip < run.edit.len).then(|| (parents, run.edit.skip(skip).take(count), text))
        };
        let mut parts = cuts
            .iter()
            .zip(cuts.iter().skip(1))
            .take_while(|(start, _)| **start <= upto);
        parts
            .find(|(start, end)| {
                at(self, &told.runs, **start, **end) != at(other, others, **start, **end)
            })
            .map(|(start, _)| *start)
    }

    /// The runs, by the replica's and their own number, each behind what it had seen; `None` if there is no such order.
    pub(super) fn order(&self) -> Option<Vec<(usize, usize)>> {
        self.order_by(0..self.told.len(), &mut || ())
    }

    /// As [`order`](Self::order), and replicas whose first had seen the same stand together: whoever replays the events
    /// in this order seldom goes from one branch to another.
    pub(super) fn order_by_branches(&self) -> Option<Vec<(usize, usize)>> {
        let mut firsts = Vec::from_iter(0..self.told.len());
        firsts.sort_by(|a, b| self.seen_first(*a).cmp(self.seen_first(*b)));
        self.order_by(firsts, &mut || ())
    }

    /// Replicas in the order of `firsts`, unless another must come before. Calls `step` each time that it looks at a
    /// run's parent.
    fn order_by(
        &self,
        firsts: impl IntoIterator<Item = usize>,
        step: &mut impl FnMut(),
    ) -> Option<Vec<(usize, usize)>> {
        let mut order = Vec::new();
        let mut next = Vec::from_iter(self.told.iter().map(|_| Next::default()));
        for first in firsts {
            let mut waiting = Vec::from([first]);
            let mut is_waiting = BTreeSet::from([first]);
            while let Some(&at) = waiting.last() {
                if let Some(before) = self.missing(at, &mut next, step) {
                    if !is_waiting.insert(before) {
                        return None;
                    }
                    waiting.push(before);
                    continue;
                }
                let Next { run, .. } = *next.get(at)?;
                let is_taken = self.told.get(at)?.runs.len() > run;
                if is_taken {
                    order.push((at, run));
                    *next.get_mut(at)? = Next {
                        run: run + 1,
                        parents: 0,
                    };
                }
                if !is_taken || waiting.len() > 1 {
                    waiting.pop();
                    is_waiting.remove(&at);
                }
            }
        }
        Some(order)
    }

    /// What the first run of one had seen, beside its own events.
    fn seen_first(&self, at: usize) -> &[Dot] {
        let first = self.told.get(at).and_then(|told| told.runs.first());
        let parents = first.and_then(|run| run.parents.as_deref());
        parents.unwrap_or_default()
    }

    /// Of which replica more must come before the next run of one. A parent that has come is not looked at again.
    fn missing(&self, at: usize, next: &mut [Next], step: &mut impl FnMut()) -> Option<usize> {
        let Next { run, parents } = *next.get(at)?;
        let all = self.told.get(at)?.runs.get(run)?.parents.as_ref()?;
        let left = all.get(parents..)?.iter();
        let reached = |told: usize| {
            let first = self.told.get(told)?.runs.get(next.get(told)?.run);
            Some(first.map_or(u64::MAX, |run| run.counter))
        };
        let found = left.enumerate().find_map(|(count, parent)| {
            step();
            let before = self.position(parent.replica())?;
            (parent.counter() >= reached(before)?).then_some((count, before))
        });
        let come = found.map_or(all.len(), |(count, _)| parents + count);
        next.get_mut(at)?.parents = come;
        found.map(|(_, before)| before)
    }

    pub(super) fn position(&self, replica: ReplicaId) -> Option<usize> {
        self.told
            .binary_search_by_key(&replica, |told| told.replica)
            .ok()
    }

    /// The characters of a run from one of them on.
    pub(super) fn text_of(&self, run: &ToldRun, skip: usize, take: usize) -> &str {
        if run.edit.kind != Kind::Insert {
            return "";
        }
        let rest = self.inserted.get(run.byte..).unwrap_or_default();
        // If the run is of single bytes, its characters end where their count says.
        let end = skip + take;
        if rest.len() >= end && rest.as_bytes().iter().take(end).all(u8::is_ascii) {
            return rest.get(skip..end).unwrap_or_default();
        }
        chars(rest, usize::MAX, skip, take)
    }

    /// Cuts the delta into parts of about `bytes_max` bytes each, standing alone, to be applied in order. After each the
    /// text is one that its events made. A run of characters may be cut too.
    #[must_use]
    pub fn split(self, bytes_max: usize) -> Vec<Self> {
        self.parts(bytes_max, usize::MAX)
    }

    /// The first `parts_max` of these parts.
    pub(super) fn parts(self, bytes_max: usize, parts_max: usize) -> Vec<Self> {
        let Some(order) = self.order() else {
            return Vec::from([self]);
        };
        let chars_max = (bytes_max / 4).max(16);
        let (mut parts, mut telling, mut bytes) = (Vec::new(), Telling::default(), PART_BYTES);
        for (at, run) in order {
            let Some((told, run)) = self
                .told
                .get(at)
                .and_then(|told| Some((told, told.runs.get(run)?)))
            else {
                continue;
            };
            let mut done = 0;
            while done < run.edit.len {
                let count = match run.edit.kind {
                    Kind::Insert => chars_max.min(run.edit.len - done),
                    Kind::Delete | Kind::Backspace => run.edit.len,
                };
                let text = self.text_of(run, done, count);
                let parents = run.parents.clone().filter(|_| done == 0);
                let size =
                    RUN_BYTES + text.len() + PARENT_BYTES * parents.as_ref().map_or(0, Vec::len);
                if bytes + size > bytes_max && bytes > PART_BYTES {
                    parts.push(core::mem::take(&mut telling).finish_sorted());
                    if parts.len() >= parts_max {
                        return parts;
                    }
                    bytes = PART_BYTES;
                }
                let counter = run.counter + done as u64;
                let part = telling.begin(told.replica, counter - 1);
                bytes += size
                    + if telling
                        .told
                        .get(part)
                        .is_some_and(|told| told.runs.is_empty())
                    {
                        REPLICA_BYTES
                    } else {
                        0
                    };
                let edit = run.edit.skip(done).take(count);
                telling.push(
                    part,
                    Piece {
                        counter,
                        parents,
                        edit,
                        text,
                    },
                );
                done += count;
            }
        }
        parts.push(telling.finish_sorted());
        parts
    }
}

impl Telling {
    /// The delta of events that were told in another order than that of replicas.
    fn finish_sorted(self) -> TextDelta {
        let mut sorted = Self::default();
        let whole = TextDelta {
            from: VersionVector::new(),
            to: VersionVector::new(),
            told: self.told,
            inserted: self.inserted,
        };
        for told in &whole.told {
            let at = sorted.begin(told.replica, told.known);
            for run in &told.runs {
                let text = whole.text_of(run, 0, run.edit.len);
                let (counter, parents, edit) = (run.counter, run.parents.clone(), run.edit);
                sorted.push(
                    at,
                    Piece {
                        counter,
                        parents,
                        edit,
                        text,
                    },
                );
            }
        }
        sorted.finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::super::edit::{Edit, Kind};
    use super::{Piece, Telling, TextDelta};
    use crate::{Changed, Dot, Lattice, ReplicaId, Text, VersionVector, Writer};

    fn replica(number: u64) -> ReplicaId {
        ReplicaId::new(u128::from(number)).unwrap()
    }

    /// One event of the lowest replica that had seen one of each of the `count` others: a step for each parent, and one
    /// more each time that one of them had to come first. And the others' come in the order of their replicas.
    #[test]
    fn an_event_of_many_parents_is_put_in_its_place_in_as_many_steps() {
        let count = 1_000;
        let mut telling = Telling::default();
        let mut tell = |number, parents: Vec<Dot>| {
            let at = telling.begin(replica(number), 0);
            telling.push(
                at,
                Piece {
                    counter: 1,
                    parents: Some(parents),
                    edit: Edit::new(Kind::Insert, 0, 1),
                    text: "x",
                },
            );
        };
        let others = 2..count + 2;
        tell(
            1,
            others
                .clone()
                .map(|number| Dot::new(replica(number), 1).unwrap())
                .collect(),
        );
        others.for_each(|number| tell(number, Vec::new()));
        let delta = telling.finish();
        let mut steps = 0;
        let order = delta
            .order_by(0..delta.told.len(), &mut || steps += 1)
            .unwrap();
        let told = usize::try_from(count).unwrap();
        assert!(
            order
                .iter()
                .copied()
                .eq((1..=told).map(|at| (at, 0)).chain([(0, 0)]))
        );
        assert!(steps <= 2 * count, "{steps} steps");
        let mut text = Text::bottom();
        text.apply(&delta).unwrap();
        assert_eq!(text.len_chars(), told + 1);
    }

    /// What is told in whatever order of replicas is told once, and the text as it is in the order of replicas.
    #[test]
    fn replicas_are_told_in_ascending_order_whichever_came_first() {
        let mut telling = Telling::default();
        for (number, counter) in [(5, 1), (2, 1), (9, 1), (2, 2), (5, 2)] {
            let at = telling.begin(replica(number), counter - 1);
            let text = format!("{number}");
            telling.push(
                at,
                Piece {
                    counter,
                    parents: (counter == 1).then(Vec::new),
                    edit: Edit::new(Kind::Insert, 0, 1),
                    text: &text,
                },
            );
        }
        let delta = telling.finish_sorted();
        assert_eq!(delta.inserted, "22559");
        assert_eq!(delta.told.len(), 3);
    }

    /// What a peer refuses is sent again and again, with the same history behind it.
    #[test]
    fn a_first_part_looks_at_no_more_than_it_carries() {
        for replicas in [1, 7] {
            let (mut text, mut there) = (Text::bottom(), Text::bottom());
            let mut writers: Vec<Writer> = (1..=replicas)
                .map(|number| Writer::new(replica(number), 0, 100_000))
                .collect();
            for event in 0..3_000 {
                let writer = &mut writers[event % usize::try_from(replicas).unwrap()];
                // Now and then a long one, and some are removed.
                let words = "tea ".repeat(if event % 500 == 0 { 1_000 } else { 1 });
                text.insert(writer, event % 3, words.as_str()).unwrap();
                if event % 5 == 0 {
                    text.delete(writer, 0..2).unwrap();
                }
            }
            for bytes_max in [0, 400, 5_000] {
                let none = VersionVector::new();
                let upto = text.log.first_since(&none, text.vector(), bytes_max);
                let looked_at = TextDelta::since(&text.log, &none, &upto);
                assert!(looked_at.inserted.len() <= bytes_max + 8, "{bytes_max}");
            }
            let mut parts = 0;
            while there.vector() != text.vector() {
                let bytes_max = [60, 500, 5_000][parts % 3];
                let (known, upto) = (there.vector(), text.vector());
                let part = TextDelta::first_part_since(&text.log, known, upto, bytes_max).unwrap();
                assert!(part.inserted.len() <= bytes_max.max(64), "{bytes_max}");
                assert_eq!(there.apply(&part), Ok(Changed::Yes));
                parts += 1;
            }
            assert!(parts > 10, "{parts} parts");
            assert_eq!(there, text);
        }
    }

    /// Peers ask for the last event of one among many replicas that ever wrote.
    #[test]
    fn a_delta_tells_of_no_replica_that_has_nothing_new() {
        let mut text = Text::bottom();
        for number in 1..=100 {
            let mut writer = Writer::new(replica(number), 0, 10);
            text.insert(&mut writer, 0, "tea").unwrap();
        }
        let mut known: VersionVector = text.vector().clone();
        let mut last = Writer::new(replica(7_000), 0, 10);
        text.insert(&mut last, 0, "x").unwrap();
        let delta: TextDelta = text.delta_since(&known);
        assert_eq!((delta.told.len(), delta.inserted), (1, String::from("x")));
        // More than anybody can have written.
        known.raise(replica(7_000), u64::MAX);
        assert!(text.delta_since(&known).is_empty());
    }
}
