//! A seeded world of machines, network, disks and clocks, for running a [`Node`](crate::Node)'s own code through
//! everything that time and failure can do.
//!
//! A [`World`] turns each machine's node just as a thread would in production. All else is drawn from its seed: how long
//! messages take, which are lost, when machines fall and what their disks forget, how clocks drift. A run that fails is
//! a number; the number replays it.
//!
//! - [`World`] is the place to begin; its example runs two machines.
//! - [`FaultProfile`] says what goes wrong, [`FaultCounts`] what did: a fault that never came to pass proves nothing.
//! - [`check_seeds`] runs a harness over many seeds and prints the one that fails.
//! - [`linearizability`] tells whether what clients saw could have happened.
//! - [`Trace`] and [`Diagram`] show what did happen.

mod clock;
mod committer;
mod diagram;
mod faults;
pub mod files;
pub mod linearizability;
mod machine;
mod network;
mod seeds;
mod storage;
mod substrate;
mod trace;
mod world;

pub use clock::{RATE_TRUE, SimulatedClock};
pub use diagram::{DIAGRAM_EVENTS_MAX, Diagram};
pub use faults::{FaultCounts, FaultKind, FaultProfile};
pub use machine::{Boot, BootError};
pub use network::{Centres, NetworkProfile};
pub use seeds::{SEED_VARIABLE, check_seeds, first_failure, replayed_seed};
pub use storage::SimulatedStorage;
pub use substrate::CrashPoint;
pub use trace::{DropCause, TRACE_EVENTS_MAX, Trace, TraceEvent, TraceKind};
pub use world::World;
