//! Reads by quorum: m of k nodes, one of which lies, is silent, or lags. The truth is that of the development chain, and of
//! Anvil.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

mod node;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use peaberry_chain::bindings::{CoffeeToken, SolCall, SolError, creation};
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{
    Dissent, EvmClient, EvmNode, EvmRpc, EvmView, FeeHistory, QuorumRpc, Receipt, SeenTransaction,
};
use peaberry_chain::primitives::{B256, Bytes, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Amount, Asset, Block, BlockAt, CallRequest, ChainClient, ChainError, ChainId, EvmAddress,
    Finality, Intent, Log, LogFilter, LogRange, Revert, Sent,
};

use node::{Node, NodeKind, on_both};

on_both! {
    std::future::ready =>
    a_liar_is_outvoted_and_named
    two_liars_of_five_are_outvoted_and_named
    a_silent_node_is_missed_and_not_accused
    without_a_quorum_nothing_is_believed
    a_liar_names_no_nonce_while_another_node_is_silent
    a_liar_names_no_gas_that_is_too_little
    a_transaction_keeps_its_name
    one_nodes_word_does_not_make_a_transaction_taken
    one_nodes_refusal_is_no_verdict
    a_refusal_by_enough_nodes_is_an_answer
    a_payment_goes_through_a_quorum
    a_head_is_what_enough_nodes_have
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Honest,
    /// Every answer is another than the truth.
    Liar,
    /// No answer comes in time.
    Silent,
    /// Takes no transactions, and gives no logs.
    Stingy,
    /// Says of whatever can be refused for good that it is.
    Naysayer,
    /// Names too little gas, and another transaction than it was given.
    Miser,
}

/// A node of the chain.
struct Member {
    chain: Arc<dyn EvmView>,
    kind: Kind,
}

impl Member {
    async fn answer<T>(
        &self,
        truth: impl Future<Output = Result<T, ChainError>>,
        lie: impl FnOnce(T) -> T,
    ) -> Result<T, ChainError> {
        match self.kind {
            Kind::Honest | Kind::Stingy | Kind::Naysayer | Kind::Miser => truth.await,
            Kind::Liar => truth.await.map(lie),
            Kind::Silent => Err(ChainError::TimedOut {
                doing: "a question",
                after: Duration::from_secs(1),
                sent: Sent::Maybe(None),
            }),
        }
    }
}

#[async_trait]
impl EvmRpc for Member {
    async fn chain_id(&self) -> Result<ChainId, ChainError> {
        self.answer(self.chain.chain_id(), |_| ChainId::evm(666))
            .await
    }

    async fn balance(&self, account: EvmAddress, at: BlockAt) -> Result<U256, ChainError> {
        let truth = self.chain.balance(account, at);
        self.answer(truth, |balance| balance + U256::ONE).await
    }

    async fn nonce(&self, account: EvmAddress, at: BlockAt) -> Result<u64, ChainError> {
        self.answer(self.chain.nonce(account, at), |nonce| nonce + 1000)
            .await
    }

    async fn code(&self, address: EvmAddress, at: BlockAt) -> Result<Bytes, ChainError> {
        self.answer(self.chain.code(address, at), |_| Bytes::from_static(b"lie"))
            .await
    }

    async fn call(&self, request: &CallRequest, at: BlockAt) -> Result<Bytes, ChainError> {
        let lie = Bytes::from_static(b"lie");
        match self.kind {
            // Also where the contract refuses.
            Kind::Liar => Ok(lie),
            Kind::Naysayer => Err(reverted()),
            _ => self.answer(self.chain.call(request, at), |_| lie).await,
        }
    }

    async fn estimate_gas(&self, request: &CallRequest, at: BlockAt) -> Result<u64, ChainError> {
        match self.kind {
            Kind::Liar => Ok(u64::MAX),
            Kind::Miser => Ok(1),
            Kind::Naysayer => Err(reverted()),
            _ => {
                self.answer(self.chain.estimate_gas(request, at), |gas| gas)
                    .await
            }
        }
    }

    async fn fee_history(&self, blocks: u16, percentiles: &[u8]) -> Result<FeeHistory, ChainError> {
        let lie = |mut history: FeeHistory| {
            history
                .base_fees
                .iter_mut()
                .for_each(|fee| *fee = U256::MAX / U256::from(4));
            history
        };
        self.answer(self.chain.fee_history(blocks, percentiles), lie)
            .await
    }

