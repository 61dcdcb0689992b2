//! What is asked by which name.

use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::execution::refused;
use super::super::ledger::{At, Ledger};
use super::super::sealed::Sealed;
use super::super::{DevChain, Undone};
use super::filters::filter;
use super::params::{Params, no_overrides};
use super::shapes::{self, Transactions};
use super::{INVALID_PARAMS, METHOD_NOT_FOUND, error};
use crate::evm::NodeError;

pub(super) type Answer = Result<Value, NodeError>;

// What one request may make.
const BLOCKS_MAX: u64 = 10_000;

/// A number that tools write as they like.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Quantity(U64),
}

impl Number {
    fn get(self) -> u64 {
        match self {
            Self::Plain(number) => number,
            Self::Quantity(number) => number.to(),
        }
    }
}

impl DevChain {
    pub(super) fn invoke(&self, method: &str, params: &Value) -> Answer {
        let params = Params::new(params)?;
        let ledger = &mut *self.ledger();
        match method {
            "web3_clientVersion" => Ok(json!(concat!("peaberry/v", env!("CARGO_PKG_VERSION")))),
            "web3_sha3" => Ok(json!(keccak256(params.get::<Bytes>(0)?))),
            "net_version" => Ok(json!(ledger.options.chain.to_string())),
            "net_listening" => Ok(json!(true)),
            "eth_syncing" => Ok(json!(false)),
            "eth_accounts" => Ok(json!([])),
            "eth_chainId" => Ok(json!(U64::from(ledger.options.chain))),
            "eth_blockNumber" => Ok(json!(U64::from(ledger.height()))),
            "eth_gasPrice" => {
                let base_fee = u128::from(ledger.head().base_fee());
                Ok(json!(U256::from(base_fee + ledger.suggested_tip())))
            }
            "eth_maxPriorityFeePerGas" => Ok(json!(U256::from(ledger.suggested_tip()))),
            "eth_feeHistory" => fee_history(ledger, params),
            _ if method.starts_with("eth_") && method.contains("Filter") => {
                filter(ledger, method, params)
            }
            _ if method.starts_with("eth_get") => get(ledger, method, params),
            _ if method.starts_with("debug_trace") => trace(ledger, method, params),
            "eth_call" => {
                params.no_overrides(2)?;
                Ok(json!(ledger.call(&params.call(0)?, params.block(1)?)?))
            }
            "eth_estimateGas" => {
                params.no_overrides(2)?;
                let gas = ledger.estimate(&params.call(0)?, params.block(1)?)?;
                Ok(json!(U64::from(gas)))
            }
            "eth_sendRawTransaction" => {
                let hash = ledger.submit(&params.get::<Bytes>(0)?);
                hash.map(|hash| json!(hash))
                    .map_err(|rejection| refused(rejection.to_string()))
            }
            _ => make(ledger, method, params),
        }
    }
}

/// Methods that read one thing of the chain.
fn get(ledger: &mut Ledger, method: &str, params: Params<'_>) -> Answer {
    match method {
        "eth_getBalance" => {
            let account: Address = params.get(0)?;
            ledger.at(params.block(1)?, |state, height| {
                json!(state.balance(account, height))
            })
        }
        "eth_getCode" => {
            let account: Address = params.get(0)?;
            ledger.at(params.block(1)?, |state, height| {
                json!(state.code(account, height))
            })
        }
        "eth_getStorageAt" => {
            let (account, slot): (Address, U256) = (params.get(0)?, params.get(1)?);
            ledger.at(params.block(2)?, |state, height| {
                json!(B256::from(state.slot(account, slot, height)))
            })
        }
        "eth_getTransactionCount" => {
            let account: Address = params.get(0)?;
            match params.block(1)? {
                At::Pending => Ok(json!(U64::from(ledger.pending_nonce(account)))),
                at => ledger.at(at, |state, height| {
                    json!(U64::from(state.nonce(account, height)))
                }),
            }
        }
        "eth_getLogs" => {
            let (filter, range) = params.logs(0)?.read(|at| ledger.number(at))?;
            let logs = ledger.logs(&filter, &range)?;
            Ok(logs.iter().map(shapes::log).collect())
        }
        "eth_getTransactionByHash" => {
            let hash = params.get(0)?;
            if let Some((place, block, included)) = ledger.place(hash) {
                return Ok(shapes::transaction(
                    &included.transaction,
                    Some((block, place.index)),
                ));
            }
            let waiting = ledger.pool.get(hash);
            Ok(waiting.map_or(Value::Null, |waiting| shapes::transaction(waiting, None)))
        }
        "eth_getRawTransactionByHash" => {
            let hash = params.get(0)?;
            let included = ledger
                .place(hash)
                .map(|(_, _, included)| &included.transaction);
            let found = included.or_else(|| ledger.pool.get(hash));
            Ok(found.map_or(Value::Null, |found| json!(Bytes::from(found.raw()))))
        }
        "eth_getTransactionReceipt" => {
            let found = ledger.place(params.get(0)?);
            let receipt = found.and_then(|(place, block, _)| shapes::receipt(block, place.index));
            Ok(receipt.unwrap_or_default())
        }
        _ => get_of_block(ledger, method, params),
    }
}

