//! Those who hand intents over, and what they must find in the end.

use std::collections::BTreeMap;

use peaberry_chain::outbox::{
    Ask, Deferral, EntryId, IdempotencyKey, Outcome, Refusal, Request, Stage, Submission, Taken,
    Update,
};
use peaberry_chain::primitives::Address;
use peaberry_chain::{Amount, Asset, ChainId, Intent, SolanaAddress, TxId};

use super::model::{Model, REFUSAL, is_refused, is_undone};
use super::reached;
use super::solana::Cluster;
use crate::simulation::Reached;

/// An intent as its caller knows it. Callers outlive the process: they are elsewhere.
#[derive(Debug)]
struct Wish {
    submission: Submission,
    entry: Option<EntryId>,
    is_cancelled: bool,
    /// The caller was told that it is over, and that nobody knows any more how.
    is_forgotten: bool,
    /// The caller was told that nobody knows any more what has used its nonce, and nothing else since.
    is_unknown: bool,
    /// How the caller was told that it ended, each time.
    ended: Vec<Outcome>,
}

impl Wish {
    const fn is_over(&self) -> bool {
        self.is_forgotten || !self.ended.is_empty()
    }
}

/// What the outbox goes by when it looks for the transactions of an entry.
#[derive(Clone, Copy, Debug)]
struct Looked {
    from: Address,
    nonce: u64,
    /// Up to this newest block nodes know of each receipt that there may be.
    newest_max: u64,
}

#[derive(Debug)]
pub(super) struct Callers {
    wishes: BTreeMap<u64, Wish>,
    looked: BTreeMap<EntryId, Looked>,
    next_payload: u64,
    signed: BTreeMap<EntryId, usize>,
    pub(super) branches: Reached,
    pub(super) violations: Vec<String>,
}

impl Callers {
    pub(super) fn new() -> Self {
        Self {
            wishes: BTreeMap::new(),
            looked: BTreeMap::new(),
            next_payload: 1,
            signed: BTreeMap::new(),
            branches: reached::branches(),
            violations: Vec::new(),
        }
    }

    /// Another intent; its payload is its ticket.
    pub(super) fn wish(&mut self, account: usize, on_solana: bool) -> (u64, Submission) {
        let payload = self.next_payload;
        self.next_payload += 1;
        let key = IdempotencyKey::new(payload.to_be_bytes()).expect("eight bytes are a key");
        let (chain, from, to, amount) = if on_solana {
            let to = SolanaAddress([8; 32]).into();
            let from = super::solana::account().into();
            (ChainId::SOLANA, from, to, Amount::lamports(payload))
        } else {
            let to = Address::repeat_byte(0xee).into();
            let from = super::account(account).into();
            (super::chain(), from, to, Amount::wei(payload.into()))
        };
        let asset = Asset::Native;
        let intent = Intent::Transfer {
            from,
            to,
            asset,
            amount,
        };
        let mut submission = Submission::new(key, chain, intent);
        if payload.is_multiple_of(2) && !on_solana {
            submission = submission.with_gas_limit(21_000);
        }
        let wish = Wish {
            submission: submission.clone(),
            entry: None,
            is_cancelled: false,
            is_forgotten: false,
            is_unknown: false,
            ended: Vec::new(),
        };
        self.wishes.insert(payload, wish);
        (payload, submission)
    }

    /// Those that were not answered, or whose end is not known, are handed over again.
    pub(super) fn again(&self) -> Vec<(u64, Submission)> {
        let open = self.wishes.iter().filter(|(_, wish)| !wish.is_over());
        open.map(|(payload, wish)| (*payload, wish.submission.clone()))
            .collect()
    }

    /// One of those that are over, and has no business being handed over again.
    pub(super) fn ended_before(&self, pick: u64) -> Option<(u64, Submission)> {
        let over: Vec<_> = self
            .wishes
            .iter()
            .filter(|(_, wish)| wish.is_over())
            .collect();
        let at = usize::try_from(pick).ok()? % over.len().max(1);
        let (payload, wish) = over.get(at)?;
        Some((**payload, wish.submission.clone()))
    }

    pub(super) fn cancel(&mut self, pick: u64) -> Option<EntryId> {
        let open: Vec<u64> = self
            .wishes
            .iter()
            .filter(|(_, wish)| !wish.is_over() && wish.entry.is_some())
            .map(|(payload, _)| *payload)
            .collect();
        let at = usize::try_from(pick).ok()? % open.len().max(1);
        let wish = self.wishes.get_mut(open.get(at)?)?;
        wish.is_cancelled = true;
        wish.entry
    }