    async fn broadcast(&self, raw: &[u8]) -> Result<B256, ChainError> {
        match self.kind {
            // Says that it has it, and throws it away.
            Kind::Liar => Ok(peaberry_chain::primitives::keccak256(raw)),
            Kind::Miser => Ok(B256::repeat_byte(0x66)),
            Kind::Stingy => Err(ChainError::FeeTooLow {
                message: "underpriced".into(),
            }),
            Kind::Naysayer => Err(ChainError::InvalidTransaction {
                message: "no such thing".into(),
            }),
            _ => self.answer(self.chain.broadcast(raw), |hash| hash).await,
        }
    }

    async fn transaction(&self, hash: B256) -> Result<Option<SeenTransaction>, ChainError> {
        let lie = |seen: Option<SeenTransaction>| {
            seen.map(|seen| SeenTransaction {
                nonce: seen.nonce + 1,
                ..seen
            })
        };
        self.answer(self.chain.transaction(hash), lie).await
    }

    async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, ChainError> {
        let lie = |receipt: Option<Receipt>| {
            receipt.map(|receipt| Receipt {
                is_success: !receipt.is_success,
                ..receipt
            })
        };
        self.answer(self.chain.receipt(hash), lie).await
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, ChainError> {
        if self.kind == Kind::Naysayer && at == BlockAt::Final {
            return Err(ChainError::NotFound {
                what: "a final block".into(),
            });
        }
        let lie = |block: Option<Block>| {
            block.map(|block| Block {
                hash: B256::repeat_byte(0x66),
                ..block
            })
        };
        self.answer(self.chain.block(at), lie).await
    }

    async fn logs(&self, filter: &LogFilter, range: &LogRange) -> Result<Vec<Log>, ChainError> {
        if self.kind == Kind::Stingy {
            return Err(ChainError::RangeTooWide {
                message: "limited to nothing".into(),
            });
        }
        let lie = |mut logs: Vec<Log>| {
            logs.pop();
            logs
        };
        self.answer(self.chain.logs(filter, range), lie).await
    }
}

impl EvmNode for Member {}

fn reverted() -> ChainError {
    ChainError::Reverted(Revert::Message("a lie".into()))
}

/// A chain with a payment of 5 wei and a contract that has logged something, and nodes of these kinds.
struct Ground {
    node: Node,
    rpc: Arc<QuorumRpc>,
    key: EvmKey,
    paid: B256,
    token: EvmAddress,
    named: Arc<Mutex<Vec<Dissent>>>,
}

const SHOP: EvmAddress = EvmAddress::repeat_byte(9);

impl Ground {
    async fn on(kind: NodeKind, kinds: &[Kind], wanted: usize) -> Self {
        let key = EvmKey::from_bytes(&[1; 32]).unwrap();
        let options = DevOptions {
            finalized_depth: 2,
            safe_depth: 1,
            ..DevOptions::default()
        };
        let node = Node::of(kind, options.fund(key.evm_address())).await;
        let chain: Arc<dyn EvmView> = Arc::new(node.rpc.clone());
        let direct = EvmClient::connect(chain.clone(), node.network()).await;
        let direct = direct.unwrap().with_signer(Arc::new(key.clone())).unwrap();
        let paid = direct.submit(&payment(&key)).await.unwrap();
        node.mine().await;
        let token = key.evm_address().create(1);
        direct.submit(&deployment(&key)).await.unwrap();
        node.mine().await;
        let nodes = kinds.iter().enumerate().map(|(index, kind)| {
            let member = Member {
                chain: chain.clone(),
                kind: *kind,
            };
            (
                format!("{kind:?} {index}"),
                Arc::new(member) as Arc<dyn EvmView>,
            )
        });
        let named = Arc::<Mutex<Vec<Dissent>>>::default();
        let report = named.clone();
        let rpc = QuorumRpc::new(nodes.collect(), wanted)
            .with_report(move |dissent| report.lock().push(dissent.clone()));
        let peaberry_chain::TxId::Evm(paid) = paid else {
            panic!("an EVM chain");
        };
        Self {
            node,
            rpc: Arc::new(rpc),
            key,
            paid,
            token,
            named,
        }
    }

