//! Vectors, intervals and removal logs as bytes.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::encoder::{unzigzag, zigzag};
use super::{DecodeError, Decoder, Encoder, Message};
use crate::removal_log::{LogRun, RemovalLog, Removed};
use crate::{Dot, Interval, IntervalVersionVector, ReplicaId, VersionVector};

impl Message for VersionVector {
    const KIND: u8 = 3;

    fn describe(out: &mut String) {
        out.push_str("VersionVector");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.vector(self);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input.vector()
    }
}

impl Encoder<'_> {
    /// A vector: how many replicas, a column of id indices, each relative to the one after the previous, and a column
    /// of counters.
    pub fn vector(&mut self, vector: &VersionVector) {
        self.varint(vector.iter().len() as u64);
        let mut next = 0_u64;
        let mut indices = Vec::new();
        for (replica, _) in vector.iter() {
            let index = self.index_of(replica);
            indices.push(zigzag(index.wrapping_sub(next).cast_signed()));
            next = index.wrapping_add(1);
        }
        self.column(&indices);
        let counters: Vec<u64> = vector.iter().map(|entry| entry.1).collect();
        self.column(&counters);
    }

    /// A vector at or below another that the reader has: what it lacks of each of the other's replicas.
    pub(crate) fn vector_below(&mut self, vector: &VersionVector, above: &VersionVector) {
        let lacks: Vec<u64> = above
            .iter()
            .map(|(replica, upto)| upto - vector.get(replica))
            .collect();
        self.column(&lacks);
    }

    /// Intervals in ascending order: how many, then of each its id, its start relative to what may come first after
    /// the previous, and its length less one.
    pub fn intervals(&mut self, intervals: &IntervalVersionVector) {
        self.varint(intervals.iter().len() as u64);
        self.intervals_alone(intervals);
    }

    fn intervals_alone(&mut self, intervals: &IntervalVersionVector) {
        let mut previous: Option<Interval> = None;
        for interval in intervals.iter() {
            self.id(interval.replica());
            self.varint(interval.first() - earliest(previous, interval.replica()));
            self.varint(interval.last() - interval.first());
            previous = Some(interval);
        }
    }
}

impl Decoder<'_> {
    /// A vector, as [`Encoder::vector`] writes it.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Malformed`] if replicas do not ascend or one has counter zero; those of a column.
    pub fn vector(&mut self) -> Result<VersionVector, DecodeError> {
        let malformed = DecodeError::Malformed("version vector");
        let count = usize::try_from(self.varint()?).ok().ok_or(malformed)?;
        let indices = self.column(count)?;
        let counters = self.column(count)?;
        let (mut next, mut previous) = (0_u64, None);
        let mut vector = VersionVector::new();
        for (index, counter) in indices.into_iter().zip(counters) {
            let index = next.wrapping_add(unzigzag(index).cast_unsigned());
            next = index.wrapping_add(1);
            let replica = self.id_at(index)?;
            if counter == 0 || previous.replace(replica) >= Some(replica) {
                return Err(malformed);
            }
            vector.raise(replica, counter);
        }
        Ok(vector)
    }

    pub(crate) fn vector_below(
        &mut self,
        above: &VersionVector,
    ) -> Result<VersionVector, DecodeError> {
        let lacks = self.column(above.iter().len())?;
        let mut vector = VersionVector::new();
        for ((replica, upto), lacks) in above.iter().zip(lacks) {
            let counter = upto.checked_sub(lacks);
            vector.raise(
                replica,
                counter.ok_or(DecodeError::Malformed("vector below another"))?,
            );
        }
        Ok(vector)
    }

    /// Intervals, as [`Encoder::intervals`] writes them; counted against the budget.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Malformed`] if they do not ascend with gaps between them; [`DecodeError::OverBudget`].
    pub fn intervals(&mut self) -> Result<IntervalVersionVector, DecodeError> {
        let count = self.count()?;
        self.intervals_alone(count)
    }

    fn intervals_alone(&mut self, count: usize) -> Result<IntervalVersionVector, DecodeError> {
        self.spend_intervals(count)?;
        let mut previous: Option<Interval> = None;
        let mut intervals = IntervalVersionVector::new();
        for _ in 0..count {
            let replica = self.id()?;
            let first = earliest(previous, replica).checked_add(self.varint()?);
            let last = first
                .zip(Some(self.varint()?))
                .and_then(|(first, more)| first.checked_add(more));
            let interval = first
                .zip(last)
                .and_then(|(first, last)| Interval::new(replica, first, last));
            let interval = interval.filter(|interval| previous < Some(*interval));
            let interval = interval.ok_or(DecodeError::Malformed("intervals"))?;
            intervals.insert(interval);
            previous = Some(interval);
        }
        Ok(intervals)
    }
}

