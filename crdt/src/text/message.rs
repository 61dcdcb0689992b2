//! Texts and their deltas as bytes: columns of what the runs do, then all characters.

use alloc::string::String;
use alloc::vec::Vec;

use super::Text;
use super::delta::{Told, ToldRun};
use super::edit::{Edit, Kind};
use super::rope::byte_of;
use crate::wire::{DecodeError, Decoder, Encoder, Message, unzigzag, zigzag};
use crate::{Dot, TextDelta};

const KIND_BITS: u32 = 2;
const PARENTS: u64 = 1 << KIND_BITS;
const TAG_BITS: u32 = KIND_BITS + 1;

impl Message for TextDelta {
    const KIND: u8 = 9;

    fn describe(out: &mut String) {
        out.push_str("Text");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.told.len() as u64);
        for told in &self.told {
            out.id(told.replica);
            out.varint(told.known);
            out.varint(told.runs.len() as u64 - 1);
        }
        let runs = || self.told.iter().flat_map(|told| &told.runs);
        let tags: Vec<u64> = runs().map(tag).collect();
        out.column(&tags);
        let mut places = Vec::with_capacity(tags.len());
        for told in &self.told {
            let mut expected = 0;
            for run in &told.runs {
                places.push(zigzag(
                    (run.edit.at as u64).wrapping_sub(expected).cast_signed(),
                ));
                expected = cursor_after(run.edit);
            }
        }
        out.column(&places);
        let parents = || runs().filter_map(|run| run.parents.as_ref());
        let counts: Vec<u64> = parents().map(|parents| parents.len() as u64).collect();
        out.column(&counts);
        out.dots(parents().flatten().copied());
        out.bytes(self.inserted.as_bytes());
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("events of a text");
        let mut told: Vec<Told> = Vec::new();
        let mut counts = Vec::new();
        for _ in 0..input.count()? {
            let (replica, known, count) = (input.id()?, input.varint()?, input.varint()?);
            let count = usize::try_from(count)
                .ok()
                .and_then(|count| count.checked_add(1));
            if told.last().is_some_and(|last| last.replica >= replica) {
                return Err(malformed);
            }
            counts.push(count.ok_or(malformed)?);
            told.push(Told {
                replica,
                known,
                runs: Vec::new(),
            });
        }
        let total = counts
            .iter()
            .try_fold(0_usize, |sum, count| sum.checked_add(*count));
        let total = total.ok_or(malformed)?;
        input.spend_dots(total)?;
        let tags = input.column(total)?;
        let places = input.column(total)?;
        let with_parents = tags.iter().filter(|tag| **tag & PARENTS != 0).count();
        let (sizes, parent_count) = input.sizes(with_parents)?;
        let mut dots = input.dots(parent_count)?.into_iter();
        let mut sizes = sizes.into_iter();
        let Ok(inserted) = core::str::from_utf8(input.bytes()?) else {
            return Err(DecodeError::Malformed("text is not UTF-8"));
        };
        let mut columns = tags.into_iter().zip(places);
        let mut byte = 0;
        for (told, count) in told.iter_mut().zip(counts) {
            let (mut expected, mut next) = (0, told.known.checked_add(1).ok_or(malformed)?);
            for (tag, place) in columns.by_ref().take(count) {
                let parents = (tag & PARENTS != 0).then(|| -> Vec<Dot> {
                    dots.by_ref().take(sizes.next().unwrap_or(0)).collect()
                });
                let edit = read_edit(tag, place, expected).ok_or(malformed)?;
                let run = ToldRun {
                    counter: next,
                    parents,
                    edit,
                    byte,
                };
                check_run(told, &run)?;
                if edit.kind == Kind::Insert {
                    byte = end_of(inserted, byte, edit.len).ok_or(malformed)?;
                } else {
                    input.spend_events(edit.len as u64)?;
                }
                next = next.checked_add(edit.len as u64).ok_or(malformed)?;
                expected = cursor_after(edit);
                told.runs.push(run);
            }
        }
        if byte != inserted.len() {
            return Err(malformed);
        }
        let delta = Self::new(told, String::from(inserted));
        delta.check_parents()?;
        Ok(delta)
    }
}

