//! Calls, estimates and logs, asked of CoffeeToken by its ABI.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use peaberry_chain::contract::{Abi, Contract, Contracts, Value};
use peaberry_chain::evm::{EvmClient, EvmRpc, JsonRpc};
use peaberry_chain::primitives::{B256, Bytes, U256};
use peaberry_chain::{
    AccountId, Amount, BlockAt, CallRequest, ChainClient, ChainError, ChainId, EvmAddress,
    Finality, Intent, LogFilter, LogRange, MultiChain, Revert, RpcTransport, TransactionStatus,
    TransportFailure,
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
    contracts_are_called_by_names_of_ones_own
    a_call_is_made_as_somebody_at_a_block
    what_a_call_would_take_is_estimated
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

/// A name leads to the contract that was last given it, and to its chain.
async fn contracts_are_called_by_names_of_ones_own(world: World) {
    let shop = Shop::open(&world).await.unwrap();
    let chain = shop.client.chain_id();
    let (token, abi) = (shop.token.address(), shop.token.abi());
    let at = |address: EvmAddress| AccountId::new(chain, address.into()).unwrap();
    let mut contracts = Contracts::new(MultiChain::new().with(shop.client.clone()));
    contracts.add("tea", at(token), abi.clone()).unwrap();
    let added = contracts.add("coffee", at(token), abi.clone()).unwrap();
    assert_eq!((added.address(), added.client().chain_id()), (token, chain));
    assert_eq!(contracts.names().collect::<Vec<_>>(), ["coffee", "tea"]);

    // Called and sent to by what people write.
    let owner = shop.owner.to_string();
    let balance = async |contracts: &Contracts| {
        let coffee = contracts.get("coffee").unwrap();
        coffee.call_text("balanceOf", &[&owner]).await
    };
    assert_eq!(balance(&contracts).await.unwrap(), ["1000"]);
    let to = EvmAddress::repeat_byte(5).to_string();
    let coffee = contracts.get("coffee").unwrap();
    let arguments = abi.read_arguments("transfer", &[&to, "30"]).unwrap();
    let id = coffee.send(shop.owner, "transfer", &arguments).await;
    let paid = shop.client.wait(id.unwrap(), Finality::Latest, PATIENCE);
    assert!(matches!(
        paid.await.unwrap(),
        TransactionStatus::Included { .. }
    ));
    assert_eq!(balance(&contracts).await.unwrap(), ["970"]);
    let misspelt = coffee.call_text("balanceOf", &["coffee"]).await;
    assert!(
        matches!(misspelt, Err(ChainError::InvalidAddress { .. })),
        "{misspelt:?}"
    );

    // What cannot be added changes nothing.
    let elsewhere = AccountId::new(ChainId::POLYGON, token.into()).unwrap();
    let unknown = contracts.add("coffee", elsewhere, abi.clone());
    assert!(
        matches!(unknown, Err(ChainError::UnknownChain { .. })),
        "{unknown:?}"
    );
    assert_eq!(balance(&contracts).await.unwrap(), ["970"]);

    // Where the name leads now, there is nothing; the other name leads where it did.
    let empty = EvmAddress::repeat_byte(7);
    contracts.add("coffee", at(empty), abi.clone()).unwrap();
    assert_eq!(contracts.get("coffee").unwrap().address(), empty);
    let nobody = balance(&contracts).await;
    assert!(
        matches!(nobody, Err(ChainError::NotFound { .. })),
        "{nobody:?}"
    );
    assert_eq!(contracts.get("tea").unwrap().address(), token);
    assert_eq!(contracts.names().count(), 2);
    let unheard = contracts.get("milk");
    assert!(
        matches!(unheard, Err(ChainError::NotFound { .. })),
        "{unheard:?}"
    );
}

/// Who asks, when, and with how much money: each of them makes a difference.
async fn a_call_is_made_as_somebody_at_a_block(world: World) {
    let shop = Shop::open(&world).await.unwrap();
    let minted = world.node.head().await;
    let to = EvmAddress::repeat_byte(5);
    let all = [to.into(), uint(1000)];
    let transfer = async |from: EvmAddress, wei: u128, at: BlockAt| {
        let value = Amount::wei(wei);
        let called = shop.token.call_as(from.into(), "transfer", &all, value, at);
        called.await
    };
    let latest = BlockAt::Latest;
    let done = [Value::Bool(true)];
    assert_eq!(transfer(shop.owner, 0, latest).await.unwrap(), done);
    let poor = transfer(world.address(1), 0, latest).await;
    let why = "InsufficientBalance";
    assert!(
        matches!(&poor, Err(ChainError::Reverted(Revert::Decoded { name, .. })) if name == why),
        "{poor:?}"
    );
    let paid = transfer(shop.owner, 1, latest).await;
    assert!(matches!(paid, Err(ChainError::Reverted(_))), "{paid:?}");

    // Once they are spent they can be spent at the block before.
    shop.send("transfer", &all).await.unwrap();
    let spent = transfer(shop.owner, 0, latest).await;
    assert!(
        matches!(&spent, Err(ChainError::Reverted(Revert::Decoded { name, .. })) if name == why),
        "{spent:?}"
    );
    for then in [BlockAt::Number(minted.number), BlockAt::Hash(minted.hash)] {
        assert_eq!(transfer(shop.owner, 0, then).await.unwrap(), done);
    }
}

/// What is estimated is what a submission takes, and what would be refused is refused in the contract's own words.
async fn what_a_call_would_take_is_estimated(world: World) {
    let shop = Shop::open(&world).await.unwrap();
    let estimate = async |amount| {
        let arguments = [EvmAddress::repeat_byte(5).into(), uint(amount)];
        let estimated = shop.token.estimate(shop.owner, "transfer", &arguments);
        estimated.await
    };
    let estimated = estimate(1).await.unwrap();
    let to = EvmAddress::repeat_byte(5).into();
    let intent = shop
        .token
        .intent(shop.owner, "transfer", &[to, uint(1)], Amount::wei(0));
    let transaction = shop.client.prepare(&intent.unwrap()).await.unwrap();
    assert_eq!(estimated.gas, transaction.gas_limit);
    let fee_max = U256::from(estimated.gas) * U256::from(transaction.fees.fee_max());
    assert_eq!(estimated.fee_max, Amount::new(fee_max, 18));
    let hash = world.send(0, &transaction).await;
    let id = peaberry_chain::TxId::Evm(hash);
    let settled = shop.client.wait(id, Finality::Latest, PATIENCE).await;
    assert!(matches!(
        settled.unwrap(),
        TransactionStatus::Included { .. }
    ));

    let refused = estimate(1001).await;
    assert!(
        matches!(&refused, Err(ChainError::Reverted(Revert::Decoded { name, .. })) if name == "InsufficientBalance"),
        "{refused:?}"
    );
    let reading = shop.token.estimate(shop.owner, "totalSupply", &[]).await;
    assert!(
        matches!(reading, Err(ChainError::Abi { .. })),
        "{reading:?}"
    );
}
