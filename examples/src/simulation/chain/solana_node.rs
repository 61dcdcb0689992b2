//! Nodes that serve the Solana cluster by JSON-RPC: they are silent, unreachable, behind, and some lie.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use peaberry_chain::primitives::{B256, Bytes, keccak256};
use peaberry_chain::{RpcTransport, SolanaAddress, TransportFailure, TxId};
use serde_json::{Value, json};

use super::faults::{Faults, Lie};
use super::reached;
use super::solana::{Cluster, FINALITY, Sent, VALID_BLOCKS, height_of, slot_of};
use super::solana_shapes::misshape;

/// A node of the model cluster.
pub(super) struct SolanaNode {
    pub(super) cluster: Arc<Mutex<Cluster>>,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) is_liar: bool,
    /// Its ledger begins where the cluster says, and not at its first block.
    pub(super) is_young: bool,
}

/// A refusal, by its code and why a transaction would fail.
type Refusal = (i64, Value);

const PREFLIGHT_FAILED: i64 = -32002;
const NO_BLOCK: Refusal = (-32007, Value::Null);

impl SolanaNode {
    /// How far the node is behind, unless it is not reached at all.
    fn begin(&self) -> Result<u64, TransportFailure> {
        let mut faults = self.faults.lock();
        if faults.chance(60) {
            faults.count(reached::UNREACHABLE);
            return Err(TransportFailure::Connect(unheard()));
        }
        if faults.chance(5) {
            faults.count(reached::LIMITED);
            let pause = std::time::Duration::from_millis(faults.draw(1..=900));
            return Err(TransportFailure::RateLimited(pause));
        }
        if faults.chance(25) {
            faults.count(reached::QUESTION_LOST);
            return Err(TransportFailure::Broken(unheard()));
        }
        if faults.chance(150) {
            faults.count(reached::NODE_LAGGED);
            return Ok(faults.draw(1..=2));
        }
        Ok(0)
    }

    /// Its answer to a request; `height` is how far it is.
    fn answer(&self, method: &str, params: &Value, height: u64) -> Result<Value, Refusal> {
        let commitment = params.pointer("/0/commitment").and_then(Value::as_str);
        let mut cluster = self.cluster.lock();
        let final_height = cluster.final_height.min(height.saturating_sub(FINALITY));
        let head = match commitment {
            Some("finalized") => final_height,
            _ => height,
        };
        let first_slot = if self.is_young { cluster.first_slot } else { 0 };
        match method {
            "getGenesisHash" => Ok(json!(GENESIS)),
            "getLatestBlockhash" => {
                let block = cluster.block(head).ok_or(NO_BLOCK)?;
                let value = json!({"blockhash": text(block.hash), "lastValidBlockHeight": head + VALID_BLOCKS});
                Ok(json!({"context": {"slot": slot_of(head)}, "value": value}))
            }
            "getEpochInfo" => Ok(json!({"absoluteSlot": slot_of(head), "blockHeight": head})),
            "getFirstAvailableBlock" => Ok(json!(first_slot)),
            "getBlock" => {
                let slot = params[0].as_u64().unwrap_or(u64::MAX);
                let at = height_of(slot).filter(|at| *at <= height && slot >= first_slot);
                let at = at.ok_or(NO_BLOCK)?;
                let block = cluster.block(at).ok_or(NO_BLOCK)?;
                Ok(json!({
                    "blockhash": text(block.hash), "previousBlockhash": text(block.parent), "blockHeight": at,
                    "blockTime": at,
                }))
            }
            "getSignatureStatuses" => {
                let name = params.pointer("/0/0").and_then(Value::as_str);
                let signature = name.and_then(signature);
                let found = signature.and_then(|signature| cluster.find(signature));
                let found = found.filter(|at| *at <= height && slot_of(*at) >= first_slot);
                let status = found.map(|at| {
                    let is_final = at <= final_height;
                    let name = if is_final { "finalized" } else { "confirmed" };
                    json!({"slot": slot_of(at), "err": null, "confirmationStatus": name})
                });
                Ok(json!({"context": {"slot": slot_of(height)}, "value": [status]}))
            }
            "sendTransaction" => self.take(&mut cluster, params, height),
            other => panic!("{other} is not asked of Solana's nodes here"),
        }
    }

    /// Tries a transaction, and passes it on.
    fn take(&self, cluster: &mut Cluster, params: &Value, height: u64) -> Result<Value, Refusal> {
        let sent = decode(params);
        let dated = cluster.height_with(sent.blockhash);
        let is_known = dated.is_some_and(|at| at <= height && at + VALID_BLOCKS >= height);
        let fails = |why: Value| Err((PREFLIGHT_FAILED, why));
        if cluster.find(sent.signature).is_some_and(|at| at <= height) {
            return fails(json!("AlreadyProcessed"));
        }
        if !is_known {
            return fails(json!("BlockhashNotFound"));
        }
        if cluster.is_poor(height) {
            return fails(json!({"InstructionError": [0, {"Custom": 1}]}));
        }
        let name = json!(TxId::Solana(sent.signature).to_string());
        // A leader that never hears of it: Solana has no mempool that keeps it.
        let mut faults = self.faults.lock();
        if faults.chance(440) {
            faults.count(reached::SOLANA_LOST);
            cluster.taken.insert(sent.signature);
        } else {
            cluster.take(sent);
        }
        Ok(name)
    }

