//! Three members of etcd on loopback, and puts over gRPC.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::{Failure, VALUE_BYTES};

/// Connections to the leader; requests take them by turns.
const CONNECTIONS: usize = 16;
/// How many keys the puts write, by turns.
const KEYS: usize = 10_000;
const ASK_AGAIN_DELAY: Duration = Duration::from_millis(50);
/// How often the members are asked for their leader: for half a minute.
const ASKS_MAX: usize = 600;

/// The members. Dropping it ends them.
pub(crate) struct Cluster {
    leader: Leader,
    _members: Members,
}

impl Cluster {
    /// Starts three members with data in `folder`; `None` where etcd is not installed.
    pub(crate) async fn start(folder: &Path) -> Result<Option<Self>, Failure> {
        let ports = free_ports(6)?;
        let (peer_ports, client_ports) = ports.split_at(3);
        let urls: Vec<String> = peer_ports.iter().map(|port| url(*port)).collect();
        let cluster: Vec<String> = (0..)
            .zip(&urls)
            .map(|(id, url)| format!("m{id}={url}"))
            .collect();
        let mut started = Members(Vec::new());
        for ((id, peer_url), client_port) in (0..).zip(&urls).zip(client_ports) {
            let name = format!("m{id}");
            let member = Command::new("etcd")
                .args(["--name", &name])
                .arg("--data-dir")
                .arg(folder.join(&name))
                .args(["--listen-peer-urls", peer_url])
                .args(["--initial-advertise-peer-urls", peer_url])
                .args(["--listen-client-urls", &url(*client_port)])
                .args(["--advertise-client-urls", &url(*client_port)])
                .args(["--initial-cluster", &cluster.join(",")])
                .args(["--heartbeat-interval", "500", "--election-timeout", "5000"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            match member {
                Ok(member) => started.0.push(member),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let leader = Leader::find(client_ports).await?;
        Ok(Some(Self {
            leader,
            _members: started,
        }))
    }

    pub(crate) fn leader(&self) -> Leader {
        self.leader.clone()
    }
}

/// Processes that end with their owner.
struct Members(Vec<Child>);

impl Drop for Members {
    fn drop(&mut self) {
        for member in &mut self.0 {
            // One that has ended already is what is wanted.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Ports that nobody listened at a moment ago.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

/// The member that leads.
#[derive(Clone)]
pub(crate) struct Leader {
    connections: Arc<Vec<Channel>>,
    puts: Arc<AtomicUsize>,
}

impl Leader {
    /// Asks the members at `ports` until one of them leads.
    async fn find(ports: &[u16]) -> Result<Self, Failure> {
        for _ in 0..ASKS_MAX {
            for &port in ports {
                if leads(port).await.unwrap_or(false) {
                    return Self::connect(port).await;
                }
            }
            tokio::time::sleep(ASK_AGAIN_DELAY).await;
        }
        Err("no member of etcd led within half a minute".into())
    }

    async fn connect(port: u16) -> Result<Self, Failure> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Endpoint::new(url(port))?.connect().await?);
        }
        Ok(Self {
            connections: Arc::new(connections),
            puts: Arc::default(),
        })
    }

    /// Puts a value and waits for the answer.
    pub(crate) async fn put(&self) {
        let put = self.puts.fetch_add(1, Ordering::Relaxed);
        let request = PutRequest {
            key: (put % KEYS).to_be_bytes().to_vec().into(),
            value: vec![7; VALUE_BYTES].into(),
        };
        let connection = self.connections.iter().cycle().nth(put % CONNECTIONS);
        let connection = connection.expect("at least one connection").clone();
        let answer: Result<PutResponse, Failure> =
            call(connection, "/etcdserverpb.KV/Put", request).await;
        answer.expect("nothing fails on loopback");
    }
}

async fn leads(port: u16) -> Result<bool, Failure> {
    let connection = Endpoint::new(url(port))?.connect().await?;
    let status: StatusResponse = call(
        connection,
        "/etcdserverpb.Maintenance/Status",
        StatusRequest {},
    )
    .await?;
    let member = status.header.map_or(0, |header| header.member_id);
    Ok(status.leader != 0 && status.leader == member)
}

async fn call<Q, A>(connection: Channel, path: &'static str, request: Q) -> Result<A, Failure>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = Grpc::new(connection);
    grpc.ready().await?;
    let codec = ProstCodec::<Q, A>::default();
    let path = PathAndQuery::from_static(path);
    let answer = grpc.unary(Request::new(request), path, codec).await?;
    Ok(answer.into_inner())
}

/// The fields used here of `etcdserverpb`, which others may surround.
#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}
