//! The node that a test asks: this crate's development chain or Anvil, by the same JSON-RPC.
//!
//! Anvil is looked for at `PEABERRY_ANVIL`, then on the path. Where it is not, its half of a test says so and skips
//! itself.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::dev::{DevChain, DevOptions, Mining};
use peaberry_chain::evm::{EvmRpc, JsonRpc};
use peaberry_chain::primitives::B256;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A node that makes blocks when it is told to, by the rules of its options.
pub(crate) struct Node {
    pub(crate) rpc: JsonRpc,
    _anvil: Option<Anvil>,
}

struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Node {
    /// The development chain.
    pub(crate) fn dev(options: DevOptions) -> Self {
        let mining = Mining::OnDemand;
        let chain = DevChain::new(DevOptions { mining, ..options });
        Self {
            rpc: JsonRpc::over(Arc::new(chain)),
            _anvil: None,
        }
    }

    /// Anvil, or `None` where it is not installed.
    pub(crate) async fn anvil(options: &DevOptions) -> Option<Self> {
        let program = std::env::var("PEABERRY_ANVIL").unwrap_or_else(|_unset| "anvil".into());
        // A port that was free a moment ago.
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let child = Command::new(program)
            .args(["--silent", "--no-mining", "--order", "fees"])
            .args(["--accounts", "0", "--hardfork", "osaka"])
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--chain-id", &options.chain.to_string()])
            .args(["--gas-limit", &options.block_gas_limit.to_string()])
            .args(["--base-fee", &options.base_fee.to_string()])
            .args(["--timestamp", &options.genesis_timestamp_s.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            println!("skipped: no anvil; set PEABERRY_ANVIL to the program, or put it on the path");
            return None;
        };
        let anvil = Some(Anvil(child));
        let rpc = JsonRpc::http(&format!("http://127.0.0.1:{port}")).unwrap();
        let node = Self { rpc, _anvil: anvil };
        node.expect_awake().await;
        for (account, balance) in &options.accounts {
            node.tell("anvil_setBalance", (*account, *balance)).await;
        }
        node.tell("anvil_setCoinbase", (options.coinbase,)).await;
        Some(node)
    }

    async fn expect_awake(&self) {
        for _ in 0..1200 {
            if self.rpc.chain_id().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("anvil did not answer within 30 s");
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

    /// Makes a block of what waits.
    pub(crate) async fn mine(&self) {
        self.tell("evm_mine", ()).await;
    }

    pub(crate) async fn mine_many(&self, count: u64) {
        self.tell("anvil_mine", (format!("{count:#x}"),)).await;
    }

    /// The next block, and none before, has this time.
    pub(crate) async fn mine_at(&self, timestamp_s: u64) {
        self.tell("evm_setNextBlockTimestamp", (timestamp_s,)).await;
        self.mine().await;
    }

    /// Makes a block of each transaction from now on.
    pub(crate) async fn mine_each(&self) {
        self.tell("evm_setAutomine", (true,)).await;
    }

    /// Undoes the newest `depth` blocks for as many empty ones; what was in them is lost.
    pub(crate) async fn reorg(&self, depth: u64) {
        self.tell("anvil_reorg", (depth, json!([]))).await;
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
        self.ask(
            "debug_traceTransaction",
            (hash, json!({"tracer": "callTracer"})),
        )
        .await
    }
}

/// A method's arguments.
pub(crate) trait Params: Serialize + std::fmt::Debug + Clone + Unpin + Send + Sync {}
impl<T: Serialize + std::fmt::Debug + Clone + Unpin + Send + Sync> Params for T {}

/// As much of a call, and those within it, as nodes must agree on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Called {
    kind: String,
    from: Value,
    to: Value,
    value: Value,
    gas: [Value; 2],
    data: [Value; 2],
    is_undone: bool,
    within: Vec<Self>,
}

impl Called {
    /// A whole transaction. Of the outermost call Anvil leaves out what the transaction itself costs from the limit, and
    /// counts the block's earlier transactions as gas used; geth tells those of the transaction.
    pub(crate) fn read(trace: &Value) -> Self {
        Self {
            gas: [Value::Null, Value::Null],
            ..Self::read_call(trace)
        }
    }

    fn read_call(trace: &Value) -> Self {
        let bytes = |name: &str| match trace[name].as_str() {
            None | Some("0x") => Value::Null,
            Some(text) => Value::from(text),
        };
        let is_undone = trace["error"].is_string();
        let is_creation = trace["type"].as_str().unwrap().starts_with("CREATE");
        let within = trace["calls"].as_array();
        Self {
            kind: trace["type"].as_str().unwrap().to_owned(),
            from: trace["from"].clone(),
            // Where a creation that failed would have been, nodes say or do not.
            to: if is_undone && is_creation {
                Value::Null
            } else {
                trace["to"].clone()
            },
            value: match trace["value"].as_str() {
                None | Some("0x0") => Value::Null,
                Some(text) => Value::from(text),
            },
            gas: [trace["gas"].clone(), trace["gasUsed"].clone()],
            data: [bytes("input"), bytes("output")],
            is_undone,
            within: within.into_iter().flatten().map(Self::read_call).collect(),
        }
    }
}
