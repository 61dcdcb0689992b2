//! What the benches share. Each bench is one file beside `src`, answers the question written at its top, and runs the
//! nearest alternative in the same process or right beside it.

#![deny(missing_docs)]

pub mod clients;
pub mod versus;
