//! Text that many write at once.

mod cursor;
mod delta;
mod edit;
mod graph;
mod log;
mod merge;
mod message;
mod offset;
mod rope;
mod tracker;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

pub use cursor::{Cursor, CursorSide};
pub use delta::TextDelta;
use edit::{Edit, Kind};
use log::{Applied, Log};
use merge::OutOfBounds;
pub use offset::Offset;
use rope::Rope;

use crate::wire::{Encoder, IdTable, Message as _};
use crate::{
    ApplyError, Bounds, Changed, Lattice, Limits, Replicated, VersionVector, WriteError, Writer,
    mutant,
};

/// A text, kept as the events that wrote it: an eg-walker event graph in Fugue order.
///
/// Every character inserted and every character removed is an event with a dot; runs of them are kept and told as
/// runs. An event says where it inserted or removed in the text as its writer saw it, and what that writer had seen.
/// Where all had seen everything before, a merge is as cheap as an edit. Where writers were apart, their events are
/// replayed side by side from the last one that all had seen, and nothing of that is kept. What several insert at one
/// place stays together and does not interleave.
///
/// A document of its own, which sync, `protocol::Replica` and `testkit` take as any other [`Replicated`]. All history
/// is kept.
///
/// # Cost
///
/// An edit costs the same wherever it is: it walks a few dozen sizes and moves at most a kilobyte. A merge of writers who
/// were apart costs by the runs they wrote in the meantime. A cursor costs a walk over later runs.
///
/// # Example
///
/// ```
/// use peaberry_crdt::{CursorSide, Lattice, Offset, ReplicaId, Text, Writer};
///
/// let mut here = Text::bottom();
/// let mut mine = Writer::new(ReplicaId::new(1).unwrap(), 0, 1000);
/// let mut theirs = Writer::new(ReplicaId::new(2).unwrap(), 0, 1000);
/// here.insert(&mut mine, 0, "Two cups, please.").unwrap();
/// let mut there = here.clone();
///
/// // Apart: one writes in front, the other behind, and a cursor keeps to its character.
/// here.insert(&mut mine, Offset::Bytes(0), "Anna: ").unwrap();
/// there.delete(&mut theirs, 0..3).unwrap();
/// there.insert(&mut theirs, 0, "Three").unwrap();
/// let cursor = there.cursor(5, CursorSide::Left).unwrap();
///
/// there.apply(&here.delta_since(there.vector())).unwrap();
/// here.apply(&there.delta_since(here.vector())).unwrap();
/// assert_eq!(here.to_string(), "Anna: Three cups, please.");
/// assert_eq!(here, there);
/// assert_eq!(here.locate(cursor), Some("Anna: Three".len()));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Text {
    rope: Rope,
    log: Log,
    vector: VersionVector,
}

impl Text {
    /// Inserts in front of a place.
    ///
    /// # Errors
    ///
    /// [`WriteError::OutOfBounds`] if there is no such place, or it lies within a character; those of the writer, who
    /// must have a dot for every character (of a replica's, ask with `ReplicaHandle::mutate_reserving`);
    /// [`WriteError::Outgrown`]. Nothing changed.
    pub fn insert(
        &mut self,
        writer: &mut Writer,
        at: impl Into<Offset>,
        text: &str,
    ) -> Result<(), WriteError> {
        let at = self.place(at.into())?;
        let len = if text.len() == 1 {
            1
        } else {
            rope::Size::of(text).chars
        };
        if len == 0 {
            return Ok(());
        }
        self.write(writer, Edit::new(Kind::Insert, at, len), text)?;
        self.rope.insert(at, text);
        Ok(())
    }

