//! The node that a test asks: this crate's development chain or Anvil, by the same JSON-RPC.
//!
//! Anvil is at `PEABERRY_ANVIL`, which must be it where it is set, or on the path. Where it is not, its half of each test
//! skips itself, and that is said.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test asks other things of a node"
)]

mod anvil;
mod called;
mod coffee;
mod coverage;
mod eventually;
mod lagging;
mod world;

use std::sync::Arc;
use std::time::Duration;

use anvil::Anvil;
pub(crate) use called::Called;
pub(crate) use coffee::{CAP, coffee_token};
pub(crate) use coverage::expect_on_both_or_listed;
pub(crate) use eventually::{PATIENCE, eventually};
pub(crate) use lagging::Lagging;
use peaberry_chain::dev::{DevChain, DevOptions, DevServer, Mining};
use peaberry_chain::evm::{EvmNetwork, EvmRpc, EvmView, JsonRpc};
use peaberry_chain::primitives::{B256, Bytes};
use peaberry_chain::{Block, BlockAt, EvmAddress, HttpEndpoint, HttpOptions, RpcTransport};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
pub(crate) use world::{GWEI, World, fees};

/// Runs each of these tests on both nodes: `on_both! { make => one another }`, where `make(kind).await` gives each of them
/// what it takes; `std::future::ready` gives the kind itself. `on_both! { threads: make => one another }` runs them on a
/// runtime of several threads. Tests that are no futures are called with the kind: `on_both! { one another }`.
macro_rules! on_both {
    (threads: $make:expr => $($name:ident)+) => {
        crate::node::on_both! { @by tokio::test(flavor = "multi_thread"), $make => $($name)+ }
    };
    (@by $test:meta, $make:expr => $($name:ident)+) => {
        mod dev_chain {
            #[allow(unused_imports, reason = "what makes a test's ground may stand beside it")]
            use super::*;
            $(#[$test]
            async fn $name() {
                super::$name($make(crate::node::NodeKind::DevChain).await).await;
            })+
        }
        mod anvil {
            #[allow(unused_imports, reason = "what makes a test's ground may stand beside it")]
            use super::*;
            $(#[$test]
            async fn $name() {
                if crate::node::NodeKind::Anvil.is_here() {
                    super::$name($make(crate::node::NodeKind::Anvil).await).await;
                }
            })+
        }
    };
    ($make:expr => $($name:ident)+) => {
        crate::node::on_both! { @by tokio::test, $make => $($name)+ }
    };
    ($($name:ident)+) => {
        mod dev_chain {
            $(#[test]
            fn $name() {
                super::$name(crate::node::NodeKind::DevChain);
            })+
        }
        mod anvil {
            $(#[test]
            fn $name() {
                if crate::node::NodeKind::Anvil.is_here() {
                    super::$name(crate::node::NodeKind::Anvil);
                }
            })+
        }
    };
}
pub(crate) use on_both;

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    DevChain,
    Anvil,
}

impl NodeKind {
    /// Whether it can be started on this machine; where it cannot, that is said.
    pub(crate) fn is_here(self) -> bool {
        self == Self::DevChain || anvil::program().is_some()
    }
}

/// A node that makes blocks when it is told to, by the rules of its options.
pub(crate) struct Node {
    pub(crate) rpc: JsonRpc,
    /// The same without anything of ours between.
    pub(crate) transport: Arc<dyn RpcTransport>,
    host: Host,
    chain: u64,
}

enum Host {
    Dev {
        chain: DevChain,
        server: OnceCell<DevServer>,
    },
    Anvil(Anvil),
}

impl Node {
    /// The development chain.
    pub(crate) fn dev(options: DevOptions) -> Self {
        let mining = Mining::OnDemand;
        let number = options.chain;
        let chain = DevChain::new(DevOptions { mining, ..options });
        let transport = Arc::new(chain.clone());
        Self {
            rpc: JsonRpc::over(transport.clone()),
            transport,
            host: Host::Dev {
                chain,
                server: OnceCell::new(),
            },
            chain: number,
        }
    }

    /// Anvil, or `None` where it is not installed.
    pub(crate) async fn anvil(options: &DevOptions) -> Option<Self> {
        let anvil = Anvil::start(anvil::program()?, options).await;
        let endpoint = HttpEndpoint::new(&anvil.url, HttpOptions::default()).unwrap();
        let node = Self {
            rpc: JsonRpc::endpoint(endpoint.clone()),
            transport: Arc::new(endpoint),
            host: Host::Anvil(anvil),
            chain: options.chain,
        };
        for (account, balance) in &options.accounts {
            node.tell("anvil_setBalance", (*account, *balance)).await;
        }
        node.tell("anvil_setCoinbase", (options.coinbase,)).await;
        Some(node)
    }

    /// The node of this kind, which is here.
    pub(crate) async fn of(kind: NodeKind, options: DevOptions) -> Self {
        match kind {
            NodeKind::DevChain => Self::dev(options),
            NodeKind::Anvil => Self::anvil(&options).await.expect("anvil is here"),
        }
    }

    pub(crate) fn network(&self) -> EvmNetwork {
        EvmNetwork {
            block_time: Duration::from_millis(200),
            ..EvmNetwork::generic(self.chain)
        }
    }

    /// The development chain itself, for what is its own.
    pub(crate) fn chain(&self) -> &DevChain {
        match &self.host {
            Host::Dev { chain, .. } => chain,
            Host::Anvil(_) => panic!("this is Anvil"),
        }
    }

    /// The node without JSON between where it is in the process: for games of many questions.
    pub(crate) fn direct(&self) -> Arc<dyn EvmView> {
        match &self.host {
            Host::Dev { chain, .. } => Arc::new(chain.clone()),
            Host::Anvil(_) => Arc::new(self.rpc.clone()),
        }
    }

