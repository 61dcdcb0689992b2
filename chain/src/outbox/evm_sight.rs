//! What a look at an EVM account has shown: what is included, final, undone, displaced or missing.

use alloy_primitives::B256;
use peaberry_core::{Instant, mutant};

use super::event::{Deferral, Stage};
use super::lane::{LOOKS_UNTIL_SHORTER, Lane, LaneKey, View};
use super::protocol::{Fx, Outbox};
use super::reason::kept;
use super::record::{EntryId, Inclusion, Outcome, Record};
use super::request::{AccountView, Place, Sight};
use crate::evm::receipts_known;
use crate::{ChainError, TxId};

/// How often in a row a nonce must be seen used for good by something else: one look may have met a node that lags.
const MISSES_UNTIL_DISPLACED: u8 = 3;
/// How often in a row a block must be seen below the final one until what is in it is final.
const LOOKS_UNTIL_SETTLED: u8 = 3;
/// How often in a row a nonce must be seen free at a final block until that is a proof.
const LOOKS_UNTIL_FREE: u8 = 3;
/// Transactions above the first that a node lacks which are sent again with it.
const RESENT_AT_ONCE: u64 = 16;

/// Whether half of the receipts' time has gone by since it was known to be in no final block. What claims that of a block
/// above the final one of now claims nothing yet.
fn is_proof_old(record: &Record, lane: &Lane, receipts_kept: u64) -> bool {
    let is_old = |number: u64| match record.signed_above {
        Some(at) => at > number || number - at > receipts_kept / 2,
        None => number >= receipts_kept,
    };
    let final_number = lane.view.and_then(|view| view.final_number);
    record.nonce.is_some() && record.included.is_none() && final_number.is_some_and(is_old)
}

/// The newest block of a node that has forgotten no receipt which this record's attempts may have: none may have one up to the
/// final block from before they were signed.
pub(super) fn newest_max(record: &Record, receipts_kept: u64) -> u64 {
    let signed_above = record.signed_above.unwrap_or(0);
    signed_above.saturating_add(receipts_known(receipts_kept))
}

fn undecided() -> ChainError {
    ChainError::NotFound {
        what: "what has used the nonce, in enough nodes,".into(),
    }
}

impl Outbox {
    /// What a look has shown.
    pub(super) fn seen(
        &mut self,
        key: LaneKey,
        look: u64,
        seen: &AccountView,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        let mut view = View {
            latest_number: seen.latest_number,
            final_number: seen.final_number,
            latest_nonce: seen.latest_nonce,
            pending_nonce: seen.pending_nonce,
        };
        let forgets = !mutant::is_planted("outbox_nonce_not_read_after_reorg");
        if !forgets && let Some(last) = lane.view {
            view.latest_nonce = view.latest_nonce.max(last.latest_nonce);
            view.pending_nonce = view.pending_nonce.max(last.pending_nonce);
        }
        lane.view = Some(view);
        let final_number = seen.final_number.unwrap_or(0);
        lane.newest.seen(final_number.max(seen.latest_number));
        lane.below_floor = if seen.latest_nonce < lane.floor {
            lane.below_floor.saturating_add(1)
        } else {
            0
        };
        let blocks = std::mem::take(&mut lane.blocks_asked);
        let was_in_doubt = std::mem::take(&mut lane.is_in_doubt);
        for (block, place) in blocks.into_iter().zip(&seen.places) {
            let is_final = match place {
                Place::Final => self.is_counted(key, block, seen),
                Place::Canonical => {
                    seen.final_number.is_some_and(|at| block.0 <= at)
                        && self.is_settled(key, block, seen)
                }
                Place::Gone => {
                    self.lose_block(key, block, fx);
                    self.doubt_the_others(key, was_in_doubt, now);
                    false
                }
                // Nearly always a node that is behind; whether the chain is shorter the nonces show in the long run.
                Place::Beyond => false,
            };
            if is_final {
                self.settle_block(key, block, fx);
            } else {
                self.note_unproven(key, block, *place, seen, now, fx);
            }
        }
        if forgets {
            self.lose_above(key, seen.latest_nonce, fx);
        }
        self.prove_free(key, seen, fx);
        for (id, sight) in &seen.sights {
            self.sighted(*id, sight.clone(), seen, fx);
        }
        self.note_failures(seen, now, fx);
        self.resend_missing(key, look, view);
        self.count_from_now(key, view);
    }

