//! A validator's JSON.
#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peaberry_chain::{SolanaAddress, TxId};
use serde_json::{Value, json};
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

use crate::GENESIS_HASH;
use crate::ledger::Ledger;

const LAMPORTS_PER_SIGNATURE: u64 = 5_000;

/// What a method answers, or JSON-RPC's error.
type Answer = Result<Value, Value>;

pub(crate) fn answer(ledger: &mut Ledger, request: &[u8]) -> Vec<u8> {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    let method = request["method"].as_str().unwrap_or_default();
    let answered = call(ledger, method, &request["params"]);
    let (key, value) = match answered {
        Ok(result) => ("result", result),
        Err(error) => ("error", error),
    };
    json!({"jsonrpc": "2.0", "id": request["id"], key: value})
        .to_string()
        .into_bytes()
}

fn call(ledger: &mut Ledger, method: &str, params: &Value) -> Answer {
    match method {
        "getGenesisHash" => Ok(json!(base58(GENESIS_HASH))),
        "getLatestBlockhash" => Ok(with_context(
            ledger,
            json!({
                "blockhash": ledger.svm.latest_blockhash().to_string(),
                "lastValidBlockHeight": ledger.last_valid_height(),
            }),
        )),
        "getEpochInfo" => {
            let slot = match params[0]["commitment"].as_str() {
                Some("finalized") => ledger.final_slot(),
                _ => ledger.slot,
            };
            Ok(json!({"absoluteSlot": slot, "blockHeight": slot, "epoch": 0, "slotIndex": slot}))
        }
        "getFirstAvailableBlock" => Ok(json!(0)),
        "getBlocks" => {
            let last = number(&params[1])?.min(ledger.slot);
            Ok(json!((number(&params[0])?..=last).collect::<Vec<_>>()))
        }
        "getBlock" => block(ledger, number(&params[0])?),
        "getBalance" => {
            let balance = ledger.svm.get_balance(&address(&params[0])?.0.into());
            Ok(with_context(ledger, json!(balance.unwrap_or_default())))
        }
        "getMultipleAccounts" => accounts(ledger, &params[0]),
        "getMinimumBalanceForRentExemption" => {
            let bytes =
                usize::try_from(number(&params[0])?).map_err(|_unreadable| invalid("bytes"))?;
            Ok(json!(ledger.svm.minimum_balance_for_rent_exemption(bytes)))
        }
        "getFeeForMessage" => {
            let message = bytes(&params[0])?;
            let signers = message.first().copied().map(u64::from);
            let fee = signers.map(|signers| signers * LAMPORTS_PER_SIGNATURE);
            Ok(with_context(ledger, json!(fee)))
        }
        "simulateTransaction" => {
            let simulated = ledger.simulate(transaction(&params[0])?);
            let value = match simulated {
                Ok(units) => json!({"err": null, "unitsConsumed": units, "logs": []}),
                Err(error) => json!({"err": error, "logs": []}),
            };
            Ok(with_context(ledger, value))
        }
        "sendTransaction" => send(ledger, transaction(&params[0])?),
        "getSignatureStatuses" => statuses(ledger, &params[0]),
        _ => Err(json!({"code": -32601, "message": "Method not found"})),
    }
}

fn send(ledger: &mut Ledger, transaction: VersionedTransaction) -> Answer {
    let signature = transaction.signatures.first().map(ToString::to_string);
    match ledger.send(transaction) {
        Ok(()) => Ok(json!(signature)),
        Err(TransactionError::SignatureFailure) => {
            Err(json!({"code": -32003, "message": "Transaction signature verification failure"}))
        }
        Err(error) => Err(json!({
            "code": -32002,
            "message": format!("Transaction simulation failed: {error}"),
            "data": {"err": error, "logs": []},
        })),
    }
}

fn statuses(ledger: &Ledger, signatures: &Value) -> Answer {
    let signatures = signatures.as_array().ok_or_else(|| invalid("signatures"))?;
    let status = |text: &Value| {
        let Ok(TxId::Solana(signature)) = text.as_str().unwrap_or_default().parse() else {
            return Value::Null;
        };
        let Some(found) = ledger.find(&signature) else {
            return Value::Null;
        };
        let commitment = if found.slot <= ledger.final_slot() {
            "finalized"
        } else {
            "confirmed"
        };
        json!({"slot": found.slot, "confirmations": null, "err": found.error, "confirmationStatus": commitment})
    };
    let statuses: Vec<Value> = signatures.iter().map(status).collect();
    Ok(with_context(ledger, json!(statuses)))
}

fn accounts(ledger: &Ledger, addresses: &Value) -> Answer {
    let addresses = addresses.as_array().ok_or_else(|| invalid("addresses"))?;
    let account = |text: &Value| -> Answer {
        let found = ledger.svm.get_account(&address(text)?.0.into());
        Ok(found.map_or(Value::Null, |account| {
            json!({
                "lamports": account.lamports, "owner": account.owner.to_string(), "executable": account.executable,
                "rentEpoch": 0, "space": account.data.len(), "data": [STANDARD.encode(&account.data), "base64"],
            })
        }))
    };
    let accounts: Vec<Value> = addresses.iter().map(account).collect::<Result<_, _>>()?;
    Ok(with_context(ledger, json!(accounts)))
}

fn block(ledger: &Ledger, slot: u64) -> Answer {
    if slot > ledger.slot {
        return Err(
            json!({"code": -32004, "message": format!("Block not available for slot {slot}")}),
        );
    }
    Ok(json!({
        "blockhash": base58(Ledger::hash_of(slot)), "previousBlockhash": base58(Ledger::hash_of(slot.saturating_sub(1))),
        "parentSlot": slot.saturating_sub(1), "blockHeight": slot, "blockTime": 1_700_000_000 + slot,
    }))
}

fn with_context(ledger: &Ledger, value: Value) -> Value {
    json!({"context": {"slot": ledger.slot}, "value": value})
}

fn base58(bytes: [u8; 32]) -> String {
    SolanaAddress(bytes).to_string()
}

fn number(value: &Value) -> Result<u64, Value> {
    value.as_u64().ok_or_else(|| invalid("a number"))
}

fn address(value: &Value) -> Result<SolanaAddress, Value> {
    let text = value.as_str().unwrap_or_default();
    text.parse().map_err(|_unreadable| invalid("an address"))
}

fn bytes(value: &Value) -> Result<Vec<u8>, Value> {
    let text = value.as_str().unwrap_or_default();
    STANDARD
        .decode(text)
        .map_err(|_unreadable| invalid("base64"))
}

fn transaction(value: &Value) -> Result<VersionedTransaction, Value> {
    let bytes = bytes(value)?;
    let transaction: VersionedTransaction =
        bincode::deserialize(&bytes).map_err(|_unreadable| invalid("a transaction"))?;
    // Solana's own encoding of what was read is what came: our wire format agrees with it.
    let again = bincode::serialize(&transaction).map_err(|_unreadable| invalid("a transaction"))?;
    if again == bytes {
        Ok(transaction)
    } else {
        Err(invalid("a transaction without bytes behind it"))
    }
}

fn invalid(what: &str) -> Value {
    json!({"code": -32602, "message": format!("Invalid params: expected {what}")})
}
