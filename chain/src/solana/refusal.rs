//! What Solana's nodes mean when they say no.

use std::time::Duration;

use serde_json::Value;

use super::json::RpcErrorJson;
use super::program_of::program_of;
use super::{system, token};
use crate::chain_id::excerpt;
use crate::{ChainError, Revert, Sent, SolanaAddress, TxId};

// JSON-RPC codes of the validator's own.
const PREFLIGHT_FAILED: i64 = -32002;
const BAD_SIGNATURE: i64 = -32003;
const UNHEALTHY: i64 = -32005;
const CONTEXT_NOT_REACHED: i64 = -32016;
const NO_BLOCK: [i64; 4] = [-32001, -32004, -32007, -32009];

/// Programs whose error 1 says that an account holds less than is asked of it: `ResultWithNegativeLamports` of the system
/// program (`SystemError`), `InsufficientFunds` of the token programs (`TokenError`). That of associated accounts has no
/// error 1 of its own, and passes on the system program's.
const LACK_IS_1: [SolanaAddress; 4] = [
    system::PROGRAM,
    token::PROGRAM,
    token::PROGRAM_2022,
    token::ASSOCIATED_PROGRAM,
];

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

    /// Whether the transaction `raw` failed for want of what it should move or pay.
    fn is_lack_of_funds(&self, raw: &[u8]) -> bool {
        match self {
            Self::NoFunds(_) => true,
            Self::Instruction { index, error } => {
                let is_1 = error.get("Custom").and_then(Value::as_u64) == Some(1);
                is_1 && program_of(raw, *index).is_some_and(|program| LACK_IS_1.contains(&program))
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

    /// What it says of the transaction `raw`, which was only tried.
    pub(super) fn into_chain_error(
        self,
        doing: &'static str,
        raw: &[u8],
        transaction: Option<TxId>,
    ) -> ChainError {
        if self.is_lack_of_funds(raw) {
            let detail = match self {
                Self::NoFunds(what) => what,
                failure => failure.into_revert().to_string(),
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
    use alloy_primitives::B256;
    use serde_json::json;

    use super::*;
    use crate::solana::{Instruction, Message};

    #[test]
    fn failures_are_told_apart() {
        assert_eq!(Failure::read(&Value::Null), None);
        assert_eq!(
            Failure::read(&json!("BlockhashNotFound")),
            Some(Failure::BlockhashNotFound)
        );
        let failure = Failure::read(&json!({"InstructionError": [2, {"Custom": 1}]})).unwrap();
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

    /// Instructions of these programs, signed by nobody.
    fn transaction_of(programs: &[SolanaAddress]) -> Vec<u8> {
        let instructions = programs.iter().map(|program| Instruction {
            program: *program,
            accounts: Vec::new(),
            data: vec![1],
        });
        let instructions: Vec<_> = instructions.collect();
        let message = Message::new(SolanaAddress([1; 32]), &instructions, B256::ZERO).unwrap();
        [&[1][..], &[0; 64], message.as_bytes()].concat()
    }

    fn told(failure: Failure, raw: &[u8]) -> ChainError {
        failure.into_chain_error("sendTransaction", raw, Some(TxId::Solana([1; 64])))
    }

    const fn failed(index: u8, error: Value) -> Failure {
        Failure::Instruction { index, error }
    }

    #[test]
    fn what_was_tried_and_refused_was_not_sent_but_an_old_block_hash_leaves_it_open() {
        let raw = transaction_of(&LACK_IS_1);
        assert!(told(Failure::BlockhashNotFound, &raw).may_have_been_sent());
        let lack = told(failed(0, json!({"Custom": 1})), &raw);
        assert!(!lack.may_have_been_sent());
    }

    /// It passes when money comes, which the error of another program does not.
    #[test]
    fn error_1_says_that_money_is_lacking_only_of_programs_that_move_it() {
        let other = SolanaAddress([8; 32]);
        for program in LACK_IS_1 {
            let raw = transaction_of(&[other, program]);
            let lack = told(failed(1, json!({"Custom": 1})), &raw);
            assert!(
                matches!(lack, ChainError::InsufficientFunds { account: None, ref detail } if detail == "instruction 1: custom error 1"),
                "{lack}"
            );
            for failure in [
                failed(0, json!({"Custom": 1})),
                failed(1, json!({"Custom": 2})),
                failed(1, json!("Custom")),
                failed(2, json!({"Custom": 1})),
            ] {
                let told = told(failure, &raw);
                assert!(matches!(told, ChainError::Reverted(_)), "{told}");
            }
        }
    }
}
