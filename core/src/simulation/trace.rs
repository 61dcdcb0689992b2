use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use bytes::Bytes;

use crate::clock::Instant;
use crate::digest::{Digest, digest};
use crate::peer::{Channel, PeerId};
use crate::storage::Durability;

/// How many events a full trace keeps; older ones go, the digest still covers them.
pub const TRACE_EVENTS_MAX: usize = 1 << 20;

/// What happened in a world, in order: always its digest, and on wish the events.
///
/// The digest of a seed is the same in every process; [`Display`](fmt::Display) writes the kept events as text, one a
/// line, with digests of payloads.
#[derive(Clone, Debug)]
pub struct Trace {
    digest: Digest,
    count: u64,
    events: Option<VecDeque<TraceEvent>>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When, in the world's own time.
    pub at: Instant,
    /// What.
    pub kind: TraceKind,
}

/// What can happen in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceKind {
    /// A machine runs, for the `incarnation`-th time, counted from 1.
    Started {
        /// The machine.
        peer: PeerId,
        /// Which of its lives begins.
        incarnation: u64,
    },
    /// A machine's boot function failed; it will be tried again.
    BootFailed {
        /// The machine.
        peer: PeerId,
    },
    /// A machine lost its power, and what it had not synced with it.
    Crashed {
        /// The machine.
        peer: PeerId,
    },
    /// A machine's process ended; its files are as it left them.
    Killed {
        /// The machine.
        peer: PeerId,
    },
    /// A machine's node stopped because a commit failed.
    Stopped {
        /// The machine.
        peer: PeerId,
    },
    /// A machine takes no turns for a while.
    Paused {
        /// The machine.
        peer: PeerId,
    },
    /// A paused machine goes on.
    Resumed {
        /// The machine.
        peer: PeerId,
    },
    /// A machine's clock runs at another rate.
    ClockRate {
        /// The machine.
        peer: PeerId,
        /// In parts per million.
        rate: u32,
    },
    /// A machine's calendar jumped.
    CalendarJump {
        /// The machine.
        peer: PeerId,
        /// By so many nanoseconds.
        nanos: i64,
    },
    /// A message left.
    Sent {
        /// Its number; copies of one message share it.
        message: u64,
        /// Who sent it.
        from: PeerId,
        /// To whom.
        to: PeerId,
        /// On which channel.
        channel: Channel,
        /// Its bytes.
        payload: Bytes,
    },
    /// A message reached its receiver's mailbox.
    Delivered {
        /// The number of its `Sent`.
        message: u64,
        /// Its receiver.
        to: PeerId,
    },
    /// A message, or a copy of it, is gone.
    Dropped {
        /// The number of its `Sent`.
        message: u64,
        /// Its receiver.
        to: PeerId,
        /// Why.
        cause: DropCause,
    },
    /// A batch was committed.
    Committed {
        /// The machine.
        peer: PeerId,
        /// What the commit waited for.
        durability: Durability,
        /// The bytes of its keys, values and entries.
        bytes: usize,
    },
    /// A commit failed.
    CommitFailed {
        /// The machine.
        peer: PeerId,
    },
    /// Messages no longer pass from one machine to another.
    Cut {
        /// From this machine.
        from: PeerId,
        /// To this one.
        to: PeerId,
    },
    /// Messages pass again.
    Mended {
        /// From this machine.
        from: PeerId,
        /// To this one.
        to: PeerId,
    },
    /// What the harness had to say; see [`World::note`](super::World::note).
    Note {
        /// About this machine, if about one.
        peer: Option<PeerId>,
        /// Its words.
        text: String,
    },
}

/// Why a message is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropCause {
    /// The network lost it.
    Loss,
    /// The link was cut.
    Cut,
    /// Nobody listened: the receiver was down or had not bound the protocol, or not for this sender.
    Unbound,
    /// The receiver's mailbox was full.
    Full,
}

impl Trace {
    pub(super) const fn new() -> Self {
        Self {
            digest: Digest::new(),
            count: 0,
            events: None,
        }
    }

    pub(super) fn keep_events(&mut self) {
        self.events.get_or_insert_default();
    }

    /// Adds an event.
    pub(super) fn push(&mut self, at: Instant, kind: TraceKind) {
        self.digest.number(at.as_nanos());
        kind.feed(&mut self.digest);
        self.count += 1;
        if let Some(events) = &mut self.events {
            if events.len() == TRACE_EVENTS_MAX {
                events.pop_front();
            }
            events.push_back(TraceEvent { at, kind });
        }
    }

    /// The digest of everything that has happened.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// How many things have happened.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The last [`TRACE_EVENTS_MAX`] events; none unless the world [keeps](super::World::keep_events) them.
    pub fn events(&self) -> impl Iterator<Item = &TraceEvent> {
        self.events.iter().flatten()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in self.events() {
            writeln!(f, "{event}")?;
        }
        writeln!(f, "{} events, digest {:016x}", self.count, self.digest())
    }
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.at.as_nanos();
        write!(f, "{}.{:09} ", nanos / 1_000_000_000, nanos % 1_000_000_000)?;
        self.kind.fmt(f)
    }
}

