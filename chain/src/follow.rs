//! Blocks and logs of a chain, each once, also over reorganisations, crashes and both at the same time.
//!
//! [`Follow`] decides, as a protocol on a [`Node`](peaberry_core::Node): it keeps a ring of the newest blocks by number
//! and hash in the store and compares it with what the chain has now. [`step_along`] asks a
//! [`ChainClient`](crate::ChainClient); [`FollowDriver`] joins the two.

mod change;
mod config;
mod driver;
mod protocol;
mod ring;
#[cfg(test)]
mod tests;
mod walk;

pub use change::{Alarm, Change, ChangeKind, FollowCommand, FollowEvent, Notice, Stall};
pub use config::{FollowConfig, Start};
pub use driver::{Changes, FollowDriver};
pub use protocol::{FOLLOW, Follow, FollowError};
pub use ring::{Cursor, RingError};
pub use walk::{Known, Path, Step, Walk, step_along};

/// Reads any bytes as a stored block or change, for fuzzing.
#[doc(hidden)]
pub fn decode_any_stored(bytes: &[u8]) -> Result<(), RingError> {
    if let Ok(stored) = ring::Stored::decode(bytes) {
        assert_eq!(stored.encode(), bytes, "one spelling for each block");
    }
    let kind = change::decode(bytes)?;
    assert_eq!(change::encode(&kind), bytes, "one spelling for each change");
    Ok(())
}