    /// Everything that is read through the quorum is what the chain says.
    async fn reads_truly(&self) {
        let (rpc, truth) = (&self.rpc, &self.node);
        assert_eq!(rpc.chain_id().await.unwrap(), truth.network().chain);
        assert_eq!(
            rpc.balance(SHOP, BlockAt::Latest).await.unwrap(),
            truth.balance(SHOP).await
        );
        let account = self.key.evm_address();
        assert_eq!(rpc.nonce(account, BlockAt::Latest).await.unwrap(), 2);
        assert!(rpc.code(SHOP, BlockAt::Latest).await.unwrap().is_empty());
        let receipt = rpc.receipt(self.paid).await.unwrap().unwrap();
        assert!(receipt.is_success);
        let head = rpc.block(BlockAt::Latest).await.unwrap();
        assert_eq!(head, Some(truth.head().await));
        let number = BlockAt::Number(2);
        assert_eq!(rpc.block(number).await.unwrap(), Some(truth.head().await));
        let seen = rpc.transaction(self.paid).await.unwrap().unwrap();
        assert_eq!((seen.from, seen.nonce), (account, 0));
        let (all, range) = (LogFilter::default(), LogRange::Numbers(0..=2));
        let logs = rpc.logs(&all, &range).await.unwrap();
        assert_eq!(logs, truth.rpc.logs(&all, &range).await.unwrap());
        assert_eq!(logs.len(), 1, "a role was granted");
        let name = CallRequest::new(self.token, CoffeeToken::nameCall {}.abi_encode());
        let name = rpc.call(&name, BlockAt::Latest).await.unwrap();
        assert_eq!(
            CoffeeToken::nameCall::abi_decode_returns(&name).unwrap(),
            "Coffee"
        );
        // What is refused is refused by enough of them.
        let refused = self.spending();
        for error in [
            rpc.call(&refused, BlockAt::Latest).await.unwrap_err(),
            rpc.estimate_gas(&refused, BlockAt::Latest)
                .await
                .unwrap_err(),
        ] {
            let ChainError::Reverted(Revert::Custom { selector, .. }) = error else {
                panic!("{error:?}");
            };
            assert_eq!(selector, CoffeeToken::InsufficientBalance::SELECTOR);
        }
        let fees = rpc.fee_history(1, &[50]).await.unwrap();
        assert!(fees.next_base_fee() < U256::from(10_u64.pow(12)));
        let transfer = CallRequest::new(SHOP, []).from(account);
        let gas = rpc.estimate_gas(&transfer, BlockAt::Latest).await;
        assert_eq!(gas.unwrap(), 21_000);
    }

