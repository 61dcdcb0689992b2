//! What is known, beside the journal, of accounts and of what is on its way. All of it is asked for again after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy_primitives::B256;
use peaberry_core::{Instant, mutant};

use super::event::{Deferral, Stage};
use super::record::{EntryId, Record};
use super::trouble::Trouble;
use crate::{Address, ChainId};

/// An account on a chain. Its transactions are ordered; those of different lanes know nothing of each other.
pub(super) type LaneKey = (ChainId, Address);

/// How often an unanswered retry doubles.
const DOUBLINGS_MAX: u32 = 4;

/// How often in a row the chain must be seen to lack nonces that were used for good: one look may have met a node that lags.
const LOOKS_UNTIL_FLOOR_IGNORED: u8 = 3;
/// How often in a row what was included must be missing, in the eyes of nodes that have not come to its block, until it is
/// believed that the chain has become shorter. A look is a quarter of a block's time: a node that is behind by less than
/// sixteen blocks is not mistaken for that.
pub(super) const LOOKS_UNTIL_SHORTER: u8 = 64;

/// An open entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    /// The request about it that has not been answered: one at a time.
    pub(super) asked: Option<u64>,
    /// Left alone until then.
    pub(super) not_before: Instant,
    pub(super) tries: u32,
    /// A node has taken the newest attempt, and nothing since speaks against its having it.
    pub(super) is_sent: bool,
    /// The first request after a node took it: what was asked before says nothing of who lacks it.
    pub(super) taken_before: u64,
    /// The newest block when the newest attempt was first sent.
    pub(super) sent_in: Option<u64>,
    /// A node finds the fee too low.
    pub(super) wants_bump: bool,
    /// How often in a row a node held something dearer with its nonce.
    pub(super) outbid: u8,
    /// How often in a row its nonce was seen used for good by something else.
    pub(super) misses: u8,
    /// Its attempts of which there is no receipt, as far as has been found for the next of these misses.
    pub(super) lacking: BTreeSet<B256>,
    /// How often in a row its nonce was seen free at a final block since a proof of that is due, and the lowest such block.
    pub(super) free_at: Option<(u8, u64)>,
    /// How often in a row it was seen to have expired (Solana).
    pub(super) expiries: u8,
    /// How often in a row nodes have refused it for good.
    pub(super) refusals: u8,
    /// How often in a row it would have been reverted.
    pub(super) reverts: u8,
    pub(super) deferral: Option<Deferral>,
    /// Of the questions about it alone.
    pub(super) trouble: Trouble,
    /// Of looking for it.
    pub(super) sight_trouble: Trouble,
    /// It was told that it stands still for want of answers.
    pub(super) is_stalled: bool,
}

impl Entry {
    pub(super) fn new(record: Record) -> Self {
        Self {
            record,
            asked: None,
            not_before: Instant::default(),
            tries: 0,
            is_sent: false,
            taken_before: 0,
            sent_in: None,
            wants_bump: false,
            outbid: 0,
            misses: 0,
            lacking: BTreeSet::new(),
            free_at: None,
            expiries: 0,
            refusals: 0,
            reverts: 0,
            deferral: None,
            trouble: Trouble::default(),
            sight_trouble: Trouble::default(),
            is_stalled: false,
        }
    }

    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.asked.is_none() && self.not_before <= now
    }

    /// Leaves it alone for a while: longer each time.
    pub(super) fn back_off(&mut self, now: Instant, pause: Duration) {
        self.not_before = now + pause * (1 << self.tries.min(DOUBLINGS_MAX));
        self.tries = self.tries.saturating_add(1);
    }

    /// Forgets how earlier requests went.
    pub(super) fn refresh(&mut self) {
        self.not_before = Instant::default();
        self.tries = 0;
        self.refusals = 0;
        self.reverts = 0;
        self.deferral = None;
    }

    /// A cancelling attempt is wanted and not there yet.
    pub(super) fn wants_cancel(&self) -> bool {
        self.record.called_off.is_some()
            && self.record.included.is_none()
            && !self.record.attempts.iter().any(|attempt| attempt.is_cancel)
    }

    pub(super) fn stage(&self) -> Stage {
        let newest = self.record.attempts.last();
        match (&self.record.outcome, &self.record.included, newest) {
            (Some(outcome), ..) => Stage::Ended(outcome.clone()),
            (None, Some(inclusion), _) => Stage::Included(inclusion.clone()),
            (None, None, _) if self.deferral.is_some() => Stage::Deferred {
                reason: self.deferral.clone().unwrap_or(Deferral::FeeCap),
            },
            (None, None, Some(newest)) if self.is_sent => Stage::Sent {
                transaction: newest.id,
            },
            (None, None, Some(newest)) => Stage::Signed {
                nonce: self.record.nonce,
                transaction: newest.id,
            },
            (None, None, None) => Stage::Accepted,
        }
    }
}

