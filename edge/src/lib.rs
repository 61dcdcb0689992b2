#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod anomaly;
pub mod coffee;
pub mod collector;
pub mod courier;
mod coverage;
pub mod device;
mod error;
pub mod filter;
pub mod fleet;
mod identity;
mod name;
pub mod ops;
pub mod order;
pub mod payload;
pub mod presence;
mod ring;
pub mod rules;
pub mod sensor;
#[cfg(feature = "sparkplug")]
pub mod sparkplug;
pub mod spool;
pub mod time;
pub mod topic;
pub mod twin;
pub mod uplink;
pub mod wheel;

pub use error::EdgeError;
pub use identity::{
    BOOT_JUMP_MAX, BOOT_SALT_MAX, BOOT_SKIP_MAX, BootEpoch, BootSalt, Position, RecordId,
    SEQUENCE_JUMP_MAX,
};
pub use name::{DeviceId, NAME_BYTES_MAX, Name, SiteId};
pub use ring::Ring;

/// Feeds any bytes at all to every decoder of what is stored, and panics if one misbehaves.
#[doc(hidden)]
pub fn decode_any_stored_bytes(bytes: &[u8]) {
    coverage::decode_any(bytes);
    spool::decode_any(bytes);
}
