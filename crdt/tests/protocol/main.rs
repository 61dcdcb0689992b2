//! Durable replicas on nodes: what survives, what is refused, and who takes part.
#![cfg(feature = "protocol")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod bounds;
mod durability;
mod machines;
mod members;
mod mesh;
mod stability;
mod tolerance;
