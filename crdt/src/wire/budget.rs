//! What a decoder may spend.

use crate::Bounds;

/// The bounds of one message. A decoder checks each before it allocates, and memory stays within a constant times the
/// message's length whatever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The length of the message, in bytes.
    pub bytes_max: usize,
    /// Replica ids told by the message itself.
    pub ids_max: usize,
    /// Dots held by stores.
    pub dots_max: usize,
    /// Intervals, of removals and of dots alive; each stands for any number of dots.
    pub intervals_max: usize,
    /// Events that a removal log accounts for. Runs of them are never expanded, but whoever splits or joins them pays
    /// for what they stand for.
    pub events_max: u64,
    /// How deep values that contain values may nest.
    pub depth_max: usize,
}

impl Budget {
    /// How large a state may become so that a reader with this budget can be told all of it, and its vector in one message.
    ///
    /// Every dot may be an interval of those alive, beside what the removal log has.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        /// What a vector takes for one replica at most: its id, an index and a counter.
        const ENTRY_BYTES: usize = 32;
        Bounds {
            ids_max: self.ids_max.min(self.bytes_max / ENTRY_BYTES),
            dots_max: self.dots_max.min(self.intervals_max / 2),
        }
    }
}

impl Default for Budget {
    /// 64 MiB, 65,536 ids, four million dots, eight million intervals, 2^32 events, depth 64.
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            ids_max: 1 << 16,
            dots_max: 1 << 22,
            intervals_max: 1 << 23,
            events_max: 1 << 32,
            depth_max: 64,
        }
    }
}
