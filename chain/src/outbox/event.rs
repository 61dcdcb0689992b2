//! What an outbox is told, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use super::record::{EntryId, IdempotencyKey, Inclusion, Outcome};
use super::request::{Found, Request};
use crate::{ChainError, ChainId, Intent, TxId};

/// An intent for the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The caller's own name for it.
    pub key: IdempotencyKey,
    /// On which chain.
    pub chain: ChainId,
    /// What shall happen. Its sender needs a signer in the chain's [`Performer`](super::Performer).
    pub intent: Intent,
    /// The most gas it may use; estimated where absent. EVM only.
    pub gas_limit: Option<u64>,
    /// The most to offer for a unit of gas, in wei; where absent [`ChainRules::fee_cap`](super::ChainRules::fee_cap).
    pub fee_cap: Option<u128>,
}

impl Submission {
    /// `intent` on `chain`, named `key`, at the market's price.
    #[must_use]
    pub const fn new(key: IdempotencyKey, chain: ChainId, intent: Intent) -> Self {
        Self {
            key,
            chain,
            intent,
            gas_limit: None,
            fee_cap: None,
        }
    }

    /// The same with so much gas, without an estimate.
    #[must_use]
    pub const fn with_gas_limit(mut self, gas_limit: u64) -> Self {
        self.gas_limit = Some(gas_limit);
        self
    }

    /// The same with its own cap on the fee of a unit of gas, in wei.
    #[must_use]
    pub const fn with_fee_cap(mut self, fee_cap: u128) -> Self {
        self.fee_cap = Some(fee_cap);
        self
    }
}

/// A command to an [`Outbox`](super::Outbox); [`OutboxHandle`](super::OutboxHandle) makes them.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "these are all there are")]
pub enum OutboxCommand {
    /// Take an intent.
    Submit {
        /// Goes back with [`OutboxEvent::Taken`].
        ticket: u64,
        /// The intent.
        submission: Box<Submission>,
    },
    /// Call an intent off, where that is still possible.
    Cancel(EntryId),
    /// A request's answer.
    Answer {
        /// The request's number.
        number: u64,
        /// What came of it.
        result: Box<Result<Found, ChainError>>,
    },
    /// The chain may have a new block: look now.
    Wake(ChainId),
}

/// What an [`Outbox`](super::Outbox) tells.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver must handle all of them")]
pub enum OutboxEvent {
    /// For the chain's [`Performer`](super::Performer). The journal already holds what must be in it.
    Perform(Request),
    /// The answer to [`OutboxCommand::Submit`].
    Taken {
        /// The command's ticket.
        ticket: u64,
        /// The entry, or why there is none.
        result: Result<Taken, Refusal>,
    },
    /// An intent has come a step further, or back.
    Moved(Update),
}

/// An intent that is in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its entry.
    pub entry: EntryId,
    /// Whether the key was known: nothing was added then.
    pub is_known: bool,
    /// Where it stands.
    pub stage: Stage,
}

/// A step of an intent's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Its entry.
    pub entry: EntryId,
    /// Its key.
    pub key: IdempotencyKey,
    /// Where it has come to.
    pub stage: Stage,
}

/// Where an intent stands. Forward in the order given here; a reorganisation leads back from `Included` to `Sent`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// In the journal. From here on it survives a crash.
    Accepted,
    /// Its signed bytes are in the journal; with the nonce it has, on EVM chains.
    Signed {
        /// The nonce.
        nonce: Option<u64>,
        /// The transaction; another one after each rise of the fees.
        transaction: TxId,
    },
    /// A node has taken it.
    Sent {
        /// The transaction.
        transaction: TxId,
    },
    /// It waits for something to change. It is tried again, and it may be cancelled.
    Deferred {
        /// For what.
        reason: Deferral,
    },
    /// Nothing can be found out about it, or nobody answers who is to take it, for
    /// [`ChainRules::stalled_after`](super::ChainRules::stalled_after) by now: the node is unreachable, limits us, or fails.
    /// Told once; what it waits for is tried again and again. When there are answers again, where it stood is told again, and
    /// then what has become of it.
    Stalled {
        /// For how long.
        lasts: Duration,
        /// How it failed last.
        why: String,
    },
    /// In a block that may still be reorganised away.
    Included(Inclusion),
    /// The block it was in is gone; it is sent again.
    Reorganised,
    /// Another transaction of its account has used its nonce for good: it gets another nonce.
    Displaced,
    /// Its block hash has expired unused (Solana): it is signed anew.
    Expired,
    /// It is over.
    Ended(Outcome),
}

/// Why an intent waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deferral {
    /// A higher fee than the cap allows would be needed: it waits for the market to come down.
    FeeCap,
    /// The account cannot pay.
    InsufficientFunds(String),
    /// It would be reverted now, and other transactions of its account are still on their way.
    WouldRevert(String),
    /// Nobody can tell what became of it: the nodes asked keep too little of the past. Nothing else is signed for it. Add a
    /// node that keeps more, such as an archive.
    Unknown(String),
    /// It cannot be signed or sent: the signer or the node say no.
    Refused(String),
}

/// Why an intent was not taken. Nothing changed, nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// So many intents are open already: try again when some have ended.
    #[error("{open_max} transactions are open already: try again when some have ended")]
    Full {
        /// The bound.
        open_max: usize,
    },
    /// So many commands wait for the outbox's next turn already: try again soon.
    #[error("too many commands wait for the outbox: try again soon")]
    Busy,
    /// The key already names another intent.
    #[error("the key {key:?} already names another intent: a retry repeats it exactly")]
    KeyTaken {
        /// The key.
        key: IdempotencyKey,
    },
    /// The key named an intent that is over, long ago. It is not carried out again, and what became of it is not kept:
    /// see [`OutboxConfig::ended_kept`](super::OutboxConfig::ended_kept).
    #[error(
        "the key {key:?} named an intent that is over: look on the chain what became of it; a new intent needs a new key"
    )]
    Forgotten {
        /// The key.
        key: IdempotencyKey,
    },
    /// It does not fit the chain: an address of another family, other decimals, too much data, a chain without client.
    #[error("the intent cannot be carried out")]
    Invalid(#[source] Arc<ChainError>),
    /// The outbox has stopped.
    #[error("the outbox has stopped: its store or its node has failed")]
    Stopped,
}