/// An account with open entries.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Without a nonce, or on Solana without a signature; in order.
    pub(super) waiting: BTreeSet<EntryId>,
    /// As `waiting`, and left alone until then.
    pub(super) parked: BTreeSet<(Instant, EntryId)>,
    /// Who has which nonce, until its block is final.
    pub(super) held: BTreeMap<u64, EntryId>,
    /// With a nonce or a signature, and not included.
    pub(super) flying: BTreeSet<EntryId>,
    /// By the block in which they were seen last.
    pub(super) included: BTreeMap<(u64, B256), BTreeSet<EntryId>>,
    /// Every nonce below is used for good.
    pub(super) floor: u64,
    pub(super) is_floor_new: bool,
    /// How often in a row the chain's newest nonce was seen below the floor.
    pub(super) below_floor: u8,
    /// How often in a row a block was seen on the chain below the final one, and what is in it counted there.
    pub(super) settling: BTreeMap<(u64, B256), u8>,
    pub(super) view: Option<View>,
    pub(super) newest: Newest,
    /// Counts the looks, so that what nobody knows is not asked for in each.
    pub(super) looks: u64,
    /// The unanswered look.
    pub(super) looking: Option<u64>,
    /// The blocks that it asks about.
    pub(super) blocks_asked: Vec<(u64, B256)>,
    pub(super) look_at: Instant,
    /// A block was seen to be gone: all of them are asked about.
    pub(super) is_in_doubt: bool,
    /// How often in a row nonces were seen free that were used in blocks which are not known to be gone.
    pub(super) shorter: u8,
    /// Of the looks.
    pub(super) trouble: Trouble,
    /// How long, and why, nothing could be found out when that was told.
    pub(super) stalled: Option<(Duration, String)>,
    /// When it is to be woken.
    pub(super) due: Option<Instant>,
}

/// The highest number of a block that any of the last looks has named, of 64 at least and 128 at most. Who is behind now does
/// not make receipts younger than they are; and what one answer has named that never was does not count for ever.
#[derive(Debug, Default)]
pub(super) struct Newest {
    earlier: u64,
    current: u64,
    looks: u8,
}

impl Newest {
    pub(super) fn seen(&mut self, number: u64) {
        if self.looks == LOOKS_UNTIL_SHORTER {
            (self.earlier, self.current, self.looks) = (self.current, 0, 0);
        }
        self.current = self.current.max(number);
        self.looks += 1;
    }

    pub(super) fn number(&self) -> u64 {
        self.earlier.max(self.current)
    }
}

/// How the account stood at the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) latest_number: u64,
    pub(super) final_number: Option<u64>,
    pub(super) latest_nonce: u64,
    pub(super) pending_nonce: u64,
}

