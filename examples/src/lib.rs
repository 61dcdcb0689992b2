//! What several of the examples share. The stories themselves are the package's example targets.
//!
//! Start with `cargo run --release --example go_coffee`.
#![deny(missing_docs)]

pub mod orders;

/// The project's front page, whose code runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
