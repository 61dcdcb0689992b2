//! What nodes mean when they say no.
//!
//! JSON-RPC gives them a code and free text. Codes overlap between clients, so the text decides; the phrases are those
//! of geth, bor, BSC, erigon, nethermind, besu, reth and anvil. What is not known stays [`ChainError::Refused`].

use std::time::Duration;

use alloy_primitives::{Address, Bytes};

use super::revert::{cut, decode_revert};
use crate::{ChainError, Sent, TxId};

/// A JSON-RPC error of an EVM node, for those who bring a node of their own.
#[derive(Clone, Debug, Default)]
pub struct NodeError {
    /// JSON-RPC's code.
    pub code: i64,
    /// The node's words.
    pub message: String,
    /// What a reverted call returned.
    pub data: Option<Bytes>,
}

/// What a method was asked to do, as far as it changes the meaning of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Something about the chain.
    Read,
    /// To try a call, in this account's name.
    Try(Option<Address>),
    /// Logs of a range.
    Logs,
    /// To spread this transaction.
    Broadcast(TxId),
}

const ALREADY_KNOWN: &[&str] = &[
    "already known",
    "alreadyknown",
    "known transaction",
    "already imported",
    "already in mempool",
    "transaction already in pool",
];
const NONCE_TOO_LOW: &[&str] = &[
    "nonce too low",
    "nonce is too low",
    "oldnonce",
    "nonce already used",
];
const UNDERPRICED_REPLACEMENT: &[&str] = &[
    "replacement transaction underpriced",
    "replacementnotallowed",
    "could not replace existing",
    "replacement fee too low",
];
const FEE_TOO_LOW: &[&str] = &[
    "underpriced",
    "feetoolow",
    "max fee per gas less than block base fee",
    "below configured minimum",
    "gas price too low",
    "gas price below",
    "tip cap below",
    "less than minimum",
];
const NO_FUNDS: &[&str] = &[
    "insufficient funds",
    "insufficientfunds",
    "upfront cost exceeds",
    "insufficient balance",
];
// About the transaction alone, whatever the chain's state, the node's load or whoever pays for its service: no node of the
// chain will ever take it.
const INVALID: &[&str] = &[
    "invalid chain id",
    "chain id mismatch",
    "invalid sender",
    "intrinsic gas too low",
    "intrinsic gas too high",
    "gas limit is too high",
    "gas limit too high",
    "exceeds block gas limit",
    "max initcode size exceeded",
    "oversized data",
    "failed to decode transaction",
    "failed to decode signed transaction",
    "transaction could not be decoded",
    "typed transaction too short",
    "intrinsicgas",
    "gas limit is below intrinsic gas",
    "insufficient gas for floor data gas cost",
    "exceedsgaslimit",
    "transaction type not supported",
    "max priority fee per gas higher than max fee per gas",
    "nonce has max value",
    "invalid signature",
    "sender not an eoa",
    "gas uint64 overflow",
    "set code transaction must not",
];
const REVERTED: &[&str] = &[
    "revert",
    "out of gas",
    "invalid opcode",
    "vm execution error",
];
// As providers say it: no two alike, and whoever follows must not depend on this list.
const TOO_WIDE: &[&str] = &[
    "block range",
    "blocks range",
    "query returned more than",
    "query timeout exceeded",
    "too many results",
    "too many blocks",
    "too many logs",
    "range is too",
    "range too",
    "range exceed",
    "exceed max",
    "exceeds max",
    "exceeds limit of",
    "exceeds the range",
    "exceeded max",
    "maximum allowed",
    "max allowed",
    "max range",
    "limited to",
    "logs matched",
    "response size",
    "response too large",
    "response is too",
    "10000 results",
    "requested blocks",
    "reduce the range",
    "smaller range",
    "reducing your",
];
const RATE: &[&str] = &[
    "rate limit",
    "too many requests",
    "request limit",
    "compute units per second",
    "throttl",
];
const NOT_THERE: &[&str] = &[
    "header not found",
    "block not found",
    "unknown block",
    "finalized block not",
    "could not find block",
    "header for hash not found",
    "missing trie node",
    "no state available",
    "world state unavailable",
    "blockoutofrange",
];

impl NodeError {
    /// Whether the node already had the transaction that it was given: a success.
    #[must_use]
    pub fn is_already_known(&self) -> bool {
        self.says(ALREADY_KNOWN) && !self.says(&["unknown transaction"])
    }

