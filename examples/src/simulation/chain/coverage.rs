//! In which ways the worlds have differed: what every kind of crash must have met, and what every lie.

use std::collections::BTreeSet;

use super::deaths;
use super::faults::Faults;
use super::nature::{Nature, Nodes};
use super::plight::{Behind, Plight};
use super::plot::Story;
use super::reached::{self, SOLANA_LIES};
use crate::simulation::Dimension;

/// The depths of reorganisations, from and to, by which they meet all else.
pub(super) const DEPTHS: [(u64, u64); 7] = [
    (1, 1),
    (2, 3),
    (4, 7),
    (8, 15),
    (16, 31),
    (32, 63),
    (DEPTH_MAX, DEPTH_MAX),
];
const DEPTH_MAX: u64 = 64;

/// What may become of a question and its answer.
const RPC: [&str; 12] = [
    reached::UNREACHABLE,
    reached::QUESTION_LOST,
    reached::QUESTION_REPEATED,
    reached::ANSWER_LOST,
    reached::ANSWER_REPEATED,
    reached::ANSWER_LATE,
    reached::HUNG,
    reached::LIMITED,
    reached::NODE_LAGGED,
    reached::NODE_BEHIND,
    reached::RANGE_TOO_WIDE,
    reached::NODE_ASTRAY,
];

const CRASH: &str = "crash";
const REORG: &str = "reorg";
const REORG_WHILE_DOWN: &str = "reorg while down";
const DEPTH: &str = "blocks of a reorg";
const DEPTH_WHILE_DOWN: &str = "blocks of a reorg while down";
const ANSWERS: &str = "rpc";
const LIE: &str = "lie";
const SOLANA_LIE: &str = "lie on Solana";
const NODES: &str = "nodes";
const SOLANA_NODES: &str = "nodes of Solana";
const STORE: &str = "store";
const FINALITY: &str = "finality";
const STORY: &str = "what liars held to";
const BEHIND: &str = "an honest node is behind by";
const PLIGHT: &str = "an honest node is";
/// What is rare enough that what lasts does not meet all of it.
const RARE: [&str; 6] = [CRASH, ANSWERS, LIE, SOLANA_LIE, NODES, SOLANA_NODES];

pub(super) fn dimensions() -> Vec<Dimension> {
    let depths = || DEPTHS.map(depth_name);
    let blocks = || (1..=DEPTH_MAX).map(|depth| depth.to_string());
    vec![
        Dimension::new(CRASH, deaths::all()),
        Dimension::new(REORG, depths()),
        Dimension::new(REORG_WHILE_DOWN, depths()),
        Dimension::new(DEPTH, blocks()).alone(),
        Dimension::new(DEPTH_WHILE_DOWN, blocks()).alone(),
        Dimension::new(ANSWERS, RPC),
        Dimension::new(LIE, reached::LIES),
        Dimension::new(SOLANA_LIE, SOLANA_LIES.map(|(_, lie)| lie)),
        Dimension::new(NODES, Nodes::ALL.map(Nodes::name)).deciding(&[ANSWERS, LIE]),
        Dimension::new(SOLANA_NODES, Nodes::ALL.map(Nodes::name)).deciding(&[SOLANA_LIE]),
        Dimension::new(STORE, ["memory", "files"]),
        Dimension::new(FINALITY, ["by tag", "by depth"]),
        Dimension::new(STORY, Story::ALL.map(Story::name)).deciding(&RARE),
        Dimension::new(BEHIND, Behind::ALL.map(Behind::name)).deciding(&RARE),
        Dimension::new(PLIGHT, Plight::NAMES).deciding(&RARE),
    ]
}

/// What has come to pass in one world.
#[derive(Clone, Debug, Default)]
pub(super) struct Covered {
    had: BTreeSet<(&'static str, String)>,
}

impl Covered {
    /// The machine has died at this write, then.
    pub(super) fn crash(&mut self, write: &str, moment: &str) {
        self.had.insert((CRASH, format!("{write}, {moment}")));
    }

    /// So many blocks were undone.
    pub(super) fn reorg(&mut self, depth: u64, is_down: bool) {
        let depths = DEPTHS.iter();
        let found = depths
            .copied()
            .find(|(from, to)| (*from..=*to).contains(&depth));
        if let Some(depths) = found {
            let (dimension, blocks) = match is_down {
                true => (REORG_WHILE_DOWN, DEPTH_WHILE_DOWN),
                false => (REORG, DEPTH),
            };
            self.had.insert((dimension, depth_name(depths)));
            self.had.insert((blocks, depth.to_string()));
        }
    }

