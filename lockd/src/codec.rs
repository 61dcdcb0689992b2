//! Bytes of requests, replies and snapshots: little, versioned, and read without trust.

use peaberry_core::PeerId;

/// The version that begins every entry, query, message and snapshot.
pub(crate) const VERSION: u8 = 1;

/// Why bytes are not what they should be. Nothing was taken from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes: {reason}")]
pub struct Malformed {
    reason: &'static str,
}

impl Malformed {
    pub(crate) const fn new(reason: &'static str) -> Self {
        Self { reason }
    }

    /// What is wrong with them.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.reason
    }
}

/// Appends `number`, seven bits a byte, lowest first (LEB128).
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    out.push(low_bits(number));
}

const fn low_bits(number: u64) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low & 0x7f
}

/// Appends the length of `bytes` and then `bytes`.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of a slice; every method is total.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// A reader behind the version byte.
    pub(crate) fn versioned(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Self::new(bytes);
        match reader.byte()? {
            VERSION => Ok(reader),
            _ => Err(Malformed::new("unknown version")),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are left.
    pub(crate) const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// That nothing is left.
    pub(crate) const fn finish(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Malformed::new("bytes behind the end"))
        }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self
            .bytes
            .split_first()
            .ok_or(Malformed::new("it ends early"))?;
        self.bytes = rest;
        Ok(first)
    }

    /// A number in its shortest form: a value has one spelling.
    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::new("number over 64 bits"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 {
                    Err(Malformed::new("number in a longer form than needed"))
                } else {
                    Ok(number)
                };
            }
        }
        Err(Malformed::new("number over 64 bits"))
    }

    /// A number that counts something kept in memory.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, Malformed> {
        usize::try_from(self.number()?)
            .ok()
            .filter(|&count| count <= max)
            .ok_or(Malformed::new("count over its limit"))
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let length = self.count(max)?;
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(Malformed::new("it ends early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn text(&mut self, max: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_invalid| Malformed::new("text not UTF-8"))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or(Malformed::new("it ends early"))?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::new("flag neither 0 nor 1")),
        }
    }

    pub(crate) fn peer(&mut self) -> Result<PeerId, Malformed> {
        PeerId::new(self.number()?).ok_or(Malformed::new("peer zero"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_and_have_one_spelling(number: u64) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_read_as_a_number_are_its_only_spelling(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(number) = reader.number() {
                let mut again = Vec::new();
                put_number(&mut again, number);
                prop_assert_eq!(&again, &bytes[..bytes.len() - reader.remaining()]);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_end_or_the_limit_is_refused_before_anything_is_copied() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, u64::MAX);
        assert!(Reader::new(&bytes).bytes(usize::MAX).is_err());
        assert!(Reader::new(&[5, 1, 2, 3, 4, 5]).bytes(4).is_err());
    }
}
