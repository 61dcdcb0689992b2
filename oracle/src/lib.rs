#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod aggregate;
mod attest;
mod config;
mod feed;
mod fixed_point;
mod message;
mod observation;
mod protocol;
mod report;
mod reputation;
mod round_id;
mod schedule;
mod signature;
pub mod source;
#[cfg(test)]
mod testing;
mod wire;

pub use aggregate::{
    SetError, aggregate, is_acceptable, observations_hash, verify_set, weighted_median,
};
pub use attest::{AttestError, Attestor, EcdsaAttestation, EcdsaQuorum, Gathered, PART_BYTES_MAX};
pub use config::{
    Config, ConfigError, ConfigForm, FEEDS_MAX, MEMBERS_MAX, Member, Timing, WEIGHT_MAX, WEIGHT_MIN,
};
pub use feed::{FEED_NAME_BYTES_MAX, Feed, FeedError};
pub use fixed_point::{DECIMALS_MAX, FixedPointError, Price, VALUE_MAX, parse_price};
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
pub use wire::DecodeError;
