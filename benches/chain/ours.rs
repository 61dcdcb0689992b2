//! Peaberry's side: `MultiChain` and the outbox.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use peaberry_chain::dev::DevChain;
use peaberry_chain::evm::{EvmClient, EvmNetwork, Fees, JsonRpc, Transaction};
use peaberry_chain::outbox::{
    ChainRules, IdempotencyKey, OutboxConfig, OutboxHandle, Performer, Stage, Submission,
};
use peaberry_chain::primitives::{Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Amount, Asset, BlockAt, CallRequest, ChainId, HttpEndpoint, HttpOptions, Intent, MultiChain,
};
use peaberry_core::{
    DiskOptions, DiskStorage, MemoryNetwork, Node, NodeThread, PeerId, SystemClock,
};

use super::{BLOCK_TIME, Failure, PIPELINE, key, shop};

const BATCH_REQUESTS_MAX: usize = 16;

pub(crate) struct Ours {
    chain: ChainId,
    multi: MultiChain,
    outbox: OutboxHandle,
    raw_key: EvmKey,
    next_nonce: AtomicU64,
    next_order: AtomicU64,
    _node: NodeThread,
}

/// What acts for the outbox: its requests of one moment go together.
async fn performer(url: &str, network: EvmNetwork) -> Result<EvmClient, Failure> {
    let options = HttpOptions {
        batch_requests_max: BATCH_REQUESTS_MAX,
        ..HttpOptions::default()
    };
    let rpc = JsonRpc::endpoint(HttpEndpoint::new(url, options)?);
    let client = EvmClient::connect(Arc::new(rpc), network).await?;
    Ok(client.with_signer(Arc::new(key(1)))?)
}

impl Ours {
    pub(crate) async fn connect(
        url: &str,
        chain: &DevChain,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let network = chain.network();
        let client = EvmClient::http(url, network).await?;
        let peer = PeerId::new(1).ok_or("one is a number")?;
        let storage = DiskStorage::open(folder, DiskOptions::new("bench", peer))?;
        let storage = Arc::new(storage);
        let transport = Arc::new(MemoryNetwork::new().join(peer));
        let mut node = Node::new(transport, storage.clone(), Arc::new(SystemClock::new()));
        let rules = ChainRules {
            in_flight_max: PIPELINE,
            look_every: BLOCK_TIME / 2,
            ..ChainRules::every(Duration::from_millis(80))
        };
        let config = OutboxConfig::new().chain(network.chain, rules);
        let performers = [Arc::new(performer(url, network).await?) as Arc<dyn Performer>];
        let (outbox, driver) = OutboxHandle::install(&mut node, 0, config, &*storage, performers)?;
        tokio::spawn(driver);
        Ok(Self {
            chain: network.chain,
            multi: MultiChain::new().with(Arc::new(client)),
            outbox,
            raw_key: key(2),
            next_nonce: AtomicU64::new(0),
            next_order: AtomicU64::new(0),
            _node: node.spawn("outbox")?,
        })
    }

    pub(crate) async fn call(&self) {
        let request = CallRequest::new(shop(), []);
        let answer = self.multi.call(self.chain, &request, BlockAt::Latest).await;
        assert!(answer.expect("the node answers").is_empty());
    }

    /// Signs and submits, and asks for nothing.
    pub(crate) async fn send_raw(&self) {
        let transaction = Transaction {
            chain: self.chain,
            nonce: self.next_nonce.fetch_add(1, Ordering::Relaxed),
            gas_limit: 21_000,
            fees: Fees::Eip1559 {
                fee_max: super::bare::FEE_MAX,
                tip_max: super::bare::TIP_MAX,
            },
            to: Some(shop()),
            value: U256::ONE,
            data: Bytes::new(),
        };
        let signed = transaction.sign(&self.raw_key).await.expect("a key signs");
        let sent = self.multi.submit_raw(self.chain, signed.raw()).await;
        sent.expect("the node takes it");
    }

    /// A transfer through the outbox, until its block is known.
    pub(crate) async fn pay(&self) {
        let order = self.next_order.fetch_add(1, Ordering::Relaxed);
        let name = IdempotencyKey::new(order.to_be_bytes()).expect("eight bytes are a key");
        let intent = Intent::Transfer {
            from: key(1).evm_address().into(),
            to: shop().into(),
            asset: Asset::Native,
            amount: Amount::wei(1),
        };
        let submission = Submission::new(name, self.chain, intent).with_gas_limit(21_000);
        let stages = self.outbox.submit(submission).await;
        let mut stages = stages.expect("the outbox takes it");
        while let Some(stage) = stages.next().await {
            if matches!(stage, Stage::Included(_)) {
                return;
            }
        }
        panic!("it is included");
    }
}