    /// Removes what lies between two places; nothing if the range is empty.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn delete<O: Into<Offset>>(
        &mut self,
        writer: &mut Writer,
        range: Range<O>,
    ) -> Result<(), WriteError> {
        let (start, end) = (
            self.place(range.start.into())?,
            self.place(range.end.into())?,
        );
        if start >= end {
            return Ok(());
        }
        self.write(writer, Edit::new(Kind::Delete, start, end - start), "")?;
        self.rope.remove(start, end - start);
        Ok(())
    }

    /// The events known.
    #[must_use]
    pub const fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// How many characters there are.
    #[must_use]
    pub const fn len_chars(&self) -> usize {
        self.rope.size().chars
    }

    /// How many bytes the text takes in UTF-8.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.rope.size().bytes
    }

    /// How many code units the text takes in UTF-16.
    #[must_use]
    pub const fn len_utf16(&self) -> usize {
        self.rope.size().utf16
    }

    /// Whether there is no character.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len_chars() == 0
    }

    /// The text in pieces, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &str> {
        self.rope.chunks()
    }

    /// A place counted in characters; `None` if there is no such place, or it lies within a character.
    #[must_use]
    pub fn chars_before(&self, at: Offset) -> Option<usize> {
        self.size_before(at).map(|size| size.chars)
    }

    /// A place counted in bytes of UTF-8; `None` as above.
    #[must_use]
    pub fn bytes_before(&self, at: Offset) -> Option<usize> {
        self.size_before(at).map(|size| size.bytes)
    }

    /// A place counted in code units of UTF-16; `None` as above.
    #[must_use]
    pub fn utf16_before(&self, at: Offset) -> Option<usize> {
        self.size_before(at).map(|size| size.utf16)
    }

    /// What this text has over one that knows `known`.
    #[must_use]
    pub fn delta_since(&self, known: &VersionVector) -> TextDelta {
        TextDelta::since(&self.log, known, &self.vector)
    }

    /// What a text that knew `upto`, a vector that this one has had, had over one that knows `known`.
    #[must_use]
    pub fn delta_between(&self, known: &VersionVector, upto: &VersionVector) -> TextDelta {
        TextDelta::since(&self.log, known, &upto.meet(&self.vector))
    }

    /// Joins a delta.
    ///
    /// # Errors
    ///
    /// [`ApplyError::Gap`] if the text does not know what the delta starts from, [`ApplyError::Conflict`] if it tells
    /// an event that is known otherwise, [`ApplyError::OutOfBounds`] for one that edits beyond the text its writer saw,
    /// [`ApplyError::Forked`] for one that had not seen its replica's event before; the text did not change.
    pub fn apply(&mut self, delta: &TextDelta) -> Result<Changed, ApplyError> {
        self.apply_bounded(delta, Bounds::NONE)
    }

    fn apply_bounded(&mut self, delta: &TextDelta, bounds: Bounds) -> Result<Changed, ApplyError> {
        if let Some(replica) = self.vector.first_behind(delta.from()) {
            return Err(ApplyError::Gap {
                replica,
                known: self.vector.get(replica),
                from: delta.from().get(replica),
            });
        }
        self.check_conflict(delta)?;
        if delta.to().partial_le(&self.vector) {
            return Ok(Changed::No);
        }
        let new = self.vector.count_new(delta.to());
        bounds.check_ids(self.vector.iter().len(), new)?;
        let held = self.log.dot_count();
        let mark = self.log.mark();
        let frontier = self.log.frontier().to_vec();
        let start = self.log.end();
        self.log.seal();
        let len = self.len_chars();
        let taken = self.take_events(delta).and_then(|()| {
            let fits = bounds.check_dots(held, self.log.dot_count());
            fits.map_err(ApplyError::from)
        });
        let merged = match taken {
            Ok(()) => merge::merge(&mut self.log, start, frontier, len)
                .map_err(|OutOfBounds(event)| self.out_of_bounds(event)),
            Err(error) => Err(error),
        };
        match merged {
            Ok(applied) => {
                self.log.seal();
                self.carry_out(&applied);
                self.vector.join(delta.to());
                Ok(Changed::Yes)
            }
            Err(error) => {
                self.log.rewind(mark);
                Err(error)
            }
        }
    }

    fn place(&self, at: Offset) -> Result<usize, WriteError> {
        let (given, len) = match at {
            Offset::Chars(at) if at <= self.len_chars() => return Ok(at),
            Offset::Chars(at) => (at, self.len_chars()),
            Offset::Bytes(at) => (at, self.len_bytes()),
            Offset::Utf16(at) => (at, self.len_utf16()),
        };
        self.chars_before(at)
            .ok_or(WriteError::OutOfBounds { index: given, len })
    }

    fn size_before(&self, at: Offset) -> Option<rope::Size> {
        match at {
            Offset::Chars(at) => self.rope.size_before(at, |size| size.chars),
            Offset::Bytes(at) => self.rope.size_before(at, |size| size.bytes),
            Offset::Utf16(at) => self.rope.size_before(at, |size| size.utf16),
        }
    }

    fn write(&mut self, writer: &mut Writer, edit: Edit, text: &str) -> Result<(), WriteError> {
        let first = writer.next_run(&self.vector, edit.len as u64)?;
        let (bounds, held) = (writer.bounds(), self.log.dot_count());
        let is_new = self.vector.get(writer.replica()) == 0;
        bounds.check_ids(self.vector.iter().len(), usize::from(is_new))?;
        bounds.check_dots(held, held + self.log.growth_of(first, edit))?;
        writer.advance_by(edit.len as u64);
        self.log.push_here(first, edit, text);
        self.vector
            .raise(first.replica(), first.counter() + edit.len as u64 - 1);
        Ok(())
    }

    /// Whether an event that both know is told otherwise.
    fn check_conflict(&self, delta: &TextDelta) -> Result<(), ApplyError> {
        for told in &delta.told {
            let known = self.vector.get(told.replica).min(told.last());
            if known <= told.known {
                continue;
            }
            let mut ours = delta::Telling::default();
            let at = ours.begin(told.replica, told.known);
            self.log.told(told.replica, told.known, known, |piece| {
                ours.push(at, piece);
            });
            let ours = ours.finish();
            if let Some(counter) = delta.first_difference(told, &ours, known) {
                let replica = told.replica;
                return Err(ApplyError::Conflict { replica, counter });
            }
        }
        Ok(())
    }

    /// Appends the events that are new.
    fn take_events(&mut self, delta: &TextDelta) -> Result<(), ApplyError> {
        let gap = |replica, from| ApplyError::Gap {
            replica,
            known: self.vector.get(replica),
            from,
        };
        let order = delta.order_by_branches().unwrap_or_default();
        for (at, run) in order {
            let Some(told) = delta.told.get(at) else {
                continue;
            };
            let Some(run) = told.runs.get(run) else {
                continue;
            };
            let known = self.vector.get(told.replica);
            if run.last() <= known {
                continue;
            }
            let skip = (known + 1).saturating_sub(run.counter);
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let counter = run.counter + skip as u64;
            let mut parents = Vec::new();
            let own = crate::Dot::new(told.replica, counter - 1);
            let told_parents = run.parents.as_deref().filter(|_| skip == 0);
            for parent in told_parents.unwrap_or(own.as_slice()) {
                let event = self.log.event_of(*parent);
                parents.push(event.ok_or_else(|| gap(parent.replica(), parent.counter()))?);
            }
            parents.sort_unstable();
            let previous = own.and_then(|own| self.log.event_of(own));
            if previous.is_some_and(|previous| !self.log.graph.has_seen(&parents, previous))
                && !mutant::is_planted("text_fork_accepted")
            {
                let replica = told.replica;
                return Err(ApplyError::Forked { replica, counter });
            }
            let first =
                crate::Dot::new(told.replica, counter).ok_or_else(|| gap(told.replica, counter))?;
            let text = delta.text_of(run, skip, run.edit.len - skip);
            self.log.push(first, run.edit.skip(skip), text, &parents);
        }
        Ok(())
    }

    fn carry_out(&mut self, applied: &[Applied]) {
        for edit in applied {
            if edit.inserts {
                self.rope
                    .insert(edit.at, self.log.text_of(edit.start, edit.len));
            } else {
                self.rope.remove(edit.at, edit.len);
            }
        }
    }

    fn out_of_bounds(&self, event: usize) -> ApplyError {
        match self.log.dot_of(event) {
            Some(dot) => ApplyError::OutOfBounds {
                replica: dot.replica(),
                counter: dot.counter(),
            },
            None => unreachable!("an event of the log has a dot"),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chunks().try_for_each(|chunk| f.write_str(chunk))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.vector == other.vector && self.rope.size() == other.rope.size() && {
            let mine = self.chunks().flat_map(str::bytes);
            mine.eq(other.chunks().flat_map(str::bytes))
        }
    }
}

