//! What an honest node is in for long beside others that are well, or lie: behind, on an orphan, without its past.

use super::dead_fork::DeadFork;
use super::node::receipts_kept;
use super::{Shared, reached};

/// The state in which an honest node is, from one of the world's actions until its faults have been over for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plight {
    pub(super) behind: Behind,
    /// Its newest block is an orphan, and nothing comes to it any more.
    pub(super) is_orphaned: bool,
    pub(super) pruned: Option<Pruned>,
    /// From this of the world's actions on.
    pub(super) from: u64,
}

/// How far a node is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    Nothing,
    One,
    /// A quarter of the blocks for which receipts are kept, and up to half of them.
    Quarter,
    /// Not by so much that it has come to nothing final that others have thrown away.
    Most,
    /// By more than the blocks for which receipts are kept.
    Beyond,
}

impl Behind {
    pub(super) const ALL: [Self; 5] = [
        Self::Nothing,
        Self::One,
        Self::Quarter,
        Self::Most,
        Self::Beyond,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::One => "one block",
            Self::Quarter => "a quarter of what is kept",
            Self::Most => "most of what is kept",
            Self::Beyond => "beyond what is kept",
        }
    }

    fn blocks(self, finality: u64, rng: &mut fastrand::Rng) -> u64 {
        let kept = receipts_kept(finality);
        match self {
            Self::Nothing => 0,
            Self::One => 1,
            Self::Quarter => rng.u64(kept / 4..=kept / 2),
            Self::Most => rng.u64(kept - finality..=kept),
            Self::Beyond => rng.u64(kept + 1..=kept + 16),
        }
    }
}

/// What a node says of receipts and logs that it has thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pruned {
    /// That there are none.
    SaysNothing,
    /// That it does not tell, in its own words.
    Refuses,
}

impl Plight {
    /// All states that a node may be in beside being behind, by name.
    pub(super) const NAMES: [&str; 6] = [
        "well",
        "on an orphan",
        "without its past, silently",
        "without its past, on an orphan, silently",
        "without its past",
        "without its past, on an orphan",
    ];

    pub(super) const fn name(self) -> &'static str {
        let [well, orphaned, silent, both_silent, pruned, both] = Self::NAMES;
        match (self.pruned, self.is_orphaned) {
            (None, false) => well,
            (None, true) => orphaned,
            (Some(Pruned::SaysNothing), false) => silent,
            (Some(Pruned::SaysNothing), true) => both_silent,
            (Some(Pruned::Refuses), false) => pruned,
            (Some(Pruned::Refuses), true) => both,
        }
    }
}

/// The node comes into its plight, on a chain that is long enough for it.
pub(super) fn befall(shared: &Shared, plight: Plight, rng: &mut fastrand::Rng) {
    let mut model = shared.model.lock();
    let blocks = plight.behind.blocks(model.finality, rng);
    while model.tip() < blocks + model.finality + 4 {
        model.mine();
    }
    *shared.behind.lock() = blocks;
    if plight.is_orphaned {
        let number = model.tip() - blocks;
        let orphan = DeadFork::orphaned(&mut model, number);
        if orphan.is_some() {
            shared.faults.lock().count(reached::ORPHANED);
        }
        *shared.orphan.lock() = orphan;
    }
}
