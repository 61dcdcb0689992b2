//! What called what, as nodes tell it (`debug_traceTransaction` with geth's `callTracer`).

use peaberry_chain::bindings::{
    CoffeeToken as Token, PaymentProcessor as Processor, SolCall, SolError, creation,
};
use peaberry_chain::evm::{EvmRpc, Transaction};
use peaberry_chain::primitives::{B256, Bytes, U256, hex};
use serde_json::json;

use crate::node::{World, fees, on_both};

on_both! {
    World::on =>
    a_revert_within_a_call_is_traced_to_its_reason
    a_transaction_is_traced_behind_those_before_it
}

/// The token, the processor that takes it, and an open invoice of the first account.
async fn invoice(world: &World) -> [peaberry_chain::EvmAddress; 2] {
    let owner = world.address(0);
    let [token, processor] = [0, 1].map(|nonce| owner.create(nonce));
    let token_code = creation(
        &Token::BYTECODE,
        &Token::constructorCall {
            name_: "Coffee".into(),
            symbol_: "CFE".into(),
            cap_: U256::from(1_000_000),
            pointsPerToken_: U256::ZERO,
            admin: owner,
        },
    );
    let processor_code = creation(
        &Processor::BYTECODE,
        &Processor::constructorCall { admin: owner },
    );
    let accept = Processor::setAcceptedCall {
        token,
        accepted: true,
    };
    let invoice = Processor::createInvoiceCall {
        number: B256::with_last_byte(1),
        token,
        amount: U256::from(7),
        expiresAt: u64::MAX,
        payer: peaberry_chain::EvmAddress::ZERO,
    };
    let steps: [(Option<_>, Bytes); 4] = [
        (None, token_code),
        (None, processor_code),
        (Some(processor), accept.abi_encode().into()),
        (Some(processor), invoice.abi_encode().into()),
    ];
    for (nonce, (to, data)) in (0..).zip(steps) {
        let transaction = Transaction {
            to,
            data,
            gas_limit: 3_000_000,
            value: U256::ZERO,
            ..world.payment(nonce)
        };
        let hash = world.send(0, &transaction).await;
        world.node.mine().await;
        let receipt = world.node.rpc.receipt(hash).await.unwrap().unwrap();
        assert!(receipt.is_success);
    }
    [token, processor]
}

/// The payer has approved nothing: the token says no within the processor, and the processor says so.
async fn a_revert_within_a_call_is_traced_to_its_reason(world: World) {
    let [token, processor] = invoice(&world).await;
    let pay = Processor::payCall {
        merchant: world.address(0),
        number: B256::with_last_byte(1),
        token,
        amount: U256::from(7),
    };
    let transaction = Transaction {
        to: Some(processor),
        data: pay.abi_encode().into(),
        gas_limit: 500_000,
        value: U256::ZERO,
        ..world.payment(0)
    };
    let hash = world.send(1, &transaction).await;
    world.node.mine().await;
    let receipt = world.node.rpc.receipt(hash).await.unwrap().unwrap();
    assert!(!receipt.is_success);

    let trace = world.node.trace(hash).await;
    assert_eq!(trace["type"], "CALL");
    assert_eq!(trace["gasUsed"], json!(format!("{:#x}", receipt.gas_used)));
    assert_eq!(trace["error"], "execution reverted");
    let failed = Processor::TokenFailed { token }.abi_encode();
    assert_eq!(trace["output"], hex::encode_prefixed(failed));
    // The processor asks for its balance, then moves the tokens.
    let [balance, moved] = trace["calls"].as_array().unwrap().as_slice() else {
        panic!("{trace}");
    };
    assert_eq!(balance["type"], "STATICCALL");
    assert_eq!(
        (&balance["from"], &balance["to"]),
        (&lower(processor), &lower(token))
    );
    assert!(balance["error"].is_null());
    assert_eq!(
        (&moved["type"], &moved["to"]),
        (&json!("CALL"), &lower(token))
    );
    assert_eq!(moved["error"], "execution reverted");
    let reason = Token::InsufficientAllowance {
        owner: world.address(1),
        spender: processor,
        available: U256::ZERO,
        wanted: U256::from(7),
    };
    assert_eq!(moved["output"], hex::encode_prefixed(reason.abi_encode()));
}

fn lower(address: peaberry_chain::EvmAddress) -> serde_json::Value {
    json!(hex::encode_prefixed(address))
}

/// The second of two in a block is played behind the first: what it sees is what it saw.
async fn a_transaction_is_traced_behind_those_before_it(world: World) {
    let first = Transaction {
        fees: fees(9_000_000_000, 9_000_000_000),
        ..world.payment(0)
    };
    // A contract whose code is the balance of who is paid: what the first has paid.
    let code = [
        &[0x73][..],
        peaberry_chain::EvmAddress::repeat_byte(9).as_slice(),
        &[0x31, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3],
    ]
    .concat();
    let second = Transaction {
        nonce: 1,
        ..world.creation(1, &code)
    };
    world.send(0, &first).await;
    let hash = world.send(0, &second).await;
    world.node.mine().await;
    assert_eq!(world.transactions(1).await.len(), 2);
    let trace = world.node.trace(hash).await;
    assert_eq!(trace["type"], "CREATE");
    assert_eq!(trace["to"], lower(world.address(0).create(1)));
    assert_eq!(
        trace["output"],
        hex::encode_prefixed(U256::ONE.to_be_bytes::<32>())
    );
}