impl Eq for Text {}

impl Lattice for Text {
    fn bottom() -> Self {
        Self::default()
    }

    /// Joins a whole text. Texts with equal vectors are equal, and cost only the comparison of the vectors.
    fn join(&mut self, other: &Self) -> Changed {
        if other.vector.partial_le(&self.vector) {
            return Changed::No;
        }
        let joined = self.apply(&other.delta_since(&self.vector));
        joined.expect("a text's own events can be carried out, and follow what both know")
    }

    fn partial_le(&self, other: &Self) -> bool {
        self.vector.partial_le(&other.vector)
    }
}

impl Replicated for Text {
    type Delta = TextDelta;

    fn vector(&self) -> &VersionVector {
        self.vector()
    }

    fn delta_since(&self, known: &VersionVector) -> TextDelta {
        self.delta_since(known)
    }

    fn needs(delta: &TextDelta) -> &VersionVector {
        delta.from()
    }

    fn gives(delta: &TextDelta) -> &VersionVector {
        delta.to()
    }

    fn apply_within(&mut self, delta: &TextDelta, limits: &Limits) -> Result<Changed, ApplyError> {
        self.apply_bounded(delta, limits.bounds)
    }

    fn split(delta: TextDelta, bytes_max: usize) -> Vec<TextDelta> {
        delta.split(bytes_max)
    }

    fn first_part_since(&self, known: &VersionVector, bytes_max: usize) -> Option<TextDelta> {
        TextDelta::first_part_since(&self.log, known, &self.vector, bytes_max)
    }

    fn canonical_bytes(&self) -> Vec<u8> {
        let table = IdTable::new();
        let mut encoder = Encoder::new(&table);
        self.encode(&mut encoder);
        let mut bytes = Vec::new();
        encoder.finish(&mut bytes);
        bytes
    }

    /// All history is kept.
    fn collect(&mut self, _: &VersionVector) -> Changed {
        Changed::No
    }
}

/// The whole text.
impl From<&Text> for String {
    fn from(text: &Text) -> Self {
        let mut whole = Self::with_capacity(text.len_bytes());
        text.chunks().for_each(|chunk| whole.push_str(chunk));
        whole
    }
}
