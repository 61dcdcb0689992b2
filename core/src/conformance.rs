//! What implementers of the core traits promise, as tests that anyone can run.

pub mod clock;
pub mod storage;
pub mod transport;
