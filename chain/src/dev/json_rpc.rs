//! The chain as a JSON-RPC node: what any Ethereum tool asks, answered in geth's shapes and words.
//!
//! A method that is not here answers -32601: there is no pretending.

mod filters;
mod methods;
mod params;
pub(super) mod shapes;

use alloy_primitives::Bytes;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::DevChain;
use crate::evm::NodeError;
use crate::{RpcTransport, TransportFailure};

/// The largest request, or batch of them, that is read.
pub const REQUEST_BYTES_MAX: usize = 5 << 20;
/// The most requests in one batch.
pub const BATCH_MAX: usize = 1000;
/// The largest answer to a batch: further requests of it are refused.
pub const ANSWER_BYTES_MAX: usize = 25 << 20;

pub(super) const PARSE_ERROR: i64 = -32700;
pub(super) const INVALID_REQUEST: i64 = -32600;
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
pub(super) const INVALID_PARAMS: i64 = -32602;
const TOO_LARGE: i64 = -32003;

/// One request as it comes.
#[derive(Debug, Deserialize)]
struct Request {
    #[serde(default)]
    jsonrpc: Option<String>,
    // Absent in a notification, which nobody waits for. `null` is an id.
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Value,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl DevChain {
    /// Answers the text of a JSON-RPC request, or of a batch of them. Empty where nobody waits for an answer.
    ///
    /// Never fails: what cannot be read is answered so. At most [`REQUEST_BYTES_MAX`] are read, [`BATCH_MAX`] requests,
    /// and a batch's answer stops growing at [`ANSWER_BYTES_MAX`].
    ///
    /// ```
    /// use peaberry_chain::dev::{DevChain, DevOptions};
    ///
    /// let chain = DevChain::new(DevOptions::default());
    /// let answer = chain.answer(br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#);
    /// assert_eq!(answer, br#"{"id":1,"jsonrpc":"2.0","result":"0x7a69"}"#);
    /// ```
    #[must_use]
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        if request.len() > REQUEST_BYTES_MAX {
            return failed(&Value::Null, &error(INVALID_REQUEST, "request too large")).into_bytes();
        }
        let answer = match first_byte(request) {
            Some(b'[') => self.answer_batch(request),
            _ => match serde_json::from_slice::<Value>(request) {
                Ok(request) => self.answer_one(request),
                Err(_unreadable) => Some(failed(&Value::Null, &error(PARSE_ERROR, "parse error"))),
            },
        };
        answer.unwrap_or_default().into_bytes()
    }

    fn answer_batch(&self, batch: &[u8]) -> Option<String> {
        let Ok(requests) = serde_json::from_slice::<Vec<Box<RawValue>>>(batch) else {
            return Some(failed(&Value::Null, &error(PARSE_ERROR, "parse error")));
        };
        if requests.is_empty() {
            return Some(failed(&Value::Null, &error(INVALID_REQUEST, "empty batch")));
        }
        if requests.len() > BATCH_MAX {
            return Some(failed(
                &Value::Null,
                &error(INVALID_REQUEST, "batch too large"),
            ));
        }
        let mut answers = Vec::new();
        let mut bytes = 0_usize;
        for request in requests {
            let Ok(request) = serde_json::from_str::<Value>(request.get()) else {
                answers.push(failed(&Value::Null, &error(PARSE_ERROR, "parse error")));
                continue;
            };
            let answer = if bytes > ANSWER_BYTES_MAX {
                let id = request.get("id").cloned();
                id.map(|id| failed(&id, &error(TOO_LARGE, "response too large")))
            } else {
                self.answer_one(request)
            };
            bytes += answer.as_ref().map_or(0, String::len);
            answers.extend(answer);
        }
        (!answers.is_empty()).then(|| format!("[{}]", answers.join(",")))
    }

    fn answer_one(&self, request: Value) -> Option<String> {
        let id = request.get("id").cloned().unwrap_or_default();
        let is_id = !matches!(id, Value::Array(_) | Value::Object(_) | Value::Bool(_));
        let request = serde_json::from_value::<Request>(request).ok();
        let is_valid = |request: &Request| is_id && request.jsonrpc.as_deref() == Some("2.0");
        let Some(request) = request.filter(is_valid) else {
            // Whoever can be told by his id is.
            let id = if is_id { id } else { Value::Null };
            return Some(failed(&id, &error(INVALID_REQUEST, "invalid request")));
        };
        let answered = self.invoke(&request.method, &request.params);
        request.id.map(|id| match answered {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
            Err(error) => failed(&id, &error),
        })
    }
}

fn first_byte(text: &[u8]) -> Option<u8> {
    let mut bytes = text.iter().copied();
    bytes.find(|byte| !byte.is_ascii_whitespace())
}

pub(super) fn error(code: i64, message: impl Into<String>) -> NodeError {
    NodeError {
        code,
        message: message.into(),
        data: None,
    }
}

fn failed(id: &Value, error: &NodeError) -> String {
    let mut body = json!({"code": error.code, "message": error.message});
    if let (Some(data), Some(fields)) = (&error.data, body.as_object_mut()) {
        fields.insert("data".into(), json!(data));
    }
    json!({"jsonrpc": "2.0", "id": id, "error": body}).to_string()
}

#[async_trait]
impl RpcTransport for DevChain {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        Ok(self.answer(&request).into())
    }
}
