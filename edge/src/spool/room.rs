//! Who gives way when the spool is full.

use peaberry_core::{Batch, LogId, Storage};

use super::entry::cost;
use super::lane::{Lane, before_of, log_id};
use super::levels::LEVELS;
use super::log::{Log, read_one, read_some};
use super::{DropPolicy, Spool};
use crate::error::EdgeError;
use crate::identity::Position;
use crate::payload::{Gap, GapReason, Payload, Record, Wire};
use crate::topic::Stream;

/// Where the oldest give way, at least this part of their log does at a time, so that it need not be done for each record.
const DROP_SHARE: u64 = 32;

/// What a record costs that is no batch of readings.
const USUAL_COST: u64 = 512;

/// See [`Spool::has_room_for_more`].
const MORE_PART: u64 = 8;

/// How many entries are decimated at a time.
const DECIMATE_COUNT: u64 = 128;
const DECIMATE_BYTES: usize = 256 << 10;

impl Spool {
    /// Makes room for a record of `stream` that costs `need`: first in the stream itself as its policy has it, then in
    /// streams of less importance that drop, the least important first. Whether there is room now.
    pub(super) fn make_room(
        &mut self,
        stream: Stream,
        need: u64,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<bool, EdgeError> {
        while !self.fits(stream, need) {
            let Some(victim) = self.victim(stream) else {
                return Ok(false);
            };
            self.drop_some(victim, need, storage, batch)?;
        }
        Ok(true)
    }

    /// The disk is full: lets the least important of the streams that drop give up an eighth of its records, and writes that
    /// down in `batch`. Whether there was anything to give up.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`] if the spool cannot be read.
    pub fn relieve(&mut self, storage: &dyn Storage, batch: &mut Batch) -> Result<bool, EdgeError> {
        let Some(victim) = (0..self.lanes.len())
            .rev()
            .find(|&lane| self.may_drop(lane))
        else {
            return Ok(false);
        };
        let Some(bytes) = self.lanes.get(victim).map(Lane::bytes) else {
            return Ok(false);
        };
        self.drop_oldest(victim, bytes / 8, storage, batch)?;
        Ok(true)
    }

    /// Whether [`relieve`](Self::relieve) has anything to give up.
    pub(crate) fn can_give_up(&self) -> bool {
        (0..self.lanes.len()).any(|lane| self.may_drop(lane))
    }

    /// Whether a record of `stream` and of usual size fits without anything giving way.
    pub(crate) fn has_room(&self, stream: Stream) -> bool {
        self.fits(stream, USUAL_COST)
    }

    /// Whether so many bytes more of `stream` fit without anything giving way, and all of it into a part of the room: for what
    /// others can have said again and again.
    pub(crate) fn has_room_for_more(&self, stream: Stream, bytes: usize) -> bool {
        let lanes = self.lanes.iter().filter(|lane| lane.stream == stream);
        let held: u64 = lanes.map(Lane::bytes).sum();
        let need = cost(bytes) + USUAL_COST;
        held + need <= self.settings.bytes_max / MORE_PART && self.fits(stream, need)
    }

    /// Whether there may be a record that does not fit: what need not be kept is to go before anything gives way.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let bytes: u64 = self.lanes.iter().map(Lane::bytes).sum();
        let need = cost(self.settings.record_bytes_max);
        bytes + need + self.settings.reserved_bytes > self.settings.bytes_max
    }

    /// Streams without a share in the reserved space leave it alone, used or not.
    pub(super) fn fits(&self, stream: Stream, need: u64) -> bool {
        let settings = &self.settings;
        let (mut reserved, mut general) = (0, 0);
        for lane in &self.lanes {
            if settings.stream(lane.stream).is_reserved {
                reserved += lane.bytes();
            } else {
                general += lane.bytes();
            }
        }
        if !settings.stream(stream).is_reserved {
            reserved = reserved.max(settings.reserved_bytes);
        }
        reserved + general + need <= settings.bytes_max
    }

