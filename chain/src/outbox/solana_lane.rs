//! A Solana account: transactions without order, each valid up to a block height.

use peaberry_core::{Instant, mutant};

use super::answer::deferral_of;
use super::event::{Deferral, Stage};
use super::lane::{Entry, LOOKS_UNTIL_SHORTER, LaneKey};
use super::protocol::{About, Asked, Fx, Outbox};
use super::reason::kept;
use super::record::{Attempt, EntryId, Inclusion, Outcome, Purpose, Terms};
use super::request::{Ask, Found, SolanaSight, SolanaView};
use crate::{ChainError, TxId};

/// How often in a row nodes must know nothing of what has expired until it is signed anew: one of them may have lost a part
/// of its ledger.
const LOOKS_UNTIL_EXPIRED: u8 = 3;

impl Outbox {
    pub(super) fn advance_solana(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) {
        self.look_solana(key, now, fx);
        let in_flight_max = self.rules(key.0).in_flight_max;
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let room = in_flight_max.saturating_sub(lane.flying.len());
        let front: Vec<EntryId> = lane.waiting.iter().take(room).copied().collect();
        let flying: Vec<EntryId> = lane.flying.iter().copied().collect();
        for id in front {
            let Some(entry) = self.open.get(&id) else {
                continue;
            };
            if let Purpose::Intent(intent) = &entry.record.purpose
                && entry.is_idle(now)
            {
                let ask = Ask::SignSolana(intent.clone());
                self.ask(id, Asked::SignSolana, ask, fx);
            }
        }
        for id in flying {
            let entry = self.open.get(&id);
            // What was called off and may be out already is not sent again: it is included, or expires.
            let is_wanted = |entry: &Entry| !entry.is_sent && entry.record.called_off.is_none();
            if entry.is_some_and(|entry| entry.is_idle(now) && is_wanted(entry)) {
                self.broadcast_newest(id, fx);
            }
        }
    }

