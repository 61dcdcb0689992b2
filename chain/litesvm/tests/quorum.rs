//! Three Solana nodes of which two must agree: one that lies, hangs or throws transactions away changes nothing.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's helpers fail as loudly as the test"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::primitives::Bytes;
use peaberry_chain::solana::{
    Commitment, SignedTransaction, SolanaClient, SolanaNetwork, SolanaQuorum, SolanaRpc,
};
use peaberry_chain::wallet::SolanaKey;
use peaberry_chain::{
    Amount, Asset, ChainClient, ChainError, Finality, Intent, RpcTransport, SolanaAddress,
    TransactionStatus, TransportFailure,
};
use peaberry_chain_litesvm::{GENESIS_HASH, LiteSvmNode};
use serde_json::{Value, json};

const SOL: u64 = 1_000_000_000;

/// What a node does with what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Says of everything what is not so, and passes no transaction on.
    Lies,
    /// Never answers.
    Hangs,
    /// Has no room for transactions.
    TakesNone,
}

struct Node {
    node: Arc<LiteSvmNode>,
    manner: Manner,
}

#[async_trait]
impl RpcTransport for Node {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        match self.manner {
            Manner::Honest => self.node.exchange(request).await,
            Manner::Hangs => std::future::pending().await,
            Manner::TakesNone => {
                let asked: Value = serde_json::from_slice(&request).unwrap();
                if asked["method"] == "sendTransaction" {
                    let error = json!({"code": -32603, "message": "no room"});
                    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "error": error});
                    return Ok(bytes(&answer));
                }
                self.node.exchange(request).await
            }
            Manner::Lies => {
                let asked: Value = serde_json::from_slice(&request).unwrap();
                if asked["method"] == "sendTransaction" {
                    return Ok(bytes(&said_to_be_taken(&asked)));
                }
                let answer = self.node.exchange(request).await?;
                let mut answer: Value = serde_json::from_slice(&answer).unwrap();
                lie(asked["method"].as_str().unwrap(), &mut answer["result"]);
                Ok(bytes(&answer))
            }
        }
    }
}

fn bytes(answer: &Value) -> Bytes {
    answer.to_string().into_bytes().into()
}

fn said_to_be_taken(asked: &Value) -> Value {
    use base64::Engine as _;
    let raw = asked["params"][0].as_str().unwrap();
    let raw = base64::engine::general_purpose::STANDARD
        .decode(raw)
        .unwrap();
    let id = SignedTransaction::from_raw(raw.into(), 0).unwrap().id();
    json!({"jsonrpc": "2.0", "id": asked["id"], "result": id.to_string()})
}

fn lie(method: &str, result: &mut Value) {
    match method {
        "getBalance" => result["value"] = json!(u64::MAX),
        "getSignatureStatuses" => result["value"] = json!([null]),
        "getEpochInfo" => result["blockHeight"] = json!(1_u64 << 40),
        "getLatestBlockhash" => result["value"]["lastValidBlockHeight"] = json!(1),
        "getBlock" => result["blockhash"] = json!(SolanaAddress([1; 32]).to_string()),
        _ => {}
    }
}

struct World {
    node: Arc<LiteSvmNode>,
    client: SolanaClient,
    named: Arc<Mutex<Vec<String>>>,
    key: SolanaKey,
}

impl World {
    async fn new(manners: [Manner; 3]) -> Result<Self, ChainError> {
        let node = Arc::new(LiteSvmNode::new());
        let key = SolanaKey::from_bytes(&[7; 32]);
        node.airdrop(key.solana_address(), 10 * SOL);
        let nodes = ["anna", "ben", "mallory"].into_iter().zip(manners);
        let nodes = nodes.map(|(name, manner)| {
            let node = node.clone();
            let node: Arc<dyn RpcTransport> = Arc::new(Node { node, manner });
            (name.to_owned(), node)
        });
        let named: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = named.clone();
        let quorum = SolanaQuorum::new(nodes.collect(), 2)
            .with_answer_within(Duration::from_millis(50))
            .with_report(move |dissent| told.lock().push(dissent.node.clone()));
        let rpc = SolanaRpc::new(Arc::new(quorum));
        let network = SolanaNetwork::local(&GENESIS_HASH);
        let client = SolanaClient::connect(rpc, network).await?;
        Ok(Self {
            node,
            client: client.with_signer(Arc::new(key.clone())).unwrap(),
            named,
            key,
        })
    }

