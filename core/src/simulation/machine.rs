use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::clock::SimulatedClock;
use super::committer::SimulatedCommitter;
use super::files::SimulatedFiles;
use super::network::SimulatedTransport;
use super::storage::{SimulatedStorage, WatchedStorage};
use super::substrate::Substrate;
use crate::clock::Clock;
use crate::node::Node;
use crate::peer::PeerId;
use crate::signal::Signal;
use crate::storage::Storage;
use crate::storage::layer::Layered;
use crate::transport::Transport;

/// Why a machine could not boot, as when its store refuses to open. The world tries again after a while.
pub type BootError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type BootFn = Box<dyn FnMut(&mut Boot) -> Result<Node, BootError>>;

/// What a machine finds when it boots: its end of the network, its clock, its disk.
#[derive(Debug)]
pub struct Boot {
    pub(super) peer: PeerId,
    pub(super) machine: usize,
    pub(super) incarnation: u64,
    pub(super) seed: u64,
    pub(super) clock: SimulatedClock,
    pub(super) storage: Arc<SimulatedStorage>,
    pub(super) files: SimulatedFiles,
    pub(super) substrate: Arc<Mutex<Substrate>>,
    pub(super) committer: Option<SimulatedCommitter>,
}

impl Boot {
    /// Who the machine is.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Which of its lives begins, counted from 1.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Where this life's randomness comes from: another number in each life, the same for the same world.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The machine's end of the network in this life.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(SimulatedTransport {
            local: self.peer,
            machine: self.machine,
            incarnation: self.incarnation,
            substrate: self.substrate.clone(),
        })
    }

    /// The machine's clock: it drifts, jumps over pauses, and shows another origin in each life.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    /// The machine's [`SimulatedStorage`], watched: it keeps across lives what was synced.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        self.watch(self.storage.clone())
    }

    /// The machine's folder, for a [`DiskStorage`](crate::DiskStorage) of its own; give that to [`watch`](Self::watch).
    #[must_use]
    pub fn files(&self) -> SimulatedFiles {
        self.files.clone()
    }

    /// `storage` with its commits traced, taking time, and dying at [crash points](super::CrashPoint). Give the node
    /// this and not `storage` itself.
    #[must_use]
    pub fn watch(&self, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        Arc::new(Layered::new(WatchedStorage {
            inner: storage,
            machine: self.machine,
            incarnation: self.incarnation,
            substrate: self.substrate.clone(),
        }))
    }

    /// `node`, committing beside its turns as [`Node::with_commit_thread`] makes it: the world is the thread, so that
    /// the seed decides how far the disk lags behind and what it syncs at once.
    #[must_use]
    pub fn with_commit_thread(&mut self, node: Node) -> Node {
        let life = (self.machine, self.incarnation);
        let substrate = self.substrate.clone();
        node.with_committer(|storage, signal| {
            let committer = SimulatedCommitter::new(life, storage, signal, substrate);
            self.committer.insert(committer).clone()
        })
    }

    /// A node on the machine's transport, [`storage`](Self::storage) and clock.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::new(self.transport(), self.storage(), self.clock())
    }
}

/// One machine of a world.
pub(super) struct Machine {
    pub(super) peer: PeerId,
    /// `None` while it runs.
    pub(super) boot: Option<BootFn>,
    pub(super) node: Option<Node>,
    pub(super) signal: Arc<Signal>,
    /// `None` while it commits inline.
    pub(super) committer: Option<SimulatedCommitter>,
    pub(super) clock: SimulatedClock,
    pub(super) storage: Arc<SimulatedStorage>,
    pub(super) files: SimulatedFiles,
    pub(super) rng: fastrand::Rng,
    /// When its next turn is queued.
    pub(super) wake: Option<u64>,
    /// Until then it waits for its disk.
    pub(super) busy_until: u64,
    /// Until then it is paused.
    pub(super) paused_until: u64,
    pub(super) pauses: u64,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("peer", &self.peer)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
