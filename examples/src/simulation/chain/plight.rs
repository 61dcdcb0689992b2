//! What honest nodes are in for long beside others that are well, or lie: behind, on an orphan, without their past.

use super::acts::use_nonces;
use super::dead_fork::DeadFork;
use super::node::receipts_kept;
use super::{Shared, account, reached};

/// The state in which an honest node is, and perhaps another, from one of the world's actions until its faults have been over
/// for a while.
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

/// Who has thrown its past away, and what it says of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pruned {
    /// One that has come to the newest block has no old receipts, it alone, and says that there are none. A quorum would take the
    /// same of logs for an answer, and call who has them a liar: such nodes must not be among its members.
    SaysNothing,
    /// The node that is in trouble itself has neither old receipts nor old logs, and says in its own words that it does not tell.
    Refuses,
}

impl Pruned {
    /// The name under which it is counted that such a node was asked.
    pub(super) const fn fault(self) -> &'static str {
        match self {
            Self::SaysNothing => reached::RECEIPT_FORGOTTEN,
            Self::Refuses => reached::PAST_REFUSED,
        }
    }
}

impl Plight {
    /// All states that a node may be in beside being behind, by name.
    pub(super) const NAMES: [&str; 6] = [
        "well",
        "on an orphan",
        "beside one without its past",
        "on an orphan, beside one without its past",
        "without its past",
        "without its past, on an orphan",
    ];

    /// Whether one alone of all nodes forgets receipts.
    pub(super) fn forgets_alone(self) -> bool {
        self.pruned == Some(Pruned::SaysNothing)
    }

    /// What of it has come to pass, by the faults of which `has_come` says so.
    pub(super) fn suffered(self, has_come: impl Fn(&str) -> bool) -> Self {
        Self {
            is_orphaned: self.is_orphaned && has_come(reached::ORPHANED),
            pruned: self.pruned.filter(|pruned| has_come(pruned.fault())),
            ..self
        }
    }

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
    let kept = receipts_kept(model.finality) + 4;
    // All that was on its way is of the past then, to who throws its past away.
    let old = match plight.pruned {
        None => 0,
        // And just final to who is behind.
        Some(Pruned::SaysNothing) => kept.max(blocks + model.finality + rng.u64(1..=3)),
        Some(Pruned::Refuses) => kept + blocks,
    };
    if plight.pruned.is_some() && !shared.nature.is_alone && rng.bool() {
        (0..2).for_each(|nth| use_nonces(shared, &mut model, account(nth), 1));
    }
    (0..old).for_each(|_| model.mine());
    while model.tip() < blocks + model.finality + 4 {
        model.mine();
    }
    *shared.behind.lock() = blocks;
    if plight.is_orphaned {
        let number = model.tip() - blocks;
        *shared.orphan.lock() = DeadFork::orphaned(&mut model, number);
    }
}
