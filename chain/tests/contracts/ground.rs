//! A chain, four accounts and dice.

use std::sync::Arc;

use peaberry_chain::bindings::SolCall;
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{EvmRpc, Fees, Transaction};
use peaberry_chain::primitives::{Address, B256, Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{BlockAt, CallRequest, ChainId, Payload, Signature, Signer};
use tokio::runtime::Runtime;

use crate::node::Node;

pub(crate) const ACCOUNTS: usize = 4;

/// A chain that makes a block of each transaction.
pub(crate) struct Ground {
    rpc: Arc<dyn EvmRpc>,
    runtime: Runtime,
    keys: Vec<EvmKey>,
    nonces: Vec<u64>,
    dice: u64,
    _node: Option<Node>,
}

/// The creation code in an artefact.
pub(crate) fn bytecode(artefact: &str) -> Bytes {
    let artefact: serde_json::Value = serde_json::from_str(artefact).unwrap();
    artefact["bytecode"].as_str().unwrap().parse().unwrap()
}

impl Ground {
    /// The development chain.
    pub(crate) fn new(seed: u64) -> Self {
        let keys = keys();
        let chain = DevChain::new(funded(&keys));
        Self::on(Arc::new(chain), keys, seed)
    }

    /// Anvil, or `None` where it is not installed.
    pub(crate) fn anvil(seed: u64) -> Option<Self> {
        let keys = keys();
        let runtime = runtime();
        let node = runtime.block_on(async {
            let node = Node::anvil(&funded(&keys)).await?;
            node.mine_each().await;
            Some(node)
        })?;
        let ground = Self::on(Arc::new(node.rpc.clone()), keys, seed);
        // The connection lives in the runtime that made it.
        Some(Self {
            runtime,
            _node: Some(node),
            ..ground
        })
    }

    fn on(rpc: Arc<dyn EvmRpc>, keys: Vec<EvmKey>, seed: u64) -> Self {
        Self {
            rpc,
            runtime: runtime(),
            keys,
            nonces: vec![0; ACCOUNTS],
            dice: seed,
            _node: None,
        }
    }

    /// A number below `sides` (SplitMix64).
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn account(&mut self) -> usize {
        usize::try_from(self.roll(ACCOUNTS as u64)).unwrap()
    }

    pub(crate) fn address(&self, who: usize) -> Address {
        self.keys[who].evm_address()
    }

    /// The contract that `who` makes of `code`.
    pub(crate) fn deploy(&mut self, who: usize, code: Bytes) -> Address {
        let address = self.address(who).create(self.nonces[who]);
        assert!(self.transact(who, None, code), "the contract is created");
        address
    }

    /// Whether the call was carried out.
    pub(crate) fn send(&mut self, who: usize, to: Address, call: &impl SolCall) -> bool {
        self.transact(who, Some(to), call.abi_encode().into())
    }

    /// As [`send`](Self::send), in one line for a model's verdict.
    pub(crate) fn expect(
        &mut self,
        who: usize,
        to: Address,
        call: &impl SolCall,
        is_allowed: bool,
    ) -> Result<(), String> {
        let is_done = self.send(who, to, call);
        if is_done == is_allowed {
            return Ok(());
        }
        Err(format!(
            "{who} calls {}: allowed {is_allowed}, done {is_done}",
            signature(call)
        ))
    }

    pub(crate) fn ask<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let request = CallRequest::new(to, call.abi_encode());
        let answer = self.now(self.rpc.call(&request, BlockAt::Latest)).unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }

    /// The time of the newest block, in seconds.
    pub(crate) fn time_s(&self) -> u64 {
        let head = self.now(self.rpc.block(BlockAt::Latest)).unwrap();
        head.unwrap().timestamp_s
    }

    /// A typed signature of `who` (EIP-712): v, r, s.
    pub(crate) fn sign(&self, who: usize, domain: B256, value: B256) -> (u8, U256, U256) {
        let payload = Payload::EvmTypedData { domain, value };
        let Signature::Evm(signature) = self.now(self.keys[who].sign(payload)).unwrap() else {
            panic!("an EVM key signs as one");
        };
        (27 + u8::from(signature.v()), signature.r(), signature.s())
    }

    fn transact(&mut self, who: usize, to: Option<Address>, data: Bytes) -> bool {
        let transaction = Transaction {
            chain: ChainId::evm(31_337),
            nonce: self.nonces[who],
            gas_limit: 5_000_000,
            fees: Fees::Eip1559 {
                fee_max: 2_000_000_000,
                tip_max: 1,
            },
            to,
            value: U256::ZERO,
            data,
        };
        let key = self.keys[who].clone();
        self.nonces[who] += 1;
        self.now(async {
            let signed = transaction.sign(&key).await.unwrap();
            self.rpc.broadcast(signed.raw()).await.unwrap();
            loop {
                if let Some(receipt) = self.rpc.receipt(signed.hash()).await.unwrap() {
                    return receipt.is_success;
                }
                tokio::task::yield_now().await;
            }
        })
    }

    fn now<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

fn keys() -> Vec<EvmKey> {
    (1..=ACCOUNTS)
        .map(|key| EvmKey::from_bytes(&[u8::try_from(key).unwrap(); 32]).unwrap())
        .collect()
}

fn funded(keys: &[EvmKey]) -> DevOptions {
    let keys = keys.iter();
    keys.fold(DevOptions::default(), |options, key| {
        options.fund(key.evm_address())
    })
}

fn signature<C: SolCall>(_call: &C) -> &'static str {
    C::SIGNATURE
}
