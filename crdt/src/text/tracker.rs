//! The part of the text that events wrote who had not all seen each other, as a list that can be set to what any of
//! them had seen.
//!
//! After Gentle and Kleppmann, "Collaborative Text Editing with Eg-walker" (arXiv 2409.14252): what all had seen is one
//! span of placeholders; events put spans among them, and are undone (*retreat*) and redone (*advance*) by their state.
//! Where several insert at one place, Fugue's order decides (arXiv 2305.00583): a character is the left child of the one
//! behind it if that one was put right behind the same left neighbour, else the right child of its left neighbour;
//! siblings stand by their dots.
#![expect(
    clippy::indexing_slicing,
    reason = "indices come from the list's own structure; a wrong one is a broken invariant"
)]

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Range;

use super::edit::{Edit, Kind};
use super::graph::Lv;
use super::log::{Applied, Log};
use crate::mutant;

/// No character: the start, or the end.
const NONE: usize = usize::MAX;
/// Characters of which nothing is known but that all had seen them.
const PLACEHOLDERS: usize = usize::MAX / 2;
const PLACEHOLDER_COUNT: usize = usize::MAX / 4;
const BLOCK_SPANS_MAX: usize = 96;

const NOT_YET: u32 = 0;
const VISIBLE: u32 = 1;

/// Characters next to each other, put by successive events.
#[derive(Clone, Copy, Debug)]
struct Span {
    id: usize,
    len: usize,
    /// The character it was put behind.
    left: usize,
    /// The character of which its first is the left child; none if it is the right child of `left`.
    right: usize,
    /// Not put yet, visible, or removed once or more, as far as the events at hand have seen.
    state: u32,
    /// Whether it was removed by anyone.
    is_removed: bool,
}

#[derive(Debug, Default)]
struct Block {
    spans: Vec<Span>,
    /// How many characters are visible to the events at hand, and to one who has seen all.
    visible: usize,
    held: usize,
}

/// What removals removed.
#[derive(Clone, Copy, Debug)]
struct Target {
    id: usize,
    len: usize,
    /// Whether later events removed earlier characters.
    is_backward: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    order: usize,
    span: usize,
    offset: usize,
}

#[derive(Debug)]
pub(super) struct Tracker {
    blocks: Vec<Block>,
    /// The blocks in the order of the text.
    order: Vec<usize>,
    /// Of each block, its place in that order.
    places: Vec<usize>,
    /// In which block the span is that starts with an id.
    starts: BTreeMap<usize, usize>,
    targets: BTreeMap<Lv, Target>,
    visible: usize,
    held: usize,
    /// How many spans were passed, undone or redone.
    steps: u64,
}

impl Span {
    const fn visible(&self) -> usize {
        if self.state == VISIBLE { self.len } else { 0 }
    }

    const fn held(&self) -> usize {
        if self.is_removed { 0 } else { self.len }
    }

    const fn end(&self) -> usize {
        self.id + self.len
    }

    /// Keeps the first `at` characters; the others.
    const fn split(&mut self, at: usize) -> Self {
        let rest = Self {
            id: self.id + at,
            len: self.len - at,
            left: self.id + at - 1,
            right: NONE,
            ..*self
        };
        self.len = at;
        rest
    }
}

impl Tracker {
    pub(super) fn new() -> Self {
        let span = Span {
            id: PLACEHOLDERS,
            len: PLACEHOLDER_COUNT,
            left: NONE,
            right: NONE,
            state: VISIBLE,
            is_removed: false,
        };
        Self {
            blocks: Vec::from([Block {
                spans: Vec::from([span]),
                visible: span.len,
                held: span.len,
            }]),
            order: Vec::from([0]),
            places: Vec::from([0]),
            starts: BTreeMap::from([(span.id, 0)]),
            targets: BTreeMap::new(),
            visible: span.len,
            held: span.len,
            steps: 0,
        }
    }

    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    /// How many characters the events at hand have seen, with all placeholders.
    pub(super) const fn visible(&self) -> usize {
        self.visible
    }