    /// Where it is served over HTTP; over WebSockets, too, by the other scheme.
    pub(crate) async fn url(&self) -> String {
        match &self.host {
            Host::Anvil(anvil) => anvil.url.clone(),
            Host::Dev { chain, server } => {
                let start = async || DevServer::start(chain.clone(), 0).await.unwrap();
                server.get_or_init(start).await.url()
            }
        }
    }

    /// The text of a request, and what is answered to it.
    pub(crate) async fn exchange(&self, request: &Value) -> Value {
        let request = Bytes::from(request.to_string().into_bytes());
        let answer = self.transport.exchange(request).await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    /// What the node answers to a method by its name.
    pub(crate) async fn ask<T>(&self, method: &'static str, params: impl Params) -> T
    where
        T: std::fmt::Debug + DeserializeOwned + Unpin + Send + Sync + 'static,
    {
        let request = self.rpc.client().request(method, params);
        request.await.unwrap()
    }

    async fn tell(&self, method: &'static str, params: impl Params) {
        let _: Value = self.ask(method, params).await;
    }

    pub(crate) async fn head(&self) -> Block {
        self.rpc.block(BlockAt::Latest).await.unwrap().unwrap()
    }

    /// The transactions of a block, in order.
    pub(crate) async fn transactions(&self, number: u64) -> Vec<B256> {
        let params = (format!("{number:#x}"), false);
        let block: Value = self.ask("eth_getBlockByNumber", params).await;
        serde_json::from_value(block["transactions"].clone()).unwrap()
    }

    /// What waits.
    pub(crate) async fn waiting(&self) -> Vec<B256> {
        if let Host::Dev { chain, .. } = &self.host {
            return chain.waiting();
        }
        let pool: Value = self.ask("txpool_content", ()).await;
        let parts = ["pending", "queued"].map(|part| pool[part].as_object().unwrap().clone());
        let accounts = parts.iter().flat_map(|part| part.values());
        let waiting = accounts.flat_map(|account| account.as_object().unwrap().values());
        let hashes = waiting.map(|one| serde_json::from_value(one["hash"].clone()).unwrap());
        hashes.collect()
    }

    /// Makes a block of what waits.
    pub(crate) async fn mine(&self) -> Block {
        self.tell("evm_mine", ()).await;
        self.head().await
    }

    pub(crate) async fn mine_many(&self, count: u64) {
        self.tell("anvil_mine", (format!("{count:#x}"),)).await;
    }

    /// The next block, and none before, has this time.
    pub(crate) async fn mine_at(&self, timestamp_s: u64) {
        self.tell("evm_setNextBlockTimestamp", (timestamp_s,)).await;
        self.mine().await;
    }

    /// Makes a block that takes nothing of what waits. On Anvil that is not there meanwhile.
    pub(crate) async fn mine_empty(&self) {
        if let Host::Dev { chain, .. } = &self.host {
            chain.mine_empty();
            return;
        }
        let waiting = self.raw(&self.waiting().await).await;
        self.tell("anvil_dropAllTransactions", ()).await;
        self.mine().await;
        for raw in waiting {
            // Its sender may have brought it back meanwhile, or another in its place.
            drop(self.rpc.broadcast(&raw).await);
        }
    }

    /// Makes a block of each transaction from now on, or none.
    pub(crate) async fn mine_each(&self, is_so: bool) {
        self.tell("evm_setAutomine", (is_so,)).await;
    }

    /// Undoes the newest `depth` blocks for as many empty ones; what was in them is lost.
    pub(crate) async fn reorg(&self, depth: u64) {
        self.tell("anvil_reorg", (depth, json!([]))).await;
    }

    /// Undoes the newest `depth` blocks for others; what was in them is in the first of these.
    pub(crate) async fn reorg_and_return(&self, depth: u64) {
        if let Host::Dev { .. } = &self.host {
            self.tell("peaberry_reorg", (depth,)).await;
            return;
        }
        let head = self.head().await.number;
        let mut undone = Vec::new();
        for number in head + 1 - depth..=head {
            undone.extend(self.raw(&self.transactions(number).await).await);
        }
        let undone: Vec<_> = undone.into_iter().map(|raw| (raw, 0)).collect();
        self.tell("anvil_reorg", (depth, undone)).await;
    }

    /// Undoes the newest `depth` blocks.
    pub(crate) async fn rollback(&self, depth: u64) {
        self.tell("anvil_rollback", (depth,)).await;
    }

    pub(crate) async fn forget(&self, hash: B256) {
        self.tell("anvil_dropTransaction", (hash,)).await;
    }

    /// What called what, as geth's `callTracer` tells it.
    pub(crate) async fn trace(&self, hash: B256) -> Value {
        let params = (hash, json!({"tracer": "callTracer"}));
        self.ask("debug_traceTransaction", params).await
    }

    /// How much an account has in the newest block, in wei.
    pub(crate) async fn balance(&self, of: EvmAddress) -> peaberry_chain::primitives::U256 {
        self.rpc.balance(of, BlockAt::Latest).await.unwrap()
    }

    async fn raw(&self, hashes: &[B256]) -> Vec<Bytes> {
        let mut raw = Vec::new();
        for hash in hashes {
            let found: Option<Bytes> = self.ask("eth_getRawTransactionByHash", (*hash,)).await;
            raw.extend(found);
        }
        raw
    }
}

/// A method's arguments.
pub(crate) trait Params: Serialize + std::fmt::Debug + Clone + Unpin + Send + Sync {}
impl<T: Serialize + std::fmt::Debug + Clone + Unpin + Send + Sync> Params for T {}
