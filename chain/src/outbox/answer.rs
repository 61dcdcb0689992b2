//! What the chains have answered.

use peaberry_core::{Instant, mutant};

use super::config::ChainRules;
use super::event::Deferral;
use super::lane::LaneKey;
use super::protocol::{About, Asked, Fx, Outbox};
use super::record::{CallOff, EntryId, Outcome, cut};
use super::request::Found;
use crate::{ChainError, ChainId};

/// How often in a row nodes must find a transaction invalid before it is called off: one of them may be wrongly set up, or
/// behind.
const REFUSALS_UNTIL_CALLED_OFF: u8 = 6;

impl Outbox {
    pub(super) fn answer(
        &mut self,
        number: u64,
        result: Result<Found, ChainError>,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        // An answer that came before, or to what does not matter any more.
        let Some(about) = self.asked.remove(&number) else {
            return;
        };
        match about {
            About::Price(chain) => self.priced(chain, result, now),
            About::Lane(key) => self.looked(key, result, now, fx),
            About::Entry(id, asked) => {
                let Some(entry) = self.open.get_mut(&id) else {
                    return;
                };
                entry.asked = None;
                self.touched
                    .insert((entry.record.chain, entry.record.account));
                // What a node has to say may be no: it has answered.
                match result.as_ref().err().filter(|error| error.is_retryable()) {
                    Some(silence) => entry.trouble.failed(silence, now),
                    None => entry.trouble.is_over(),
                }
                self.tell_stalled(id, fx);
                match asked {
                    Asked::Gas => self.weighed(id, result, now, fx),
                    Asked::Sign { fees, is_cancel } => {
                        self.signed(id, result, fees, is_cancel, now, fx);
                    }
                    Asked::Broadcast => self.broadcast(id, result, now, fx),
                    Asked::SignSolana => self.signed_solana(id, result, now, fx),
                }
            }
        }
    }

    fn priced(&mut self, chain: ChainId, result: Result<Found, ChainError>, now: Instant) {
        let rules = self.rules(chain);
        let price = self.prices.entry(chain).or_default();
        price.asked = None;
        match result {
            Ok(Found::Fees(fees)) => {
                price.fees = Some((fees, now));
                price.trouble.is_over();
            }
            Ok(_) => {}
            Err(error) => {
                price.not_before = now + pause_after(&error, &rules);
                price.trouble.failed(&error, now);
            }
        }
        let lanes = self.lanes.keys().filter(|(of, _)| *of == chain);
        self.touched.extend(lanes.copied());
    }