impl TraceKind {
    /// The machines that it is about.
    pub(super) const fn peers(&self) -> [Option<PeerId>; 2] {
        match self {
            Self::Started { peer, .. }
            | Self::BootFailed { peer }
            | Self::Crashed { peer }
            | Self::Killed { peer }
            | Self::Stopped { peer }
            | Self::Paused { peer }
            | Self::Resumed { peer }
            | Self::ClockRate { peer, .. }
            | Self::CalendarJump { peer, .. }
            | Self::Committed { peer, .. }
            | Self::CommitFailed { peer } => [Some(*peer), None],
            Self::Sent { from, to, .. } | Self::Cut { from, to } | Self::Mended { from, to } => {
                [Some(*from), Some(*to)]
            }
            Self::Delivered { to, .. } | Self::Dropped { to, .. } => [Some(*to), None],
            Self::Note { peer, .. } => [*peer, None],
        }
    }

    /// Feeds every field; the leading number tells the kinds apart.
    fn feed(&self, to: &mut Digest) {
        let mut numbers = |kind: u64, numbers: &[u64]| {
            to.number(kind);
            for &number in numbers {
                to.number(number);
            }
        };
        match self {
            Self::Started { peer, incarnation } => numbers(1, &[peer.get(), *incarnation]),
            Self::BootFailed { peer } => numbers(2, &[peer.get()]),
            Self::Crashed { peer } => numbers(3, &[peer.get()]),
            Self::Killed { peer } => numbers(4, &[peer.get()]),
            Self::Stopped { peer } => numbers(5, &[peer.get()]),
            Self::Paused { peer } => numbers(6, &[peer.get()]),
            Self::Resumed { peer } => numbers(7, &[peer.get()]),
            Self::ClockRate { peer, rate } => numbers(8, &[peer.get(), u64::from(*rate)]),
            Self::CalendarJump { peer, nanos } => {
                numbers(9, &[peer.get(), nanos.cast_unsigned()]);
            }
            Self::Sent {
                message,
                from,
                to: receiver,
                channel,
                payload,
            } => {
                let protocol = u64::from(channel.protocol.0);
                let header = [
                    *message,
                    from.get(),
                    receiver.get(),
                    protocol,
                    channel.group,
                ];
                numbers(10, &header);
                to.bytes(payload);
            }
            Self::Delivered { message, to } => numbers(11, &[*message, to.get()]),
            Self::Dropped { message, to, cause } => {
                numbers(12, &[*message, to.get(), *cause as u64]);
            }
            Self::Committed {
                peer,
                durability,
                bytes,
            } => {
                let synced = u64::from(*durability == Durability::Synced);
                numbers(13, &[peer.get(), synced, *bytes as u64]);
            }
            Self::CommitFailed { peer } => numbers(14, &[peer.get()]),
            Self::Cut { from, to } => numbers(15, &[from.get(), to.get()]),
            Self::Mended { from, to } => numbers(16, &[from.get(), to.get()]),
            Self::Note { peer, text } => {
                numbers(17, &[peer.map_or(0, PeerId::get)]);
                to.bytes(text.as_bytes());
            }
        }
    }
}

impl fmt::Display for TraceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { peer, incarnation } => write!(f, "{peer} started, life {incarnation}"),
            Self::BootFailed { peer } => write!(f, "{peer} failed to boot"),
            Self::Crashed { peer } => write!(f, "{peer} crashed"),
            Self::Killed { peer } => write!(f, "{peer} killed"),
            Self::Stopped { peer } => write!(f, "{peer} stopped: its store failed"),
            Self::Paused { peer } => write!(f, "{peer} paused"),
            Self::Resumed { peer } => write!(f, "{peer} resumed"),
            Self::ClockRate { peer, rate } => write!(f, "{peer} clock at {rate} ppm"),
            Self::CalendarJump { peer, nanos } => write!(f, "{peer} calendar jumped {nanos} ns"),
            Self::Sent {
                message,
                from,
                to,
                channel,
                payload,
            } => write!(
                f,
                "{from} sent #{message} to {to} on {channel}: {} bytes, digest {:016x}",
                payload.len(),
                digest(payload)
            ),
            Self::Delivered { message, to } => write!(f, "{to} received #{message}"),
            Self::Dropped { message, to, cause } => {
                write!(f, "{to} will not see #{message}: {cause}")
            }
            Self::Committed {
                peer,
                durability,
                bytes,
            } => {
                let how = match durability {
                    Durability::Buffered => "buffered",
                    Durability::Synced => "synced",
                };
                write!(f, "{peer} committed {bytes} bytes, {how}")
            }
            Self::CommitFailed { peer } => write!(f, "{peer} could not commit"),
            Self::Cut { from, to } => write!(f, "{from} cut off from {to}"),
            Self::Mended { from, to } => write!(f, "{from} reaches {to} again"),
            Self::Note { peer, text } => {
                if let Some(peer) = peer {
                    write!(f, "{peer} ")?;
                }
                f.write_char('"')?;
                f.write_str(text)?;
                f.write_char('"')
            }
        }
    }
}

impl fmt::Display for DropCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "lost",
            Self::Cut => "link cut",
            Self::Unbound => "nobody listens",
            Self::Full => "mailbox full",
        })
    }
}
