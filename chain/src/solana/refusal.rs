//! What Solana's nodes mean when they say no.

use std::time::Duration;

use serde_json::Value;

use super::json::RpcErrorJson;
use crate::chain_id::excerpt;
use crate::{ChainError, Revert, Sent, TxId};

// JSON-RPC codes of the validator's own.
const PREFLIGHT_FAILED: i64 = -32002;
const BAD_SIGNATURE: i64 = -32003;
const UNHEALTHY: i64 = -32005;
const CONTEXT_NOT_REACHED: i64 = -32016;
const NO_BLOCK: [i64; 4] = [-32001, -32004, -32007, -32009];

/// Why a transaction failed, as the runtime says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its block hash is unknown: too old, or not yet known here.
    BlockhashNotFound,
    /// The very same is included already.
    AlreadyProcessed,
    /// The payer cannot pay.
    NoFunds(String),
    /// An instruction failed.
    Instruction { index: u8, error: Value },
    /// Anything else.
    Other(String),
}

impl Failure {
    /// Reads the runtime's `TransactionError`; `None` for null: no failure.
    pub(super) fn read(error: &Value) -> Option<Self> {
        match error {
            Value::Null => None,
            Value::String(name) => Some(match name.as_str() {
                "BlockhashNotFound" => Self::BlockhashNotFound,
                "AlreadyProcessed" => Self::AlreadyProcessed,
                "InsufficientFundsForFee" | "AccountNotFound" => Self::NoFunds(name.clone()),
                _ => Self::Other(excerpt(name)),
            }),
            error => Some(Self::read_object(error)),
        }
    }

    fn read_object(error: &Value) -> Self {
        if error.get("InsufficientFundsForRent").is_some() {
            return Self::NoFunds("an account would be left with less than its rent".into());
        }
        let parts = error.get("InstructionError").and_then(Value::as_array);
        if let Some([index, error]) = parts.map(Vec::as_slice) {
            let index = index.as_u64().and_then(|index| u8::try_from(index).ok());
            if let Some(index) = index {
                return Self::Instruction {
                    index,
                    error: error.clone(),
                };
            }
        }
        Self::Other(excerpt(&name(error)))
    }

    /// Whether the instruction at `transfer` failed for want of what it should move: both the system program and the
    /// token programs call that their error 1.
    fn is_lack_of_funds(&self, transfer: Option<u8>) -> bool {
        match self {
            Self::NoFunds(_) => true,
            Self::Instruction { index, error } => {
                transfer == Some(*index) && error.get("Custom").and_then(Value::as_u64) == Some(1)
            }
            _ => false,
        }
    }

    /// What it says of an included transaction.
    pub(super) fn into_revert(self) -> Revert {
        match self {
            Self::Instruction { index, error } => Revert::Instruction {
                index,
                error: excerpt(&name(&error)),
            },
            Self::NoFunds(what) | Self::Other(what) => Revert::Unexplained(what),
            Self::BlockhashNotFound => Revert::Unexplained("BlockhashNotFound".into()),
            Self::AlreadyProcessed => Revert::Unexplained("AlreadyProcessed".into()),
        }
    }

    /// What it says of a transaction that was only tried. `transfer` is the instruction that moves funds.
    pub(super) fn into_chain_error(
        self,
        doing: &'static str,
        transfer: Option<u8>,
        transaction: Option<TxId>,
    ) -> ChainError {
        if self.is_lack_of_funds(transfer) {
            let detail = match self {
                Self::NoFunds(what) => what,
                _ => "less than the transfer moves".into(),
            };
            return ChainError::InsufficientFunds {
                account: None,
                detail,
            };
        }
        match self {
            Self::BlockhashNotFound => ChainError::Expired { transaction },
            Self::Instruction { .. } => ChainError::Reverted(self.into_revert()),
            failure => ChainError::Refused {
                doing,
                code: PREFLIGHT_FAILED,
                message: failure.into_revert().to_string(),
                sent: Sent::No,
            },
        }
    }
}

