#![doc = include_str!("../README.md")]
#![no_std]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(any(feature = "protocol", peaberry_mutant))]
extern crate std;

mod lattice;

mod context;
mod dot;
mod hlc;
mod interval;
mod replica;
mod version;

mod arrivals;
mod causal;
mod delta;
pub mod document;
mod edit;
mod error;
mod limits;
mod mutant;
#[cfg(feature = "protocol")]
pub mod protocol;
mod random;
mod removal_log;
mod replicated;
pub mod store;
pub mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
mod writer;

mod counter;
mod flag;
mod list;
mod map;
mod register;
mod set;
mod text;

pub mod wire;

pub use causal::Causal;
pub use context::CausalContext;
pub use counter::{
    BoundedCounter, BoundedError, CounterJump, GCounter, PnCounter, ResettableCounter,
};
pub use delta::Delta;
pub use document::Document;
pub use dot::Dot;
pub use edit::Edit;
pub use error::{ApplyError, WriteError};
pub use flag::{DisableWinsFlag, EnableWinsFlag};
pub use hlc::{FarFutureStamp, Hlc, Stamp};
pub use interval::{Interval, IntervalVersionVector};
pub use lattice::{Changed, Lattice};
pub use limits::{Bounds, Limits, Outgrown, Tolerance};
pub use list::{DotList, List, POSITION_DEPTH_MAX, Position};
pub use map::ObservedRemoveMap;
pub use register::{LwwRegister, MvRegister};
pub use removal_log::REMOVAL_LOG_BYTES_MAX;
pub use replica::{ParseReplicaIdError, ReplicaId};
pub use replicated::Replicated;
pub use set::{AddWinsSet, GrowOnlySet, RemoveWinsSet};
pub use store::{DotFun, DotMap, DotSet, DotStore};
pub use text::{Cursor, CursorSide, Offset, Text, TextDelta};
pub use version::VersionVector;
pub use writer::{Mint, Writer};

/// For the macros of this crate alone.
#[doc(hidden)]
pub mod __private {
    pub use alloc::string::String;
    pub use alloc::vec::Vec;
}
