//! All events: what they did, who wrote them, and what they had seen.

use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;

use super::delta::RUN_BYTES;
use super::edit::{Edit, Kind};
use super::graph::{Graph, Lv};
use super::rope::byte_of;
use crate::{Dot, Interval, ReplicaId, VersionVector};

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    runs: Vec<Run>,
    /// Every character ever inserted, in the order of its event.
    inserted: String,
    authors: Vec<Author>,
    by_replica: BTreeMap<ReplicaId, Vec<usize>>,
    pub(super) graph: Graph,
    /// The events that no other has seen, in ascending order.
    frontier: Vec<Lv>,
    end: Lv,
    /// Runs do not extend across this.
    sealed: Lv,
    /// The ranges of events that did something else here than to the text their writers saw, and what they did.
    merged: Vec<Range<Lv>>,
    applied: Vec<Applied>,
}

#[derive(Clone, Debug)]
struct Run {
    start: Lv,
    edit: Edit,
    /// Where its characters start in `inserted`.
    byte: usize,
}

/// Successive events of one replica.
#[derive(Clone, Copy, Debug)]
struct Author {
    start: Lv,
    replica: ReplicaId,
    counter: u64,
}

/// What events did to the text as it was here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    pub(super) start: Lv,
    pub(super) inserts: bool,
    pub(super) at: usize,
    pub(super) len: usize,
}

/// Successive events of one replica as a delta tells them.
pub(super) struct Piece<'a> {
    pub(super) counter: u64,
    /// None: the replica's previous event.
    pub(super) parents: Option<Vec<Dot>>,
    pub(super) edit: Edit,
    pub(super) text: &'a str,
}

/// Where a log ended.
pub(super) struct Mark {
    end: Lv,
    bytes: usize,
    frontier: Vec<Lv>,
}

impl Log {
    pub(super) const fn end(&self) -> Lv {
        self.end
    }

    /// How many dots it takes to tell all events, at most: one for each run, and what the runs had seen.
    pub(super) const fn dot_count(&self) -> usize {
        self.runs.len() + self.authors.len() + self.graph.parent_count()
    }

    pub(super) fn frontier(&self) -> &[Lv] {
        &self.frontier
    }

    /// How many dots more it takes at most when this is appended here.
    pub(super) fn growth_of(&self, first: Dot, edit: Edit) -> usize {
        let goes_on = self.end > self.sealed
            && matches!(self.frontier.as_slice(), [last] if *last + 1 == self.end)
            && self
                .authors
                .last()
                .is_some_and(|last| last.replica == first.replica())
            && self
                .runs
                .last()
                .is_some_and(|last| last.edit.continued_by(edit) == edit.len);
        if goes_on { 0 } else { 2 + self.frontier.len() }
    }

    /// Appends what the writer saw as the latest text.
    pub(super) fn push_here(&mut self, first: Dot, edit: Edit, text: &str) {
        if self.end > 0 && matches!(self.frontier.as_slice(), [last] if *last + 1 == self.end) {
            self.append(first, edit, text, self.end > self.sealed);
            self.graph
                .push(self.end..self.end + edit.len, &[self.end - 1]);
        } else {
            self.append(first, edit, text, false);
            let frontier = core::mem::take(&mut self.frontier);
            self.graph.push(self.end..self.end + edit.len, &frontier);
        }
        self.end += edit.len;
        self.frontier.clear();
        self.frontier.push(self.end - 1);
    }

    /// Appends events whose first had seen `parents`, in ascending order.
    pub(super) fn push(&mut self, first: Dot, edit: Edit, text: &str, parents: &[Lv]) {
        let follows = self.end > self.sealed && matches!(parents, [last] if last + 1 == self.end);
        self.append(first, edit, text, follows);
        self.graph.push(self.end..self.end + edit.len, parents);
        self.end += edit.len;
        advance(&mut self.frontier, parents, self.end - 1);
    }