    /// What is below the final block, and of which nodes do not say that it is final, waits for them, and that is told.
    fn note_unproven(
        &mut self,
        key: LaneKey,
        block: (u64, B256),
        place: Place,
        seen: &AccountView,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        if seen.final_number.is_none_or(|at| block.0 > at) {
            return;
        }
        let what = match place {
            Place::Beyond => format!("block {} in enough nodes", block.0),
            Place::Final | Place::Canonical => {
                "the account's nonce at the final block in enough nodes".into()
            }
            Place::Gone => return,
        };
        let is_known = place != Place::Beyond && self.is_counted(key, block, seen);
        let lane = self.lanes.get(&key);
        let ids = lane.and_then(|lane| lane.included.get(&block).cloned());
        for id in ids.unwrap_or_default() {
            let Some(entry) = self.open.get_mut(&id) else {
                continue;
            };
            match is_known {
                true => entry.sight_trouble.is_over(),
                false => {
                    let error = ChainError::NotFound { what: what.clone() };
                    entry.sight_trouble.failed(&error, now);
                }
            }
            self.tell_stalled(id, fx);
        }
    }

    /// What could not be looked for, or decided, is in trouble of its own; everything else is out of it.
    fn note_failures(&mut self, seen: &AccountView, now: Instant, fx: Fx<'_, '_>) {
        for (id, sight) in &seen.sights {
            if let Some(entry) = self.open.get_mut(id) {
                match sight {
                    Sight::Undecided => entry.sight_trouble.failed(&undecided(), now),
                    _ => entry.sight_trouble.is_over(),
                }
                self.tell_stalled(*id, fx);
            }
        }
        for (id, error) in &seen.failures {
            if let Some(entry) = self.open.get_mut(id) {
                entry.sight_trouble.failed(error, now);
                self.tell_stalled(*id, fx);
            }
        }
        for (id, lacking) in &seen.lacking {
            if let Some(entry) = self.open.get_mut(id) {
                let attempts = &entry.record.attempts;
                let is_own = |hash: &B256| attempts.iter().any(|one| one.id == TxId::Evm(*hash));
                let own = lacking.iter().copied().filter(is_own);
                entry.lacking.extend(own);
            }
        }
    }

