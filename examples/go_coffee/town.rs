//! The town's chain, on which everybody pays: one in this process that has a reorganisation, or a node at `--rpc URL`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peaberry_chain::bindings::{CoffeeToken, SolCall, SolEvent};
use peaberry_chain::dev::{DevChain, DevOptions, Mining, Undone};
use peaberry_chain::evm::{EvmClient, EvmNetwork, EvmRpc, EvmView, JsonRpc};
use peaberry_chain::outbox::ChainRules;
use peaberry_chain::primitives::Bytes;
use peaberry_chain::wallet::{EvmKey, Wallet};
use peaberry_chain::{
    Amount, BlockAt, CallRequest, ChainClient, ChainError, EvmAddress, Finality, FinalityPolicy,
    Intent, LogFilter, LogRange, TxId,
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::Failure;

/// The phrase that development nodes fund the accounts of. Money of theirs is worth nothing.
const PHRASE: &str = "test test test test test test test test test test test junk";
const ACCOUNTS: u32 = 10;

/// How often the chain in this process makes a block.
const BLOCK_TIME: Duration = Duration::from_millis(10);
/// How many of its blocks the reorganisation undoes, and from what depth on a block is final.
const REORG_DEPTH: u64 = 6;
const FINALIZED_DEPTH: u64 = 12;
/// From what depth on a block of a node far away is taken for final.
const RPC_DEPTH: u64 = 2;

/// How often a node far away is looked at, and how long it may make no block.
const PROMPT_EVERY: Duration = Duration::from_millis(500);
const PROMPT_AFTER: Duration = Duration::from_secs(3);

/// How long one of the first transactions may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Town {
    pub(crate) client: Arc<EvmClient>,
    pub(crate) chain_id: u64,
    pub(crate) rules: ChainRules,
    /// In the order of the phrase's accounts.
    pub(crate) accounts: Vec<EvmAddress>,
    rpc: Arc<dyn EvmView>,
    /// The chain, if it is in this process.
    dev: Option<DevChain>,
    undone: Arc<AtomicU64>,
    miner: Option<JoinHandle<Result<(), ChainError>>>,
    /// Of a node far away.
    prompter: Option<JoinHandle<()>>,
}

impl Town {
    pub(crate) async fn open(rpc: Option<&str>, chain_id: u64) -> Result<Self, Failure> {
        let wallet = Wallet::from_phrase(PHRASE, "")?;
        let keys: Vec<EvmKey> = (0..ACCOUNTS)
            .map(|index| wallet.evm_key(index))
            .collect::<Result<_, _>>()?;
        let accounts: Vec<_> = keys.iter().map(EvmKey::evm_address).collect();
        let mut prompter = None;
        let (rpc, network, rules, dev) = match rpc {
            Some(url) => {
                let network = EvmNetwork {
                    finality: FinalityPolicy::Depth(RPC_DEPTH),
                    block_time: Duration::from_secs(1),
                    ..EvmNetwork::generic(chain_id)
                };
                let node = JsonRpc::http(url)?;
                prompter = Some(tokio::spawn(prompt(node.clone())));
                let rpc: Arc<dyn EvmView> = Arc::new(node);
                (rpc, network, ChainRules::of(&network), None)
            }
            None => {
                let chain = dev_chain(chain_id, &accounts);
                let rpc: Arc<dyn EvmView> = Arc::new(chain.clone());
                (rpc, chain.network(), rules(), Some(chain))
            }
        };
        let mut client = EvmClient::connect(rpc.clone(), network).await?;
        for key in keys {
            client = client.with_signer(Arc::new(key))?;
        }
        Ok(Self {
            client: Arc::new(client),
            chain_id,
            rules,
            accounts,
            rpc,
            dev,
            undone: Arc::default(),
            miner: None,
            prompter,
        })
    }

    /// Begins to make blocks, where that is ours to do. Once half of `payments` of `token` are included, a few blocks are
    /// undone, and their transactions forgotten, as by a node that never heard of them.
    pub(crate) fn go_on(&mut self, token: EvmAddress, payments: usize) -> Result<(), Failure> {
        if let Some(chain) = &self.dev {
            chain.set_mining(Mining::OnDemand);
            let miner = Miner {
                chain: chain.clone(),
                client: self.client.clone(),
                token,
                left: u64::try_from(payments)?.div_ceil(2),
                undone: self.undone.clone(),
            };
            self.miner = Some(tokio::spawn(miner.work()));
        }
        Ok(())
    }

    /// Whether its chain undoes blocks: the one in this process does.
    pub(crate) const fn reorganises(&self) -> bool {
        self.dev.is_some()
    }

    /// Transactions that were undone and forgotten.
    pub(crate) fn undone(&self) -> u64 {
        self.undone.load(Ordering::SeqCst)
    }

    /// Has one of the first transactions carried out.
    pub(crate) async fn settle(&self, intent: &Intent) -> Result<(), Failure> {
        let id = self.client.submit(intent).await?;
        let status = self.client.wait(id, Finality::Latest, PATIENCE).await?;
        match status.block() {
            Some(_) => Ok(()),
            None => Err(format!("{id} was not carried out: {status:?}").into()),
        }
    }

