//! Calls, estimates and logs, asked of CoffeeToken by its ABI.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use peaberry_chain::contract::{Abi, Contract, Value};
use peaberry_chain::evm::{EvmClient, EvmRpc, JsonRpc};
use peaberry_chain::primitives::{B256, Bytes, U256};
use peaberry_chain::{
    Amount, BlockAt, CallRequest, ChainClient, ChainError, EvmAddress, Finality, Intent, LogFilter,
    LogRange, Revert, RpcTransport, TransactionStatus, TransportFailure,
};

use super::network;
use crate::node::{World, on_both};

const TOKEN: &[u8] = include_bytes!("../../contracts/artifacts/CoffeeToken.json");
const PATIENCE: Duration = Duration::from_secs(20);

on_both! {
    World::on =>
    a_contract_is_deployed_called_and_its_logs_are_found
    a_log_that_is_repeated_is_told_once
    the_estimate_is_the_lowest_gas_that_does
    balances_of_tokens_are_in_their_decimals
}

pub(crate) struct Shop {
    pub(crate) client: Arc<EvmClient>,
    pub(crate) token: Contract,
    pub(crate) owner: EvmAddress,
}

impl Shop {
    /// CoffeeToken with 1,000 units in the hands of its owner.
    pub(crate) async fn open(world: &World) -> Result<Self, ChainError> {
        world.node.mine_each(true).await;
        let client = Arc::new(world.client(network()).await);
        let owner = world.address(0);
        let abi = Abi::from_json(TOKEN)?;
        let name = |text: &str| Value::String(text.into());
        let points = Value::Uint(U256::from(10).pow(U256::from(18)), 256);
        let arguments = [
            name("Coffee"),
            name("CFE"),
            uint(1_000_000),
            points,
            owner.into(),
        ];
        let code = abi.creation_code(&arguments)?;
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

    pub(crate) async fn send(
        &self,
        function: &str,
        arguments: &[Value],
    ) -> Result<TransactionStatus, ChainError> {
        let id = self.token.send(self.owner, function, arguments).await?;
        self.client.wait(id, Finality::Latest, PATIENCE).await
    }
}

pub(crate) fn uint(number: u64) -> Value {
    Value::Uint(U256::from(number), 256)
}

async fn a_contract_is_deployed_called_and_its_logs_are_found(world: World) {
    let shop = Shop::open(&world).await.unwrap();
    let to = EvmAddress::repeat_byte(5);
    let order = Value::FixedBytes(B256::repeat_byte(1), 32);
    let pay = [shop.owner.into(), to.into(), uint(30), order];
    let paid = shop.send("processPayment", &pay).await.unwrap();
    assert!(matches!(paid, TransactionStatus::Included { .. }));
    let ask = async |function: &str, of: EvmAddress| {
        let answer = shop.token.call(function, &[of.into()]).await;
        answer.unwrap()
    };
    assert_eq!(ask("balanceOf", to).await, [uint(30)]);
    assert_eq!(ask("getLoyaltyPoints", shop.owner).await, [uint(30)]);

    let all = LogRange::Numbers(0..=99);
    let events = shop.token.events("PaymentProcessed", &all).await.unwrap();
    let [(log, event)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(event.get("amount"), Some(&uint(30)));
    assert_eq!((log.index, log.block_number), (1, world.height().await));
    let filter = LogFilter::default()
        .address(shop.token.address())
        .topic(0, log.topics[0]);
    let logs = async |filter: &LogFilter, range: &LogRange| shop.client.logs(filter, range).await;
    let by_hash = LogRange::Block(log.block_hash);
    assert_eq!(
        logs(&filter, &by_hash).await.unwrap(),
        std::slice::from_ref(log)
    );
    let others = filter.topic(1, B256::repeat_byte(9));
    assert!(logs(&others, &all).await.unwrap().is_empty());
    let gone = logs(&others, &LogRange::Block(B256::repeat_byte(9))).await;
    assert!(matches!(gone, Err(ChainError::NotFound { .. })), "{gone:?}");

    // The same order again is refused before it is sent, and says why.
    let again = shop.send("processPayment", &pay).await;
    assert!(
        matches!(&again, Err(ChainError::Reverted(Revert::Decoded { name, .. })) if name == "AlreadyPaid"),
        "{again:?}"
    );
}

/// A node that says each log twice, and, where it is told to, something else the second time.
struct Repeating {
    node: Arc<dyn RpcTransport>,
    is_lying: bool,
}

#[async_trait]
impl RpcTransport for Repeating {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let answer = self.node.exchange(request).await?;
        let mut answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        if let Some(logs) = answer["result"].as_array_mut() {
            let twice = logs.iter().flat_map(|log| {
                let mut again = log.clone();
                if self.is_lying {
                    again["data"] = "0x07".into();
                }
                [log.clone(), again]
            });
            *logs = twice.collect();
        }
        Ok(answer.to_string().into_bytes().into())
    }
}

async fn a_log_that_is_repeated_is_told_once(world: World) {
    let shop = Shop::open(&world).await.unwrap();
    let (filter, all) = (LogFilter::default(), LogRange::Numbers(0..=99));
    let logs = shop.client.logs(&filter, &all).await.unwrap();
    assert!(logs.len() >= 2, "{logs:?}");
    let through = |is_lying| {
        let node = world.node.transport.clone();
        JsonRpc::over(Arc::new(Repeating { node, is_lying }))
    };
    assert_eq!(through(false).logs(&filter, &all).await.unwrap(), logs);
    let lied = through(true).logs(&filter, &all).await;
    assert!(
        matches!(lied, Err(ChainError::Malformed { .. })),
        "{lied:?}"
    );
}

/// With the estimate it succeeds, with one unit less it does not.
async fn the_estimate_is_the_lowest_gas_that_does(world: World) {
    let shop = Shop::open(&world).await.unwrap();
    let arguments = [EvmAddress::repeat_byte(5).into(), uint(1)];
    let data = shop.token.abi().encode("transfer", &arguments).unwrap();
    let request = CallRequest::new(shop.token.address(), data.clone()).from(shop.owner);
    let gas = world.node.rpc.estimate_gas(&request, BlockAt::Latest).await;
    let gas = gas.unwrap();
    let call = Intent::Call {
        from: shop.owner.into(),
        to: shop.token.address().into(),
        value: Amount::wei(0),
        data,
    };
    let mut transaction = shop.client.prepare(&call).await.unwrap();
    for (gas_limit, is_enough) in [(gas - 1, false), (gas, true)] {
        transaction.gas_limit = gas_limit;
        let hash = world.send(0, &transaction).await;
        let id = peaberry_chain::TxId::Evm(hash);
        let settled = shop.client.wait(id, Finality::Latest, PATIENCE).await;
        settled.unwrap();
        let receipt = world.node.rpc.receipt(hash).await.unwrap().unwrap();
        assert_eq!(receipt.is_success, is_enough);
        transaction.nonce += 1;
    }
}

async fn balances_of_tokens_are_in_their_decimals(world: World) {
    let shop = Shop::open(&world).await.unwrap();
    let asset = peaberry_chain::Asset::Token(shop.token.address().into());
    let held = shop.client.balance(shop.owner.into(), asset).await.unwrap();
    assert_eq!(held, Amount::new(U256::from(1000), 18));
    let nowhere = peaberry_chain::Asset::Token(EvmAddress::repeat_byte(7).into());
    let none = shop.client.balance(shop.owner.into(), nowhere).await;
    assert!(matches!(none, Err(ChainError::NotFound { .. })), "{none:?}");
    let transfer = Intent::Transfer {
        from: shop.owner.into(),
        to: EvmAddress::repeat_byte(5).into(),
        asset,
        amount: Amount::new(U256::from(7), 18),
    };
    let id = shop.client.submit(&transfer).await.unwrap();
    shop.client
        .wait(id, Finality::Latest, PATIENCE)
        .await
        .unwrap();
    let to = EvmAddress::repeat_byte(5).into();
    let moved = shop.client.balance(to, asset).await.unwrap();
    assert_eq!(moved, Amount::new(U256::from(7), 18));
}