/// Methods that read a block or its parts.
fn get_of_block(ledger: &mut Ledger, method: &str, params: Params<'_>) -> Answer {
    let is_by_hash = method.contains("ByBlockHash") || method.ends_with("ByHash");
    let at = |params: Params<'_>| -> Result<At, NodeError> {
        match is_by_hash {
            true => params.get(0).map(At::Hash),
            false => params.block(0),
        }
    };
    match method {
        "eth_getBlockByHash" | "eth_getBlockByNumber" => {
            let transactions = match params.optional(1)? {
                Some(true) => Transactions::Whole,
                _ => Transactions::Hashes,
            };
            if at(params)? == At::Pending {
                return Ok(pending_block(ledger, transactions));
            }
            let block = ledger.block(at(params)?);
            Ok(block.map_or(Value::Null, |block| shapes::block(block, transactions)))
        }
        "eth_getBlockReceipts" => Ok(of_block(ledger, params.block(0)?, |block| {
            let receipts = (0..block.included.len()).map(|index| shapes::receipt(block, index));
            receipts.flatten().collect()
        })),
        "eth_getBlockTransactionCountByHash" | "eth_getBlockTransactionCountByNumber" => {
            let count = |block: &Sealed| json!(U64::from(block.included.len()));
            Ok(of_block(ledger, at(params)?, count))
        }
        "eth_getTransactionByBlockHashAndIndex" | "eth_getTransactionByBlockNumberAndIndex" => {
            let index = usize::try_from(params.get::<U64>(1)?.to::<u64>()).unwrap_or(usize::MAX);
            Ok(of_block(ledger, at(params)?, |block| {
                let included = block.included.get(index);
                included.map_or(Value::Null, |included| {
                    shapes::transaction(&included.transaction, Some((block, index)))
                })
            }))
        }
        _ => Err(unknown(method)),
    }
}

/// What is to be told of a block; null where it is not there. What lies in the block to come names no block's hash yet.
fn of_block(ledger: &mut Ledger, at: At, tell: impl FnOnce(&Sealed) -> Value) -> Value {
    if at == At::Pending {
        let mut told = tell(&ledger.pending());
        shapes::forget_hash(&mut told);
        return told;
    }
    ledger.block(at).map_or(Value::Null, tell)
}

/// The block to come has no hash and no nonce yet.
fn pending_block(ledger: &mut Ledger, transactions: Transactions) -> Value {
    let mut block = shapes::block(&ledger.pending(), transactions);
    if let Some(fields) = block.as_object_mut() {
        for field in ["hash", "nonce", "miner"] {
            fields.insert(field.into(), Value::Null);
        }
    }
    block
}

fn fee_history(ledger: &Ledger, params: Params<'_>) -> Answer {
    let blocks = params.get::<Number>(0)?.get();
    let percentiles: Vec<f64> = params.optional(2)?.unwrap_or_default();
    let (history, ratios) = ledger.fee_history(blocks, params.block(1)?, &percentiles)?;
    let mut answer = json!({
        "oldestBlock": U64::from(history.oldest_block), "baseFeePerGas": history.base_fees, "gasUsedRatio": ratios,
    });
    if let (false, Some(fields)) = (percentiles.is_empty(), answer.as_object_mut()) {
        fields.insert("reward".into(), json!(history.tips));
    }
    Ok(answer)
}

/// How a trace is wanted.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TraceOptions {
    tracer: Option<String>,
    tracer_config: TracerConfig,
    state_overrides: Option<Value>,
    block_overrides: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TracerConfig {
    only_top_call: bool,
}

