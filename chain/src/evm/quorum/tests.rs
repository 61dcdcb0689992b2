//! What several nodes say together, and of whom something is said.

mod apart;
mod behind;
#[cfg(feature = "http")]
mod pruned;
#[cfg(feature = "http")]
mod reasons;
