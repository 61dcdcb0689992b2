//! What a client sees of an EVM node, on two of them: this crate's development chain and Anvil. Both are asked by the
//! same JSON-RPC, and every test runs on both; where Anvil is not installed, its half says so and skips itself.
//!
//! Anvil's rules differ from geth's here and there, so what follows is asked of the development chain alone, in
//! `dev_chain` beside this:
//!
//! | test | Anvil's rule |
//! |---|---|
//! | `one_history_has_one_chain` | its headers hold random numbers: the same calls give other hashes |
//! | `reorganisations_of_every_depth_return_or_drop`, `what_spends_everything_comes_back_too` | what `anvil_reorg` and `anvil_rollback` undo is lost: nothing returns to the mempool |
//! | `the_base_fee_follows_the_blocks` | its second block has the base fee of its first; from there on `anvil_agreement` compares every one |
//! | `time_comes_from_outside_and_never_goes_back` | a time before the parent's is an error, and without a time the system's clock is asked |
//! | `a_replacement_pays_a_tenth_more_of_both_fees` | it takes replacements for 5 % more |
//! | `who_cannot_pay_the_base_fee_waits_until_it_falls` | it refuses a transaction that cannot pay the base fee of now |
//! | `what_no_node_takes_is_refused_and_changes_nothing` | it takes tips of zero, and gas limits over EIP-7825's |
//! | `what_waits_is_counted_against_the_balance` | it holds each transaction alone against the balance |
//! | `an_estimate_looks_at_the_balance` | it estimates a plain payment without doing so |
//! | `the_best_paying_sender_comes_first_and_each_in_the_order_of_nonces` | it orders by the most that is offered, not by the tip; `anvil_agreement` sends what both order alike |
//! | `a_trace_*`, `blocks_come_by_interval` | they call the chain itself; `traces` compares what both tell |
//! | `json_rpc`, `websocket`, `alloy` | the server is the development chain's own |
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's helpers fail as loudly as the test"
)]

#[path = "../node/mod.rs"]
#[allow(dead_code, reason = "other tests ask other things of a node")]
mod node;

mod blocks;
mod client;
mod contracts;
mod mempool;
mod traces;

use std::sync::Arc;

use node::Node;
use peaberry_chain::EvmAddress;
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmClient, EvmNetwork, EvmRpc, Fees, SignedTransaction, Transaction};
use peaberry_chain::primitives::{B256, Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{BlockAt, ChainError};

const GWEI: u128 = 1_000_000_000;

/// A node, and two accounts with money.
struct World {
    node: Node,
    keys: [EvmKey; 2],
}

/// Runs each of these on both nodes.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod dev_chain {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::World::dev()).await;
            })+
        }
        mod anvil {
            $(#[tokio::test]
            async fn $name() {
                if let Some(world) = crate::World::anvil().await {
                    super::$name(world).await;
                }
            })+
        }
    };
}
use on_both;

impl World {
    fn keys() -> [EvmKey; 2] {
        [1, 2].map(|seed| EvmKey::from_bytes(&[seed; 32]).unwrap())
    }

    fn options() -> DevOptions {
        let keys = Self::keys();
        keys.iter().fold(DevOptions::default(), |options, key| {
            options.fund(key.evm_address())
        })
    }

    fn dev() -> Self {
        Self {
            node: Node::dev(Self::options()),
            keys: Self::keys(),
        }
    }

    async fn anvil() -> Option<Self> {
        Some(Self {
            node: Node::anvil(&Self::options()).await?,
            keys: Self::keys(),
        })
    }

    fn address(&self, key: usize) -> EvmAddress {
        self.keys[key].evm_address()
    }

    /// A client with both keys.
    async fn client(&self, network: EvmNetwork) -> EvmClient {
        let mut client = EvmClient::connect(Arc::new(self.node.rpc.clone()), network)
            .await
            .unwrap();
        for key in &self.keys {
            client = client.with_signer(Arc::new(key.clone())).unwrap();
        }
        client
    }

    /// A payment of 1 wei to nobody in particular.
    fn payment(&self, nonce: u64) -> Transaction {
        Transaction {
            chain: network().chain,
            nonce,
            gas_limit: 21_000,
            fees: fees(10 * GWEI, GWEI),
            to: Some(EvmAddress::repeat_byte(9)),
            value: U256::ONE,
            data: Bytes::new(),
        }
    }

    /// Runs `code` as a new contract's constructor.
    fn creation(&self, nonce: u64, code: &[u8]) -> Transaction {
        Transaction {
            to: None,
            value: U256::ZERO,
            gas_limit: 1_000_000,
            data: Bytes::copy_from_slice(code),
            ..self.payment(nonce)
        }
    }

    async fn sign(&self, key: usize, transaction: &Transaction) -> SignedTransaction {
        transaction.sign(&self.keys[key]).await.unwrap()
    }

    async fn offer(&self, key: usize, transaction: &Transaction) -> Result<B256, ChainError> {
        let signed = self.sign(key, transaction).await;
        self.node.rpc.broadcast(signed.raw()).await
    }

    /// Sends what must be taken.
    async fn send(&self, key: usize, transaction: &Transaction) -> B256 {
        self.offer(key, transaction).await.unwrap()
    }

    async fn balance(&self, of: EvmAddress, at: BlockAt) -> U256 {
        self.node.rpc.balance(of, at).await.unwrap()
    }

    async fn nonce(&self, key: usize, at: BlockAt) -> u64 {
        self.node.rpc.nonce(self.address(key), at).await.unwrap()
    }

    async fn height(&self) -> u64 {
        let head = self.node.rpc.block(BlockAt::Latest).await.unwrap();
        head.unwrap().number
    }

    /// The transactions of a block, in order.
    async fn transactions(&self, number: u64) -> Vec<B256> {
        let params = (format!("{number:#x}"), false);
        let block: serde_json::Value = self.node.ask("eth_getBlockByNumber", params).await;
        serde_json::from_value(block["transactions"].clone()).unwrap()
    }
}

fn network() -> EvmNetwork {
    EvmNetwork::generic(31_337)
}

fn fees(fee_max: u128, tip_max: u128) -> Fees {
    Fees::Eip1559 { fee_max, tip_max }
}