fn tag(run: &ToldRun) -> u64 {
    let kind = match run.edit.kind {
        Kind::Insert => 0,
        Kind::Delete => 1,
        Kind::Backspace => 2,
    };
    let parents = if run.parents.is_some() { PARENTS } else { 0 };
    (run.edit.len as u64) << TAG_BITS | parents | kind
}

/// Where a writer's cursor stands after a run.
const fn cursor_after(edit: Edit) -> u64 {
    let at = match edit.kind {
        Kind::Insert => edit.at.wrapping_add(edit.len),
        Kind::Delete | Kind::Backspace => edit.lowest(),
    };
    at as u64
}

fn read_edit(tag: u64, place: u64, expected: u64) -> Option<Edit> {
    let kind = match tag & (PARENTS - 1) {
        0 => Kind::Insert,
        1 => Kind::Delete,
        2 => Kind::Backspace,
        _ => return None,
    };
    let len = usize::try_from(tag >> TAG_BITS)
        .ok()
        .filter(|len| *len > 0)?;
    let at = expected.wrapping_add(unzigzag(place).cast_unsigned());
    let at = usize::try_from(at).ok()?;
    at.checked_add(len)?;
    let edit = Edit::new(kind, at, len);
    if kind == Kind::Backspace {
        at.checked_sub(len - 1)?;
    }
    (edit.kind == kind).then_some(edit)
}

/// Runs are as long as they can be, and tell of parents only what is not understood.
fn check_run(told: &Told, run: &ToldRun) -> Result<(), DecodeError> {
    let malformed = DecodeError::Malformed("run of a text");
    let Some(parents) = &run.parents else {
        let is_first = run.counter == 1;
        let is_one = told
            .runs
            .last()
            .is_some_and(|last| last.edit.continued_by(run.edit) > 0);
        return if is_first || is_one {
            Err(malformed)
        } else {
            Ok(())
        };
    };
    let own = run
        .counter
        .checked_sub(1)
        .and_then(|counter| Dot::new(told.replica, counter));
    let is_understood = own.is_some() && parents.as_slice() == own.as_slice();
    let is_later =
        |parent: &Dot| parent.replica() == told.replica && parent.counter() >= run.counter;
    if is_understood || !parents.is_sorted_by(|a, b| a < b) || parents.iter().any(is_later) {
        return Err(malformed);
    }
    Ok(())
}

fn end_of(text: &str, start: usize, chars: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let head = rest.as_bytes().get(..chars)?;
    if head.is_ascii() {
        return Some(start + chars);
    }
    let end = byte_of(rest, chars);
    (rest.get(..end)?.chars().count() == chars).then_some(start + end)
}

impl TextDelta {
    /// Every parent is carried or asked for, and no event has seen itself.
    fn check_parents(&self) -> Result<(), DecodeError> {
        for run in self.told.iter().flat_map(|told| &told.runs) {
            for parent in run.parents.iter().flatten() {
                let told = self
                    .position(parent.replica())
                    .and_then(|at| self.told.get(at));
                if told.is_some_and(|told| told.last() < parent.counter()) {
                    let (replica, counter) = (parent.replica(), parent.counter());
                    return Err(DecodeError::Unclaimed { replica, counter });
                }
            }
        }
        let order = self.order();
        order.map(|_| ()).ok_or(DecodeError::Malformed(
            "events of a text have seen each other",
        ))
    }
}

/// The events since the beginning.
impl Message for Text {
    const KIND: u8 = 8;

    fn describe(out: &mut String) {
        out.push_str("Text");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        self.delta_since(&crate::VersionVector::new()).encode(out);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let delta = TextDelta::decode(input)?;
        if !delta.from().is_empty() {
            return Err(DecodeError::Malformed("a text that is not whole"));
        }
        let mut text = Self::default();
        match text.apply(&delta) {
            Ok(_) => Ok(text),
            Err(_) => Err(DecodeError::Malformed("an edit beyond the text")),
        }
    }
}
