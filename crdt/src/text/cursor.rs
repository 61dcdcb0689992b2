//! Places that stay with a character.

use alloc::string::String;
use alloc::vec::Vec;

use super::Text;
use super::offset::Offset;
use crate::Dot;
use crate::wire::{DecodeError, Decoder, Element, Encoder};

/// A place beside a character, whatever is written elsewhere. If the character is removed, the place
/// where it was; replicas may then differ on which side of it lies what was inserted there meanwhile.
///
/// Cursors may be sent to others: they name the event that put the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    side: CursorSide,
    /// None: the start of the text, or its end.
    beside: Option<Dot>,
}

/// To which neighbour a [`Cursor`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CursorSide {
    /// To the character in front of it: what is inserted at the cursor comes behind.
    Left,
    /// To the character behind it: what is inserted at the cursor comes before.
    Right,
}

/// How many of the latest events are looked at first for who put a character.
const EVENTS_MIN: usize = 512;

impl Text {
    /// A cursor at a place, which keeps to the character on one side of it.
    ///
    /// Costs a walk over the runs of edits since that character was written.
    #[must_use]
    pub fn cursor(&self, at: impl Into<Offset>, side: CursorSide) -> Option<Cursor> {
        let at = self.chars_before(at.into())?;
        let index = match side {
            CursorSide::Left => at.checked_sub(1),
            CursorSide::Right => (at < self.len_chars()).then_some(at),
        };
        let beside = match index {
            Some(index) => Some(self.event_at(index)?),
            None => None,
        };
        Some(Cursor { side, beside })
    }

    /// Where a cursor is now, in characters; `None` if this text does not know the event that it names.
    #[must_use]
    pub fn locate(&self, cursor: Cursor) -> Option<usize> {
        let Some(dot) = cursor.beside else {
            return Some(match cursor.side {
                CursorSide::Left => 0,
                CursorSide::Right => self.len_chars(),
            });
        };
        let event = self.log.event_of(dot)?;
        let mut history = self.log.applied_from(event);
        let put = history.next()?;
        // One that removed is not beside anything.
        if !put.inserts || put.start > event {
            return None;
        }
        let (mut at, mut is_there) = (put.at + (event - put.start), true);
        for edit in history {
            let keeps_right = is_there || cursor.side == CursorSide::Right;
            if edit.inserts {
                if edit.at < at || (keeps_right && edit.at == at) {
                    at += edit.len;
                }
            } else if edit.at + edit.len <= at {
                at -= edit.len;
            } else if edit.at <= at {
                at = edit.at;
                is_there = false;
            }
        }
        Some(at + usize::from(is_there && cursor.side == CursorSide::Left))
    }

    /// Which event put the character. Of the past as much is looked at as need be, up to four times.
    fn event_at(&self, index: usize) -> Option<Dot> {
        let mut events = EVENTS_MIN;
        loop {
            let start = self.log.end().saturating_sub(events);
            let found = self.event_since(start, index);
            if found.is_some() || start == 0 {
                return found;
            }
            events = events.saturating_mul(2);
        }
    }

    /// Which event put the character, if it is none before `start`.
    fn event_since(&self, start: usize, mut index: usize) -> Option<Dot> {
        let history: Vec<_> = self.log.applied_from(start).collect();
        for edit in history.into_iter().rev() {
            if !edit.inserts {
                if edit.at <= index {
                    index += edit.len;
                }
            } else if edit.at + edit.len <= index {
                index -= edit.len;
            } else if edit.at <= index {
                return self.log.dot_of(edit.start + (index - edit.at));
            }
        }
        None
    }
}

/// The side, twice; plus one and the event, if there is one.
impl Element for Cursor {
    fn describe(out: &mut String) {
        out.push_str("Cursor");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        let side = match self.side {
            CursorSide::Left => 0,
            CursorSide::Right => 2,
        };
        out.u8(side + u8::from(self.beside.is_some()));
        if let Some(dot) = self.beside {
            dot.encode(out);
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let tag = input.u8()?;
        let side = match tag >> 1 {
            0 => CursorSide::Left,
            1 => CursorSide::Right,
            _ => return Err(DecodeError::Malformed("side of a cursor")),
        };
        let beside = if tag & 1 == 1 {
            Some(Dot::decode(input)?)
        } else {
            None
        };
        Ok(Self { side, beside })
    }
}
