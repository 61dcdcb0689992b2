//! A log of numbers, written by hand, that breaks one law or another: the testkit must say which.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use peaberry_crdt::testkit::{Dice, check_convergence, check_laws};
use peaberry_crdt::wire::{DecodeError, Decoder, Encoder, Message};
use peaberry_crdt::{
    ApplyError, Changed, Dot, Lattice as _, Limits, Replicated, VersionVector, Writer,
};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// A delta claims its last event and does not carry it.
    OverClaims,
    /// Whatever comes last is shown.
    JoinsByArrival,
    /// What comes twice counts twice.
    NotIdempotent,
    /// A delta that comes too early is applied.
    TakesGaps,
    /// The last part of a split delta is not there.
    LosesParts,
    /// The bytes tell in how many steps it came about.
    BytesByHistory,
    /// What is cut off is read as nothing.
    TakesPrefixes,
}

thread_local! {
    static FLAW: Cell<Flaw> = const { Cell::new(Flaw::None) };
}

fn has(flaw: Flaw) -> bool {
    FLAW.get() == flaw
}

/// Numbers by their events, in `(from, to]` of each replica.
#[derive(Clone, Debug, Default)]
struct Log {
    from: VersionVector,
    to: VersionVector,
    numbers: BTreeMap<Dot, u64>,
    /// The number that came last.
    last: u64,
    steps: u64,
}

impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        (&self.to, &self.numbers) == (&other.to, &other.numbers)
            && (!has(Flaw::JoinsByArrival) || self.last == other.last)
    }
}

impl Log {
    fn write(&mut self, writer: &Writer, number: u64) {
        let replica = writer.replica();
        let counter = self.to.get(replica) + 1;
        self.to.raise(replica, counter);
        self.numbers
            .extend(Dot::new(replica, counter).map(|dot| (dot, number)));
        (self.last, self.steps) = (number, self.steps + 1);
    }

    fn between(&self, from: &VersionVector, to: &VersionVector) -> Self {
        let is_within = |dot: &Dot| to.covers(*dot) && !from.covers(*dot);
        let numbers = self.numbers.iter().filter(|(dot, _)| is_within(dot));
        Self {
            from: from.meet(to),
            to: to.clone(),
            numbers: numbers.map(|(dot, number)| (*dot, *number)).collect(),
            ..Self::default()
        }
    }
}

fn put(vector: &VersionVector, out: &mut Encoder<'_>) {
    out.varint(vector.iter().len() as u64);
    for (replica, counter) in vector.iter() {
        out.id(replica);
        out.varint(counter);
    }
}

fn take(input: &mut Decoder<'_>) -> Result<VersionVector, DecodeError> {
    let mut vector = VersionVector::new();
    for _ in 0..input.count()? {
        let replica = input.id()?;
        vector.raise(replica, input.varint()?);
    }
    Ok(vector)
}

impl Message for Log {
    const KIND: u8 = 40;

    fn describe(out: &mut String) {
        out.push_str("Log");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        put(&self.from, out);
        put(&self.to, out);
        out.varint(self.numbers.len() as u64);
        for (dot, number) in &self.numbers {
            out.id(dot.replica());
            out.varint(dot.counter());
            out.varint(*number);
        }
        if has(Flaw::JoinsByArrival) {
            out.varint(self.last);
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (from, to) = (take(input)?, take(input)?);
        let mut numbers = BTreeMap::new();
        for _ in 0..input.count()? {
            let dot = Dot::new(input.id()?, input.varint()?);
            let dot = dot.ok_or(DecodeError::Malformed("event of a log"))?;
            numbers.insert(dot, input.varint()?);
        }
        let mut last = 0;
        if has(Flaw::JoinsByArrival) {
            last = input.varint()?;
        }
        Ok(Self {
            from,
            to,
            numbers,
            last,
            steps: 0,
        })
    }

    fn from_bytes(bytes: &[u8], budget: peaberry_crdt::wire::Budget) -> Result<Self, DecodeError> {
        if has(Flaw::TakesPrefixes) && peaberry_crdt::wire::open(bytes).is_err() {
            return Ok(Self::default());
        }
        let body = peaberry_crdt::wire::open(bytes)?;
        let table = peaberry_crdt::wire::IdTable::new();
        Self::from_session_bytes(body, &table, budget)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.to_session_bytes(&peaberry_crdt::wire::IdTable::new(), &mut bytes);
        peaberry_crdt::wire::seal(&mut bytes, 0);
        bytes
    }
}

impl Replicated for Log {
    type Delta = Self;

