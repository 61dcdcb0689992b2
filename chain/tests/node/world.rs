//! A node, and two accounts with money.

use std::sync::Arc;

use futures_util::FutureExt as _;
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{
    EvmClient, EvmNetwork, EvmRpc as _, Fees, SignedTransaction, Transaction,
};
use peaberry_chain::primitives::{B256, Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{BlockAt, ChainError, EvmAddress};

use super::{Node, NodeKind};

pub(crate) const GWEI: u128 = 1_000_000_000;

/// A node, and two accounts with money.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) keys: [EvmKey; 2],
}

impl World {
    pub(crate) async fn on(kind: NodeKind) -> Self {
        Self::with(kind, |options| options).await
    }

    /// With other rules.
    pub(crate) async fn with(
        kind: NodeKind,
        change: impl FnOnce(DevOptions) -> DevOptions,
    ) -> Self {
        let (keys, options) = funded();
        let node = Node::of(kind, change(options)).await;
        Self { node, keys }
    }

    /// On the development chain.
    pub(crate) fn dev() -> Self {
        Self::dev_with(|options| options)
    }

    /// On the development chain, with other rules.
    pub(crate) fn dev_with(change: impl FnOnce(DevOptions) -> DevOptions) -> Self {
        let (keys, options) = funded();
        let node = Node::dev(change(options));
        Self { node, keys }
    }

    /// The development chain itself, for what is its own.
    pub(crate) fn chain(&self) -> &DevChain {
        self.node.chain()
    }

    pub(crate) fn address(&self, key: usize) -> EvmAddress {
        self.keys[key].evm_address()
    }

    /// A client with both keys.
    pub(crate) async fn client(&self, network: EvmNetwork) -> EvmClient {
        let mut client = EvmClient::connect(Arc::new(self.node.rpc.clone()), network)
            .await
            .unwrap();
        for key in &self.keys {
            client = client.with_signer(Arc::new(key.clone())).unwrap();
        }
        client
    }

    /// A payment of 1 wei to nobody in particular.
    pub(crate) fn payment(&self, nonce: u64) -> Transaction {
        Transaction {
            chain: self.node.network().chain,
            nonce,
            gas_limit: 21_000,
            fees: fees(10 * GWEI, GWEI),
            to: Some(EvmAddress::repeat_byte(9)),
            value: U256::ONE,
            data: Bytes::new(),
        }
    }

    /// Runs `code` as a new contract's constructor.
    pub(crate) fn creation(&self, nonce: u64, code: &[u8]) -> Transaction {
        Transaction {
            to: None,
            value: U256::ZERO,
            gas_limit: 1_000_000,
            data: Bytes::copy_from_slice(code),
            ..self.payment(nonce)
        }
    }

    pub(crate) fn sign(&self, key: usize, transaction: &Transaction) -> SignedTransaction {
        let signing = transaction.sign(&self.keys[key]).now_or_never();
        signing.expect("a key in memory signs at once").unwrap()
    }

    pub(crate) async fn offer(
        &self,
        key: usize,
        transaction: &Transaction,
    ) -> Result<B256, ChainError> {
        let signed = self.sign(key, transaction);
        self.node.rpc.broadcast(signed.raw()).await
    }

    /// Sends what must be taken.
    pub(crate) async fn send(&self, key: usize, transaction: &Transaction) -> B256 {
        self.offer(key, transaction).await.unwrap()
    }

    pub(crate) async fn balance(&self, of: EvmAddress, at: BlockAt) -> U256 {
        self.node.rpc.balance(of, at).await.unwrap()
    }

    pub(crate) async fn nonce(&self, key: usize, at: BlockAt) -> u64 {
        self.node.rpc.nonce(self.address(key), at).await.unwrap()
    }

    pub(crate) async fn height(&self) -> u64 {
        self.node.head().await.number
    }

    /// The transactions of a block, in order.
    pub(crate) async fn transactions(&self, number: u64) -> Vec<B256> {
        self.node.transactions(number).await
    }
}

fn funded() -> ([EvmKey; 2], DevOptions) {
    let keys = [1, 2].map(|seed| EvmKey::from_bytes(&[seed; 32]).unwrap());
    let options = keys.iter().fold(DevOptions::default(), |options, key| {
        options.fund(key.evm_address())
    });
    (keys, options)
}

pub(crate) fn fees(fee_max: u128, tip_max: u128) -> Fees {
    Fees::Eip1559 { fee_max, tip_max }
}
