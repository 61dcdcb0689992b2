//! Opening a group: the newest snapshot, then the log behind it.

use std::collections::VecDeque;

use bytes::Bytes;
use peaberry_core::mutant::is_planted;
use peaberry_core::wire::{self, Reader, WireError};
use peaberry_core::{Batch, LogId, PeerId, Storage, StorageError, Subspace};
use raft::eraftpb::{ConfState, HardState};
use raft::{Config, RawNode, ReadOnlyOption};

use super::config::{COMMAND_BYTES_LIMIT, ELECTION_TICKS_MIN, HEARTBEAT_TICKS, RaftConfig};
use super::log_store::{LogStore, Position};
use super::pacemaker::Pacemaker;
use super::proposals::Proposals;
use super::read_index::Reads;
use super::snapshot::{LoadError, Snapshots, Stored};
use super::{RaftGroup, entry};
use crate::state_machine::{Restore, RestoreError, StateMachine};

const HARD_STATE: &[u8] = b"hard-state";
const FOUNDERS: &[u8] = b"founders";

/// The log of entries; 1 and 2 hold snapshots.
const ENTRIES: u32 = 0;

/// Entries read at once while opening, in bytes.
const READ_BYTES: usize = 4 << 20;

/// One append message, and the entries handed out for apply at once, in bytes.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
const APPLY_BYTES_MAX: u64 = 8 << 20;

/// Append messages on their way to one peer.
const INFLIGHT_MAX: usize = 256;

/// Why a group cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration contradicts itself.
    #[error("configuration refused: {0}")]
    Config(&'static str),
    /// Storage holds this group with other founders, or as another replica.
    #[error(
        "storage holds this group as {found}, not as {expected}: point this replica at its own storage"
    )]
    Foreign {
        /// What storage says.
        found: String,
        /// What the configuration says.
        expected: String,
    },
    /// Storage could not be read.
    #[error("could not read the group")]
    Storage(#[from] StorageError),
    /// What storage holds is not what a group writes.
    #[error("the group's storage is damaged: {0}")]
    Damaged(String),
    /// The state machine does not take its snapshot back.
    #[error("could not restore the newest snapshot")]
    Restore(#[from] RestoreError),
}

impl From<LoadError> for OpenError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Storage(error) => Self::Storage(error),
            LoadError::Manifest(error) => Self::Damaged(format!("snapshot manifest: {error}")),
        }
    }
}

impl<S: StateMachine, T: Send + 'static> RaftGroup<S, T> {
    /// Opens the group as `storage` holds it, or founds it. `machine` is a new one: its state comes from the newest
    /// snapshot, and the log behind it is applied again once a leader has committed it.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(config: RaftConfig, storage: &dyn Storage, machine: S) -> Result<Self, OpenError> {
        check(&config)?;
        let channel = config.channel();
        let space = Subspace::of(channel);
        let is_new = check_founders(&config, &space, storage)?;
        let snapshots = Snapshots::open(storage, space.clone(), channel)?;
        let machine = match snapshots.current() {
            Some(stored) => restore(&machine, &snapshots, stored, storage)?,
            None => machine,
        };
        let snapshot = snapshots
            .current()
            .map_or_else(Position::default, |stored| stored.manifest.at);
        let hard_state = read_hard_state(&space, storage, snapshot.index)?;
        let store = load_log(
            &config,
            LogId::new(channel, ENTRIES),
            storage,
            hard_state,
            snapshot,
        )?;
        let pacemaker = Pacemaker::new(&config);
        let mut raw = new_raw(&config, store, snapshot.index)?;
        pacemaker.reseed(&mut raw);
        Ok(Self {
            reads: Reads::new(config.local.get(), config.seed),
            space,
            machine,
            applied: snapshot.index,
            pacemaker,
            tick: 0,
            proposals: Proposals::new(),
            snapshots,
            received: None,
            persisting: VecDeque::new(),
            log_bytes: raw.store().cached_bytes(),
            is_fetching: false,
            told: (0, 0),
            is_new,
            notices: Vec::new(),
            config,
            raw,
        })
    }

    /// Writes who founded the group, with the first batch.
    pub(super) fn found(&mut self, batch: &mut Batch) {
        self.is_new = false;
        self.space.put(batch, FOUNDERS, &founders(&self.config));
    }
}

fn check(config: &RaftConfig) -> Result<(), OpenError> {
    if !config.voters.contains(&config.local) {
        return Err(OpenError::Config(
            "the local replica is not among the voters",
        ));
    }
    if config.command_bytes_max > COMMAND_BYTES_LIMIT {
        return Err(OpenError::Config("command_bytes_max is over 4 MiB"));
    }
    if config.election_ticks < ELECTION_TICKS_MIN {
        return Err(OpenError::Config("election_ticks is under 4"));
    }
    if config.tick.is_zero() {
        return Err(OpenError::Config("tick is zero"));
    }
    Ok(())
}

/// The local replica, then every founder.
fn founders(config: &RaftConfig) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_varint(&mut out, config.local.get());
    for voter in &config.voters {
        wire::put_varint(&mut out, voter.get());
    }
    out
}

