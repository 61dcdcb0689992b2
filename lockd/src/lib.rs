#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod codec;
pub mod fence;
pub mod limits;
mod lock_table;
mod path;
pub mod request;

pub use codec::Malformed;
pub use lock_table::{LockTable, LockTableRestore, LockTableSnapshot};
pub use path::{LockPath, PathError};
