//! What goes wrong between a client and its nodes.

use std::ops::RangeInclusive;

use super::reached;
use crate::simulation::Reached;

/// Draws faults, and counts them.
#[derive(Debug)]
pub(super) struct Faults {
    rng: fastrand::Rng,
    pub(super) is_storm: bool,
    pub(super) counts: Reached,
    salts: u64,
}

impl Faults {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            is_storm: true,
            counts: reached::none(),
            salts: 0,
        }
    }

    /// Whether something with so many chances in a thousand comes to pass, while faults strike.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.is_storm && self.rng.u64(..1000) < per_mille
    }

    pub(super) fn draw(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.rng.u64(range)
    }

    pub(super) fn count(&mut self, fault: &'static str) {
        self.counts.mark(fault);
    }

    pub(super) fn salt(&mut self) -> u64 {
        self.salts += 1;
        self.salts
    }
}