    /// The dice of a lie about this, if the node tells one.
    fn lie(&self, method: &str) -> Option<Lie> {
        let about = reached::SOLANA_LIES.iter().find(|(of, _)| *of == method);
        let (_, about) = about.filter(|_| self.is_liar)?;
        self.faults.lock().lie(about)
    }
}

fn made_up(
    mut lie: Lie,
    method: &str,
    params: &Value,
    truth: Value,
    cluster: &Cluster,
) -> Result<Value, Refusal> {
    let height = cluster.height();
    let some_height = match lie.u8(..4) {
        0 => 0,
        1 => u64::MAX / 2,
        2 => height + lie.u64(1..400),
        _ => height.saturating_sub(lie.u64(1..20)),
    };
    let forged = text(keccak256([lie.u8(..)]));
    Ok(match method {
        "getGenesisHash" => json!(forged),
        "getLatestBlockhash" => {
            // A true hash that seems to expire sooner, or later, is worse than a forged one.
            let hash = cluster.block(height).map(|block| text(block.hash));
            let hash = hash.filter(|_| lie.u8(..4) > 0).unwrap_or(forged);
            let value = json!({"blockhash": hash, "lastValidBlockHeight": some_height});
            json!({"context": {"slot": slot_of(height)}, "value": value})
        }
        "getEpochInfo" => {
            let slot = if lie.bool() { 0 } else { slot_of(height) };
            json!({"absoluteSlot": slot, "blockHeight": some_height})
        }
        "getFirstAvailableBlock" => json!(if lie.bool() { 0 } else { u64::MAX }),
        "getBlock" => match truth {
            Value::Null => return Err(NO_BLOCK),
            mut block if lie.bool() => {
                block["blockhash"] = json!(forged);
                block
            }
            mut block => {
                block["blockHeight"] = json!(some_height);
                block
            }
        },
        "getSignatureStatuses" => {
            let slot = slot_of(height);
            let status = json!({"slot": slot, "err": null, "confirmationStatus": "finalized"});
            let failed =
                json!({"slot": slot, "err": "AccountInUse", "confirmationStatus": "finalized"});
            let told = match lie.u8(..4) {
                0 => status,
                1 => failed,
                _ => Value::Null,
            };
            json!({"context": {"slot": slot}, "value": [told]})
        }
        _ => match lie.u8(..5) {
            0 => json!(TxId::Solana([lie.u8(..); 64]).to_string()),
            1 => return Err((PREFLIGHT_FAILED, json!("AlreadyProcessed"))),
            2 => return Err((PREFLIGHT_FAILED, json!("BlockhashNotFound"))),
            3 => {
                return Err((
                    PREFLIGHT_FAILED,
                    json!({"InstructionError": [0, {"Custom": 1}]}),
                ));
            }
            // It says that it has it, and has thrown it away.
            _ => json!(TxId::Solana(decode(params).signature).to_string()),
        },
    })
}

fn decode(params: &Value) -> Sent {
    let raw = params[0].as_str().unwrap_or_default();
    let raw = STANDARD.decode(raw).expect("the client writes base64");
    Sent::decode(&raw).expect("only transfers are sent")
}

/// A hash as Solana writes it: as it writes addresses.
fn text(hash: B256) -> String {
    SolanaAddress(hash.0).to_string()
}

const GENESIS: &str = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d";

fn signature(name: &str) -> Option<[u8; 64]> {
    match name.parse() {
        Ok(TxId::Solana(signature)) => Some(signature),
        _ => None,
    }
}

fn unheard() -> Arc<std::io::Error> {
    Arc::new(std::io::ErrorKind::TimedOut.into())
}

#[async_trait]
impl RpcTransport for SolanaNode {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let request: Value = serde_json::from_slice(&request).expect("the client writes JSON");
        let method = request["method"].as_str().unwrap_or_default();
        let lag = self.begin()?;
        let height = self.cluster.lock().height().saturating_sub(lag).max(1);
        let params = &request["params"];
        let mut lie = self.lie(method);
        let answer = match &mut lie {
            None => self.answer(method, params, height),
            Some(lie) => {
                // A liar passes no transaction on while it lies about it.
                let is_sending = method == "sendTransaction";
                let truth = (!is_sending).then(|| self.answer(method, params, height));
                match truth {
                    // Only in what shape it says so is wrong.
                    Some(truth) if lie.u8(..3) == 0 => truth,
                    truth => {
                        let truth = truth.and_then(Result::ok).unwrap_or_default();
                        made_up(lie.fork(), method, params, truth, &self.cluster.lock())
                    }
                }
            }
        };
        let mut faults = self.faults.lock();
        // Whether a transaction was taken is what must not be lost.
        if faults.chance(if method == "sendTransaction" { 150 } else { 40 }) {
            faults.count(reached::ANSWER_LOST);
            return Err(TransportFailure::Broken(unheard()));
        }
        drop(faults);
        let mut answer = match answer {
            Ok(result) => json!({"jsonrpc": "2.0", "id": request["id"], "result": result}),
            Err((code, why)) => {
                let error = json!({"code": code, "message": "no", "data": {"err": why}});
                json!({"jsonrpc": "2.0", "id": request["id"], "error": error})
            }
        };
        if let Some(mut lie) = lie.filter(|lie| lie.clone().u8(..2) == 0) {
            self.faults.lock().count(reached::SOLANA_MISSHAPEN);
            misshape(&mut lie, &mut answer, height);
        }
        Ok(answer.to_string().into_bytes().into())
    }
}