    fn payment(&self) -> Intent {
        Intent::Transfer {
            from: self.key.solana_address().into(),
            to: SolanaAddress([9; 32]).into(),
            asset: Asset::Native,
            amount: Amount::lamports(SOL),
        }
    }

    /// One payment, from its submission until it is final.
    async fn pay(&self) {
        let owner = self.key.solana_address().into();
        let balance = self.client.balance(owner, Asset::Native).await.unwrap();
        assert_eq!(balance, Amount::lamports(10 * SOL));
        let id = self.client.submit(&self.payment()).await.unwrap();
        assert_eq!(self.node.included(), 1);
        let status = self.client.status(id).await.unwrap();
        let TransactionStatus::Included { block, .. } = status else {
            panic!("{status:?}");
        };
        assert_ne!(block.hash.0, [1; 32], "a liar's block");
        self.node.advance(40);
        let patience = Duration::from_secs(5);
        let status = self.client.wait(id, Finality::Final, patience).await;
        assert!(matches!(status, Ok(TransactionStatus::Final { .. })));
        let height = self.client.rpc().height(Commitment::Finalized).await;
        assert!(height.unwrap().height < 1 << 40);
    }
}

#[tokio::test]
async fn a_liar_changes_nothing_and_is_named() {
    let world = World::new([Manner::Honest, Manner::Honest, Manner::Lies]).await;
    let world = world.unwrap();
    world.pay().await;
    let named = world.named.lock();
    assert!(!named.is_empty() && named.iter().all(|name| name == "mallory"));
}

#[tokio::test]
async fn a_node_that_hangs_changes_nothing_and_is_not_accused() {
    let world = World::new([Manner::Hangs, Manner::Honest, Manner::Honest]).await;
    let world = world.unwrap();
    world.pay().await;
    assert!(world.named.lock().is_empty());
}

/// With one honest node of three there is no answer, and no claim that something was sent.
#[tokio::test]
async fn two_that_fail_are_too_many() {
    let world = World::new([Manner::Honest, Manner::Lies, Manner::Hangs]).await;
    let world = world.unwrap();
    let owner = world.key.solana_address().into();
    let error = world
        .client
        .balance(owner, Asset::Native)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::NoQuorum {
                agreed: 1,
                asked: 3,
                wanted: 2,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_retryable() && !error.may_have_been_sent());
    let silent = World::new([Manner::Hangs; 3]).await;
    assert!(matches!(silent.err(), Some(ChainError::Connection { .. })));
}

/// One took it and two do not: it may have been sent.
#[tokio::test]
async fn what_too_few_have_taken_may_have_been_sent() {
    let world = World::new([Manner::Honest, Manner::TakesNone, Manner::TakesNone]).await;
    let world = world.unwrap();
    let error = world.client.submit(&world.payment()).await.unwrap_err();
    assert_eq!(world.node.included(), 1);
    assert!(error.may_have_been_sent(), "{error:?}");
    let status = world.client.status(error.transaction().unwrap()).await;
    assert!(matches!(status, Ok(TransactionStatus::Included { .. })));
}

/// Two refuse, and the one that is silent may have taken it: no refusal is believed.
#[tokio::test]
async fn refusals_do_not_end_what_a_silent_node_may_have_taken() {
    for manners in [
        [Manner::TakesNone, Manner::TakesNone, Manner::Hangs],
        [Manner::TakesNone, Manner::Hangs, Manner::TakesNone],
    ] {
        let world = World::new(manners).await.unwrap();
        let error = world.client.submit(&world.payment()).await.unwrap_err();
        assert!(error.may_have_been_sent(), "{error:?}");
    }
}
