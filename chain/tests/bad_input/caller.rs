//! What a caller can get wrong: refused before anything is asked.

use std::sync::Arc;

use peaberry_chain::bindings::{CoffeeToken as Token, SolCall, creation};
use peaberry_chain::dev::{CallKind, DevChain, DevOptions};
use peaberry_chain::evm::{EvmClient, EvmNetwork};
use peaberry_chain::primitives::U256;
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Address, Amount, Asset, BlockAt, CallRequest, ChainClient, ChainError, ChainId, EvmAddress,
    Intent, MultiChain, Revert, SolanaAddress, TxId,
};

struct World {
    chain: DevChain,
    client: EvmClient,
    owner: Address,
}

impl World {
    async fn new() -> Self {
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let chain = DevChain::new(DevOptions::default().fund(key.evm_address()));
        let client = chain.client().await.unwrap();
        Self {
            client: client.with_signer(Arc::new(key.clone())).unwrap(),
            owner: key.evm_address().into(),
            chain,
        }
    }

    /// Refused by every door, and the chain saw nothing of it.
    async fn refuse(&self, to: Address, asset: Asset, amount: Amount) -> ChainError {
        let intent = Intent::Transfer {
            from: self.owner,
            to,
            asset,
            amount,
        };
        let error = self.client.submit(&intent).await.unwrap_err();
        assert!(!error.may_have_been_sent(), "{error}");
        assert_eq!(error.transaction(), None);
        assert!(self.client.estimate(&intent).await.is_err());
        assert_eq!(self.chain.head().number, 0);
        error
    }
}

fn nobody() -> Address {
    EvmAddress::repeat_byte(1).into()
}

#[tokio::test]
async fn a_node_of_another_chain_is_refused() {
    let world = World::new().await;
    let node = Arc::new(world.chain.clone());
    let error = EvmClient::connect(node, EvmNetwork::bsc()).await;
    let error = error.unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::WrongChain {
                expected: ChainId::BSC,
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.may_have_been_sent());
    let elsewhere = MultiChain::new().with(Arc::new(world.client));
    let intent = Intent::Transfer {
        from: world.owner,
        to: nobody(),
        asset: Asset::Native,
        amount: Amount::wei(1),
    };
    let error = elsewhere.submit(ChainId::POLYGON, &intent).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ChainError::UnknownChain { .. }), "{error}");
    assert!(!error.may_have_been_sent());
}

/// One letter in the wrong case, one digit too many, an address of no known kind.
#[test]
fn a_bad_checksum_is_no_address() {
    for text in [
        "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb922666",
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226",
        "7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXA",
        "7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaK0",
        "",
    ] {
        let error = text.parse::<Address>().unwrap_err();
        assert!(
            matches!(error, ChainError::InvalidAddress { .. }),
            "{text}: {error}"
        );
        assert!(!error.may_have_been_sent());
    }
    // All in one case it has no checksum to be wrong.
    let plain: Address = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
        .parse()
        .unwrap();
    let mixed: Address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
        .parse()
        .unwrap();
    assert_eq!(plain, mixed);
}

#[tokio::test]
async fn a_solana_address_on_an_evm_chain_is_refused() {
    let world = World::new().await;
    let stray = Address::from(SolanaAddress([9; 32]));
    let coin = Amount::wei(1);
    for (to, asset) in [(stray, Asset::Native), (nobody(), Asset::Token(stray))] {
        let error = world.refuse(to, asset, coin).await;
        assert!(
            matches!(error, ChainError::WrongFamily { address, .. } if address == stray),
            "{error}"
        );
    }
    let error = world.client.balance(stray, Asset::Native).await;
    assert!(matches!(error, Err(ChainError::WrongFamily { .. })));
    let error = world.client.status(TxId::Solana([1; 64])).await;
    assert!(matches!(
        error,
        Err(ChainError::WrongTransactionFamily { .. })
    ));
    let stranger = Intent::Transfer {
        from: nobody(),
        to: nobody(),
        asset: Asset::Native,
        amount: coin,
    };
    let error = world.client.submit(&stranger).await.unwrap_err();
    assert!(matches!(error, ChainError::NoSigner { .. }), "{error}");
}

