use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::task::AbortHandle;

use super::config::MeshLimits;
use super::event::{DisconnectReason, Side};
use super::link::Link;
use super::peer_queue::PeerQueue;
use crate::peer::{Channel, PeerId};
use crate::transport::{Outgoing, PAYLOAD_BYTES_MAX};

/// Everyone we can send to: peers with an address, and peers that have dialled us.
///
/// The map's lock is taken before a peer's.
#[derive(Debug, Default)]
pub(super) struct PeerTable {
    peers: RwLock<BTreeMap<PeerId, Arc<Peer>>>,
}

/// One peer: what waits for it, and the connections it can leave by.
#[derive(Debug)]
pub(super) struct Peer {
    id: PeerId,
    state: Mutex<PeerState>,
}

#[derive(Debug, Default)]
struct PeerState {
    queue: PeerQueue,
    address: Option<SocketAddr>,
    dialling: Option<AbortHandle>,
    dialled: Option<Arc<Link>>,
    incoming: Option<Arc<Link>>,
    /// No longer in the table.
    gone: bool,
}

impl PeerState {
    /// The connection that messages leave by: the one we dialled, else the one the peer dialled.
    fn sender(&self) -> Option<&Arc<Link>> {
        self.dialled.as_ref().or(self.incoming.as_ref())
    }

    const fn slot(&mut self, side: Side) -> &mut Option<Arc<Link>> {
        match side {
            Side::Dialler => &mut self.dialled,
            Side::Acceptor => &mut self.incoming,
        }
    }

    fn wake_sender(&self) {
        if !self.queue.is_empty()
            && let Some(link) = self.sender()
        {
            link.wake.notify_one();
        }
    }

    /// Empties the queue of a peer that leaves the table.
    fn bury(&mut self) -> Vec<(Channel, usize)> {
        self.gone = true;
        self.queue.clear()
    }
}

impl Peer {
    pub(super) const fn id(&self) -> PeerId {
        self.id
    }

    /// Moves waiting messages to `out` if `link` is the connection they leave by.
    pub(super) fn take(&self, link: &Arc<Link>, bytes_max: usize, out: &mut Vec<(Channel, Bytes)>) {
        let mut state = self.state.lock();
        if state
            .sender()
            .is_some_and(|sender| Arc::ptr_eq(sender, link))
        {
            state.queue.take(bytes_max, out);
        }
    }
}

impl PeerTable {
    /// Queues what it can and takes it out of `batch`.
    pub(super) fn send(&self, batch: &mut Vec<Outgoing>, limits: &MeshLimits) {
        let peers = self.peers.read();
        let mut refused = Vec::new();
        // Woken last, so that a writer on another thread finds the whole batch and not its first message.
        let mut wake: Vec<Arc<Link>> = Vec::new();
        let mut messages = batch.drain(..).peekable();
        while let Some(first) = messages.peek() {
            let to = first.to;
            let mut run = std::iter::from_fn(|| messages.next_if(|message| message.to == to));
            let Some(peer) = peers.get(&to) else {
                refused.extend(run);
                continue;
            };
            let mut state = peer.state.lock();
            let was_empty = state.queue.is_empty();
            for message in &mut run {
                refused.extend(state.push(message, limits));
            }
            if was_empty
                && !state.queue.is_empty()
                && let Some(link) = state.sender()
            {
                wake.push(link.clone());
            }
        }
        drop(messages);
        drop(peers);
        batch.append(&mut refused);
        for link in wake {
            link.wake.notify_one();
        }
    }

    /// Gives a peer an address, to be dialled by the task that `dial` starts, unless it has that address already.
    pub(super) fn set_address(
        &self,
        id: PeerId,
        address: SocketAddr,
        dial: impl FnOnce(Arc<Peer>) -> Option<AbortHandle>,
    ) {
        let mut peers = self.peers.write();
        let peer = Self::entry(&mut peers, id);
        let mut state = peer.state.lock();
        if state.address == Some(address) {
            return;
        }
        state.address = Some(address);
        if let Some(before) = state.dialling.take() {
            before.abort();
        }
        if let Some(link) = state.dialled.take() {
            link.close(DisconnectReason::AddressChanged);
        }
        state.dialling = dial(peer.clone());
        state.wake_sender();
    }