    /// What was sent before anything was known of the chain waits from here on: its fees shall rise, too.
    fn count_from_now(&mut self, key: LaneKey, view: View) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        for id in &lane.flying {
            if let Some(entry) = self.open.get_mut(id)
                && entry.is_sent
            {
                entry.sent_in.get_or_insert(view.latest_number);
            }
        }
    }

    /// Whether the account's nonce at the final block, which is asked for by that block's hash, counts what is in this one.
    fn is_counted(&self, key: LaneKey, block: (u64, B256), seen: &AccountView) -> bool {
        let lane = self.lanes.get(&key);
        let ids = lane.and_then(|lane| lane.included.get(&block));
        let nonces = ids.into_iter().flatten();
        let nonces = nonces.filter_map(|id| self.open.get(id)?.record.nonce);
        let newest = nonces.max().zip(seen.final_nonce);
        newest.is_some_and(|(own, at)| at > own)
    }

    /// Whether a block that lies too far below the final one to be followed from there is taken for final now. One answer may
    /// come from a node on a fork that the others have left: it is believed when it comes again and again.
    fn is_settled(&mut self, key: LaneKey, block: (u64, B256), seen: &AccountView) -> bool {
        let is_counted = self.is_counted(key, block, seen);
        let Some(lane) = self.lanes.get_mut(&key) else {
            return false;
        };
        let looks = lane.settling.entry(block).or_default();
        *looks = if is_counted { *looks + 1 } else { 0 };
        if *looks < LOOKS_UNTIL_SETTLED {
            return false;
        }
        lane.settling.remove(&block);
        true
    }

    /// Everything in this block is final.
    fn settle_block(&mut self, key: LaneKey, block: (u64, B256), fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        for id in lane.included.get(&block).cloned().unwrap_or_default() {
            let Some(entry) = self.open.get(&id) else {
                continue;
            };
            let Some(inclusion) = entry.record.included.clone() else {
                continue;
            };
            let attempts = entry.record.attempts.iter();
            let is_cancel = attempts
                .filter(|attempt| attempt.id == inclusion.transaction)
                .any(|attempt| attempt.is_cancel);
            if let (Some(nonce), Some(lane)) = (entry.record.nonce, self.lanes.get_mut(&key)) {
                lane.raise_floor(nonce + 1);
            }
            let called_off = entry.record.called_off.as_ref();
            let outcome = match called_off.filter(|_| is_cancel) {
                Some(called_off) => called_off.outcome(),
                None => Outcome::Final(inclusion),
            };
            self.end(id, outcome, fx);
        }
    }

    /// The chain no longer has this block.
    fn lose_block(&mut self, key: LaneKey, block: (u64, B256), fx: Fx<'_, '_>) {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.settling.remove(&block);
        }
        let lane = self.lanes.get(&key);
        let ids = lane.and_then(|lane| lane.included.get(&block).cloned());
        for id in ids.unwrap_or_default() {
            self.lose(id, fx);
        }
    }

    /// What was included with a nonce that stays free is not included. A node that is behind has such nonces, too, and its
    /// chain is a part of the others': so this takes many looks in a row. A reorganisation is seen by its blocks.
    fn lose_above(&mut self, key: LaneKey, latest_nonce: u64, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        let held = lane.held.range(latest_nonce..).map(|(_, id)| *id);
        let is_included = |id: &EntryId| {
            let entry = self.open.get(id);
            entry.is_some_and(|entry| entry.record.included.is_some())
        };
        let free: Vec<EntryId> = held.filter(is_included).collect();
        lane.shorter = match free.is_empty() {
            true => 0,
            false => lane.shorter.saturating_add(1),
        };
        if lane.shorter < LOOKS_UNTIL_SHORTER {
            return;
        }
        lane.shorter = 0;
        for id in free {
            self.lose(id, fx);
        }
    }

    /// One block is gone, and perhaps others with it: they are asked about at once.
    fn doubt_the_others(&mut self, key: LaneKey, was_in_doubt: bool, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&key).filter(|_| !was_in_doubt) {
            lane.is_in_doubt = !lane.included.is_empty();
            lane.look_at = now;
        }
    }

    pub(super) fn lose(&mut self, id: EntryId, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let Some(inclusion) = entry.record.included.take() else {
            return;
        };
        entry.is_sent = false;
        entry.outbid = 0;
        entry.wants_bump = false;
        entry.sent_in = None;
        entry.refresh();
        let key = (entry.record.chain, entry.record.account);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.remove_included((inclusion.block_number, inclusion.block_hash), id);
            lane.flying.insert(id);
        }
        self.journal.put(fx.batch(), id, &entry.record);
        self.tell_of(id, Stage::Reorganised, fx);
    }

    /// Whether the nonce at the final block shall be read, to prove that what was signed long ago is in none so far.
    pub(super) fn is_proof_due(&self, lane: &Lane, receipts_kept: u64) -> bool {
        let is_due = |id: &EntryId| {
            let entry = self.open.get(id);
            entry.is_some_and(|entry| is_proof_old(&entry.record, lane, receipts_kept))
        };
        lane.flying.iter().any(is_due)
    }

    /// What waits in a mempool for longer than nodes keep receipts, and then loses its nonce to another transaction, was not
    /// forgotten by them: it never was there. The proof is the account's nonce at a final block, read from that block's
    /// own state by its hash, which no node answers that does not have the block:
    ///
    /// 1. Nonces never fall along a branch. One that is free at the final block F is free in all blocks below it: no attempt
    ///    is in F or under it, whatever was signed and whoever has it.
    /// 2. F is final: no reorganisation puts anything into it or under it, and what undoes F breaks the assumption on which
    ///    every [`Outcome::Final`] stands, too.
    /// 3. So an attempt that is ever included lies above F, and a node that keeps receipts of so many blocks still has its
    ///    receipt as long as the newest block is no more than that above F. That none has one then counts, as it does
    ///    right after signing, of which F took the place.
    ///
    /// That the nonce is free at the newest block proves less: it may come from a node that is behind F. Neither does a
    /// receipt's absence here say anything: it is not looked at. One answer is no proof, as it may name a final block that never
    /// was: three looks in a row must say so, and the lowest of their blocks counts, which claims the least. A crash that
    /// loses the proof loses nothing: the older one claims less.
    fn prove_free(&mut self, key: LaneKey, seen: &AccountView, fx: Fx<'_, '_>) {
        let receipts_kept = self.rules(key.0).receipts_kept;
        let (Some(final_number), Some(final_nonce)) = (seen.final_number, seen.final_nonce) else {
            return;
        };
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        for (_, id) in lane.held.range(..final_nonce) {
            if let Some(entry) = self.open.get_mut(id) {
                entry.free_at = None;
            }
        }
        let free = lane.held.range(final_nonce..).map(|(_, id)| *id);
        for id in free.collect::<Vec<_>>() {
            let (Some(entry), Some(lane)) = (self.open.get_mut(&id), self.lanes.get(&key)) else {
                continue;
            };
            if !is_proof_old(&entry.record, lane, receipts_kept) {
                continue;
            }
            let (looks, lowest) = entry.free_at.unwrap_or((0, final_number));
            let (looks, lowest) = (looks + 1, lowest.min(final_number));
            entry.free_at = Some((looks, lowest));
            if looks < LOOKS_UNTIL_FREE {
                continue;
            }
            entry.free_at = None;
            entry.record.signed_above = Some(lowest);
            self.journal.put(fx.batch(), id, &entry.record);
            if matches!(entry.deferral, Some(Deferral::Unknown(_))) {
                entry.deferral = None;
                entry.misses = 0;
                self.tell(id, fx);
            }
        }
    }

    fn sighted(&mut self, id: EntryId, sight: Sight, seen: &AccountView, fx: Fx<'_, '_>) {
        let chain = self.open.get(&id).map(|entry| entry.record.chain);
        let receipts_kept = chain.map_or(0, |chain| self.rules(chain).receipts_kept);
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let lane = self.lanes.get(&(entry.record.chain, entry.record.account));
        let newest = lane.map_or(seen.latest_number, |lane| lane.newest.number());
        entry.lacking.clear();
        match sight {
            Sight::Ahead | Sight::Undecided => entry.misses = 0,
            Sight::Included {
                transaction,
                block_number,
                block_hash,
                is_success,
                reason,
            } => {
                entry.misses = 0;
                let inclusion = Inclusion {
                    transaction: TxId::Evm(transaction),
                    block_number,
                    block_hash,
                    is_success,
                    reason: reason.filter(|_| !is_success).map(kept),
                };
                self.include(id, inclusion, fx);
            }
            Sight::Missing => {
                let nonce = entry.record.nonce;
                let is_used = seen
                    .final_nonce
                    .zip(nonce)
                    .is_some_and(|(at, own)| at > own);
                entry.misses = if is_used {
                    entry.misses.saturating_add(1)
                } else {
                    0
                };
                if entry.misses < MISSES_UNTIL_DISPLACED {
                    return;
                }
                let final_number = seen.final_number.unwrap_or(0);
                let is_above = |at: &u64| (final_number..=seen.latest_number).contains(at);
                // Signed under this final block or one that is not final here yet: the next ones decide.
                if entry.record.signed_above.as_ref().is_some_and(is_above) {
                    return;
                }
                // Used at this final block, it was not free there: whoever named a block above all there are was wrong.
                let signed_above = entry.record.signed_above.filter(|at| *at < final_number);
                let age = signed_above.and_then(|at| newest.checked_sub(at));
                // Whatever has used a filler's nonce, nothing more is to be filled there.
                if entry.record.key.is_none()
                    || age.is_some_and(|age| age <= receipts_known(receipts_kept))
                    || mutant::is_planted("outbox_displaces_beyond_receipts")
                {
                    self.displace(id, fx);
                } else {
                    let reason = "its nonce is used, and the node may have forgotten by what";
                    self.defer(id, Deferral::Unknown(reason.to_owned()), fx);
                }
            }
        }
    }

    pub(super) fn include(&mut self, id: EntryId, inclusion: Inclusion, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        if entry.record.included.as_ref() == Some(&inclusion) {
            return;
        }
        // A broadcast whose answer was lost is not asked for again.
        self.end_trouble_of(id, fx);
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        entry.free_at = None;
        entry.refresh();
        let key = (entry.record.chain, entry.record.account);
        let block = (inclusion.block_number, inclusion.block_hash);
        let previous = entry.record.included.replace(inclusion);
        if let Some(lane) = self.lanes.get_mut(&key) {
            if let Some(previous) = previous {
                lane.remove_included((previous.block_number, previous.block_hash), id);
            }
            lane.flying.remove(&id);
            lane.included.entry(block).or_default().insert(id);
        }
        self.journal.put(fx.batch(), id, &entry.record);
        self.tell(id, fx);
    }

    /// Something else has used its nonce for good: none of its attempts can ever be included.
    pub(super) fn displace(&mut self, id: EntryId, fx: Fx<'_, '_>) {
        self.end_trouble_of(id, fx);
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let key = (entry.record.chain, entry.record.account);
        let nonce = entry.record.nonce;
        if let (Some(nonce), Some(lane)) = (nonce, self.lanes.get_mut(&key)) {
            lane.raise_floor(nonce + 1);
        }
        if let Some(called_off) = &entry.record.called_off {
            let outcome = called_off.outcome();
            self.end(id, outcome, fx);
            return;
        }
        if entry.record.key.is_none() {
            self.end(id, Outcome::Cancelled, fx);
            return;
        }
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.remove(id, &entry.record, entry.not_before);
            lane.waiting.insert(id);
        }
        entry.record.nonce = None;
        entry.record.signed_above = None;
        entry.record.attempts.clear();
        entry.misses = 0;
        entry.lacking.clear();
        entry.free_at = None;
        entry.is_sent = false;
        entry.outbid = 0;
        entry.wants_bump = false;
        entry.sent_in = None;
        entry.refresh();
        self.journal.put(fx.batch(), id, &entry.record);
        self.tell_of(id, Stage::Displaced, fx);
    }

    /// What the node says it lacks is sent again, unless it was taken while the look was under way.
    fn resend_missing(&mut self, key: LaneKey, look: u64, view: View) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let lacking = view.pending_nonce..view.pending_nonce.saturating_add(RESENT_AT_ONCE);
        for (_, id) in lane.held.range(lacking) {
            if let Some(entry) = self.open.get_mut(id)
                && entry.record.included.is_none()
                && entry.asked.is_none()
                && look >= entry.taken_before
            {
                entry.is_sent = false;
            }
        }
    }
}
