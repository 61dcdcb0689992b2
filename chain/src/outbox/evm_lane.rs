//! An EVM account: its nonces, its ladder of fees, its gaps.

use alloy_primitives::U256;
use peaberry_core::{Instant, mutant};

use super::event::{Deferral, Stage};
use super::fees::{bump, within};
use super::lane::{LaneKey, View};
use super::protocol::{About, Asked, Fx, Outbox, deferral_of, pause_after};
use super::record::{
    ATTEMPTS_MAX, Attempt, EntryId, Inclusion, Outcome, Purpose, Record, Terms, cut,
};
use super::request::{AccountView, Ask, Found, Sight, Wanted};
use crate::evm::{Fees, Transaction, call_of};
use crate::{CallRequest, ChainError, ChainId, TxId};

/// Estimates on the way at once, for one account.
const GAS_AT_ONCE: usize = 16;
/// How often in a row a nonce must be seen used for good by something else: one look may have met a node that lags.
const MISSES_UNTIL_DISPLACED: u8 = 3;
/// How often in a row an intent must be found to fail before it is rejected: one node may not have seen what it needs.
const REVERTS_UNTIL_REJECTED: u8 = 3;
/// What a transfer of nothing to oneself takes.
const TRANSFER_GAS: u64 = 21_000;
/// Transactions above the first that a node lacks which are sent again with it.
const RESENT_AT_ONCE: u64 = 16;

impl Outbox {
    pub(super) fn advance_evm(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) {
        self.look(key, now, fx);
        self.weigh(key, now, fx);
        if let Some(price) = self.price(key, now, fx) {
            self.lease(key, price, now, fx);
            self.fill_gap(key, price, now, fx);
            self.push(key, price, now, fx);
        }
    }

