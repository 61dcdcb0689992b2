//! What several of the examples share, and the systems that `soak` and `mutants` put under simulation.
//!
//! Start with `cargo run --release --example go_coffee`.
#![deny(missing_docs)]

pub mod orders;
pub mod simulation;

/// The project's front page, whose code runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
