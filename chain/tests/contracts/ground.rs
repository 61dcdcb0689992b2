//! A chain, four accounts and dice; and what came of a call.

use std::sync::Arc;

use peaberry_chain::bindings::{SolCall, SolError, SolEvent};
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmView, Fees, Receipt, Transaction};
use peaberry_chain::primitives::{Address, B256, Bytes, LogData, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    BlockAt, CallRequest, ChainError, ChainId, Payload, Revert, Signature, Signer,
};
use tokio::runtime::Runtime;

use crate::dice::Dice;
use crate::node::{Node, NodeKind, eventually};

pub(crate) const ACCOUNTS: usize = 4;
pub(crate) const CHAIN: u64 = 31_337;
/// Between two blocks of the development chain.
pub(crate) const BLOCK_TIME_S: u64 = 12;

/// What came of a call: the events it logged, each with its contract, or the bytes with which it was refused.
pub(crate) type Outcome = Result<Vec<(Address, LogData)>, Bytes>;

pub(crate) fn event(contract: Address, event: &impl SolEvent) -> (Address, LogData) {
    (contract, event.encode_log_data())
}

pub(crate) fn refused<T>(error: &impl SolError) -> Result<T, Bytes> {
    Err(error.abi_encode().into())
}

/// Holds what came of a call of `C` against what should have. A refusal that is wanted by its selector alone may say
/// what it likes behind it.
pub(crate) fn agree<C: SolCall>(found: &Outcome, wanted: &Outcome) -> Result<(), String> {
    let is_alike = match (found, wanted) {
        (Err(found), Err(wanted)) if wanted.len() == 4 => found.starts_with(wanted),
        (found, wanted) => found == wanted,
    };
    if is_alike {
        return Ok(());
    }
    Err(format!("{}: {found:?}, not {wanted:?}", C::SIGNATURE))
}

/// A chain that makes a block of each transaction.
pub(crate) struct Ground {
    rpc: Arc<dyn EvmView>,
    runtime: Runtime,
    keys: Vec<EvmKey>,
    nonces: Vec<u64>,
    pub(crate) dice: Dice,
    _node: Node,
}

/// The creation code in an artefact.
pub(crate) fn bytecode(artefact: &str) -> Bytes {
    let artefact: serde_json::Value = serde_json::from_str(artefact).unwrap();
    artefact["bytecode"].as_str().unwrap().parse().unwrap()
}

impl Ground {
    /// On the development chain, or on Anvil, which is here.
    pub(crate) fn on(kind: NodeKind, seed: u64) -> Self {
        let keys: Vec<EvmKey> = (1..=ACCOUNTS)
            .map(|key| EvmKey::from_bytes(&[u8::try_from(key).unwrap(); 32]).unwrap())
            .collect();
        let options = keys.iter().fold(DevOptions::default(), |options, key| {
            options.fund(key.evm_address())
        });
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let node = runtime.block_on(async {
            let node = Node::of(kind, options).await;
            node.mine_each(true).await;
            node
        });
        let rpc = node.direct();
        Self {
            rpc,
            runtime,
            keys,
            nonces: vec![0; ACCOUNTS],
            dice: Dice(seed),
            _node: node,
        }
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.dice.roll(sides)
    }

    pub(crate) fn account(&mut self) -> usize {
        self.dice.place(ACCOUNTS)
    }

    pub(crate) fn address(&self, who: usize) -> Address {
        self.keys[who].evm_address()
    }

    /// The contract that `who` makes of `code`.
    pub(crate) fn deploy(&mut self, who: usize, code: Bytes) -> Address {
        let receipt = self.transact(who, None, code);
        receipt.contract.expect("the contract is created")
    }

    /// With what a creation by `code` would be refused, if it would.
    pub(crate) fn refusal(&self, code: Bytes) -> Option<Bytes> {
        let request = CallRequest {
            data: code,
            ..CallRequest::default()
        };
        match self.now(self.rpc.call(&request, BlockAt::Latest)) {
            Ok(_) => None,
            Err(ChainError::Reverted(Revert::Custom { data, .. })) => Some(data),
            other => panic!("a creation fails without an error of its own: {other:?}"),
        }
    }

    /// What comes of the call.
    pub(crate) fn send<C: SolCall>(&mut self, who: usize, to: Address, call: &C) -> Outcome {
        let receipt = self.transact(who, Some(to), call.abi_encode().into());
        if receipt.is_success {
            let logs = receipt.logs.into_iter();
            let logs = logs.map(|log| {
                (
                    log.address.evm_on(ChainId::evm(CHAIN)).unwrap(),
                    log.topics,
                    log.data,
                )
            });
            return Ok(logs
                .map(|(contract, topics, data)| (contract, LogData::new_unchecked(topics, data)))
                .collect());
        }
        // Alone in its block, and undone: at the end of that block it meets what it met.
        let request = CallRequest::new(to, call.abi_encode()).from(self.address(who));
        match self.now(self.rpc.call(&request, BlockAt::Latest)) {
            Err(ChainError::Reverted(Revert::Custom { data, .. })) => Err(data),
            other => panic!(
                "{} fails without an error of its own: {other:?}",
                C::SIGNATURE
            ),
        }
    }

    /// A step of a game's beginning, which must be carried out.
    pub(crate) fn must<C: SolCall>(
        &mut self,
        who: usize,
        to: Address,
        call: &C,
    ) -> Result<(), String> {
        let outcome = self.send(who, to, call);
        let refusal = outcome.err();
        refusal.map_or(Ok(()), |why| {
            Err(format!("{}: refused with {why}", C::SIGNATURE))
        })
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

    fn transact(&mut self, who: usize, to: Option<Address>, data: Bytes) -> Receipt {
        let transaction = Transaction {
            chain: ChainId::evm(CHAIN),
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
            let receipt = async || self.rpc.receipt(signed.hash()).await.unwrap();
            eventually("it is in a block", receipt).await
        })
    }

    fn now<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}
