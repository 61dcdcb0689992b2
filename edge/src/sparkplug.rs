//! Sparkplug B (Eclipse Sparkplug 3.0.0) as an adapter at the rim: what devices record becomes births and data that SCADA
//! hosts understand, and their commands become ours.
//!
//! Sparkplug's own guarantee is weaker than ours, and the adapter does not hide it: data goes at most once, its sequence has
//! 8 bits, and aliases mean something only behind the birth that gave them. So it is for showing; records go to a collector
//! by the [spool](crate::topic) beside it. Readings that are told late carry the *historical* flag, with the time at which they
//! were made.
//!
//! - [`EdgeNode`] is one Sparkplug edge node with its devices: it keeps sequence, birth counts and aliases.
//! - [`wire`] reads and writes the payload. The reader is total: any bytes give a payload or an error, and everything is
//!   bounded by the message before memory is taken.

mod node;
mod topic;
pub mod wire;

pub use self::node::{EdgeNode, HostCommand, Outgoing};
pub use self::topic::{MessageType, SparkplugTopic};

#[cfg(test)]
mod tests;