    fn append(&mut self, first: Dot, edit: Edit, text: &str, follows: bool) {
        let start = self.end;
        let continues = self.authors.last().is_some_and(|last| {
            last.replica == first.replica()
                && last.counter + (start - last.start) as u64 == first.counter()
        });
        if !continues {
            self.by_replica
                .entry(first.replica())
                .or_default()
                .push(self.authors.len());
            self.authors.push(Author {
                start,
                replica: first.replica(),
                counter: first.counter(),
            });
        }
        let byte = self.inserted.len();
        self.inserted.push_str(text);
        if follows
            && continues
            && let Some(last) = self.runs.last_mut()
            && last.edit.continued_by(edit) == edit.len
        {
            last.edit.extend(edit, edit.len);
            return;
        }
        self.runs.push(Run { start, edit, byte });
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            end: self.end,
            bytes: self.inserted.len(),
            frontier: self.frontier.clone(),
        }
    }

    /// Keeps runs of earlier and later events apart.
    pub(super) const fn seal(&mut self) {
        self.sealed = self.end;
    }

    /// Forgets what came after the mark; it was sealed then.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.end = mark.end;
        self.inserted.truncate(mark.bytes);
        self.frontier = mark.frontier;
        self.graph.truncate(mark.end);
        let runs = self.runs.partition_point(|run| run.start < mark.end);
        self.runs.truncate(runs);
        while let Some(last) = self.authors.pop_if(|last| last.start >= mark.end) {
            if let Some(authors) = self.by_replica.get_mut(&last.replica) {
                authors.pop();
                if authors.is_empty() {
                    self.by_replica.remove(&last.replica);
                }
            }
        }
    }

    /// Notes what events of a range did here.
    pub(super) fn note_merged(&mut self, events: Range<Lv>, applied: &[Applied]) {
        self.merged.push(events);
        self.applied.extend_from_slice(applied);
    }

    pub(super) fn event_of(&self, dot: Dot) -> Option<Lv> {
        let authors = self.by_replica.get(&dot.replica())?;
        let counter_of = |at: &usize| {
            self.authors
                .get(*at)
                .map_or(u64::MAX, |author| author.counter)
        };
        let at = authors.partition_point(|at| counter_of(at) <= dot.counter());
        let at = *authors.get(at.checked_sub(1)?)?;
        let author = self.authors.get(at)?;
        let event = author.start + usize::try_from(dot.counter() - author.counter).ok()?;
        (event < self.author_end(at)).then_some(event)
    }

    fn author_end(&self, at: usize) -> Lv {
        self.authors.get(at + 1).map_or(self.end, |next| next.start)
    }

    pub(super) fn dot_of(&self, event: Lv) -> Option<Dot> {
        let at = self.authors.partition_point(|author| author.start <= event);
        let author = self.authors.get(at.checked_sub(1)?)?;
        Dot::new(
            author.replica,
            author.counter + (event - author.start) as u64,
        )
    }

    /// What events of a range did to the text their writers saw, in order.
    pub(super) fn edits(&self, range: Range<Lv>) -> impl Iterator<Item = (Lv, Edit)> + '_ {
        self.pieces(range).map(|(start, edit, _)| (start, edit))
    }

    fn pieces(&self, range: Range<Lv>) -> impl Iterator<Item = (Lv, Edit, &str)> + '_ {
        let at = self
            .runs
            .partition_point(|run| run.start + run.edit.len <= range.start);
        let runs = self.runs.get(at..).unwrap_or_default().iter().enumerate();
        runs.take_while(move |(_, run)| run.start < range.end)
            .map(move |(index, run)| {
                let first = run.start.max(range.start);
                let edit = run.edit.cut(run.start, first, range.end);
                if edit.kind != Kind::Insert {
                    return (first, edit, "");
                }
                let end = self
                    .runs
                    .get(at + index + 1)
                    .map_or(self.inserted.len(), |next| next.byte);
                let whole = self.inserted.get(run.byte..end).unwrap_or_default();
                (
                    first,
                    edit,
                    chars(whole, run.edit.len, first - run.start, edit.len),
                )
            })
    }

    /// The characters that an insertion put.
    pub(super) fn text_of(&self, start: Lv, len: usize) -> &str {
        let piece = self.pieces(start..start + len).next();
        piece.map_or("", |(_, _, text)| text)
    }

    /// The events of a replica after its first `known` up to `upto`, cut where their parents or their kind change.
    pub(super) fn told(
        &self,
        replica: ReplicaId,
        known: u64,
        upto: u64,
        mut tell: impl FnMut(Piece<'_>),
    ) {
        let authors = self.by_replica.get(&replica).map_or(&[][..], Vec::as_slice);
        // The one before the first that begins behind what is known may go on there.
        let behind = authors.partition_point(|at| {
            let author = self.authors.get(*at);
            author.is_some_and(|author| author.counter <= known)
        });
        for at in authors.get(behind.saturating_sub(1)..).unwrap_or_default() {
            let Some(author) = self.authors.get(*at) else {
                continue;
            };
            let Some(left) = upto.checked_sub(author.counter) else {
                break;
            };
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let last = author.start.saturating_add(left);
            let end = self.author_end(*at).min(last.saturating_add(1));
            let skipped = (known + 1).saturating_sub(author.counter);
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            let start = author.start.saturating_add(skipped);
            if start >= end {
                continue;
            }
            for entry in self.graph.entries(start..end) {
                let mut first = true;
                for (event, edit, text) in self.pieces(entry.events.clone()) {
                    let counter = author.counter + (event - author.start) as u64;
                    let parents = core::mem::take(&mut first).then(|| self.dots(&entry.parents));
                    let own = Dot::new(replica, counter - 1);
                    let parents = parents
                        .filter(|parents| own.is_none() || parents.as_slice() != own.as_slice());
                    tell(Piece {
                        counter,
                        parents,
                        edit,
                        text,
                    });
                }
            }
        }
    }

    /// How far a text knows each replica that has taken from this one, after `known`, the events that came first here, up
    /// to `upto` and until they take so many bytes. With every event it knows what its writer had seen, if it did before.
    pub(super) fn first_since(
        &self,
        known: &VersionVector,
        upto: &VersionVector,
        bytes_max: usize,
    ) -> VersionVector {
        let mut reached = known.meet(upto);
        let mut bytes = 0;
        let mut left: BinaryHeap<Reverse<(Lv, Interval)>> = upto
            .since(&reached)
            .filter_map(|events| self.waiting(events))
            .collect();
        while let Some(Reverse((start, events))) = left.pop()
            && bytes <= bytes_max
        {
            let before = left.peek().map_or(self.end, |Reverse((next, _))| *next);
            let wanted = usize::try_from(events.len()).unwrap_or(usize::MAX);
            let end = self
                .author_end_of(start)
                .min(before)
                .min(start.saturating_add(wanted));
            let mut last = start;
            for (first, edit) in self.edits(start..end) {
                let room = bytes_max.saturating_sub(bytes).saturating_add(1);
                let (count, chars) = match edit.kind {
                    Kind::Insert => (edit.len.min(room), edit.len.min(room)),
                    Kind::Delete | Kind::Backspace => (edit.len, 0),
                };
                last = first + count;
                bytes = bytes.saturating_add(RUN_BYTES + chars);
                if bytes > bytes_max {
                    break;
                }
            }
            let taken = (last - start) as u64;
            reached.raise(events.replica(), events.first() + taken - 1);
            let rest = Interval::new(events.replica(), events.first() + taken, events.last());
            left.extend(rest.and_then(|rest| self.waiting(rest)));
        }
        reached
    }

    /// One replica's events, behind the place of their first.
    fn waiting(&self, events: Interval) -> Option<Reverse<(Lv, Interval)>> {
        let first = Dot::new(events.replica(), events.first())?;
        Some(Reverse((self.event_of(first)?, events)))
    }

    /// Where the successive events of its replica end, of which this is one.
    fn author_end_of(&self, event: Lv) -> Lv {
        let behind = self.authors.partition_point(|author| author.start <= event);
        self.authors.get(behind).map_or(self.end, |next| next.start)
    }

    fn dots(&self, events: &[Lv]) -> Vec<Dot> {
        let mut dots: Vec<Dot> = events
            .iter()
            .filter_map(|event| self.dot_of(*event))
            .collect();
        dots.sort_unstable();
        dots
    }

    /// What the events from `start` on did here, in order.
    pub(super) fn applied_from(&self, start: Lv) -> impl Iterator<Item = Applied> + '_ {
        self.spans(start).flat_map(move |(range, is_merged)| {
            let (plain, merged) = if is_merged {
                (0..0, range)
            } else {
                (range, 0..0)
            };
            let plain = self.edits(plain).map(|(start, edit)| Applied {
                start,
                inserts: edit.kind == Kind::Insert,
                at: edit.lowest(),
                len: edit.len,
            });
            let first = self
                .applied
                .partition_point(|applied| applied.start + applied.len <= merged.start);
            let applied = self.applied.get(first..).unwrap_or_default();
            let applied = applied
                .iter()
                .take_while(move |applied| applied.start < merged.end)
                .copied();
            plain.chain(applied)
        })
    }

    /// The ranges from `start` on, and whether they were merged.
    fn spans(&self, start: Lv) -> impl Iterator<Item = (Range<Lv>, bool)> + '_ {
        let mut next = start;
        let first = self.merged.partition_point(|merged| merged.end <= start);
        let mut merged = self
            .merged
            .get(first..)
            .unwrap_or_default()
            .iter()
            .peekable();
        core::iter::from_fn(move || {
            if next >= self.end {
                return None;
            }
            let from = next;
            match merged.peek() {
                Some(held) if held.start <= next => {
                    next = held.end;
                    merged.next();
                    Some((from..next, true))
                }
                Some(held) => {
                    next = held.start;
                    Some((from..next, false))
                }
                None => {
                    next = self.end;
                    Some((from..next, false))
                }
            }
        })
    }
}

/// The last events, in ascending order, when `last` follows that had seen `parents`, in ascending order.
pub(super) fn advance(heads: &mut Vec<Lv>, parents: &[Lv], last: Lv) {
    /// To take one out moves those behind it, which costs about as much as to look so many up.
    const MOVE_COSTS_LESS: usize = 8;
    if parents.len() < MOVE_COSTS_LESS {
        for parent in parents {
            if let Ok(at) = heads.binary_search(parent) {
                heads.remove(at);
            }
        }
    } else {
        heads.retain(|head| parents.binary_search(head).is_err());
    }
    heads.push(last);
}

/// Some of the `count` characters of `text`.
pub(super) fn chars(text: &str, count: usize, skip: usize, take: usize) -> &str {
    let (start, end) = if text.len() == count {
        (skip, skip + take)
    } else {
        let start = byte_of(text, skip);
        let rest = text.get(start..).unwrap_or_default();
        (start, start + byte_of(rest, take))
    };
    text.get(start..end).unwrap_or_default()
}
