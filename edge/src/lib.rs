#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod anomaly;
pub mod coffee;
pub mod device;
mod error;
pub mod filter;
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
pub mod time;
pub mod topic;
pub mod twin;
pub mod wheel;

pub use error::EdgeError;
pub use identity::{BootEpoch, RecordId};
pub use name::{DeviceId, NAME_BYTES_MAX, Name, SiteId};
pub use ring::Ring;
