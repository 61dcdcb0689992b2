//! Stores as columns.

use alloc::string::String;
use alloc::vec::Vec;

use super::column::RUN_MAX;
use super::{DecodeError, Decoder, Encoder};
use crate::DotStore;

/// A store that can be written in bytes.
///
/// Stores are written many at a time, so that the stores under the keys of a map become columns: all sizes, all dots,
/// all values. Equal stores write equal bytes.
pub trait StoreCodec: DotStore {
    /// Appends the type's name, down to its elements.
    fn describe(out: &mut String);

    /// Writes the stores.
    fn encode_column(stores: &[&Self], out: &mut Encoder<'_>);

    /// Reads `count` stores.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    fn decode_column(count: usize, input: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError>;
}

impl Encoder<'_> {
    /// How many entries each store has.
    pub(crate) fn sizes(&mut self, sizes: impl Iterator<Item = usize>) {
        let sizes: Vec<u64> = sizes.map(|size| size as u64).collect();
        self.column(&sizes);
    }
}

impl Decoder<'_> {
    /// The sizes of `count` stores, and their sum.
    pub(crate) fn sizes(&mut self, count: usize) -> Result<(Vec<usize>, usize), DecodeError> {
        let mut total = 0_usize;
        // In the column's own memory.
        let sizes = self.column(count)?.into_iter().map(|size| {
            let size = usize::try_from(size).ok()?;
            total = total.checked_add(size)?;
            Some(size)
        });
        let sizes: Option<Vec<usize>> = sizes.collect();
        let sizes = sizes.ok_or(DecodeError::Malformed("sizes of stores overflow"))?;
        Ok((sizes, total))
    }

    /// As [`sizes`](Self::sizes), of entries that follow: no more than their bytes can stand for. Keys, dots and
    /// values may all be runs of columns, which bound what is allocated for them in their turn.
    pub(crate) fn sizes_of_entries(
        &mut self,
        count: usize,
    ) -> Result<(Vec<usize>, usize), DecodeError> {
        let (sizes, total) = self.sizes(count)?;
        if total > self.rest().len().saturating_mul(RUN_MAX) {
            return Err(DecodeError::Truncated);
        }
        Ok((sizes, total))
    }
}
