//! Bytes of requests, replies and snapshots: little, versioned, and read without trust.

use peaberry_core::PeerId;
use peaberry_core::wire::{self, WireError};
pub(crate) use peaberry_core::wire::{put_bytes, put_varint as put_number};

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

/// Reads from the front of a slice; every method is total.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    inner: wire::Reader<'a>,
}

impl From<WireError> for Malformed {
    fn from(error: WireError) -> Self {
        Self::new(match error {
            WireError::Truncated => "it ends early",
            WireError::Varint => "an integer not in its shortest form",
            WireError::TooLong { .. } => "a length over its limit",
            WireError::Trailing(_) => "bytes behind the end",
            _ => "unreadable",
        })
    }
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            inner: wire::Reader::new(bytes),
        }
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
        self.inner.rest().is_empty()
    }

    /// How many bytes are left.
    pub(crate) const fn remaining(&self) -> usize {
        self.inner.rest().len()
    }

    /// That nothing is left.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        Ok(self.inner.finish()?)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        Ok(self.inner.varint()?)
    }

    /// A number that counts something kept in memory.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, Malformed> {
        usize::try_from(self.number()?)
            .ok()
            .filter(|&count| count <= max)
            .ok_or(Malformed::new("count over its limit"))
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        Ok(self.inner.bytes(max)?)
    }

    pub(crate) fn text(&mut self, max: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_invalid| Malformed::new("text not UTF-8"))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self
            .inner
            .rest()
            .split_first_chunk()
            .ok_or(Malformed::new("it ends early"))?;
        self.inner = wire::Reader::new(rest);
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
