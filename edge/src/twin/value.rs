//! What an entry of a twin holds, and where.

use std::cmp::Ordering;
use std::fmt;

use peaberry_crdt::wire::{DecodeError, Decoder, Element, Encoder};

use crate::name::{NAME_BYTES_MAX, Name};
use crate::payload::{TEXT_BYTES_MAX, Text};

/// A value of a twin's entry.
///
/// Ordered by kind, then value; numbers in total order, so that two sides with the same writes read the same one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TwinValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A number. Two are equal when their bits are.
    Number(f64),
    /// A short text.
    Text(Text),
}

impl TwinValue {
    const fn kind(&self) -> u8 {
        match self {
            Self::Flag(_) => 0,
            Self::Integer(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
        }
    }

    /// The number it holds, whole or not.
    #[must_use]
    pub const fn as_number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "asked for as a float")]
            Self::Integer(value) => Some(*value as f64),
            Self::Number(value) => Some(*value),
            Self::Flag(_) | Self::Text(_) => None,
        }
    }
}

impl Ord for TwinValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Flag(one), Self::Flag(other)) => one.cmp(other),
            (Self::Integer(one), Self::Integer(other)) => one.cmp(other),
            (Self::Number(one), Self::Number(other)) => one.total_cmp(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

impl PartialOrd for TwinValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TwinValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for TwinValue {}

impl fmt::Display for TwinValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => fmt::Display::fmt(value, f),
            Self::Integer(value) => fmt::Display::fmt(value, f),
            Self::Number(value) => fmt::Display::fmt(value, f),
            Self::Text(value) => fmt::Display::fmt(value, f),
        }
    }
}

impl From<bool> for TwinValue {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<i64> for TwinValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for TwinValue {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for TwinValue {
    fn from(value: &str) -> Self {
        Self::Text(Text::new(value))
    }
}

impl Element for TwinValue {
    fn describe(out: &mut String) {
        out.push_str("TwinValue");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.u8(self.kind());
        match self {
            Self::Flag(value) => value.encode(out),
            Self::Integer(value) => value.encode(out),
            Self::Number(value) => out.raw(&value.to_be_bytes()),
            Self::Text(value) => out.bytes(value.as_str().as_bytes()),
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match input.u8()? {
            0 => Self::Flag(bool::decode(input)?),
            1 => Self::Integer(i64::decode(input)?),
            2 => Self::Number(f64::from_be_bytes(input.array()?)),
            3 => Self::Text(Text::new(text(input, TEXT_BYTES_MAX)?)),
            _ => return Err(DecodeError::Malformed("kind of a twin's value")),
        })
    }
}

/// Which half of a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Desired,
    Reported,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TwinKey {
    pub(super) section: Section,
    pub(super) name: Name,
}

impl TwinKey {
    pub(super) const fn new(section: Section, name: Name) -> Self {
        Self { section, name }
    }
}

impl Element for TwinKey {
    fn describe(out: &mut String) {
        out.push_str("TwinKey");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.u8(u8::from(self.section == Section::Reported));
        out.bytes(self.name.as_str().as_bytes());
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let section = match input.u8()? {
            0 => Section::Desired,
            1 => Section::Reported,
            _ => return Err(DecodeError::Malformed("section of a twin")),
        };
        let name = Name::new(text(input, NAME_BYTES_MAX)?).ok();
        let name = name.ok_or(DecodeError::Malformed("key of a twin"))?;
        Ok(Self { section, name })
    }
}

fn text<'a>(input: &mut Decoder<'a>, bytes_max: usize) -> Result<&'a str, DecodeError> {
    let bytes = input.bytes()?;
    if bytes.len() > bytes_max {
        return Err(DecodeError::Malformed("a text is too long"));
    }
    std::str::from_utf8(bytes)
        .ok()
        .ok_or(DecodeError::Malformed("a text is not UTF-8"))
}
