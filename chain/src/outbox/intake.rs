//! From an intent's acceptance to its end: keys, calling off, what is remembered.

use std::sync::Arc;

use peaberry_core::{Instant, mutant};

use super::config::OutboxConfig;
use super::event::{OutboxEvent, Refusal, Stage, Submission, Taken, Update};
use super::journal::tombstone_of;
use super::protocol::{Ended, Fx, Outbox};
use super::record::{
    CallOff, DATA_BYTES_MAX, EntryId, IdempotencyKey, Inclusion, Outcome, Purpose, Record,
    digest_of,
};
use crate::evm::call_of;
use crate::{ChainError, ChainFamily, Intent, TxId};

impl Outbox {
    pub(super) fn submit(
        &mut self,
        ticket: u64,
        submission: Submission,
        now: Instant,
        fx: Fx<'_, '_>,
    ) {
        let result = self.take(submission, fx);
        let entry = result.as_ref().ok().map(|taken| taken.entry);
        // Also an entry that is known may have been taken in this very turn.
        fx.emit_after_commit(OutboxEvent::Taken { ticket, result });
        // Whoever comes now has not heard yet that all stands still.
        if let Some(entry) = entry {
            if let Some(open) = self.open.get_mut(&entry) {
                open.is_stalled = false;
            }
            self.tell_stalled(entry, now, fx);
        }
    }

    fn take(&mut self, submission: Submission, fx: Fx<'_, '_>) -> Result<Taken, Refusal> {
        let digest = digest_of(submission.chain, &submission.intent);
        if let Some(&entry) = self.keys.get(&submission.key) {
            return self.known(entry, digest, submission.key);
        }
        if self.tombstones.contains(&tombstone_of(&submission.key)) {
            return Err(Refusal::Forgotten {
                key: submission.key,
            });
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
            end_number: 0,
            signed_above: None,
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

    pub(super) fn cancel(&mut self, id: EntryId, fx: Fx<'_, '_>) {
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
        record.end_number = self.next_end;
        self.ends.insert(self.next_end, id);
        self.next_end += 1;
        self.journal.put(fx.batch(), id, &record);
        self.ended.insert(
            id,
            Ended {
                key: record.key,
                digest: record.digest,
                outcome: outcome.clone(),
            },
        );
        fx.emit_after_commit(OutboxEvent::Moved(Update {
            entry: id,
            key: name,
            stage: Stage::Ended(outcome),
        }));
    }

    /// Forgets those that ended first, but for that their keys were used; never one that has ended in this turn, of which
    /// nobody knows yet.
    pub(super) fn forget_the_oldest(&mut self, fx: Fx<'_, '_>) {
        while self.ended.len() > self.config.ended_kept {
            let oldest = self.ends.first_key_value();
            let Some((&number, &id)) =
                oldest.filter(|(number, _)| **number < self.first_end_of_turn)
            else {
                return;
            };
            self.ends.remove(&number);
            let Some(ended) = self.ended.remove(&id) else {
                return;
            };
            self.journal.forget(fx.batch(), id);
            if let Some(key) = ended.key {
                self.keys.remove(&key);
                if !mutant::is_planted("outbox_reuses_forgotten_keys") {
                    let tombstone = tombstone_of(&key);
                    self.journal.bury(fx.batch(), &tombstone);
                    self.tombstones.insert(tombstone);
                }
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