    /// How many there are to one who has seen all, with all placeholders.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Carries out events; what they do to the text of one who has seen all before is handed to `apply`.
    pub(super) fn apply(
        &mut self,
        first: Lv,
        edit: Edit,
        log: &Log,
        apply: &mut impl FnMut(Applied),
    ) {
        match edit.kind {
            Kind::Insert => {
                let at = self.insert(first, edit.at, edit.len, log);
                apply(Applied {
                    start: first,
                    inserts: true,
                    at,
                    len: edit.len,
                });
            }
            Kind::Delete | Kind::Backspace => self.remove(first, edit, apply),
        }
    }

    /// Undoes events, as if they had not been seen.
    pub(super) fn retreat(&mut self, range: Range<Lv>, log: &Log) {
        self.toggle(range, log, |state| *state -= 1);
    }

    /// Redoes them.
    pub(super) fn advance(&mut self, range: Range<Lv>, log: &Log) {
        self.toggle(range, log, |state| *state += 1);
    }

    fn toggle(&mut self, range: Range<Lv>, log: &Log, change: impl Fn(&mut u32) + Copy) {
        for (start, edit) in log.edits(range) {
            self.steps += 1;
            if edit.kind == Kind::Insert {
                self.change(start, edit.len, change);
                continue;
            }
            let end = start + edit.len;
            let mut event = start;
            while event < end {
                let target = self.targets.range(..=event).next_back();
                let (first, target) = target.map(|(first, target)| (*first, *target)).expect(
                    "an event that is undone was carried out, and what it removed was noted",
                );
                let skip = event - first;
                let count = (target.len - skip).min(end - event);
                let id = if target.is_backward {
                    target.id + target.len - skip - count
                } else {
                    target.id + skip
                };
                self.change(id, count, change);
                event += count;
            }
        }
    }

    /// Changes the state of successive characters.
    fn change(&mut self, mut id: usize, mut len: usize, change: impl Fn(&mut u32)) {
        while len > 0 {
            let at = self.locate(id);
            let span = self.blocks[self.order[at.order]].spans[at.span];
            let count = len.min(span.len - at.offset);
            let at = self.isolate(at, count);
            self.edit_span(at, |span| change(&mut span.state));
            self.relieve(at.order);
            (id, len) = (id + count, len - count);
        }
    }

    fn edit_span(&mut self, at: At, edit: impl FnOnce(&mut Span)) {
        let block = &mut self.blocks[self.order[at.order]];
        let span = &mut block.spans[at.span];
        let (visible, held) = (span.visible(), span.held());
        edit(span);
        let (now_visible, now_held) = (span.visible(), span.held());
        block.visible = block.visible + now_visible - visible;
        block.held = block.held + now_held - held;
        self.visible = self.visible + now_visible - visible;
        self.held = self.held + now_held - held;
    }

    /// Where the character is that so many visible ones precede.
    fn find(&self, mut before: usize) -> At {
        for (order, block) in self.order.iter().enumerate() {
            let block = &self.blocks[*block];
            if before >= block.visible {
                before -= block.visible;
                continue;
            }
            for (span, held) in block.spans.iter().enumerate() {
                if before < held.visible() {
                    return At {
                        order,
                        span,
                        offset: before,
                    };
                }
                before -= held.visible();
            }
        }
        unreachable!("the place was checked against the length")
    }

    fn locate(&self, id: usize) -> At {
        let start = self.starts.range(..=id).next_back();
        let (_, block) = start.expect("a character that is named was put");
        let spans = &self.blocks[*block].spans;
        let span = spans
            .iter()
            .position(|span| span.id <= id && id < span.end());
        let span = span.expect("the block that holds a span was noted");
        At {
            order: self.places[*block],
            span,
            offset: id - spans[span].id,
        }
    }

    fn span_at(&self, at: At) -> Option<&Span> {
        self.blocks[*self.order.get(at.order)?].spans.get(at.span)
    }

