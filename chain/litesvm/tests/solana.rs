//! The Solana client against the programs that validators run.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use peaberry_chain::primitives::{Bytes, U256};
use peaberry_chain::solana::{
    PriorityFee, SignedTransaction, SolanaClient, SolanaNetwork, SolanaRpc, system, token,
};
use peaberry_chain::wallet::{SolanaKey, Wallet};
use peaberry_chain::{
    Address, Amount, Asset, ChainClient, ChainError, ChainId, EvmAddress, Finality, Intent,
    Payload, Revert, RpcTransport, Signature, Signer, SolanaAddress, TransactionStatus,
    TransportFailure,
};
use peaberry_chain_litesvm::{GENESIS_HASH, LiteSvmNode};

const PHRASE: &str = "test test test test test test test test test test test junk";
const SOL: u64 = 1_000_000_000;
const DECIMALS: u8 = 6;

struct World {
    node: Arc<LiteSvmNode>,
    client: SolanaClient,
    keys: [SolanaKey; 3],
}

impl World {
    /// A node, and a client with three keys of which the first has 10 SOL.
    async fn new() -> Self {
        let node = Arc::new(LiteSvmNode::new());
        let wallet = Wallet::from_phrase(PHRASE, "").unwrap();
        let keys = [0, 1, 2].map(|index| wallet.solana_key(index).unwrap());
        node.airdrop(keys[0].solana_address(), 10 * SOL);
        let network = SolanaNetwork::local(&GENESIS_HASH);
        let mut client = SolanaClient::over(node.clone(), network).await.unwrap();
        for key in &keys {
            client = client.with_signer(Arc::new(key.clone())).unwrap();
        }
        Self { node, client, keys }
    }

    fn address(&self, index: usize) -> SolanaAddress {
        self.keys[index].solana_address()
    }

    fn transfer(&self, lamports: u64) -> Intent {
        Intent::Transfer {
            from: self.address(0).into(),
            to: self.address(1).into(),
            asset: Asset::Native,
            amount: Amount::lamports(lamports),
        }
    }

    async fn sol(&self, index: usize) -> u64 {
        let owner = self.address(index).into();
        let balance = self.client.balance(owner, Asset::Native).await.unwrap();
        balance.to_u64().unwrap()
    }

    /// Key 2 becomes a mint of `program` whose authority, key 0, holds 100 tokens.
    async fn mint(&self, program: SolanaAddress) -> SolanaAddress {
        let [owner, mint] = [self.address(0), self.address(2)];
        let rent = self
            .client
            .rpc()
            .rent_exemption(token::MINT_BYTES)
            .await
            .unwrap();
        let account = token::associated_account(owner, mint, program);
        let instructions = [
            system::create_account(owner, mint, rent, token::MINT_BYTES, program),
            token::initialize_mint(program, mint, owner, DECIMALS),
            token::create_associated_account(owner, owner, mint, program),
            token::mint_to_checked(program, mint, account, owner, 100_000_000, DECIMALS),
        ];
        self.client
            .submit_instructions(owner, &instructions)
            .await
            .unwrap();
        mint
    }

    fn tokens(&self, mint: SolanaAddress, amount: &str) -> Intent {
        Intent::Transfer {
            from: self.address(0).into(),
            to: self.address(1).into(),
            asset: Asset::Token(mint.into()),
            amount: Amount::parse(amount, DECIMALS).unwrap(),
        }
    }

    async fn held(&self, index: usize, mint: SolanaAddress) -> String {
        let asset = Asset::Token(mint.into());
        let owner = self.address(index).into();
        self.client.balance(owner, asset).await.unwrap().to_string()
    }
}

