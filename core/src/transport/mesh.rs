//! Authenticated TCP between machines.
//!
//! A [`Mesh`] carries every protocol between the peers of one cluster. Each connection is TLS 1.3 with certificates on
//! both sides; a peer is who its certificate says, vouched for by the cluster's authority, so certificates rotate and
//! ids stay. The bytes within are described in [`frame`](crate::frame).
//!
//! # Connections
//!
//! Each peer with an address is dialled, at once and again whenever the connection is lost. A message leaves by the
//! connection that we dialled; while there is none, by the latest one that the peer has dialled. So
//!
//! - two peers that know each other's address hold two connections, each side sending on its own: nobody has to decide
//!   between them;
//! - a client without a listener dials its servers and gets their answers on the same connection;
//! - where only one of two peers can reach the other, both can send.
//!
//! When one connection replaces another, messages may overtake each other.
//!
//! # What waits, and what is lost
//!
//! For each peer and channel there is a bounded queue; a full one refuses. The queues of a peer are drained by turns,
//! an equal share of bytes for each, into writes of up to 256 KiB. While a peer is away, what waits for it stays. What
//! was on its way when a connection broke may be lost: the protocols concerned get
//! [`Unreachable`](crate::Input::Unreachable) for the channels used since the last confirmed ping. What waits for a
//! peer that only dialled us is dropped with its connection, and told the same way.
//!
//! A mailbox that is full holds up the peer's messages to everybody here for
//! [`delivery_wait`](MeshTimes::delivery_wait) at most, and other peers' not at all.
//!
//! # Who may connect
//!
//! Every peer with a certificate of the cluster. Which protocols listen to it is said where they are
//! [bound](crate::Transport::bind). There is no revocation list: a peer that must stay out needs a new authority, or
//! short-lived certificates.

mod backoff;
mod bindings;
mod config;
mod connection;
mod credentials;
mod delivery;
mod dialler;
mod drops;
mod event;
mod handshake;
mod link;
mod listener;
mod peer_queue;
mod peers;
mod reader;
mod rejections;
mod shared;
mod tls;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub use self::config::{MeshConfig, MeshLimits, MeshTimes};
#[doc(hidden)]
pub use self::credentials::decode_any_certificate;
pub use self::credentials::{CertificateError, Credentials, CredentialsError};
pub use self::event::{DisconnectReason, DropReason, MeshEvent, RejectReason, Side};
use self::shared::Shared;
use self::tls::Tls;
use crate::mailbox::Mailbox;
use crate::peer::{PeerId, Peers, ProtocolId};
use crate::transport::identity::PeerIdentity;
use crate::transport::{Outgoing, Transport, TransportError};

/// A member of a cluster, connected to the others; see the [module](self). Dropping it stops its tasks.
///
/// # Example
///
/// Two peers on one machine, with certificates from a development authority (feature `ca`):
///
/// ```
/// use std::sync::Arc;
/// use bytes::Bytes;
/// use peaberry_core::ca::DevelopmentCa;
/// use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
/// use peaberry_core::{Channel, ClusterId, Outgoing, PeerId, ProtocolId, Transport};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let ca = DevelopmentCa::new(ClusterId::new(7).unwrap()).unwrap();
/// let [server_id, client_id] = [1, 2].map(|id| PeerId::new(id).unwrap());
/// let config = |id| {
///     let issued = ca.issue(id).unwrap();
///     let credentials =
///         Credentials::from_pem(&issued.certificate_pem, &issued.key_pem, &issued.authority_pem).unwrap();
///     MeshConfig::new(credentials, id.get())
/// };
///
/// let mut listening = config(server_id);
/// listening.listen = Some("127.0.0.1:0".parse().unwrap());
/// let server = Mesh::start(listening).await.unwrap();
///
/// let client = Mesh::start(config(client_id)).await.unwrap();
/// client.set_peer(server_id, server.local_addr().unwrap()).unwrap();
///
/// // Queued at once, sent as soon as the connection stands.
/// let channel = Channel::new(ProtocolId(2000), 0);
/// let mut batch = vec![Outgoing { to: server_id, channel, payload: Bytes::from("good morning") }];
/// client.send(&mut batch);
/// assert!(batch.is_empty());
/// # });
/// ```
pub struct Mesh {
    shared: Arc<Shared>,
    local_addr: Option<SocketAddr>,
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("identity", &self.shared.local)
            .field("local_addr", &self.local_addr)
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

/// Why a mesh could not start, or not do what it was asked. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// The credentials cannot be used.
    #[error("could not use the credentials")]
    Credentials(#[from] CredentialsError),
    /// The address cannot be listened at.
    #[error("could not listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// An address was given for ourselves.
    #[error("{local} is this peer itself: leave it out of the peers' addresses")]
    OwnId {
        /// We.
        local: PeerId,
    },
    /// A limit or a time that nothing could work with.
    #[error("{field} is zero")]
    Zero {
        /// Which one.
        field: &'static str,
    },
}

impl Mesh {
    /// Listens, if there is an address for it, and starts dialling.
    ///
    /// The mesh's tasks live on the runtime that this is called on, whose network and time drivers must be on.
    ///
    /// # Errors
    ///
    /// See [`MeshError`].
    pub async fn start(config: MeshConfig) -> Result<Self, MeshError> {
        check(&config)?;
        let local = config.credentials.identity();
        let tls = Tls::new(&config.credentials)?;
        let listener = match config.listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let mesh = Self {
            local_addr: listener.as_ref().map(|(_, address)| *address),
            shared: Arc::new(Shared {
                local,
                tls: RwLock::new(tls),
                limits: config.limits,
                times: config.times,
                seed: config.seed,
                peers: peers::PeerTable::default(),
                bindings: bindings::Bindings::default(),
                report: config.report,
                rejections: rejections::Rejections::default(),
                runtime: Handle::current(),
                tasks: Mutex::new(Some(JoinSet::new())),
            }),
        };
        if let Some((listener, _)) = listener {
            let task = listener::run(mesh.shared.clone(), listener);
            mesh.shared.spawn(task);
        }
        for (peer, address) in config.peers {
            mesh.set_peer(peer, address)?;
        }
        Ok(mesh)
    }

