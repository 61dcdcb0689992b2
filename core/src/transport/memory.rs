use std::collections::{BTreeMap, BTreeSet};
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
    cut: Arc<RwLock<BTreeSet<PeerId>>>,
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

    /// Cuts `peer` off: until it is [mended](Self::mend), what it sends and what is sent to it is lost without a word, as on
    /// a dead line. Whether it was connected before.
    ///
    /// ```
    /// use peaberry_core::{MemoryNetwork, PeerId};
    ///
    /// let (network, anna) = (MemoryNetwork::new(), PeerId::new(1).unwrap());
    /// let _transport = network.join(anna);
    /// assert!(network.cut(anna));
    /// assert!(network.mend(anna));
    /// ```
    pub fn cut(&self, peer: PeerId) -> bool {
        self.cut.write().insert(peer)
    }

    /// Connects `peer` again. Whether it was cut off.
    pub fn mend(&self, peer: PeerId) -> bool {
        self.cut.write().remove(&peer)
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
        let cut = self.network.cut.read();
        if !cut.is_empty() {
            batch.retain(|message| !cut.contains(&self.local) && !cut.contains(&message.to));
        }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::peer::Channel;
    use crate::signal::Signal;

    #[test]
    fn a_peer_that_is_cut_off_hears_and_says_nothing_until_it_is_mended() {
        let network = MemoryNetwork::new();
        let [anna, ben, eve] = [1, 2, 3].map(|id| PeerId::new(id).expect("not zero"));
        let protocol = ProtocolId(2000);
        let ends = [anna, ben, eve].map(|peer| {
            let transport = network.join(peer);
            let mailbox = Arc::new(Mailbox::new(Arc::new(Signal::new())));
            transport
                .bind(protocol, Peers::Any, mailbox.clone())
                .expect("nothing is bound yet");
            (transport, mailbox)
        });
        let say = |from: usize, to: PeerId| {
            let payload = Bytes::from_static(b"hello");
            let channel = Channel::new(protocol, 0);
            let mut batch = vec![Outgoing {
                to,
                channel,
                payload,
            }];
            ends[from].0.send(&mut batch);
            assert!(batch.is_empty(), "lost without a word");
        };
        let heard = |at: usize| ends[at].1.take().len();
        assert!(network.cut(ben));
        say(0, ben);
        say(1, anna);
        say(0, eve);
        assert_eq!([heard(0), heard(1), heard(2)], [0, 0, 1]);
        assert!(network.mend(ben) && !network.mend(ben));
        say(0, ben);
        say(1, anna);
        assert_eq!([heard(0), heard(1)], [1, 1]);
    }
}