    fn vector(&self) -> &VersionVector {
        &self.to
    }

    fn delta_since(&self, known: &VersionVector) -> Self {
        let mut delta = self.between(known, &self.to);
        if has(Flaw::OverClaims) && delta.numbers.len() > 1 {
            delta.numbers.pop_last();
        }
        delta
    }

    fn needs(delta: &Self) -> &VersionVector {
        &delta.from
    }

    fn gives(delta: &Self) -> &VersionVector {
        &delta.to
    }

    fn apply_within(&mut self, delta: &Self, _: &Limits) -> Result<Changed, ApplyError> {
        if let Some(replica) = self.to.first_behind(&delta.from)
            && !has(Flaw::TakesGaps)
        {
            let (known, from) = (self.to.get(replica), delta.from.get(replica));
            return Err(ApplyError::Gap {
                replica,
                known,
                from,
            });
        }
        let changed = self.to.join(&delta.to);
        self.numbers.extend(&delta.numbers);
        if changed == Changed::Yes || has(Flaw::NotIdempotent) {
            self.steps += 1;
            self.last = delta.numbers.values().last().copied().unwrap_or(self.last);
        }
        Ok(if has(Flaw::NotIdempotent) {
            Changed::Yes
        } else {
            changed
        })
    }

    fn split(delta: Self, bytes_max: usize) -> Vec<Self> {
        let mut upto = delta.from.clone();
        let mut parts = Vec::new();
        if delta.numbers.is_empty() || delta.to_bytes().len() <= bytes_max {
            parts.push(delta);
            return parts;
        }
        // Each number by itself: none has a cause.
        for dot in delta.numbers.keys() {
            let from = upto.clone();
            upto.raise(dot.replica(), dot.counter());
            parts.push(delta.between(&from, &upto));
        }
        if has(Flaw::LosesParts) && parts.len() > 1 {
            parts.pop();
        }
        parts
    }

    fn canonical_bytes(&self) -> Vec<u8> {
        let mut bytes = self.between(&VersionVector::new(), &self.to).to_bytes();
        if has(Flaw::BytesByHistory) {
            bytes.push(self.steps.to_le_bytes()[0]);
        }
        bytes
    }

    fn collect(&mut self, _: &VersionVector) -> Changed {
        Changed::No
    }
}

fn edit(log: &mut Log, writer: &mut Writer, dice: &mut Dice) {
    log.write(writer, dice.below(100));
}

/// What a check says of a log with the flaw; nothing if it passes.
fn complaint(flaw: Flaw, check: impl FnOnce()) -> Option<String> {
    FLAW.set(flaw);
    let caught = catch_unwind(AssertUnwindSafe(check)).err()?;
    caught.downcast_ref::<String>().cloned()
}

#[test]
fn a_type_that_breaks_a_law_is_caught_by_the_name_of_the_law() {
    let laws = || check_laws(0..300, Log::default, edit);
    assert_eq!(complaint(Flaw::None, laws), None);
    for (flaw, law) in [
        (Flaw::OverClaims, "a join is associative and commutative"),
        (
            Flaw::JoinsByArrival,
            "a join is associative and commutative",
        ),
        (Flaw::NotIdempotent, "a repeated delta changes nothing"),
        (Flaw::TakesGaps, "a delta beyond a gap is refused"),
        (
            Flaw::LosesParts,
            "the parts of a delta do what the delta does",
        ),
        (Flaw::BytesByHistory, "equal states write equal bytes"),
        (Flaw::TakesPrefixes, "a prefix is not taken for a whole"),
    ] {
        let said = complaint(flaw, laws).unwrap_or_default();
        assert!(said.contains(law), "{flaw:?}: {said}");
        assert!(said.contains("seed") && said.contains("steps"), "{said}");
    }
}

#[test]
fn a_type_that_breaks_a_law_does_not_converge() {
    let convergence = || check_convergence(0..30, Log::default, edit);
    assert_eq!(complaint(Flaw::None, convergence), None);
    for flaw in [Flaw::OverClaims, Flaw::JoinsByArrival] {
        assert!(complaint(flaw, convergence).is_some(), "{flaw:?}");
    }
}
