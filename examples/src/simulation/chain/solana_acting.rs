//! Acting on the cluster through the shipped client, which asks one node or several; and what it is told that is not so.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::outbox::{Ask, EntryId, Found, Performer, SolanaSight, SolanaView};
use peaberry_chain::solana::{SolanaClient, SolanaNetwork, SolanaQuorum, SolanaRpc};
use peaberry_chain::{ChainError, ChainId, RpcTransport, TxId};

use super::at_once;
use super::faults::Faults;
use super::nature::Nodes;
use super::serving::LIARS;
use super::solana::{Cluster, Sent, key, slot_of};
use super::solana_node::SolanaNode;

/// Acts on the cluster.
pub(super) struct OnSolana {
    client: SolanaClient,
    cluster: Arc<Mutex<Cluster>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

/// What the nodes and the client share.
pub(super) struct Wiring {
    pub(super) cluster: Arc<Mutex<Cluster>>,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) named: Arc<Mutex<BTreeMap<String, &'static str>>>,
    pub(super) complaints: Arc<Mutex<Vec<String>>>,
}

impl OnSolana {
    pub(super) fn new(nodes: Nodes, wiring: Wiring) -> Self {
        let rpc = SolanaRpc::new(transport(nodes, &wiring));
        let client = loop {
            match at_once(SolanaClient::connect(rpc.clone(), SolanaNetwork::mainnet())) {
                Ok(client) => break client,
                Err(error @ ChainError::WrongChain { .. }) => panic!("believed a liar: {error}"),
                // It could not be asked: faults strike from the start.
                Err(_) => {}
            }
        };
        let client = client.with_signer(Arc::new(key()));
        Self {
            client: client.expect("it is a key of Solana"),
            cluster: wiring.cluster,
            complaints: wiring.complaints,
        }
    }

    fn demand(&self, is_so: bool, told: impl FnOnce() -> String) {
        if !is_so {
            let complaint = format!("Solana's client was told what is not so: {}", told());
            self.complaints.lock().push(complaint);
        }
    }

    /// What a transaction is dated by holds as long as it is said to, and no longer.
    fn demand_dated(&self, raw: &[u8], last_valid_height: u64) {
        let sent = Sent::decode(raw).expect("only transfers are signed");
        let truth = self.cluster.lock().dated.get(&sent.blockhash).copied();
        self.demand(truth == Some(last_valid_height), || {
            format!("a block hash is valid up to {last_valid_height}, and it is {truth:?}")
        });
    }

    fn demand_seen(&self, asked: &[(EntryId, [u8; 64])], seen: &SolanaView) {
        let cluster = self.cluster.lock();
        let final_height = cluster.final_height;
        let is_so = seen.sights.iter().all(|(entry, sight)| {
            let asked = asked.iter().find(|(one, _)| one == entry);
            let height = asked.and_then(|(_, name)| cluster.find(*name));
            match sight {
                SolanaSight::Included {
                    slot,
                    block_hash,
                    is_final,
                    failure,
                } => height.is_some_and(|height| {
                    let block = cluster.block(height).map(|made| made.hash);
                    // A node that is young has the status and not the block.
                    let is_block =
                        block == Some(*block_hash) || (*is_final && block_hash.is_zero());
                    let is_final = !is_final || height <= final_height;
                    slot_of(height) == *slot && is_block && is_final && failure.is_none()
                }),
                // Who has come to the final block and has everything since the first slot would know it.
                SolanaSight::Missing { since, .. } => height
                    .is_none_or(|height| height > seen.final_height || slot_of(height) < *since),
            }
        });
        drop(cluster);
        let is_reached = seen.final_height <= final_height;
        self.demand(is_so && is_reached, || {
            format!("{seen:?}, final is {final_height}")
        });
    }
}

fn transport(nodes: Nodes, wiring: &Wiring) -> Arc<dyn RpcTransport> {
    let node = |is_young, is_liar| -> Arc<dyn RpcTransport> {
        Arc::new(SolanaNode {
            cluster: wiring.cluster.clone(),
            faults: wiring.faults.clone(),
            is_liar,
            is_young,
        })
    };
    let honest = |name: &str| (name.to_owned(), node(false, false));
    let liar = |name: &str| (name.to_owned(), node(false, true));
    let young = ("anna".to_owned(), node(true, false));
    let [mallory, oscar] = LIARS;
    let mut all = match nodes {
        Nodes::One => return node(true, false),
        Nodes::ThreeWithLiar => vec![young, honest("ben"), liar(mallory)],
        Nodes::ThreeWithStray => vec![young, honest("ben"), honest("carla")],
        Nodes::FiveWithLiarAndStray => {
            vec![
                young,
                honest("ben"),
                honest("carla"),
                honest("emil"),
                liar(mallory),
            ]
        }
        Nodes::FiveWithLiars => {
            vec![
                young,
                honest("ben"),
                honest("carla"),
                liar(mallory),
                liar(oscar),
            ]
        }
    };
    let turned = wiring.faults.lock().draw(0..=all.len() as u64 - 1);
    all.rotate_left(usize::try_from(turned).unwrap_or(0));
    let wanted = all.len() / 2 + 1;
    let named = wiring.named.clone();
    Arc::new(SolanaQuorum::new(all, wanted).with_report(move |dissent| {
        named
            .lock()
            .entry(dissent.node.clone())
            .or_insert(dissent.doing);
    }))
}

#[async_trait]
impl Performer for OnSolana {
    fn chain_id(&self) -> ChainId {
        ChainId::SOLANA
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        let broadcast = match &ask {
            Ask::Broadcast { raw, .. } => Sent::decode(raw).map(|sent| sent.signature),
            _ => None,
        };
        let asked = match &ask {
            Ask::LookSolana { wanted, .. } => wanted.clone(),
            _ => Vec::new(),
        };
        let was_taken = broadcast.is_some_and(|name| self.cluster.lock().taken.remove(&name));
        let found = self.client.perform(ask).await;
        match (&found, broadcast) {
            (Err(error), Some(name)) => {
                let is_taken = self.cluster.lock().taken.contains(&name);
                self.demand(!is_taken || error.may_have_been_sent(), || {
                    format!(
                        "{} was not sent, and a node has it: {error}",
                        TxId::Solana(name)
                    )
                });
            }
            (
                Ok(Found::SignedSolana {
                    raw,
                    last_valid_height,
                    ..
                }),
                _,
            ) => self.demand_dated(raw, *last_valid_height),
            (Ok(Found::Solana(view)), _) => self.demand_seen(&asked, view),
            _ => {}
        }
        if let Some(name) = broadcast.filter(|_| was_taken) {
            self.cluster.lock().taken.insert(name);
        }
        found
    }
}