    fn victim(&self, stream: Stream) -> Option<usize> {
        let own = self.lanes.iter().position(|lane| lane.stream == stream);
        let own = own.filter(|&lane| self.may_drop(lane));
        own.or_else(|| {
            let wants = self.settings.stream(stream);
            let gives_way = |&lane: &usize| {
                let Some(other) = self.lanes.get(lane) else {
                    return false;
                };
                let other = self.settings.stream(other.stream);
                let is_less = (!other.is_reserved && wants.is_reserved)
                    || (other.is_reserved == wants.is_reserved && other.priority > wants.priority);
                is_less && self.may_drop(lane)
            };
            (0..self.lanes.len()).rev().find(gives_way)
        })
    }

    /// Only what the store has can be dropped: what is staged is not there to be read yet.
    fn may_drop(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|lane| {
            self.settings.stream(lane.stream).policy != DropPolicy::RejectNew
                && oldest_level(lane).is_some()
        })
    }

    fn drop_some(
        &mut self,
        lane: usize,
        need: u64,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        let policy = self.lanes.get(lane).map(|lane| {
            let policy = self.settings.stream(lane.stream).policy;
            (policy, level_to_thin(lane))
        });
        match policy {
            Some((DropPolicy::Decimate, Some(level))) => self.decimate(lane, level, storage, batch),
            _ => self.drop_oldest(lane, need, storage, batch),
        }
    }

    fn drop_oldest(
        &mut self,
        lane: usize,
        need: u64,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        let share = self.lanes.get(lane).and_then(|lane| {
            let log = lane.staged().get(oldest_level(lane)?).copied()?;
            Some(log.bytes() / DROP_SHARE)
        });
        let bytes = need.max(share.unwrap_or(0));
        self.drop_front(lane, bytes, GapReason::Dropped, storage, batch)
    }

    /// Gives up the oldest record of a stream, if it is the one at `at`. Whether it was.
    pub(super) fn give_up_oldest(
        &mut self,
        (stream, at): (Stream, Position),
        reason: GapReason,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<bool, EdgeError> {
        let found = self.lanes.iter().position(|lane| lane.stream == stream);
        let Some((place, lane)) = found.and_then(|place| Some((place, self.lanes.get(place)?)))
        else {
            return Ok(false);
        };
        let Some(level) = oldest_level(lane) else {
            return Ok(false);
        };
        let id = log_id(self.owner, stream, level);
        let first = lane.staged().get(level).map_or(0, |log| log.first);
        if read_one(storage, id, first)?.head.at != at {
            return Ok(false);
        }
        self.drop_front(place, 0, reason, storage, batch)?;
        Ok(true)
    }

    /// Gives up the oldest records of a stream, one at least, until they make `bytes`.
    fn drop_front(
        &mut self,
        lane: usize,
        bytes: u64,
        reason: GapReason,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return Ok(());
        };
        let Some(level) = oldest_level(lane) else {
            return Ok(());
        };
        let id = log_id(self.owner, lane.stream, level);
        let Some(durable) = lane.durable.get(level).copied() else {
            return Ok(());
        };
        let Some(log) = lane.staged_mut().get_mut(level) else {
            return Ok(());
        };
        let from = log.first;
        let to = log.index_at_bytes(storage, id, from + 1..durable.end, bytes)?;
        let first = read_one(storage, id, from)?.head.at;
        let last = read_one(storage, id, to - 1)?.head.at;
        let before = before_of(storage, id, &durable, to)?;
        log.discard(batch, id, to, before);
        let gap = Gap {
            stream: lane.stream,
            first,
            last,
            count: to - from,
            reason,
        };
        self.lost(batch, gap);
        if gap.stream == Stream::Alerts {
            self.tell_again(storage, id, from, to, batch)?;
        }
        Ok(())
    }

    /// Gap records that are dropped themselves: what they told is to be told again.
    fn tell_again(
        &mut self,
        storage: &dyn Storage,
        id: LogId,
        from: u64,
        to: u64,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        let mut from = from;
        while from < to {
            let entries = read_some(storage, id, from..to, DECIMATE_BYTES)?;
            from += entries.len().max(1) as u64;
            for entry in entries {
                if let Some(gap) = gap_in(&entry.record) {
                    self.gaps.note(batch, gap);
                }
            }
        }
        Ok(())
    }

    /// Moves every second of the oldest entries of one level to the next, and lets the others go.
    fn decimate(
        &mut self,
        lane: usize,
        level: usize,
        storage: &dyn Storage,
        batch: &mut Batch,
    ) -> Result<(), EdgeError> {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return Ok(());
        };
        let stream = lane.stream;
        let (from_id, to_id) = (
            log_id(self.owner, stream, level),
            log_id(self.owner, stream, level + 1),
        );
        let Some(durable) = lane.durable.get(level).copied() else {
            return Ok(());
        };
        let [older, log] = lane
            .staged_mut()
            .get_disjoint_mut([level + 1, level])
            .expect("the last level is not decimated");
        let from = log.first;
        let end = durable.end.min(from + DECIMATE_COUNT);
        let entries = read_some(storage, from_id, from..end, DECIMATE_BYTES)?;
        let to = from + entries.len() as u64;
        let before = before_of(storage, from_id, &durable, to)?;
        log.discard(batch, from_id, to, before);
        let mut gap: Option<Gap> = None;
        let mut untold = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let position = entry.head.at;
            if at % 2 == 1 {
                older.append(batch, to_id, position, &entry.record);
                continue;
            }
            if stream == Stream::Alerts {
                untold.extend(gap_in(&entry.record));
            }
            let one = super::gaps::one(stream, position, GapReason::Decimated);
            match &mut gap {
                Some(gap) => gap.widen(&one),
                None => gap = Some(one),
            }
        }
        lane.moves = true;
        if let Some(gap) = gap {
            self.lost(batch, gap);
        }
        for gap in untold {
            self.gaps.note(batch, gap);
        }
        Ok(())
    }

    /// Records are gone: counted, and to be told.
    pub(super) fn lost(&mut self, batch: &mut Batch, gap: Gap) {
        self.dropping_records += gap.count;
        self.must_sync = true;
        self.is_staged = true;
        self.gaps.note(batch, gap);
    }
}

