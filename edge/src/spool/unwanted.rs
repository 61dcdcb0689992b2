//! Records that nobody takes, and how often each was tried: also in earlier starts.

use std::time::Duration;

use peaberry_core::wire::{self, Reader, WireError};
use peaberry_core::{Batch, Instant, Storage, Subspace};

use super::log::unreadable;
use crate::error::EdgeError;
use crate::identity::{BootEpoch, Position};
use crate::payload::GapReason;
use crate::topic::Stream;

/// So often a record is tried that is too long for the uplink: another broker may take it, or this one when somebody has set
/// it right. A try counts on another connection than the last, or [so much](TOO_LONG_INTERVAL) later. A later start counts on.
pub const TOO_LONG_MAX: u32 = 3;

/// What one connection refuses within this time counts once. It is time in which the device runs: how long it is off between two
/// starts is not known, and none of that counts.
pub const TOO_LONG_INTERVAL: Duration = Duration::from_secs(3_600);

/// So often a broker refuses a record before it is given up, where there is no sink: each an
/// [hour](TOO_LONG_INTERVAL) after the last that counts, on whatever connections, so that somebody has time to set the broker right.
/// A later start counts on.
pub const REFUSED_MAX: u32 = 3;

/// Of so many records of a stream it is known how often they were tried, and of the oldest.
const KNOWN_MAX: usize = 16;

/// More than a list has.
const STORED_MAX: usize = 4 * KNOWN_MAX * Stream::ALL.len();

const KEY: &[u8] = b"unwanted";

/// Which record: of a stream, the one at a place.
pub(super) type Which = (Stream, Position);

/// The records that the uplink found too long or, where there is no sink, the broker refused.
#[derive(Debug, Default)]
pub(super) struct Unwanted {
    known: Vec<Tried>,
    /// What is known has not been staged as it is.
    has_changed: bool,
    is_staged: bool,
    /// The store may have a list.
    is_stored: bool,
}

/// A record, and how often it was tried in vain.
#[derive(Clone, Copy, Debug)]
struct Tried {
    which: Which,
    reason: GapReason,
    refusals: u32,
    /// On which connection of this start the last was that counts; 0: in an earlier start.
    connection: u32,
    /// How much time has passed since then, between the refusals of each start.
    waited: Duration,
    /// When it was refused last in this start.
    refused_at: Option<Instant>,
    /// It is given up if the present commit succeeds.
    is_given_up: bool,
}

impl Unwanted {
    pub(super) fn open(storage: &dyn Storage, space: &Subspace) -> Result<Self, EdgeError> {
        let Some(bytes) = space.get(storage, KEY).map_err(unreadable)? else {
            return Ok(Self::default());
        };
        let known = read(&bytes).map_err(|source| EdgeError::Stored {
            what: "how often records were refused",
            source,
        })?;
        Ok(Self {
            known,
            is_stored: true,
            ..Self::default()
        })
    }

    /// The record is refused; `is_oldest` of its stream, if nothing is before it. How often it has been, this time included.
    pub(super) fn count(
        &mut self,
        now: Instant,
        connection: u32,
        which: Which,
        is_oldest: bool,
        reason: GapReason,
    ) -> u32 {
        self.has_changed = true;
        if let Some(known) = self.known.iter_mut().find(|known| known.which == which) {
            known.count(now, connection, reason);
            return known.refusals;
        }
        let (stream, at) = which;
        let is_of = |known: &Tried| known.which.0 == stream;
        if is_oldest {
            // What was before it is gone.
            self.known
                .retain(|known| !is_of(known) || known.which.1 > at);
        }
        let count = self.known.iter().filter(|known| is_of(known)).count();
        // Only the oldest is ever given up: that one is always known.
        if is_oldest || count < KNOWN_MAX {
            self.known.push(Tried {
                which,
                reason,
                refusals: 1,
                connection,
                waited: Duration::ZERO,
                refused_at: Some(now),
                is_given_up: false,
            });
        }
        1
    }

    /// The record is taken, however often it was refused before.
    pub(super) fn taken(&mut self, which: Which) {
        let before = self.known.len();
        self.known.retain(|known| known.which != which);
        self.has_changed |= self.known.len() != before;
    }

