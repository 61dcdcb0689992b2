//! What the world of a seed is like.

use fastrand::Rng;
use peaberry_chain::follow::Start;
use peaberry_chain::outbox::OutboxConfig;
use peaberry_core::simulation::CrashPoint;

use super::coverage::DEPTHS;
use super::plight::{Behind, Plight, Pruned};
use super::plot::{Story, Telling};

/// The ways in which worlds differ. Each is drawn for itself, so that every one of them meets every other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    /// How deep blocks must lie to be final.
    pub(super) finality: u64,
    pub(super) nodes: Nodes,
    /// Who serves Solana.
    pub(super) solana_nodes: Nodes,
    /// A node may stay on a fork that the others have left.
    pub(super) has_dead_forks: bool,
    /// No other wallet has the accounts' keys: a nonce that is used was used by the outbox, whatever nodes remember.
    pub(super) is_alone: bool,
    /// Nodes, or one of them, forget receipts. Where another wallet has used a nonce meanwhile nobody may be able to tell.
    pub(super) forgets: bool,
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
    /// Mempools that are full stay so for as long as faults strike.
    pub(super) stays_full: bool,
    /// The newest and the final block are asked for by JSON-RPC, through the shipped client.
    pub(super) speaks_json: bool,
    /// In the end the chain changes what was final.
    pub(super) breaks_finality: bool,
    /// The reorganisations that are certain to come, one while the process runs and one while it is down, each at one of the
    /// world's actions.
    pub(super) reorgs: [Reorg; 2],
    /// It begins with a death at this write of the journal.
    pub(super) first_death: CrashPoint,
    /// An honest node beside a liar may be so far behind that it has not come to the final block; and the liar may know that,
    /// and tell the truth of all but the receipts that the other cannot have.
    pub(super) has_laggard: bool,
    /// Nodes have no tag for the final block: it is the one that lies so deep.
    pub(super) is_final_by_depth: bool,
    /// An honest node among several that is in trouble for long.
    pub(super) plight: Option<Plight>,
    /// What liars hold to for long.
    pub(super) telling: Option<Telling>,
}

/// A reorganisation that is certain to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reorg {
    /// Before the how-manieth of the world's actions.
    pub(super) action: u64,
    /// Blocks that it undoes.
    pub(super) depth: u64,
    /// Whether the process is down then.
    pub(super) is_down: bool,
}

/// Who serves the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nodes {
    /// One node is asked, the follower's also by way of another.
    One,
    /// Two of three must agree, and one lies.
    ThreeWithLiar,
    /// Two of three must agree, and one may stay on a dead fork.
    ThreeWithStray,
    /// Three of five must agree; one lies, and one may stay on a dead fork.
    FiveWithLiarAndStray,
    /// Three of five must agree, and two lie, most often alike.
    FiveWithLiars,
}

impl Nodes {
    pub(super) const ALL: [Self; 5] = [
        Self::One,
        Self::ThreeWithLiar,
        Self::ThreeWithStray,
        Self::FiveWithLiarAndStray,
        Self::FiveWithLiars,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::ThreeWithLiar => "three, a liar",
            Self::ThreeWithStray => "three, a stray",
            Self::FiveWithLiarAndStray => "five, a liar and a stray",
            Self::FiveWithLiars => "five, two liars",
        }
    }

    /// Many nodes are slow to ask, all of them: more worlds have few.
    fn draw(rng: &mut Rng) -> Self {
        match rng.u8(..8) {
            0..3 => Self::One,
            3 | 4 => Self::ThreeWithLiar,
            5 => Self::ThreeWithStray,
            6 => Self::FiveWithLiarAndStray,
            _ => Self::FiveWithLiars,
        }
    }

    pub(super) const fn has_liar(self) -> bool {
        !matches!(self, Self::One | Self::ThreeWithStray)
    }

    pub(super) const fn has_stray(self) -> bool {
        matches!(
            self,
            Self::One | Self::ThreeWithStray | Self::FiveWithLiarAndStray
        )
    }
}

