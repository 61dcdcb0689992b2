//! Which events had seen which: runs of events that follow one another, and what the first of each had seen.
//!
//! Events are numbered in the order in which this replica took them: parents come before their children.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::ops::Range;

/// The number of an event at this replica.
pub(super) type Lv = usize;

#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    entries: Vec<Entry>,
    /// How many parents all of them have.
    parents: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) events: Range<Lv>,
    /// What the first had seen last; every other had seen the one before it.
    pub(super) parents: Vec<Lv>,
}

/// Entries, given in ascending order, each behind those that its first had seen, one branch after the other: to replay
/// them so goes over each branch twice, where by turns on two would go over both at each turn.
pub(super) fn by_branches(entries: Vec<Entry>) -> Vec<Entry> {
    /// So few cost less by turns than to be put in order.
    const FEW: usize = 8;
    if entries.len() <= FEW {
        return entries;
    }
    let mut children = Vec::from_iter(entries.iter().map(|_| Vec::new()));
    let mut missing = Vec::from_iter(entries.iter().map(|_| 0_usize));
    for ((at, entry), missing) in entries.iter().enumerate().zip(&mut missing) {
        for parent in &entry.parents {
            let before = entries.partition_point(|entry| entry.events.end <= *parent);
            let is_held = |entry: &Entry| entry.events.contains(parent);
            if entries.get(before).is_some_and(is_held)
                && let Some(children) = children.get_mut(before)
            {
                children.push(at);
                *missing += 1;
            }
        }
    }
    let free = missing.iter().enumerate().rev();
    let mut stack = Vec::from_iter(free.filter(|(_, count)| **count == 0).map(|(at, _)| at));
    let mut entries = Vec::from_iter(entries.into_iter().map(Some));
    let mut ordered = Vec::with_capacity(entries.len());
    while let Some(at) = stack.pop() {
        ordered.extend(entries.get_mut(at).and_then(Option::take));
        for child in children.get(at).into_iter().flatten().rev() {
            if let Some(count) = missing.get_mut(*child) {
                *count -= 1;
                if *count == 0 {
                    stack.push(*child);
                }
            }
        }
    }
    ordered
}

/// What must be replayed to see events in their context.
#[derive(Debug, Default)]
pub(super) struct Conflict {
    /// Known events after the last one that all had seen, in ascending order.
    pub(super) known: Vec<Range<Lv>>,
    /// That event.
    pub(super) base: Option<Lv>,
}

impl Graph {
    pub(super) const fn parent_count(&self) -> usize {
        self.parents
    }

    pub(super) fn push(&mut self, events: Range<Lv>, parents: &[Lv]) {
        if let Some(last) = self.entries.last_mut()
            && last.events.end == events.start
            && matches!(parents, [parent] if parent + 1 == events.start)
        {
            last.events.end = events.end;
            return;
        }
        self.parents += parents.len();
        self.entries.push(Entry {
            events,
            parents: parents.to_vec(),
        });
    }

    /// Forgets the events from `end` on.
    pub(super) fn truncate(&mut self, end: Lv) {
        while let Some(entry) = self.entries.pop_if(|entry| entry.events.start >= end) {
            self.parents -= entry.parents.len();
        }
        if let Some(last) = self.entries.last_mut() {
            last.events.end = last.events.end.min(end);
        }
    }

