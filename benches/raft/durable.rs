//! Three durable replicas of ours: nodes on threads, meshes on loopback, stores on disk.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use peaberry_consensus::{Outcome, RaftConfig, RaftEvent, RaftGroup, RaftHandle, settle_ticket};
use peaberry_core::ca::DevelopmentCa;
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
use peaberry_core::{
    ClusterId, DiskOptions, DiskStorage, Node, NodeThread, PeerId, SystemClock, Transport,
};
use tokio::sync::mpsc;

use super::{Failure, VALUE_BYTES};
use crate::sum::Sum;

const CLUSTER: u128 = 1;

/// The replicas. Dropping it stops them.
pub(crate) struct Cluster {
    leader: RaftHandle,
    _nodes: Vec<NodeThread>,
}

impl Cluster {
    /// Starts three replicas with stores in `folder`, their meshes on the present runtime.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let peers = [1, 2, 3].map(|id| PeerId::new(id).expect("not zero"));
        let meshes = connect(&peers).await?;
        let (led, mut leads) = mpsc::unbounded_channel();
        let mut handles = Vec::new();
        let mut nodes = Vec::new();
        for mesh in meshes {
            let local = mesh.local();
            let options = DiskOptions::new("raft_durable", local);
            let storage = Arc::new(DiskStorage::open(folder.join(local.to_string()), options)?);
            let config = RaftConfig::new(0, local, peers, local.get());
            let channel = config.channel();
            let group = RaftGroup::open(config, storage.as_ref(), Sum::default())?;
            let mut node = Node::new(Arc::new(mesh), storage, Arc::new(SystemClock::new()));
            let led = led.clone();
            let commands = node.add(channel, group, move |events: &mut Vec<_>| {
                for event in events.drain(..).filter_map(settle_ticket) {
                    if let RaftEvent::Leader { leader, .. } = event
                        && leader == Some(local)
                    {
                        // Nobody asks any more once the bench runs.
                        let _ = led.send(local);
                    }
                }
            })?;
            handles.push((local, RaftHandle::new(commands)));
            nodes.push(node.spawn(&local.to_string())?);
        }
        let leader = leads.recv().await.ok_or("the nodes are gone")?;
        handles.retain(|(local, _)| *local == leader);
        let (_, leader) = handles.pop().ok_or("one of the three leads")?;
        Ok(Self {
            leader,
            _nodes: nodes,
        })
    }

    pub(crate) fn leader(&self) -> Leader {
        Leader(self.leader.clone())
    }
}

/// Meshes that know each other's addresses.
async fn connect(peers: &[PeerId]) -> Result<Vec<Mesh>, Failure> {
    let ca = DevelopmentCa::new(ClusterId::new(CLUSTER).ok_or("zero")?)?;
    let mut meshes: Vec<Mesh> = Vec::new();
    for &local in peers {
        let issued = ca.issue(local)?;
        let credentials = Credentials::from_pem(
            &issued.certificate_pem,
            &issued.key_pem,
            &issued.authority_pem,
        )?;
        let mut config = MeshConfig::new(credentials, local.get());
        config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        meshes.push(Mesh::start(config).await?);
    }
    for mesh in &meshes {
        for other in meshes.iter().filter(|other| other.local() != mesh.local()) {
            mesh.set_peer(other.local(), other.local_addr().ok_or("no listener")?)?;
        }
    }
    Ok(meshes)
}

/// The replica that leads.
#[derive(Clone)]
pub(crate) struct Leader(RaftHandle);

impl Leader {
    /// Proposes a command and waits until it is durable on two replicas and applied on this one.
    pub(crate) async fn propose(&self) {
        let command = Bytes::from(vec![7; VALUE_BYTES]);
        let outcome = self.0.propose(command).await;
        assert!(
            matches!(outcome, Outcome::Committed { .. }),
            "nothing fails on loopback: {outcome:?}"
        );
    }
}
