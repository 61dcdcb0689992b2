//! The EVM beneath: one transaction or call at a time.

use std::convert::Infallible;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use revm::context::result::{
    EVMError, ExecutionResult, HaltReason, InvalidTransaction, ResultAndState,
};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::database::CacheDB;
use revm::database_interface::WrapDatabaseRef;
use revm::primitives::eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE;
use revm::primitives::hardfork::SpecId;
use revm::{Context, ExecuteCommitEvm, ExecuteEvm, InspectEvm, MainBuilder, MainContext};

use super::state::View;
use super::trace::Tracer;
use super::{CallTrace, Hardfork};
use crate::Revert;
use crate::evm::{NodeError, decode_revert};

/// What JSON-RPC calls an error of the node's own.
pub(super) const SERVER_ERROR: i64 = -32000;
/// What nodes answer where a contract undid the call.
const REVERTED: i64 = 3;

pub(super) type Transacted = Result<ResultAndState, EVMError<Infallible, InvalidTransaction>>;

/// A question to the chain: a transaction without signature, nonce and fee, unless it names one.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) from: Address,
    pub(super) to: Option<Address>,
    pub(super) value: U256,
    pub(super) data: Bytes,
    pub(super) gas: Option<u64>,
    pub(super) fee_max: Option<u128>,
}

/// The rules by which everything is executed.
pub(super) fn rules(hardfork: Hardfork, chain: u64) -> CfgEnv {
    let spec = match hardfork {
        Hardfork::Cancun => SpecId::CANCUN,
        Hardfork::Prague => SpecId::PRAGUE,
        Hardfork::Osaka => SpecId::OSAKA,
    };
    CfgEnv::new_with_spec(spec).with_chain_id(chain)
}

/// Without blobs there is no excess of them, and their gas costs the least.
pub(super) fn blob_price() -> BlobExcessGasAndPrice {
    BlobExcessGasAndPrice::new(0, BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE)
}

/// Executes a transaction. Changes nothing: the caller applies what comes back.
pub(super) fn transact(
    view: View<'_>,
    rules: &CfgEnv,
    block: &BlockEnv,
    transaction: TxEnv,
) -> Transacted {
    Context::mainnet()
        .with_cfg(rules.clone())
        .with_block(block.clone())
        .with_db(WrapDatabaseRef(view))
        .build_mainnet()
        .transact(transaction)
}

/// Executes a call with up to `gas_limit`: nobody signs it, its nonce is the next, and unless it names a price its gas
/// is free.
pub(super) fn call(
    view: View<'_>,
    rules: &CfgEnv,
    block: &BlockEnv,
    call: &Call,
    gas_limit: u64,
) -> Transacted {
    let (rules, block, transaction) = as_transaction(view, rules, block, call, gas_limit);
    transact(view, &rules, &block, transaction)
}

/// The rules, block and transaction that a call is executed as.
fn as_transaction(
    view: View<'_>,
    rules: &CfgEnv,
    block: &BlockEnv,
    call: &Call,
    gas_limit: u64,
) -> (CfgEnv, BlockEnv, TxEnv) {
    let mut rules = rules.clone();
    rules.disable_eip3607 = true;
    rules.disable_base_fee = true;
    rules.disable_nonce_check = true;
    rules.tx_gas_limit_cap = Some(u64::MAX);
    let mut block = block.clone();
    block.gas_limit = block.gas_limit.max(gas_limit);
    let fee_max = call.fee_max.unwrap_or_default();
    if fee_max == 0 {
        block.basefee = 0;
    }
    let transaction = TxEnv {
        tx_type: 0,
        caller: call.from,
        gas_limit,
        gas_price: fee_max,
        kind: call.to.map_or(TxKind::Create, TxKind::Call),
        value: call.value,
        data: call.data.clone(),
        nonce: view.state.nonce(call.from, view.height),
        chain_id: Some(rules.chain_id),
        access_list: Default::default(),
        gas_priority_fee: None,
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: Vec::new(),
    };
    (rules, block, transaction)
}

