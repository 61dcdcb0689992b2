//! What a caller can get wrong: refused before anything is asked.

use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::bindings::{CoffeeToken as Token, SolCall};
use peaberry_chain::dev::DevOptions;
use peaberry_chain::evm::{EvmClient, EvmNetwork};
use peaberry_chain::primitives::{Bytes, U256, hex};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Address, Amount, Asset, ChainClient, ChainError, ChainId, EvmAddress, Finality, Intent,
    MultiChain, Revert, SolanaAddress, TxId,
};
use serde_json::{Value, json};

use crate::node::{Node, NodeKind, coffee_token, on_both};

on_both! {
    World::on =>
    a_node_of_another_chain_is_refused
    a_solana_address_on_an_evm_chain_is_refused
    an_amount_that_does_not_fit_is_refused
    whoever_cannot_pay_is_told_so
    a_revert_is_decoded_and_traced
}

struct World {
    node: Node,
    client: EvmClient,
    owner: Address,
}

impl World {
    /// A node that includes at once what it gets.
    async fn on(kind: NodeKind) -> Self {
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let options = DevOptions::default().fund(key.evm_address());
        let node = Node::of(kind, options).await;
        node.mine_each(true).await;
        let rpc = Arc::new(node.rpc.clone());
        let client = EvmClient::connect(rpc, node.network()).await.unwrap();
        Self {
            client: client.with_signer(Arc::new(key.clone())).unwrap(),
            owner: key.evm_address().into(),
            node,
        }
    }

    fn transfer(&self, to: Address, asset: Asset, amount: Amount) -> Intent {
        let from = self.owner;
        Intent::Transfer {
            from,
            to,
            asset,
            amount,
        }
    }

    /// Refused by every door, and the chain saw nothing of it.
    async fn refuse(&self, to: Address, asset: Asset, amount: Amount) -> ChainError {
        let intent = self.transfer(to, asset, amount);
        assert!(self.client.estimate(&intent).await.is_err());
        self.refuse_sending(&intent).await
    }

    /// Refused where it is sent, and the chain saw nothing of it.
    async fn refuse_sending(&self, intent: &Intent) -> ChainError {
        let error = self.client.submit(intent).await.unwrap_err();
        assert!(!error.may_have_been_sent(), "{error}");
        assert_eq!(error.transaction(), None);
        assert_eq!(self.node.head().await.number, 0);
        error
    }
}

fn nobody() -> Address {
    EvmAddress::repeat_byte(1).into()
}

async fn a_node_of_another_chain_is_refused(world: World) {
    let node = Arc::new(world.node.rpc.clone());
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

async fn a_solana_address_on_an_evm_chain_is_refused(world: World) {
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

async fn an_amount_that_does_not_fit_is_refused(world: World) {
    let huge = "115792089237316195423570985008687907853269984665640564039458";
    let error = Amount::parse(huge, 18).unwrap_err();
    assert!(
        matches!(error, ChainError::AmountOverflow { bits: 256 }),
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
    let most = world.transfer(nobody(), Asset::Native, most);
    let error = world.refuse_sending(&most).await;
    assert!(
        matches!(error, ChainError::InsufficientFunds { .. }),
        "{error}"
    );
}

async fn whoever_cannot_pay_is_told_so(world: World) {
    let amount = Amount::parse("10000.000000000000000001", 18).unwrap();
    // Enough for the payment, not for its gas.
    let all = Amount::parse("10000", 18).unwrap();
    for amount in [amount, all] {
        let intent = world.transfer(nobody(), Asset::Native, amount);
        let error = world.refuse_sending(&intent).await;
        assert!(
            matches!(error, ChainError::InsufficientFunds { .. }),
            "{error}"
        );
    }
}

/// The reason is decoded before anything is sent; and the chain tells which call it began in.
async fn a_revert_is_decoded_and_traced(world: World) {
    let Address::Evm(owner) = world.owner else {
        panic!("an EVM account")
    };
    let deploy = Intent::Deploy {
        from: world.owner,
        value: Amount::wei(0),
        code: coffee_token(owner),
    };
    let deployed = world.client.submit(&deploy).await.unwrap();
    let patience = Duration::from_secs(20);
    let waiting = world.client.wait(deployed, Finality::Latest, patience);
    waiting.await.unwrap();
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

    let call = json!({"from": owner, "to": token, "data": Bytes::from(data.abi_encode())});
    let params = (call, "latest", json!({"tracer": "callTracer"}));
    let trace: Value = world.node.ask("debug_traceCall", params).await;
    assert_eq!(
        (&trace["type"], &trace["to"]),
        (&json!("CALL"), &json!(token))
    );
    assert_eq!(trace["error"], "execution reverted");
    let output = trace["output"].as_str().unwrap();
    assert!(
        output.starts_with(&hex::encode_prefixed(selector)),
        "{trace}"
    );
}
