//! Deciding: what is new, what is gone, what stays.

use std::collections::VecDeque;
use std::time::Duration;

use alloy_primitives::B256;
use peaberry_core::{
    Channel, Effects, Input, Instant, LogId, Protocol, ProtocolId, Storage, StorageError, Subspace,
    mutant,
};

use super::change::{Alarm, Change, ChangeKind, FollowCommand, FollowEvent, Stall, decode, encode};
use super::config::{FollowConfig, Start};
use super::ring::{ACKNOWLEDGED, CURSOR, RingError, Stored};
use super::walk::{Known, Path, Step, Walk};
use crate::{Block, ChainError, ChainId, Log};

/// The follower's protocol on a node.
pub const FOLLOW: ProtocolId = ProtocolId(41);

/// How often in a row the chain must be seen without a final block before the alarm is raised: one answer may have come
/// from a node that lags.
const BREAKS_UNTIL_ALARM: u8 = 3;
/// How often in a row a fork must be seen that ends below the tip until the blocks above it are taken for gone: a node that is
/// behind may also have ended up on a fork that the others have left.
const LOOKS_UNTIL_SHORTER: u8 = 3;
const PAGE_BYTES: usize = 1 << 20;
const FINAL: &[u8] = b"f";
pub(super) const ALARM: &[u8] = b"h";

type Fx<'a, 'b> = &'a mut Effects<'b, FollowEvent>;