/// Executes a transaction behind those `before` it, and tells what called what in it. Changes nothing.
pub(super) fn trace(
    view: View<'_>,
    rules: &CfgEnv,
    block: &BlockEnv,
    before: impl Iterator<Item = TxEnv>,
    transaction: TxEnv,
) -> Result<CallTrace, EVMError<Infallible, InvalidTransaction>> {
    let gas = transaction.gas_limit;
    let mut evm = Context::mainnet()
        .with_cfg(rules.clone())
        .with_block(block.clone())
        .with_db(CacheDB::new(view))
        .build_mainnet_with_inspector(Tracer::new());
    for transaction in before {
        evm.transact_commit(transaction)?;
    }
    let result = evm.inspect_one_tx(transaction)?;
    let trace = evm.inspector.finish(gas, result.tx_gas_used());
    Ok(trace.expect("whatever is executed begins with a call"))
}

/// As [`call`], and tells what called what in it.
pub(super) fn trace_call(
    view: View<'_>,
    rules: &CfgEnv,
    block: &BlockEnv,
    call: &Call,
    gas_limit: u64,
) -> Result<CallTrace, EVMError<Infallible, InvalidTransaction>> {
    let (rules, block, transaction) = as_transaction(view, rules, block, call, gas_limit);
    trace(view, &rules, &block, std::iter::empty(), transaction)
}

/// What a call answered, or why not, in geth's words.
pub(super) fn answer_of(transacted: Transacted, call: &Call) -> Result<Bytes, NodeError> {
    match transacted.map_err(|error| invalid(error, call))?.result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(reverted(output)),
        ExecutionResult::Halt { reason, .. } => Err(refused(halt_words(&reason))),
    }
}

/// Why a call could not even begin.
pub(super) fn invalid(error: EVMError<Infallible, InvalidTransaction>, call: &Call) -> NodeError {
    refused(match error {
        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => format!(
            "insufficient funds for gas * price + value: address {} have {balance} want {fee}",
            call.from
        ),
        EVMError::Transaction(InvalidTransaction::CallGasCostMoreThanGasLimit {
            initial_gas,
            gas_limit,
        }) => format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}"),
        error => error.to_string(),
    })
}

pub(super) fn refused(message: impl Into<String>) -> NodeError {
    NodeError {
        code: SERVER_ERROR,
        message: message.into(),
        data: None,
    }
}

/// A contract undid the call.
pub(super) fn reverted(output: Bytes) -> NodeError {
    let reason = match decode_revert(&output, "") {
        Revert::Message(reason) => format!(": {reason}"),
        Revert::Panic(code) => format!(": panic code {code:#x}"),
        _ => String::new(),
    };
    NodeError {
        code: REVERTED,
        message: format!("execution reverted{reason}"),
        data: Some(output),
    }
}

/// geth's words for the EVM's own errors.
pub(super) fn halt_words(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".into(),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode | HaltReason::NotActivated => {
            "invalid opcode: INVALID".into()
        }
        HaltReason::InvalidJump => "invalid jump destination".into(),
        HaltReason::StackUnderflow => "stack underflow".into(),
        HaltReason::StackOverflow => "stack limit reached 1024 (1023)".into(),
        HaltReason::OutOfOffset => "return data out of bounds".into(),
        HaltReason::CreateCollision => "contract address collision".into(),
        HaltReason::NonceOverflow => "nonce uint64 overflow".into(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".into(),
        HaltReason::CreateInitCodeSizeLimit => "max initcode size exceeded".into(),
        HaltReason::CreateContractStartingWithEF => "invalid code: must not begin with 0xef".into(),
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => {
            "write protection".into()
        }
        HaltReason::OutOfFunds => "insufficient balance for transfer".into(),
        HaltReason::CallTooDeep => "max call depth exceeded".into(),
        other => other.to_string(),
    }
}
