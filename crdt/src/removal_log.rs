//! Which event removed which dots.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::mem::size_of;

use crate::{Changed, Dot, Interval, IntervalVersionVector, Lattice, ReplicaId, VersionVector};

/// What the log of a new [`Causal`](crate::Causal) may take, in bytes.
pub const REMOVAL_LOG_BYTES_MAX: usize = 1 << 20;

/// For how many events a log may stand, however few bytes they take: a reader's
/// [`Budget`](crate::wire::Budget) lets no more pass.
const EVENTS_MAX: u64 = 1 << 32;

/// Event → dots that it removed, for each replica in the order of its events.
///
/// The floor is a vector up to which events may be missing. A peer that knows the floor is served from the log; any
/// other needs to be told which of its dots are still alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RemovalLog {
    events: BTreeMap<ReplicaId, VecDeque<LogRun>>,
    floor: VersionVector,
    bytes: usize,
    /// How many events.
    count: u64,
}

/// Successive events of one replica that removed successive dots, or one event that removed any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRun {
    /// The counter of the first event.
    pub(crate) first: u64,
    /// Whether the events also put something.
    pub(crate) puts: bool,
    pub(crate) removed: Removed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The first event removed the first dot, the second the second, and so on.
    Each(Interval),
    /// One event removed all of them: never a single dot.
    All(Box<IntervalVersionVector>),
}

impl LogRun {
    pub(crate) fn one(event: u64, puts: bool, removed: IntervalVersionVector) -> Option<Self> {
        let first = removed.iter().next()?;
        let removed = if removed.iter().len() == 1 && first.first() == first.last() {
            Removed::Each(first)
        } else {
            Removed::All(Box::new(removed))
        };
        Some(Self {
            first: event,
            puts,
            removed,
        })
    }

    /// How many events it stands for.
    pub(crate) const fn count(&self) -> u64 {
        match &self.removed {
            Removed::Each(dots) => (dots.last() - dots.first()).saturating_add(1),
            Removed::All(_) => 1,
        }
    }

    /// The counter of the last event.
    pub(crate) const fn last(&self) -> u64 {
        match &self.removed {
            Removed::Each(dots) => self.first.saturating_add(dots.last() - dots.first()),
            Removed::All(_) => self.first,
        }
    }

    /// All dots that were removed, in ascending order.
    pub(crate) fn removed(&self) -> impl Iterator<Item = Interval> + '_ {
        let (each, all) = match &self.removed {
            Removed::Each(dots) => (Some(*dots), None),
            Removed::All(dots) => (None, Some(dots.iter())),
        };
        each.into_iter().chain(all.into_iter().flatten())
    }

    fn bytes(&self) -> usize {
        let intervals = match &self.removed {
            Removed::Each(_) => 0,
            Removed::All(dots) => dots.iter().len(),
        };
        size_of::<Self>() + intervals * size_of::<Interval>()
    }

    /// The part within the counters, if any.
    fn clamp(&self, after: u64, upto: u64) -> Option<Self> {
        let (first, last) = (
            self.first.max(after.saturating_add(1)),
            self.last().min(upto),
        );
        if first > last {
            return None;
        }
        let removed = match &self.removed {
            Removed::Each(dots) => {
                let start = dots.first() + (first - self.first);
                Removed::Each(Interval::new(
                    dots.replica(),
                    start,
                    start + (last - first),
                )?)
            }
            all @ Removed::All(_) => all.clone(),
        };
        Some(Self {
            first,
            puts: self.puts,
            removed,
        })
    }

    /// Takes up what comes right after, if it continues in the same way.
    fn extend(&mut self, next: &Self) -> bool {
        let (Removed::Each(mine), Removed::Each(theirs)) = (&self.removed, &next.removed) else {
            return false;
        };
        if self.puts != next.puts
            || self.last().checked_add(1) != Some(next.first)
            || mine.replica() != theirs.replica()
            || mine.last().checked_add(1) != Some(theirs.first())
        {
            return false;
        }
        let joined = Interval::new(mine.replica(), mine.first(), theirs.last());
        self.removed = Removed::Each(joined.expect("both ascend"));
        true
    }
}

impl RemovalLog {
    /// Events of one replica come in ascending order; those up to the floor are not kept.
    pub(crate) fn push(&mut self, replica: ReplicaId, run: LogRun) {
        let Some(run) = run.clamp(self.floor.get(replica), u64::MAX) else {
            return;
        };
        self.count = self.count.saturating_add(run.count());
        let runs = self.events.entry(replica).or_default();
        if runs.back_mut().is_some_and(|last| last.extend(&run)) {
            return;
        }
        self.bytes += run.bytes();
        runs.push_back(run);
    }

