//! What new events do to the text as it is here.

use alloc::vec::Vec;
use core::ops::Range;

use super::edit::Kind;
use super::graph::{self, Entry, Lv};
use super::log::{self, Applied, Log};
use super::tracker::Tracker;
use crate::mutant;

/// An event edits beyond the text that its writer saw.
pub(super) struct OutOfBounds(pub(super) Lv);

/// What the events of a log from `start` on do to a text of `len` characters, that was made by those before, of which
/// `frontier` are the last.
pub(super) fn merge(
    log: &mut Log,
    start: Lv,
    frontier: Vec<Lv>,
    len: usize,
) -> Result<Vec<Applied>, OutOfBounds> {
    merge_counting(log, start, frontier, len, &mut 0)
}

/// As [`merge`]; `steps` rises by the spans that the tracker looked at beside those that it inserts.
pub(super) fn merge_counting(
    log: &mut Log,
    start: Lv,
    mut frontier: Vec<Lv>,
    mut len: usize,
    steps: &mut u64,
) -> Result<Vec<Applied>, OutOfBounds> {
    let mut applied = Vec::new();
    let mut merged = Vec::new();
    let mut entries = log
        .graph
        .entries(start..log.end())
        .collect::<Vec<_>>()
        .into_iter()
        .peekable();
    while let Some(entry) = entries.next() {
        if entry.parents == frontier {
            follow(log, entry.events.clone(), &mut len, &mut applied)?;
            frontier = Vec::from([entry.events.end - 1]);
            continue;
        }
        // Up to an event that had seen all before it.
        let heads = frontier.clone();
        let mut group = Vec::new();
        let mut next = Some(entry);
        while let Some(entry) = next {
            log::advance(&mut frontier, &entry.parents, entry.events.end - 1);
            group.push(entry);
            let is_settled =
                |entry: &Entry| matches!(frontier.as_slice(), [_]) && entry.parents == frontier;
            next = entries.next_if(|entry| !is_settled(entry));
        }
        let first = applied.len();
        *steps += walk(log, &heads, &group, &mut len, &mut applied)?;
        if let (Some(start), Some(end)) = (group.first(), group.last()) {
            merged.push((start.events.start..end.events.end, first..applied.len()));
        }
    }
    for (events, range) in merged {
        let part = applied.get(range).unwrap_or_default();
        log.note_merged(events, part);
    }
    Ok(applied)
}

/// Events that had seen all before them.
fn follow(
    log: &Log,
    events: Range<Lv>,
    len: &mut usize,
    applied: &mut Vec<Applied>,
) -> Result<(), OutOfBounds> {
    for (start, edit) in log.edits(events) {
        if !edit.fits(*len) && !lets_edits_beyond_pass() {
            return Err(OutOfBounds(start));
        }
        let inserts = edit.kind == Kind::Insert;
        *len = if inserts {
            *len + edit.len
        } else {
            *len - edit.len
        };
        applied.push(Applied {
            start,
            inserts,
            at: edit.lowest(),
            len: edit.len,
        });
    }
    Ok(())
}

/// Events that had not: replays what they and those of `heads` had not all seen. In how many steps.
fn walk(
    log: &Log,
    heads: &[Lv],
    group: &[Entry],
    len: &mut usize,
    applied: &mut Vec<Applied>,
) -> Result<u64, OutOfBounds> {
    let start = group.first().map_or(0, |entry| entry.events.start);
    let of_group = group.iter().flat_map(|entry| {
        let known = entry
            .parents
            .iter()
            .copied()
            .filter(|parent| *parent < start);
        let root = entry.parents.is_empty().then_some(None);
        known.map(Some).chain(root)
    });
    let of_known = heads.iter().copied().map(Some);
    let root = heads.is_empty().then_some(None);
    let conflict = log.graph.conflict(of_group.chain(of_known).chain(root));
    let mut walker = Walker {
        log,
        tracker: Tracker::new(),
        version: conflict.base.into_iter().collect(),
    };
    let known = conflict.known.into_iter();
    let known = known.flat_map(|range| log.graph.entries(range)).collect();
    for entry in graph::by_branches(known) {
        walker.go_to(&entry.parents);
        for (start, edit) in log.edits(entry.events.clone()) {
            walker.tracker.apply(start, edit, log, &mut |_| {});
        }
        walker.version = Vec::from([entry.events.end - 1]);
    }
    // Of the placeholders, all but those that stand for the text.
    let phantoms = walker.tracker.held() - *len;
    for entry in group {
        walker.go_to(&entry.parents);
        for (start, edit) in log.edits(entry.events.clone()) {
            if !edit.fits(walker.tracker.visible() - phantoms) && !lets_edits_beyond_pass() {
                return Err(OutOfBounds(start));
            }
            let mut apply = |op| applied.push(op);
            walker.tracker.apply(start, edit, log, &mut apply);
        }
        walker.version = Vec::from([entry.events.end - 1]);
    }
    *len = walker.tracker.held() - phantoms;
    Ok(walker.tracker.steps())
}

