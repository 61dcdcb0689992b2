//! A delta as bytes.

use alloc::string::String;

use super::claim_of;
use crate::arrivals::Arrivals;
use crate::removal_log::RemovalLog;
use crate::store::held_twice;
use crate::wire::{DecodeError, Decoder, Encoder, Message, StoreCodec};
use crate::{Delta, Dot, VersionVector};

/// Set for the usual delta: events of one replica, that need no other's.
const ONE: u8 = 1;
/// Set if there is a log.
const LOG: u8 = 2;
/// Set if removals are told as what is alive.
const ALIVE: u8 = 4;

impl<S: StoreCodec> Message for Delta<S> {
    const KIND: u8 = 2;

    fn describe(out: &mut String) {
        S::describe(out);
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        let one = self.alive.is_none() && self.to.iter().len() == 1;
        let flag = |flag, set| if set { flag } else { 0 };
        out.u8(flag(ONE, one)
            | flag(LOG, !self.log.is_empty())
            | flag(ALIVE, self.alive.is_some()));
        match &self.alive {
            None => write_claim(&self.from, &self.to, one, out),
            Some(alive) => {
                out.vector(&self.to);
                out.vector_below(&self.from, &self.to);
                out.vector_below(self.log.floor(), &self.to);
                out.intervals(alive);
            }
        }
        out.set_base(&self.from);
        S::encode_column(&[&self.store], out);
        if !self.log.is_empty() {
            self.log.encode(out);
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let flags = input.u8()?;
        if flags & !(ONE | LOG | ALIVE) != 0 || flags & (ONE | ALIVE) == ONE | ALIVE {
            return Err(DecodeError::Malformed("flags of a delta"));
        }
        let (from, to, floor, alive);
        if flags & ALIVE == 0 {
            (from, to) = read_claim(flags & ONE != 0, input)?;
            (floor, alive) = (VersionVector::new(), None);
        } else {
            to = input.vector()?;
            from = input.vector_below(&to)?;
            floor = input.vector_below(&to)?;
            alive = Some(input.intervals()?);
        }
        input.set_base(&from);
        let store = S::decode_column(1, input)?.pop();
        let store = store.ok_or(DecodeError::Malformed("no store"))?;
        let mut log = RemovalLog::default();
        log.cut(&floor);
        if flags & LOG != 0 {
            log.decode(&to, input)?;
        }
        let delta = Self {
            from,
            to,
            store,
            log,
            alive,
            arrivals: Arrivals::default(),
        };
        delta.validate()?;
        Ok(delta)
    }
}

impl<S: StoreCodec> Delta<S> {
    fn validate(&self) -> Result<(), DecodeError> {
        if let Some(dot) = self.first_unclaimed() {
            let (replica, counter) = (dot.replica(), dot.counter());
            return Err(DecodeError::Unclaimed { replica, counter });
        }
        if held_twice(&self.store).is_some() {
            return Err(DecodeError::Malformed("a dot is held twice"));
        }
        if self.first_held_though_removed().is_some() {
            return Err(DecodeError::Malformed("a removed dot is held"));
        }
        if self.alive.is_some() {
            return Ok(());
        }
        if let Some(dot) = self.first_overclaim()
            && !crate::mutant::lets_overclaims_pass()
        {
            let (replica, counter) = (dot.replica(), dot.counter());
            return Err(DecodeError::OverClaim { replica, counter });
        }
        // Whatever is asked for beyond what the events need would refuse a receiver for nothing.
        let (from, to) = claim_of(&self.from, &self.to, &self.store, &self.log);
        if from != self.from || to != self.to {
            return Err(DecodeError::Malformed(
                "delta asks for more or less than it needs",
            ));
        }
        Ok(())
    }
}

/// The events of each replica, then what else is needed.
fn write_claim(from: &VersionVector, to: &VersionVector, one: bool, out: &mut Encoder<'_>) {
    let events = || to.since(from);
    if !one {
        out.varint(events().count() as u64);
    }
    for events in events() {
        out.id(events.replica());
        out.varint(events.first() - 1);
        out.varint(events.last() - events.first());
    }
    if !one {
        let needed = || {
            to.iter()
                .filter(|(replica, upto)| from.get(*replica) == *upto)
        };
        out.varint(needed().count() as u64);
        for (replica, upto) in needed() {
            out.id(replica);
            out.varint(upto);
        }
    }
}

fn read_claim(
    one: bool,
    input: &mut Decoder<'_>,
) -> Result<(VersionVector, VersionVector), DecodeError> {
    let malformed = DecodeError::Malformed("events of a delta");
    let (mut from, mut to) = (VersionVector::new(), VersionVector::new());
    let mut previous = None;
    for _ in 0..if one { 1 } else { input.count()? } {
        let replica = input.id()?;
        let known = input.varint()?;
        let last = known.checked_add(input.varint()?);
        let last = last.and_then(|last| last.checked_add(1)).ok_or(malformed)?;
        if previous.replace(replica) >= Some(replica) {
            return Err(malformed);
        }
        from.raise(replica, known);
        to.raise(replica, last);
    }
    previous = None;
    for _ in 0..if one { 0 } else { input.count()? } {
        let dot = Dot::new(input.id()?, input.varint()?).ok_or(malformed)?;
        let replica = dot.replica();
        if previous.replace(replica) >= Some(replica) || to.get(replica) > 0 {
            return Err(malformed);
        }
        from.raise(replica, dot.counter());
        to.raise(replica, dot.counter());
    }
    if !one && to.iter().len() == 1 {
        return Err(malformed);
    }
    Ok((from, to))
}
