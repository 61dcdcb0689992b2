//! What goes wrong between a client and its nodes.

use std::ops::RangeInclusive;

use super::reached;
use crate::simulation::Reached;

/// Draws faults, and counts them.
#[derive(Debug)]
pub(super) struct Faults {
    rng: fastrand::Rng,
    pub(super) is_storm: bool,
    /// Nodes that throw their past away are without it.
    pub(super) is_forgetful: bool,
    pub(super) counts: Reached,
    salts: u64,
    /// What liars have agreed on, for a while.
    plot: u64,
    /// Which node answers which questions, for a while.
    route: u64,
}

/// The dice by which a lie is made up: for all liars the same, as long as they hold to what they have agreed on.
pub(super) type Lie = fastrand::Rng;

impl Faults {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            is_storm: true,
            is_forgetful: true,
            counts: reached::none(),
            salts: 0,
            plot: 0,
            route: 0,
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

    /// Whether liars lie `about` this, faults or none.
    pub(super) fn lie(&mut self, about: &'static str) -> Option<Lie> {
        self.plot_anew();
        let mut lie = dice_about(self.plot, about);
        if lie.u8(..4) == 0 {
            return None;
        }
        self.count(about);
        Some(lie)
    }

    /// The same of a liar that may be sly: it then keeps receipts back, all of them, and tells the truth of everything else.
    pub(super) fn sly_lie(&mut self, about: &'static str) -> Option<Lie> {
        if !self.is_sly() {
            return self.lie(about);
        }
        self.plot_anew();
        if about != reached::LIE_RECEIPT {
            return None;
        }
        self.count(about);
        Some(dice_about(self.plot, about))
    }

    /// Whether a liar that can be sly is so now.
    pub(super) const fn is_sly(&self) -> bool {
        !self.plot.is_multiple_of(4)
    }

    /// Whether a liar that can repeat what a node says that is on an orphan does so now.
    pub(super) fn echoes(&mut self) -> bool {
        self.plot_anew();
        self.plot % 4 == 1
    }

    fn plot_anew(&mut self) {
        if self.rng.u8(..16) == 0 {
            self.plot = self.rng.u64(..);
        }
    }

    /// Whether the other one of two nodes behind one address answers this: now and then each question finds one by chance, now and
    /// then all of a kind find the same.
    pub(super) fn is_routed(&mut self, about: &'static str) -> bool {
        if self.rng.u8(..100) == 0 {
            self.route = self.rng.u64(..);
        }
        if self.route.is_multiple_of(2) {
            self.rng.bool()
        } else {
            dice_about(self.route, about).bool()
        }
    }

    pub(super) fn salt(&mut self) -> u64 {
        self.salts += 1;
        self.salts
    }
}

fn dice_about(seed: u64, about: &'static str) -> fastrand::Rng {
    let seed = about.bytes().fold(seed, |seed, byte| {
        seed.rotate_left(7).wrapping_mul(31) ^ u64::from(byte)
    });
    fastrand::Rng::with_seed(seed)
}
