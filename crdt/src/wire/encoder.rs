//! Writing the body of a message.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::IdTable;
use crate::{ReplicaId, VersionVector};

/// Where the body of a message is written. Ids become indices; those that the session's table lacks are collected, in
/// the order of their first use.
#[derive(Debug)]
pub struct Encoder<'a> {
    body: Vec<u8>,
    table: &'a IdTable,
    inline: Vec<ReplicaId>,
    inline_index: BTreeMap<ReplicaId, u64>,
    last: Option<(ReplicaId, u64)>,
    base: VersionVector,
}

impl<'a> Encoder<'a> {
    pub(crate) const fn new(table: &'a IdTable) -> Self {
        Self {
            body: Vec::new(),
            table,
            inline: Vec::new(),
            inline_index: BTreeMap::new(),
            last: None,
            base: VersionVector::new(),
        }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.body.push(value);
    }

    /// An unsigned integer: seven bits a byte, lowest first, 1 to 10 bytes.
    pub fn varint(&mut self, value: u64) {
        put_varint(&mut self.body, value);
    }

    /// A signed integer; small ones of either sign are short.
    pub fn signed(&mut self, value: i64) {
        self.varint(zigzag(value));
    }

    /// Bytes as they are; the reader must know how many.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A replica id, as its index.
    pub fn id(&mut self, id: ReplicaId) {
        let index = self.index_of(id);
        self.varint(index);
    }

    /// The index by which an id is known in this message.
    pub fn index_of(&mut self, id: ReplicaId) -> u64 {
        if let Some((last, index)) = self.last
            && last == id
        {
            return index;
        }
        let index = self.table.index(id).unwrap_or_else(|| {
            let next = (self.table.len() + self.inline.len()) as u64;
            let index = *self.inline_index.entry(id).or_insert(next);
            if index == next {
                self.inline.push(id);
            }
            index
        });
        self.last = Some((id, index));
        index
    }

    /// Dots that follow are told relative to what comes after `base`.
    pub fn set_base(&mut self, base: &VersionVector) {
        self.base = base.clone();
    }

    pub(crate) const fn base(&self) -> &VersionVector {
        &self.base
    }

    pub(crate) const fn body_mut(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }

    /// Ids told here, then the body.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        put_varint(out, self.inline.len() as u64);
        for id in &self.inline {
            out.extend_from_slice(&id.get().to_be_bytes());
        }
        out.extend_from_slice(&self.body);
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

const fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

pub(crate) const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}