    /// Deploys a contract from the first account; answers where it is.
    pub(crate) async fn deploy(&self, code: Bytes) -> Result<EvmAddress, Failure> {
        let from = self.account(0)?;
        let intent = Intent::Deploy {
            from: from.into(),
            value: Amount::wei(0),
            code,
        };
        let id = self.client.submit(&intent).await?;
        self.client.wait(id, Finality::Latest, PATIENCE).await?;
        let TxId::Evm(hash) = id else {
            return Err(format!("{id} is not of an EVM chain").into());
        };
        let receipt = self.rpc.receipt(hash).await?;
        receipt
            .and_then(|receipt| receipt.contract)
            .ok_or_else(|| format!("{id} made no contract").into())
    }

    pub(crate) fn account(&self, index: usize) -> Result<EvmAddress, Failure> {
        let account = self.accounts.get(index);
        Ok(*account.ok_or("the phrase has ten accounts")?)
    }

    /// Asks a contract.
    pub(crate) async fn ask<C: SolCall + Sync>(
        &self,
        contract: EvmAddress,
        call: &C,
    ) -> Result<C::Return, Failure> {
        let request = CallRequest::new(contract, call.abi_encode());
        let answer = self.client.call(&request, BlockAt::Latest).await?;
        Ok(C::abi_decode_returns(&answer)?)
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if let Some(miner) = &self.miner {
            miner.abort();
        }
        if let Some(prompter) = &self.prompter {
            prompter.abort();
        }
    }
}

/// A call of a contract by `from`.
pub(crate) fn call_of(from: EvmAddress, to: EvmAddress, call: impl Into<Bytes>) -> Intent {
    Intent::Call {
        from: from.into(),
        to: to.into(),
        value: Amount::wei(0),
        data: call.into(),
    }
}

fn dev_chain(chain: u64, accounts: &[EvmAddress]) -> DevChain {
    let options = DevOptions {
        chain,
        block_time_s: 1,
        safe_depth: FINALIZED_DEPTH / 2,
        finalized_depth: FINALIZED_DEPTH,
        ..DevOptions::default()
    };
    DevChain::new(accounts.iter().copied().fold(options, DevOptions::fund))
}

/// As for a chain whose blocks come every few milliseconds.
fn rules() -> ChainRules {
    ChainRules {
        look_every: BLOCK_TIME,
        fees_fresh_for: BLOCK_TIME * 10,
        retry_after: BLOCK_TIME * 5,
        bump_after_blocks: 50,
        ..ChainRules::every(BLOCK_TIME)
    }
}

/// Sees to it that a node's chain goes on: payments are final only below later blocks. One that makes blocks on demand is
/// asked for them; of any other it is said, once, what everybody waits for.
async fn prompt(node: JsonRpc) {
    let (mut newest, mut still) = (None, Duration::ZERO);
    let mut patience = PROMPT_AFTER;
    let mut has_spoken = false;
    loop {
        tokio::time::sleep(PROMPT_EVERY).await;
        let head = node.block(BlockAt::Latest).await;
        let head = head.ok().flatten().map(|block| block.hash);
        if head != newest {
            (newest, still) = (head, Duration::ZERO);
        }
        still += PROMPT_EVERY;
        if still <= patience {
            continue;
        }
        let mine = node.client().request_noparams::<Value>("evm_mine");
        let words = match mine.await {
            Ok(_) => {
                // One that is asked for all blocks is asked for the next soon.
                patience = PROMPT_EVERY;
                "the node makes blocks on demand: it is asked for one whenever it stands still"
            }
            Err(_) => "waiting for the node to make a block: it has made none for a while",
        };
        if !std::mem::replace(&mut has_spoken, true) {
            eprintln!("{words}");
        }
    }
}

/// Makes blocks, and undoes some once.
struct Miner {
    chain: DevChain,
    client: Arc<EvmClient>,
    token: EvmAddress,
    /// Payments until it strikes; none left: it has.
    left: u64,
    undone: Arc<AtomicU64>,
}

impl Miner {
    async fn work(mut self) -> Result<(), ChainError> {
        let mut ticks = tokio::time::interval(BLOCK_TIME);
        loop {
            ticks.tick().await;
            let block = self.chain.mine();
            if self.left == 0 {
                continue;
            }
            let paid = LogFilter::default()
                .address(self.token)
                .topic(0, CoffeeToken::PaymentProcessed::SIGNATURE_HASH);
            let range = LogRange::Block(block.hash);
            let paid = self.client.logs(&paid, &range).await?.len();
            self.left = self
                .left
                .saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX));
            if self.left == 0 {
                let undone = self.chain.reorg(REORG_DEPTH, Undone::Drop);
                let undone = u64::try_from(undone.len()).unwrap_or(u64::MAX);
                self.undone.store(undone, Ordering::SeqCst);
            }
        }
    }
}