#[tokio::test]
async fn sol_moves_once_and_becomes_final() {
    let world = World::new().await;
    let intent = world.transfer(2 * SOL);
    let estimate = world.client.estimate(&intent).await.unwrap();
    let id = world.client.submit(&intent).await.unwrap();
    let fee = estimate.fee_max.to_u64().unwrap();
    assert_eq!(fee, 5_000);
    assert!(estimate.gas > 0);
    assert_eq!(
        [world.sol(0).await, world.sol(1).await],
        [8 * SOL - fee, 2 * SOL]
    );

    world.node.advance(3);
    let status = world.client.status(id).await.unwrap();
    assert!(
        matches!(status, TransactionStatus::Included { depth: 3, block } if block.number == 100)
    );
    world.node.advance(32);
    let patience = Duration::from_secs(5);
    let status = world
        .client
        .wait(id, Finality::Final, patience)
        .await
        .unwrap();
    assert!(matches!(status, TransactionStatus::Final { block } if block.number == 100));
    assert_eq!(
        world.client.head(Finality::Latest).await.unwrap().number,
        135
    );
    assert_eq!(
        world.client.head(Finality::Final).await.unwrap().number,
        103
    );
    assert_eq!(
        world.client.head(Finality::Depth(5)).await.unwrap().number,
        130
    );
}

#[tokio::test]
async fn tokens_of_both_programs_move_and_make_the_account_that_is_missing() {
    for program in [token::PROGRAM, token::PROGRAM_2022] {
        let world = World::new().await;
        let mint = world.mint(program).await;
        assert_eq!(world.held(0, mint).await, "100");
        assert_eq!(world.held(1, mint).await, "0");

        let intent = world.tokens(mint, "1.5");
        let before = world.sol(0).await;
        let with_account = world.client.estimate(&intent).await.unwrap().fee_max;
        world.client.submit(&intent).await.unwrap();
        let paid = before - world.sol(0).await;
        assert_eq!(with_account.to_u64().unwrap(), paid);
        assert_eq!(
            [world.held(0, mint).await, world.held(1, mint).await],
            ["98.5", "1.5"]
        );

        let without = world.client.estimate(&intent).await.unwrap().fee_max;
        assert_eq!(without.to_u64().unwrap(), 5_000);
        world.client.submit(&intent).await.unwrap();
        // The same again, dated by the same block, is the same transaction: to move it twice takes another block.
        let error = world.client.submit(&intent).await.unwrap_err();
        assert!(matches!(error, ChainError::AlreadySubmitted { .. }));
        world.node.advance(151);
        world.client.submit(&intent).await.unwrap();
        assert_eq!(
            [world.held(0, mint).await, world.held(1, mint).await],
            ["95.5", "4.5"]
        );
    }
}

#[tokio::test]
async fn a_replay_is_a_success_that_moves_nothing() {
    let world = World::new().await;
    let transaction = world.client.sign(&world.transfer(SOL)).await.unwrap();
    let first = world.client.broadcast(&transaction).await.unwrap();
    let again = world.client.broadcast(&transaction).await.unwrap();
    assert_eq!(first, again);
    // As bytes alone it is the same transaction, whoever sends it.
    let as_bytes = world.client.submit_raw(transaction.raw()).await;
    assert_eq!(as_bytes.unwrap(), first);
    assert_eq!([world.sol(1).await, world.node.included() as u64], [SOL, 1]);

    let short = transaction.raw().slice(..60);
    let error = world.client.submit_raw(&short).await.unwrap_err();
    assert!(matches!(error, ChainError::Malformed { .. }), "{error}");
    assert!(!error.may_have_been_sent());
}

#[tokio::test]
async fn what_expired_is_dropped_only_when_a_final_block_lies_above() {
    let world = World::new().await;
    let transaction = world.client.sign(&world.transfer(SOL)).await.unwrap();
    let status = async || world.client.status_of(&transaction).await.unwrap();
    assert_eq!(status().await, TransactionStatus::Unknown);

    let last = transaction.last_valid_height();
    world.node.advance(last - 100);
    assert_eq!(status().await, TransactionStatus::Unknown);
    world.node.advance(1);
    let error = world.client.broadcast(&transaction).await.unwrap_err();
    assert!(matches!(error, ChainError::Expired { .. }), "{error}");
    assert!(error.may_have_been_sent());
    assert_eq!(error.transaction(), Some(transaction.id()));
    // No block can include it any more, but one that is not final yet may be exchanged for one that does.
    world.node.advance(31);
    assert_eq!(status().await, TransactionStatus::Unknown);
    world.node.advance(1);
    assert_eq!(status().await, TransactionStatus::Dropped);
    // `status` knows the height of what this client sent.
    let by_id = world.client.status(transaction.id()).await.unwrap();
    assert_eq!(by_id, TransactionStatus::Dropped);
    assert_eq!(world.sol(1).await, 0);
}