    /// All that the world had.
    pub(super) fn conclude(
        mut self,
        nature: &Nature,
        faults: &Faults,
    ) -> Vec<(&'static str, String)> {
        let of = |name: &str| {
            let on_solana = SOLANA_LIES.iter().any(|(_, lie)| *lie == name);
            let known = [
                (ANSWERS, RPC.contains(&name)),
                (LIE, reached::LIES.contains(&name)),
                (SOLANA_LIE, on_solana),
            ];
            known.into_iter().find(|(_, is_of_it)| *is_of_it)
        };
        for (name, _) in faults.counts.iter().filter(|(_, count)| *count > 0) {
            if let Some((dimension, _)) = of(name) {
                self.had.insert((dimension, name.to_owned()));
            }
        }
        let store = if nature.is_on_files {
            "files"
        } else {
            "memory"
        };
        self.had.insert((NODES, nature.nodes.name().to_owned()));
        let on_solana = nature.solana_nodes.name().to_owned();
        self.had.insert((SOLANA_NODES, on_solana));
        self.had.insert((STORE, store.to_owned()));
        let finality = if nature.is_final_by_depth {
            "by depth"
        } else {
            "by tag"
        };
        self.had.insert((FINALITY, finality.to_owned()));
        let has_come = |fault: &str| {
            let mut counts = faults.counts.iter();
            counts.any(|(one, count)| one == fault && count > 0)
        };
        let told = Story::ALL.map(Story::name);
        let told = told.into_iter().filter(|name| has_come(name));
        self.had.extend(told.map(|name| (STORY, name.to_owned())));
        if let Some(plight) = &nature.plight {
            if plight.behind == Behind::Nothing || has_come(reached::NODE_BEHIND) {
                self.had.insert((BEHIND, plight.behind.name().to_owned()));
            }
            let suffered = plight.suffered(has_come);
            self.had.insert((PLIGHT, suffered.name().to_owned()));
        }
        self.had.into_iter().collect()
    }
}

fn depth_name((from, to): (u64, u64)) -> String {
    if from == to {
        from.to_string()
    } else {
        format!("{from} to {to}")
    }
}

#[cfg(test)]
mod tests {
    use peaberry_core::simulation::World;

    use super::*;
    use crate::simulation::Coverage;

    /// What a seed's world is like is drawn thing by thing: none of them decides over another.
    #[test]
    fn every_nature_meets_every_other() {
        let depths = || DEPTHS.map(depth_name);
        let blocks = || (1..=DEPTH_MAX).map(|depth| depth.to_string());
        let nodes = || Nodes::ALL.map(Nodes::name);
        let either = ["yes", "no"];
        let names = [
            "application",
            "files",
            "alone",
            "forgetting",
            "dear",
            "broken",
            "forgetful",
        ];
        let mut dimensions = vec![
            Dimension::new(REORG, depths()),
            Dimension::new(REORG_WHILE_DOWN, depths()),
            Dimension::new(DEPTH, blocks()).alone(),
            Dimension::new(DEPTH_WHILE_DOWN, blocks()).alone(),
            Dimension::new(NODES, nodes()),
            Dimension::new(SOLANA_NODES, nodes()),
        ];
        dimensions.extend(names.map(|name| Dimension::new(name, either)));
        let mut coverage = Coverage::of(dimensions);
        for seed in 0..4_000 {
            let nature = Nature::draw(&mut World::new(seed).fork_rng(), 70);
            let flags = [
                nature.has_application,
                nature.is_on_files,
                nature.is_alone,
                nature.forgets,
                nature.stays_dear,
                nature.breaks_finality,
                nature.ended_kept == 2,
            ];
            let mut covered = Covered::default();
            for reorg in nature.reorgs {
                assert!(reorg.depth < nature.finality);
                covered.reorg(reorg.depth, reorg.is_down);
            }
            let of_reorgs = covered
                .had
                .iter()
                .map(|(name, value)| (*name, value.as_str()));
            let flags = names
                .into_iter()
                .zip(flags.map(|flag| if flag { "yes" } else { "no" }));
            let of_nodes = [
                (NODES, nature.nodes.name()),
                (SOLANA_NODES, nature.solana_nodes.name()),
            ];
            coverage.add(of_reorgs.chain(of_nodes).chain(flags));
        }
        for pairs in coverage.pairs() {
            assert!(pairs.missing.is_empty(), "{pairs}: {:?}", pairs.missing);
        }
        assert_eq!(coverage.missing(), [""; 0]);
    }
}
