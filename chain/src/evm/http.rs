//! Our HTTP beneath alloy's JSON-RPC client.

use std::task::{Context, Poll};

use alloy_json_rpc::{RequestPacket, ResponsePacket, RpcError};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use bytes::Bytes;
use tower_service::Service;

use crate::{HttpEndpoint, TransportFailure};

/// An [`HttpEndpoint`] as a transport of alloy's.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    endpoint: HttpEndpoint,
}

impl HttpTransport {
    /// Requests go to `endpoint`.
    #[must_use]
    pub const fn new(endpoint: HttpEndpoint) -> Self {
        Self { endpoint }
    }
}

impl Service<RequestPacket> for HttpTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        let endpoint = self.endpoint.clone();
        Box::pin(async move {
            let body = serde_json::to_vec(&request).map_err(RpcError::ser_err)?;
            match endpoint.post(Bytes::from(body)).await {
                Ok(answer) => {
                    serde_json::from_slice(&answer).map_err(|error| RpcError::DeserError {
                        err: error,
                        text: String::new(),
                    })
                }
                Err(TransportFailure::Status { status, body }) => serde_json::from_slice(&body)
                    .map_err(|_no_answer| {
                        TransportErrorKind::custom(TransportFailure::Status { status, body })
                    }),
                Err(failure) => Err(TransportErrorKind::custom(failure)),
            }
        })
    }
}