/// A planted bug.
fn lets_edits_beyond_pass() -> bool {
    mutant::is_planted("text_edit_beyond_accepted")
}

struct Walker<'a> {
    log: &'a Log,
    tracker: Tracker,
    version: Vec<Lv>,
}

impl Walker<'_> {
    /// Sets the tracker to what an event had seen.
    fn go_to(&mut self, parents: &[Lv]) {
        if self.version == parents {
            return;
        }
        let (back, forth) = self.log.graph.difference(&self.version, parents);
        for range in back {
            self.tracker.retreat(range, self.log);
        }
        for range in forth.into_iter().rev() {
            self.tracker.advance(range, self.log);
        }
        self.version = parents.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::super::delta::Telling;
    use super::super::edit::{Edit, Kind};
    use super::super::log::Piece;
    use super::merge_counting;
    use crate::wire::{Budget, Message as _};
    use crate::{ApplyError, Changed, Dot, Lattice, ReplicaId, Text, TextDelta, Writer};

    fn replica(number: usize) -> ReplicaId {
        ReplicaId::new(number as u128).unwrap()
    }

    fn writer(number: usize) -> Writer {
        Writer::new(replica(number), 0, u64::MAX)
    }

    fn dot(number: usize, counter: usize) -> Dot {
        Dot::new(replica(number), counter as u64).unwrap()
    }

    /// Applies what is no duplicate, and how many steps the tracker took for it.
    fn steps_of(text: &mut Text, delta: &TextDelta) -> usize {
        let (mut copy, mut steps) = (text.clone(), 0);
        let frontier = copy.log.frontier().to_vec();
        let (start, len) = (copy.log.end(), copy.len_chars());
        copy.log.seal();
        copy.take_events(delta).unwrap();
        let merged = merge_counting(&mut copy.log, start, frontier, len, &mut steps);
        assert!(merged.is_ok());
        assert_eq!(text.apply(delta), Ok(Changed::Yes));
        usize::try_from(steps).unwrap()
    }

    /// A delta of insertions of one character: whose and its how many-th, where, and what it had seen.
    fn insertions(all: impl Iterator<Item = (usize, usize, usize, Vec<Dot>)>) -> TextDelta {
        let mut telling = Telling::default();
        for (number, counter, place, parents) in all {
            let at = telling.begin(replica(number), counter as u64 - 1);
            telling.push(
                at,
                Piece {
                    counter: counter as u64,
                    parents: Some(parents),
                    edit: Edit::new(Kind::Insert, place, 1),
                    text: "x",
                },
            );
        }
        let delta = telling.finish();
        // As it comes from another.
        TextDelta::from_bytes(&delta.to_bytes(), Budget::default()).unwrap()
    }

    /// A text of `len` characters in front, behind which two have made `runs` runs each, apart: replicas 2 and 3.
    fn branches(len: usize, runs: usize) -> [Text; 2] {
        let mut base = Text::bottom();
        base.insert(&mut writer(1), 0, &"-".repeat(len)).unwrap();
        [2, 3].map(|number| {
            let (mut text, mut writer) = (base.clone(), writer(number));
            for run in 0..runs {
                text.insert(&mut writer, len - 2 * run, "x").unwrap();
            }
            text
        })
    }

    fn is_forked(text: &mut Text, delta: &TextDelta, counter: u64) {
        let (before, bytes) = (text.clone(), text.to_bytes());
        let forked = ApplyError::Forked {
            replica: replica(9),
            counter,
        };
        assert_eq!(text.apply(delta), Err(forked));
        assert_eq!((&*text, text.to_bytes()), (&before, bytes));
        let name = alloc::format!("{}", replica(9));
        assert!(alloc::format!("{forked}").contains(&name));
    }

    /// Else each would pass all before it, which lie at the same place.
    #[test]
    fn runs_that_have_not_seen_their_replicas_own_are_refused_by_name() {
        let [mut text, _] = branches(10, 2);
        let apart = insertions((1..=10_000).map(|counter| (9, counter, 0, Vec::new())));
        is_forked(&mut text, &apart, 2);
        is_forked(&mut Text::bottom(), &apart, 2);
        // Its first, but not its second.
        let other = || Vec::from([dot(4, 1)]);
        let skipping = [
            (4, 1, 0, Vec::from([dot(9, 1)])),
            (9, 1, 0, Vec::new()),
            (9, 2, 0, other()),
            (9, 3, 0, other()),
        ];
        let skipping = insertions(skipping.into_iter());
        is_forked(&mut text, &skipping, 3);
    }

    /// Else each would go over both branches.
    #[test]
    fn one_replica_does_not_go_from_branch_to_branch() {
        let [mut text, other] = branches(1_000, 100);
        text.join(&other);
        let tips = [dot(2, 100), dot(3, 100)];
        let by_turns = (1..=1_000).map(|counter| (9, counter, 0, Vec::from([tips[counter % 2]])));
        is_forked(&mut text, &insertions(by_turns), 2);
        // Through another's event it may have seen its own.
        let mut mine = text.clone();
        mine.insert(&mut writer(9), 0, "y").unwrap();
        let mut theirs = mine.clone();
        theirs.insert(&mut writer(4), 0, "z").unwrap();
        let seen = insertions([(9, 2, 0, Vec::from([dot(4, 1)]))].into_iter());
        assert_eq!(theirs.apply(&seen), Ok(Changed::Yes));
    }

    /// Two write apart, a third hears of each run by itself, by turns.
    #[test]
    fn branches_that_came_by_turns_are_gone_over_one_after_the_other() {
        let runs = 200;
        let written = branches(4 * runs, runs);
        let mut heard = Text::bottom();
        let base = written[0].vector().meet(written[1].vector());
        heard
            .apply(&written[0].delta_between(heard.vector(), &base))
            .unwrap();
        let mut last = 0;
        for run in 1..=runs {
            for (number, text) in [2, 3].into_iter().zip(&written) {
                let mut upto = heard.vector().clone();
                upto.raise(replica(number), run as u64);
                let delta = text.delta_between(heard.vector(), &upto);
                last = steps_of(&mut heard, &delta);
            }
        }
        let mut joined = written[0].clone();
        joined.join(&written[1]);
        assert_eq!(heard, joined);
        // Each once undone, once redone, and passed.
        assert!(last <= 5 * runs, "{last} steps");
    }

    /// Many replicas' first events, of which every second had seen another branch, in the order of the replicas.
    #[test]
    fn replicas_that_saw_the_same_branch_come_together() {
        let (runs, count) = (200, 400);
        let [mut text, other] = branches(4 * runs, runs);
        text.join(&other);
        let tips = [dot(2, runs), dot(3, runs)];
        let all = (0..count).map(|at| (10 + at, 1, at, Vec::from([tips[at % 2]])));
        let steps = steps_of(&mut text, &insertions(all));
        assert!(steps <= 4 * (runs + count), "{steps} steps");
    }

    /// A late duplicate of one event is compared with that event.
    #[test]
    fn of_a_replicas_history_no_more_is_told_than_asked_for() {
        let [text, _] = branches(1_000, 400);
        let mut told = Vec::new();
        text.log.told(replica(2), 7, 9, |piece| {
            told.push((piece.counter, String::from(piece.text)));
        });
        let x = String::from("x");
        assert_eq!(told, [(8, x.clone()), (9, x)]);
        let mut count = 0;
        text.log.told(replica(1), 0, 3, |piece| {
            count += piece.edit.len;
            assert_eq!(piece.text, "---");
        });
        assert_eq!(count, 3);
    }
}
