//! Raft as a protocol.

mod event;

pub use event::{Misbehaviour, Outcome, RaftCommand, RaftEvent, ReadError, Rejection};
