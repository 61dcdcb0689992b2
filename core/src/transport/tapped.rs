use std::fmt;
use std::sync::Arc;

use super::{Outgoing, Transport, TransportError};
use crate::mailbox::Mailbox;
use crate::peer::{PeerId, Peers, ProtocolId};

/// A transport whose messages pass a function on their way out: it may count, keep, change, repeat or lose them.
///
/// What arrives is left alone. The function sees each batch once, before the transport beneath does, and runs on the
/// thread that sends.
///
/// # Example
///
/// A link that loses every message to the second peer:
///
/// ```
/// use std::sync::Arc;
/// use peaberry_core::{MemoryNetwork, Outgoing, PeerId, Tapped, Transport};
///
/// let second = PeerId::new(2).unwrap();
/// let inner = Arc::new(MemoryNetwork::new().join(PeerId::FIRST));
/// let transport = Tapped::new(inner, move |batch: &mut Vec<Outgoing>| batch.retain(|sent| sent.to != second));
/// assert_eq!(transport.local(), PeerId::FIRST);
/// ```
pub struct Tapped<F> {
    inner: Arc<dyn Transport>,
    tap: F,
}

impl<F: Fn(&mut Vec<Outgoing>) + Send + Sync> Tapped<F> {
    /// Lets what `inner` sends pass `tap`.
    pub fn new(inner: Arc<dyn Transport>, tap: F) -> Self {
        Self { inner, tap }
    }
}

impl<F> fmt::Debug for Tapped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tapped")
            .field("local", &self.inner.local())
            .finish_non_exhaustive()
    }
}

impl<F: Fn(&mut Vec<Outgoing>) + Send + Sync> Transport for Tapped<F> {
    fn local(&self) -> PeerId {
        self.inner.local()
    }

    fn bind(
        &self,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), TransportError> {
        self.inner.bind(protocol, accept, mailbox)
    }

    fn send(&self, batch: &mut Vec<Outgoing>) {
        (self.tap)(batch);
        self.inner.send(batch);
    }
}
