//! Transactions that are neither lost, nor doubled, nor stuck: a journal before every effect.
//!
//! [`Outbox`] decides, as a protocol on a [`Node`](peaberry_core::Node); a [`Performer`] acts on a chain
//! ([`EvmClient`](crate::evm::EvmClient) is one); [`OutboxHandle`] is what an application holds.

mod answer;
mod config;
mod event;
mod evm_lane;
mod evm_performer;
mod evm_sight;
mod fees;
mod handle;
mod intake;
mod journal;
mod lane;
mod protocol;
mod reason;
mod record;
mod request;
mod solana_lane;
#[cfg(feature = "solana")]
mod solana_performer;
#[cfg(test)]
mod tests;
mod trouble;

pub use config::{ChainRules, OutboxConfig};
pub use event::{Deferral, OutboxCommand, OutboxEvent, Refusal, Stage, Submission, Taken, Update};
pub use handle::{OutboxDriver, OutboxHandle, Stages};
pub use journal::OpenError;
pub use protocol::{OUTBOX, Outbox};
pub use record::{
    ATTEMPTS_MAX, DATA_BYTES_MAX, EntryId, IdempotencyKey, Inclusion, KEY_BYTES_MAX, Outcome,
    RecordError,
};
pub use request::{
    AccountView, Ask, Found, Performer, Place, Request, Sight, SolanaSight, SolanaView, Wanted,
};

/// Reads any bytes as an entry of the journal, for fuzzing.
#[doc(hidden)]
pub fn decode_any_record(bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
    record::Record::decode(bytes).map(|record| record.encode())
}
