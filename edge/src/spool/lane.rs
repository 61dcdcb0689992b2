//! One stream in the spool: its logs, and how far it has been sent.

use std::collections::VecDeque;

use peaberry_core::{Batch, Channel, LogId, Storage};

use super::entry::Entry;
use super::levels::{LEVELS, Levels};
use super::log::{Log, read_one, read_some};
use super::send::Patience;
use crate::coverage::Coverage;
use crate::error::EdgeError;
use crate::identity::{BootEpoch, Position};
use crate::topic::Stream;

/// At most so many bytes are read ahead of what is sent.
const READ_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) stream: Stream,
    /// As the store has it.
    pub(super) durable: Levels,
    /// As the store will have it when what is staged is committed; `None`: as it is.
    staged: Option<Box<[Log; LEVELS]>>,
    /// Entries change their places with the next commit.
    pub(super) moves: bool,
    /// What is behind it is committed and not synced, and is not sent; `None`: everything is synced.
    synced: Option<Box<Position>>,
    backlog: Option<Box<Backlog>>,
    /// What was there when the spool was opened, until it is gone.
    found: Option<Box<Found>>,
    live: Cursor,
    pub(super) patience: Patience,
    /// What the broker has, where that is all there is to wait for.
    pub(super) accepted: Option<Box<Coverage>>,
    /// What the sink has, as long as it is not durable here that it may be forgotten.
    pub(super) acknowledged: Option<Box<Position>>,
    /// Of what the broker or the sink has, something was not let go of yet.
    pub(super) may_let_go: bool,
}

/// What was there before all that is sent as it is made.
#[derive(Debug)]
struct Backlog {
    /// Its last record.
    boundary: Position,
    cursor: Cursor,
}

/// What was there when the spool was opened.
#[derive(Debug)]
struct Found {
    /// Its last record.
    last: Position,
    /// What the broker has taken since, and has not forgotten with the session.
    accepted: Coverage,
}

/// A place in a lane, behind what has been sent.
#[derive(Debug, Default)]
struct Cursor {
    sent: Option<Position>,
    /// Level and index of the next entry, if known.
    place: Option<(usize, u64)>,
    /// The entry at the index before, if known.
    before: Option<Position>,
    /// Entries read already, from `place` on.
    ahead: VecDeque<Entry>,
}

impl Cursor {
    fn behind(sent: Option<Position>) -> Self {
        Self {
            sent,
            ..Self::default()
        }
    }

    fn forget_place(&mut self) {
        *self = Self::behind(self.sent);
    }
}