#[tokio::test]
async fn an_amount_that_does_not_fit_is_refused() {
    let world = World::new().await;
    let huge = "115792089237316195423570985008687907853269984665640564039458";
    let error = Amount::parse(huge, 18).unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::AmountOverflow { bits: 256 } | ChainError::InvalidAmount { .. }
        ),
        "{error}"
    );
    let most = Amount::new(U256::MAX, 18);
    let error = most.checked_add(Amount::wei(1)).unwrap_err();
    assert!(
        matches!(error, ChainError::AmountOverflow { bits: 256 }),
        "{error}"
    );
    assert!(!error.may_have_been_sent());
    let error = world
        .refuse(nobody(), Asset::Native, Amount::lamports(1))
        .await;
    assert!(matches!(
        error,
        ChainError::DecimalsDiffer { left: 18, right: 9 }
    ));
    let error = world.refuse(nobody(), Asset::Native, most).await;
    assert!(
        matches!(error, ChainError::InsufficientFunds { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn whoever_cannot_pay_is_told_so() {
    let world = World::new().await;
    let amount = Amount::parse("10000.000000000000000001", 18).unwrap();
    let error = world.refuse(nobody(), Asset::Native, amount).await;
    assert!(
        matches!(error, ChainError::InsufficientFunds { .. }),
        "{error}"
    );
    // Enough for the payment, not for its gas.
    let all = Amount::parse("10000", 18).unwrap();
    let intent = Intent::Transfer {
        from: world.owner,
        to: nobody(),
        asset: Asset::Native,
        amount: all,
    };
    let error = world.client.submit(&intent).await.unwrap_err();
    assert!(
        matches!(error, ChainError::InsufficientFunds { .. }),
        "{error}"
    );
    assert!(!error.may_have_been_sent());
}

/// The reason is decoded before anything is sent; and the chain tells which call it began in.
#[tokio::test]
async fn a_revert_is_decoded_and_traced() {
    let world = World::new().await;
    let Address::Evm(owner) = world.owner else {
        panic!("an EVM account")
    };
    let constructor = Token::constructorCall {
        name_: "Coffee".into(),
        symbol_: "CFE".into(),
        cap_: U256::from(1000),
        pointsPerToken_: U256::ZERO,
        admin: owner,
    };
    let deploy = Intent::Deploy {
        from: world.owner,
        value: Amount::wei(0),
        code: creation(&Token::BYTECODE, &constructor),
    };
    world.client.submit(&deploy).await.unwrap();
    let token = owner.create(0);
    let data = Token::transferCall {
        to: EvmAddress::repeat_byte(1),
        value: U256::from(5),
    };
    let intent = Intent::Call {
        from: world.owner,
        to: token.into(),
        value: Amount::wei(0),
        data: data.abi_encode().into(),
    };
    let error = world.client.submit(&intent).await.unwrap_err();
    let ChainError::Reverted(Revert::Custom { selector, .. }) = &error else {
        panic!("{error}");
    };
    use peaberry_chain::bindings::SolError as _;
    assert_eq!(*selector, Token::InsufficientBalance::SELECTOR);
    assert!(!error.may_have_been_sent());

    let request = CallRequest::new(token, data.abi_encode()).from(owner);
    let trace = world.chain.trace_call(&request, BlockAt::Latest).unwrap();
    let culprit = trace.culprit().unwrap();
    assert_eq!((culprit.kind, culprit.to), (CallKind::Call, Some(token)));
    assert!(matches!(
        &culprit.failure,
        Some(Revert::Custom { selector, .. }) if *selector == Token::InsufficientBalance::SELECTOR
    ));
    assert!(trace.to_string().contains("undone by error 0x"), "{trace}");
}