/// Methods that look into an execution, by `callTracer` alone.
fn trace(ledger: &mut Ledger, method: &str, params: Params<'_>) -> Answer {
    let (of_transaction, options_at) = match method {
        "debug_traceTransaction" => (true, 1),
        "debug_traceCall" => (false, 2),
        _ => return Err(unknown(method)),
    };
    let options: TraceOptions = params.optional(options_at)?.unwrap_or_default();
    if options.tracer.as_deref() != Some("callTracer") {
        let words = r#"only the tracer "callTracer" is here"#;
        return Err(error(INVALID_PARAMS, words));
    }
    for overrides in [&options.state_overrides, &options.block_overrides] {
        no_overrides(overrides.as_ref())?;
    }
    let mut traced = if of_transaction {
        let traced = ledger.trace(params.get(0)?);
        traced.ok_or_else(|| refused("transaction not found"))?
    } else {
        ledger.trace_call(&params.call(0)?, params.block(1)?)?
    };
    if options.tracer_config.only_top_call {
        traced.calls.clear();
    }
    Ok(shapes::call(&traced))
}

/// Methods that only development chains have, by the names of Hardhat and Anvil.
fn make(ledger: &mut Ledger, method: &str, params: Params<'_>) -> Answer {
    match method {
        "evm_mine" => {
            let timestamp_s = params.optional::<Number>(0)?.map(Number::get);
            ledger.mine(timestamp_s);
            Ok(json!("0x0"))
        }
        "anvil_mine" | "hardhat_mine" => {
            let count = params.optional::<Number>(0)?.map_or(1, Number::get);
            let interval_s = params.optional::<Number>(1)?.map(Number::get);
            if count > BLOCKS_MAX {
                let words = format!("at most {BLOCKS_MAX} blocks at once");
                return Err(error(INVALID_PARAMS, words));
            }
            for made in 0..count {
                let last_s = ledger.head().header.timestamp;
                // A time that was set before is the first one's.
                let interval_s = interval_s.filter(|_| made > 0 || !ledger.has_next_timestamp());
                ledger.mine(interval_s.map(|interval_s| last_s.saturating_add(interval_s)));
            }
            Ok(Value::Null)
        }
        "evm_setAutomine" | "anvil_setAutomine" => {
            ledger.set_automine(params.get(0)?);
            Ok(Value::Null)
        }
        "anvil_getAutomine" | "hardhat_getAutomine" => {
            Ok(json!(ledger.makes_each_transaction_its_block()))
        }
        "evm_setIntervalMining" | "anvil_setIntervalMining" => {
            ledger.set_interval(params.get::<Number>(0)?.get())?;
            Ok(Value::Null)
        }
        "anvil_getIntervalMining" => Ok(json!(ledger.interval_s())),
        "evm_setNextBlockTimestamp" => {
            ledger.set_next_timestamp(params.get::<Number>(0)?.get());
            Ok(Value::Null)
        }
        "evm_increaseTime" => {
            let by_s = params.get::<Number>(0)?.get();
            ledger.increase_time(by_s);
            Ok(json!(U64::from(by_s)))
        }
        "evm_snapshot" => Ok(json!(U64::from(ledger.snapshot()))),
        "evm_revert" => Ok(json!(ledger.revert_to(params.get::<Number>(0)?.get()))),
        "anvil_setBalance" | "hardhat_setBalance" => {
            ledger.set_balance(params.get(0)?, params.get(1)?);
            Ok(Value::Null)
        }
        "anvil_dropTransaction" => {
            let hash = params.get(0)?;
            let was_there = ledger.pool.remove(hash);
            Ok(if was_there { json!(hash) } else { Value::Null })
        }
        "anvil_dropAllTransactions" => {
            ledger.pool.clear();
            Ok(Value::Null)
        }
        // As Anvil has it: the height stays, and what was undone is lost.
        "anvil_reorg" => {
            let depth = params.get::<Number>(0)?.get();
            if !params
                .optional::<Vec<Value>>(1)?
                .unwrap_or_default()
                .is_empty()
            {
                let words = "blocks of a reorganisation hold no transactions here";
                return Err(error(INVALID_PARAMS, words));
            }
            let before = ledger.height();
            ledger.rewind(depth, Undone::Drop);
            while ledger.height() < before {
                ledger.mine_empty();
            }
            Ok(Value::Null)
        }
        "anvil_rollback" => {
            let depth = params.optional::<Number>(0)?.map_or(1, Number::get);
            ledger.rewind(depth, Undone::Drop);
            Ok(Value::Null)
        }
        "peaberry_reorg" => {
            let depth = params.get::<Number>(0)?.get();
            let undone = match params.optional(1)? {
                Some(false) => Undone::Drop,
                _ => Undone::Return,
            };
            let undone = ledger.reorganise(depth, undone);
            Ok(undone.iter().map(|undone| json!(undone.hash)).collect())
        }
        _ => Err(unknown(method)),
    }
}

pub(super) fn unknown(method: &str) -> NodeError {
    let name: String = method.chars().take(64).collect();
    let words = format!("the method {name} does not exist/is not available");
    error(METHOD_NOT_FOUND, words)
}
