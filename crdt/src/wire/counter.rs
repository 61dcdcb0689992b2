//! Counters of totals, and sets of events, as bytes.

use alloc::string::String;

use super::{DecodeError, Decoder, Encoder, Message};
use crate::counter::BoundedCounter;
use crate::{GCounter, IntervalVersionVector, PnCounter};

impl Message for GCounter {
    const KIND: u8 = 4;

    fn describe(out: &mut String) {
        out.push_str("GCounter");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.vector(self.totals());
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.vector().map(Self::of_totals)
    }
}

impl Message for PnCounter {
    const KIND: u8 = 5;

    fn describe(out: &mut String) {
        out.push_str("PnCounter");
    }

    /// What was added, then what was taken away.
    fn encode(&self, out: &mut Encoder<'_>) {
        let (up, down) = self.parts();
        up.encode(out);
        down.encode(out);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let up = GCounter::decode(input)?;
        let down = GCounter::decode(input)?;
        Self::of_parts(up, down).ok_or(DecodeError::Malformed("totals of a counter"))
    }
}

impl Message for BoundedCounter {
    const KIND: u8 = 6;

    fn describe(out: &mut String) {
        out.push_str("BoundedCounter");
    }

    /// How many grants, of each from whom, to whom and how much, in ascending order; then what was taken.
    fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.grants().len() as u64);
        for ((from, to), total) in self.grants() {
            out.id(*from);
            out.id(*to);
            out.varint(*total);
        }
        self.taken().encode(out);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("grants of a counter");
        let mut grants = alloc::collections::BTreeMap::new();
        let count = input.count()?;
        input.spend_dots(count)?;
        for _ in 0..count {
            let pair = (input.id()?, input.id()?);
            let total = input.varint()?;
            let is_next = grants.last_key_value().is_none_or(|(last, _)| *last < pair);
            if total == 0 || !is_next {
                return Err(malformed);
            }
            grants.insert(pair, total);
        }
        Self::of_parts(grants, GCounter::decode(input)?).ok_or(malformed)
    }
}

impl Message for IntervalVersionVector {
    const KIND: u8 = 7;

    fn describe(out: &mut String) {
        out.push_str("IntervalVersionVector");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.intervals(self);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.intervals()
    }
}
