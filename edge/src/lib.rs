#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod error;
mod identity;
mod name;
pub mod payload;
pub mod time;
pub mod topic;

pub use error::EdgeError;
pub use identity::{BootEpoch, RecordId};
pub use name::{DeviceId, NAME_BYTES_MAX, Name, SiteId};
