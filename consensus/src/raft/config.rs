use std::collections::BTreeSet;
use std::time::Duration;

use peaberry_core::{Channel, PeerId, ProtocolId};

/// The protocol number of Raft groups.
pub const RAFT: ProtocolId = ProtocolId(10);

/// How a group is set up. Every replica gets the same, except for `local` and `seed`.
///
/// ```
/// use peaberry_consensus::RaftConfig;
/// use peaberry_core::PeerId;
///
/// let peers = [1, 2, 3].map(|id| PeerId::new(id).unwrap());
/// let config = RaftConfig::new(0, peers[0], peers, 0x5eed);
/// assert_eq!(config.channel().to_string(), "10/0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaftConfig {
    /// Which group; a node hosts many.
    pub group: u64,
    /// This replica.
    pub local: PeerId,
    /// Every replica that votes, this one among them. Written to storage by the first start; later starts must agree.
    pub voters: BTreeSet<PeerId>,
    /// A fresh random number for each start: election timeouts and the names of reads come from it. Two starts with the
    /// same seed may take an answer meant for the first for one to the second.
    pub seed: u64,
    /// The unit of the group's time. A leader sends heartbeats every 2 ticks.
    pub tick: Duration,
    /// A follower that hears nothing for a random number of ticks, between this and twice this, calls an election.
    /// At least 4.
    pub election_ticks: u16,
    /// The longest command, in bytes, at most 4 MiB.
    pub command_bytes_max: usize,
    /// Commands that wait for a quorum, in bytes; beyond it proposals are rejected as overloaded.
    pub uncommitted_bytes_max: usize,
    /// A snapshot is taken when the log has grown by so many bytes since the last.
    pub snapshot_log_bytes: usize,
    /// Applied entries kept in memory, in bytes. They stay in the log when a snapshot cuts it, so that a replica a little
    /// behind needs no snapshot; older ones are read from storage, as long as there is none.
    pub log_cache_bytes: usize,
}

impl RaftConfig {
    /// The defaults: ticks of 50 ms, so that a follower calls an election after 0.5 to 1 s; commands up to 1 MiB.
    #[must_use]
    pub fn new(
        group: u64,
        local: PeerId,
        voters: impl IntoIterator<Item = PeerId>,
        seed: u64,
    ) -> Self {
        Self {
            group,
            local,
            voters: voters.into_iter().collect(),
            seed,
            tick: Duration::from_millis(50),
            election_ticks: 10,
            command_bytes_max: 1 << 20,
            uncommitted_bytes_max: 64 << 20,
            snapshot_log_bytes: 64 << 20,
            log_cache_bytes: 16 << 20,
        }
    }

    /// The channel the group speaks on.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        Channel::new(RAFT, self.group)
    }

    /// How long a leader may be gone at most before a follower calls an election.
    #[must_use]
    pub fn election_timeout_max(&self) -> Duration {
        self.tick * u32::from(self.election_ticks) * 2
    }
}

/// The longest command any group can be set up for, in bytes: an entry and its message fit one payload.
pub(super) const COMMAND_BYTES_LIMIT: usize = 4 << 20;

/// The fewest ticks for an election timeout: two heartbeats and a half may be lost.
pub(super) const ELECTION_TICKS_MIN: u16 = 4;

/// Ticks between heartbeats.
pub(super) const HEARTBEAT_TICKS: u16 = 2;
