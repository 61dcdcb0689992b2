use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::mailbox::Mailbox;
use crate::peer::{PeerId, Peers, ProtocolId};
use crate::transport::{Envelope, Outgoing, PAYLOAD_BYTES_MAX, Transport, TransportError};

/// Peers within one process: a message is in the other's mailbox before `send` returns, and lost only when nobody has
/// bound its protocol.
///
/// ```
/// use peaberry_core::{MemoryNetwork, PeerId, Transport};
///
/// let network = MemoryNetwork::new();
/// let anna = network.join(PeerId::new(1).unwrap());
/// let ben = network.join(PeerId::new(2).unwrap());
/// assert_ne!(anna.local(), ben.local());
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryNetwork {
    bindings: Arc<RwLock<BTreeMap<PeerId, Bindings>>>,
}

type Bindings = BTreeMap<ProtocolId, (Peers, Weak<Mailbox>)>;

impl MemoryNetwork {
    /// A network without peers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The transport of `peer` on this network. Joining again, as after a restart, leaves earlier bindings behind.
    #[must_use]
    pub fn join(&self, peer: PeerId) -> MemoryTransport {
        self.bindings.write().insert(peer, Bindings::new());
        MemoryTransport {
            local: peer,
            network: self.clone(),
        }
    }
}

/// One peer's end of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryTransport {
    local: PeerId,
    network: MemoryNetwork,
}

impl Transport for MemoryTransport {
    fn local(&self) -> PeerId {
        self.local
    }

    fn bind(
        &self,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), TransportError> {
        let mut peers = self.network.bindings.write();
        let bindings = peers.entry(self.local).or_default();
        if bindings
            .get(&protocol)
            .is_some_and(|(_, bound)| bound.strong_count() > 0)
        {
            return Err(TransportError::AlreadyBound {
                protocol,
                local: self.local,
            });
        }
        bindings.insert(protocol, (accept, Arc::downgrade(&mailbox)));
        Ok(())
    }

    fn send(&self, batch: &mut Vec<Outgoing>) {
        let peers = self.network.bindings.read();
        let mut refused = Vec::new();
        let mut messages = batch.drain(..).peekable();
        let mut run: Vec<Envelope> = Vec::new();
        while let Some(message) = messages.next() {
            let (to, protocol) = (message.to, message.channel.protocol);
            if to == self.local
                || message.payload.len() > PAYLOAD_BYTES_MAX
                || !peers.contains_key(&to)
            {
                refused.push(message);
                continue;
            }
            run.push(Envelope {
                from: self.local,
                channel: message.channel,
                payload: message.payload,
            });
            // Neighbours for the same mailbox go in with one lock and one wake-up.
            let joins = |next: &Outgoing| {
                next.to == to
                    && next.channel.protocol == protocol
                    && next.payload.len() <= PAYLOAD_BYTES_MAX
            };
            if messages.peek().is_some_and(joins) {
                continue;
            }
            let bound = peers.get(&to).and_then(|bindings| bindings.get(&protocol));
            if let Some((accept, mailbox)) = bound
                && accept.contains(self.local)
                && let Some(mailbox) = mailbox.upgrade()
            {
                mailbox.deliver(&mut run);
                refused.extend(run.drain(..).map(|left| Outgoing {
                    to,
                    channel: left.channel,
                    payload: left.payload,
                }));
            }
            run.clear();
        }
        drop(messages);
        *batch = refused;
    }
}