    /// What the broker has refused [so often](REFUSED_MAX), the oldest first.
    pub(super) fn hopeless(&self) -> Vec<Which> {
        let is_hopeless = |known: &&Tried| {
            known.reason == GapReason::Refused
                && known.refusals >= REFUSED_MAX
                && !known.is_given_up
        };
        let hopeless = self.known.iter().filter(is_hopeless);
        let mut hopeless: Vec<_> = hopeless.map(|known| known.which).collect();
        hopeless.sort_unstable();
        hopeless
    }

    /// It is staged that the record is gone.
    pub(super) fn give_up(&mut self, which: Which) {
        if let Some(known) = self.known.iter_mut().find(|known| known.which == which) {
            known.is_given_up = true;
            self.has_changed = true;
        }
    }

    /// Stages what has changed, with what is staged anyway: a count is worth no write of its own, nor room on a full disk.
    pub(super) fn save(&mut self, space: &Subspace, batch: &mut Batch) {
        if !std::mem::take(&mut self.has_changed) {
            return;
        }
        let left = self.known.iter().filter(|known| !known.is_given_up);
        if left.clone().next().is_some() {
            let mut bytes = Vec::new();
            put(&mut bytes, left);
            space.put(batch, KEY, &bytes);
            self.is_stored = true;
        } else if self.is_stored {
            space.delete(batch, KEY);
        }
        self.is_staged = true;
    }

    /// What was given up is gone.
    pub(super) fn committed(&mut self) {
        self.is_staged = false;
        self.known.retain(|known| !known.is_given_up);
        if self.known.is_empty() {
            // Nothing is kept for a device whose records are taken.
            self.known = Vec::new();
            self.is_stored &= self.has_changed;
        }
    }

    /// What was to be given up is there still, as often refused as before.
    pub(super) fn aborted(&mut self) {
        for known in &mut self.known {
            known.is_given_up = false;
        }
        self.has_changed |= std::mem::take(&mut self.is_staged);
    }
}

impl Tried {
    /// It is refused once more.
    fn count(&mut self, now: Instant, connection: u32, reason: GapReason) {
        self.reason = reason;
        let before = self.refused_at.replace(now).unwrap_or(now);
        self.waited += now.since(before);
        let is_due = self.waited >= TOO_LONG_INTERVAL;
        if is_due || (reason == GapReason::TooLong && self.connection != connection) {
            self.refusals = self.refusals.saturating_add(1);
            (self.waited, self.connection) = (Duration::ZERO, connection);
        }
    }
}

fn put<'a>(out: &mut Vec<u8>, known: impl Iterator<Item = &'a Tried> + Clone) {
    wire::put_varint(out, known.clone().count() as u64);
    for one in known {
        let (stream, at) = one.which;
        out.push(stream.number());
        wire::put_varint(out, at.boot.get());
        wire::put_varint(out, at.sequence);
        wire::put_varint(out, one.reason.number());
        wire::put_varint(out, u64::from(one.refusals));
        let waited_ms = one.waited.min(TOO_LONG_INTERVAL).as_millis();
        wire::put_varint(out, u64::try_from(waited_ms).unwrap_or(u64::MAX));
    }
}

fn read(bytes: &[u8]) -> Result<Vec<Tried>, WireError> {
    let mut reader = Reader::new(bytes);
    let count = reader.length(STORED_MAX)?;
    let mut known = Vec::new();
    for _ in 0..count {
        known.push(read_one(&mut reader)?);
    }
    reader.finish()?;
    Ok(known)
}

fn read_one(reader: &mut Reader<'_>) -> Result<Tried, WireError> {
    let stream = Stream::from_number(u64::from(reader.u8()?)).ok_or(WireError::Varint)?;
    let boot = BootEpoch::new(reader.varint()?).ok_or(WireError::Varint)?;
    let at = Position::new(boot, reader.varint()?);
    let reason = GapReason::from_number(reader.varint()?);
    let refusals = u32::try_from(reader.varint()?).map_err(|_too_many| WireError::Varint)?;
    let waited = Duration::from_millis(reader.varint()?).min(TOO_LONG_INTERVAL);
    Ok(Tried {
        which: (stream, at),
        reason,
        refusals,
        connection: 0,
        waited,
        refused_at: None,
        is_given_up: false,
    })
}

/// Feeds any bytes at all to the decoder.
pub(super) fn decode_any(bytes: &[u8]) {
    if let Ok(known) = read(bytes) {
        let mut again = Vec::new();
        put(&mut again, known.iter());
        assert!(read(&again).is_ok(), "a list reads its own bytes");
    }
}