/// What a gap record tells; `None` for any other record.
fn gap_in(record: &[u8]) -> Option<Gap> {
    match Record::decode(record) {
        Ok(Record {
            payload: Payload::Gap(gap),
            ..
        }) => Some(gap),
        _ => None,
    }
}

/// The oldest level of which the store has anything that is not given up yet.
fn oldest_level(lane: &Lane) -> Option<usize> {
    (0..LEVELS).rev().find(|&level| has_some(lane, level))
}

/// Whether the store has anything on this level that is not given up yet.
fn has_some(lane: &Lane, level: usize) -> bool {
    let (staged, durable) = (lane.staged(), lane.durable.get(level));
    let staged = staged.get(level);
    staged.is_some_and(|log| durable.is_some_and(|durable| log.first < durable.end))
}

/// The level with the most bytes of those that can be decimated; `None`: the oldest of the last level give way, because it
/// has the most.
fn level_to_thin(lane: &Lane) -> Option<usize> {
    let bytes = |level: usize| lane.staged().get(level).map_or(0, Log::bytes);
    let (last, rest) = (LEVELS - 1, 0..LEVELS - 1);
    let fullest = rest
        .filter(|&level| has_some(lane, level))
        .max_by_key(|&level| bytes(level))?;
    let is_last_fuller = has_some(lane, last) && bytes(last) > bytes(fullest);
    (!is_last_fuller).then_some(fullest)
}