    /// The entries of a range, cut to it.
    pub(super) fn entries(&self, range: Range<Lv>) -> impl Iterator<Item = Entry> + '_ {
        let start = self
            .entries
            .partition_point(|entry| entry.events.end <= range.start);
        let entries = self.entries.get(start..).unwrap_or_default();
        entries
            .iter()
            .take_while(move |entry| entry.events.start < range.end)
            .map(move |entry| {
                let first = entry.events.start.max(range.start);
                let parents = if first == entry.events.start {
                    entry.parents.clone()
                } else {
                    Vec::from([first - 1])
                };
                Entry {
                    events: first..entry.events.end.min(range.end),
                    parents,
                }
            })
    }

    fn entry_of(&self, event: Lv) -> Option<&Entry> {
        let at = self
            .entries
            .partition_point(|entry| entry.events.end <= event);
        self.entries.get(at)
    }

    /// What events `heads` had seen, down to the last that all of them had. `None` in `heads` had seen nothing.
    pub(super) fn conflict(&self, heads: impl Iterator<Item = Option<Lv>>) -> Conflict {
        // By the number plus one: zero is the empty text.
        let mut heap: BinaryHeap<usize> =
            heads.map(|head| head.map_or(0, |head| head + 1)).collect();
        let mut conflict = Conflict::default();
        while let Some(top) = heap.pop() {
            while heap.peek() == Some(&top) {
                heap.pop();
            }
            conflict.base = top.checked_sub(1);
            let (Some(event), Some(next)) = (conflict.base, heap.peek()) else {
                break;
            };
            let Some(entry) = self.entry_of(event) else {
                break;
            };
            if *next > entry.events.start {
                conflict.known.push(*next..event + 1);
                continue;
            }
            conflict.known.push(entry.events.start..event + 1);
            heap.extend(entry.parents.iter().map(|parent| parent + 1));
            if entry.parents.is_empty() {
                heap.push(0);
            }
        }
        conflict.known.reverse();
        conflict
    }

    /// Whether an event is one of `heads` or was seen by one of them. Looks at entries behind the event only: for all
    /// events of one replica in turn, each against its previous one, at every entry once.
    pub(super) fn has_seen(&self, heads: &[Lv], event: Lv) -> bool {
        let mut heap: BinaryHeap<Lv> = heads.iter().copied().collect();
        while let Some(top) = heap.pop().filter(|top| *top >= event) {
            while heap.peek() == Some(&top) {
                heap.pop();
            }
            let Some(entry) = self.entry_of(top) else {
                return false;
            };
            if entry.events.start <= event {
                return true;
            }
            // Of several in one entry, the last has seen the others.
            while heap.peek().is_some_and(|next| *next >= entry.events.start) {
                heap.pop();
            }
            heap.extend(entry.parents.iter().copied());
        }
        false
    }

    /// The events that only one of two versions had seen, each in descending order.
    pub(super) fn difference(&self, from: &[Lv], to: &[Lv]) -> (Vec<Range<Lv>>, Vec<Range<Lv>>) {
        const FROM: u8 = 1;
        const TO: u8 = 2;
        const BOTH: u8 = FROM | TO;
        let from = from.iter().map(|event| (*event, FROM));
        let mut heap: BinaryHeap<(Lv, u8)> =
            from.chain(to.iter().map(|event| (*event, TO))).collect();
        let (mut only_from, mut only_to) = (Vec::new(), Vec::new());
        let mut alone = heap.len();
        while alone > 0
            && let Some((event, mut seen)) = heap.pop()
        {
            alone -= usize::from(seen != BOTH);
            while let Some((_, other)) = heap.peek().copied().filter(|top| top.0 == event) {
                heap.pop();
                alone -= usize::from(other != BOTH);
                seen |= other;
            }
            let Some(entry) = self.entry_of(event) else {
                break;
            };
            let next = heap.peek().map(|top| top.0);
            let next = next.filter(|next| *next >= entry.events.start);
            let first = next.map_or(entry.events.start, |next| next + 1);
            match seen {
                FROM => only_from.push(first..event + 1),
                TO => only_to.push(first..event + 1),
                _ => {}
            }
            let parents = match &next {
                Some(next) => core::slice::from_ref(next),
                None => entry.parents.as_slice(),
            };
            for parent in parents {
                heap.push((*parent, seen));
                alone += usize::from(seen != BOTH);
            }
        }
        (only_from, only_to)
    }
}