    pub(super) fn taken(&mut self, ticket: u64, result: Result<Taken, Refusal>) {
        let Some(wish) = self.wishes.get_mut(&ticket) else {
            return;
        };
        match result {
            Ok(taken) => {
                if wish.entry.is_some_and(|entry| entry != taken.entry) {
                    self.violations.push(format!(
                        "a retry of {ticket} became another entry, {}",
                        taken.entry
                    ));
                }
                wish.entry = Some(taken.entry);
                if let Stage::Ended(outcome) = taken.stage {
                    wish.ended.push(outcome);
                }
            }
            Err(Refusal::Forgotten { .. }) => {
                wish.is_forgotten = true;
                self.branches.mark(reached::FORGOTTEN);
            }
            Err(refusal) => self
                .violations
                .push(format!("{ticket} was refused: {refusal}")),
        }
    }

    /// What the outbox asks is what it goes by.
    pub(super) fn asked(&mut self, request: &Request) {
        let Ask::Look {
            account, wanted, ..
        } = &request.ask
        else {
            return;
        };
        let looked = wanted.iter().map(|one| {
            let looked = Looked {
                from: *account,
                nonce: one.nonce,
                newest_max: one.newest_max,
            };
            (one.entry, looked)
        });
        self.looked.extend(looked);
    }

    /// A process begins anew: what its intents wait for it finds out and tells again.
    pub(super) fn forget_deferrals(&mut self) {
        for wish in self.wishes.values_mut() {
            wish.is_unknown = false;
        }
    }

    /// What a caller is told must be so.
    pub(super) fn moved(&mut self, update: &Update, model: &Model, cluster: &Cluster) {
        self.check(update, model, cluster);
        let is_unknown = self.is_unknown(update);
        if is_unknown {
            self.check_unknown(update, model);
        }
        let branch = match &update.stage {
            _ if is_unknown => Some(reached::UNKNOWN),
            Stage::Deferred { .. } => Some(reached::DEFERRED),
            Stage::Ended(Outcome::Rejected { reason }) if reason.contains(REFUSAL) => {
                Some(reached::REFUSED)
            }
            Stage::Ended(Outcome::Rejected { .. }) => Some(reached::REJECTED),
            Stage::Ended(Outcome::Final(inclusion)) if !inclusion.is_success => {
                Some(reached::UNDONE)
            }
            Stage::Displaced => Some(reached::DISPLACED),
            Stage::Reorganised => Some(reached::REORGANISED),
            Stage::Expired => Some(reached::EXPIRED),
            Stage::Ended(Outcome::Cancelled) => Some(reached::CANCELLED),
            Stage::Signed { .. } => {
                let count = self.signed.entry(update.entry).or_default();
                *count += 1;
                (*count == 3).then_some(reached::BUMPED)
            }
            _ => None,
        };
        if let Some(branch) = branch {
            self.branches.mark(branch);
        }
        let Some(wish) = self.wishes.get_mut(&payload_of(update)) else {
            return;
        };
        // That nobody answers changes nothing of what was told before.
        if !matches!(update.stage, Stage::Stalled { .. }) {
            wish.is_unknown = is_unknown;
        }
        if let Stage::Ended(outcome) = &update.stage {
            wish.entry = Some(update.entry);
            wish.ended.push(outcome.clone());
        }
    }

    fn check(&mut self, update: &Update, model: &Model, cluster: &Cluster) {
        let (inclusion, is_final) = match &update.stage {
            Stage::Included(inclusion) => (inclusion, false),
            Stage::Ended(Outcome::Final(inclusion)) => (inclusion, true),
            _ => return,
        };
        let is_so = match inclusion.transaction {
            TxId::Evm(hash) => {
                let block = model.forks.get(&inclusion.block_hash);
                block.is_some_and(|sealed| {
                    let mut there = sealed.transactions.iter();
                    let is_there = there
                        .any(|one| one.hash == hash && one.is_undone() != inclusion.is_success);
                    is_there
                        && sealed.block.number == inclusion.block_number
                        && (!is_final || model.is_final(sealed))
                })
            }
            TxId::Solana(_) => !is_final || cluster.is_final(inclusion.transaction),
        };
        if !is_so {
            let key = payload_of(update);
            let complaint = format!("{key} was told what is not so: {:?}", update.stage);
            self.violations.push(complaint);
        }
    }

