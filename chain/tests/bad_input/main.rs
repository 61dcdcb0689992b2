//! Bad input, from callers and from nodes: every error has a type of its own and says whether anything may have been
//! sent. On an EVM chain and on Solana, behind an HTTP server that spoils chosen answers.
//!
//! Refusals of a Solana node (funds, programs, signatures, expiry) are in the tests of `peaberry-chain-litesvm`; those
//! of EVM nodes, as Anvil says them too, in `evm`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as loudly as the test"
)]

mod caller;
mod evm;
#[path = "../node/mod.rs"]
mod node;
mod server;
mod solana;

use peaberry_chain::{Address, Asset, ChainClient, ChainError, Finality, Intent, TxId};
use server::{Server, Spoiled};

/// Each way in which a node can spoil an answer.
const WAYS: [Spoiled; 9] = [
    Spoiled::NotJson,
    Spoiled::OtherType,
    Spoiled::Null,
    Spoiled::Enormous,
    Spoiled::Endless,
    Spoiled::Hangs,
    Spoiled::Cut,
    Spoiled::ServerError,
    Spoiled::RateLimited,
];

/// Asks for a balance while the answers to `method` are spoiled in each way: typed errors, and nothing was sent.
async fn expect_typed_questions<C: ChainClient>(
    server: &Server,
    method: &'static str,
    owner: Address,
    client: impl AsyncFn() -> C,
) {
    for way in WAYS {
        let client = client().await;
        server.spoil(method, way);
        let error = client.balance(owner, Asset::Native).await.unwrap_err();
        expect_typed(way, &error, None);
        server.relent();
    }
}

/// While a node wants to be left alone nothing goes to it, and the next error says how long still.
async fn expect_patience<C: ChainClient>(
    server: &Server,
    method: &'static str,
    client: &C,
    payment: &Intent,
) {
    server.spoil(method, Spoiled::RateLimited);
    assert!(client.head(Finality::Latest).await.is_err());
    server.relent();
    let before = server.requests();
    let error = client.submit(payment).await.unwrap_err();
    assert!(
        matches!(error, ChainError::RateLimited { retry_after } if retry_after.as_secs() <= 7),
        "{error}"
    );
    assert!(!error.may_have_been_sent());
    assert_eq!(server.requests(), before);
}

/// The error is the one for that way; `transaction` is what may have been sent.
fn expect_typed(way: Spoiled, error: &ChainError, transaction: Option<TxId>) {
    let is_typed = match way {
        Spoiled::NotJson | Spoiled::OtherType | Spoiled::Null => {
            matches!(error, ChainError::Malformed { .. })
        }
        Spoiled::Enormous | Spoiled::Endless => {
            matches!(error, ChainError::TooLarge { bytes_max, .. } if *bytes_max == server::ANSWER_BYTES_MAX)
        }
        Spoiled::Hangs => matches!(error, ChainError::TimedOut { .. }),
        Spoiled::Cut | Spoiled::ServerError => matches!(error, ChainError::Connection { .. }),
        Spoiled::RateLimited => {
            matches!(error, ChainError::RateLimited { retry_after } if retry_after.as_secs() == 7)
        }
    };
    assert!(is_typed, "{way:?}: {error:?}");
    // Whoever is told to come later was not listened to.
    let transaction = transaction.filter(|_| way != Spoiled::RateLimited);
    assert_eq!(error.may_have_been_sent(), transaction.is_some(), "{way:?}");
    assert_eq!(error.transaction(), transaction, "{way:?}");
    let is_lasting = matches!(way, Spoiled::Enormous | Spoiled::Endless);
    assert_eq!(error.is_retryable(), !is_lasting, "{way:?}");
}
