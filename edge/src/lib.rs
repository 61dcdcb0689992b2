#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod anomaly;
mod error;
pub mod filter;
mod identity;
mod name;
pub mod ops;
pub mod order;
pub mod payload;
mod ring;
pub mod rules;
pub mod sensor;
pub mod time;
pub mod topic;

pub use error::EdgeError;
pub use identity::{BootEpoch, RecordId};
pub use name::{DeviceId, NAME_BYTES_MAX, Name, SiteId};
pub use ring::Ring;