impl Nature {
    pub(super) fn draw(rng: &mut Rng, actions: u64) -> Self {
        let [first, second] = [rng.u64(5..actions / 2), rng.u64(actions / 2..actions - 5)];
        let is_first_down = rng.bool();
        let reorg = |action, is_down, rng: &mut Rng| {
            let depths = rng.choice(DEPTHS).expect("there are some");
            let depth = rng.u64(depths.0..=depths.1);
            Reorg {
                action,
                depth,
                is_down,
            }
        };
        let reorgs = [
            reorg(first, is_first_down, rng),
            reorg(second, !is_first_down, rng),
        ];
        // Deep forks are dear, as every one of their blocks is made: finality is no deeper than they want.
        let deepest = reorgs.iter().map(|reorg| reorg.depth).max().unwrap_or(1);
        let finality = [7, 24, 65].into_iter().find(|at| *at > deepest);
        let finality = finality.unwrap_or(65);
        let nodes = Nodes::draw(rng);
        let nth = rng.u32(1..=256);
        let mut nature = Self {
            finality,
            nodes,
            solana_nodes: Nodes::draw(rng),
            has_dead_forks: nodes.has_stray() && rng.u8(..8) < 5,
            is_alone: rng.u8(..4) == 0,
            forgets: rng.u8(..6) == 0,
            is_on_files: rng.u8(..3) == 0,
            ended_kept: match rng.u8(..4) {
                0 => 2,
                _ => OutboxConfig::default().ended_kept,
            },
            has_application: rng.u8(..3) == 0,
            start: match rng.u8(..5) {
                0 => Start::Final,
                _ => Start::At(1),
            },
            ring_max: match rng.u8(..6) {
                0 => usize::try_from(finality).unwrap_or(0) + 16,
                _ => 1024,
            },
            stays_dear: rng.u8(..8) == 0,
            stays_full: rng.u8(..6) == 0,
            speaks_json: rng.u8(..3) == 0,
            breaks_finality: rng.u8(..5) == 0,
            reorgs,
            first_death: if rng.bool() {
                CrashPoint::AfterCommit(nth)
            } else {
                CrashPoint::BeforeCommit(nth)
            },
            has_laggard: nodes == Nodes::ThreeWithLiar && rng.bool(),
            is_final_by_depth: rng.u8(..4) == 0,
            plight: None,
            telling: None,
        };
        // One that has forgotten, one that does not know yet and one that lies must meet often enough.
        nature.forgets |= nature.has_laggard && rng.u8(..5) == 0;
        nature.draw_plots(rng, actions);
        nature
    }

    /// Whether of all nodes only one forgets receipts.
    pub(super) fn forgets_alone(&self) -> bool {
        self.plight.is_some_and(Plight::forgets_alone)
    }

    /// What lasts: of an honest node and of the liars, each for itself.
    fn draw_plots(&mut self, rng: &mut Rng, actions: u64) {
        if self.nodes.has_liar() && rng.u8(..3) > 0 {
            let story = rng.choice(Story::ALL).unwrap_or(Story::NoReceipts);
            self.telling = Some(Telling {
                story,
                from: rng.u64(..actions / 2),
                is_endless: rng.bool(),
                is_modest: story == Story::NoReceipts && rng.bool(),
                seed: rng.u64(..),
            });
        }
        if self.nodes != Nodes::One && rng.u8(..3) > 0 {
            self.plight = Some(Plight {
                behind: rng.choice(Behind::ALL).unwrap_or(Behind::Nothing),
                is_orphaned: rng.u8(..3) == 0,
                pruned: match rng.u8(..4) {
                    0 => Some(Pruned::SaysNothing),
                    1 => Some(Pruned::Refuses),
                    _ => None,
                },
                from: rng.u64(..actions / 2),
            });
            // What is short would end what lasts.
            self.has_laggard = false;
            self.forgets |= rng.bool() || self.forgets_alone();
        }
        // One that has forgotten, one that does not know yet and one that keeps back what it knows must meet often enough.
        if let Some(plight) = self.plight.filter(|plight| plight.forgets_alone())
            && self.nodes.has_liar()
            && rng.bool()
        {
            self.telling = Some(Telling {
                story: Story::NoReceipts,
                from: plight.from,
                is_endless: rng.bool(),
                is_modest: true,
                seed: rng.u64(..),
            });
        }
    }
}
