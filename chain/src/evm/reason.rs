//! Why an included transaction was undone, as far as a node can tell afterwards.

use alloy_primitives::B256;
use serde_json::json;

use super::JsonRpc;
use super::json::{JsonBlockAt, JsonReplay, JsonTraced, JsonTransactionCall};
use super::refusal::Asked;
use super::revert::decode_revert;
use crate::{BlockAt, ChainError, Revert};

impl JsonRpc {
    /// The reason that a trace of the transaction shows; of a node that does not trace, the one that its call gives when it
    /// is tried again on the state before its block.
    pub(super) async fn reason_of(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        match self.traced_reason(hash).await {
            Ok(reason) => Ok(reason),
            // Most public nodes do not trace, and each has its own words for that.
            Err(_untraced) => self.replayed_reason(hash).await,
        }
    }

    async fn traced_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        // The outermost call alone: what others called within it may be of any size.
        let tracer = json!({"tracer": "callTracer", "tracerConfig": {"onlyTopCall": true}});
        let traced: JsonTraced = self
            .ask("debug_traceTransaction", (hash, tracer), Asked::Read)
            .await?;
        let output = traced.output.unwrap_or_default();
        let failure = traced.error;
        Ok(failure.map(|words| decode_revert(&output, &words)))
    }

    /// What earlier transactions of the same block did is not seen, so this is a good guess.
    async fn replayed_reason(&self, hash: B256) -> Result<Option<Revert>, ChainError> {
        const DOING: &str = "eth_getTransactionByHash";
        let seen: Option<JsonTransactionCall> = self.ask(DOING, (hash,), Asked::Read).await?;
        let Some((call, number)) = seen.and_then(JsonTransactionCall::into_replay) else {
            return Ok(None);
        };
        let Some(before) = number.checked_sub(1) else {
            return Ok(None);
        };
        let params: (JsonReplay, _) = (call, JsonBlockAt::from(BlockAt::Number(before)));
        let answer: Result<alloy_primitives::Bytes, _> =
            self.ask("eth_call", params, Asked::Try(None)).await;
        match answer {
            Ok(_) => Ok(None),
            Err(ChainError::Reverted(reason)) => Ok(Some(reason)),
            Err(error) => Err(error),
        }
    }
}