#[tokio::test]
async fn what_was_included_before_it_expired_is_final_and_not_dropped() {
    let world = World::new().await;
    let transaction = world.client.sign(&world.transfer(SOL)).await.unwrap();
    world.client.broadcast(&transaction).await.unwrap();
    world.node.advance(1_000);
    let status = world.client.status_of(&transaction).await.unwrap();
    assert!(matches!(status, TransactionStatus::Final { .. }));
}

#[tokio::test]
async fn a_bad_signature_is_refused_and_was_not_sent() {
    let world = World::new().await;
    let transaction = world.client.sign(&world.transfer(SOL)).await.unwrap();
    let mut raw = transaction.raw().to_vec();
    raw[10] ^= 1;
    let forged = SignedTransaction::from_raw(raw.into(), transaction.last_valid_height()).unwrap();
    let error = world.client.broadcast(&forged).await.unwrap_err();
    assert!(
        matches!(error, ChainError::Refused { code: -32003, .. }),
        "{error}"
    );
    assert!(!error.may_have_been_sent());
    assert_eq!([world.sol(1).await, world.node.included() as u64], [0, 0]);
}

/// Says that it is one key, and signs with another.
struct Impostor(SolanaKey, SolanaKey);

#[async_trait]
impl Signer for Impostor {
    fn address(&self) -> Address {
        self.0.address()
    }

    async fn sign(&self, payload: Payload<'_>) -> Result<Signature, ChainError> {
        self.1.sign(payload).await
    }
}

#[tokio::test]
async fn a_signer_with_another_key_is_found_out_before_anything_is_sent() {
    let world = World::new().await;
    let [mine, other, _] = world.keys.clone();
    let client = world
        .client
        .clone()
        .with_signer(Arc::new(Impostor(mine, other)))
        .unwrap();
    let error = client.submit(&world.transfer(SOL)).await.unwrap_err();
    assert!(matches!(error, ChainError::Signer { .. }), "{error}");
    assert_eq!(world.node.included(), 0);
}

#[tokio::test]
async fn whoever_cannot_pay_is_told_so() {
    let world = World::new().await;
    let mint = world.mint(token::PROGRAM).await;
    let included = world.node.included();
    let stranger = |asset, amount| Intent::Transfer {
        from: world.address(1).into(),
        to: world.address(0).into(),
        asset,
        amount,
    };
    for intent in [
        world.transfer(11 * SOL),
        world.tokens(mint, "100.000001"),
        stranger(Asset::Native, Amount::lamports(1)),
        stranger(
            Asset::Token(mint.into()),
            Amount::new(U256::from(1), DECIMALS),
        ),
    ] {
        for error in [
            world.client.estimate(&intent).await.unwrap_err(),
            world.client.submit(&intent).await.unwrap_err(),
        ] {
            assert!(
                matches!(error, ChainError::InsufficientFunds { .. }),
                "{error}"
            );
            assert!(!error.may_have_been_sent());
        }
    }
    assert_eq!(world.node.included(), included);
}

#[tokio::test]
async fn a_failing_instruction_is_named() {
    let world = World::new().await;
    let owner = world.address(0);
    let wrong = token::initialize_mint(token::PROGRAM, owner, owner, 6);
    let error = world
        .client
        .submit_instructions(owner, &[wrong])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::Reverted(Revert::Instruction { index: 0, .. })
        ),
        "{error}"
    );
    assert!(!error.may_have_been_sent());
}