    /// The place itself, or the start of the next span if it is the end of one.
    fn normalise(&self, mut at: At) -> At {
        if self.span_at(at).is_some_and(|span| at.offset == span.len) {
            at.span += 1;
            at.offset = 0;
        }
        if at.span == self.blocks[self.order[at.order]].spans.len()
            && at.order + 1 < self.order.len()
        {
            at = At {
                order: at.order + 1,
                span: 0,
                offset: 0,
            };
        }
        at
    }

    fn next(&self, at: At) -> At {
        self.normalise(At {
            span: at.span + 1,
            offset: 0,
            ..at
        })
    }

    fn insert(&mut self, id: Lv, before: usize, len: usize, log: &Log) -> usize {
        let (mut left, mut at) = (
            NONE,
            At {
                order: 0,
                span: 0,
                offset: 0,
            },
        );
        if let Some(before) = before.checked_sub(1) {
            at = self.find(before);
            left = self.blocks[self.order[at.order]].spans[at.span].id + at.offset;
            at = self.normalise(At {
                offset: at.offset + 1,
                ..at
            });
        }
        let right = self.parent_behind(at, left);
        let at = self.integrate(at, id, left, right, log);
        let end = self.held_before(at);
        self.put(
            at,
            Span {
                id,
                len,
                left,
                right,
                state: VISIBLE,
                is_removed: false,
            },
        );
        end
    }

    /// The character behind `at`, if it was put right behind the same left neighbour.
    fn parent_behind(&self, mut at: At, left: usize) -> usize {
        while let Some(span) = self.span_at(at) {
            if at.offset > 0 {
                return span.id + at.offset;
            }
            if span.state != NOT_YET {
                return if span.left == left { span.id } else { NONE };
            }
            at = self.next(at);
        }
        NONE
    }

    /// Passes what others put at the same place and stands before.
    fn integrate(&mut self, start: At, id: Lv, left: usize, right: usize, log: &Log) -> At {
        let (mut at, mut place) = (start, start);
        // By where they start, where they end; those that were not looked for yet wait outside: mostly nobody looks.
        let (mut passed, mut newly, mut steps) = (BTreeMap::new(), Vec::new(), 0);
        let mut is_undecided = false;
        // Looked for once, and only if there is another.
        let mut right_at = None;
        while let Some(other) = self.span_at(at)
            && at.offset == 0
            && other.state == NOT_YET
        {
            let next = self.next(at);
            if other.left == left {
                let right_at = right_at.get_or_insert_with(|| self.place_of(right, start));
                match order_of(self.place_of(other.right, next), *right_at) {
                    // Below a sibling that comes later, and decides.
                    Ordering::Less => is_undecided = true,
                    Ordering::Equal if comes_behind(other.id, id, log) => break,
                    Ordering::Equal | Ordering::Greater => is_undecided = false,
                }
            } else {
                passed.extend(newly.drain(..));
                let before = passed.range(..=other.left).next_back();
                if before.is_none_or(|(_, end)| other.left >= *end) {
                    break;
                }
            }
            newly.push((other.id, other.end()));
            steps += 1;
            at = next;
            if !is_undecided || mutant::is_planted("text_sibling_decided_early") {
                place = at;
            }
        }
        self.steps += steps;
        place
    }

    /// Where a character is; mostly `likely`, for what is put one in front of the other stands so.
    fn place_of(&self, id: usize, likely: At) -> Option<At> {
        if id == NONE {
            return None;
        }
        let is_there = self.span_at(likely).is_some_and(|span| span.id == id);
        Some(if is_there { likely } else { self.locate(id) })
    }

    /// How many characters stand before, to one who has seen all.
    fn held_before(&self, at: At) -> usize {
        let blocks = self.order[..at.order].iter();
        let before: usize = blocks.map(|block| self.blocks[*block].held).sum();
        let spans = &self.blocks[self.order[at.order]].spans;
        let within: usize = spans[..at.span].iter().map(Span::held).sum();
        let span = spans.get(at.span);
        let part = span.map_or(0, |span| if span.is_removed { 0 } else { at.offset });
        before + within + part
    }

