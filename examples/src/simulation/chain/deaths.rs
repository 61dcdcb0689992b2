//! Deaths at chosen writes of the journal: instead of one, in the middle of it, and right behind it.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use peaberry_chain::follow::{self, FOLLOW};
use peaberry_chain::outbox::{self, OUTBOX};
use peaberry_core::simulation::SimulatedStorage;
use peaberry_core::simulation::files::SimulatedFiles;
use peaberry_core::{Batch, Channel, Durability, Layer, Operation, Storage, StorageError};

use super::application::APPLICATION;
use super::coverage::Covered;

/// All that is written: steps of the outbox, changes of the follower, what the application makes of them; each with how many of
/// these writes there are to one that kills. What is written rarely kills more often, so that every write does in some worlds.
const WRITES: [(&str, u32); 25] = [
    ("accepted", 50),
    ("leased", 15),
    ("nonce_given_back", 2),
    ("signed", 30),
    ("signed_dearer", 4),
    ("called_off", 1),
    ("included", 40),
    ("reorganised", 12),
    ("displaced", 1),
    ("expired", 1),
    ("final", 15),
    ("cancelled", 1),
    ("rejected", 1),
    ("nonce_floor", 6),
    ("key_buried", 2),
    ("filler_leased", 1),
    ("filler_dropped", 1),
    ("proven_free", 1),
    ("block_added", 150),
    ("range_added", 15),
    ("block_removed", 80),
    ("block_final", 40),
    ("acknowledged", 80),
    ("alarm", 1),
    (APPLIED, 50),
];
const APPLIED: &str = "applied";

/// When, beside a write, the machine dies.
const MOMENTS: [&str; 3] = [BEFORE, WITHIN, BEHIND];
const BEFORE: &str = "before";
const WITHIN: &str = "torn";
const BEHIND: &str = "after";

/// So often a machine dies here, beside all its other deaths: it shall also get on.
const DEATHS_MAX: u32 = 10;

/// Every write, with every moment at which the machine may die.
pub(super) fn all() -> impl Iterator<Item = String> {
    let writes = WRITES.into_iter();
    writes.flat_map(|(write, _)| MOMENTS.map(|moment| format!("{write}, {moment}")))
}

/// At which writes the machine dies.
#[derive(Debug)]
pub(super) struct Deaths {
    rng: fastrand::Rng,
    left: u32,
    /// To fail a sync in: half of the time what was to be synced is there all the same.
    pub(super) memory: Option<Arc<SimulatedStorage>>,
    pub(super) covered: Covered,
    /// Writes at which it never dies, since they have no name here.
    pub(super) nameless: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Death {
    write: &'static str,
    moment: &'static str,
}

impl Deaths {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            left: DEATHS_MAX,
            memory: None,
            covered: Covered::default(),
            nameless: BTreeSet::new(),
        }
    }

    /// So many more.
    pub(super) const fn allow(&mut self, deaths: u32) {
        self.left = deaths;
    }

    /// Whether the machine dies at one of these writes.
    fn draw(&mut self, batch: &Batch, store: &dyn Storage) -> Option<Death> {
        self.note_nameless(batch, store);
        if self.left == 0 {
            return None;
        }
        let mut writes = batch.operations().filter_map(|one| name_of(&one, store));
        let write = writes.find(|write| {
            let known = WRITES.iter().find(|(name, _)| name == write);
            known.is_some_and(|(_, one_in)| self.rng.u32(..*one_in) == 0)
        })?;
        self.left -= 1;
        let moment = self.rng.choice(MOMENTS).unwrap_or(BEFORE);
        Some(Death { write, moment })
    }

    /// Of whoever changes something, at least one write has a name: else the machine would never die at this step.
    fn note_nameless(&mut self, batch: &Batch, store: &dyn Storage) {
        for owner in [OF_OUTBOX, OF_FOLLOW, APPLICATION] {
            let own = || {
                batch
                    .operations()
                    .filter(|one| owner_of(one) == Some(owner))
            };
            let is_named = own().any(|one| {
                let name = name_of(&one, store);
                name.is_some_and(|name| WRITES.iter().any(|(known, _)| *known == name))
            });
            let changing = own().find(|one| !is_there(one, store));
            if let Some(write) = changing.filter(|_| !is_named) {
                let write = format!("nothing that is written beside this has a name: {write:?}");
                self.nameless.insert(write);
            }
        }
    }
}

/// The machine's store, which dies where it is told to.
pub(super) struct Journal {
    pub(super) inner: Arc<dyn Storage>,
    /// Where the store lies, unless in memory.
    pub(super) files: Option<SimulatedFiles>,
    pub(super) deaths: Arc<Mutex<Deaths>>,
}