    fn look_solana(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        if lane.looking.is_some() || lane.look_at > now {
            return;
        }
        let included = lane.included.values().flatten();
        let wanted = lane.flying.iter().chain(included).filter_map(|id| {
            let newest = self.open.get(id)?.record.attempts.last()?;
            match newest.id {
                TxId::Solana(signature) => Some((*id, signature)),
                TxId::Evm(_) => None,
            }
        });
        let wanted: Vec<(EntryId, [u8; 64])> = wanted.collect();
        let Ok(account) = key.1.solana_on(key.0) else {
            return;
        };
        let look_every = self.rules(key.0).look_every;
        if wanted.is_empty() {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.look_at = now + look_every;
            }
            return;
        }
        let ask = Ask::LookSolana { account, wanted };
        let number = self.ask_about(About::Lane(key), key.0, ask, fx);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.looking = Some(number);
            lane.look_at = now + look_every;
        }
    }

    pub(super) fn signed_solana(
        &mut self,
        id: EntryId,
        result: Result<Found, ChainError>,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        let (raw, signature, terms) = match result {
            Ok(Found::SignedSolana {
                raw,
                signature,
                last_valid_height,
                signed_slot,
            }) => {
                let terms = Terms::Solana {
                    last_valid_height,
                    signed_slot,
                };
                (raw, signature, terms)
            }
            Ok(_) => return,
            Err(error) => {
                if let Some(deferral) = deferral_of(&error) {
                    self.defer(id, deferral, fx);
                }
                self.park(id, now);
                return;
            }
        };
        // The same transfer dated by the same block is the same transaction, and belongs to another entry.
        if self.signatures.get(&signature).is_some_and(|of| *of != id) {
            self.park(id, now);
            return;
        }
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        self.signatures.insert(signature, id);
        entry.record.attempts.push(Attempt {
            raw,
            id: TxId::Solana(signature),
            terms,
            is_cancel: false,
        });
        entry.is_sent = false;
        entry.sent_in = None;
        entry.misses = 0;
        entry.expiries = 0;
        entry.refresh();
        let key = (entry.record.chain, entry.record.account);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.waiting.remove(&id);
            lane.flying.insert(id);
        }
        self.journal.put(fx.batch(), id, &entry.record);
        self.tell(id, fx);
        self.broadcast_newest(id, fx);
    }

    pub(super) fn seen_solana(&mut self, key: LaneKey, seen: &SolanaView, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        lane.view = Some(super::lane::View {
            latest_number: seen.latest_slot,
            final_number: None,
            latest_nonce: 0,
            pending_nonce: 0,
        });
        for (id, sight) in &seen.sights {
            match sight {
                SolanaSight::Included {
                    slot,
                    block_hash,
                    is_final,
                    failure,
                } => {
                    let of_block = |transaction| Inclusion {
                        transaction,
                        block_number: *slot,
                        block_hash: *block_hash,
                        is_success: failure.is_none(),
                        reason: failure.clone().map(kept),
                    };
                    self.sighted_on_solana(*id, of_block, *is_final, fx);
                }
                SolanaSight::Missing { as_of, since } => {
                    let ignorance = (*as_of, *since);
                    self.missed_on_solana(*id, ignorance, seen.final_height, fx);
                }
            }
        }
    }

    fn sighted_on_solana(
        &mut self,
        id: EntryId,
        of_block: impl FnOnce(TxId) -> Inclusion,
        is_final: bool,
        fx: Fx<'_, '_>,
    ) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let Some(newest) = entry.record.attempts.last() else {
            return;
        };
        entry.misses = 0;
        entry.expiries = 0;
        let inclusion = of_block(newest.id);
        if is_final {
            self.end(id, Outcome::Final(inclusion), fx);
        } else {
            self.include(id, inclusion, fx);
        }
    }

    /// A node that has come to the slot `as_of`, which is the final block's or later, and has everything `since` another knows
    /// nothing of it.
    fn missed_on_solana(
        &mut self,
        id: EntryId,
        (as_of, since): (u64, u64),
        final_height: u64,
        fx: Fx<'_, '_>,
    ) {
        let newest = self
            .open
            .get(&id)
            .and_then(|entry| entry.record.attempts.last());
        let signed_slot = newest.and_then(Attempt::signed_slot).unwrap_or(0);
        let Some(last_valid) = newest.and_then(Attempt::last_valid_height) else {
            return;
        };
        // A node whose ledger begins later cannot know of it: its ignorance says nothing.
        let may_be_over = final_height > last_valid;
        if may_be_over
            && since > signed_slot
            && !mutant::is_planted("solana_ignorance_taken_for_expiry")
        {
            let reason = format!(
                "it was signed in slot {signed_slot}, and the node keeps nothing before {since}"
            );
            self.defer(id, Deferral::Unknown(reason), fx);
            return;
        }
        if self.may_lag(id, as_of, since) {
            return;
        }
        self.lose(id, fx);
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let is_impatient = mutant::is_planted("solana_resigned_before_expiry") && entry.misses >= 2;
        // Only a final block above the last height at which it is valid proves that no block can hold it.
        if final_height <= last_valid && !is_impatient {
            entry.expiries = 0;
            entry.is_sent = false;
            return;
        }
        entry.expiries = entry.expiries.saturating_add(1);
        if entry.expiries < LOOKS_UNTIL_EXPIRED && !is_impatient {
            return;
        }
        if let Some(called_off) = &entry.record.called_off {
            let outcome = called_off.outcome();
            self.end(id, outcome, fx);
            return;
        }
        for attempt in entry.record.attempts.drain(..) {
            if let TxId::Solana(signature) = attempt.id {
                self.signatures.remove(&signature);
            }
        }
        entry.is_sent = false;
        entry.refresh();
        let key = (entry.record.chain, entry.record.account);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.flying.remove(&id);
            lane.waiting.insert(id);
        }
        self.journal.put(fx.batch(), id, &entry.record);
        self.tell_of(id, Stage::Expired, fx);
    }

    /// Whether who knows nothing of what was included may not have come to its slot, or begun behind it. Counts how often in
    /// a row nothing was known.
    fn may_lag(&mut self, id: EntryId, as_of: u64, since: u64) -> bool {
        let Some(entry) = self.open.get_mut(&id) else {
            return false;
        };
        entry.misses = entry.misses.saturating_add(1);
        let is_past = |inclusion: &Inclusion| {
            let slot = inclusion.block_number;
            as_of < slot || since > slot
        };
        entry.misses < LOOKS_UNTIL_SHORTER && entry.record.included.as_ref().is_some_and(is_past)
    }
}