    fn looked(
        &mut self,
        key: LaneKey,
        result: Result<Found, ChainError>,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        let rules = self.rules(key.0);
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        let look = lane.looking.take().unwrap_or_default();
        self.touched.insert(key);
        match &result {
            Ok(found) => {
                lane.trouble.is_over();
                let limit = longest_limit(found).unwrap_or_default();
                lane.look_at = lane.look_at.max(now + limit);
            }
            Err(error) => lane.trouble.failed(error, now),
        }
        // Where things stood is told before what has become of them.
        self.tell_trouble(key, fx);
        match result {
            Ok(Found::Account(view)) => self.seen(key, look, &view, now, fx),
            Ok(Found::Solana(view)) => self.seen_solana(key, &view, fx),
            Ok(_) => {}
            Err(error) => {
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.look_at = now + pause_after(&error, &rules);
                }
            }
        }
    }

    /// A node has answered a broadcast, or not.
    fn broadcast(
        &mut self,
        id: EntryId,
        result: Result<Found, ChainError>,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let key = (entry.record.chain, entry.record.account);
        let rules = self.config.chains.get(&key.0).copied();
        let pause = rules.map_or(std::time::Duration::ZERO, |rules| rules.retry_after);
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        let latest = lane.view.map(|view| view.latest_number);
        // What most nodes say is what there is to react to; that some have it, the chain will show.
        let result = result.map_err(|error| match error {
            ChainError::TakenByFew { source, .. } => (*source).clone(),
            error => error,
        });
        if !result.as_ref().is_err_and(is_verdict) {
            entry.refusals = 0;
        }
        match result {
            Ok(_) => {
                let is_new = entry.sent_in.is_none();
                entry.is_sent = true;
                entry.taken_before = self.next_request;
                entry.outbid = 0;
                entry.sent_in = entry.sent_in.or(latest);
                entry.refresh();
                if is_new {
                    self.tell(id, fx);
                }
            }
            // Perhaps this very transaction used it. Only the chain knows.
            Err(ChainError::NonceTooLow { .. }) => {
                if mutant::is_planted("outbox_nonce_too_low_is_failure") {
                    self.displace(id, fx);
                    return;
                }
                entry.is_sent = true;
                lane.look_at = now;
            }
            Err(ChainError::ReplacementUnderpriced) => {
                // Of the first attempt it is another wallet's transaction, which will nearly always be included by then.
                entry.is_sent = true;
                entry.outbid = entry.outbid.saturating_add(1);
                entry.wants_bump = entry.record.attempts.len() > 1;
                entry.sent_in = entry.sent_in.or(latest);
                entry.not_before = now + pause;
            }
            Err(ChainError::FeeTooLow { .. }) => {
                entry.wants_bump = true;
                entry.outbid = 0;
                entry.is_sent = true;
                entry.back_off(now, pause);
                if let Some(price) = self.prices.get_mut(&key.0) {
                    price.fees = None;
                }
            }
            Err(ChainError::Expired { .. }) => {
                entry.back_off(now, pause);
                lane.look_at = now;
            }
            Err(error) => {
                entry.back_off(now, pause);
                if let ChainError::RateLimited { retry_after } = error {
                    entry.not_before = entry.not_before.max(now + retry_after);
                }
                if let Some(deferral) = deferral_of(&error) {
                    if is_verdict(&error) {
                        self.give_up_if_hopeless(id, &deferral, fx);
                    }
                    self.defer(id, deferral, fx);
                }
            }
        }
    }

    /// What every node refuses must not stand in the way of what comes behind it.
    fn give_up_if_hopeless(&mut self, id: EntryId, deferral: &Deferral, fx: Fx<'_, '_>) {
        let (Deferral::Refused(reason) | Deferral::WouldRevert(reason)) = deferral else {
            return;
        };
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        entry.refusals = entry.refusals.saturating_add(1);
        if entry.record.key.is_none() && entry.refusals >= REFUSALS_UNTIL_CALLED_OFF {
            // Its nonce is free for whatever waits, or for another filler, weighed anew. Should it be included all the
            // same, it has filled the gap, and what took its nonce gets another.
            self.end(id, Outcome::Cancelled, fx);
            return;
        }
        let record = &mut entry.record;
        let is_ours_to_end = record.key.is_some() && record.called_off.is_none();
        if is_ours_to_end && entry.refusals >= REFUSALS_UNTIL_CALLED_OFF {
            record.called_off = Some(CallOff::Refused(reason.clone()));
            self.journal.put(fx.batch(), id, record);
        }
    }
}

/// Whether an error speaks about the transaction itself. A pool that is full, a quota that is used up, words that nobody
/// knows: all of these pass, and nothing is called off for them.
fn is_verdict(error: &ChainError) -> bool {
    matches!(
        error,
        ChainError::InvalidTransaction { .. } | ChainError::Reverted(_)
    ) || mutant::is_planted("outbox_calls_off_for_any_refusal")
}

/// How long a node that could not say all wants to be left alone.
fn longest_limit(found: &Found) -> Option<std::time::Duration> {
    let Found::Account(view) = found else {
        return None;
    };
    let failures = view.failures.iter();
    let limits = failures.filter_map(|(_, error)| match error {
        ChainError::RateLimited { retry_after } => Some(*retry_after),
        _ => None,
    });
    limits.max()
}

/// How long to leave a chain alone after an error.
pub(super) fn pause_after(error: &ChainError, rules: &ChainRules) -> std::time::Duration {
    match error {
        ChainError::RateLimited { retry_after } => rules.retry_after.max(*retry_after),
        _ => rules.retry_after,
    }
}

/// What of an error the caller should know; `None` where trying again may well help.
pub(super) fn deferral_of(error: &ChainError) -> Option<Deferral> {
    match error {
        ChainError::InsufficientFunds { .. } => Some(Deferral::InsufficientFunds(
            cut(&error.to_string()).to_owned(),
        )),
        ChainError::Reverted(reason) => {
            Some(Deferral::WouldRevert(cut(&reason.to_string()).to_owned()))
        }
        error if error.is_retryable() => None,
        error => Some(Deferral::Refused(cut(&error.to_string()).to_owned())),
    }
}