#[tokio::test]
async fn intents_that_do_not_fit_are_refused_before_anything_is_asked() {
    let world = World::new().await;
    let mint = world.mint(token::PROGRAM).await;
    let included = world.node.included();
    let evm = Address::from(EvmAddress::repeat_byte(1));
    let from = Address::from(world.address(0));
    let to = Address::from(world.address(1));
    let transfer = |from, to, asset, amount| Intent::Transfer {
        from,
        to,
        asset,
        amount,
    };
    let submit = async |intent: Intent| {
        let error = world.client.submit(&intent).await.unwrap_err();
        assert!(!error.may_have_been_sent());
        error
    };

    let sol = Amount::lamports(1);
    let error = submit(transfer(from, evm, Asset::Native, sol)).await;
    assert!(matches!(error, ChainError::WrongFamily { address, .. } if address == evm));
    let error = submit(transfer(from, to, Asset::Token(evm), sol)).await;
    assert!(matches!(error, ChainError::WrongFamily { .. }));
    let error = submit(transfer(evm, to, Asset::Native, sol)).await;
    assert!(matches!(error, ChainError::WrongFamily { .. }));
    let error = submit(transfer(from, to, Asset::Native, Amount::wei(1))).await;
    assert!(matches!(
        error,
        ChainError::DecimalsDiffer { left: 9, right: 18 }
    ));
    let huge = Amount::new(U256::from(1) << 64, 9);
    let error = submit(transfer(from, to, Asset::Native, huge)).await;
    assert!(matches!(error, ChainError::AmountOverflow { bits: 64 }));
    let token = Asset::Token(mint.into());
    let error = submit(transfer(from, to, token, sol)).await;
    assert!(matches!(
        error,
        ChainError::DecimalsDiffer {
            left: DECIMALS,
            right: 9
        }
    ));
    // Tokens to the account of a token account are lost.
    let account = token::associated_account(world.address(0), mint, token::PROGRAM);
    let amount = Amount::new(U256::from(1), DECIMALS);
    let error = submit(transfer(from, account.into(), token, amount)).await;
    assert!(matches!(error, ChainError::InvalidAddress { .. }));
    let error = submit(transfer(from, to, Asset::Token(to), amount)).await;
    assert!(matches!(error, ChainError::NotFound { .. }));
    let stranger = Address::from(SolanaAddress([9; 32]));
    let error = submit(transfer(stranger, to, Asset::Native, sol)).await;
    assert!(matches!(error, ChainError::NoSigner { .. }));
    assert_eq!(world.node.included(), included);
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let node: Arc<LiteSvmNode> = Arc::default();
    let error = SolanaClient::over(node, SolanaNetwork::mainnet())
        .await
        .unwrap_err();
    let ChainError::WrongChain { expected, found } = error else {
        panic!("{error}");
    };
    assert_eq!(
        [expected, found],
        [ChainId::SOLANA, ChainId::solana(&GENESIS_HASH)]
    );
}

#[tokio::test]
async fn a_priority_fee_is_paid_and_estimated() {
    let world = World::new().await;
    let priority = PriorityFee {
        micro_lamports_per_unit: 1_000_000,
        units_max: 1_000,
    };
    let network = SolanaNetwork {
        priority: Some(priority),
        ..*world.client.network()
    };
    let client = SolanaClient::connect(world.client.rpc().clone(), network)
        .await
        .unwrap();
    let client = client.with_signer(Arc::new(world.keys[0].clone())).unwrap();
    client.submit(&world.transfer(SOL)).await.unwrap();
    assert_eq!(priority.lamports(), 1_000);
    assert_eq!(world.sol(0).await, 9 * SOL - 5_000 - priority.lamports());
}

/// Loses answers, not requests.
struct Lossy(Arc<LiteSvmNode>, AtomicBool);

#[async_trait]
impl RpcTransport for Lossy {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let is_send = String::from_utf8_lossy(&request).contains("sendTransaction");
        let answer = self.0.exchange(request).await?;
        if is_send && !self.1.swap(true, Ordering::Relaxed) {
            return Err(TransportFailure::Broken(Arc::new(std::io::Error::other(
                "cut",
            ))));
        }
        Ok(answer)
    }
}

#[tokio::test]
async fn a_lost_answer_names_the_transaction_to_ask_for() {
    let world = World::new().await;
    let lossy = Lossy(world.node.clone(), AtomicBool::new(false));
    let rpc = SolanaRpc::new(Arc::new(lossy));
    let client = SolanaClient::connect(rpc, *world.client.network())
        .await
        .unwrap();
    let client = client.with_signer(Arc::new(world.keys[0].clone())).unwrap();
    let error = client.submit(&world.transfer(SOL)).await.unwrap_err();
    assert!(error.may_have_been_sent(), "{error}");
    let id = error.transaction().unwrap();
    let status = client.status(id).await.unwrap();
    assert!(matches!(status, TransactionStatus::Included { .. }));
    assert_eq!(world.sol(1).await, SOL);
}
