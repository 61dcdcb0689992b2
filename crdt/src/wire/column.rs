//! Columns: numbers with run lengths, and dots as indices and counters.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::encoder::{put_varint, unzigzag, zigzag};
use super::{DecodeError, Decoder, Encoder};
use crate::{Dot, ReplicaId};

/// The longest run of one value. It bounds what a byte can stand for, and so what a decoder allocates for it.
pub const RUN_MAX: usize = 32;

/// Shorter runs are written as they are.
const RUN_MIN: usize = 3;

impl Encoder<'_> {
    /// Numbers, of which the reader knows how many. One alone is a varint; others are segments, each a signed length:
    /// `n > 0` for one value `n` times, `n < 0` for `-n` values as they are.
    pub fn column(&mut self, values: &[u64]) {
        put_column(self.body_mut(), values);
    }

    /// Dots, of which the reader knows how many: a column of id indices, then a column of counters, each relative to
    /// the one after the same replica's previous.
    pub fn dots(&mut self, dots: impl Iterator<Item = Dot> + Clone) {
        let indices: Vec<u64> = dots
            .clone()
            .map(|dot| self.index_of(dot.replica()))
            .collect();
        let mut next = NextCounter::default();
        let counters: Vec<u64> = dots
            .map(|dot| {
                let expected = next.of(dot.replica(), self.base().get(dot.replica()));
                next.set(dot.replica(), dot.counter());
                zigzag(dot.counter().wrapping_sub(expected).cast_signed())
            })
            .collect();
        self.column(&indices);
        self.column(&counters);
    }
}

impl Decoder<'_> {
    /// Numbers, as [`Encoder::column`] writes them. What they stand for is bounded by [`RUN_MAX`] times the bytes left.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`]; [`DecodeError::Malformed`] if they are not in their only form.
    pub fn column(&mut self, count: usize) -> Result<Vec<u64>, DecodeError> {
        let malformed = DecodeError::Malformed("column");
        let before = self.rest();
        let mut values = Vec::new();
        if count == 1 {
            values.push(self.varint()?);
            return Ok(values);
        }
        while values.len() < count {
            let header = self.signed()?;
            let length = usize::try_from(header.unsigned_abs())
                .ok()
                .filter(|length| *length > 0 && *length <= count - values.len())
                .ok_or(malformed)?;
            if header < 0 {
                for _ in 0..length {
                    values.push(self.varint()?);
                }
            } else if length <= RUN_MAX {
                let value = self.varint()?;
                values.resize(values.len() + length, value);
            } else {
                return Err(malformed);
            }
        }
        let mut only_form = Vec::new();
        put_column(&mut only_form, &values);
        let read = before.len() - self.rest().len();
        if before.get(..read) != Some(only_form.as_slice()) {
            return Err(malformed);
        }
        Ok(values)
    }

    /// Dots, as [`Encoder::dots`] writes them; counted against the budget.
    ///
    /// # Errors
    ///
    /// As [`column`](Self::column); [`DecodeError::OverBudget`].
    pub fn dots(&mut self, count: usize) -> Result<Vec<Dot>, DecodeError> {
        self.spend_dots(count)?;
        let indices = self.column(count)?;
        let counters = self.column(count)?;
        let mut next = NextCounter::default();
        let mut dots = Vec::with_capacity(count);
        for (index, counter) in indices.into_iter().zip(counters) {
            let replica = self.id_at(index)?;
            let expected = next.of(replica, self.base().get(replica));
            let counter = expected.wrapping_add(unzigzag(counter).cast_unsigned());
            let dot = Dot::new(replica, counter).ok_or(DecodeError::Malformed("event zero"))?;
            next.set(replica, counter);
            dots.push(dot);
        }
        Ok(dots)
    }
}

/// The counter to expect next of each replica.
#[derive(Default)]
struct NextCounter {
    last: Option<(ReplicaId, u64)>,
    others: BTreeMap<ReplicaId, u64>,
}

impl NextCounter {
    fn of(&self, replica: ReplicaId, base: u64) -> u64 {
        let previous = match self.last {
            Some((last, counter)) if last == replica => counter,
            _ => self.others.get(&replica).copied().unwrap_or(base),
        };
        previous.wrapping_add(1)
    }

    fn set(&mut self, replica: ReplicaId, counter: u64) {
        match &mut self.last {
            Some((last, held)) if *last == replica => *held = counter,
            last => {
                if let Some((replica, counter)) = last.replace((replica, counter)) {
                    self.others.insert(replica, counter);
                }
            }
        }
    }
}

pub(super) fn put_column(out: &mut Vec<u8>, values: &[u64]) {
    if let [value] = values {
        put_varint(out, *value);
        return;
    }
    let mut rest = values;
    let mut literal: &[u64] = &[];
    let mut start = values;
    while let Some(value) = rest.first() {
        let run = rest
            .iter()
            .take(RUN_MAX)
            .take_while(|next| *next == value)
            .count();
        if run >= RUN_MIN {
            put_literal(out, literal);
            put_varint(out, zigzag(run.cast_signed() as i64));
            put_varint(out, *value);
            rest = rest.get(run..).unwrap_or_default();
            (start, literal) = (rest, &[]);
        } else {
            rest = rest.get(1..).unwrap_or_default();
            literal = start.get(..literal.len() + 1).unwrap_or_default();
        }
    }
    put_literal(out, literal);
}

fn put_literal(out: &mut Vec<u8>, values: &[u64]) {
    if values.is_empty() {
        return;
    }
    put_varint(out, zigzag(-(values.len().cast_signed() as i64)));
    for value in values {
        put_varint(out, *value);
    }
}
