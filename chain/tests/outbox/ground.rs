//! A chain, an account with money, a store, and the outbox that runs on them now.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmClient, EvmRpc, EvmView};
use peaberry_chain::outbox::{
    Ask, ChainRules, Found, IdempotencyKey, OutboxConfig, OutboxHandle, Outcome, Performer, Stage,
    Stages, Submission,
};
use peaberry_chain::primitives::{B256, Bytes};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Amount, Asset, BlockAt, ChainError, ChainId, EvmAddress, Intent};
use peaberry_core::{MemoryNetwork, MemoryStorage, Node, NodeThread, PeerId, SystemClock};
use tokio::sync::{Notify, RwLock};
use tokio::task::JoinHandle;

use crate::node::{Node as NodeOfChain, NodeKind};
pub(crate) use crate::node::{PATIENCE, eventually};

pub(crate) struct Ground {
    pub(crate) node: NodeOfChain,
    pub(crate) key: EvmKey,
    storage: Arc<MemoryStorage>,
}

/// A process with an outbox. Dropping it is the end of the process.
pub(crate) struct Life {
    pub(crate) outbox: OutboxHandle,
    _node: NodeThread,
    driver: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Ground {
    /// A chain that includes what it gets at once.
    pub(crate) async fn eager(kind: NodeKind) -> Self {
        let ground = Self::patient(kind).await;
        ground.node.mine_each(true).await;
        ground
    }

    /// A chain that makes blocks on demand.
    pub(crate) async fn patient(kind: NodeKind) -> Self {
        let key = EvmKey::from_bytes(&[1; 32]).unwrap();
        let options = DevOptions {
            finalized_depth: 8,
            safe_depth: 4,
            ..DevOptions::default()
        };
        Self {
            node: NodeOfChain::of(kind, options.fund(key.evm_address())).await,
            key,
            storage: Arc::new(MemoryStorage::new()),
        }
    }

    pub(crate) fn id(&self) -> ChainId {
        self.node.network().chain
    }

    pub(crate) fn account(&self) -> EvmAddress {
        self.key.evm_address()
    }

    /// Talks to the node directly.
    pub(crate) async fn client(&self) -> EvmClient {
        self.client_over(Arc::new(self.node.rpc.clone())).await
    }

    pub(crate) async fn client_over(&self, rpc: Arc<dyn EvmView>) -> EvmClient {
        let client = EvmClient::connect(rpc, self.node.network()).await;
        let client = client.unwrap();
        client.with_signer(Arc::new(self.key.clone())).unwrap()
    }

    /// An outbox on the store as it is, acting through `performer`.
    pub(crate) fn live(&self, performer: impl Performer + 'static) -> Life {
        self.live_by(performer, rules())
    }

    pub(crate) fn live_by(&self, performer: impl Performer + 'static, rules: ChainRules) -> Life {
        let transport = MemoryNetwork::new().join(PeerId::new(1).unwrap());
        let clock = Arc::new(SystemClock::new());
        let mut node = Node::new(Arc::new(transport), self.storage.clone(), clock);
        let config = OutboxConfig::new().chain(self.id(), rules);
        let performers = [Arc::new(performer) as Arc<dyn Performer>];
        let (outbox, driver) =
            OutboxHandle::install(&mut node, 0, config, &*self.storage, performers).unwrap();
        Life {
            outbox,
            _node: node.spawn("outbox").unwrap(),
            driver: tokio::spawn(driver),
        }
    }

    /// An outbox that acts directly on the chain.
    pub(crate) async fn live_well(&self) -> Life {
        self.live(self.client().await)
    }

    /// Pays `to` 7 wei; its name says which payment it is.
    pub(crate) fn payment(&self, name: &str, to: EvmAddress) -> Submission {
        let intent = Intent::Transfer {
            from: self.account().into(),
            to: to.into(),
            asset: Asset::Native,
            amount: Amount::wei(7),
        };
        Submission::new(IdempotencyKey::new(name).unwrap(), self.id(), intent)
    }

    /// How many of 7 wei each have arrived.
    pub(crate) async fn payments_to(&self, to: EvmAddress) -> u64 {
        self.node.balance(to).await.to::<u64>() / 7
    }

    /// Waits until another transaction has taken the place of those that waited before; what waits then.
    pub(crate) async fn replaced(&self, before: &[B256]) -> Vec<B256> {
        eventually("another transaction takes its place", async || {
            let waiting = self.node.waiting().await;
            (waiting.len() == 1 && waiting != before).then_some(waiting)
        })
        .await
    }

    /// Makes a block of nothing, while no request comes through the gate that has `seen` the others: on Anvil the pool is
    /// empty for a moment, and what is offered then would be in the block.
    pub(crate) async fn mine_empty(&self, seen: &Seen) {
        let _closed = seen.door.write().await;
        self.node.mine_empty().await;
    }

    /// The account's nonce on the chain.
    pub(crate) async fn nonce(&self) -> u64 {
        let nonce = self.node.rpc.nonce(self.account(), BlockAt::Latest).await;
        nonce.unwrap()
    }

    /// Makes blocks until all that is included is final.
    pub(crate) async fn settle(&self) {
        self.node.mine_many(10).await;
    }
}

/// Quick, as for a chain in the process.
pub(crate) fn rules() -> ChainRules {
    ChainRules {
        retry_after: Duration::from_millis(20),
        ..ChainRules::every(Duration::from_millis(80))
    }
}

/// Waits for the first stage that `is_wanted`; all stages up to it.
pub(crate) async fn until(
    stages: &mut Stages,
    mut is_wanted: impl FnMut(&Stage) -> bool,
) -> Vec<Stage> {
    let mut seen = Vec::new();
    let waiting = async {
        while let Some(stage) = stages.next().await {
            let is_last = is_wanted(&stage);
            seen.push(stage);
            if is_last {
                return;
            }
        }
    };
    let came = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(
        came.is_ok() && seen.last().is_some_and(is_wanted),
        "it never came to that: {seen:?}"
    );
    seen
}

/// Hands an intent over, and waits until a node has it.
pub(crate) async fn sent(life: &Life, submission: Submission) -> Stages {
    let mut stages = life.outbox.submit(submission).await.unwrap();
    until(&mut stages, |stage| matches!(stage, Stage::Sent { .. })).await;
    stages
}

pub(crate) async fn until_included(stages: &mut Stages) -> Vec<Stage> {
    until(stages, |stage| matches!(stage, Stage::Included(_))).await
}

/// Waits until it is over; the chain goes on meanwhile.
pub(crate) async fn end(ground: &Ground, stages: &mut Stages) -> Outcome {
    let waiting = async {
        loop {
            tokio::select! {
                outcome = stages.ended() => return outcome,
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    ground.node.mine().await;
                }
            }
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, waiting).await;
    outcome
        .expect("it ended")
        .expect("the outbox has not stopped")
}

/// What happens to a request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is carried out.
    Done,
    /// It never arrives, and is never answered.
    Kept,
    /// It is carried out, and the answer is lost.
    AnswerLost,
}

