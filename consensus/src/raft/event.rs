use bytes::Bytes;
use peaberry_core::PeerId;

/// What an application asks of a `RaftGroup`.
///
/// `T` is the asker's own token: it comes back with the outcome and decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RaftCommand<T> {
    /// Replicate a command. Answered by exactly one [`RaftEvent::Completed`], unless the node stops.
    Propose {
        /// The state machine's command, at most `command_bytes_max` bytes.
        command: Bytes,
        /// Comes back with the outcome.
        token: T,
    },
    /// Answer a query with a state at least as new as every proposal that completed before, anywhere (a linearizable
    /// read by ReadIndex, Raft thesis §6.4). Answered by exactly one [`RaftEvent::Answered`], unless the node stops.
    Read {
        /// The state machine's query.
        query: Bytes,
        /// Comes back with the answer.
        token: T,
    },
    /// Answer a query with this replica's present state, however old. Answered by one [`RaftEvent::Answered`].
    ReadStale {
        /// The state machine's query.
        query: Bytes,
        /// Comes back with the answer.
        token: T,
    },
}

/// What a `RaftGroup` tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RaftEvent<T> {
    /// A proposal has ended.
    Completed {
        /// The proposal's.
        token: T,
        /// How it ended.
        outcome: Outcome,
    },
    /// A query has been answered.
    Answered {
        /// The query's.
        token: T,
        /// The state machine's answer.
        answer: Result<Bytes, ReadError>,
    },
    /// Who leads, as far as this replica knows, has changed.
    Leader {
        /// The present term.
        term: u64,
        /// The leader of that term, if known.
        leader: Option<PeerId>,
    },
    /// A state machine said something with [`Apply::notify`](crate::Apply::notify).
    Notice {
        /// The place of the entry whose command caused it.
        index: u64,
        /// What it said.
        notice: Bytes,
    },
    /// A snapshot is durable and the log before it is gone; or, on a replica that was far behind, it has taken the
    /// place of the state.
    Snapshot {
        /// The last entry that the snapshot holds.
        index: u64,
        /// Whether it came from another replica.
        received: bool,
    },
    /// A peer sent what no correct replica sends. It was ignored; nothing changed.
    Misbehaved {
        /// Who.
        peer: PeerId,
        /// What.
        reason: Misbehaviour,
    },
}

/// How a proposal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A quorum has it, and this replica has applied it.
    Committed {
        /// Its entry's place in the log; commands proposed together share one.
        index: u64,
        /// The state machine's answer.
        response: Bytes,
    },
    /// It is not in the log and never will be. Nothing changed; propose it again, elsewhere where it says so.
    Rejected(Rejection),
    /// This replica cannot tell any more whether the command is, or will be, in the log. Proposing it again may execute
    /// it twice, unless the state machine recognises it.
    Unknown,
}

/// Why a proposal was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Only the leader takes proposals.
    #[error("this replica does not lead: {}", Hint(*leader))]
    NotLeader {
        /// Who probably does.
        leader: Option<PeerId>,
    },
    /// Another leader's command has taken its place in the log.
    #[error("a newer leader's entry took its place: propose it again")]
    Superseded,
    /// Too much waits for a quorum already.
    #[error("too many bytes wait for a quorum: propose it again later")]
    Overloaded,
    /// The replica's node has stopped, or the group on it has failed.
    #[error("the replica takes no proposals any more: propose it elsewhere")]
    Stopped,
    /// The command is longer than the group allows.
    #[error("command of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

struct Hint(Option<PeerId>);

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(leader) => write!(f, "try {leader}"),
            None => f.write_str("no leader is known, try again"),
        }
    }
}

/// Why a query has no answer. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader confirmed in time that it still leads.
    #[error("no leader could confirm the read in time: try again")]
    Unavailable,
    /// Too many reads wait already.
    #[error("too many reads wait already: try again later")]
    Overloaded,
    /// The replica's node has stopped, or the group on it has failed.
    #[error("the replica answers no reads any more: ask another")]
    Stopped,
}

/// What no correct replica sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// It is not a member of the group.
    #[error("it is not a member of the group")]
    NotAMember,
    /// The bytes are not a message.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The message contradicts what this replica holds, or itself. When it comes from a correct peer, this replica's
    /// own log has lost entries.
    #[error("impossible message: {0}")]
    Impossible(&'static str),
}