/// Why a follower could not be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The store could not be read.
    #[error("what was followed could not be read")]
    Storage(#[from] StorageError),
    /// What is stored does not decode: it was written by something else, or by a newer version.
    #[error("what was followed does not decode: restore the store from a backup")]
    Damaged(#[from] RingError),
    /// The client is one of another chain than the one to be followed.
    #[error("the client serves {found}, not {expected}: check which chain it was made for")]
    WrongChain {
        /// The chain to be followed.
        expected: ChainId,
        /// The client's.
        found: ChainId,
    },
    /// The node could not host it.
    #[error("the node could not host the follower")]
    Add(#[from] peaberry_core::AddError),
}

/// Follows one chain: the part that decides.
///
/// Every change is in the store before it is told; after a restart those that were not acknowledged are told again, the
/// same, in order. What was reorganised while the process was down is removed first. When a block that was final is not
/// there any more, it raises the [`Alarm`] and stops for good.
#[derive(Debug)]
pub struct Follow {
    config: FollowConfig,
    space: Subspace,
    log: LogId,
    /// The first is final, or the first ever followed; each is the next one's parent.
    ring: VecDeque<Stored>,
    final_number: Option<u64>,
    alarm: Option<Alarm>,
    next_change: u64,
    acknowledged: u64,
    /// Told in the life before, and not acknowledged.
    replay: Vec<Change>,
    walking: Option<u64>,
    walk_number: u64,
    walk_at: Instant,
    is_woken: bool,
    range: u64,
    breaks: u8,
    shorter: u8,
    /// Since when every look has failed.
    failing_since: Option<Instant>,
    is_stalled: bool,
    is_resumed: bool,
}

impl Follow {
    /// The follower whose ring lies in `storage` under `channel`.
    ///
    /// # Errors
    ///
    /// See [`FollowError`]. Nothing changed.
    pub fn open(
        channel: Channel,
        config: FollowConfig,
        storage: &dyn Storage,
    ) -> Result<Self, FollowError> {
        let space = Subspace::of(channel);
        let log = LogId::new(channel, 0);
        let mut follow = Self {
            range: config.range_max,
            config,
            log,
            ring: VecDeque::new(),
            final_number: number_at(&space, storage, FINAL)?,
            alarm: None,
            next_change: storage.log_bounds(log)?.end + 1,
            acknowledged: number_at(&space, storage, CURSOR)?
                .filter(|_| !mutant::is_planted("follow_cursor_ignored"))
                .max(number_at(&space, storage, ACKNOWLEDGED)?)
                .unwrap_or(0),
            replay: Vec::new(),
            walking: None,
            walk_number: 0,
            walk_at: Instant::default(),
            is_woken: false,
            breaks: 0,
            shorter: 0,
            failing_since: None,
            is_stalled: false,
            is_resumed: false,
            space,
        };
        follow.load_ring(storage)?;
        follow.load_changes(storage)?;
        if let Some(bytes) = follow.space.get(storage, ALARM)? {
            follow.alarm = Some(read_alarm(&bytes)?);
        }
        Ok(follow)
    }

    /// The newest block; `None` before the first.
    #[must_use]
    pub fn tip(&self) -> Option<Block> {
        self.ring.back().map(|stored| stored.block)
    }

    /// Why it has stopped for good, if it has.
    #[must_use]
    pub const fn alarm(&self) -> Option<Alarm> {
        self.alarm
    }

    fn load_ring(&mut self, storage: &dyn Storage) -> Result<(), FollowError> {
        for entry in self.space.within(b"b").entries(storage) {
            let (_, value) = entry?;
            self.ring.push_back(Stored::decode(&value)?);
        }
        Ok(())
    }

    fn load_changes(&mut self, storage: &dyn Storage) -> Result<(), FollowError> {
        let end = self.next_change - 1;
        let mut at = self.acknowledged.max(storage.log_bounds(self.log)?.start);
        while at < end {
            let entries = storage.log_read(self.log, at..end, PAGE_BYTES)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                at += 1;
                self.replay.push(Change {
                    number: at,
                    kind: decode(&entry)?,
                });
            }
        }
        Ok(())
    }

    fn walk(&mut self, now: Instant, fx: Fx<'_, '_>) {
        let waiting = self.next_change - 1 - self.acknowledged;
        let is_full = waiting >= self.config.unacknowledged_max as u64;
        if self.alarm.is_some() || self.walking.is_some() || is_full || self.walk_at > now {
            return;
        }
        let known = if self.ring.is_empty() {
            Known::Nothing(match self.config.start {
                Start::At(number) => Some(number),
                Start::Final => None,
            })
        } else {
            let ring = self.ring.iter();
            Known::Ring(
                ring.map(|stored| (stored.block.number, stored.block.hash))
                    .collect(),
            )
        };
        self.walk_number += 1;
        self.walking = Some(self.walk_number);
        fx.emit(FollowEvent::Walk(Walk {
            number: self.walk_number,
            filter: self.config.filter.clone(),
            known,
            range_max: self.range,
        }));
    }

    fn answer(
        &mut self,
        number: u64,
        result: Result<Step, ChainError>,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        // An answer that came before.
        if self.walking != Some(number) {
            return;
        }
        self.walking = None;
        // Whoever was woken meanwhile may have looked too early.
        let pause = match std::mem::take(&mut self.is_woken) {
            true => Duration::ZERO,
            false => self.config.poll_every,
        };
        self.walk_at = now + pause;
        if self.alarm.is_some() {
            return;
        }
        self.tell_stall(result.as_ref().err(), now, fx);
        match result {
            Ok(Step::Path(path)) => self.path(path, now, fx),
            Ok(Step::Range {
                parent,
                numbers,
                last,
                logs,
            }) => {
                let tip = self.tip();
                let follows = tip.is_some_and(|tip| {
                    tip.hash == parent
                        && *numbers.start() == tip.number + 1
                        && *numbers.end() == last.number
                });
                if follows {
                    self.range(*numbers.start(), last, logs, fx);
                    // There is more.
                    self.walk_at = now;
                }
            }
            Ok(Step::Broken {
                number,
                found,
                final_number,
            }) => self.broken(number, found, final_number, fx),
            Ok(Step::Nothing) => {}
            Err(ChainError::RangeTooWide { .. } | ChainError::TooLarge { .. }) => {
                // Where even one block is too much there is nothing to gain by haste.
                if self.range > 1 {
                    self.walk_at = now;
                }
                self.range = (self.range / 2).max(1);
            }
            Err(ChainError::RateLimited { retry_after }) => {
                self.walk_at = now + retry_after.max(self.config.poll_every);
            }
            // Each provider has its own words for too much, or a status of HTTP, or takes too long. When all is well it grows
            // again.
            Err(_) => self.range = (self.range / 2).max(1),
        }
    }

    /// Says once that every look fails, and once that they do no more. What has changed is told behind that.
    fn tell_stall(&mut self, failure: Option<&ChainError>, now: Instant, fx: Fx<'_, '_>) {
        let Some(failure) = failure else {
            self.failing_since = None;
            if std::mem::take(&mut self.is_stalled) {
                fx.emit_after_commit(FollowEvent::Resumed);
            }
            return;
        };
        let lasts = now.since(*self.failing_since.get_or_insert(now));
        if lasts >= self.config.stalled_after && !self.is_stalled {
            self.is_stalled = true;
            let why = failure.clone();
            // In its place among the changes.
            fx.emit_after_commit(FollowEvent::Stalled(Stall { lasts, why }));
        }
    }

    fn path(&mut self, path: Path, now: Instant, fx: Fx<'_, '_>) {
        if !links(&path) {
            return;
        }
        self.breaks = 0;
        let by_number = mutant::is_planted("follow_cursor_by_number_only");
        match path.ancestor {
            _ if by_number && !self.ring.is_empty() => {}
            None if !self.ring.is_empty() => return,
            None => {}
            Some((number, hash)) => {
                let is_known = self
                    .ring
                    .iter()
                    .any(|stored| stored.block.number == number && stored.block.hash == hash);
                if !is_known || self.may_lag(number, &path) {
                    return;
                }
                while self.tip().is_some_and(|tip| tip.number > number) {
                    self.remove_tip(fx);
                }
            }
        }
        let has_more = path.blocks.len() > 1;
        let is_on_path =
            |wanted: &Block| path.blocks.iter().any(|(one, _)| one.hash == wanted.hash);
        let final_ahead = path.final_block.filter(is_on_path);
        let mut has_grown = false;
        for (block, logs) in path.blocks {
            if by_number && self.tip().is_some_and(|tip| block.number <= tip.number) {
                continue;
            }
            if self.ring.len() >= self.config.ring_max {
                break;
            }
            self.add(block, logs, fx);
            has_grown = true;
        }
        // Where the ring has no room up to the final block, all that it holds leads there.
        let is_below = |tip: &Block| final_ahead.is_some_and(|block| block.number > tip.number);
        let tip = self.tip().filter(is_below);
        if let Some(block) = tip.or(path.final_block) {
            self.finalize(block, fx);
        }
        if has_more && (has_grown || tip.is_some()) {
            self.walk_at = now;
        }
    }

    /// Whether a path that leaves our fork below the tip and ends there may be that of a node that is behind.
    fn may_lag(&mut self, ancestor: u64, path: &Path) -> bool {
        let end = path
            .blocks
            .last()
            .map_or(ancestor, |(block, _)| block.number);
        let is_shorter = self.tip().is_some_and(|tip| end < tip.number);
        self.shorter = match is_shorter {
            true => self.shorter.saturating_add(1),
            false => 0,
        };
        is_shorter && self.shorter < LOOKS_UNTIL_SHORTER
    }

    fn add(&mut self, block: Block, logs: Vec<Log>, fx: Fx<'_, '_>) {
        let stored = Stored { block, logs };
        self.space
            .put(fx.batch(), &block_key(block.number), &stored.encode());
        let logs = stored.logs.clone();
        self.ring.push_back(stored);
        self.tell(
            ChangeKind::Added {
                first: block.number,
                block,
                logs,
            },
            fx,
        );
    }

    fn remove_tip(&mut self, fx: Fx<'_, '_>) {
        if let Some(Stored { block, logs }) = self.ring.pop_back() {
            self.space.delete(fx.batch(), &block_key(block.number));
            self.tell(ChangeKind::Removed { block, logs }, fx);
        }
    }

    /// Final blocks many at once: only the last of them needs to be remembered.
    fn range(&mut self, first: u64, last: Block, logs: Vec<Log>, fx: Fx<'_, '_>) {
        self.breaks = 0;
        for stored in self.ring.drain(..) {
            self.space
                .delete(fx.batch(), &block_key(stored.block.number));
        }
        let stored = Stored {
            block: last,
            logs: Vec::new(),
        };
        self.space
            .put(fx.batch(), &block_key(last.number), &stored.encode());
        self.ring.push_back(stored);
        self.tell(
            ChangeKind::Added {
                first,
                block: last,
                logs,
            },
            fx,
        );
        self.mark_final(last, fx);
        self.range = (self.range + self.range / 4 + 1).min(self.config.range_max);
    }

    fn finalize(&mut self, block: Block, fx: Fx<'_, '_>) {
        let at = self
            .ring
            .iter()
            .position(|stored| stored.block.number == block.number);
        let Some(at) = at else {
            return;
        };
        let Some(own) = self.ring.get(at).map(|stored| stored.block) else {
            return;
        };
        let is_marked = self
            .final_number
            .is_some_and(|number| number >= block.number);
        match (own.hash == block.hash, is_marked) {
            (true, true) => {}
            (true, false) => {
                for stored in self.ring.drain(..at) {
                    self.space
                        .delete(fx.batch(), &block_key(stored.block.number));
                }
                self.mark_final(own, fx);
            }
            (false, true) => {
                let found = Some(block.hash);
                self.broken(block.number, found, block.number, fx);
            }
            // We are on a fork that the chain has left, and shall see so at the next walk.
            (false, false) => {}
        }
    }

    fn mark_final(&mut self, block: Block, fx: Fx<'_, '_>) {
        self.final_number = Some(block.number);
        self.space
            .put(fx.batch(), FINAL, &block.number.to_be_bytes());
        self.tell(ChangeKind::Finalized { block }, fx);
    }

    /// The chain does not have the ring's first block.
    fn broken(&mut self, number: u64, found: Option<B256>, final_number: u64, fx: Fx<'_, '_>) {
        let Some(first) = self.ring.front().map(|stored| stored.block) else {
            return;
        };
        // A node that has not come so far knows less than we do.
        if first.number != number || found.is_none() {
            return;
        }
        if self.final_number != Some(number) {
            // Nothing was final yet: back behind the beginning.
            while !self.ring.is_empty() {
                self.remove_tip(fx);
            }
            return;
        }
        if final_number < number || mutant::is_planted("follow_final_change_unnoticed") {
            return;
        }
        self.breaks += 1;
        if self.breaks < BREAKS_UNTIL_ALARM {
            return;
        }
        let alarm = Alarm {
            number,
            was: first.hash,
            is: found,
        };
        self.alarm = Some(alarm);
        self.space.put(fx.batch(), ALARM, &write_alarm(&alarm));
        fx.emit_after_commit(FollowEvent::Alarm(alarm));
    }

    fn tell(&mut self, kind: ChangeKind, fx: Fx<'_, '_>) {
        let number = self.next_change;
        self.next_change += 1;
        let entry = encode(&kind);
        fx.batch().append_with(self.log, number - 1, |out| {
            out.extend_from_slice(&entry);
        });
        fx.emit_after_commit(FollowEvent::Change(Change { number, kind }));
    }

    fn acknowledge(&mut self, number: u64, fx: Fx<'_, '_>) {
        let number = number.min(self.next_change - 1);
        if number <= self.acknowledged {
            return;
        }
        self.acknowledged = number;
        self.space
            .put(fx.batch(), ACKNOWLEDGED, &number.to_be_bytes());
        fx.batch().discard(self.log, number);
    }
}

impl Protocol for Follow {
    type Command = FollowCommand;
    type Event = FollowEvent;
    type Error = FollowError;

    fn step(
        &mut self,
        now: Instant,
        input: Input<FollowCommand>,
        fx: &mut Effects<'_, FollowEvent>,
    ) -> Result<(), FollowError> {
        match input {
            Input::Command(FollowCommand::Acknowledge(number)) => self.acknowledge(number, fx),
            Input::Command(FollowCommand::Wake) => {
                self.walk_at = now;
                self.is_woken = self.walking.is_some();
            }
            Input::Command(FollowCommand::Answer { number, result }) => {
                self.answer(number, *result, now, fx);
            }
            // It has no peers, and reads nothing behind its back.
            Input::Timeout
            | Input::Message(_)
            | Input::Committed(_)
            | Input::Read(..)
            | Input::Unreachable(_) => {}
        }
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, FollowEvent>,
    ) -> Result<(), FollowError> {
        if !self.is_resumed {
            self.is_resumed = true;
            for change in std::mem::take(&mut self.replay) {
                fx.emit(FollowEvent::Change(change));
            }
            if let Some(alarm) = self.alarm {
                fx.emit(FollowEvent::Alarm(alarm));
            }
        }
        self.walk(now, fx);
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let waiting = self.next_change - 1 - self.acknowledged;
        let is_full = waiting >= self.config.unacknowledged_max as u64;
        let is_idle = self.walking.is_none() && self.alarm.is_none() && !is_full;
        is_idle.then_some(self.walk_at)
    }
}

/// Whether each block is the next one's parent and has its own logs: the answer is not trusted so far.
fn links(path: &Path) -> bool {
    let mut tip = path.ancestor;
    path.blocks.iter().all(|(block, logs)| {
        let follows =
            tip.is_none_or(|(number, hash)| block.number == number + 1 && block.parent == hash);
        tip = Some((block.number, block.hash));
        follows && logs.iter().all(|log| log.block_hash == block.hash)
    })
}

fn block_key(number: u64) -> Vec<u8> {
    [b"b".as_slice(), &number.to_be_bytes()].concat()
}

fn number_at(
    space: &Subspace,
    storage: &dyn Storage,
    name: &[u8],
) -> Result<Option<u64>, FollowError> {
    let bytes = space.get(storage, name)?;
    bytes
        .map(|bytes| {
            let bytes = bytes.as_ref().try_into();
            let bytes = bytes.map_err(|_another_length| RingError::Field("number"))?;
            Ok(u64::from_be_bytes(bytes))
        })
        .transpose()
}

fn write_alarm(alarm: &Alarm) -> Vec<u8> {
    let mut out = alarm.number.to_be_bytes().to_vec();
    out.extend_from_slice(alarm.was.as_slice());
    if let Some(is) = alarm.is {
        out.extend_from_slice(is.as_slice());
    }
    out
}

fn read_alarm(bytes: &[u8]) -> Result<Alarm, RingError> {
    let mut reader = peaberry_core::wire::Reader::new(bytes);
    let number = u64::from_be_bytes(reader.array()?);
    let was = reader.array::<32>()?.into();
    let is = match reader.rest() {
        [] => None,
        _ => Some(reader.array::<32>()?.into()),
    };
    reader.finish()?;
    Ok(Alarm { number, was, is })
}
