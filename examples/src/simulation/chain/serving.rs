//! Who serves the chain: one node or several, and a client of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use peaberry_chain::evm::{EvmClient, EvmNetwork, EvmView, QuorumRpc};
use peaberry_chain::{ChainError, FinalityPolicy};

use super::at_once;
use super::dead_fork::DeadFork;
use super::faults::Faults;
use super::model::Model;
use super::nature::{Nature, Nodes};
use super::node::Node;
use super::plight::Pruned;
use super::plot::Plot;
use super::tags::Tagged;
use super::witness::Witness;

/// Who may stay on a dead fork, and contradicts the others then without lying.
pub(super) const STRAY: &str = "dora";
/// Who may be far behind, on an orphan, and then contradicts the others about what is final without lying.
pub(super) const LAGGARD: &str = "ben";
/// Who may lie.
pub(super) const LIARS: [&str; 2] = ["mallory", "oscar"];

/// What nodes and clients share.
pub(super) struct Served {
    pub(super) nature: Nature,
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) fork: Arc<Mutex<Option<DeadFork>>>,
    pub(super) behind: Arc<Mutex<u64>>,
    pub(super) orphan: Arc<Mutex<Option<DeadFork>>>,
    /// What the liars hold to now.
    pub(super) plot: Arc<Mutex<Option<Plot>>>,
    pub(super) named: Arc<Mutex<BTreeMap<String, &'static str>>>,
    pub(super) complaints: Arc<Mutex<Vec<String>>>,
}

impl Served {
    /// The client that acts, and the one that follows.
    pub(super) fn clients(&self) -> (EvmClient, EvmClient) {
        let nodes = self.nature.nodes;
        if nodes == Nodes::One {
            let stray =
                |is_mixed| Arc::new(Tagged::new(self.stray(is_mixed), self.nature.speaks_json));
            return (
                self.client(stray(false), false),
                self.client(stray(true), false),
            );
        }
        let quorum = Arc::new(self.quorum(nodes));
        (self.client(quorum.clone(), true), self.client(quorum, true))
    }

    fn quorum(&self, nodes: Nodes) -> QuorumRpc {
        let liars = LIARS.map(|name| (name, self.liar()));
        let is_in_trouble = self.nature.has_laggard || self.nature.plight.is_some();
        let ben = match is_in_trouble {
            true => self.laggard(),
            false => self.honest(),
        };
        let mut others = vec![("anna", self.forgetful()), (LAGGARD, ben)];
        match nodes {
            Nodes::One | Nodes::ThreeWithLiar => others.extend(liars.into_iter().take(1)),
            Nodes::ThreeWithStray => others.push((STRAY, self.stray(false))),
            Nodes::FiveWithLiarAndStray => {
                others.extend([("carla", self.honest()), (STRAY, self.stray(false))]);
                others.extend(liars.into_iter().take(1));
            }
            Nodes::FiveWithLiars => {
                others.push(("carla", self.honest()));
                others.extend(liars);
            }
        }
        // Who is asked first must not matter.
        let turned = self.faults.lock().draw(0..=others.len() as u64 - 1);
        others.rotate_left(usize::try_from(turned).unwrap_or(0));
        let wanted = others.len() / 2 + 1;
        let nodes = others.into_iter().map(|(name, node)| {
            let node: Arc<dyn EvmView> = Arc::new(Tagged::new(node, self.nature.speaks_json));
            (name.to_owned(), node)
        });
        let named = self.named.clone();
        QuorumRpc::new(nodes.collect(), wanted).with_report(move |dissent| {
            named
                .lock()
                .entry(dissent.node.clone())
                .or_insert(dissent.doing);
        })
    }

    fn honest(&self) -> Node {
        Node {
            model: self.model.clone(),
            faults: self.faults.clone(),
            fork: Arc::default(),
            is_mixed: false,
            is_liar: false,
            may_be_sly: false,
            behind: Arc::default(),
            has_no_tags: self.nature.is_final_by_depth,
            pruned: (self.nature.forgets && !self.nature.forgets_alone())
                .then_some(Pruned::SaysNothing),
            plot: Arc::default(),
        }
    }

    /// The node that forgets where only one does.
    fn forgetful(&self) -> Node {
        Node {
            pruned: self.nature.forgets.then_some(Pruned::SaysNothing),
            ..self.honest()
        }
    }

    fn liar(&self) -> Node {
        Node {
            is_liar: true,
            may_be_sly: self.nature.has_laggard,
            fork: self.orphan.clone(),
            behind: self.behind.clone(),
            plot: self.plot.clone(),
            ..self.honest()
        }
    }

    fn laggard(&self) -> Node {
        let plight = self.nature.plight;
        let honest = self.honest();
        Node {
            behind: self.behind.clone(),
            fork: match plight.is_none_or(|plight| plight.is_orphaned) {
                true => self.orphan.clone(),
                false => Arc::default(),
            },
            pruned: match plight.and_then(|plight| plight.pruned) {
                Some(Pruned::Refuses) => Some(Pruned::Refuses),
                Some(Pruned::SaysNothing) | None => honest.pruned,
            },
            ..honest
        }
    }

    fn stray(&self, is_mixed: bool) -> Node {
        Node {
            fork: self.fork.clone(),
            is_mixed,
            ..self.honest()
        }
    }

    fn client(&self, rpc: Arc<dyn EvmView>, is_quorum: bool) -> EvmClient {
        let witness: Arc<dyn EvmView> = Arc::new(Witness {
            rpc,
            model: self.model.clone(),
            complaints: self.complaints.clone(),
            is_quorum,
        });
        loop {
            let network = EvmNetwork {
                finality: match self.nature.is_final_by_depth {
                    true => FinalityPolicy::Depth(self.nature.finality),
                    false => FinalityPolicy::Finalized,
                },
                ..EvmNetwork::generic(4242)
            };
            match at_once(EvmClient::connect(witness.clone(), network)) {
                Ok(client) => return client,
                Err(error @ ChainError::WrongChain { .. }) => panic!("believed a liar: {error}"),
                // It could not be asked: faults strike from the start.
                Err(_) => {}
            }
        }
    }
}
