#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod aggregate;
mod attest;
mod config;
mod contract;
mod feed;
mod fixed_point;
#[cfg(feature = "frost")]
mod key_generation;
mod message;
mod observation;
mod protocol;
mod report;
mod reputation;
mod round_id;
mod schedule;
mod signature;
pub mod source;
#[cfg(feature = "submit")]
mod submit;
#[cfg(test)]
mod testing;
mod wire;

pub use aggregate::{
    SetError, aggregate, is_acceptable, observations_hash, verify_set, weighted_median,
};
pub use attest::{
    AttestError, Attestor, EcdsaAttestation, EcdsaQuorum, Gathered, Misfit, PART_BYTES_MAX,
};
#[cfg(feature = "frost")]
pub use attest::{FrostGroup, GroupShare, GroupShareError, PublicGroup};
pub use config::{
    Config, ConfigError, ConfigForm, FEEDS_MAX, GENERATION_MAX, MEMBERS_MAX, Member,
    ROUNDS_PER_EPOCH_MAX, Timing, WEIGHT_MAX, WEIGHT_MIN,
};
pub use contract::{
    CallError, ContractState, ContractTerms, FeedState, REPORT_AGE_MAX_S, StoredAnswer,
    configure_call, contract_state, contract_state_call, halted, halted_call, latest_round,
    latest_round_call, reset_by_quorum_call, reset_call, reset_digest, rotate_call,
    rotation_digest, stored_answer, stored_answer_call, transmit_call,
};
pub use feed::{FEED_NAME_BYTES_MAX, Feed, FeedError};
pub use fixed_point::{DECIMALS_MAX, FixedPointError, Price, VALUE_MAX, parse_price};
#[cfg(feature = "frost")]
#[doc(hidden)]
pub use key_generation::decode_any_key_generation_bytes;
#[cfg(feature = "frost")]
pub use key_generation::{
    BeginError, KEY_GENERATION, KeyGeneration, KeyGenerationCommand, KeyGenerationEvent,
    KeyGenerationFault, kept_shares, key_generation_channel,
};
#[doc(hidden)]
pub use message::decode_any_oracle_bytes;
pub use message::{Body, Message};
pub use observation::{Observation, ObservationError, SignedObservation};
pub use protocol::{
    Evidence, Misbehaviour, ORACLE, OpenError, Oracle, OracleCommand, OracleEvent, ResetBy,
    kept_evidence, oracle_channel,
};
pub use report::{Aggregation, Answer, AttestedReport, Report};
pub use reputation::{Reputation, agreed_weights};
pub use round_id::RoundId;
pub use schedule::{leader_of, slot_of};
pub use signature::{EcdsaKey, Keyring, SIGNATURE_BYTES, Signature, recover};
#[cfg(feature = "submit")]
pub use submit::{TransmitError, Transmitter};
pub use wire::DecodeError;