impl View {
    /// The final block; the first one where there is none yet.
    pub(super) fn final_or_genesis(self) -> u64 {
        self.final_number.unwrap_or_default()
    }
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.parked.is_empty()
            && self.flying.is_empty()
            && self.included.is_empty()
    }

    /// Where entries wait from the start of this life.
    pub(super) fn insert(&mut self, id: EntryId, record: &Record) {
        if let Some(nonce) = record.nonce {
            self.held.insert(nonce, id);
        }
        if let Some(inclusion) = &record.included {
            let block = (inclusion.block_number, inclusion.block_hash);
            self.included.entry(block).or_default().insert(id);
        } else if record.nonce.is_some() || !record.attempts.is_empty() {
            self.flying.insert(id);
        } else {
            self.waiting.insert(id);
        }
    }

    pub(super) fn remove(&mut self, id: EntryId, record: &Record, not_before: Instant) {
        if let Some(nonce) = record.nonce {
            self.held.remove(&nonce);
        }
        if let Some(inclusion) = &record.included {
            self.remove_included((inclusion.block_number, inclusion.block_hash), id);
        }
        self.flying.remove(&id);
        self.waiting.remove(&id);
        self.parked.remove(&(not_before, id));
    }

    pub(super) fn remove_included(&mut self, block: (u64, B256), id: EntryId) {
        if let Some(ids) = self.included.get_mut(&block) {
            ids.remove(&id);
            if ids.is_empty() {
                self.settling.remove(&block);
                self.included.remove(&block);
            }
        }
    }

    /// The nonce behind the last that can be in use: what is held here, and as much again of other wallets.
    fn bound(&self, view: View, in_flight_max: usize) -> u64 {
        let known = self.held.len().saturating_add(in_flight_max);
        view.latest_nonce.saturating_add(known as u64)
    }

    /// The first nonce that nodes lack, as far as they can be believed.
    fn first_lacking(&self, view: View, in_flight_max: usize) -> u64 {
        let is_credible = view.pending_nonce <= self.bound(view, in_flight_max);
        if is_credible {
            view.pending_nonce.max(view.latest_nonce)
        } else {
            view.latest_nonce
        }
    }

    /// The nonce that nobody has although one above it is taken: nothing above it can be included.
    pub(super) fn gap(&self, in_flight_max: usize) -> Option<u64> {
        if mutant::is_planted("outbox_gap_left_open") {
            return None;
        }
        let view = self.view?;
        // A chain that has not used what we thought is used for good lacks it.
        let floor = if self.below_floor < LOOKS_UNTIL_FLOOR_IGNORED {
            self.floor
        } else {
            0
        };
        let next = self.first_lacking(view, in_flight_max).max(floor);
        let highest = *self.held.last_key_value()?.0;
        (next < highest && !self.held.contains_key(&next)).then_some(next)
    }

    /// Such a nonce that an intent may have. A node that is behind or on a fork seems to lack what was used for good, too: an
    /// intent with such a nonce could never be included, and nobody could tell in the end, while a filler may be let go.
    pub(super) fn gap_for_intents(&self, in_flight_max: usize) -> Option<u64> {
        self.gap(in_flight_max).filter(|gap| *gap >= self.floor)
    }

    /// The nonce for the next transaction. `None` before the first look, and where a node names one that is too high to be
    /// believed: what got it would wait for ever if nothing fills what lies below.
    pub(super) fn next_nonce(&self, in_flight_max: usize) -> Option<u64> {
        let view = self.view?;
        if let Some(gap) = self.gap_for_intents(in_flight_max) {
            return Some(gap);
        }
        let above = self.held.last_key_value().map_or(0, |(nonce, _)| nonce + 1);
        let next = above
            .max(view.pending_nonce)
            .max(view.latest_nonce)
            .max(self.floor);
        let is_credible = next < self.bound(view, in_flight_max);
        is_credible.then_some(next)
    }

    /// All entries of the account, each once.
    pub(super) fn entries(&self) -> BTreeSet<EntryId> {
        let waiting = self.waiting.iter().chain(&self.flying);
        let parked = self.parked.iter().map(|(_, id)| id);
        let included = self.included.values().flatten();
        waiting.chain(parked).chain(included).copied().collect()
    }

    /// The blocks whose place on the chain is looked at: the highest, on which all others stand, and those that should be
    /// final by now. Once one is gone, the others that are not final stand in doubt, the highest first.
    pub(super) fn blocks_to_check(&self) -> Vec<(u64, B256)> {
        const BLOCKS_MAX: usize = 64;
        if self.is_in_doubt {
            let highest = self.included.keys().rev().take(BLOCKS_MAX);
            return highest.copied().collect();
        }
        let final_number = self.view.and_then(|view| view.final_number);
        let mut blocks: Vec<_> = self
            .included
            .keys()
            .copied()
            .filter(|(number, _)| final_number.is_some_and(|at| *number <= at))
            .take(BLOCKS_MAX)
            .collect();
        if let Some((highest, _)) = self.included.last_key_value()
            && blocks.last() != Some(highest)
        {
            blocks.push(*highest);
        }
        blocks
    }

    /// Whether anything of it is held up while nobody knows what gas costs.
    pub(super) fn needs_price(&self) -> bool {
        !self.waiting.is_empty() || !self.flying.is_empty()
    }

    pub(super) fn raise_floor(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            self.is_floor_new = true;
        }
    }
}
