//! Reading and writing bytes that strangers may have written.
//!
//! Integers are LEB128 varints, 7 bits a byte, lowest first, in their shortest form; byte strings carry their length
//! before them. A [`Reader`] never panics and checks every length before anything is allocated for it.
//!
//! ```
//! use peaberry_core::wire::{self, Reader};
//!
//! let mut bytes = Vec::new();
//! wire::put_varint(&mut bytes, 300);
//! wire::put_bytes(&mut bytes, b"latte");
//! assert_eq!(bytes, b"\xac\x02\x05latte");
//!
//! let mut reader = Reader::new(&bytes);
//! assert_eq!(reader.varint(), Ok(300));
//! assert_eq!(reader.bytes(64), Ok(b"latte".as_slice()));
//! assert_eq!(reader.finish(), Ok(()));
//! ```

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// They end too early.
    #[error("truncated")]
    Truncated,
    /// An integer is not in its shortest form or does not fit.
    #[error("malformed integer")]
    Varint,
    /// A length is over its limit.
    #[error("length {length} is over the limit of {length_max}")]
    TooLong {
        /// The length as read.
        length: u64,
        /// The limit.
        length_max: usize,
    },
    /// Bytes are left over behind the end.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

/// Appends `value` as a varint: 1 to 10 bytes.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

const fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// Appends `bytes` behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub const fn u8(&mut self) -> Result<u8, WireError> {
        let Some((&first, rest)) = self.rest.split_first() else {
            return Err(WireError::Truncated);
        };
        self.rest = rest;
        Ok(first)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub const fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some((array, rest)) = self.rest.split_first_chunk() else {
            return Err(WireError::Truncated);
        };
        self.rest = rest;
        Ok(*array)
    }

    /// The next integer.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`], or [`WireError::Varint`] for one that is longer than need be or over 64 bits.
    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
                return Err(WireError::Varint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }

    /// The next integer, as a length of at most `length_max`.
    ///
    /// # Errors
    ///
    /// As [`varint`](Self::varint), or [`WireError::TooLong`].
    pub fn length(&mut self, length_max: usize) -> Result<usize, WireError> {
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(fits) if fits <= length_max => Ok(fits),
            _ => Err(WireError::TooLong { length, length_max }),
        }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub const fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(WireError::Truncated);
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next byte string, of at most `length_max` bytes.
    ///
    /// # Errors
    ///
    /// As [`length`](Self::length), or [`WireError::Truncated`].
    pub fn bytes(&mut self, length_max: usize) -> Result<&'a [u8], WireError> {
        let length = self.length(length_max)?;
        self.take(length)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// [`WireError::Trailing`].
    pub const fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::Trailing(self.rest.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_come_back(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn every_integer_has_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(again.as_slice(), &bytes[..bytes.len() - reader.rest().len()]);
            }
        }
    }

    #[test]
    fn a_length_is_checked_before_its_bytes() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(
            Reader::new(&bytes).bytes(16),
            Err(WireError::TooLong {
                length: u64::MAX,
                length_max: 16
            })
        );
    }
}
