//! Alloy's own provider, over its own HTTP client: as any Ethereum tool talks to a node.

use alloy_network::{EthereumWallet, TransactionBuilder as _};
use alloy_provider::{Provider as _, ProviderBuilder};
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter, TransactionRequest};
use alloy_signer_local::PrivateKeySigner;
use peaberry_chain::EvmAddress;
use peaberry_chain::bindings::{CoffeeToken as Token, SolCall};
use peaberry_chain::primitives::{B256, U256};

use crate::node::{CAP, World, coffee_token, on_both};

on_both! {
    World::on =>
    alloys_provider_finds_a_node_like_any_other
}

async fn alloys_provider_finds_a_node_like_any_other(world: World) {
    // Another crate's features may leave the choice of a provider to the program; a second choice changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    world.node.mine_each(true).await;
    let url = world.node.url().await;
    let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
    let owner = signer.address();
    assert_eq!(owner, world.address(0));
    let provider = ProviderBuilder::new()
        .wallet(EthereumWallet::from(signer))
        .connect_http(url.parse().unwrap());
    assert_eq!(provider.get_chain_id().await.unwrap(), 31_337);

    // Nonce, fees and gas are alloy's to find.
    let to = EvmAddress::repeat_byte(9);
    let pay = TransactionRequest::default()
        .with_to(to)
        .with_value(U256::from(5));
    let sent = provider.send_transaction(pay).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(receipt.gas_used, 21_000);
    assert_eq!(provider.get_balance(to).await.unwrap(), U256::from(5));

    let deploy = TransactionRequest::default().with_deploy_code(coffee_token(owner));
    let sent = provider.send_transaction(deploy).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    let token = receipt.contract_address.unwrap();
    let cap = TransactionRequest::default()
        .with_to(token)
        .with_input(Token::capCall {}.abi_encode());
    let answer = provider.call(cap).await.unwrap();
    assert_eq!(U256::from_be_slice(&answer), U256::from(CAP));
    let logs = Filter::new().address(token).from_block(0);
    let logs = provider.get_logs(&logs).await.unwrap();
    // Its admin's role was granted.
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].transaction_hash, Some(receipt.transaction_hash));

    // Whoever hashes the header that alloy has read gets the hash that the block goes by.
    let block = provider
        .get_block_by_number(BlockNumberOrTag::Latest)
        .full();
    let block = block.await.unwrap().unwrap();
    assert_eq!(block.header.number, 2);
    assert_eq!(block.header.inner.hash_slow(), block.header.hash);
    assert_eq!(block.header.hash, world.node.head().await.hash);
    assert_eq!(block.transactions.len(), 1);

    let broke = TransactionRequest::default().with_to(token).with_input(
        Token::transferCall {
            to,
            value: U256::from(1),
        }
        .abi_encode(),
    );
    let undone = provider.send_transaction(broke).await.unwrap_err();
    assert!(
        undone.to_string().contains("execution reverted"),
        "{undone}"
    );
}