/// The runtime's name of an error, with what it says about it.
fn name(error: &Value) -> String {
    let only = error.as_object().filter(|fields| fields.len() == 1);
    match (error, only.and_then(|fields| fields.iter().next())) {
        (Value::String(name), _) => name.clone(),
        (_, Some((name, code))) if name == "Custom" => format!("custom error {code}"),
        (_, Some((name, Value::Object(about)))) => {
            let about = about.iter().map(|(what, which)| format!("{what} {which}"));
            format!("{name} ({})", about.collect::<Vec<_>>().join(", "))
        }
        (_, Some((name, about))) => format!("{name} ({about})"),
        (error, None) => error.to_string(),
    }
}

impl RpcErrorJson {
    /// Whether a block was asked for that the node does not have.
    pub(super) fn is_no_block(&self) -> bool {
        NO_BLOCK.contains(&self.code)
    }

    /// Why a trial before sending failed, if it did.
    pub(super) fn preflight(&self) -> Option<Failure> {
        let is_preflight = self.code == PREFLIGHT_FAILED;
        let error = self.data.get("err").filter(|_| is_preflight)?;
        Failure::read(error)
    }

    /// What it means after a request `doing` that may have carried what `sent` says.
    pub(super) fn into_chain_error(self, doing: &'static str, sent: Sent) -> ChainError {
        let message = excerpt(&self.message);
        match self.code {
            429 | -32429 => ChainError::RateLimited {
                retry_after: Duration::from_secs(1),
            },
            UNHEALTHY | CONTEXT_NOT_REACHED => ChainError::NotSynced { message },
            code => ChainError::Refused {
                doing,
                code,
                message,
                // The node looked at it, and did not pass it on.
                sent: if matches!(code, PREFLIGHT_FAILED | BAD_SIGNATURE) {
                    Sent::No
                } else {
                    sent
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failures_are_told_apart() {
        assert_eq!(Failure::read(&Value::Null), None);
        assert_eq!(
            Failure::read(&json!("BlockhashNotFound")),
            Some(Failure::BlockhashNotFound)
        );
        let failure = Failure::read(&json!({"InstructionError": [2, {"Custom": 1}]})).unwrap();
        assert!(failure.is_lack_of_funds(Some(2)));
        assert!(!failure.is_lack_of_funds(Some(1)));
        assert_eq!(
            failure.into_revert().to_string(),
            "instruction 2: custom error 1"
        );
        for (error, words) in [
            (
                json!({"InstructionError": [0, "Custom"]}),
                "instruction 0: Custom",
            ),
            (
                json!({"InstructionError": [1, {"BorshIoError": "x"}]}),
                "instruction 1: BorshIoError (\"x\")",
            ),
            (
                json!({"DuplicateInstruction": 3}),
                "DuplicateInstruction (3)",
            ),
            (
                json!({"ProgramExecutionTemporarilyRestricted": {"account_index": 4}}),
                "ProgramExecutionTemporarilyRestricted (account_index 4)",
            ),
            (json!("AccountInUse"), "AccountInUse"),
        ] {
            let failure = Failure::read(&error).unwrap();
            assert_eq!(failure.into_revert().to_string(), words);
        }
        let long = json!({"InstructionError": [1, {"BorshIoError": "x".repeat(1 << 20)}]});
        let told = Failure::read(&long).unwrap().into_revert().to_string();
        assert!(told.len() < 128, "{told}");
        for odd in [
            json!(7),
            json!([]),
            json!({"InstructionError": 3}),
            json!({"InstructionError": [999, "x"]}),
        ] {
            assert!(matches!(Failure::read(&odd), Some(Failure::Other(_))));
        }
    }

    #[test]
    fn what_was_tried_and_refused_was_not_sent_but_an_old_block_hash_leaves_it_open() {
        let id = Some(TxId::Solana([1; 64]));
        let error = |failure: Failure| failure.into_chain_error("sendTransaction", Some(0), id);
        assert!(error(Failure::BlockhashNotFound).may_have_been_sent());
        let lack = error(Failure::Instruction {
            index: 0,
            error: json!({"Custom": 1}),
        });
        assert!(matches!(lack, ChainError::InsufficientFunds { .. }));
        assert!(!lack.may_have_been_sent());
    }
}
