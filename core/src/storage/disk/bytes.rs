//! Reading numbers and strings from bytes that may be anything.

/// Takes values off the front of `bytes`; `None` when they end early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes behind their length in 32 bits.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}

/// The counterpart of [`Reader::string`], for bytes whose length has been bounded before.
///
/// # Panics
///
/// At 4 GiB.
pub(super) fn put_string(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&length32(bytes.len()).to_le_bytes());
    into.extend_from_slice(bytes);
}

/// A length that was bounded when the batch was checked.
///
/// # Panics
///
/// At 4 GiB.
pub(super) fn length32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("batches are bounded below 4 GiB when they are checked")
}
