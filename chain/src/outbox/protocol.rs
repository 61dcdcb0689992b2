//! Deciding: which transaction gets which nonce, what is sent again, and when something is over.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use peaberry_core::{
    Channel, Effects, Input, Instant, Protocol, ProtocolId, Storage, Subspace, mutant,
};

use super::config::{ChainRules, OutboxConfig};
use super::event::{
    Deferral, OutboxCommand, OutboxEvent, Refusal, Stage, Submission, Taken, Update,
};
use super::journal::{Journal, OpenError};
use super::lane::{Entry, Lane, LaneKey};
use super::record::{
    CallOff, DATA_BYTES_MAX, EntryId, IdempotencyKey, Inclusion, Outcome, Purpose, Record, cut, digest_of,
};
use super::request::{Ask, Found, Request};
use crate::evm::{Fees, call_of};
use crate::{ChainError, ChainFamily, ChainId, Intent, TxId};

/// The outbox's protocol on a node.
pub const OUTBOX: ProtocolId = ProtocolId(40);

/// How often in a row nodes must refuse a transaction, in words that promise nothing, before it is called off: one of them
/// may be wrongly set up, or behind.
const REFUSALS_UNTIL_CALLED_OFF: u8 = 6;

/// Events and requests of an outbox.
pub(super) type Fx<'a, 'b> = &'a mut Effects<'b, OutboxEvent>;

/// Carries intents out on their chains, each once, whatever crashes: the part that decides.
///
/// Every step goes into the journal before anything leaves that depends on it: an accepted intent before the caller is
/// told, signed bytes before they are broadcast. After a restart the same bytes are broadcast again. A lost answer, a
/// time-out, "nonce too low" and "already known" say nothing: the chain is asked what became of every attempt.
///
/// It acts on nothing itself: [`OutboxEvent::Perform`] goes to the chain's [`Performer`](super::Performer), whose
/// answers come back as [`OutboxCommand::Answer`]. [`OutboxHandle::install`](super::OutboxHandle::install) puts it all
/// together.
#[derive(Debug)]
pub struct Outbox {
    pub(super) config: OutboxConfig,
    pub(super) journal: Journal,
    pub(super) open: BTreeMap<EntryId, Entry>,
    pub(super) lanes: BTreeMap<LaneKey, Lane>,
    floors: BTreeMap<LaneKey, u64>,
    ended: BTreeMap<EntryId, Ended>,
    keys: BTreeMap<IdempotencyKey, EntryId>,
    /// Solana's signatures that are taken: two equal intents dated by one block would be one transaction.
    pub(super) signatures: BTreeMap<[u8; 64], EntryId>,
    pub(super) prices: BTreeMap<ChainId, Price>,
    asked: BTreeMap<u64, About>,
    next_request: u64,
    next_entry: u64,
    pub(super) touched: BTreeSet<LaneKey>,
    due: BTreeSet<(Instant, LaneKey)>,
    is_resumed: bool,
}

/// What gas costs on a chain, as far as known.
#[derive(Debug, Default)]
pub(super) struct Price {
    pub(super) fees: Option<(Fees, Instant)>,
    pub(super) asked: Option<u64>,
    pub(super) not_before: Instant,
}

/// An entry that is over, kept to answer for its key.
#[derive(Debug)]
struct Ended {
    key: Option<IdempotencyKey>,
    digest: alloy_primitives::B256,
    outcome: Outcome,
}

/// What a request in flight is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Price(ChainId),
    Lane(LaneKey),
    Entry(EntryId, Asked),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Gas,
    Sign { fees: Fees, is_cancel: bool },
    Broadcast,
    SignSolana,
}

