//! Our transports beneath alloy's JSON-RPC client.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use alloy_json_rpc::{RequestPacket, ResponsePacket, RpcError};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use tower_service::Service;

use crate::{HttpEndpoint, RpcTransport, TransportFailure};

/// An [`HttpEndpoint`], or any other [`RpcTransport`], as a transport of alloy's.
#[derive(Clone)]
pub struct HttpTransport {
    transport: Arc<dyn RpcTransport>,
}

impl HttpTransport {
    /// Requests go to `endpoint`.
    #[must_use]
    pub fn new(endpoint: HttpEndpoint) -> Self {
        Self::over(Arc::new(endpoint))
    }

    /// Requests go over `transport`.
    #[must_use]
    pub fn over(transport: Arc<dyn RpcTransport>) -> Self {
        Self { transport }
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
        let transport = self.transport.clone();
        Box::pin(async move {
            let body = serde_json::to_vec(&request).map_err(RpcError::ser_err)?;
            match transport.exchange(body.into()).await {
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

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpTransport")
    }
}
