//! Blocks, transactions, receipts and logs as JSON.

use alloy_consensus::{Transaction, TxEnvelope, TxReceipt, Typed2718};
use alloy_primitives::{B256, U64, U128};
use serde_json::{Map, Value, json};

use super::super::offered::Offered;
use super::super::sealed::Sealed;
use super::super::{CallKind, CallTrace};
use crate::{Address, Log, Revert, TxId};

/// How a block names its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transactions {
    Hashes,
    Whole,
}

/// A block's header, as those are told who have subscribed to them.
#[cfg(feature = "dev-ws")]
pub(in super::super) fn header(sealed: &Sealed) -> Value {
    let mut header = block(sealed, Transactions::Hashes);
    if let Some(fields) = header.as_object_mut() {
        for field in ["transactions", "uncles", "withdrawals", "size"] {
            fields.remove(field);
        }
    }
    header
}

pub(super) fn block(block: &Sealed, transactions: Transactions) -> Value {
    let header = &block.header;
    let included = block.included.iter().enumerate();
    let transactions: Vec<Value> = included
        .map(|(index, one)| match transactions {
            Transactions::Hashes => json!(one.transaction.hash),
            Transactions::Whole => transaction(&one.transaction, Some((block, index))),
        })
        .collect();
    let bytes: usize = block.included.iter().map(|one| one.transaction.bytes).sum();
    json!({
        "number": U64::from(header.number), "hash": block.hash, "parentHash": header.parent_hash,
        "sha3Uncles": header.ommers_hash, "uncles": [], "miner": header.beneficiary,
        "stateRoot": header.state_root, "transactionsRoot": header.transactions_root,
        "receiptsRoot": header.receipts_root, "logsBloom": header.logs_bloom,
        "difficulty": header.difficulty, "gasLimit": U64::from(header.gas_limit),
        "gasUsed": U64::from(header.gas_used), "timestamp": U64::from(header.timestamp),
        "extraData": header.extra_data, "mixHash": header.mix_hash, "nonce": header.nonce,
        "baseFeePerGas": U64::from(block.base_fee()), "withdrawalsRoot": header.withdrawals_root, "withdrawals": [],
        "blobGasUsed": "0x0", "excessBlobGas": "0x0", "parentBeaconBlockRoot": header.parent_beacon_block_root,
        "requestsHash": header.requests_hash, "size": U64::from(header_bytes(block) + bytes),
        "transactions": transactions,
    })
}

fn header_bytes(block: &Sealed) -> usize {
    alloy_consensus::private::alloy_rlp::Encodable::length(&block.header)
}

/// A transaction, and where it stands; waiting if nowhere.
pub(super) fn transaction(offered: &Offered, place: Option<(&Sealed, usize)>) -> Value {
    let envelope = &offered.envelope;
    let signature = envelope.signature();
    let base_fee = place.map(|(block, _)| block.base_fee());
    let included = place.map(|(block, index)| (block.header.number, block.hash, index));
    let mut fields = object(json!({
        "hash": offered.hash, "from": offered.from, "to": envelope.to(), "nonce": U64::from(offered.nonce()),
        "value": envelope.value(), "input": envelope.input(), "gas": U64::from(envelope.gas_limit()),
        "gasPrice": U128::from(envelope.effective_gas_price(base_fee)), "type": U64::from(envelope.ty()),
        "chainId": envelope.chain_id().map(U64::from), "r": signature.r(), "s": signature.s(),
        "blockNumber": included.map(|(number, _, _)| U64::from(number)),
        "blockHash": included.map(|(_, hash, _)| hash),
        "transactionIndex": included.map(|(_, _, index)| U64::from(index)),
    }));
    let parity = U64::from(u64::from(signature.v()));
    match envelope {
        TxEnvelope::Legacy(_) => {
            let v = match envelope.chain_id() {
                Some(chain) => U64::from(chain * 2 + 35) + parity,
                None => U64::from(27) + parity,
            };
            fields.insert("v".into(), json!(v));
        }
        _ => {
            fields.insert("v".into(), json!(parity));
            fields.insert("yParity".into(), json!(parity));
            fields.insert("accessList".into(), access_list(envelope));
        }
    }
    if envelope.is_dynamic_fee() {
        fields.insert(
            "maxFeePerGas".into(),
            json!(U128::from(envelope.max_fee_per_gas())),
        );
        let tip_max = U128::from(offered.tip_max());
        fields.insert("maxPriorityFeePerGas".into(), json!(tip_max));
    }
    if let Some(authorizations) = envelope.authorization_list() {
        let authorizations = authorizations.iter().map(|signed| {
            json!({
                "chainId": signed.chain_id(), "address": signed.address(), "nonce": U64::from(signed.nonce()),
                "yParity": U64::from(signed.y_parity()), "r": signed.r(), "s": signed.s(),
            })
        });
        fields.insert("authorizationList".into(), authorizations.collect());
    }
    Value::Object(fields)
}

