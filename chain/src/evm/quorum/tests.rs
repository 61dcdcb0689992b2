//! What several nodes say together, and of whom something is said.

mod apart;
#[cfg(feature = "http")]
mod reasons;