impl Outbox {
    /// The outbox whose journal lies in `storage` under `channel`.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing changed.
    pub fn open(
        channel: Channel,
        config: OutboxConfig,
        storage: &dyn Storage,
    ) -> Result<Self, OpenError> {
        let journal = Journal::new(Subspace::of(channel));
        let mut records = Vec::new();
        let next_entry = journal.load(storage, |id, record| records.push((id, record)))?;
        let floors = journal.floors(storage)?;
        let mut outbox = Self {
            config,
            journal,
            open: BTreeMap::new(),
            lanes: BTreeMap::new(),
            floors,
            ended: BTreeMap::new(),
            keys: BTreeMap::new(),
            signatures: BTreeMap::new(),
            prices: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_request: 1,
            next_entry,
            touched: BTreeSet::new(),
            due: BTreeSet::new(),
            is_resumed: false,
        };
        for (id, record) in records {
            outbox.restore(id, record)?;
        }
        Ok(outbox)
    }

    /// How many intents are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    fn restore(&mut self, id: EntryId, mut record: Record) -> Result<(), OpenError> {
        self.next_entry = self.next_entry.max(id.0 + 1);
        if mutant::is_planted("outbox_resigns_after_restart") && record.included.is_none() {
            record.attempts.clear();
            record.nonce = None;
        }
        for attempt in &record.attempts {
            self.take_signature(attempt.id, id);
        }
        if let Some(key) = &record.key {
            self.keys.insert(key.clone(), id);
        }
        if let Some(outcome) = record.outcome {
            if let Outcome::Final(inclusion) = &outcome {
                self.take_signature(inclusion.transaction, id);
            }
            self.ended.insert(
                id,
                Ended {
                    key: record.key,
                    digest: record.digest,
                    outcome,
                },
            );
            return Ok(());
        }
        if !self.config.chains.contains_key(&record.chain) {
            return Err(OpenError::UnknownChain {
                chain: record.chain,
            });
        }
        self.enter(id, record);
        Ok(())
    }

    fn take_signature(&mut self, transaction: TxId, id: EntryId) {
        if let TxId::Solana(signature) = transaction {
            self.signatures.insert(signature, id);
        }
    }

    /// Puts an open entry into its lane.
    fn enter(&mut self, id: EntryId, record: Record) {
        let key = (record.chain, record.account);
        let floor = self.floors.get(&key).copied().unwrap_or(0);
        let lane = self.lanes.entry(key).or_insert_with(|| Lane {
            floor,
            ..Lane::default()
        });
        lane.insert(id, &record);
        self.open.insert(id, Entry::new(record));
        self.touched.insert(key);
    }

    fn submit(&mut self, ticket: u64, submission: Submission, fx: Fx<'_, '_>) {
        let result = self.take(submission, fx);
        // Also an entry that is known may have been taken in this very turn.
        fx.emit_after_commit(OutboxEvent::Taken { ticket, result });
    }

    fn take(&mut self, submission: Submission, fx: Fx<'_, '_>) -> Result<Taken, Refusal> {
        let digest = digest_of(submission.chain, &submission.intent);
        if let Some(&entry) = self.keys.get(&submission.key) {
            return self.known(entry, digest, submission.key);
        }
        check(&submission, &self.config).map_err(|error| Refusal::Invalid(Arc::new(error)))?;
        if self.open.len() >= self.config.open_max {
            return Err(Refusal::Full {
                open_max: self.config.open_max,
            });
        }
        let record = Record {
            key: Some(submission.key.clone()),
            digest,
            chain: submission.chain,
            account: submission.intent.from(),
            purpose: Purpose::Intent(submission.intent),
            gas_limit: submission.gas_limit,
            fee_cap: submission.fee_cap,
            nonce: None,
            called_off: None,
            attempts: Vec::new(),
            included: None,
            outcome: None,
        };
        let entry = self.add(record, fx);
        self.keys.insert(submission.key, entry);
        Ok(Taken {
            entry,
            is_known: false,
            stage: Stage::Accepted,
        })
    }

    fn known(
        &self,
        entry: EntryId,
        digest: alloy_primitives::B256,
        key: IdempotencyKey,
    ) -> Result<Taken, Refusal> {
        let (same, stage) = match (self.open.get(&entry), self.ended.get(&entry)) {
            (Some(open), _) => (open.record.digest == digest, open.stage()),
            (None, Some(ended)) => (ended.digest == digest, Stage::Ended(ended.outcome.clone())),
            (None, None) => (false, Stage::Accepted),
        };
        if !same {
            return Err(Refusal::KeyTaken { key });
        }
        Ok(Taken {
            entry,
            is_known: true,
            stage,
        })
    }

    /// A new entry, in the journal with this turn.
    pub(super) fn add(&mut self, record: Record, fx: Fx<'_, '_>) -> EntryId {
        let id = EntryId(self.next_entry);
        self.next_entry += 1;
        self.journal.put_next(fx.batch(), self.next_entry);
        self.journal.put(fx.batch(), id, &record);
        self.enter(id, record);
        id
    }

    fn cancel(&mut self, id: EntryId, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        if entry.record.included.is_some() || entry.record.key.is_none() {
            return;
        }
        entry.record.called_off = Some(CallOff::ByCaller);
        let key = (entry.record.chain, entry.record.account);
        // Bytes that are being signed never leave: they are not in the journal.
        if entry.record.attempts.is_empty() {
            self.end(id, Outcome::Cancelled, fx);
        } else {
            entry.not_before = Instant::default();
            self.journal.put(fx.batch(), id, &entry.record);
            fx.sync();
        }
        self.touched.insert(key);
    }

    /// The entry is over.
    pub(super) fn end(&mut self, id: EntryId, outcome: Outcome, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.remove(&id) else {
            return;
        };
        let mut record = entry.record;
        let key = (record.chain, record.account);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.remove(id, &record, entry.not_before);
        }
        if let Some(number) = entry.asked {
            self.asked.remove(&number);
        }
        self.touched.insert(key);
        let Some(name) = record.key.clone() else {
            // A filler: nobody will ask after it.
            self.journal.forget(fx.batch(), id);
            return;
        };
        record.attempts.clear();
        record.outcome = Some(outcome.clone());
        self.journal.put(fx.batch(), id, &record);
        self.ended.insert(
            id,
            Ended {
                key: record.key,
                digest: record.digest,
                outcome: outcome.clone(),
            },
        );
        self.forget_the_oldest(fx);
        fx.emit_after_commit(OutboxEvent::Moved(Update {
            entry: id,
            key: name,
            stage: Stage::Ended(outcome),
        }));
    }

    fn forget_the_oldest(&mut self, fx: Fx<'_, '_>) {
        while self.ended.len() > self.config.ended_kept {
            let Some((id, ended)) = self.ended.pop_first() else {
                return;
            };
            self.journal.forget(fx.batch(), id);
            if let Some(key) = ended.key {
                self.keys.remove(&key);
            }
            if let Outcome::Final(Inclusion {
                transaction: TxId::Solana(signature),
                ..
            }) = ended.outcome
            {
                self.signatures.remove(&signature);
            }
        }
    }

    fn answer(
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
            Ok(Found::Fees(fees)) => price.fees = Some((fees, now)),
            Ok(_) => {}
            Err(error) => price.not_before = now + pause_after(&error, &rules),
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
        lane.looking = None;
        lane.look_at = now + rules.look_every;
        self.touched.insert(key);
        match result {
            Ok(Found::Account(view)) => self.seen(key, &view, fx),
            Ok(Found::Solana(view)) => self.seen_solana(key, &view, fx),
            Ok(_) => {}
            Err(error) => lane.look_at = now + pause_after(&error, &rules),
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
        match result {
            Ok(_) => {
                let is_new = entry.sent_in.is_none();
                entry.is_sent = true;
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
                entry.is_sent = true;
                entry.wants_bump = entry.record.attempts.len() > 1;
                entry.sent_in = entry.sent_in.or(latest);
            }
            Err(ChainError::FeeTooLow { .. }) => {
                entry.wants_bump = true;
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
                    self.give_up_if_hopeless(id, &deferral, fx);
                    self.defer(id, deferral, fx);
                }
            }
        }
    }

    /// What every node refuses must not stand in the way of what comes behind it.
    fn give_up_if_hopeless(&mut self, id: EntryId, deferral: &Deferral, fx: Fx<'_, '_>) {
        let (Some(entry), Deferral::Refused(reason)) = (self.open.get_mut(&id), deferral) else {
            return;
        };
        entry.refusals = entry.refusals.saturating_add(1);
        let record = &mut entry.record;
        let is_ours_to_end = record.key.is_some() && record.called_off.is_none();
        if is_ours_to_end && entry.refusals >= REFUSALS_UNTIL_CALLED_OFF {
            record.called_off = Some(CallOff::Refused(reason.clone()));
            self.journal.put(fx.batch(), id, record);
        }
    }

    /// Says once that an entry waits.
    pub(super) fn defer(&mut self, id: EntryId, deferral: Deferral, fx: Fx<'_, '_>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        if entry.deferral.as_ref() == Some(&deferral) {
            return;
        }
        entry.deferral = Some(deferral);
        self.tell(id, fx);
    }

    /// Tells where an entry stands, once that is in the journal, and behind whatever was told before. What may be lost in
    /// a crash is told again after it.
    pub(super) fn tell(&self, id: EntryId, fx: Fx<'_, '_>) {
        if let Some(entry) = self.open.get(&id) {
            self.tell_of(id, entry.stage(), fx);
        }
    }

    pub(super) fn tell_of(&self, id: EntryId, stage: Stage, fx: Fx<'_, '_>) {
        let key = self
            .open
            .get(&id)
            .and_then(|entry| entry.record.key.clone());
        if let Some(key) = key {
            // Not at once: it would overtake what waits for a commit, such as the answer to who has handed it over.
            fx.emit_after_commit(OutboxEvent::Moved(Update {
                entry: id,
                key,
                stage,
            }));
        }
    }

    /// Has something done for an entry.
    pub(super) fn ask(&mut self, id: EntryId, asked: Asked, ask: Ask, fx: Fx<'_, '_>) {
        let number = self.next_request;
        self.next_request += 1;
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        entry.asked = Some(number);
        self.asked.insert(number, About::Entry(id, asked));
        let request = OutboxEvent::Perform(Request {
            number,
            chain: entry.record.chain,
            ask,
        });
        let needs_journal =
            asked == Asked::Broadcast && !mutant::is_planted("outbox_broadcasts_before_journal");
        if needs_journal {
            fx.emit_after_commit(request);
        } else {
            // Without the bytes in the journal nothing of this leaves the process but questions.
            fx.emit(request);
        }
    }

    /// Has something found out that is no single entry's.
    pub(super) fn ask_about(
        &mut self,
        about: About,
        chain: ChainId,
        ask: Ask,
        fx: Fx<'_, '_>,
    ) -> u64 {
        let number = self.next_request;
        self.next_request += 1;
        self.asked.insert(number, about);
        fx.emit(OutboxEvent::Perform(Request { number, chain, ask }));
        number
    }

    pub(super) fn rules(&self, chain: ChainId) -> ChainRules {
        let rules = self.config.chains.get(&chain).copied();
        rules.unwrap_or_else(|| ChainRules::every(std::time::Duration::from_secs(1)))
    }

    fn advance(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) {
        self.unpark(key, now);
        match key.0.family() {
            Some(ChainFamily::Evm) => self.advance_evm(key, now, fx),
            Some(ChainFamily::Solana) => self.advance_solana(key, now, fx),
            None => {}
        }
        self.write_floor(key, fx);
        self.reschedule(key, now);
    }

    fn unpark(&mut self, key: LaneKey, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        while let Some(&(at, id)) = lane.parked.first()
            && at <= now
        {
            lane.parked.pop_first();
            lane.waiting.insert(id);
        }
    }

    /// Takes an entry that waits out of the way of the others.
    pub(super) fn park(&mut self, id: EntryId, now: Instant) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let key = (entry.record.chain, entry.record.account);
        let pause = self
            .config
            .chains
            .get(&key.0)
            .map(|rules| rules.retry_after);
        entry.back_off(now, pause.unwrap_or_default());
        if let Some(lane) = self.lanes.get_mut(&key)
            && lane.waiting.remove(&id)
        {
            lane.parked.insert((entry.not_before, id));
        }
    }

    fn write_floor(&mut self, key: LaneKey, fx: Fx<'_, '_>) {
        if let Some(lane) = self.lanes.get_mut(&key)
            && std::mem::take(&mut lane.is_floor_new)
        {
            self.floors.insert(key, lane.floor);
            self.journal.put_floor(fx.batch(), key.0, key.1, lane.floor);
        }
    }

    /// When the lane is to be looked after again.
    fn reschedule(&mut self, key: LaneKey, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        if let Some(due) = lane.due.take() {
            self.due.remove(&(due, key));
        }
        if lane.is_empty() {
            // What is known of an idle account grows stale: it is read again before it is used.
            if let Some(number) = lane.looking {
                self.asked.remove(&number);
            }
            self.lanes.remove(&key);
            return;
        }
        let look = lane.looking.is_none().then_some(lane.look_at);
        let parked = lane.parked.first().map(|(at, _)| *at);
        let retries = lane.flying.iter().chain(lane.waiting.iter().take(1));
        let retry = retries
            .filter_map(|id| self.open.get(id))
            .filter(|entry| entry.asked.is_none() && entry.not_before > now)
            .map(|entry| entry.not_before)
            .min();
        let price = self.prices.get(&key.0);
        let price = price
            .filter(|price| price.asked.is_none() && price.not_before > now)
            .map(|price| price.not_before);
        let due = [look, parked, retry, price].into_iter().flatten().min();
        lane.due = due;
        if let Some(due) = due {
            self.due.insert((due, key));
        }
    }
}

