//! What the store holds of a replica: a checkpoint, in which order its events came, a log of deltas, and who it is.

use std::vec::Vec;

use peaberry_core::{Batch, Channel, LogId, Storage, StorageError, Subspace};
use thiserror::Error;

use super::{Continuity, ReplicaOptions};
use crate::sync::{ConfigError, Membership, SyncConfig};
use crate::wire::{Budget, DecodeError, Decoder, Encoder, IdTable, Message, open, seal};
use crate::{ApplyError, Limits, ReplicaId, Replicated, VersionVector};

const IDENTITY: &[u8] = b"identity";
const STATE: &[u8] = b"state";
/// In which order the state's events became known.
const ORDER: &[u8] = b"order";
/// Below that a log is not worth a checkpoint.
const LOG_BYTES_MIN: usize = 16 << 10;
/// Our own bytes: as large as they were let become, or what was answered for would not be there again. Deeper than a
/// peer's, too; only a value that contains values of its own type can be.
const OWN: Budget = Budget {
    bytes_max: usize::MAX,
    ids_max: usize::MAX,
    dots_max: usize::MAX,
    intervals_max: usize::MAX,
    events_max: u64::MAX,
    depth_max: 512,
};
/// How much of the log is read at once.
const READ_BYTES: usize = 1 << 20;

/// A replica could not be opened. Nothing changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store could not be read.
    #[error("could not read the replica")]
    Storage(#[from] StorageError),
    /// The options cannot be gone by.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the store holds is no replica of this document. Restore a backup, or discard it, and be evicted and made a
    /// member again.
    #[error("the stored replica is damaged or of another type")]
    Damaged(#[from] DecodeError),
    /// The stored deltas do not follow one another.
    #[error("the stored deltas do not follow one another")]
    Broken(#[from] ApplyError),
    /// The store has other members for the same epoch. Decide about a roster of the next epoch.
    #[error(
        "the store has another membership of epoch {epoch}; open it with one of a higher epoch"
    )]
    TwoMemberships {
        /// The epoch.
        epoch: u64,
    },
}

/// Where a replica is kept, and what has been written.
#[derive(Debug)]
pub(super) struct Image {
    keys: Subspace,
    log: LogId,
    joined: u64,
    written: VersionVector,
    /// As it was written in this life, if it was.
    identity: Vec<u8>,
    log_start: u64,
    log_next: u64,
    log_bytes: usize,
    state_bytes: usize,
    /// A state is to be written whole: the log does not lead to it.
    must_checkpoint: bool,
}

/// Who wrote the store.
struct Identity {
    joined: u64,
    replica: ReplicaId,
    reserved: u64,
    membership: Membership,
    /// Whether the state began empty and has not caught up with its peers since.
    is_new: bool,
}

impl Image {
    pub(super) fn open<D: Replicated + Message>(
        storage: &dyn Storage,
        channel: Channel,
        options: &ReplicaOptions,
        empty: D,
    ) -> Result<(Self, D, ReplicaId, SyncConfig, bool), OpenError> {
        let keys = Subspace::of(channel);
        let log = LogId::new(channel, 0);
        let bounds = storage.log_bounds(log)?;
        let mut image = Self {
            keys,
            log,
            joined: 1,
            written: VersionVector::new(),
            identity: Vec::new(),
            log_start: bounds.start,
            log_next: bounds.end,
            log_bytes: 0,
            state_bytes: 0,
            must_checkpoint: true,
        };
        let mut config = options.sync.clone();
        config.joined = config.membership.joined(config.local).unwrap_or(1);
        let Some(identity) = image.keys.get(storage, IDENTITY)? else {
            image.joined = config.joined;
            let is_new = empty.vector().is_empty();
            return Ok((image, empty, options.fresh, config, is_new));
        };
        let identity = Identity::decode(&identity)?;
        let epoch = identity.membership.epoch();
        if epoch == config.membership.epoch() && identity.membership != config.membership {
            return Err(OpenError::TwoMemberships { epoch });
        }
        if epoch > config.membership.epoch() {
            config.membership = identity.membership;
        }
        let joined = config.membership.joined(config.local);
        if joined.is_some_and(|joined| joined != identity.joined) {
            // Evicted and made a member again: what it wrote in between nobody has seen, and nobody shall.
            config.joined = joined.unwrap_or(1);
            image.joined = config.joined;
            let is_new = empty.vector().is_empty();
            return Ok((image, empty, options.fresh, config, is_new));
        }
        config.joined = identity.joined;
        image.joined = identity.joined;
        let doc = image.read(storage, empty)?;
        let is_whole = !D::MINTS || doc.vector().get(identity.replica) == identity.reserved;
        let keeps_id = (options.continuity == Continuity::Vouched && is_whole)
            || crate::mutant::is_planted("dot_reuse_after_restart");
        let replica = if keeps_id {
            identity.replica
        } else {
            options.fresh
        };
        Ok((image, doc, replica, config, identity.is_new))
    }