impl Journal {
    /// Loses power in the middle of a commit. Whether it has come to that.
    fn tear(&self, batch: &Batch, durability: Durability) -> (bool, Result<(), StorageError>) {
        match &self.files {
            Some(files) => files.crash_after(self.deaths.lock().rng.u64(..2)),
            None => {
                let memory = self.deaths.lock().memory.clone();
                memory.inspect(|memory| memory.fail_next_sync());
            }
        }
        let outcome = self.inner.commit(batch, durability);
        (outcome.is_err(), outcome)
    }
}

impl Layer for Journal {
    fn inner(&self) -> &dyn Storage {
        &*self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let death = self.deaths.lock().draw(batch, &*self.inner);
        let Some(death) = death else {
            return self.inner.commit(batch, durability);
        };
        let (is_dead, outcome) = match death.moment {
            BEFORE => (true, Err(StorageError::Poisoned)),
            WITHIN => self.tear(batch, durability),
            _ => match self.inner.commit(batch, durability) {
                Ok(()) => (true, Err(StorageError::Poisoned)),
                Err(error) => (false, Err(error)),
            },
        };
        if is_dead {
            self.deaths.lock().covered.crash(death.write, death.moment);
        }
        outcome
    }
}

/// What an operation writes.
fn name_of(operation: &Operation<'_>, store: &dyn Storage) -> Option<&'static str> {
    let before = |key: &[u8]| store.get(key).ok().flatten();
    match operation {
        Operation::Put { key, value } => match channel_of(key)? {
            (OF_OUTBOX, name) => outbox::name_of_write(name, before(key).as_deref(), Some(value)),
            (OF_FOLLOW, name) => follow::name_of_write(name),
            (APPLICATION, _) => Some(APPLIED),
            _ => None,
        },
        Operation::Delete { key } => match channel_of(key)? {
            (OF_OUTBOX, name) => outbox::name_of_write(name, before(key).as_deref(), None),
            _ => None,
        },
        Operation::Append { log, entries, .. } if log.owner == OF_FOLLOW => {
            // Of several the last: what else is written at once is aimed at in other worlds.
            entries.clone().last().and_then(follow::name_of_entry)
        }
        _ => None,
    }
}

/// Whether what a write says is in the store before it.
fn is_there(operation: &Operation<'_>, store: &dyn Storage) -> bool {
    match operation {
        Operation::Put { key, value } => store
            .get(key)
            .is_ok_and(|there| there.as_deref() == Some(*value)),
        Operation::Delete { key } => store.get(key).is_ok_and(|there| there.is_none()),
        _ => false,
    }
}

const OF_OUTBOX: Channel = Channel::new(OUTBOX, 0);
const OF_FOLLOW: Channel = Channel::new(FOLLOW, 0);

/// Who writes it.
fn owner_of(operation: &Operation<'_>) -> Option<Channel> {
    match operation {
        Operation::Put { key, .. } | Operation::Delete { key } => Some(channel_of(key)?.0),
        Operation::DeleteRange { from, .. } => Some(channel_of(from)?.0),
        Operation::Append { log, .. }
        | Operation::Truncate { log, .. }
        | Operation::Discard { log, .. } => Some(log.owner),
    }
}

/// Whose key it is, and its name there.
fn channel_of(key: &[u8]) -> Option<(Channel, &[u8])> {
    let channels = [OF_OUTBOX, OF_FOLLOW, APPLICATION];
    channels.into_iter().find_map(|channel| {
        let name = key.strip_prefix(channel.to_bytes().as_slice())?;
        Some((channel, name))
    })
}

#[cfg(test)]
mod tests {
    use peaberry_core::{MemoryStorage, Subspace};

    use super::*;

    fn nameless_of(name: &[u8]) -> usize {
        let store = MemoryStorage::new();
        let mut batch = Batch::new();
        Subspace::of(OF_OUTBOX).put(&mut batch, name, b"value");
        let mut deaths = Deaths::new(fastrand::Rng::with_seed(1));
        deaths.note_nameless(&batch, &store);
        // What is written again as it is changes nothing.
        store.commit(&batch, Durability::Synced).unwrap();
        deaths.note_nameless(&batch, &store);
        deaths.nameless.len()
    }

    #[test]
    fn a_write_that_has_no_name_is_complained_of() {
        assert_eq!(nameless_of(b"f: a floor"), 0);
        assert_eq!(nameless_of(b"x: nothing that is known"), 1);
    }
}
