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

/// What a write of a follower records, by name, for simulations that crash at every one of them: `name` is its key within the
/// follower's channel. `None`: it only goes along with another.
#[doc(hidden)]
#[must_use]
pub fn name_of_write(name: &[u8]) -> Option<&'static str> {
    match name {
        protocol::ALARM => Some("alarm"),
        ring::ACKNOWLEDGED => Some("acknowledged"),
        ring::CURSOR => Some("applied"),
        _ => None,
    }
}

/// As [`name_of_write`], of an entry of its log.
#[doc(hidden)]
#[must_use]
pub fn name_of_entry(entry: &[u8]) -> Option<&'static str> {
    Some(match change::decode(entry).ok()? {
        ChangeKind::Added { first, block, .. } if first < block.number => "range_added",
        ChangeKind::Added { .. } => "block_added",
        ChangeKind::Removed { .. } => "block_removed",
        ChangeKind::Finalized { .. } => "block_final",
    })
}
