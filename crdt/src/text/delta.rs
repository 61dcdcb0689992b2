//! What one text has over another.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use super::edit::{Edit, Kind};
use super::log::{Log, Piece, chars};
use crate::{Dot, Interval, Lattice, ReplicaId, VersionVector};

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

/// A delta in the making.
#[derive(Default)]
pub(super) struct Telling {
    told: Vec<Told>,
    inserted: String,
}

impl Telling {
    /// Goes on with events of a replica, of which the first `known` are not told.
    pub(super) fn begin(&mut self, replica: ReplicaId, known: u64) -> usize {
        if let Some(at) = self.told.iter().position(|told| told.replica == replica) {
            return at;
        }
        self.told.push(Told {
            replica,
            known,
            runs: Vec::new(),
        });
        self.told.len() - 1
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
        for replica in log.replicas() {
            let upto = upto.get(replica);
            // A peer may say that it knows more than there is.
            let known = known.get(replica).min(upto);
            let at = telling.begin(replica, known);
            log.told(replica, known, |piece| {
                if piece.counter > upto {
                    return;
                }
                let left = usize::try_from(upto - piece.counter).unwrap_or(usize::MAX);
                let count = left.saturating_add(1).min(piece.edit.len);
                let text = if piece.edit.kind == Kind::Insert {
                    chars(piece.text, piece.edit.len, 0, count)
                } else {
                    ""
                };
                let edit = piece.edit.take(count);
                telling.push(
                    at,
                    Piece {
                        edit,
                        text,
                        ..piece
                    },
                );
            });
        }
        telling.finish()
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
        let mut order = Vec::new();
        let mut next: Vec<usize> = self.told.iter().map(|_| 0).collect();
        for first in 0..self.told.len() {
            let mut waiting = Vec::from([first]);
            let mut is_waiting = BTreeSet::from([first]);
            while let Some(&at) = waiting.last() {
                let run = self.told.get(at)?.runs.get(*next.get(at)?);
                let Some(run) = run else {
                    waiting.pop();
                    is_waiting.remove(&at);
                    continue;
                };
                if let Some(before) = self.missing(run, &next) {
                    if !is_waiting.insert(before) {
                        return None;
                    }
                    waiting.push(before);
                    continue;
                }
                let taken = next.get_mut(at)?;
                order.push((at, *taken));
                *taken += 1;
                if waiting.len() > 1 {
                    waiting.pop();
                    is_waiting.remove(&at);
                }
            }
        }
        Some(order)
    }

    /// Of which replica more must come before a run.
    fn missing(&self, run: &ToldRun, next: &[usize]) -> Option<usize> {
        run.parents.iter().flatten().find_map(|parent| {
            let at = self.position(parent.replica())?;
            let told = self.told.get(at)?;
            let reached = told
                .runs
                .get(*next.get(at)?)
                .map_or(u64::MAX, |run| run.counter);
            (parent.counter() >= reached).then_some(at)
        })
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
        const PART_BYTES: usize = 48;
        const REPLICA_BYTES: usize = 20;
        const RUN_BYTES: usize = 8;
        const PARENT_BYTES: usize = 4;
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
        let mut by_replica: Vec<usize> = (0..self.told.len()).collect();
        by_replica.sort_by_key(|at| self.told.get(*at).map(|told| told.replica));
        let mut sorted = Self::default();
        let whole = TextDelta {
            from: VersionVector::new(),
            to: VersionVector::new(),
            told: self.told,
            inserted: self.inserted,
        };
        for told in by_replica.into_iter().filter_map(|at| whole.told.get(at)) {
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