impl Lane {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            durable: Levels::EMPTY,
            staged: None,
            moves: false,
            synced: None,
            backlog: None,
            found: None,
            live: Cursor::default(),
            patience: Patience::default(),
            accepted: None,
            acknowledged: None,
            may_let_go: false,
        }
    }

    pub(super) fn open(
        storage: &dyn Storage,
        owner: Channel,
        stream: Stream,
    ) -> Result<Self, EdgeError> {
        let mut lane = Self::new(stream);
        let mut logs = [Log::EMPTY; LEVELS];
        for (level, log) in logs.iter_mut().enumerate() {
            *log = Log::open(storage, log_id(owner, stream, level))?;
        }
        lane.durable.set(logs);
        lane.rewind(None);
        lane.found = lane.backlog.as_ref().map(|backlog| {
            let last = backlog.boundary;
            let accepted = Coverage::default();
            Box::new(Found { last, accepted })
        });
        Ok(lane)
    }

    /// How far an acknowledgement through `through` may cut; `None`: not at all. What was found when the spool was opened is
    /// with the broker before it is cut: it may have been made in a start that the sink's knowledge had overtaken, and then the
    /// sink has not got it, and can say so only when it comes. What was only handed over may have died with the connection.
    pub(super) fn may_cut(&self, through: Position) -> Option<Position> {
        let Some(found) = self.found.as_deref() else {
            return Some(through);
        };
        let accepted = found.accepted.through();
        if accepted >= Some(found.last) {
            return Some(through);
        }
        accepted.min(Some(through))
    }

    /// The broker has the record at `at`, which was held right behind `after`.
    pub(super) fn note_accepted(&mut self, after: Option<Position>, at: Position) {
        if let Some(found) = &mut self.found {
            // One hole too many is none in the end: the sink is silent about it, and all of it goes again.
            let _ = found.accepted.take(after, at);
        }
    }

    /// The broker has forgotten the session, and may have lost what it took.
    pub(super) fn note_forgotten(&mut self) {
        if let Some(found) = &mut self.found {
            found.accepted = Coverage::default();
        }
    }

    pub(super) const fn is_staged(&self) -> bool {
        self.staged.is_some()
    }

    pub(super) fn staged(&self) -> [Log; LEVELS] {
        let staged = self.staged.as_deref().copied();
        staged.unwrap_or_else(|| self.durable.all())
    }

    pub(super) fn staged_mut(&mut self) -> &mut [Log; LEVELS] {
        self.staged
            .get_or_insert_with(|| Box::new(self.durable.all()))
    }

    pub(super) fn committed(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.durable.set(*staged);
        }
        self.acknowledged = None;
        if self.count() == 0 {
            self.found = None;
            // Not before: a cut that finds no room on the disk is undone, and the sink must be reminded.
            self.patience = Patience::default();
        }
        if std::mem::take(&mut self.moves) {
            if let Some(backlog) = &mut self.backlog {
                backlog.cursor.forget_place();
            }
            self.live.forget_place();
        }
    }

    pub(super) fn aborted(&mut self) {
        self.staged = None;
        // What they have may have been let go of only now.
        self.may_let_go |= self.accepted.is_some() || self.acknowledged.is_some();
        self.moves = false;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.staged().iter().map(Log::bytes).sum()
    }

    pub(super) fn count(&self) -> u64 {
        self.staged().iter().map(Log::count).sum()
    }

    /// The newest durable record, whether it is still there or not.
    fn newest(&self) -> Option<Position> {
        let newest = self.durable.iter().filter_map(|log| log.last).max();
        match self.synced.as_deref() {
            Some(&synced) => newest.min(Some(synced)),
            None => newest,
        }
    }

    /// See [`Spool::hold_back`](super::Spool::hold_back).
    pub(super) fn hold_back(&mut self) {
        // Before every record.
        let nothing = Position::new(BootEpoch::FIRST, 0);
        self.synced = Some(Box::new(self.newest().unwrap_or(nothing)));
    }

    /// See [`Spool::synced`](super::Spool::synced).
    pub(super) fn synced(&mut self) {
        self.synced = None;
    }

    /// Sends everything behind `from` again: it is the backlog now.
    pub(super) fn rewind(&mut self, from: Option<Position>) {
        let is_empty = self.durable.iter().all(Log::is_empty);
        let newest = self.newest();
        if is_empty {
            self.found = None;
        }
        self.backlog = newest.filter(|_| !is_empty).map(|boundary| {
            let cursor = Cursor::behind(from);
            Box::new(Backlog { boundary, cursor })
        });
        self.live = Cursor::behind(newest);
    }

    /// Sends everything behind `from` again, if it has got further than that.
    pub(super) fn rewind_to(&mut self, from: Option<Position>) {
        let sent = self.backlog.as_ref().map(|backlog| backlog.cursor.sent);
        self.rewind(sent.map_or(from, |sent| sent.min(from)));
    }

    pub(super) fn has_backlog(&self) -> bool {
        let backlog = self.backlog.as_ref();
        backlog.is_some_and(|backlog| backlog.cursor.sent < Some(backlog.boundary))
    }

    /// What of the backlog is yet to be sent: behind the one, up to the other.
    pub(super) fn unsent_backlog(&self) -> Option<(Option<Position>, Position)> {
        let backlog = self.backlog.as_ref()?;
        Some((backlog.cursor.sent, backlog.boundary))
    }

    pub(super) fn has_live(&self) -> bool {
        self.newest() > self.live.sent
    }

    /// The next record of the backlog, with the one before it.
    pub(super) fn next_backlog(
        &mut self,
        storage: &dyn Storage,
        owner: Channel,
        count_max: usize,
    ) -> Result<Option<(Entry, Option<Position>)>, EdgeError> {
        let Some(mut backlog) = self.backlog.take() else {
            return Ok(None);
        };
        let boundary = Some(backlog.boundary);
        let found = self.advance(&mut backlog.cursor, boundary, storage, owner, count_max);
        if !matches!(found, Ok(None)) {
            self.backlog = Some(backlog);
        }
        found
    }

    /// The next record that is not of the backlog, with the one before it.
    pub(super) fn next_live(
        &mut self,
        storage: &dyn Storage,
        owner: Channel,
        count_max: usize,
    ) -> Result<Option<(Entry, Option<Position>)>, EdgeError> {
        let mut cursor = std::mem::take(&mut self.live);
        let found = self.advance(&mut cursor, None, storage, owner, count_max);
        self.live = cursor;
        let found = found?;
        if found.is_none() {
            // What was not sent has been dropped.
            self.live = Cursor::behind(self.newest());
        }
        Ok(found)
    }

    fn advance(
        &self,
        cursor: &mut Cursor,
        boundary: Option<Position>,
        storage: &dyn Storage,
        owner: Channel,
        count_max: usize,
    ) -> Result<Option<(Entry, Option<Position>)>, EdgeError> {
        loop {
            self.skip_gone(cursor);
            if cursor.ahead.is_empty() && !self.read_ahead(cursor, storage, owner, count_max)? {
                return Ok(None);
            }
            let (Some((level, index)), Some(entry)) = (cursor.place, cursor.ahead.front()) else {
                continue;
            };
            let is_behind = |bound: Position| entry.head.at > bound;
            if boundary.is_some_and(is_behind)
                || self.synced.as_deref().copied().is_some_and(is_behind)
            {
                return Ok(None);
            }
            let after = self.held_before(level, index, cursor.before);
            let at = entry.head.at;
            cursor.place = Some((level, index + 1));
            cursor.before = Some(at);
            cursor.sent = Some(at);
            let entry = cursor.ahead.pop_front();
            if cursor.ahead.is_empty() {
                // Nothing is kept for a device that waits.
                cursor.ahead = VecDeque::new();
            }
            return Ok(entry.map(|entry| (entry, after)));
        }
    }

    /// Passes over what was read ahead and has been dropped or acknowledged since.
    fn skip_gone(&self, cursor: &mut Cursor) {
        let Some((level, mut index)) = cursor.place else {
            cursor.ahead.clear();
            return;
        };
        let first = self.durable.get(level).map_or(0, |log| log.first);
        while index < first
            && let Some(gone) = cursor.ahead.pop_front()
        {
            index += 1;
            cursor.before = Some(gone.head.at);
        }
        if index < first {
            index = first;
            cursor.before = None;
        }
        cursor.place = Some((level, index));
    }

    /// Whether anything was found.
    fn read_ahead(
        &self,
        cursor: &mut Cursor,
        storage: &dyn Storage,
        owner: Channel,
        count_max: usize,
    ) -> Result<bool, EdgeError> {
        let (mut level, mut index) = match cursor.place {
            Some(place) => place,
            None => self.locate(cursor, storage, owner)?,
        };
        loop {
            let Some(log) = self.durable.get(level) else {
                return Ok(false);
            };
            if index < log.end {
                let end = log.end.min(index.saturating_add(count_max.max(1) as u64));
                let id = log_id(owner, self.stream, level);
                cursor.ahead = read_some(storage, id, index..end, READ_BYTES)?.into();
                cursor.place = Some((level, index));
                return Ok(!cursor.ahead.is_empty());
            }
            let Some(newer) = level.checked_sub(1) else {
                return Ok(false);
            };
            level = newer;
            index = self.durable.get(newer).map_or(0, |log| log.first);
            cursor.before = None;
        }
    }

    /// The place behind what the cursor has sent.
    fn locate(
        &self,
        cursor: &mut Cursor,
        storage: &dyn Storage,
        owner: Channel,
    ) -> Result<(usize, u64), EdgeError> {
        for level in (0..LEVELS).rev() {
            let Some(log) = self.durable.get(level) else {
                continue;
            };
            let is_behind = cursor.sent.is_some_and(|sent| log.last <= Some(sent));
            if log.is_empty() || is_behind {
                continue;
            }
            let Some(sent) = cursor.sent else {
                return Ok((level, log.first));
            };
            let id = log_id(owner, self.stream, level);
            let index = Log::index_behind(storage, id, log.first..log.end, sent)?;
            if index > log.first {
                cursor.before = Some(read_one(storage, id, index - 1)?.head.at);
            }
            return Ok((level, index));
        }
        let end = self.durable.get(0).map_or(0, |log| log.end);
        Ok((0, end))
    }

    /// The record that is held right before the one at `index`, of which `before` is known.
    fn held_before(&self, level: usize, index: u64, before: Option<Position>) -> Option<Position> {
        let first = self.durable.get(level).map_or(0, |log| log.first);
        if index > first && before.is_some() {
            return before;
        }
        let mut older = (level + 1..LEVELS).filter_map(|level| self.durable.get(level));
        let older = older.find(|log| !log.is_empty());
        older.and_then(|log| log.last)
    }

    /// Lets go of everything up to `through`; whether anything was there.
    pub(super) fn cut(
        &mut self,
        through: Position,
        storage: &dyn Storage,
        owner: Channel,
        batch: &mut Batch,
    ) -> Result<u64, EdgeError> {
        let mut count = 0;
        // Also where the cut is undone: what was acknowledged is kept in mind, and cut again.
        self.found.take_if(|found| found.last <= through);
        for level in (0..LEVELS).rev() {
            let id = log_id(owner, self.stream, level);
            let first = self.staged().get(level).map(|log| log.first);
            let (Some(durable), Some(first)) = (self.durable.get(level), first) else {
                continue;
            };
            let range = first..durable.end;
            let to = match durable.last {
                Some(last) if last <= through => range.end,
                _ => Log::index_behind(storage, id, range.clone(), through)?,
            };
            if to <= first {
                continue;
            }
            let before = before_of(storage, id, durable, to)?;
            count += to - first;
            if let Some(log) = self.staged_mut().get_mut(level) {
                log.discard(batch, id, to, before);
            }
        }
        Ok(count)
    }
}

/// [`Head::before`](super::entry::Head::before) at an index up to the log's end.
pub(super) fn before_of(
    storage: &dyn Storage,
    id: LogId,
    log: &Log,
    index: u64,
) -> Result<u64, EdgeError> {
    if index >= log.end {
        return Ok(log.before_end);
    }
    Ok(read_one(storage, id, index)?.head.before)
}

pub(super) fn log_id(owner: Channel, stream: Stream, level: usize) -> LogId {
    let level = u32::try_from(level).unwrap_or(u32::MAX);
    LogId::new(owner, u32::from(stream.number()) * 8 + level)
}
