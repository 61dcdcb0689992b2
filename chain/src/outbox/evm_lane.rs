//! An EVM account: its nonces, its ladder of fees, its gaps.

use alloy_primitives::U256;
use peaberry_core::{Instant, mutant};

use super::answer::{deferral_of, pause_after};
use super::config::ChainRules;
use super::event::Deferral;
use super::evm_sight::newest_max;
use super::fees::{Step, bump, within};
use super::lane::{LaneKey, View};
use super::protocol::{About, Asked, Fx, Outbox};
use super::record::{ATTEMPTS_MAX, Attempt, EntryId, Outcome, Purpose, Record, Terms, cut};
use super::request::{Ask, Found, Wanted};
use crate::evm::{Fees, Transaction, call_of};
use crate::{CallRequest, ChainError, ChainId, TxId};

/// Estimates on the way at once, for one account.
pub(super) const GAS_AT_ONCE: usize = 16;
/// How often in a row an intent must be found to fail before it is rejected: one node may not have seen what it needs.
const REVERTS_UNTIL_REJECTED: u8 = 3;
/// What nobody knows, and perhaps never will, is asked for in every so manieth look.
const UNKNOWN_EVERY: u64 = 16;
/// The most gas that calling off takes over from its intent: no chain wants more for a transfer of nothing.
const CANCEL_GAS_MAX: u64 = 1_000_000;

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
        let ChainRules {
            receipts_kept,
            look_every,
            ..
        } = self.rules(key.0);
        let asks_for_unknown = lane.looks.is_multiple_of(UNKNOWN_EVERY);
        let flying = lane.flying.iter().filter_map(|id| {
            let entry = self.open.get(id)?;
            if matches!(entry.deferral, Some(Deferral::Unknown(_))) && !asks_for_unknown {
                return None;
            }
            let record = &entry.record;
            let hashes = record.attempts.iter();
            Some(Wanted {
                entry: *id,
                nonce: record.nonce.filter(|_| !record.attempts.is_empty())?,
                attempts: hashes.filter_map(|attempt| hash_of(attempt.id)).collect(),
                newest_max: newest_max(record, receipts_kept),
                lacking: entry.lacking.clone(),
            })
        });
        let blocks = lane.blocks_to_check();
        let ask = Ask::Look {
            account,
            wanted: flying.collect(),
            blocks: blocks.clone(),
            asks_final_nonce: self.is_proof_due(lane, receipts_kept),
        };
        let number = self.ask_about(About::Lane(key), key.0, ask, fx);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.looking = Some(number);
            lane.look_at = now + look_every;
            lane.looks = lane.looks.wrapping_add(1);
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
        let rules = self.config.chains.get(&entry.record.chain);
        let (transfer_gas, pause) = rules
            .map(|rules| (rules.transfer_gas, rules.retry_after))
            .unwrap_or_default();
        let is_filler = entry.record.purpose == Purpose::Filler;
        let error = match result {
            // What nobody can estimate is tried with what the chain's rules say.
            Err(error) if is_filler && !error.is_retryable() => {
                entry.record.gas_limit = Some(transfer_gas);
                return;
            }
            Err(_) if is_filler => {
                entry.back_off(now, pause);
                return;
            }
            Ok(Found::Gas(gas)) => {
                let least = if is_filler { transfer_gas } else { 0 };
                entry.record.gas_limit = Some(gas.max(least));
                entry.refresh();
                return;
            }
            Ok(_) => return,
            Err(error) => error,
        };
        let key = (entry.record.chain, entry.record.account);
        let is_alone = self.on_their_way(key) == 0;
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
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
        if !lane.needs_price() {
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

    /// How many are on their way. What became of an [`Unknown`](Deferral::Unknown) one is not known, and it is on its way no
    /// more: its nonce is used.
    fn on_their_way(&self, key: LaneKey) -> usize {
        let is_on_its_way = |id: &&EntryId| {
            let entry = self.open.get(id);
            entry.is_some_and(|entry| !matches!(entry.deferral, Some(Deferral::Unknown(_))))
        };
        let lane = self.lanes.get(&key);
        lane.map_or(0, |lane| lane.flying.iter().filter(is_on_its_way).count())
    }

    fn has_room(&self, key: LaneKey) -> bool {
        self.on_their_way(key) < self.rules(key.0).in_flight_max
    }

    /// Gives nonces to what waits, in order.
    fn lease(&mut self, key: LaneKey, price: Fees, now: Instant, fx: Fx<'_, '_>) {
        let in_flight_max = self.rules(key.0).in_flight_max;
        loop {
            if !self.has_room(key) {
                return;
            }
            let Some(lane) = self.lanes.get_mut(&key) else {
                return;
            };
            let (Some(&id), Some(nonce)) = (lane.waiting.first(), lane.next_nonce(in_flight_max))
            else {
                return;
            };
            let Some(entry) = self.open.get_mut(&id) else {
                return;
            };
            if entry.record.gas_limit.is_none() || !entry.is_idle(now) {
                return;
            }
            entry.record.nonce = Some(nonce);
            entry.record.signed_above = lane.view.map(View::final_or_genesis);
            lane.waiting.remove(&id);
            lane.held.insert(nonce, id);
            lane.flying.insert(id);
            // A lease that is lost in a crash is no loss: nothing was signed under it that has left.
            self.journal.put(fx.batch(), id, &entry.record);
            self.sign_first(id, price, fx);
        }
    }

    /// Where nothing waits that may take a nonce that is missing, a transfer of nothing takes it.
    fn fill_gap(&mut self, key: LaneKey, price: Fees, now: Instant, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let in_flight_max = self.rules(key.0).in_flight_max;
        let Some(nonce) = lane.gap(in_flight_max) else {
            return;
        };
        let is_taken = lane.gap_for_intents(in_flight_max).is_some()
            && lane.waiting.first().is_some_and(|id| {
                let entry = self.open.get(id);
                entry.is_some_and(|entry| entry.is_idle(now) || entry.asked.is_some())
                    && self.has_room(key)
            });
        if is_taken {
            return;
        }
        let record = Record {
            key: None,
            digest: alloy_primitives::B256::ZERO,
            chain: key.0,
            account: key.1,
            purpose: Purpose::Filler,
            gas_limit: None,
            fee_cap: None,
            nonce: Some(nonce),
            called_off: None,
            attempts: Vec::new(),
            included: None,
            outcome: None,
            end_number: 0,
            signed_above: lane.view.map(View::final_or_genesis),
        };
        let id = self.add(record, fx);
        self.weigh_or_sign(id, price, fx);
    }

    /// Fillers are weighed as late as they are made.
    fn weigh_or_sign(&mut self, id: EntryId, price: Fees, fx: Fx<'_, '_>) {
        let record = self.open.get(&id).map(|entry| &entry.record);
        match record
            .filter(|record| record.gas_limit.is_none())
            .and_then(call_for)
        {
            Some(call) => self.ask(id, Asked::Gas, Ask::Gas(call), fx),
            None => self.sign_first(id, price, fx),
        }
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
        let transfer_gas = self.rules(entry.record.chain).transfer_gas;
        let Some((from, transaction)) =
            transaction_of(&entry.record, fees, is_cancel.then_some(transfer_gas))
        else {
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
                for older in &mut entry.record.attempts {
                    older.raw.clear();
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
                }
                self.unlease(id, now, fx);
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
                self.weigh_or_sign(id, price, fx);
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
        if mutant::is_planted("outbox_never_bumps") {
            return false;
        }
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
        let own_cap = self.cap_of(id);
        let rules = self
            .open
            .get(&id)
            .map(|entry| self.rules(entry.record.chain));
        let (Some(entry), Some(rules)) = (self.open.get_mut(&id), rules) else {
            return;
        };
        let pause = rules.retry_after;
        let is_cancel = entry.record.called_off.is_some();
        let last = entry.record.attempts.last().and_then(Attempt::fees);
        // Calling off may cost what anything on this chain may, whatever the intent itself was worth.
        let (cap, attempts_max) = if is_cancel {
            (own_cap.max(rules.fee_cap), ATTEMPTS_MAX)
        } else {
            (own_cap, ATTEMPTS_MAX - 1)
        };
        let rungs_left = attempts_max.saturating_sub(entry.record.attempts.len());
        let next = last.and_then(|last| {
            let step = match entry.outbid {
                0 => Step::towards(cap, last, rungs_left),
                1 => Step::Double,
                _ => Step::Outbid,
            };
            bump(last, price, cap, step)
        });
        // At the top a node that holds the intent takes nothing in its place; one that does not takes what is there first.
        let next = next.or_else(|| last.filter(|_| entry.wants_cancel()));
        match next {
            Some(fees) if rungs_left > 0 => self.sign(id, fees, is_cancel, fx),
            next => {
                // At the top of the ladder: the same bytes wait for the market to come down.
                let deferral = match next {
                    None => Deferral::FeeCap,
                    Some(_) => Deferral::AttemptsMax,
                };
                entry.wants_bump = false;
                entry.sent_in = None;
                entry.is_sent = false;
                entry.back_off(now, pause);
                self.defer(id, deferral, fx);
                self.broadcast_newest(id, fx);
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

/// The call that an entry makes: a filler's is a transfer of nothing to oneself.
fn call_for(record: &Record) -> Option<CallRequest> {
    match &record.purpose {
        // Checked when it was taken.
        Purpose::Intent(intent) => call_of(intent, record.chain).ok(),
        Purpose::Filler => Some(CallRequest::new(record.account, []).from(record.account)),
    }
}

fn transaction_of(
    record: &Record,
    fees: Fees,
    cancel_gas: Option<u64>,
) -> Option<(alloy_primitives::Address, Transaction)> {
    let from = record.account.evm_on(record.chain).ok()?;
    // On some chains also a transfer of nothing pays for more than its own steps; the intent's gas has room for that.
    let of_intent = record.gas_limit.unwrap_or(0).min(CANCEL_GAS_MAX);
    let nothing = Transaction {
        chain: record.chain,
        nonce: record.nonce?,
        gas_limit: cancel_gas.unwrap_or(0).max(of_intent),
        fees,
        to: Some(from),
        value: U256::ZERO,
        data: alloy_primitives::Bytes::new(),
    };
    let transaction = match call_for(record).filter(|_| cancel_gas.is_none()) {
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