    /// The log's part of the events in `(after, upto]`.
    pub(crate) fn between<'a>(
        &'a self,
        after: &'a VersionVector,
        upto: Option<&'a VersionVector>,
    ) -> impl Iterator<Item = (ReplicaId, LogRun)> + 'a {
        self.events.iter().flat_map(move |(replica, runs)| {
            let first = after.get(*replica);
            let last = upto.map_or(u64::MAX, |upto| upto.get(*replica));
            let start = runs.partition_point(|run| run.last() <= first);
            runs.range(start..)
                .map_while(move |run| Some((*replica, run.clamp(first, last)?)))
        })
    }

    /// The runs of each replica.
    pub(crate) fn runs(&self) -> impl ExactSizeIterator<Item = (ReplicaId, &VecDeque<LogRun>)> {
        self.events.iter().map(|(replica, runs)| (*replica, runs))
    }

    /// Every dot that an event of the log removed.
    pub(crate) fn all_removed(&self) -> IntervalVersionVector {
        let runs = self.events.values().flatten();
        IntervalVersionVector::of(runs.flat_map(LogRun::removed).collect())
    }

    /// A dot that was removed though `known` does not cover it.
    pub(crate) fn first_removed_beyond(&self, known: &VersionVector) -> Option<Dot> {
        let runs = self.events.values().flatten();
        let beyond = |dots: &Interval| dots.last() > known.get(dots.replica());
        let dots = runs.flat_map(LogRun::removed).find(beyond)?;
        Dot::new(dots.replica(), dots.last())
    }

    pub(crate) fn run_count(&self, replica: ReplicaId) -> usize {
        self.events.get(&replica).map_or(0, VecDeque::len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) const fn floor(&self) -> &VersionVector {
        &self.floor
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A planted bug: drops every event and keeps nothing to tell of it.
    pub(crate) fn forget(&mut self) {
        self.events.clear();
        (self.bytes, self.count) = (0, 0);
    }

    /// Drops the events up to `floor`.
    pub(crate) fn cut(&mut self, floor: &VersionVector) -> Changed {
        let changed = self.floor.join(floor);
        if changed == Changed::Yes {
            let (floor, bytes) = (&self.floor, &mut self.bytes);
            let count = &mut self.count;
            self.events.retain(|replica, runs| {
                let floor = floor.get(*replica);
                let end = runs.partition_point(|run| run.last() <= floor);
                for run in runs.drain(..end) {
                    *bytes -= run.bytes();
                    *count = count.saturating_sub(run.count());
                }
                if let Some(run) = runs.front_mut()
                    && let Some(rest) = run.clamp(floor, u64::MAX)
                {
                    *count = count.saturating_sub(run.count() - rest.count());
                    *run = rest;
                }
                !runs.is_empty()
            });
        }
        changed
    }

    /// If over the budget, drops the older half of each replica's runs until within it.
    pub(crate) fn limit(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max || self.count > EVENTS_MAX {
            let mut floor = VersionVector::new();
            for (replica, runs) in &self.events {
                if let Some(run) = runs.get(runs.len() / 2) {
                    floor.raise(*replica, run.last());
                }
            }
            self.cut(&floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENTS_MAX, LogRun, RemovalLog, Removed};
    use crate::{Interval, ReplicaId};

    /// A run of them is a few bytes: no reader would take it, and its own store neither.
    #[test]
    fn more_events_than_a_reader_takes_are_cut_off() {
        let id = ReplicaId::new(7).unwrap();
        let run = |first: u64, last: u64| LogRun {
            first,
            puts: false,
            removed: Removed::Each(Interval::new(id, first, last).unwrap()),
        };
        let mut log = RemovalLog::default();
        log.push(id, run(1, EVENTS_MAX - 1));
        log.push(id, run(EVENTS_MAX, EVENTS_MAX));
        log.limit(usize::MAX);
        assert_eq!((log.count, log.run_count(id)), (EVENTS_MAX, 1));
        log.push(id, run(EVENTS_MAX + 1, EVENTS_MAX + 1));
        log.limit(usize::MAX);
        assert_eq!((log.count, log.bytes()), (0, 0));
        assert_eq!(log.floor().get(id), EVENTS_MAX + 1);
    }
}
