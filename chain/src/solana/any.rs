//! Any bytes at all as what a Solana node answers.

use std::sync::Arc;

use alloy_primitives::Bytes;
use async_trait::async_trait;
use futures_util::FutureExt as _;

use super::{Commitment, SignedTransaction, SolanaQuorum, SolanaRpc, token};
use crate::{ChainError, RpcTransport, SolanaAddress, TransportFailure};

const ADDRESSES: [SolanaAddress; 2] = [SolanaAddress([1; 32]), SolanaAddress([2; 32])];

/// A node that answers everything alike.
struct Parrot {
    answer: Bytes,
    /// Under this status; `None`: that of success.
    status: Option<u16>,
}

#[async_trait]
impl RpcTransport for Parrot {
    async fn exchange(&self, _: Bytes) -> Result<Bytes, TransportFailure> {
        let body = self.answer.clone();
        match self.status {
            None => Ok(body),
            Some(status) => Err(TransportFailure::Status { status, body }),
        }
    }
}

/// Reads any bytes as the answers to everything that a node is asked, of one node and of three that agree, for fuzzing: as the
/// whole of an answer, as its result, as what is in that, and as its error. Says how many questions they answer.
#[doc(hidden)]
pub fn read_any_answer(bytes: &[u8]) -> usize {
    let framed = |before: &str, behind: &str| -> Bytes {
        [before.as_bytes(), bytes, behind.as_bytes()]
            .concat()
            .into()
    };
    let whole = framed("", "");
    let parts = [
        framed(r#"{"jsonrpc":"2.0","id":1,"result":"#, "}"),
        framed(
            r#"{"jsonrpc":"2.0","id":1,"result":{"context":{"slot":7},"value":"#,
            "}}",
        ),
        framed(r#"{"jsonrpc":"2.0","id":1,"error":"#, "}"),
    ];
    let node = |answer, status| -> Arc<dyn RpcTransport> { Arc::new(Parrot { answer, status }) };
    let three = ["a", "b", "c"].map(|name| (name.to_owned(), node(whole.clone(), None)));
    let mut nodes = vec![
        node(whole.clone(), None),
        node(whole, Some(503)),
        Arc::new(SolanaQuorum::new(three.into(), 2)),
    ];
    nodes.extend(parts.map(|part| node(part, None)));
    let answered = nodes.into_iter().map(|node| {
        let asking = ask_everything(SolanaRpc::new(node));
        asking.now_or_never().expect("each answer is there at once")
    });
    answered.sum()
}

async fn ask_everything(node: SolanaRpc) -> usize {
    let raw = [&[1][..], &[7; 66]].concat();
    let transaction = SignedTransaction::from_raw(raw.clone().into(), 9);
    let transaction = transaction.expect("a signature stands at its beginning");
    let mut answered = [
        is_answered(node.chain_id().await),
        is_answered(node.latest_blockhash().await),
        is_answered(node.height(Commitment::Finalized).await),
        is_answered(node.first_slot().await),
        is_answered(node.slots(1, 9).await),
        is_answered(node.block(7).await),
        is_answered(node.height_of(7).await),
        is_answered(node.balance(ADDRESSES[0]).await),
        is_answered(node.rent_exemption(165).await),
        is_answered(node.fee(&raw).await),
        is_answered(node.simulate(&raw).await),
        is_answered(node.signature_status(&[7; 64]).await),
    ]
    .into_iter()
    .filter(|is_so| *is_so)
    .count();
    for addresses in [&ADDRESSES[..1], &ADDRESSES] {
        let told = node.accounts(addresses).await;
        let accounts = told.as_deref().unwrap_or_default().to_vec();
        answered += usize::from(is_answered(told));
        assert!(accounts.is_empty() || accounts.len() == addresses.len());
        for account in accounts.into_iter().flatten() {
            let _ = token::mint_decimals(&account.data);
            let _ = token::account_amount(&account.data, ADDRESSES[0], ADDRESSES[1]);
        }
    }
    if let Err(error) = node.send(&transaction).await {
        drop(error.to_string());
    }
    answered
}

/// Whether it was; where it was not, nothing was sent.
fn is_answered<T>(answer: Result<T, ChainError>) -> bool {
    let told = answer.inspect_err(|error| assert!(!error.may_have_been_sent(), "{error}"));
    told.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::each_spoiled;

    /// One in so many of what is spoiled is asked everything of: all of them take a minute.
    const STEP: usize = 23;

    /// What a validator says, as it is: one of each kind that is read. The last three are refusals.
    const ANSWERS: [&str; 9] = [
        r#"{"jsonrpc":"2.0","result":{"absoluteSlot":166598,"blockHeight":166500,"epoch":27},"id":1}"#,
        r#""5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d""#,
        r#"{"blockhash":"EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N","lastValidBlockHeight":3090}"#,
        r#"{"blockhash":"3Eq21vXNB5s86c62bVuUfTeaMif1N2kUqRPBmGRJhyTA","previousBlockhash":"mfcyqEXB3DnHXki6KjjmZck6YjmZLvpAByy2fj4nh6B","blockHeight":428,"blockTime":-1}"#,
        r#"[{"lamports":88849814690250,"owner":"11111111111111111111111111111111","data":["AQID","base64"],"executable":false},null]"#,
        r#"[{"slot":48,"confirmations":null,"err":{"InstructionError":[0,{"Custom":1}]},"confirmationStatus":"confirmed"}]"#,
        r#"{"err":"AccountNotFound","logs":null,"unitsConsumed":0}"#,
        r#"{"code":-32002,"message":"Transaction simulation failed","data":{"err":{"InsufficientFundsForRent":{"account_index":0}}}}"#,
        r#"{"code":-32005,"message":"Node is behind by 42 slots","data":{"numSlotsBehind":42}}"#,
    ];

    #[test]
    fn any_answer_is_read_or_refused() {
        for answer in &ANSWERS[..6] {
            assert!(read_any_answer(answer.as_bytes()) > 0, "{answer}");
        }
        let mut count = 0;
        each_spoiled(&ANSWERS.map(str::as_bytes), |answer| {
            if count % STEP == 0 {
                read_any_answer(answer);
            }
            count += 1;
        });
    }

    /// Few bytes do not become many: what an answer says of sizes nobody makes room for.
    #[test]
    fn sizes_that_are_told_take_no_memory() {
        for slots in ["[", "[18446744073709551615", &"[".repeat(1 << 20)] {
            read_any_answer(slots.as_bytes());
        }
    }
}
