//! Deciding: which transaction gets which nonce, what is sent again, and when something is over.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use peaberry_core::{
    Channel, Effects, Input, Instant, Protocol, ProtocolId, Storage, Subspace, mutant,
};

use super::config::{ChainRules, OutboxConfig};
use super::event::{Deferral, OutboxCommand, OutboxEvent, Stage, Update};
use super::evm_lane::GAS_AT_ONCE;
use super::journal::{Journal, OpenError, Tombstone};
use super::lane::{Entry, Lane, LaneKey};
use super::record::{EntryId, IdempotencyKey, Outcome, Record};
use super::request::{Ask, Request};
use super::trouble::Trouble;
use crate::evm::Fees;
use crate::{ChainFamily, ChainId, TxId};

/// The outbox's protocol on a node.
pub const OUTBOX: ProtocolId = ProtocolId(40);

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
    pub(super) ended: BTreeMap<EntryId, Ended>,
    /// Those that are over in the order of their ends: in this order they are forgotten.
    pub(super) ends: BTreeMap<u64, EntryId>,
    pub(super) next_end: u64,
    /// The first end of this turn: nobody has been told of it yet.
    pub(super) first_end_of_turn: u64,
    pub(super) keys: BTreeMap<IdempotencyKey, EntryId>,
    /// Keys of entries that are forgotten: they are never used again.
    pub(super) tombstones: BTreeSet<Tombstone>,
    /// Solana's signatures that are taken: two equal intents dated by one block would be one transaction.
    pub(super) signatures: BTreeMap<[u8; 64], EntryId>,
    pub(super) prices: BTreeMap<ChainId, Price>,
    pub(super) asked: BTreeMap<u64, About>,
    pub(super) next_request: u64,
    pub(super) next_entry: u64,
    pub(super) touched: BTreeSet<LaneKey>,
    due: BTreeSet<(Instant, LaneKey)>,
    /// Entries of the life before: where they stand is told again.
    restored: Vec<EntryId>,
}

/// What gas costs on a chain, as far as known.
#[derive(Debug, Default)]
pub(super) struct Price {
    pub(super) fees: Option<(Fees, Instant)>,
    pub(super) asked: Option<u64>,
    pub(super) not_before: Instant,
    pub(super) trouble: Trouble,
}

/// An entry that is over, kept to answer for its key.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) key: Option<IdempotencyKey>,
    pub(super) digest: alloy_primitives::B256,
    pub(super) outcome: Outcome,
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
        let tombstones = journal.tombstones(storage)?;
        let mut outbox = Self {
            config,
            journal,
            open: BTreeMap::new(),
            lanes: BTreeMap::new(),
            floors,
            ended: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_end: 1,
            first_end_of_turn: 1,
            keys: BTreeMap::new(),
            tombstones,
            signatures: BTreeMap::new(),
            prices: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_request: 1,
            next_entry,
            touched: BTreeSet::new(),
            due: BTreeSet::new(),
            restored: Vec::new(),
        };
        for (id, record) in records {
            outbox.restore(id, record)?;
        }
        outbox.restored = outbox.open.keys().copied().collect();
        outbox.first_end_of_turn = outbox.next_end;
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
            self.ends.insert(record.end_number, id);
            self.next_end = self.next_end.max(record.end_number.saturating_add(1));
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
    pub(super) fn enter(&mut self, id: EntryId, record: Record) {
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
        self.unpark(key, now, fx);
        match key.0.family() {
            Some(ChainFamily::Evm) => self.advance_evm(key, now, fx),
            Some(ChainFamily::Solana) => self.advance_solana(key, now, fx),
            None => {}
        }
        self.tell_trouble(key, fx);
        self.write_floor(key, fx);
        self.reschedule(key, now);
    }

    fn unpark(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        let mut behind = Vec::new();
        while let Some(&(at, id)) = lane.parked.first()
            && at <= now
        {
            lane.parked.pop_first();
            lane.waiting.insert(id);
            // Of what is not in front nobody asks anything for now.
            if lane.waiting.range(..id).nth(GAS_AT_ONCE - 1).is_some() {
                behind.push(id);
            }
        }
        for id in behind {
            self.end_trouble_of(id, fx);
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
            self.forget_trouble_of_the_idle(key.0);
            return;
        }
        let needs_price = lane.needs_price();
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
        if !needs_price {
            self.forget_trouble_of_the_idle(key.0);
        }
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
        for id in std::mem::take(&mut self.restored) {
            self.tell(id, fx);
        }
        self.forget_the_oldest(fx);
        // Advancing one lane may end entries of it, but touches no other.
        for key in std::mem::take(&mut self.touched) {
            self.advance(key, now, fx);
        }
        self.touched.clear();
        self.first_end_of_turn = self.next_end;
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}