    fn look(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        if lane.is_empty() || lane.looking.is_some() || lane.look_at > now {
            return;
        }
        let Ok(account) = key.1.evm_on(key.0) else {
            return;
        };
        let flying = lane.flying.iter().filter_map(|id| {
            let record = &self.open.get(id)?.record;
            let hashes = record.attempts.iter();
            Some(Wanted {
                entry: *id,
                nonce: record.nonce.filter(|_| !record.attempts.is_empty())?,
                attempts: hashes.filter_map(|attempt| hash_of(attempt.id)).collect(),
            })
        });
        let ask = Ask::Look {
            account,
            wanted: flying.collect(),
            blocks: lane.blocks_to_check(),
        };
        let blocks = lane.blocks_to_check();
        let number = self.ask_about(About::Lane(key), key.0, ask, fx);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.looking = Some(number);
            lane.blocks_asked = blocks;
        }
    }

    /// Has the gas of what waits in front estimated.
    fn weigh(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let front: Vec<EntryId> = lane.waiting.iter().take(GAS_AT_ONCE).copied().collect();
        for id in front {
            let Some(entry) = self.open.get(&id) else {
                continue;
            };
            if entry.record.gas_limit.is_none()
                && entry.is_idle(now)
                && let Some(call) = call_for(&entry.record)
            {
                self.ask(id, Asked::Gas, Ask::Gas(call), fx);
            }
        }
    }

    pub(super) fn weighed(
        &mut self,
        id: EntryId,
        result: Result<Found, ChainError>,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let error = match result {
            Ok(Found::Gas(gas)) => {
                entry.record.gas_limit = Some(gas);
                entry.refresh();
                return;
            }
            Ok(_) => return,
            Err(error) => error,
        };
        let key = (entry.record.chain, entry.record.account);
        let is_alone = self
            .lanes
            .get(&key)
            .is_none_or(|lane| lane.flying.is_empty());
        match &error {
            // What is on its way may be what it needs: an allowance, tokens.
            ChainError::Reverted(_) if is_alone => {
                entry.reverts += 1;
                if entry.reverts >= REVERTS_UNTIL_REJECTED {
                    let reason = cut(&error.to_string()).to_owned();
                    self.end(id, Outcome::Rejected { reason }, fx);
                    return;
                }
            }
            _ => entry.reverts = 0,
        }
        if let Some(deferral) = deferral_of(&error) {
            self.defer(id, deferral, fx);
        }
        self.park(id, now);
    }

    /// What gas costs, if that is known; asks for it where it is not, or not any more.
    fn price(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) -> Option<Fees> {
        let lane = self.lanes.get(&key)?;
        if lane.waiting.is_empty() && lane.flying.is_empty() {
            return None;
        }
        let fresh_for = self.rules(key.0).fees_fresh_for;
        let price = self.prices.entry(key.0).or_default();
        let known = price.fees;
        let is_fresh = known.is_some_and(|(_, at)| now.since(at) < fresh_for);
        if !is_fresh && price.asked.is_none() && price.not_before <= now {
            let number = self.ask_about(About::Price(key.0), key.0, Ask::Fees, fx);
            self.prices.entry(key.0).or_default().asked = Some(number);
        }
        known.map(|(fees, _)| fees)
    }

    /// Gives nonces to what waits, in order.
    fn lease(&mut self, key: LaneKey, price: Fees, now: Instant, fx: Fx<'_, '_>) {
        let in_flight_max = self.rules(key.0).in_flight_max;
        loop {
            let Some(lane) = self.lanes.get_mut(&key) else {
                return;
            };
            if lane.flying.len() >= in_flight_max {
                return;
            }
            let (Some(&id), Some(nonce)) = (lane.waiting.first(), lane.next_nonce()) else {
                return;
            };
            let Some(entry) = self.open.get_mut(&id) else {
                return;
            };
            if entry.record.gas_limit.is_none() || !entry.is_idle(now) {
                return;
            }
            entry.record.nonce = Some(nonce);
            lane.waiting.remove(&id);
            lane.held.insert(nonce, id);
            lane.flying.insert(id);
            // A lease that is lost in a crash is no loss: nothing was signed under it that has left.
            self.journal.put(fx.batch(), id, &entry.record);
            self.sign_first(id, price, fx);
        }
    }

    /// Where nothing waits that could take a nonce that is missing, a transfer of nothing takes it.
    fn fill_gap(&mut self, key: LaneKey, price: Fees, now: Instant, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let Some(nonce) = lane.gap() else {
            return;
        };
        if lane.waiting.first().is_some_and(|id| {
            let entry = self.open.get(id);
            entry.is_some_and(|entry| entry.is_idle(now) || entry.asked.is_some())
                && lane.flying.len() < self.rules(key.0).in_flight_max
        }) {
            return;
        }
        let record = Record {
            key: None,
            digest: alloy_primitives::B256::ZERO,
            chain: key.0,
            account: key.1,
            purpose: Purpose::Filler,
            gas_limit: Some(TRANSFER_GAS),
            fee_cap: None,
            nonce: Some(nonce),
            called_off: None,
            attempts: Vec::new(),
            included: None,
            outcome: None,
        };
        let id = self.add(record, fx);
        self.sign_first(id, price, fx);
    }

    fn sign_first(&mut self, id: EntryId, price: Fees, fx: Fx<'_, '_>) {
        let cap = self.cap_of(id);
        self.sign(id, within(price, cap), false, fx);
    }

    fn cap_of(&self, id: EntryId) -> u128 {
        let record = self.open.get(&id).map(|entry| &entry.record);
        let own = record.and_then(|record| record.fee_cap);
        let chain = record.map_or(ChainId::ETHEREUM, |record| record.chain);
        own.unwrap_or_else(|| self.rules(chain).fee_cap)
    }

    fn sign(&mut self, id: EntryId, fees: Fees, is_cancel: bool, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.get(&id) else {
            return;
        };
        let Some((from, transaction)) = transaction_of(&entry.record, fees, is_cancel) else {
            return;
        };
        let ask = Ask::Sign { from, transaction };
        self.ask(id, Asked::Sign { fees, is_cancel }, ask, fx);
    }

    pub(super) fn signed(
        &mut self,
        id: EntryId,
        result: Result<Found, ChainError>,
        fees: Fees,
        is_cancel: bool,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        let pause = self
            .open
            .get(&id)
            .map(|entry| self.rules(entry.record.chain));
        let (Some(entry), Some(rules)) = (self.open.get_mut(&id), pause) else {
            return;
        };
        match result {
            Ok(Found::Signed(signed)) => {
                // While it was being signed it may have been included, or have lost its nonce.
                if entry.record.included.is_some() || entry.record.nonce.is_none() {
                    return;
                }
                entry.record.attempts.push(Attempt {
                    raw: signed.raw().clone(),
                    id: TxId::Evm(signed.hash()),
                    terms: Terms::Evm(fees),
                    is_cancel,
                });
                entry.is_sent = false;
                entry.sent_in = None;
                entry.wants_bump = false;
                entry.refresh();
                self.journal.put(fx.batch(), id, &entry.record);
                self.tell(id, fx);
                // The broadcast waits for the commit of these bytes.
                self.broadcast_newest(id, fx);
            }
            Ok(_) => {}
            Err(error) => {
                entry.back_off(now, pause_after(&error, &rules));
                if let Some(deferral) = deferral_of(&error) {
                    self.defer(id, deferral, fx);
                    self.unlease(id, now, fx);
                }
            }
        }
    }

    /// What cannot be signed gives its nonce back: others go before it.
    fn unlease(&mut self, id: EntryId, now: Instant, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let record = &mut entry.record;
        if !record.attempts.is_empty() || record.key.is_none() {
            return;
        }
        let key = (record.chain, record.account);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.remove(id, record, entry.not_before);
            lane.waiting.insert(id);
        }
        record.nonce = None;
        self.journal.put(fx.batch(), id, record);
        self.park(id, now);
    }

    pub(super) fn broadcast_newest(&mut self, id: EntryId, fx: Fx<'_, '_>) {
        let newest = self
            .open
            .get(&id)
            .and_then(|entry| entry.record.attempts.last());
        if let Some(attempt) = newest {
            let ask = Ask::Broadcast {
                raw: attempt.raw.clone(),
                last_valid_height: attempt.last_valid_height().unwrap_or(0),
            };
            self.ask(id, Asked::Broadcast, ask, fx);
        }
    }

    /// Sends what has not been sent, again what may be lost, and dearer what waits too long.
    fn push(&mut self, key: LaneKey, price: Fees, now: Instant, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let view = lane.view;
        for id in lane.flying.iter().copied().collect::<Vec<_>>() {
            let Some(entry) = self.open.get(&id) else {
                continue;
            };
            if !entry.is_idle(now) {
                continue;
            }
            if entry.record.attempts.is_empty() {
                self.sign_first(id, price, fx);
            } else if entry.wants_cancel() || self.is_bump_due(id, price, view) {
                self.raise(id, price, now, fx);
            } else if !entry.is_sent {
                self.broadcast_newest(id, fx);
            }
        }
    }

    /// Whether it has waited long enough in front, or for less than the market's price.
    fn is_bump_due(&self, id: EntryId, price: Fees, view: Option<View>) -> bool {
        let (Some(entry), Some(view)) = (self.open.get(&id), view) else {
            return false;
        };
        if entry.wants_bump {
            return true;
        }
        let after = self.rules(entry.record.chain).bump_after_blocks;
        let is_late = entry
            .sent_in
            .is_some_and(|since| view.latest_number >= since.saturating_add(after));
        let is_first = entry.record.nonce == Some(view.latest_nonce);
        let newest = entry.record.attempts.last().and_then(Attempt::fees);
        let is_cheap = newest.is_some_and(|fees| fees.fee_max() < price.fee_max() / 2);
        is_late && (is_first || is_cheap)
    }

    fn raise(&mut self, id: EntryId, price: Fees, now: Instant, fx: Fx<'_, '_>) {
        let cap = self.cap_of(id);
        let pause = self
            .open
            .get(&id)
            .map(|entry| self.rules(entry.record.chain).retry_after);
        let (Some(entry), Some(pause)) = (self.open.get_mut(&id), pause) else {
            return;
        };
        entry.wants_bump = false;
        let is_cancel = entry.record.called_off.is_some();
        let last = entry.record.attempts.last().and_then(Attempt::fees);
        let next = last.and_then(|last| bump(last, price, cap));
        match next {
            Some(fees) if entry.record.attempts.len() < ATTEMPTS_MAX => {
                self.sign(id, fees, is_cancel, fx);
            }
            _ => {
                // At the top of the ladder: the same bytes wait for the market to come down.
                entry.sent_in = None;
                entry.is_sent = false;
                entry.back_off(now, pause);
                self.defer(id, Deferral::FeeCap, fx);
                self.broadcast_newest(id, fx);
            }
        }
    }

    /// What a look has shown.
    pub(super) fn seen(&mut self, key: LaneKey, seen: &AccountView, fx: Fx<'_, '_>) {
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
        let blocks = std::mem::take(&mut lane.blocks_asked);
        for (block, is_canonical) in blocks.into_iter().zip(&seen.canonical) {
            let is_final = seen.final_number.is_some_and(|at| block.0 <= at);
            match (is_canonical, is_final) {
                (true, true) => self.settle_block(key, block, fx),
                (true, false) => {}
                (false, _) => self.lose_block(key, block, fx),
            }
        }
        if forgets {
            self.lose_above(key, seen.latest_nonce, fx);
        }
        for (id, sight) in &seen.sights {
            self.sighted(*id, *sight, seen, fx);
        }
        self.resend_missing(key, view);
    }

    /// Everything in this block is final.
    fn settle_block(&mut self, key: LaneKey, block: (u64, alloy_primitives::B256), fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        for id in lane.included.get(&block).cloned().unwrap_or_default() {
            let Some(entry) = self.open.get(&id) else {
                continue;
            };
            let Some(inclusion) = entry.record.included else {
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
    fn lose_block(&mut self, key: LaneKey, block: (u64, alloy_primitives::B256), fx: Fx<'_, '_>) {
        let lane = self.lanes.get(&key);
        let ids = lane.and_then(|lane| lane.included.get(&block).cloned());
        for id in ids.unwrap_or_default() {
            self.lose(id, fx);
        }
    }

    /// What was included with a nonce that is free again is not included.
    fn lose_above(&mut self, key: LaneKey, latest_nonce: u64, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let free: Vec<EntryId> = lane.held.range(latest_nonce..).map(|(_, id)| *id).collect();
        for id in free {
            self.lose(id, fx);
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

    fn sighted(&mut self, id: EntryId, sight: Sight, seen: &AccountView, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        match sight {
            Sight::Ahead => entry.misses = 0,
            Sight::Included {
                transaction,
                block_number,
                block_hash,
                is_success,
            } => {
                entry.misses = 0;
                let inclusion = Inclusion {
                    transaction: TxId::Evm(transaction),
                    block_number,
                    block_hash,
                    is_success,
                };
                self.include(id, inclusion, fx);
            }
            Sight::Missing => {
                let nonce = entry.record.nonce;
                let is_used = seen
                    .final_nonce
                    .zip(nonce)
                    .is_some_and(|(at, own)| at > own);
                entry.misses = if is_used { entry.misses + 1 } else { 0 };
                if entry.misses >= MISSES_UNTIL_DISPLACED {
                    self.displace(id, fx);
                }
            }
        }
    }

    pub(super) fn include(&mut self, id: EntryId, inclusion: Inclusion, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        if entry.record.included == Some(inclusion) {
            return;
        }
        entry.refresh();
        let key = (entry.record.chain, entry.record.account);
        let previous = entry.record.included.replace(inclusion);
        if let Some(lane) = self.lanes.get_mut(&key) {
            if let Some(previous) = previous {
                lane.remove_included((previous.block_number, previous.block_hash), id);
            }
            lane.flying.remove(&id);
            let block = (inclusion.block_number, inclusion.block_hash);
            lane.included.entry(block).or_default().insert(id);
        }
        self.journal.put(fx.batch(), id, &entry.record);
        self.tell(id, fx);
    }

    /// Something else has used its nonce for good: none of its attempts can ever be included.
    pub(super) fn displace(&mut self, id: EntryId, fx: Fx<'_, '_>) {
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
        entry.record.attempts.clear();
        entry.misses = 0;
        entry.is_sent = false;
        entry.sent_in = None;
        entry.refresh();
        self.journal.put(fx.batch(), id, &entry.record);
        self.tell_of(id, Stage::Displaced, fx);
    }

    /// What the node says it lacks is sent again.
    fn resend_missing(&mut self, key: LaneKey, view: View) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let lacking = view.pending_nonce..view.pending_nonce.saturating_add(RESENT_AT_ONCE);
        for (_, id) in lane.held.range(lacking) {
            if let Some(entry) = self.open.get_mut(id)
                && entry.record.included.is_none()
                && entry.asked.is_none()
            {
                entry.is_sent = false;
            }
        }
    }
}

const fn hash_of(id: TxId) -> Option<alloy_primitives::B256> {
    match id {
        TxId::Evm(hash) => Some(hash),
        TxId::Solana(_) => None,
    }
}

/// The call that an entry makes; `None` for fillers, which make none.
fn call_for(record: &Record) -> Option<CallRequest> {
    match &record.purpose {
        // Checked when it was taken.
        Purpose::Intent(intent) => call_of(intent, record.chain).ok(),
        Purpose::Filler => None,
    }
}

fn transaction_of(
    record: &Record,
    fees: Fees,
    is_cancel: bool,
) -> Option<(alloy_primitives::Address, Transaction)> {
    let from = record.account.evm_on(record.chain).ok()?;
    let nothing = Transaction {
        chain: record.chain,
        nonce: record.nonce?,
        gas_limit: TRANSFER_GAS,
        fees,
        to: Some(from),
        value: U256::ZERO,
        data: alloy_primitives::Bytes::new(),
    };
    let transaction = match call_for(record).filter(|_| !is_cancel) {
        None => nothing,
        Some(call) => Transaction {
            gas_limit: record.gas_limit?,
            to: call.to.and_then(|to| to.evm_on(record.chain).ok()),
            value: call.value,
            data: call.data,
            ..nothing
        },
    };
    Some((from, transaction))
}