    fn put(&mut self, at: At, new: Span) {
        let number = self.order[at.order];
        let block = &mut self.blocks[number];
        block.visible += new.len;
        block.held += new.len;
        self.visible += new.len;
        self.held += new.len;
        if at.offset == 0
            && let Some(last) = at.span.checked_sub(1)
            && let last = &mut block.spans[last]
            && last.end() == new.id
            && last.end() - 1 == new.left
            && new.right == NONE
            && last.state == VISIBLE
            && !last.is_removed
        {
            last.len += new.len;
            return;
        }
        let mut index = at.span;
        if at.offset > 0 {
            let rest = block.spans[index].split(at.offset);
            self.starts.insert(rest.id, number);
            index += 1;
            block.spans.insert(index, rest);
        }
        self.starts.insert(new.id, number);
        block.spans.insert(index, new);
        self.relieve(at.order);
    }

    /// Makes a span of `count` characters from `at` on.
    fn isolate(&mut self, at: At, count: usize) -> At {
        let number = self.order[at.order];
        let spans = &mut self.blocks[number].spans;
        let mut index = at.span;
        if at.offset > 0 {
            let rest = spans[index].split(at.offset);
            self.starts.insert(rest.id, number);
            index += 1;
            spans.insert(index, rest);
        }
        if count < spans[index].len {
            let rest = spans[index].split(count);
            self.starts.insert(rest.id, number);
            spans.insert(index + 1, rest);
        }
        At {
            order: at.order,
            span: index,
            offset: 0,
        }
    }

    /// Halves a block that has grown too long.
    fn relieve(&mut self, order: usize) {
        let number = self.order[order];
        if self.blocks[number].spans.len() <= BLOCK_SPANS_MAX {
            return;
        }
        let new = self.blocks.len();
        let spans = self.blocks[number].spans.split_off(BLOCK_SPANS_MAX / 2);
        for span in &spans {
            self.starts.insert(span.id, new);
        }
        let visible = spans.iter().map(Span::visible).sum();
        let held = spans.iter().map(Span::held).sum();
        self.blocks[number].visible -= visible;
        self.blocks[number].held -= held;
        self.blocks.push(Block {
            spans,
            visible,
            held,
        });
        self.order.insert(order + 1, new);
        self.places.push(0);
        for (place, block) in self.order.iter().enumerate().skip(order) {
            self.places[*block] = place;
        }
    }

    fn remove(&mut self, first: Lv, edit: Edit, apply: &mut impl FnMut(Applied)) {
        let (mut event, mut left, mut place) = (first, edit.len, edit.at);
        while left > 0 {
            let at = self.find(place);
            let span = self.blocks[self.order[at.order]].spans[at.span];
            let is_backward = edit.kind == Kind::Backspace;
            let (count, at) = if is_backward {
                let count = left.min(at.offset + 1);
                let offset = at.offset + 1 - count;
                (count, At { offset, ..at })
            } else {
                (left.min(span.len - at.offset), at)
            };
            let at = self.isolate(at, count);
            let span = self.blocks[self.order[at.order]].spans[at.span];
            self.targets.insert(
                event,
                Target {
                    id: span.id,
                    len: count,
                    is_backward,
                },
            );
            if !span.is_removed {
                apply(Applied {
                    start: event,
                    inserts: false,
                    at: self.held_before(at),
                    len: count,
                });
            }
            self.edit_span(at, |span| {
                span.state += 1;
                span.is_removed = true;
            });
            self.relieve(at.order);
            event += count;
            left -= count;
            if is_backward {
                // Past the last of a run there may be no place; it is not looked for then.
                place = place.saturating_sub(count);
            }
        }
    }
}

/// The order of two places, of which none is the end.
fn order_of(one: Option<At>, other: Option<At>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => one.cmp(&other),
        (one, other) => one.is_none().cmp(&other.is_none()),
    }
}

/// Whether of two that stand at the same place the other comes behind this one: by their dots, the same everywhere.
fn comes_behind(other: Lv, this: Lv, log: &Log) -> bool {
    if mutant::is_planted("text_tie_by_arrival") {
        return other > this;
    }
    log.dot_of(other) > log.dot_of(this)
}
