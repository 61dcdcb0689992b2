//! What is not made of parts.

use alloc::string::String;
use alloc::vec::Vec;

use crate::wire::{DecodeError, Decoder, Element, Encoder};

/// A value that is written and read as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scalar {
    /// Nothing, said explicitly.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(Float),
    /// Text, replaced as a whole.
    String(String),
    /// Bytes, which JSON has not.
    Bytes(Vec<u8>),
}

/// A finite number of 64 bits, equal to another if their bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Float {
    bits: u64,
}

impl Float {
    /// The number; `None` for infinities and what is no number.
    #[must_use]
    pub const fn new(value: f64) -> Option<Self> {
        if value.is_finite() {
            Some(Self {
                bits: value.to_bits(),
            })
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        f64::from_bits(self.bits)
    }
}

/// What one edit puts at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leaf {
    /// A scalar.
    Scalar(Scalar),
    /// A counter that starts here.
    Counter(i64),
    /// An empty list, which stays when it is empty again.
    List,
    /// An empty map, which stays when it is empty again.
    Map,
}

macro_rules! scalars {
    ($($from:ty: |$value:ident| $scalar:expr;)*) => {$(
        impl From<$from> for Scalar {
            fn from($value: $from) -> Self {
                $scalar
            }
        }
        impl From<$from> for Leaf {
            fn from(value: $from) -> Self {
                Self::Scalar(value.into())
            }
        }
    )*};
}

scalars! {
    bool: |value| Self::Bool(value);
    i64: |value| Self::Integer(value);
    i32: |value| Self::Integer(value.into());
    u32: |value| Self::Integer(value.into());
    Float: |value| Self::Float(value);
    &str: |value| Self::String(value.into());
    String: |value| Self::String(value);
    Vec<u8>: |value| Self::Bytes(value);
}

impl From<Scalar> for Leaf {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INTEGER: u8 = 3;
const FLOAT: u8 = 4;
const STRING: u8 = 5;
const BYTES: u8 = 6;

/// A tag, then what it needs.
impl Element for Scalar {
    fn describe(out: &mut String) {
        out.push_str("Scalar");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Null => out.u8(NULL),
            Self::Bool(false) => out.u8(FALSE),
            Self::Bool(true) => out.u8(TRUE),
            Self::Integer(value) => {
                out.u8(INTEGER);
                out.signed(*value);
            }
            Self::Float(value) => {
                out.u8(FLOAT);
                out.raw(&value.bits.to_be_bytes());
            }
            Self::String(text) => {
                out.u8(STRING);
                out.bytes(text.as_bytes());
            }
            Self::Bytes(bytes) => {
                out.u8(BYTES);
                out.bytes(bytes);
            }
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match input.u8()? {
            NULL => Self::Null,
            FALSE => Self::Bool(false),
            TRUE => Self::Bool(true),
            INTEGER => Self::Integer(input.signed()?),
            FLOAT => {
                let value = Float::new(f64::from_bits(u64::from_be_bytes(input.array()?)));
                Self::Float(value.ok_or(DecodeError::Malformed("number is not finite"))?)
            }
            STRING => Self::String(String::decode(input)?),
            BYTES => Self::Bytes(input.bytes()?.to_vec()),
            _ => return Err(DecodeError::Malformed("kind of scalar")),
        })
    }
}
