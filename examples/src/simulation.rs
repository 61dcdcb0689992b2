//! What `soak` and `mutants` run: one harness for each target, driven by seeds.

pub mod chain;
mod coverage;
pub mod crdt;
pub mod edge;
pub mod lockd;
pub mod oracle;
pub mod raft;
mod reached;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use peaberry_consensus::OpenError;
use peaberry_core::simulation::files::SimulatedFiles;
use peaberry_core::simulation::{Boot, BootError, FaultCounts, FaultKind};
use peaberry_core::{DiskOptions, DiskStorage, Node, PeerId, Storage, StorageError};

pub use self::coverage::{Coverage, Dimension, Pairs};
pub use self::reached::Reached;

/// What came of one seed.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// How long the world ran, in its own time.
    pub virtual_time: Duration,
    /// What went wrong on purpose.
    pub faults: FaultCounts,
    /// The same, of kinds that only this target has.
    pub own_faults: Reached,
    /// How often it came to what is rare.
    pub reached: Reached,
    /// The values that it had of the target's dimensions: names of a dimension and of one of its values.
    pub covered: Vec<(&'static str, String)>,
    /// Operations that clients saw complete.
    pub operations: u64,
    /// What must never happen and did, in words.
    pub violations: Vec<String>,
    /// Histories that the checker gave up on.
    pub unknown: u64,
    /// The digest of everything that happened, in order: the same for the same seed, in every process.
    pub trace: u64,
}

/// A system under simulation.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name on the command line.
    pub name: &'static str,
    /// Runs one seed, with a bug planted or with none.
    pub run: fn(seed: u64, mutant: Option<&str>) -> Run,
    /// The kinds of faults that the target's worlds bring about.
    pub fault_kinds: fn() -> Vec<FaultKind>,
    /// The ways in which its worlds differ, every two of which must meet.
    pub dimensions: fn() -> Vec<Dimension>,
    /// The bugs that its checks must find.
    pub mutants: &'static [Mutant],
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A bug planted on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// Whether it is planted by wrapping from outside, in any build, or compiled in with `--cfg peaberry_mutant`.
    pub is_wrapper: bool,
}

impl Mutant {
    /// A bug planted by wrapping a protocol, a state machine or a store.
    #[must_use]
    pub const fn wrapper(name: &'static str) -> Self {
        Self {
            name,
            is_wrapper: true,
        }
    }

    /// A bug compiled in.
    #[must_use]
    pub const fn compiled(name: &'static str) -> Self {
        Self {
            name,
            is_wrapper: false,
        }
    }
}

/// Every target, by name.
pub const TARGETS: &[Target] = &[
    raft::TARGET,
    lockd::TARGET,
    crdt::TARGET,
    chain::TARGET,
    oracle::TARGET,
    edge::TARGET,
];

/// The target called `name`.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Counts by the names of `kinds`, zero for those that never came.
#[must_use]
pub fn count_faults(faults: &FaultCounts, kinds: &[FaultKind]) -> BTreeMap<&'static str, u64> {
    kinds
        .iter()
        .map(|&kind| (kind.name(), faults.get(kind)))
        .collect()
}

/// The shipped store, on the machine's files that lose, tear and garble. Its segments are small, so that they are
/// recycled all the time.
fn disk_of(boot: &Boot) -> Result<Arc<dyn Storage>, StorageError> {
    let storage = disk_on(boot.files(), boot.peer())?;
    Ok(boot.watch(Arc::new(storage)))
}

/// What is on `peer`'s disk.
fn disk_on(files: SimulatedFiles, peer: PeerId) -> Result<DiskStorage, StorageError> {
    let options = DiskOptions::new("simulated", peer)
        .segment_bytes(32 << 10)
        .checkpoint_bytes(16 << 10);
    DiskStorage::open_on(Arc::new(files), options)
}

/// `node`, committing inline in half of the lives and beside its turns in the others.
fn commit_either_way(boot: &mut Boot, node: Node) -> Node {
    if boot.seed().is_multiple_of(2) {
        node
    } else {
        boot.with_commit_thread(node)
    }
}

/// Why a machine that could not boot points to a bug. Disks here lose what was not synced, fail and fill up; none damages
/// what was synced, so a store or a group that finds damage has written, or accepted, what it must not.
fn damage(error: &BootError) -> Option<String> {
    let storage = error.downcast_ref::<StorageError>();
    let group = error.downcast_ref::<OpenError>();
    let is_damage = matches!(storage, Some(StorageError::Corrupt { .. }))
        || matches!(
            group,
            Some(OpenError::Damaged(_) | OpenError::Restore(_) | OpenError::Foreign { .. })
        )
        || matches!(
            group,
            Some(OpenError::Storage(StorageError::Corrupt { .. }))
        );
    is_damage.then(|| format!("a machine does not boot: {error}"))
}