    /// A call that the contract refuses: nobody has any of it.
    fn spending(&self) -> CallRequest {
        let call = CoffeeToken::transferCall {
            to: SHOP,
            value: U256::ONE,
        };
        CallRequest::new(self.token, call.abi_encode()).from(self.key.evm_address())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .named
            .lock()
            .iter()
            .map(|one| one.node.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn payment(key: &EvmKey) -> Intent {
    Intent::Transfer {
        from: key.evm_address().into(),
        to: SHOP.into(),
        asset: Asset::Native,
        amount: Amount::wei(5),
    }
}

fn deployment(key: &EvmKey) -> Intent {
    let constructor = CoffeeToken::constructorCall {
        name_: "Coffee".into(),
        symbol_: "CFE".into(),
        cap_: U256::from(1_000),
        pointsPerToken_: U256::ZERO,
        admin: key.evm_address(),
    };
    Intent::Deploy {
        from: key.evm_address().into(),
        value: Amount::wei(0),
        code: creation(&CoffeeToken::BYTECODE, &constructor),
    }
}

/// A liar among three changes nothing, wherever it stands, and is named.
async fn a_liar_is_outvoted_and_named(kind: NodeKind) {
    use Kind::{Honest, Liar};
    for kinds in [
        [Liar, Honest, Honest],
        [Honest, Liar, Honest],
        [Honest, Honest, Liar],
    ] {
        let ground = Ground::on(kind, &kinds, 2).await;
        ground.reads_truly().await;
        let names = ground.names();
        assert!(
            matches!(&names[..], [name] if name.starts_with("Liar")),
            "{names:?}"
        );
    }
}

/// Two liars of five, who even agree with each other.
async fn two_liars_of_five_are_outvoted_and_named(kind: NodeKind) {
    use Kind::{Honest, Liar};
    let ground = Ground::on(kind, &[Liar, Honest, Liar, Honest, Honest], 3).await;
    ground.reads_truly().await;
    assert_eq!(ground.names(), ["Liar 0", "Liar 2"]);
}

/// Who says nothing is not accused, and holds nothing up.
async fn a_silent_node_is_missed_and_not_accused(kind: NodeKind) {
    use Kind::{Honest, Silent};
    let ground = Ground::on(kind, &[Silent, Honest, Honest], 2).await;
    ground.reads_truly().await;
    assert_eq!(ground.names(), Vec::<String>::new());
}

/// Without enough equal answers there is none: an error that says how many there were, and that nothing was sent.
async fn without_a_quorum_nothing_is_believed(kind: NodeKind) {
    use Kind::{Honest, Liar, Silent};
    let ground = Ground::on(kind, &[Honest, Liar, Silent], 2).await;
    let error = ground.rpc.receipt(ground.paid).await.unwrap_err();
    let is_so = matches!(
        error,
        ChainError::NoQuorum {
            agreed: 1,
            asked: 3,
            wanted: 2,
            ..
        }
    );
    assert!(is_so, "{error:?}");
    assert!(error.is_retryable() && !error.may_have_been_sent());
    assert_eq!(
        ground.names(),
        Vec::<String>::new(),
        "nobody knows who lies"
    );
}

/// Where one node is silent and another lies about its mempool, no nonce out of all proportion is believed.
async fn a_liar_names_no_nonce_while_another_node_is_silent(kind: NodeKind) {
    use Kind::{Honest, Liar, Silent};
    let ground = Ground::on(kind, &[Honest, Liar, Silent], 2).await;
    let account = ground.key.evm_address();
    let nonce = ground.rpc.nonce(account, BlockAt::Pending).await;
    assert_eq!(nonce.unwrap(), 2);
}

/// A transaction with too little gas costs its fee and does nothing: a liar and a silent node must not bring that about.
async fn a_liar_names_no_gas_that_is_too_little(kind: NodeKind) {
    use Kind::{Honest, Liar, Miser, Silent};
    for (kinds, told) in [
        ([Honest, Honest, Miser], Some(21_000)),
        ([Honest, Honest, Silent], Some(21_000)),
        ([Honest, Silent, Miser], None),
        ([Honest, Silent, Liar], None),
    ] {
        let ground = Ground::on(kind, &kinds, 2).await;
        let request = CallRequest::new(SHOP, []).from(ground.key.evm_address());
        let gas = ground.rpc.estimate_gas(&request, BlockAt::Latest).await;
        assert_eq!(gas.as_ref().ok(), told.as_ref(), "{kinds:?}: {gas:?}");
        assert!(gas.is_ok() || gas.unwrap_err().is_retryable());
    }
}

/// Who names another transaction than it was given has not taken it, and is not heard for its name.
async fn a_transaction_keeps_its_name(kind: NodeKind) {
    use Kind::{Honest, Miser};
    let ground = Ground::on(kind, &[Miser, Honest, Honest], 2).await;
    let client = EvmClient::connect(ground.rpc.clone(), ground.node.network()).await;
    let key = Arc::new(ground.key.clone());
    let client = client.unwrap().with_signer(key).unwrap();
    let id = client.submit(&payment(&ground.key)).await.unwrap();
    let waiting = ground.node.waiting().await;
    let waiting: Vec<_> = waiting.into_iter().map(peaberry_chain::TxId::Evm).collect();
    assert_eq!(waiting, [id]);
}

/// That one node has taken a transaction is no more than its word: what the others say is told, and that it may be out.
async fn one_nodes_word_does_not_make_a_transaction_taken(kind: NodeKind) {
    use Kind::{Honest, Liar, Stingy};
    let ground = Ground::on(kind, &[Liar, Stingy, Stingy], 2).await;
    let error = ground.rpc.broadcast(&[1, 2, 3]).await.unwrap_err();
    assert!(error.may_have_been_sent(), "{error:?}");
    let ChainError::TakenByFew { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(matches!(*source, ChainError::FeeTooLow { .. }));

    // Nor does one node that finds a range too wide keep the others from answering.
    let ground = Ground::on(kind, &[Stingy, Honest, Honest], 2).await;
    ground.reads_truly().await;
}

/// A refusal for good is an answer as any other: one node's is no more than its word.
async fn one_nodes_refusal_is_no_verdict(kind: NodeKind) {
    use Kind::{Honest, Naysayer, Silent, Stingy};
    for kinds in [
        [Naysayer, Silent, Silent],
        [Silent, Naysayer, Silent],
        [Silent, Silent, Naysayer],
    ] {
        let ground = Ground::on(kind, &kinds, 2).await;
        let transfer = CallRequest::new(SHOP, []).from(ground.key.evm_address());
        // By its hash: which block is the newest, one node alone does not say either.
        let at = BlockAt::Hash(ground.node.head().await.hash);
        for error in [
            ground.rpc.call(&transfer, at).await.unwrap_err(),
            ground.rpc.estimate_gas(&transfer, at).await.unwrap_err(),
            ground.rpc.block(BlockAt::Final).await.unwrap_err(),
        ] {
            let is_so = matches!(error, ChainError::NoQuorum { wanted: 2, .. });
            assert!(is_so, "{kinds:?}: {error:?}");
        }
        let error = ground.rpc.broadcast(&[1, 2, 3]).await.unwrap_err();
        assert!(error.may_have_been_sent(), "{kinds:?}: {error:?}");
    }
    for kinds in [
        [Naysayer, Stingy, Stingy],
        [Stingy, Naysayer, Stingy],
        [Stingy, Stingy, Naysayer],
    ] {
        let ground = Ground::on(kind, &kinds, 2).await;
        let error = ground.rpc.broadcast(&[1, 2, 3]).await.unwrap_err();
        assert!(
            matches!(error, ChainError::FeeTooLow { .. }),
            "{kinds:?}: {error:?}"
        );
    }
    let ground = Ground::on(kind, &[Honest, Naysayer, Honest], 2).await;
    ground.reads_truly().await;
    assert_eq!(ground.names(), ["Naysayer 1"]);
}

/// What enough nodes refuse for good is refused, also where one says that it has it or gives an answer.
async fn a_refusal_by_enough_nodes_is_an_answer(kind: NodeKind) {
    use Kind::{Honest, Liar, Naysayer, Silent};
    for kinds in [
        [Liar, Naysayer, Naysayer],
        [Naysayer, Liar, Naysayer],
        [Naysayer, Silent, Naysayer],
    ] {
        let ground = Ground::on(kind, &kinds, 2).await;
        let error = ground.rpc.broadcast(&[1, 2, 3]).await.unwrap_err();
        assert!(
            matches!(error, ChainError::InvalidTransaction { .. }),
            "{kinds:?}: {error:?}"
        );
    }
    // Two honest nodes that refuse a call, beside one that makes up an answer: this is how it is told.
    let ground = Ground::on(kind, &[Liar, Honest, Honest], 2).await;
    let at = BlockAt::Hash(ground.node.head().await.hash);
    let refused = ground.rpc.call(&ground.spending(), at).await;
    assert!(
        matches!(refused, Err(ChainError::Reverted(_))),
        "{refused:?}"
    );
    assert_eq!(ground.names(), ["Liar 0"]);
}

/// A payment through a quorum reaches the chain, and is final there, whoever else lies or is silent.
async fn a_payment_goes_through_a_quorum(kind: NodeKind) {
    use Kind::{Honest, Liar, Silent};
    for kinds in [[Liar, Honest, Honest], [Silent, Honest, Honest]] {
        let ground = Ground::on(kind, &kinds, 2).await;
        let client = EvmClient::connect(ground.rpc.clone(), ground.node.network()).await;
        let client = client
            .unwrap()
            .with_signer(Arc::new(ground.key.clone()))
            .unwrap();
        let id = client.submit(&payment(&ground.key)).await.unwrap();
        ground.node.mine_many(4).await;
        let status = client
            .wait(id, Finality::Final, Duration::from_secs(20))
            .await;
        assert!(status.is_ok(), "{kinds:?}: {status:?}");
        assert_eq!(ground.node.balance(SHOP).await, U256::from(10));
    }
}

/// Whoever reads the newest state reads it of one block that enough nodes have, also while the chain moves on.
async fn a_head_is_what_enough_nodes_have(kind: NodeKind) {
    use Kind::{Honest, Liar};
    let ground = Ground::on(kind, &[Honest, Honest, Liar], 2).await;
    ground.node.mine_many(3).await;
    ground.node.reorg_and_return(2).await;
    let head = ground.rpc.block(BlockAt::Latest).await.unwrap();
    assert_eq!(head, Some(ground.node.head().await));
    let last = ground.rpc.block(BlockAt::Final).await.unwrap().unwrap();
    assert_eq!(last.number, ground.node.head().await.number - 2);
}

/// Half of the nodes are no majority.
#[test]
#[should_panic(expected = "no majority")]
fn half_is_no_quorum() {
    drop(QuorumRpc::new(
        (0..4)
            .map(|index| {
                let member = Member {
                    chain: Arc::new(DevChain::new(DevOptions::default())),
                    kind: Kind::Honest,
                };
                (index.to_string(), Arc::new(member) as Arc<dyn EvmView>)
            })
            .collect(),
        2,
    ));
}