    /// Whether it is told of an EVM chain's transaction that nobody knows any more what has used its nonce.
    fn is_unknown(&self, update: &Update) -> bool {
        let Stage::Deferred { reason } = &update.stage else {
            return false;
        };
        let wish = self.wishes.get(&payload_of(update));
        let is_on_evm = wish.is_some_and(|wish| wish.submission.chain == super::chain());
        is_on_evm && matches!(reason, Deferral::Unknown(_))
    }

    /// That is told when nodes may have forgotten it, and not before.
    fn check_unknown(&mut self, update: &Update, model: &Model) {
        let looked = self.looked.get(&update.entry);
        if looked.is_none_or(|looked| model.tip() <= looked.newest_max) {
            let key = payload_of(update);
            let complaint = format!(
                "{key} is not known any more at {}, and it is: {looked:?}",
                model.tip()
            );
            self.violations.push(complaint);
        }
    }

    /// Whether nobody can ever tell what became of it: something else has used its nonce for good. The caller knows that.
    fn is_unknown_for_good(&self, wish: &Wish, model: &Model) -> bool {
        let looked = wish.entry.and_then(|entry| self.looked.get(&entry));
        let is_used = |looked: &Looked| model.is_used_for_nothing(looked.from, looked.nonce);
        !wish.is_over() && wish.is_unknown && looked.is_some_and(is_used)
    }

    /// Nothing more is to come.
    pub(super) fn all_settled(&self, model: &Model) -> bool {
        let mut all = self.wishes.values();
        all.all(|wish| wish.is_over() || self.is_unknown_for_good(wish, model))
    }

    pub(super) fn ended(&self) -> u64 {
        let ended = self.wishes.values().filter(|wish| wish.is_over());
        ended.count() as u64
    }

    /// Every intent was carried out once, or called off and not at all, or cannot be known any more and was not.
    pub(super) fn conclude(&mut self, model: &Model, cluster: &Cluster) {
        for (payload, wish) in &self.wishes {
            let is_unknown = self.is_unknown_for_good(wish, model);
            if is_unknown {
                self.branches.mark(reached::UNKNOWN_TO_THE_END);
            }
            let count = model.count(*payload) + cluster.count(*payload);
            let complaint = match wish.ended.last() {
                _ if count > 1 => Some(format!("{payload} was carried out {count} times")),
                None if wish.is_forgotten => {
                    let may_be_lost =
                        wish.is_cancelled || is_refused(*payload) || is_undone(*payload);
                    (count != 1 && !may_be_lost)
                        .then(|| format!("{payload} was forgotten, and never carried out"))
                }
                None if is_unknown => (count != 0)
                    .then(|| format!("{payload} is not known any more, and was carried out")),
                None => Some(format!(
                    "{payload} ({:?}) is stuck, carried out {count} times",
                    wish.entry
                )),
                Some(Outcome::Cancelled) if !wish.is_cancelled => {
                    Some(format!("{payload} was cancelled by nobody"))
                }
                Some(Outcome::Cancelled) => (count != 0)
                    .then(|| format!("{payload} was cancelled and carried out all the same")),
                Some(Outcome::Final(inclusion)) => {
                    let id = inclusion.transaction;
                    let is_wasted = !inclusion.is_success && !is_undone(*payload);
                    let holds = cluster.holds(id)
                        || matches!(id, TxId::Evm(hash) if model.find(hash, model.tip()).is_some());
                    (count != 1 || !holds || is_wasted)
                        .then(|| format!("{payload} is final, and lost: {inclusion:?}"))
                }
                Some(Outcome::Rejected { reason }) => {
                    let is_right = wish.submission.chain != ChainId::SOLANA
                        && (is_refused(*payload) || is_undone(*payload));
                    (count != 0 || !is_right)
                        .then(|| format!("{payload} was rejected: {reason}, {count} times"))
                }
            };
            self.violations.extend(complaint);
            if wish.ended.windows(2).any(|two| two.first() != two.last()) {
                self.violations.push(format!("{payload} ended in two ways"));
            }
        }
    }
}

fn payload_of(update: &Update) -> u64 {
    let payload = update.key.as_bytes().first_chunk();
    payload.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