/// Whether the group is new to `storage`.
fn check_founders(
    config: &RaftConfig,
    space: &Subspace,
    storage: &dyn Storage,
) -> Result<bool, OpenError> {
    let Some(found) = space.get(storage, FOUNDERS)? else {
        return Ok(true);
    };
    let expected = founders(config);
    if found == expected {
        return Ok(false);
    }
    Err(OpenError::Foreign {
        found: describe(&found),
        expected: describe(&expected),
    })
}

fn describe(founders: &[u8]) -> String {
    let mut reader = Reader::new(founders);
    let mut names = std::iter::from_fn(|| reader.varint().ok().and_then(PeerId::new))
        .map(|peer| peer.to_string());
    let local = names.next().unwrap_or_default();
    format!("{local} of {}", names.collect::<Vec<_>>().join(", "))
}

fn restore<S: StateMachine>(
    machine: &S,
    snapshots: &Snapshots<S>,
    stored: &Stored,
    storage: &dyn Storage,
) -> Result<S, OpenError> {
    let mut restore = machine.begin_restore();
    let mut reader = snapshots.reader(stored);
    let (mut chunks, mut crc) = (0, crc32fast::Hasher::new());
    while let Some(chunk) = reader.next(storage)? {
        crc.update(&chunk);
        chunks += 1;
        restore.chunk(&chunk)?;
    }
    if (chunks, crc.finalize()) != (stored.manifest.chunks, stored.manifest.crc) {
        return Err(OpenError::Damaged(
            "the newest snapshot is not what was written".into(),
        ));
    }
    Ok(restore.finish()?)
}

fn load_log(
    config: &RaftConfig,
    log: LogId,
    storage: &dyn Storage,
    hard_state: HardState,
    snapshot: Position,
) -> Result<LogStore, OpenError> {
    let bounds = storage.log_bounds(log)?;
    let conf_state = ConfState {
        voters: config.voters.iter().map(|voter| voter.get()).collect(),
        ..ConfState::default()
    };
    let committed = hard_state.commit;
    // Only the snapshot's own term is known: what the log keeps before it is not loaded.
    let mut store = LogStore::new(log, hard_state, conf_state, snapshot);
    let mut next = snapshot.index + 1;
    while next < bounds.end {
        let read = storage.log_read(log, next..bounds.end, READ_BYTES)?;
        if read.is_empty() {
            return Err(OpenError::Damaged(format!("log entry {next} is missing")));
        }
        for stored in read {
            let damaged = |reason| OpenError::Damaged(format!("log entry {next}: {reason}"));
            store.load(entry::decode(next, &Bytes::copy_from_slice(&stored)).map_err(damaged)?);
            next += 1;
        }
    }
    if committed >= next {
        return Err(OpenError::Damaged(format!(
            "entries up to {committed} were committed, the log ends before {next}"
        )));
    }
    Ok(store)
}

fn new_raw(
    config: &RaftConfig,
    store: LogStore,
    applied: u64,
) -> Result<RawNode<LogStore>, OpenError> {
    let settings = Config {
        id: config.local.get(),
        election_tick: usize::from(config.election_ticks),
        heartbeat_tick: usize::from(HEARTBEAT_TICKS),
        applied,
        max_size_per_msg: MESSAGE_BYTES_MAX,
        max_inflight_msgs: INFLIGHT_MAX,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        // Followers learn of commits with the next append or heartbeat: a third more throughput.
        skip_bcast_commit: true,
        max_uncommitted_size: config.uncommitted_bytes_max as u64,
        max_committed_size_per_ready: APPLY_BYTES_MAX,
        ..Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&settings, store, &logger).map_err(|error| OpenError::Damaged(error.to_string()))
}

/// Writes term, vote and commit index.
pub(super) fn write_hard_state(space: &Subspace, hard_state: &HardState, batch: &mut Batch) {
    let vote = if is_planted("vote_forgotten") {
        0
    } else {
        hard_state.vote
    };
    let mut out = Vec::with_capacity(24);
    for field in [hard_state.term, vote, hard_state.commit] {
        wire::put_varint(&mut out, field);
    }
    space.put(batch, HARD_STATE, &out);
}

/// Reads the hard state. The commit index on disk may lag behind the snapshot's, which is committed.
fn read_hard_state(
    space: &Subspace,
    storage: &dyn Storage,
    snapshot: u64,
) -> Result<HardState, OpenError> {
    let Some(bytes) = space.get(storage, HARD_STATE)? else {
        return Ok(HardState::default());
    };
    let read = decode_hard_state(&bytes)
        .map_err(|error| OpenError::Damaged(format!("hard state: {error}")))?;
    Ok(HardState {
        commit: read.commit.max(snapshot),
        ..read
    })
}

pub(super) fn decode_hard_state(bytes: &[u8]) -> Result<HardState, WireError> {
    let mut reader = Reader::new(bytes);
    let (term, vote, commit) = (reader.varint()?, reader.varint()?, reader.varint()?);
    reader.finish()?;
    Ok(HardState {
        term,
        vote,
        commit,
        ..HardState::default()
    })
}
