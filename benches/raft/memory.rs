//! Three replicas of ours in one process: nodes on tasks, a network and stores in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peaberry_consensus::{
    Outcome, RaftConfig, RaftEvent, RaftGroup, RaftHandle, ticket_dispatcher,
};
use peaberry_core::{MemoryNetwork, MemoryStorage, Node, PeerId, SystemClock};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Payload;
use crate::sum::Sum;

/// How long an idle node looks for input before it sleeps.
const LINGER: Duration = Duration::from_micros(50);

/// Starts three replicas on `servers`, with dispatchers on `clients`; answers the one that leads.
pub(crate) async fn start(servers: &Handle, clients: &Handle) -> Replica {
    let peers = [1, 2, 3].map(|id| PeerId::new(id).expect("not zero"));
    let network = MemoryNetwork::new();
    let (led, mut leads) = mpsc::unbounded_channel();
    let mut handles = Vec::new();
    for local in peers {
        let storage = Arc::new(MemoryStorage::new());
        let config = RaftConfig::new(0, local, peers, local.get());
        let channel = config.channel();
        let group = RaftGroup::open(config, storage.as_ref(), Sum::default())
            .expect("an empty store holds no broken group");
        let transport = Arc::new(network.join(local));
        let mut node =
            Node::new(transport, storage, Arc::new(SystemClock::new())).with_linger(LINGER);
        let (tickets, dispatcher) = ticket_dispatcher();
        let led = led.clone();
        let commands = node.add(channel, group, move |events: &mut Vec<_>| {
            tickets.settle(events);
            for event in events.drain(..) {
                if let RaftEvent::Leader { leader, .. } = event
                    && leader == Some(local)
                {
                    // Nobody asks any more once the bench runs.
                    let _ = led.send(local);
                }
            }
        });
        handles.push(RaftHandle::new(commands.expect("a channel of its own")));
        servers.spawn(node.into_task());
        clients.spawn(dispatcher);
    }
    let leader = leads.recv().await.expect("the nodes live");
    let place = peers.iter().position(|&peer| peer == leader);
    Replica(handles.swap_remove(place.expect("one of the three")))
}

/// The leader.
#[derive(Clone)]
pub(crate) struct Replica(RaftHandle);

impl Replica {
    /// Proposes `payload` and waits until it is applied.
    pub(crate) async fn propose(&self, payload: Payload) {
        let outcome = self.0.propose(Bytes::copy_from_slice(&payload)).await;
        assert!(
            matches!(outcome, Outcome::Committed { .. }),
            "nothing fails in memory: {outcome:?}"
        );
    }
}
