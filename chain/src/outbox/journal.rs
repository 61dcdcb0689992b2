//! Where entries lie in the store.
//!
//! `e` and an entry's number: its record. `f`, a chain's name, a zero and an address: the account's floor, below which
//! every nonce is used for good. `n`: the next entry's number. `k` and a tombstone: a key whose entry is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_core::{Batch, Storage, StorageError, Subspace};

use super::lane::LaneKey;
use super::record::{EntryId, IdempotencyKey, Outcome, Record, RecordError};
use crate::{Address, ChainFamily, ChainId, SolanaAddress};

const NEXT: &[u8] = b"n";

/// Why a journal could not be opened. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store could not be read.
    #[error("the outbox's journal could not be read")]
    Storage(#[from] StorageError),
    /// An entry does not decode: the store was written by something else, or by a newer version.
    #[error(
        "entry {entry} of the outbox's journal does not decode: restore the store from a backup"
    )]
    Damaged {
        /// The entry.
        entry: EntryId,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// An open entry is of a chain that the configuration does not name.
    #[error("the journal holds open transactions of {chain}: name the chain in the configuration")]
    UnknownChain {
        /// The chain.
        chain: ChainId,
    },
    /// The node could not host it.
    #[error("the node could not host the outbox")]
    Add(#[from] peaberry_core::AddError),
}

/// What is kept of a key for ever: so much of its hash that no two keys have the same.
pub(super) type Tombstone = [u8; 16];

pub(super) fn tombstone_of(key: &IdempotencyKey) -> Tombstone {
    let hash = alloy_primitives::keccak256(key.as_bytes());
    let mut tombstone = Tombstone::default();
    tombstone.copy_from_slice(hash.split_at(16).0);
    tombstone
}

#[derive(Debug)]
pub(super) struct Journal {
    space: Subspace,
}

impl Journal {
    pub(super) const fn new(space: Subspace) -> Self {
        Self { space }
    }

    pub(super) fn put(&self, batch: &mut Batch, entry: EntryId, record: &Record) {
        self.space.put(batch, &entry_key(entry), &record.encode());
    }

    pub(super) fn put_next(&self, batch: &mut Batch, next: u64) {
        self.space.put(batch, NEXT, &next.to_be_bytes());
    }

    pub(super) fn forget(&self, batch: &mut Batch, entry: EntryId) {
        self.space.delete(batch, &entry_key(entry));
    }

    /// Remembers for ever that this key was used.
    pub(super) fn bury(&self, batch: &mut Batch, tombstone: &Tombstone) {
        self.space
            .put(batch, &[b"k".as_slice(), tombstone].concat(), &[]);
    }

    /// The keys that were used, and are forgotten but for that.
    pub(super) fn tombstones(
        &self,
        storage: &dyn Storage,
    ) -> Result<BTreeSet<Tombstone>, StorageError> {
        let mut tombstones = BTreeSet::new();
        for entry in self.space.within(b"k").entries(storage) {
            tombstones.extend(entry?.0.first_chunk::<16>().copied());
        }
        Ok(tombstones)
    }

    pub(super) fn put_floor(
        &self,
        batch: &mut Batch,
        chain: ChainId,
        account: Address,
        floor: u64,
    ) {
        self.space
            .put(batch, &floor_key(chain, account), &floor.to_be_bytes());
    }

    /// Every account's floor.
    pub(super) fn floors(
        &self,
        storage: &dyn Storage,
    ) -> Result<BTreeMap<LaneKey, u64>, StorageError> {
        let mut floors = BTreeMap::new();
        for entry in self.space.within(b"f").entries(storage) {
            let (account, value) = entry?;
            floors.extend(read_account(&account).map(|lane| (lane, number(&value))));
        }
        Ok(floors)
    }

    /// The number that the next entry gets, and all entries, in order.
    pub(super) fn load(
        &self,
        storage: &dyn Storage,
        mut each: impl FnMut(EntryId, Record),
    ) -> Result<u64, OpenError> {
        let next = self.space.get(storage, NEXT)?;
        let next = next.as_deref().map_or(1, number).max(1);
        for entry in self.space.within(b"e").entries(storage) {
            let (name, value) = entry?;
            let entry = EntryId(number(&name));
            let record = Record::decode(&value);
            each(
                entry,
                record.map_err(|source| OpenError::Damaged { entry, source })?,
            );
        }
        Ok(next)
    }
}

fn entry_key(entry: EntryId) -> Vec<u8> {
    [b"e".as_slice(), &entry.0.to_be_bytes()].concat()
}

fn floor_key(chain: ChainId, account: Address) -> Vec<u8> {
    let mut key = [b"f".as_slice(), chain.as_str().as_bytes(), &[0]].concat();
    match account {
        Address::Evm(address) => key.extend_from_slice(address.as_slice()),
        Address::Solana(address) => key.extend_from_slice(&address.0),
    }
    key
}

/// What [`floor_key`] says behind its first letter.
fn read_account(name: &[u8]) -> Option<LaneKey> {
    let end = name.iter().position(|byte| *byte == 0)?;
    let (chain, address) = name.split_at_checked(end)?;
    let chain = str::from_utf8(chain).ok()?.parse().ok()?;
    let address = match address.get(1..)? {
        bytes if bytes.len() == 20 => Address::Evm(alloy_primitives::Address::from_slice(bytes)),
        bytes => Address::Solana(SolanaAddress(bytes.try_into().ok()?)),
    };
    Some((chain, address))
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// What a write records; `None`: it only goes along with another.
pub(super) fn name_of_write(
    name: &[u8],
    before: Option<&[u8]>,
    after: Option<&[u8]>,
) -> Option<&'static str> {
    let record = |bytes: Option<&[u8]>| bytes.and_then(|bytes| Record::decode(bytes).ok());
    match name.first()? {
        b'f' => Some("nonce_floor"),
        b'k' => Some("key_buried"),
        b'e' => name_of_step(record(before).as_ref(), record(after).as_ref()),
        _ => None,
    }
}

fn name_of_step(before: Option<&Record>, after: Option<&Record>) -> Option<&'static str> {
    let Some(after) = after else {
        let is_filler = before.is_some_and(|before| before.key.is_none());
        return Some(if is_filler {
            "filler_dropped"
        } else {
            "key_buried"
        });
    };
    match &after.outcome {
        Some(Outcome::Final(_)) => return Some("final"),
        Some(Outcome::Cancelled) => return Some("cancelled"),
        Some(Outcome::Rejected { .. }) => return Some("rejected"),
        None => {}
    }
    let Some(before) = before else {
        let is_filler = after.key.is_none();
        return Some(if is_filler {
            "filler_leased"
        } else {
            "accepted"
        });
    };
    let is_on_solana = after.chain.family() == Some(ChainFamily::Solana);
    let (had, has) = (before.attempts.len(), after.attempts.len());
    Some(match (&before.included, &after.included) {
        (Some(_), None) => "reorganised",
        (was, Some(is)) if was.as_ref() != Some(is) => "included",
        _ if has > had && had == 0 => "signed",
        _ if has > had => "signed_dearer",
        _ if has < had && is_on_solana => "expired",
        _ if has < had => "displaced",
        _ if before.called_off != after.called_off => "called_off",
        _ if before.nonce.is_none() && after.nonce.is_some() => "leased",
        _ if before.nonce.is_some() && after.nonce.is_none() => "nonce_given_back",
        _ if before.signed_above != after.signed_above => "proven_free",
        _ => return None,
    })
}