/// What a journal may not begin with.
fn check(submission: &Submission, config: &OutboxConfig) -> Result<(), ChainError> {
    let Submission { chain, intent, .. } = submission;
    if !config.chains.contains_key(chain) {
        return Err(ChainError::UnknownChain { chain: *chain });
    }
    intent.expect_on(*chain)?;
    match chain.family() {
        Some(ChainFamily::Evm) => {
            let call = call_of(intent, *chain)?;
            if call.data.len() > DATA_BYTES_MAX - 1024 {
                return Err(ChainError::TransactionTooLarge {
                    bytes: call.data.len(),
                    bytes_max: DATA_BYTES_MAX - 1024,
                });
            }
            Ok(())
        }
        Some(ChainFamily::Solana) => match intent {
            Intent::Transfer { amount, .. } => amount.to_u64().map(drop),
            Intent::Call { .. } | Intent::Deploy { .. } => Err(ChainError::Unsupported {
                family: ChainFamily::Solana,
                what: "calls of contracts",
            }),
        },
        None => Err(ChainError::UnknownChain { chain: *chain }),
    }
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

impl Protocol for Outbox {
    type Command = OutboxCommand;
    type Event = OutboxEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<OutboxCommand>,
        fx: &mut Effects<'_, OutboxEvent>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Command(OutboxCommand::Submit { ticket, submission }) => {
                self.submit(ticket, *submission, fx);
            }
            Input::Command(OutboxCommand::Cancel(id)) => self.cancel(id, fx),
            Input::Command(OutboxCommand::Answer { number, result }) => {
                self.answer(number, *result, now, fx);
            }
            Input::Command(OutboxCommand::Wake(chain)) => {
                for (key, lane) in &mut self.lanes {
                    if key.0 == chain {
                        lane.look_at = now;
                        self.touched.insert(*key);
                    }
                }
            }
            Input::Timeout => {
                let due = self.due.iter().take_while(|(at, _)| *at <= now);
                self.touched.extend(due.map(|(_, key)| *key));
            }
            // It has no peers, and reads nothing behind its back.
            Input::Message(_) | Input::Committed(_) | Input::Read(..) | Input::Unreachable(_) => {}
        }
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, OutboxEvent>,
    ) -> Result<(), Infallible> {
        if !self.is_resumed {
            self.is_resumed = true;
            let ids: Vec<EntryId> = self.open.keys().copied().collect();
            for id in ids {
                self.tell(id, fx);
            }
        }
        // Advancing one lane may end entries of it, but touches no other.
        for key in std::mem::take(&mut self.touched) {
            self.advance(key, now, fx);
        }
        self.touched.clear();
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}
