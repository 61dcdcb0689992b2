//! Reading the body of a message that a stranger may have written.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::encoder::unzigzag;
use super::{Bound, Budget, DecodeError, IdTable};
use crate::{ReplicaId, VersionVector};

/// Reads the body of a message. Never panics; what it hands out has been counted against the [`Budget`].
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    table: &'a IdTable,
    inline: Vec<ReplicaId>,
    /// Ids must be told in the order of their first use: a message has one form.
    inline_used: usize,
    budget: Budget,
    base: VersionVector,
}

impl<'a> Decoder<'a> {
    /// Reads the ids in front of the body.
    pub(crate) fn new(
        bytes: &'a [u8],
        table: &'a IdTable,
        budget: Budget,
    ) -> Result<Self, DecodeError> {
        over(Bound::Bytes, bytes.len() as u64, budget.bytes_max as u64)?;
        let mut decoder = Self::of_body(bytes, table, budget);
        let count = decoder.varint()?;
        over(Bound::Ids, count, budget.ids_max as u64)?;
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            let id = ReplicaId::new(u128::from_be_bytes(decoder.array()?))
                .ok_or(DecodeError::Malformed("replica id is zero"))?;
            if table.index(id).is_some() || !seen.insert(id) {
                return Err(DecodeError::Malformed("replica id is told twice"));
            }
            decoder.inline.push(id);
        }
        Ok(decoder)
    }

    /// Reads what has no ids in front.
    pub(super) const fn of_body(bytes: &'a [u8], table: &'a IdTable, budget: Budget) -> Self {
        Self {
            rest: bytes,
            table,
            inline: Vec::new(),
            inline_used: 0,
            budget,
            base: VersionVector::new(),
        }
    }

    /// One byte.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`].
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// An unsigned integer.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`]; [`DecodeError::Malformed`] for one that is longer than need be or over 64 bits.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if (shift == 63 && byte > 1) || (byte == 0 && shift > 0) {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed(
            "integer is not in its shortest form",
        ))
    }

    /// A signed integer.
    ///
    /// # Errors
    ///
    /// As [`varint`](Self::varint).
    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        self.varint().map(unzigzag)
    }

    /// How many of something follow, each of which takes at least one byte: never more than there are bytes left.
    ///
    /// # Errors
    ///
    /// As [`varint`](Self::varint); [`DecodeError::Truncated`] for more than could follow.
    pub fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.varint()?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or(DecodeError::Truncated)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`].
    pub const fn raw(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(DecodeError::Truncated);
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`].
    pub const fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((array, rest)) = self.rest.split_first_chunk() else {
            return Err(DecodeError::Truncated);
        };
        self.rest = rest;
        Ok(*array)
    }

    /// Bytes behind their length, borrowed from the message.
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count).
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.count()?;
        self.raw(count)
    }

    /// A replica id.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`]; [`DecodeError::Malformed`] for an index that nothing stands behind.
    pub fn id(&mut self) -> Result<ReplicaId, DecodeError> {
        let index = self.varint()?;
        self.id_at(index)
    }

    /// The id at an index that was read; the reverse of [`Encoder::index_of`](super::Encoder::index_of).
    ///
    /// # Errors
    ///
    /// [`DecodeError::Malformed`] for an index that nothing stands behind.
    pub fn id_at(&mut self, index: u64) -> Result<ReplicaId, DecodeError> {
        let unknown = DecodeError::Malformed("index of no replica id");
        if let Some(id) = self.table.get(index) {
            return Ok(id);
        }
        let at = usize::try_from(index)
            .ok()
            .and_then(|index| index.checked_sub(self.table.len()))
            .filter(|at| *at <= self.inline_used)
            .ok_or(unknown)?;
        let id = *self.inline.get(at).ok_or(unknown)?;
        self.inline_used = self.inline_used.max(at + 1);
        Ok(id)
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The bounds, less what has been spent.
    #[must_use]
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Reads something that lies one level deeper.
    ///
    /// # Errors
    ///
    /// [`DecodeError::OverBudget`] if that is too deep, and those of `read`.
    pub fn nest<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let left = self.budget.depth_max.checked_sub(1);
        self.budget.depth_max = left.ok_or(DecodeError::OverBudget {
            bound: Bound::Depth,
            given: 1,
            max: 0,
        })?;
        let read = read(self);
        self.budget.depth_max += 1;
        read
    }

    /// Counts dots against the budget; call it before they are allocated.
    ///
    /// # Errors
    ///
    /// [`DecodeError::OverBudget`].
    pub fn spend_dots(&mut self, count: usize) -> Result<(), DecodeError> {
        spend(Bound::Dots, &mut self.budget.dots_max, count)
    }

    /// Counts intervals against the budget; call it before they are allocated.
    ///
    /// # Errors
    ///
    /// [`DecodeError::OverBudget`].
    pub fn spend_intervals(&mut self, count: usize) -> Result<(), DecodeError> {
        spend(Bound::Intervals, &mut self.budget.intervals_max, count)
    }

    pub(crate) fn spend_events(&mut self, count: u64) -> Result<(), DecodeError> {
        over(Bound::Events, count, self.budget.events_max)?;
        self.budget.events_max -= count;
        Ok(())
    }

    /// As [`Encoder::set_base`](super::Encoder::set_base).
    pub fn set_base(&mut self, base: &VersionVector) {
        self.base = base.clone();
    }

    pub(crate) const fn base(&self) -> &VersionVector {
        &self.base
    }

    /// Checks that all was read, and every id used.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if !self.rest.is_empty() {
            return Err(DecodeError::Trailing(self.rest.len()));
        }
        if self.inline_used < self.inline.len() {
            return Err(DecodeError::Malformed("replica id is told and not used"));
        }
        Ok(())
    }
}

fn spend(bound: Bound, left: &mut usize, count: usize) -> Result<(), DecodeError> {
    over(bound, count as u64, *left as u64)?;
    *left -= count;
    Ok(())
}

pub(crate) const fn over(bound: Bound, given: u64, max: u64) -> Result<(), DecodeError> {
    if given > max {
        Err(DecodeError::OverBudget { bound, given, max })
    } else {
        Ok(())
    }
}
