//! A cluster of replicas on threads, and a machine that adds.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::map_err_ignore,
    reason = "tests share these helpers: each uses some, and they fail as tests do"
)]

use std::sync::Arc;

use bytes::Bytes;
use peaberry_consensus::{
    Apply, RaftConfig, RaftEvent, RaftGroup, RaftHandle, Restore, RestoreError, StateMachine,
    settle_ticket,
};
use peaberry_core::{MemoryNetwork, MemoryStorage, Node, NodeThread, PeerId, SystemClock};
use tokio::sync::{Mutex, mpsc};

/// Adds the big-endian numbers it is told, and answers the sum.
#[derive(Default)]
pub(crate) struct Sum(u64);

impl StateMachine for Sum {
    type Snapshot = std::iter::Once<Bytes>;
    type Restore = Self;

    fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes {
        self.0 += number(apply.command);
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn query(&self, _query: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    fn snapshot(&self) -> Self::Snapshot {
        std::iter::once(Bytes::copy_from_slice(&self.0.to_be_bytes()))
    }

    fn begin_restore(&self) -> Self {
        Self(0)
    }
}

impl Restore for Sum {
    type Machine = Self;

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        self.0 = u64::from_be_bytes(
            chunk
                .try_into()
                .map_err(|_| RestoreError::new("a sum is 8 bytes"))?,
        );
        Ok(())
    }

    fn finish(self) -> Result<Self, RestoreError> {
        Ok(self)
    }
}

/// A big-endian number; 0 for anything else.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

pub(crate) struct Cluster {
    handles: Vec<RaftHandle>,
    leaders: Mutex<mpsc::UnboundedReceiver<usize>>,
    _threads: Vec<NodeThread>,
}

impl Cluster {
    pub(crate) fn start(replicas: u64) -> Self {
        let network = MemoryNetwork::new();
        let peers: Vec<PeerId> = (1..=replicas).map(|id| PeerId::new(id).unwrap()).collect();
        let (led, leaders) = mpsc::unbounded_channel();
        let mut handles = Vec::new();
        let mut threads = Vec::new();
        for &local in &peers {
            let storage = Arc::new(MemoryStorage::new());
            let config = RaftConfig::new(0, local, peers.iter().copied(), local.get());
            let channel = config.channel();
            let group = RaftGroup::open(config, storage.as_ref(), Sum::default()).unwrap();
            let mut node = Node::new(
                Arc::new(network.join(local)),
                storage,
                Arc::new(SystemClock::new()),
            );
            let led = led.clone();
            let commands = node
                .add(channel, group, move |events: &mut Vec<_>| {
                    for event in events.drain(..).filter_map(settle_ticket) {
                        assert!(!matches!(event, RaftEvent::Misbehaved { .. }), "{event:?}");
                        if let RaftEvent::Leader {
                            leader: Some(leader),
                            ..
                        } = event
                        {
                            let _ = led.send(usize::try_from(leader.get()).unwrap() - 1);
                        }
                    }
                })
                .unwrap();
            handles.push(RaftHandle::new(commands));
            threads.push(node.spawn(&format!("{local}")).unwrap());
        }
        Self {
            handles,
            leaders: Mutex::new(leaders),
            _threads: threads,
        }
    }

    pub(crate) fn handle(&self, replica: usize) -> &RaftHandle {
        &self.handles[replica]
    }

    /// The replica that every other has heard of as leader.
    pub(crate) async fn leader(&self) -> usize {
        let mut leaders = self.leaders.lock().await;
        let mut heard = vec![0; self.handles.len()];
        loop {
            let leader = leaders.recv().await.unwrap();
            heard[leader] += 1;
            if heard[leader] == self.handles.len() {
                return leader;
            }
        }
    }
}
