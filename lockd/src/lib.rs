#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod client;
mod codec;
mod error;
pub mod fence;
pub mod limits;
mod lock_table;
mod message;
mod path;
mod replica;
pub mod request;
mod service;
#[cfg(test)]
mod test_cluster;

pub use client::{
    AcquireOptions, ClientConfig, Guard, GuardState, LockClient, Lost, Session, SessionOptions,
};
pub use codec::Malformed;
pub use error::LockError;
pub use lock_table::{LockTable, LockTableRestore, LockTableSnapshot};
#[doc(hidden)]
pub use message::decode_any_lockd_bytes;
pub use path::{LockPath, PathError};
pub use replica::{Replica, ReplicaConfig, ReplicaEvent};
pub use service::{
    CALLS_MAX, CALLS_PER_PEER_MAX, LOCKD_PROTOCOL, LockService, ServiceCommand, ServiceEvent,
    lockd_channel,
};