/// The earliest start of an interval after `previous` that does not touch it.
fn earliest(previous: Option<Interval>, replica: ReplicaId) -> u64 {
    match previous {
        Some(held) if held.replica() == replica => held.last().saturating_add(2),
        _ => 1,
    }
}

/// Set in the tag of a run whose events also put something.
const PUTS: u64 = 1;
/// Set in the tag of an event that removed other than one dot.
const ALL: u64 = 2;
const TAG_BITS: u32 = 2;

impl RemovalLog {
    /// The runs of each replica: how far after the previous, a tag with the length, and the dots removed.
    pub(crate) fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.runs().len() as u64);
        for (replica, runs) in self.runs() {
            out.id(replica);
            out.varint(runs.len() as u64 - 1);
            let mut known = out.base().get(replica);
            let mut removed = None;
            for run in runs {
                out.varint(run.first - known - 1);
                known = run.last();
                run.encode(&mut removed, out);
            }
        }
    }

    /// Reads runs behind the floor and up to `to`.
    pub(crate) fn decode(
        &mut self,
        to: &VersionVector,
        input: &mut Decoder<'_>,
    ) -> Result<(), DecodeError> {
        let malformed = DecodeError::Malformed("removal log");
        let mut previous = None;
        let replicas = input.count()?;
        for _ in 0..replicas {
            let replica = input.id()?;
            if previous.replace(replica) >= Some(replica) {
                return Err(malformed);
            }
            let count = input.count()?;
            let mut known = input.base().get(replica);
            let mut removed = None;
            for _ in 0..=count {
                let first = known.checked_add(input.varint()?);
                let first = first.and_then(|first| first.checked_add(1));
                let first = first
                    .filter(|first| *first <= to.get(replica))
                    .ok_or(malformed)?;
                let run = LogRun::decode(first, &mut removed, input)?;
                known = first
                    .checked_add(run.count() - 1)
                    .filter(|last| *last <= to.get(replica))
                    .ok_or(malformed)?;
                input.spend_events(run.count())?;
                if self.floor().get(replica) >= run.first {
                    return Err(malformed);
                }
                self.push(replica, run);
            }
            if self.run_count(replica) != count + 1 {
                return Err(malformed);
            }
        }
        if replicas == 0 {
            return Err(malformed);
        }
        Ok(())
    }
}

impl LogRun {
    fn encode(&self, previous: &mut Option<Dot>, out: &mut Encoder<'_>) {
        let puts = if self.puts { PUTS } else { 0 };
        match &self.removed {
            Removed::Each(dots) => {
                out.varint(((dots.last() - dots.first()) << TAG_BITS) | puts);
                out.id(dots.replica());
                let expected = expected(*previous, dots.replica());
                out.signed(dots.first().wrapping_sub(expected).cast_signed());
                *previous = Dot::new(dots.replica(), dots.last());
            }
            Removed::All(dots) => {
                out.varint(((dots.iter().len() as u64 - 1) << TAG_BITS) | ALL | puts);
                out.intervals_alone(dots);
            }
        }
    }

    fn decode(
        first: u64,
        previous: &mut Option<Dot>,
        input: &mut Decoder<'_>,
    ) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("run of a removal log");
        let tag = input.varint()?;
        let more = tag >> TAG_BITS;
        let puts = tag & PUTS != 0;
        let removed = if tag & ALL == 0 {
            input.spend_intervals(1)?;
            let replica = input.id()?;
            let start = expected(*previous, replica).wrapping_add(input.signed()?.cast_unsigned());
            let last = start.checked_add(more).ok_or(malformed)?;
            *previous = Dot::new(replica, last);
            Removed::Each(Interval::new(replica, start, last).ok_or(malformed)?)
        } else {
            let count = usize::try_from(more)
                .ok()
                .and_then(|more| more.checked_add(1));
            let count = count.filter(|count| *count <= input.rest().len());
            let dots = input.intervals_alone(count.ok_or(DecodeError::Truncated)?)?;
            let mut intervals = dots.iter();
            if let (Some(only), None) = (intervals.next(), intervals.next())
                && only.first() == only.last()
            {
                return Err(malformed);
            }
            drop(intervals);
            Removed::All(Box::new(dots))
        };
        Ok(Self {
            first,
            puts,
            removed,
        })
    }
}

/// The dot removed next, if removals go on in order.
fn expected(previous: Option<Dot>, replica: ReplicaId) -> u64 {
    match previous {
        Some(dot) if dot.replica() == replica => dot.counter().wrapping_add(1),
        _ => 1,
    }
}
