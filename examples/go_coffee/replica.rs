//! One replica of the lock service, as a process of its own.
//!
//! It prints `listening ADDRESS`, then `leader TERM PEER` whenever it hears of one, and takes `peer ID ADDRESS` lines:
//! where to dial the others. It ends when its input does, so that no replica outlives its shop.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use peaberry_consensus::{RaftConfig, RaftEvent, RaftGroup};
use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
use peaberry_core::{DiskOptions, DiskStorage, Node, NodeThread, PeerId, SystemClock};
use peaberry_lockd::{LockTable, Replica, ReplicaConfig, ReplicaEvent};

use crate::Failure;
use crate::arguments::ReplicaArguments;

/// The group's number.
pub(crate) const GROUP: u64 = 1;

/// The cluster's name, as stores and certificates know it.
pub(crate) const CLUSTER: u128 = 0x00c0_ffee;

pub(crate) fn run(arguments: &ReplicaArguments) -> Result<(), Failure> {
    let local = peer(arguments.id)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mesh = runtime.block_on(mesh(arguments, local))?;
    let address = mesh.local_addr().ok_or("a replica listens")?;
    let mesh = Arc::new(mesh);
    let node = node(arguments, local, mesh.clone())?;
    say(&format!("listening {address}"))?;
    for line in std::io::stdin().lock().lines() {
        meet(&mesh, &line?)?;
        if node.is_finished() {
            return Err("the replica's node has stopped".into());
        }
    }
    Ok(())
}

async fn mesh(arguments: &ReplicaArguments, local: PeerId) -> Result<Mesh, Failure> {
    let mut config = MeshConfig::new(credentials(&arguments.folder)?, arguments.seed);
    config.listen = Some(arguments.listen);
    if config.credentials.identity().peer != local {
        return Err(format!(
            "the certificate in {} is not {local}'s",
            arguments.folder.display()
        )
        .into());
    }
    Ok(Mesh::start(config).await?)
}

/// Reads the credentials that the shop has put into `folder`.
pub(crate) fn credentials(folder: &Path) -> Result<Credentials, Failure> {
    let [certificate, key, authority] = ["certificate.pem", "key.pem", "authority.pem"]
        .map(|name| std::fs::read_to_string(folder.join(name)));
    Ok(Credentials::from_pem(&certificate?, &key?, &authority?)?)
}

fn node(
    arguments: &ReplicaArguments,
    local: PeerId,
    mesh: Arc<Mesh>,
) -> Result<NodeThread, Failure> {
    let options = DiskOptions::new("go-coffee", local);
    let storage = Arc::new(DiskStorage::open(arguments.folder.join("store"), options)?);
    let voters = arguments
        .voters
        .iter()
        .map(|&id| peer(id))
        .collect::<Result<Vec<_>, _>>()?;
    let mut config = RaftConfig::new(GROUP, local, voters, arguments.seed);
    config.tick = Duration::from_millis(25);
    let place = ReplicaConfig {
        local,
        group: config.channel(),
    };
    let group = RaftGroup::open(config, storage.as_ref(), LockTable::new())?;
    let mut node = Node::new(mesh, storage, Arc::new(SystemClock::new()))
        .with_report(|report| eprintln!("replica: {report:?}"));
    Replica::add_to(&mut node, place, group, observe)?;
    Ok(node.spawn("replica")?)
}

fn observe(event: ReplicaEvent) {
    if let ReplicaEvent::Group(RaftEvent::Leader {
        term,
        leader: Some(leader),
    }) = event
    {
        // A shop that reads no more has ended, and this process with it.
        let _ = say(&format!("leader {term} {}", leader.get()));
    }
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Takes a line `peer ID ADDRESS`.
fn meet(mesh: &Mesh, line: &str) -> Result<(), Failure> {
    let mut words = line.split(' ');
    let (Some("peer"), Some(id), Some(address)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("not an order to a replica: {line}").into());
    };
    mesh.set_peer(peer(id.parse()?)?, address.parse::<SocketAddr>()?)?;
    Ok(())
}

fn peer(id: u64) -> Result<PeerId, Failure> {
    PeerId::new(id).ok_or_else(|| "no peer is numbered 0".into())
}
