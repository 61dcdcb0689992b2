#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod dispatcher;
mod handle;
mod raft;
mod state_machine;

pub use dispatcher::{TicketDispatcher, TicketSink, ticket_dispatcher};
pub use handle::{RaftHandle, Ticket, settle_ticket};
#[doc(hidden)]
pub use raft::decode_any_raft_bytes;
pub use raft::{
    Misbehaviour, OpenError, Outcome, RAFT, RaftCommand, RaftConfig, RaftError, RaftEvent,
    RaftGroup, ReadError, Rejection, raft_message_kind,
};
pub use state_machine::{Apply, Restore, RestoreError, SNAPSHOT_CHUNK_BYTES_MAX, StateMachine};