    /// Whether the node wants to be asked less.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self.code, 429 | -32029) || self.says(RATE)
    }

    /// What it means after the method `doing` was `asked`.
    #[must_use]
    pub fn into_chain_error(self, doing: &'static str, asked: Asked) -> ChainError {
        let message = cut(&self.message);
        if matches!(asked, Asked::Try(_)) && self.is_of_a_contract() {
            return ChainError::Reverted(decode_revert(self.revert_data(), &message));
        }
        if self.is_limit() && !(asked == Asked::Logs && self.says(TOO_WIDE)) {
            return ChainError::RateLimited {
                retry_after: Duration::from_secs(1),
            };
        }
        match asked {
            Asked::Broadcast(transaction) => self.of_broadcast(message, transaction, doing),
            Asked::Try(account) => self.of_trial(message, account, doing),
            Asked::Logs if self.code == -32005 || self.says(TOO_WIDE) => {
                ChainError::RangeTooWide { message }
            }
            Asked::Logs | Asked::Read => self.of_read(message, doing),
        }
    }

    fn of_broadcast(&self, message: String, transaction: TxId, doing: &'static str) -> ChainError {
        if self.says(NONCE_TOO_LOW) {
            return ChainError::NonceTooLow {
                transaction: Some(transaction),
            };
        }
        if self.says(UNDERPRICED_REPLACEMENT) {
            return ChainError::ReplacementUnderpriced;
        }
        if self.says(NO_FUNDS) {
            return ChainError::InsufficientFunds {
                account: None,
                detail: message,
            };
        }
        if self.says(INVALID) {
            return ChainError::InvalidTransaction { message };
        }
        if self.says(FEE_TOO_LOW) {
            return ChainError::FeeTooLow { message };
        }
        // Words we do not know may come from a gateway that has passed the bytes on.
        ChainError::Refused {
            doing,
            code: self.code,
            message,
            sent: Sent::Maybe(Some(transaction)),
        }
    }

    fn of_trial(
        &self,
        message: String,
        account: Option<Address>,
        doing: &'static str,
    ) -> ChainError {
        if self.says(NO_FUNDS) {
            return ChainError::InsufficientFunds {
                account: account.map(Into::into),
                detail: message,
            };
        }
        if self.says(REVERTED) {
            return ChainError::Reverted(decode_revert(self.revert_data(), &message));
        }
        self.of_read(message, doing)
    }

    /// Whether a contract undid the call. Whatever else the message says are then the contract's own words, and may be
    /// any node's words for trouble of its own.
    fn is_of_a_contract(&self) -> bool {
        self.code == 3 || !self.revert_data().is_empty() || self.says(&["execution reverted"])
    }

    fn revert_data(&self) -> &[u8] {
        self.data.as_ref().map_or(&[], |data| data)
    }

    fn of_read(&self, message: String, doing: &'static str) -> ChainError {
        if self.says(NOT_THERE) {
            return ChainError::NotFound {
                what: format!("what {doing} was asked about ({message})"),
            };
        }
        ChainError::Refused {
            doing,
            code: self.code,
            message,
            sent: Sent::No,
        }
    }

    fn says(&self, phrases: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        phrases.iter().any(|phrase| message.contains(phrase))
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    const ATTEMPT: TxId = TxId::Evm(B256::repeat_byte(7));

    fn broadcast(message: &str) -> ChainError {
        let error = NodeError {
            code: -32000,
            message: message.into(),
            data: None,
        };
        error.into_chain_error("eth_sendRawTransaction", Asked::Broadcast(ATTEMPT))
    }

    #[test]
    fn a_used_nonce_may_be_our_own_and_an_underpriced_rival_is_not() {
        let used = broadcast("nonce too low: next nonce 5, tx nonce 4");
        assert!(used.may_have_been_sent());
        assert_eq!(used.transaction(), Some(ATTEMPT));
        let rival = broadcast("replacement transaction underpriced");
        assert!(matches!(rival, ChainError::ReplacementUnderpriced));
        assert!(!rival.may_have_been_sent());
    }

    #[test]
    fn a_transaction_that_nobody_knows_is_not_known_already() {
        let is_known = |message: &str| {
            let message = message.into();
            NodeError {
                message,
                ..NodeError::default()
            }
            .is_already_known()
        };
        assert!(is_known("already known"));
        assert!(is_known("known transaction: 0x07"));
        assert!(is_known("Known transaction"));
        for message in [
            "unknown transaction type",
            "unknown transaction: 0x07",
            "Unknown transaction",
        ] {
            assert!(!is_known(message), "{message}");
        }
    }

    /// A phrase that holds another of its list decides nothing.
    #[test]
    fn no_phrase_is_there_for_nothing() {
        for phrases in [
            ALREADY_KNOWN,
            NONCE_TOO_LOW,
            UNDERPRICED_REPLACEMENT,
            FEE_TOO_LOW,
            NO_FUNDS,
            INVALID,
            REVERTED,
            TOO_WIDE,
            RATE,
            NOT_THERE,
        ] {
            for phrase in phrases {
                let mut others = phrases.iter().filter(|other| *other != phrase);
                let shorter = others.find(|other| phrase.contains(**other));
                assert_eq!(shorter, None, "makes {phrase:?} needless");
            }
        }
    }

    /// A contract may use the words that nodes have for other troubles, and be told by any of three signs.
    #[test]
    fn a_contracts_own_words_are_no_nodes() {
        for words in [
            "Insufficient balance",
            "Insufficient funds",
            "rate limit exceeded",
            "header not found",
        ] {
            for (code, message, data) in [
                (3, words.to_owned(), None),
                (-32000, words.to_owned(), Some(vec![1, 2, 3, 4].into())),
                (-32000, format!("execution reverted: {words}"), None),
            ] {
                let error = NodeError {
                    code,
                    message,
                    data,
                };
                let error = error.into_chain_error("eth_call", Asked::Try(None));
                assert!(matches!(error, ChainError::Reverted(_)), "{error:?}");
            }
        }
    }

    #[test]
    fn words_nobody_knows_leave_it_open() {
        assert!(broadcast("the moon is in the wrong house").may_have_been_sent());
        assert!(!broadcast("insufficient funds for gas * price + value").may_have_been_sent());
        assert!(!broadcast("transaction underpriced").may_have_been_sent());
        let other_chain = broadcast("invalid chain id for signer: have 1 want 137");
        assert!(matches!(other_chain, ChainError::InvalidTransaction { .. }));
        assert!(!other_chain.may_have_been_sent());
    }

    /// What passes by itself, or with another node, is not taken for a verdict on the transaction.
    #[test]
    fn only_what_is_known_to_hold_for_good_makes_a_transaction_invalid() {
        let is_invalid =
            |message| matches!(broadcast(message), ChainError::InvalidTransaction { .. });
        for message in [
            "intrinsic gas too low: gas 20000, minimum needed 21000",
            "exceeds block gas limit",
            "invalid sender",
        ] {
            assert!(is_invalid(message), "{message}");
        }
        for message in [
            "internal error",
            "txpool is full",
            "daily quota exceeded",
            "nonce too high",
            "tx fee (1.50 ether) exceeds the configured cap (1.00 ether)",
        ] {
            assert!(!is_invalid(message), "{message}");
            assert!(broadcast(message).may_have_been_sent(), "{message}");
        }
    }

    #[test]
    fn wide_ranges_and_rates_are_told_apart() {
        let error = |code, message: &str| {
            let error = NodeError {
                code,
                message: message.into(),
                data: None,
            };
            error.into_chain_error("eth_getLogs", Asked::Logs)
        };
        assert!(matches!(
            error(-32005, "query returned more than 10000 results"),
            ChainError::RangeTooWide { .. }
        ));
        assert!(matches!(
            error(-32600, "eth_getLogs is limited to a 10 block range"),
            ChainError::RangeTooWide { .. }
        ));
        // Of Alchemy, Infura, QuickNode, Ankr, Cloudflare, thirdweb, NodeReal, Moonbeam, 1RPC and others.
        for words in [
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
            "Query timeout exceeded. Consider reducing your block range.",
            "range 1000000 exceeds limit of 10000",
            "eth_getLogs is limited to a 10,000 range",
            "block range is too wide",
            "eth_getLogs range is too large, max is 10k blocks",
            "block range is larger than max block range, block range = 5120, max block range = 5000",
            "exceed maximum block range: 50000",
            "Max range: 800",
            "Maximum allowed number of requested blocks is 2000",
            "max allowed range is 1000 blocks",
            "backend response too large",
            "requested too many blocks from 1 to 9000, maximum is set to 2048",
            "logs matched by query exceeds limit of 10000",
            "block range too high",
            "is limited to 0 - 10000 blocks range",
        ] {
            let error = error(-32000, words);
            assert!(
                matches!(error, ChainError::RangeTooWide { .. }),
                "{words}: {error:?}"
            );
        }
        assert!(matches!(
            error(429, "slow down"),
            ChainError::RateLimited { .. }
        ));
        assert!(matches!(
            error(-32000, "unknown block"),
            ChainError::NotFound { .. }
        ));
    }
}
