//! Values that stores keep.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::{DecodeError, Decoder, Encoder};
use crate::{Dot, ReplicaId, Stamp};

/// A value that can be kept in a set, map or register and written in bytes.
///
/// Equal values write equal bytes, different values different ones, and what is written is read back. A value takes at
/// least one byte, or is told with others as a [column](Encoder::column), whose runs bound how many a byte stands for:
/// else a few bytes could ask for any number of values. So an array has at least one byte:
///
/// ```compile_fail
/// use peaberry_crdt::wire::Message as _;
/// use peaberry_crdt::{AddWinsSet, Causal, Lattice as _};
///
/// Causal::<AddWinsSet<[u8; 0]>>::bottom().to_bytes();
/// ```
pub trait Element: Sized {
    /// Appends the type's name. Types of different names are not read as each other.
    fn describe(out: &mut String);

    /// Writes the value.
    fn encode(&self, out: &mut Encoder<'_>);

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: what the bytes lack, or [`DecodeError::Malformed`] for what the type does not allow. Anything
    /// allocated must be bounded by what was read.
    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    /// Writes many values; keys come in ascending order. One after the other unless overridden.
    fn encode_column(values: &[&Self], out: &mut Encoder<'_>) {
        for value in values {
            value.encode(out);
        }
    }

    /// Reads `count` values, as [`encode_column`](Self::encode_column) writes them.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    fn decode_column(count: usize, input: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError> {
        (0..count).map(|_| Self::decode(input)).collect()
    }
}

/// Integers alone are varints; in a column each is told by its difference from the one before.
macro_rules! integers {
    ($($name:ident: $to:expr, $from:expr;)*) => {$(
        impl Element for $name {
            fn describe(out: &mut String) {
                out.push_str(stringify!($name));
            }
            fn encode(&self, out: &mut Encoder<'_>) {
                Self::encode_column(&[self], out);
            }
            fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let value: i64 = input.signed()?;
                $from(value).ok_or(DecodeError::Malformed("integer does not fit its type"))
            }
            fn encode_column(values: &[&Self], out: &mut Encoder<'_>) {
                let mut previous = 0_i64;
                for value in values {
                    let value: i64 = $to(**value);
                    out.signed(value.wrapping_sub(previous));
                    previous = value;
                }
            }
            fn decode_column(count: usize, input: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError> {
                let mut previous = 0_i64;
                (0..count)
                    .map(|_| {
                        previous = previous.wrapping_add(input.signed()?);
                        $from(previous).ok_or(DecodeError::Malformed("integer does not fit its type"))
                    })
                    .collect()
            }
        }
    )*};
}

integers! {
    u16: i64::from, |value| u16::try_from(value).ok();
    u32: i64::from, |value| u32::try_from(value).ok();
    u64: u64::cast_signed, |value: i64| Some(value.cast_unsigned());
    i8: i64::from, |value| i8::try_from(value).ok();
    i16: i64::from, |value| i16::try_from(value).ok();
    i32: i64::from, |value| i32::try_from(value).ok();
    i64: core::convert::identity, Some;
}

impl Element for u8 {
    fn describe(out: &mut String) {
        out.push_str("u8");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.u8(*self);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.u8()
    }
}

impl Element for bool {
    fn describe(out: &mut String) {
        out.push_str("bool");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.u8(u8::from(*self));
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match input.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Malformed("neither true nor false")),
        }
    }
}

impl Element for String {
    fn describe(out: &mut String) {
        out.push_str("String");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.bytes(self.as_bytes());
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match core::str::from_utf8(input.bytes()?) {
            Ok(text) => Ok(Self::from(text)),
            Err(_) => Err(DecodeError::Malformed("text is not UTF-8")),
        }
    }
}

impl<const N: usize> Element for [u8; N] {
    fn describe(out: &mut String) {
        use core::fmt::Write as _;
        write!(out, "[u8;{N}]").expect("writing to a string does not fail");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        const { assert!(N > 0, "a value takes at least one byte") };
        out.raw(self);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        const { assert!(N > 0, "a value takes at least one byte") };
        input.array()
    }
}

impl<T: Element> Element for Vec<T> {
    fn describe(out: &mut String) {
        describe_generic("Vec", &[T::describe], out);
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.len() as u64);
        self.iter().for_each(|value| value.encode(out));
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = input.count()?;
        input.nest(|input| (0..count).map(|_| T::decode(input)).collect())
    }
}

impl<T: Element> Element for Box<T> {
    fn describe(out: &mut String) {
        T::describe(out);
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        T::encode(self, out);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.nest(T::decode).map(Self::new)
    }
}

impl<T: Element> Element for Option<T> {
    fn describe(out: &mut String) {
        describe_generic("Option", &[T::describe], out);
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        bool::decode(input)?.then(|| T::decode(input)).transpose()
    }
}

impl<A: Element, B: Element> Element for (A, B) {
    fn describe(out: &mut String) {
        describe_generic("pair", &[A::describe, B::describe], out);
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}

impl Element for Stamp {
    fn describe(out: &mut String) {
        out.push_str("Stamp");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.wall_ms);
        out.varint(u64::from(self.logical));
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let wall_ms = input.varint()?;
        let logical = u32::try_from(input.varint()?).ok();
        let logical = logical.ok_or(DecodeError::Malformed("counter of a stamp does not fit"))?;
        Ok(Self { wall_ms, logical })
    }
}

impl Element for ReplicaId {
    fn describe(out: &mut String) {
        out.push_str("ReplicaId");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.id(*self);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.id()
    }
}

impl Element for Dot {
    fn describe(out: &mut String) {
        out.push_str("Dot");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.id(self.replica());
        out.varint(self.counter());
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let replica = input.id()?;
        Self::new(replica, input.varint()?).ok_or(DecodeError::Malformed("event zero"))
    }
}

/// `name<part,part>`
pub(crate) fn describe_generic(name: &str, parts: &[fn(&mut String)], out: &mut String) {
    out.push_str(name);
    for (at, part) in parts.iter().enumerate() {
        out.push(if at == 0 { '<' } else { ',' });
        part(out);
    }
    out.push('>');
}