/// Acts through a client, on what it lets through.
pub(crate) struct Gate {
    client: EvmClient,
    fate: Box<dyn Fn(&Ask) -> Fate + Send + Sync>,
    seen: Arc<Seen>,
}

/// What came to a gate.
#[derive(Default)]
pub(crate) struct Seen {
    broadcasts: Mutex<Vec<Bytes>>,
    kept: Notify,
    /// Read by each request that is carried out; written by who wants none to be meanwhile.
    door: RwLock<()>,
}

impl Seen {
    /// The signed transactions that were to be broadcast, in order, repetitions included.
    pub(crate) fn broadcasts(&self) -> Vec<Bytes> {
        self.broadcasts.lock().clone()
    }

    /// Waits until something is kept.
    pub(crate) async fn kept(&self) {
        let kept = tokio::time::timeout(PATIENCE, self.kept.notified()).await;
        kept.expect("something comes to the gate");
    }
}

impl Gate {
    pub(crate) fn new(
        client: EvmClient,
        fate: impl Fn(&Ask) -> Fate + Send + Sync + 'static,
    ) -> (Self, Arc<Seen>) {
        let seen = Arc::<Seen>::default();
        let gate = Self {
            client,
            fate: Box::new(fate),
            seen: seen.clone(),
        };
        (gate, seen)
    }
}

#[async_trait]
impl Performer for Gate {
    fn chain_id(&self) -> ChainId {
        Performer::chain_id(&self.client)
    }

    async fn perform(&self, ask: Ask) -> Result<Found, ChainError> {
        if let Ask::Broadcast { raw, .. } = &ask {
            self.seen.broadcasts.lock().push(raw.clone());
        }
        match (self.fate)(&ask) {
            Fate::Done => {
                let _passing = self.seen.door.read().await;
                self.client.perform(ask).await
            }
            Fate::Kept => {
                self.seen.kept.notify_one();
                std::future::pending().await
            }
            Fate::AnswerLost => {
                let _passing = self.seen.door.read().await;
                self.client.perform(ask).await?;
                Err(ChainError::TimedOut {
                    doing: "the test's request",
                    after: Duration::ZERO,
                    sent: peaberry_chain::Sent::Maybe(None),
                })
            }
        }
    }
}