    fn entry(peers: &mut BTreeMap<PeerId, Arc<Peer>>, id: PeerId) -> Arc<Peer> {
        let new = || {
            Arc::new(Peer {
                id,
                state: Mutex::default(),
            })
        };
        peers.entry(id).or_insert_with(new).clone()
    }

    /// Forgets a peer, closes its connections and drops what waited for it; returns how many messages that were.
    pub(super) fn remove(&self, id: PeerId) -> Vec<(Channel, usize)> {
        let mut peers = self.peers.write();
        let Some(peer) = peers.remove(&id) else {
            return Vec::new();
        };
        let mut state = peer.state.lock();
        if let Some(dialling) = state.dialling.take() {
            dialling.abort();
        }
        for side in [Side::Dialler, Side::Acceptor] {
            if let Some(link) = state.slot(side).take() {
                link.close(DisconnectReason::Removed);
            }
        }
        state.bury()
    }

    /// Puts a new connection in its place, and lets messages leave by it if it is the preferred one.
    ///
    /// A connection in the same direction is asked to close: the peer's newest one is the one that lives. `None`: we
    /// dialled a peer that was removed meanwhile, or as many peers as allowed have dialled us.
    pub(super) fn attach(&self, link: &Arc<Link>, incoming_max: usize) -> Option<Arc<Peer>> {
        let mut peers = self.peers.write();
        let peer = match link.side {
            Side::Dialler => peers.get(&link.peer)?.clone(),
            Side::Acceptor => {
                let full = Self::incoming(&peers, link.peer) >= incoming_max;
                if full {
                    return None;
                }
                Self::entry(&mut peers, link.peer)
            }
        };
        let mut state = peer.state.lock();
        if let Some(before) = state.slot(link.side).replace(link.clone()) {
            before.close(DisconnectReason::Replaced);
        }
        state.wake_sender();
        drop(state);
        Some(peer)
    }

    /// How many peers other than `but` have dialled us.
    fn incoming(peers: &BTreeMap<PeerId, Arc<Peer>>, but: PeerId) -> usize {
        let others = peers.values().filter(|peer| peer.id != but);
        others
            .filter(|peer| peer.state.lock().incoming.is_some())
            .count()
    }

    /// Takes a connection that has ended from its place. The next messages leave by the peer's other connection, if
    /// there is one. A peer without address or connection is forgotten, and what waited for it is dropped: returns how
    /// many messages that were.
    pub(super) fn detach(&self, link: &Arc<Link>) -> Vec<(Channel, usize)> {
        let mut peers = self.peers.write();
        let Some(peer) = peers.get(&link.peer).cloned() else {
            return Vec::new();
        };
        let mut state = peer.state.lock();
        let slot = state.slot(link.side);
        if slot.as_ref().is_some_and(|held| Arc::ptr_eq(held, link)) {
            *slot = None;
        }
        if state.address.is_none() && state.sender().is_none() {
            peers.remove(&link.peer);
            return state.bury();
        }
        state.wake_sender();
        Vec::new()
    }

    /// The peers with a connection.
    pub(super) fn connected(&self) -> BTreeSet<PeerId> {
        let peers = self.peers.read();
        let connected = |peer: &&Arc<Peer>| peer.state.lock().sender().is_some();
        peers
            .values()
            .filter(connected)
            .map(|peer| peer.id)
            .collect()
    }
}

impl PeerState {
    /// Queues a message, or gives it back.
    fn push(&mut self, message: Outgoing, limits: &MeshLimits) -> Option<Outgoing> {
        if self.gone || message.payload.len() > PAYLOAD_BYTES_MAX {
            return Some(message);
        }
        let Outgoing {
            to,
            channel,
            payload,
        } = message;
        let refused = self.queue.push(channel, payload, limits).err()?;
        Some(Outgoing {
            to,
            channel,
            payload: refused,
        })
    }
}
