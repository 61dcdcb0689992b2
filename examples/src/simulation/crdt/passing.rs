//! Peers that pass on the delta of each write as they make it: late, twice, and past one another.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_core::{Instant, PeerId};
use peaberry_crdt::Delta;

use super::document::Shop;

/// The longest way.
const DELAY_MS_MAX: u64 = 1500;
/// How many of ten deltas are lost on the way to a peer.
const LOST_OF_TEN: u8 = 3;

/// Deltas with who wrote them.
pub(super) type Outbox = Arc<Mutex<Vec<(PeerId, Delta<Shop>)>>>;

/// What is on its way.
pub(super) struct Passing {
    rng: fastrand::Rng,
    outbox: Outbox,
    under_way: Vec<(Instant, PeerId, PeerId, Delta<Shop>)>,
}

impl Passing {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            outbox: Outbox::default(),
            under_way: Vec::new(),
        }
    }

    /// Where writers put their deltas.
    pub(super) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// What arrives by now, with who wrote it and to whom.
    pub(super) fn arrivals(
        &mut self,
        now: Instant,
        peers: &[PeerId],
    ) -> Vec<(PeerId, PeerId, Delta<Shop>)> {
        for (from, delta) in std::mem::take(&mut *self.outbox.lock()) {
            for to in peers.iter().copied().filter(|to| *to != from) {
                if self.rng.u8(..10) >= LOST_OF_TEN {
                    let due = now + Duration::from_millis(self.rng.u64(..DELAY_MS_MAX));
                    self.under_way.push((due, from, to, delta.clone()));
                }
            }
        }
        let (due, under_way) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(due, ..)| *due <= now);
        self.under_way = under_way;
        let due: Vec<_> = due;
        due.into_iter()
            .map(|(_, from, to, delta)| (from, to, delta))
            .collect()
    }

    /// Loses what a peer wrote or was to get: it begins anew.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.outbox.lock().retain(|(from, _)| *from != peer);
        self.under_way
            .retain(|(_, from, to, _)| *from != peer && *to != peer);
    }
}