    /// What has been written, if it is committed.
    pub(super) const fn written(&self) -> &VersionVector {
        &self.written
    }

    fn read<D: Replicated + Message>(
        &mut self,
        storage: &dyn Storage,
        empty: D,
    ) -> Result<D, OpenError> {
        let mut doc = match self.keys.get(storage, STATE)? {
            None => empty,
            Some(bytes) => {
                self.state_bytes = bytes.len();
                let mut state = D::from_bytes(&bytes, OWN)?;
                if let Some(order) = self.keys.get(storage, ORDER)? {
                    // A hint: one that is damaged is as good as none.
                    let _ = state.restore_order(&order);
                }
                state
            }
        };
        let mut next = self.log_start;
        while next < self.log_next {
            let entries = storage.log_read(self.log, next..self.log_next, READ_BYTES)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let delta = D::Delta::from_bytes(&entry, OWN)?;
                doc.apply_within(&delta, &Limits::NONE)?;
                self.log_bytes += entry.len();
                next += 1;
            }
        }
        self.written = doc.vector().clone();
        self.must_checkpoint = false;
        Ok(doc)
    }

    /// Writes down what the document has over what was written, and who may write how far.
    pub(super) fn write<D: Replicated + Message>(
        &mut self,
        batch: &mut Batch,
        doc: &D,
        replica: ReplicaId,
        reserved: u64,
        membership: &Membership,
        is_new: bool,
    ) {
        let identity = Identity {
            joined: self.joined,
            replica,
            reserved,
            membership: membership.clone(),
            is_new,
        };
        let identity = identity.encode();
        if identity != self.identity {
            self.keys.put(batch, IDENTITY, &identity);
            self.identity = identity;
        }
        if self.must_checkpoint || self.log_bytes > LOG_BYTES_MIN.max(2 * self.state_bytes) {
            let state = doc.to_bytes();
            self.keys.put(batch, STATE, &state);
            match doc.order_bytes() {
                order if order.is_empty() => self.keys.delete(batch, ORDER),
                order => self.keys.put(batch, ORDER, &order),
            }
            if self.log_next > self.log_start {
                batch.discard(self.log, self.log_next);
            }
            self.log_start = self.log_next;
            (self.log_bytes, self.state_bytes) = (0, state.len());
            self.must_checkpoint = false;
        } else if doc.vector() != &self.written {
            let entry = doc.delta_since(&self.written).to_bytes();
            batch.append(self.log, self.log_next, [entry.as_slice()]);
            self.log_next += 1;
            self.log_bytes += entry.len();
        }
        self.written = doc.vector().clone();
    }
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let table = IdTable::new();
        let mut out = Encoder::new(&table);
        out.varint(self.joined);
        out.id(self.replica);
        out.varint(self.reserved);
        self.membership.encode(&mut out);
        if self.is_new {
            out.u8(1);
        }
        let mut bytes = Vec::new();
        out.finish(&mut bytes);
        seal(&mut bytes, 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let table = IdTable::new();
        let mut input = Decoder::new(open(bytes)?, &table, Budget::default())?;
        let joined = input.varint()?;
        let replica = input.id()?;
        let reserved = input.varint()?;
        let membership = Membership::decode(&mut input)?;
        let is_new = !input.rest().is_empty();
        if is_new && input.u8()? != 1 {
            return Err(DecodeError::Malformed("what follows the members"));
        }
        input.finish()?;
        Ok(Self {
            joined,
            replica,
            reserved,
            membership,
            is_new,
        })
    }
}

/// Any bytes at all as the identity that a store holds, for fuzzing: what decodes has one form.
#[doc(hidden)]
pub fn decode_any_identity(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    seal(&mut sealed, 0);
    for bytes in [bytes, &sealed] {
        if let Ok(identity) = Identity::decode(bytes) {
            assert_eq!(identity.encode(), bytes, "one identity, one spelling");
        }
    }
}
