//! What new events do to the text as it is here.

use alloc::vec::Vec;
use core::ops::Range;

use super::edit::Kind;
use super::graph::{Entry, Lv};
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
    mut frontier: Vec<Lv>,
    mut len: usize,
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
        walk(log, &heads, &group, &mut len, &mut applied)?;
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

/// Events that had not: replays what they and those of `heads` had not all seen.
fn walk(
    log: &Log,
    heads: &[Lv],
    group: &[Entry],
    len: &mut usize,
    applied: &mut Vec<Applied>,
) -> Result<(), OutOfBounds> {
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
    for range in conflict.known {
        for entry in log.graph.entries(range) {
            walker.go_to(&entry.parents);
            for (start, edit) in log.edits(entry.events.clone()) {
                walker.tracker.apply(start, edit, log, &mut |_| {});
            }
            walker.version = Vec::from([entry.events.end - 1]);
        }
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
    Ok(())
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
