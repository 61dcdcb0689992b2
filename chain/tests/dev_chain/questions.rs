//! Calls, estimates, logs and why something was undone, asked of CoffeeToken.

use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::contract::{Abi, Contract, Value};
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{EvmClient, EvmRpc, Transaction};
use peaberry_chain::primitives::{B256, U256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{
    Amount, BlockAt, CallRequest, ChainClient, ChainError, EvmAddress, Finality, Intent, LogFilter,
    LogRange, Revert, TransactionStatus,
};

use super::{World, now};

const TOKEN: &[u8] = include_bytes!("../../contracts/artifacts/CoffeeToken.json");
const PATIENCE: Duration = Duration::from_secs(5);

struct Shop {
    chain: DevChain,
    client: Arc<EvmClient>,
    token: Contract,
    owner: EvmAddress,
}

impl Shop {
    async fn open() -> Result<Self, ChainError> {
        let key = EvmKey::from_bytes(&[7; 32])?;
        let owner = key.evm_address();
        let chain = DevChain::new(DevOptions::default().fund(owner));
        let client = Arc::new(chain.client().await?.with_signer(Arc::new(key))?);
        let abi = Abi::from_json(TOKEN)?;
        let name = |text: &str| Value::String(text.into());
        let cap = Value::Uint(U256::from(1_000_000_u64), 256);
        let points = Value::Uint(U256::from(10).pow(U256::from(18)), 256);
        let code = abi.creation_code(&[name("Coffee"), name("CFE"), cap, points, owner.into()])?;
        let deploy = Intent::Deploy {
            from: owner.into(),
            value: Amount::wei(0),
            code,
        };
        let id = client.submit(&deploy).await?;
        let status = client.wait(id, Finality::Latest, PATIENCE).await?;
        assert!(
            matches!(status, TransactionStatus::Included { .. }),
            "{status:?}"
        );
        let token = Contract::new(client.clone(), owner.create(0), abi);
        let shop = Self {
            chain,
            client,
            token,
            owner,
        };
        let role = shop.token.call("MINTER_ROLE", &[]).await?;
        shop.send("grantRole", &[role[0].clone(), owner.into()])
            .await?;
        shop.send("mint", &[owner.into(), uint(1000)]).await?;
        Ok(shop)
    }

    async fn send(
        &self,
        function: &str,
        arguments: &[Value],
    ) -> Result<TransactionStatus, ChainError> {
        let id = self.token.send(self.owner, function, arguments).await?;
        self.client.wait(id, Finality::Latest, PATIENCE).await
    }
}

fn uint(number: u64) -> Value {
    Value::Uint(U256::from(number), 256)
}

#[test]
fn a_contract_is_deployed_called_and_its_logs_are_found() {
    now(async {
        let shop = Shop::open().await?;
        let to = EvmAddress::repeat_byte(5);
        let order = Value::FixedBytes(B256::repeat_byte(1), 32);
        let pay = [shop.owner.into(), to.into(), uint(30), order];
        assert!(matches!(shop.send("processPayment", &pay).await?, TransactionStatus::Included { .. }));
        assert_eq!(shop.token.call("balanceOf", &[to.into()]).await?, [uint(30)]);
        assert_eq!(shop.token.call("getLoyaltyPoints", &[shop.owner.into()]).await?, [uint(30)]);

        let events = shop.token.events("PaymentProcessed", &LogRange::Numbers(0..=99)).await?;
        let [(log, event)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(event.get("amount"), Some(&uint(30)));
        assert_eq!((log.index, log.block_number), (1, shop.chain.head().number));
        let filter = LogFilter::default().address(shop.token.address()).topic(0, log.topics[0]);
        let by_hash = shop.client.logs(&filter, &LogRange::Block(log.block_hash)).await?;
        assert_eq!(by_hash, std::slice::from_ref(log));
        let others = filter.topic(1, B256::repeat_byte(9));
        assert!(shop.client.logs(&others, &LogRange::Numbers(0..=99)).await?.is_empty());
        let gone = shop.client.logs(&others, &LogRange::Block(B256::repeat_byte(9))).await;
        assert!(matches!(gone, Err(ChainError::NotFound { .. })));

        // The same order again is refused before it is sent, and says why.
        let again = shop.send("processPayment", &pay).await;
        assert!(
            matches!(&again, Err(ChainError::Reverted(Revert::Decoded { name, .. })) if name == "AlreadyPaid"),
            "{again:?}"
        );
        Ok::<(), ChainError>(())
    })
    .unwrap();
}

/// With the estimate it succeeds, with one unit less it does not.
#[test]
fn the_estimate_is_the_lowest_gas_that_does() {
    now(async {
        let shop = Shop::open().await?;
        let data = shop
            .token
            .abi()
            .encode("transfer", &[EvmAddress::repeat_byte(5).into(), uint(1)])?;
        let request = CallRequest::new(shop.token.address(), data.clone()).from(shop.owner);
        let gas = shop.chain.estimate_gas(&request, BlockAt::Latest).await?;
        let mut transaction = shop
            .client
            .prepare(&Intent::Call {
                from: shop.owner.into(),
                to: shop.token.address().into(),
                value: Amount::wei(0),
                data,
            })
            .await?;
        for (gas_limit, is_enough) in [(gas - 1, false), (gas, true)] {
            transaction.gas_limit = gas_limit;
            let signed = shop.client.sign(shop.owner, &transaction).await?;
            shop.chain.broadcast(signed.raw()).await?;
            let receipt = shop.chain.receipt(signed.hash()).await?.unwrap();
            assert_eq!(receipt.is_success, is_enough);
            let reason = shop.chain.revert_reason(signed.hash());
            assert_eq!(reason.is_none(), is_enough, "{reason:?}");
            transaction.nonce += 1;
        }
        Ok::<(), ChainError>(())
    })
    .unwrap();
}

#[test]
fn a_plain_transfer_is_estimated_and_what_cannot_be_paid_is_said() {
    let world = World::new();
    let from = world.address(0);
    let mut request = CallRequest {
        to: Some(EvmAddress::repeat_byte(9).into()),
        value: U256::ONE,
        ..CallRequest::default()
    }
    .from(from);
    assert_eq!(
        now(world.chain.estimate_gas(&request, BlockAt::Latest)).unwrap(),
        21_000
    );
    request.value = U256::MAX;
    let refused = now(world.chain.estimate_gas(&request, BlockAt::Latest));
    assert!(
        matches!(refused, Err(ChainError::InsufficientFunds { .. })),
        "{refused:?}"
    );
}

/// A block's circumstances are those of the block asked at: its number, its time.
#[test]
fn a_call_sees_the_block_it_is_asked_at() {
    let world = World::new();
    world.chain.mine_many(3);
    // NUMBER and TIMESTAMP, returned as two words.
    let code = [
        0x43, 0x5f, 0x52, 0x42, 0x60, 0x20, 0x52, 0x60, 0x40, 0x5f, 0xf3,
    ];
    let request = CallRequest {
        data: code.to_vec().into(),
        ..CallRequest::default()
    };
    for at in [BlockAt::Number(2), BlockAt::Latest, BlockAt::Pending] {
        let number = match at {
            BlockAt::Number(number) => number,
            BlockAt::Latest => 3,
            _ => 4,
        };
        let answer = now(world.chain.call(&request, at)).unwrap();
        assert_eq!(U256::from_be_slice(&answer[..32]), U256::from(number));
        assert_eq!(
            U256::from_be_slice(&answer[32..]),
            U256::from(1_735_689_600 + 12 * number)
        );
    }
}

/// An invalid instruction uses up all gas, and its words are known afterwards.
#[test]
fn the_evms_own_errors_have_words() {
    let world = World::new();
    let raw = world.sign(0, &world.creation(0, &[0xfe]));
    world.chain.submit(raw.raw()).unwrap();
    // REVERT with nothing.
    let quiet = Transaction {
        nonce: 1,
        ..world.creation(1, &[0x5f, 0x5f, 0xfd])
    };
    let quiet = world.sign(0, &quiet);
    world.chain.submit(quiet.raw()).unwrap();
    world.chain.mine();
    let receipt = now(world.chain.receipt(raw.hash())).unwrap().unwrap();
    assert_eq!((receipt.is_success, receipt.gas_used), (false, 1_000_000));
    assert_eq!(
        world.chain.revert_reason(raw.hash()),
        Some(Revert::Unexplained("invalid opcode: INVALID".into()))
    );
    assert!(world.chain.revert_reason(quiet.hash()).is_some());
    assert_eq!(world.chain.revert_reason(B256::ZERO), None);
}
