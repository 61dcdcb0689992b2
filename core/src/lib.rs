#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod batch;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod digest;
mod effects;
mod mailbox;
#[doc(hidden)]
pub mod mutant;
mod node;
mod peer;
mod protocol;
pub mod recorder;
mod signal;
#[cfg(feature = "simulation")]
pub mod simulation;
mod storage;
mod subspace;
mod transport;
pub mod wire;

pub use batch::{Batch, Entries, LogId, Mark, Operation, Operations};
pub use clock::{Clock, Instant, Sleep, SystemClock, Timestamp};
pub use effects::{Effects, EffectsBuffer};
pub use mailbox::{Mailbox, PEER_BYTES_MAX};
pub use node::{AddError, Busy, Handle, Next, Node, NodeTask, NodeThread, Report};
pub use peer::{Channel, PeerId, Peers, ProtocolId};
pub use protocol::{Input, Protocol, ProtocolFailure, ReadId, Turn};
pub use signal::Signal;
#[cfg(feature = "disk")]
#[doc(hidden)]
pub use storage::disk::decode_any as decode_any_storage_bytes;
#[cfg(feature = "disk")]
pub use storage::disk::{DiskOptions, DiskStorage, Recovery};
#[cfg(feature = "disk")]
pub use storage::files;
pub use storage::layer::{Layer, Layered};
pub use storage::memory::MemoryStorage;
pub use storage::{Durability, Order, ScanLimit, Storage, StorageError};
pub use subspace::{Subspace, SubspaceEntries};
#[cfg(feature = "ca")]
pub use transport::ca;
#[cfg(feature = "mesh")]
pub use transport::frame;
#[cfg(any(feature = "ca", feature = "mesh"))]
pub use transport::identity::{ClusterId, IdentityError, PeerIdentity};
pub use transport::memory::{MemoryNetwork, MemoryTransport};
#[cfg(feature = "mesh")]
pub use transport::mesh;
pub use transport::tapped::Tapped;
pub use transport::{Envelope, Outgoing, PAYLOAD_BYTES_MAX, Transport, TransportError};