fn access_list(envelope: &TxEnvelope) -> Value {
    let items = envelope
        .access_list()
        .into_iter()
        .flat_map(|list| list.iter());
    items
        .map(|item| json!({"address": item.address, "storageKeys": item.storage_keys}))
        .collect()
}

pub(super) fn receipt(block: &Sealed, index: usize) -> Option<Value> {
    let included = block.included.get(index)?;
    let offered = &included.transaction;
    let logs: Vec<Value> = block.logs_of(index).iter().map(log).collect();
    Some(json!({
        "transactionHash": offered.hash, "transactionIndex": U64::from(index), "blockHash": block.hash,
        "blockNumber": U64::from(block.header.number), "from": offered.from, "to": offered.envelope.to(),
        "contractAddress": included.contract, "gasUsed": U64::from(included.gas_used),
        "cumulativeGasUsed": U64::from(included.receipt.cumulative_gas_used()),
        "effectiveGasPrice": U128::from(included.gas_price), "logs": logs, "logsBloom": included.receipt.bloom(),
        "status": U64::from(u64::from(included.failure.is_none())), "type": U64::from(offered.envelope.ty()),
    }))
}

pub(super) fn log(log: &Log) -> Value {
    let Address::Evm(address) = log.address else {
        return Value::Null;
    };
    let hash = match log.transaction {
        TxId::Evm(hash) => hash,
        TxId::Solana(_) => B256::ZERO,
    };
    json!({
        "address": address, "topics": log.topics, "data": log.data, "blockNumber": U64::from(log.block_number),
        "blockHash": log.block_hash, "transactionHash": hash, "transactionIndex": U64::from(log.transaction_index),
        "logIndex": U64::from(log.index), "removed": false,
    })
}

/// Has what was told of a block to come name no block's hash: a transaction, or receipts and their logs.
pub(super) fn forget_hash(told: &mut Value) {
    match told {
        Value::Array(parts) => parts.iter_mut().for_each(forget_hash),
        Value::Object(fields) => {
            if let Some(hash) = fields.get_mut("blockHash") {
                *hash = Value::Null;
            }
            if let Some(logs) = fields.get_mut("logs") {
                forget_hash(logs);
            }
        }
        _ => {}
    }
}

/// A call and those within it, as geth's `callTracer` tells them.
pub(super) fn call(trace: &CallTrace) -> Value {
    let mut fields = object(json!({
        "type": trace.kind.to_string(), "from": trace.from, "gas": U64::from(trace.gas),
        "gasUsed": U64::from(trace.gas_used), "input": trace.input,
    }));
    let mut add = |name: &str, value: Value| drop(fields.insert(name.into(), value));
    if let Some(to) = trace.to {
        add("to", json!(to));
    }
    if trace.kind != CallKind::StaticCall {
        add("value", json!(trace.value));
    }
    if !trace.output.is_empty() {
        add("output", json!(trace.output));
    }
    match &trace.failure {
        None => {}
        Some(Revert::Unexplained(words)) => add("error", json!(words)),
        Some(reason) => {
            add("error", json!("execution reverted"));
            match reason {
                Revert::Message(words) => add("revertReason", json!(words)),
                Revert::Panic(code) => add("revertReason", json!(format!("panic code {code:#x}"))),
                _ => {}
            }
        }
    }
    if !trace.calls.is_empty() {
        add("calls", trace.calls.iter().map(call).collect());
    }
    Value::Object(fields)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