    /// Who we are, and of which cluster.
    #[must_use]
    pub fn identity(&self) -> PeerIdentity {
        self.shared.local
    }

    /// Where we listen, with the port that port 0 became. `None`: only we dial.
    #[must_use]
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// The peers with a standing connection.
    #[must_use]
    pub fn connected(&self) -> BTreeSet<PeerId> {
        self.shared.peers.connected()
    }

    /// Dials `peer` at `address` from now on. What waits for the peer stays; a connection dialled to another address is
    /// closed.
    ///
    /// # Errors
    ///
    /// [`MeshError::OwnId`].
    pub fn set_peer(&self, peer: PeerId, address: SocketAddr) -> Result<(), MeshError> {
        if peer == self.shared.local.peer {
            return Err(MeshError::OwnId { local: peer });
        }
        self.shared.peers.set_address(peer, address, |peer| {
            let task = dialler::run(self.shared.clone(), peer, address);
            self.shared.spawn(task)
        });
        Ok(())
    }

    /// Dials `peer` no more, closes its connections, and drops what waits for it: the protocols concerned get
    /// [`Unreachable`](crate::Input::Unreachable). The peer may still dial us: see the [module](self).
    pub fn remove_peer(&self, peer: PeerId) {
        let buried = self.shared.peers.remove(peer);
        self.shared.report_buried(peer, buried);
    }

    /// Proves who we are with other credentials from now on, for the same peer and cluster. Connections that stand go
    /// on; they were proven when they began.
    ///
    /// # Errors
    ///
    /// [`MeshError::Credentials`].
    pub fn rotate(&self, credentials: &Credentials) -> Result<(), MeshError> {
        let (seen, expected) = (credentials.identity(), self.shared.local);
        if seen != expected {
            return Err(CredentialsError::Identity { seen, expected }.into());
        }
        let tls = Tls::new(credentials)?;
        *self.shared.tls.write() = tls;
        Ok(())
    }

    /// Stops all tasks, which closes every connection without further words, and waits until every task has ended and the listening port is free. What still waits is not sent.
    pub async fn shutdown(self) {
        let tasks = self.shared.tasks.lock().take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // The lock is released first: a task that starts another must find that it cannot.
        let tasks = self.shared.tasks.lock().take();
        drop(tasks);
    }
}

impl Transport for Mesh {
    fn local(&self) -> PeerId {
        self.shared.local.peer
    }

    fn bind(
        &self,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), TransportError> {
        self.shared
            .bindings
            .bind(self.local(), protocol, accept, &mailbox)
    }

    fn send(&self, batch: &mut Vec<Outgoing>) {
        self.shared.peers.send(batch, &self.shared.limits);
    }
}

fn check(config: &MeshConfig) -> Result<(), MeshError> {
    let MeshLimits {
        queue_messages_max,
        handshakes_max,
        ..
    } = config.limits;
    let zero = [
        ("queue_messages_max", queue_messages_max == 0),
        ("handshakes_max", handshakes_max == 0),
        ("ping_interval", config.times.ping_interval.is_zero()),
        ("retry_delay_min", config.times.retry_delay_min.is_zero()),
    ];
    if let Some(&(field, _)) = zero.iter().find(|(_, zero)| *zero) {
        return Err(MeshError::Zero { field });
    }
    let local = config.credentials.identity().peer;
    if config.peers.contains_key(&local) {
        return Err(MeshError::OwnId { local });
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), MeshError> {
    let failed = |error| MeshError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
