use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::Credentials;
use super::event::MeshEvent;
use crate::peer::PeerId;
use crate::transport::PAYLOAD_BYTES_MAX;

/// How to take part in a mesh.
///
/// ```no_run
/// use peaberry_core::PeerId;
/// use peaberry_core::mesh::{Credentials, Mesh, MeshConfig};
///
/// # async fn start(certificate: &str, key: &str, authority: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let credentials = Credentials::from_pem(certificate, key, authority)?;
/// let mut config = MeshConfig::new(credentials, 42).with_report(|event| eprintln!("{event}"));
/// config.listen = Some("0.0.0.0:7000".parse()?);
/// config.peers.insert(PeerId::new(2).unwrap(), "10.0.0.2:7000".parse()?);
/// let mesh = Mesh::start(config).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct MeshConfig {
    /// Who we are, our proof of it, and whom we believe.
    pub credentials: Credentials,
    /// Where to listen; port 0 takes a free one. `None`: only we dial.
    pub listen: Option<SocketAddr>,
    /// Whom to dial, and where. More can follow with [`Mesh::set_peer`](super::Mesh::set_peer).
    pub peers: BTreeMap<PeerId, SocketAddr>,
    /// Bounds.
    pub limits: MeshLimits,
    /// Delays and time-outs.
    pub times: MeshTimes,
    /// Spreads reconnecting peers; give each process another one.
    pub seed: u64,
    pub(super) report: Reporter,
}

pub(super) type Reporter = Arc<dyn Fn(MeshEvent) + Send + Sync>;

impl MeshConfig {
    /// A dial-only member without addresses, with the default limits and times.
    #[must_use]
    pub fn new(credentials: Credentials, seed: u64) -> Self {
        Self {
            credentials,
            listen: None,
            peers: BTreeMap::new(),
            limits: MeshLimits::default(),
            times: MeshTimes::default(),
            seed,
            report: Arc::new(|_| {}),
        }
    }

    /// Tells `report` what happens to connections. It is called on the runtime's threads and must not block.
    #[must_use]
    pub fn with_report(mut self, report: impl Fn(MeshEvent) + Send + Sync + 'static) -> Self {
        self.report = Arc::new(report);
        self
    }
}

impl fmt::Debug for MeshConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshConfig")
            .field("credentials", &self.credentials)
            .field("listen", &self.listen)
            .field("peers", &self.peers)
            .field("limits", &self.limits)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

/// The bounds of a mesh. Memory for one peer is at most `peer_bytes_max` waiting to leave, one write of 256 KiB and a
/// payload, one payload being received, and what the mailboxes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeshLimits {
    /// What may wait for one peer on one channel, in messages.
    pub queue_messages_max: usize,
    /// What may wait for one peer on one channel, in bytes. At least one payload of the largest size always may.
    pub queue_bytes_max: usize,
    /// What may wait for one peer on all channels, in bytes; each message counts 64 more. The last quarter is kept for
    /// channels that have little waiting.
    pub peer_bytes_max: usize,
    /// How many peers may have dialled us. One more is turned away.
    pub incoming_max: usize,
    /// How many connections may be proving who they are. One more is turned away.
    pub handshakes_max: usize,
}

impl Default for MeshLimits {
    /// 65,536 messages and 16 MiB for a channel, 64 MiB for a peer, 1024 incoming peers, 128 handshakes.
    fn default() -> Self {
        Self {
            queue_messages_max: 1 << 16,
            queue_bytes_max: 2 * PAYLOAD_BYTES_MAX,
            peer_bytes_max: 8 * PAYLOAD_BYTES_MAX,
            incoming_max: 1024,
            handshakes_max: 128,
        }
    }
}

/// The delays and time-outs of a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeshTimes {
    /// How long a new connection may take to prove who it is.
    pub handshake_timeout: Duration,
    /// How often each side of a connection lets the other hear from it.
    pub ping_interval: Duration,
    /// After how long a connection is given up that brings nothing, or takes nothing. Counted in whole ping intervals.
    pub idle_timeout: Duration,
    /// The delay before the first attempt to reconnect, as a mean.
    pub retry_delay_min: Duration,
    /// The longest delay between attempts. The delay doubles up to here.
    pub retry_delay_max: Duration,
    /// How long what a full mailbox refuses is kept, while nothing more is read from that peer; then it is dropped, so
    /// that one stuck mailbox cannot hold up the others for ever. Less than `idle_timeout`, or the sender gives up first.
    pub delivery_wait: Duration,
}

impl Default for MeshTimes {
    /// Handshake 5 s, ping 1 s, idle 6 s, retry 50 ms to 5 s, delivery 2 s.
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(6),
            retry_delay_min: Duration::from_millis(50),
            retry_delay_max: Duration::from_secs(5),
            delivery_wait: Duration::from_secs(2),
        }
    }
}
