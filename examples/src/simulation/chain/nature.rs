//! What the world of a seed is like.

use peaberry_chain::follow::Start;
use peaberry_chain::outbox::OutboxConfig;
use peaberry_core::simulation::CrashPoint;

/// The ways in which worlds differ, each drawn from the seed's number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    pub(super) seed: u64,
    /// How deep blocks must lie to be final. Deep forks are dear, as every one of their blocks is made: in a part of the
    /// worlds only.
    pub(super) finality: u64,
    pub(super) nodes: Nodes,
    /// A node may stay on a fork that the others have left.
    pub(super) has_dead_forks: bool,
    /// No other wallet has the accounts' keys: a nonce that is used was used by the outbox, whatever nodes remember. Where
    /// nodes forget receipts nothing displaces: else nobody could tell, and what is displaced would wait for ever.
    pub(super) is_alone: bool,
    /// The machine has the shipped store, on files that lose and tear.
    pub(super) is_on_files: bool,
    /// Ended intents that the outbox remembers.
    pub(super) ended_kept: usize,
    /// What reads the changes is on the machine's own store, and acknowledges in its own batches.
    pub(super) has_application: bool,
    pub(super) start: Start,
    /// Blocks that the follower's ring holds.
    pub(super) ring_max: usize,
    /// The market stays above all that was offered while faults struck.
    pub(super) stays_dear: bool,
    /// In the end the chain changes what was final.
    pub(super) breaks_finality: bool,
}

/// Who serves the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nodes {
    /// One node is asked, the follower's also by way of another.
    One,
    /// Two of three must agree, and one lies.
    WithLiar,
    /// Three of five must agree; one lies, and one may stay on a dead fork.
    WithLiarAndStray,
}

impl Nature {
    pub(super) fn of(seed: u64) -> Self {
        let finality = match seed % 8 {
            0 => 65,
            1 | 2 | 7 => 24,
            _ => 7,
        };
        let nodes = match seed % 8 {
            3 => Nodes::WithLiar,
            7 => Nodes::WithLiarAndStray,
            _ => Nodes::One,
        };
        let ring_max = if seed % 7 == 3 { finality + 16 } else { 1024 };
        Self {
            seed,
            finality,
            nodes,
            has_dead_forks: matches!(seed % 8, 0 | 1 | 7),
            is_alone: seed % 8 == 6,
            is_on_files: seed % 8 == 5,
            ended_kept: if seed % 4 == 1 {
                2
            } else {
                OutboxConfig::default().ended_kept
            },
            has_application: seed % 3 == 1,
            start: if seed % 5 == 2 {
                Start::Final
            } else {
                Start::At(1)
            },
            ring_max: usize::try_from(ring_max).unwrap_or(1024),
            stays_dear: seed % 8 == 2,
            breaks_finality: seed % 8 == 4,
        }
    }

    /// Each world begins with a death at another write of the journal.
    pub(super) fn first_death(self) -> CrashPoint {
        let nth = u32::try_from(self.seed / 2 % 256 + 1).unwrap_or(1);
        if self.seed.is_multiple_of(2) {
            CrashPoint::AfterCommit(nth)
        } else {
            CrashPoint::BeforeCommit(nth)
        }
    }
}
