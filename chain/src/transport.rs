//! Carrying one JSON-RPC request to a node.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Bytes;
use async_trait::async_trait;

use crate::{ChainError, Sent};

/// What a failed exchange stands on.
type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Carries one JSON-RPC request to a node and brings its answer back: over HTTP
/// ([`HttpEndpoint`](crate::HttpEndpoint), feature `http`), or to a node in the process. Callable concurrently.
///
/// An implementer promises: what may change anything is not sent again if the node may have looked at it; an answer is bounded
/// before memory is taken for it; a dropped future leaves the transport usable. It may take for ever: the caller bounds the time.
#[async_trait]
pub trait RpcTransport: Send + Sync {
    /// Sends `request`, the JSON text of one JSON-RPC request or of a batch of them, and brings the text of its answer.
    ///
    /// # Errors
    ///
    /// [`TransportFailure`]: whether the node may have got the request it says.
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure>;
}

/// Why an exchange brought no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportFailure {
    /// There was no connection: the node got nothing.
    #[error("could not connect")]
    Connect(#[source] Source),
    /// The connection broke: the node may have got the request.
    #[error("the connection broke")]
    Broken(#[source] Source),
    /// The answer is larger than the limit, in bytes. The node got the request.
    #[error("the answer is over the limit of {0} bytes")]
    TooLarge(usize),
    /// Of several nodes too few agree. For a transaction: too few say that they have taken it.
    #[error("only {agreed} of {asked} nodes agree, {wanted} are wanted")]
    NoQuorum {
        /// The size of the largest group of equal answers.
        agreed: usize,
        /// How many were asked.
        asked: usize,
        /// How many equal answers it takes.
        wanted: usize,
    },
    /// The node wants to be left alone for so long. It did not look at the request.
    #[error("the node limits our rate: wait {} ms", .0.as_millis())]
    RateLimited(Duration),
    /// The node answered by an HTTP status that is no success. Nodes wrap JSON-RPC errors so, too: the body may be an
    /// answer all the same.
    #[error("the HTTP status is {status}")]
    Status {
        /// The status.
        status: u16,
        /// What came with it, within the limit.
        body: Bytes,
    },
}

impl TransportFailure {
    /// What it means after a request `doing` that may have carried what `sent` says.
    #[must_use]
    pub fn into_chain_error(self, doing: &'static str, sent: Sent) -> ChainError {
        let sent = match self {
            Self::Connect(_) => Sent::No,
            Self::RateLimited(retry_after) => return ChainError::RateLimited { retry_after },
            Self::TooLarge(bytes_max) => {
                return ChainError::TooLarge {
                    doing,
                    bytes_max,
                    sent,
                };
            }
            Self::NoQuorum {
                agreed,
                asked,
                wanted,
            } if sent == Sent::No => {
                return ChainError::NoQuorum {
                    doing,
                    agreed,
                    asked,
                    wanted,
                };
            }
            Self::Broken(_) | Self::Status { .. } | Self::NoQuorum { .. } => sent,
        };
        ChainError::Connection {
            doing,
            sent,
            source: Arc::new(self),
        }
    }
}
