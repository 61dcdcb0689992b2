//! What the machines of a world share with it: time, the queue of what is to come, the network, the trace.

use std::cmp::Ordering as Compare;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::faults::{FaultCounts, FaultKind};
use super::network::{Binding, Network};
use super::trace::{Trace, TraceKind};
use crate::clock::Instant;
use crate::mailbox::Mailbox;
use crate::peer::{PeerId, ProtocolId};
use crate::transport::{Envelope, Outgoing};

/// Whether a message from this machine is a moment worth a crash.
pub(super) type Choose = Box<dyn FnMut(PeerId, &Outgoing) -> bool + Send>;

pub(super) struct Substrate {
    pub(super) world: Arc<AtomicU64>,
    pub(super) queue: Queue,
    pub(super) network: Network,
    pub(super) trace: Trace,
    pub(super) counts: FaultCounts,
    pub(super) rng: fastrand::Rng,
    pub(super) machines: BTreeMap<PeerId, usize>,
    ports: Vec<Port>,
    pub(super) choose: Option<Choose>,
    /// How many of a thousand chosen messages kill their sender.
    pub(super) chosen_per_mille: u32,
}

/// One machine, as the network and the disk see it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) peer: PeerId,
    pub(super) incarnation: u64,
    pub(super) is_up: bool,
    pub(super) bindings: Vec<Binding>,
    /// How long the present turn has waited for the disk.
    pub(super) elapsed: u64,
    pub(super) crash_point: Option<CrashPoint>,
    /// The machine has died within the present turn.
    pub(super) is_doomed: bool,
}

/// A moment within a turn at which a machine loses its power. Counted from when it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the three gaps of a turn: there are no others"
)]
pub enum CrashPoint {
    /// Instead of the n-th synced commit, counted from 1: what needed no commit has left.
    BeforeCommit(u32),
    /// Right after the n-th synced commit: its bytes are durable, what waited for them never leaves.
    AfterCommit(u32),
    /// Right after the n-th message has left.
    AfterSend(u32),
}

impl CrashPoint {
    /// Counts down; `true` when this was the n-th.
    const fn count(left: &mut u32) -> bool {
        *left = left.saturating_sub(1);
        *left == 0
    }
}

impl Port {
    pub(super) const fn new(peer: PeerId) -> Self {
        Self {
            peer,
            incarnation: 0,
            is_up: false,
            bindings: Vec::new(),
            elapsed: 0,
            crash_point: None,
            is_doomed: false,
        }
    }

    /// Whether the machine is in this life and has not died within the present turn.
    pub(super) const fn is_alive(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation && self.is_up && !self.is_doomed
    }

    pub(super) fn mailbox(&self, protocol: ProtocolId, from: PeerId) -> Option<Arc<Mailbox>> {
        self.bindings
            .iter()
            .find(|binding| binding.protocol == protocol && binding.accept.contains(from))
            .and_then(|binding| binding.mailbox.upgrade())
    }

    /// Ends a life, or a death.
    pub(super) fn reset(&mut self, is_up: bool) {
        self.is_up = is_up;
        self.bindings.clear();
        self.elapsed = 0;
        self.crash_point = None;
        self.is_doomed = false;
    }
}

impl Substrate {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            world: Arc::default(),
            queue: Queue::default(),
            network: Network::new(seed ^ 0x6e65_7477_6f72_6b00),
            trace: Trace::new(),
            counts: FaultCounts::default(),
            rng: fastrand::Rng::with_seed(seed ^ 0x6469_736b_0000_0000),
            machines: BTreeMap::new(),
            ports: Vec::new(),
            choose: None,
            chosen_per_mille: 0,
        }
    }

    pub(super) fn now_nanos(&self) -> u64 {
        self.world.load(Ordering::Relaxed)
    }

    pub(super) fn record(&mut self, kind: TraceKind) {
        let at = Instant::from_nanos(self.now_nanos());
        self.trace.push(at, kind);
    }

    pub(super) fn add(&mut self, peer: PeerId) -> usize {
        let machine = self.ports.len();
        self.machines.insert(peer, machine);
        self.ports.push(Port::new(peer));
        self.network.grow();
        machine
    }

    pub(super) fn port(&mut self, machine: usize) -> &mut Port {
        self.ports
            .get_mut(machine)
            .expect("machines are numbered as they are added")
    }

    pub(super) fn is_chosen(&mut self, from: PeerId, outgoing: &Outgoing) -> bool {
        self.chosen_per_mille > 0
            && self
                .choose
                .as_mut()
                .is_some_and(|choose| choose(from, outgoing))
            && self.rng.u32(..1_000) < self.chosen_per_mille
    }

    pub(super) fn dies_after_send(&mut self, machine: usize, is_chosen: bool) -> bool {
        let port = self.port(machine);
        let is_due = match &mut port.crash_point {
            Some(CrashPoint::AfterSend(left)) => CrashPoint::count(left),
            _ => false,
        };
        port.is_doomed |= is_due || is_chosen;
        if is_due {
            self.counts.add(FaultKind::CrashAfterSend);
        } else if is_chosen {
            self.counts.add(FaultKind::CrashAfterChosenSend);
        }
        is_due || is_chosen
    }

    pub(super) fn dies_before_commit(&mut self, machine: usize) -> bool {
        let port = self.port(machine);
        let is_due = match &mut port.crash_point {
            Some(CrashPoint::BeforeCommit(left)) => CrashPoint::count(left),
            _ => false,
        };
        port.is_doomed |= is_due;
        if is_due {
            self.counts.add(FaultKind::CrashBeforeCommit);
        }
        is_due
    }

    pub(super) fn dies_after_commit(&mut self, machine: usize) -> bool {
        let port = self.port(machine);
        let is_due = match &mut port.crash_point {
            Some(CrashPoint::AfterCommit(left)) => CrashPoint::count(left),
            _ => false,
        };
        port.is_doomed |= is_due;
        if is_due {
            self.counts.add(FaultKind::CrashAfterCommit);
        }
        is_due
    }
}

impl fmt::Debug for Substrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substrate")
            .field("now", &self.now_nanos())
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        from: usize,
        to: usize,
        message: u64,
        envelope: Envelope,
    },
    Turn {
        machine: usize,
    },
    Resume {
        machine: usize,
        pause: u64,
    },
    /// The machine's disk takes up what waits for it, beside the turns; only in this life.
    CommitBegins {
        machine: usize,
        incarnation: u64,
    },
    /// The node is told.
    CommitEnds {
        machine: usize,
        incarnation: u64,
    },
    Start {
        machine: usize,
        /// Only if it is still down from this life.
        incarnation: u64,
    },
    Mend {
        links: Vec<(usize, usize)>,
        /// Only if nobody has mended everything since.
        healing: u64,
    },
    Strike {
        healing: u64,
    },
    Action(u64),
}

/// What will happen, soonest first; of two at one time the one queued first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Queued>,
    count: u64,
}

#[derive(Debug)]
struct Queued {
    at: u64,
    order: u64,
    event: Event,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.count += 1;
        let order = self.count;
        self.heap.push(Queued { at, order, event });
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|queued| queued.at)
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|queued| (queued.at, queued.event))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Compare::Equal
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Compare> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    /// The greatest comes out of the heap first: the soonest.
    fn cmp(&self, other: &Self) -> Compare {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}
