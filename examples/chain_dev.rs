//! A token on a development chain: deploy it, pay an order, read the loyalty points, and see why an order is not paid
//! twice.
//!
//! Everything happens in this process: no node, no network, no compiler. The client is the one that talks to Ethereum,
//! Polygon and BSC; only its node is another.
//!
//! ```text
//! cargo run --example chain_dev
//! ```
//!
//! Tested as: `cargo run --example chain_dev`
#![expect(clippy::print_stdout, reason = "an example tells its story on stdout")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::bindings::{CoffeeToken, SolCall, creation};
use peaberry_chain::contract::{Abi, Contract, Value};
use peaberry_chain::dev::{DevChain, DevOptions, Undone};
use peaberry_chain::evm::EvmClient;
use peaberry_chain::primitives::{Bytes, U256, keccak256};
use peaberry_chain::wallet::EvmKey;
use peaberry_chain::{Amount, ChainClient, ChainError, EvmAddress, Finality, Intent, Revert};

const ABI: &[u8] = include_bytes!("../chain/contracts/artifacts/CoffeeToken.json");
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let shop = EvmKey::from_bytes(&[1; 32])?;
    let guest = EvmKey::from_bytes(&[2; 32])?;
    let (shop_address, guest_address) = (shop.evm_address(), guest.evm_address());
    let options = DevOptions::default().fund(shop_address).fund(guest_address);
    let chain = DevChain::new(options);
    let client = chain.client().await?;
    let client = client
        .with_signer(Arc::new(shop))?
        .with_signer(Arc::new(guest))?;
    let client = Arc::new(client);

    // The token: its cap, and ten points for each whole coin that is paid.
    let coin = U256::from(10).pow(U256::from(18));
    let constructor = CoffeeToken::constructorCall {
        name_: "Coffee".into(),
        symbol_: "CFE".into(),
        cap_: coin * U256::from(1_000_000),
        pointsPerToken_: U256::from(10),
        admin: shop_address,
    };
    let deploy = Intent::Deploy {
        from: shop_address.into(),
        value: Amount::wei(0),
        code: creation(&CoffeeToken::BYTECODE, &constructor),
    };
    settle(&client, &deploy).await?;
    let token = shop_address.create(0);
    println!("CoffeeToken is at {token}");

    // Typed calls: the compiler knows the contract.
    let role = keccak256("MINTER_ROLE");
    let grant = CoffeeToken::grantRoleCall {
        role,
        account: shop_address,
    };
    settle(&client, &call(shop_address, token, grant.abi_encode())).await?;
    let mint = CoffeeToken::mintCall {
        to: guest_address,
        amount: coin * U256::from(20),
    };
    settle(&client, &call(shop_address, token, mint.abi_encode())).await?;

    // The same contract by names that are known only now.
    let contract = Contract::new(client.clone(), token, Abi::from_json(ABI)?);
    let order = Value::FixedBytes(keccak256("flat white, 28 November"), 32);
    let pay = [
        guest_address.into(),
        shop_address.into(),
        Value::Uint(coin * U256::from(4), 256),
        order,
    ];
    let paid = contract.send(guest_address, "processPayment", &pay).await?;
    client.wait(paid, Finality::Latest, PATIENCE).await?;
    let points = points(&contract, guest_address).await?;
    println!("the guest has paid 4 CFE and earned {points} points");
    assert_eq!(points, U256::from(40));

    match contract.send(guest_address, "processPayment", &pay).await {
        Err(ChainError::Reverted(Revert::Decoded { name, .. })) => {
            println!("the same order again: {name}");
            assert_eq!(name, "AlreadyPaid");
        }
        other => return Err(format!("an order must not be paid twice: {other:?}").into()),
    }

    // The chain thinks better of the block with the payment, and its transaction waits again: it is paid once still.
    let undone = chain.reorg(1, Undone::Return);
    println!(
        "a reorganisation undid {} transaction, and a new block took it",
        undone.len()
    );
    assert_eq!(undone.len(), 1);
    assert_eq!(self::points(&contract, guest_address).await?, points);
    Ok(())
}

fn call(from: EvmAddress, to: EvmAddress, data: Vec<u8>) -> Intent {
    Intent::Call {
        from: from.into(),
        to: to.into(),
        value: Amount::wei(0),
        data: Bytes::from(data),
    }
}

async fn settle(client: &EvmClient, intent: &Intent) -> Result<(), Box<dyn Error>> {
    let id = client.submit(intent).await?;
    let status = client.wait(id, Finality::Latest, PATIENCE).await?;
    status
        .block()
        .map(drop)
        .ok_or_else(|| "it was not included".into())
}

async fn points(contract: &Contract, of: EvmAddress) -> Result<U256, Box<dyn Error>> {
    let answer = contract.call("getLoyaltyPoints", &[of.into()]).await?;
    match answer.first() {
        Some(Value::Uint(points, _)) => Ok(*points),
        _ => Err("points are a number".into()),
    }
}
