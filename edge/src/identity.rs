//! Which record it is: device, boot epoch, sequence.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU64;

use peaberry_core::mutant::is_planted;
use peaberry_core::wire::{self, Reader};
use peaberry_core::{Batch, Durability, Storage, Subspace};

use crate::error::EdgeError;
use crate::name::DeviceId;

/// Tells a device's starts apart; a later start has a higher one. No two share one, also after a crash: [`BootEpoch::begin`]
/// makes it durable before it is used.
///
/// A device whose disk was replaced, or restored from a backup, counts on from a start that others have followed already. Where
/// starts are [salted](BootSalt), as they are by default, its epoch is still its own: either above all that its sink knows, and
/// nothing is amiss, or below, which both notice. Without salt, and with it [once in a while](BOOT_SALT_MAX), it may be one that is
/// known, which is noticed only if the sink knows more of it than this start has made. A device that notices is told by its sink,
/// which acknowledges what this start has not made; its spool then [refuses](EdgeError::LaterStart) that by name, and the next
/// start is later than all that the sink has seen. What is made before that start may be taken for repeated: start the device
/// again, or give it a new [`DeviceId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct BootEpoch(NonZeroU64);

impl BootEpoch {
    /// The first epoch.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// Epoch `number`; `None` for zero.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Takes the next epoch of the device that owns `space`, and makes that durable before it returns. Call it once for
    /// each start of the device.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] if the store failed: whether the epoch was taken is unknown, and it must not be used.
    /// [`EdgeError::Stored`] if what is there is no epoch.
    pub fn begin(storage: &dyn Storage, space: &Subspace) -> Result<Self, EdgeError> {
        let mut batch = Batch::new();
        let next = Self::take(storage, space, 0, &mut batch)?;
        storage
            .commit(&batch, Durability::Synced)
            .map_err(|source| EdgeError::Storage {
                doing: TAKE,
                source,
            })?;
        Ok(next)
    }

    /// As [`begin`](Self::begin), but leaves the commit to the caller: the epoch must not be used before `batch` is
    /// durable. So ten thousand devices of one store start with one sync.
    ///
    /// It is higher than the last by 1 and by `salt` modulo [`BOOT_SALT_MAX`]. A salt that is drawn anew for each start tells
    /// two starts apart that go on from one backup.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`]; nothing changed.
    pub fn take(
        storage: &dyn Storage,
        space: &Subspace,
        salt: u64,
        batch: &mut Batch,
    ) -> Result<Self, EdgeError> {
        let fail = |source| EdgeError::Storage {
            doing: TAKE,
            source,
        };
        let last = match space.get(storage, BOOT_KEY).map_err(fail)? {
            Some(bytes) => read_epoch(&bytes)?,
            None => 0,
        };
        let is_salted = !is_planted("edge_boot_salt_ignored");
        let salt = if is_salted { salt % BOOT_SALT_MAX } else { 0 };
        let next = Self(NonZeroU64::MIN.saturating_add(last).saturating_add(salt));
        if is_planted("edge_boot_epoch_reused") {
            return Ok(next);
        }
        let mut bytes = Vec::new();
        wire::put_varint(&mut bytes, next.get());
        space.put(batch, BOOT_KEY, &bytes);
        Ok(next)
    }

    /// Has the next start be later than this one, once `batch` is durable.
    pub(crate) fn skip(self, space: &Subspace, batch: &mut Batch) {
        let mut bytes = Vec::new();
        wire::put_varint(&mut bytes, self.get());
        space.put(batch, BOOT_KEY, &bytes);
    }
}

/// Where the salt of a start comes from: what tells it from another that goes on from the same backup, or on an empty disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it is drawn or it is not")]
pub enum BootSalt {
    /// From the system's randomness, anew for each start of each device: by the standard library's [`RandomState`], which
    /// promises none and may not wait for it. Where devices start so early that their system has gathered none yet, two starts
    /// may draw the same: [give](Self::Given) them salts from a source of your own.
    #[default]
    Drawn,
    /// This one, for runs that a seed replays: draw it from the seed, anew for each start. With the same for all, epochs are
    /// equally far apart, 1 with 0, and a start on an empty or restored disk may take one that its sink knows.
    Given(u64),
}

impl BootSalt {
    /// The salt of one start.
    #[must_use]
    pub fn draw(self) -> u64 {
        match self {
            // Its keys are the system's, as far as that has randomness so early; nothing secret hangs on them here.
            Self::Drawn => RandomState::new().build_hasher().finish(),
            Self::Given(salt) => salt,
        }
    }
}

/// How far the epoch of a start may lead the last one known of a device that is heard of: there must always be a later one.
/// More is a stranger's doing.
pub const BOOT_JUMP_MAX: u64 = 1 << 40;

/// How far an acknowledgement may lead the start that hears it. Far less than [`BOOT_JUMP_MAX`]: the starts behind it must be
/// in the sink's reach, whoever made it up.
pub const BOOT_SKIP_MAX: u64 = 1 << 32;

/// The salt of an epoch is below this: half a million starts behind a backup are in an acknowledgement's
/// [reach](BOOT_SKIP_MAX), and about one in 10,000 has the epoch of another all the same.
pub const BOOT_SALT_MAX: u64 = 1 << 14;

/// How far a record's sequence may lead the last one known of its start.
pub const SEQUENCE_JUMP_MAX: u64 = 1 << 40;

const BOOT_KEY: &[u8] = b"boot";
const TAKE: &str = "take the next boot epoch";

fn read_epoch(bytes: &[u8]) -> Result<u64, EdgeError> {
    let mut reader = Reader::new(bytes);
    let read = reader.varint().and_then(|last| {
        reader.finish()?;
        Ok(last)
    });
    read.map_err(|source| EdgeError::Stored {
        what: "a boot epoch",
        source,
    })
}

impl fmt::Display for BootEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Names a record for ever: its device, the start of the device in which it was made, and its number within that start,
/// from 1. Whoever sees a record twice knows it by this.
///
/// Ordered by device, epoch, sequence: within one device, the order in which records were made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct RecordId {
    /// Who made it.
    pub device: DeviceId,
    /// In which of its starts.
    pub boot: BootEpoch,
    /// Its number within the start, from 1, without gaps.
    pub sequence: u64,
}

impl RecordId {
    /// Where it stands among the records of its device.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position {
            boot: self.boot,
            sequence: self.sequence,
        }
    }
}

/// Where a record stands among all of its device: what was made first comes first, over every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Position {
    /// In which start it was made.
    pub boot: BootEpoch,
    /// Its number within the start.
    pub sequence: u64,
}

impl Position {
    /// Record `sequence` of the start `boot`.
    #[must_use]
    pub const fn new(boot: BootEpoch, sequence: u64) -> Self {
        Self { boot, sequence }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.boot, self.sequence)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.device, self.boot, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use peaberry_core::{Channel, MemoryStorage, ProtocolId};

    use super::*;

    #[test]
    fn no_two_starts_share_an_epoch() {
        let storage = MemoryStorage::new();
        let space = Subspace::of(Channel::new(ProtocolId(1), 1));
        let epochs: Vec<_> = (0..3)
            .map(|_| BootEpoch::begin(&storage, &space).unwrap().get())
            .collect();
        assert_eq!(epochs, [1, 2, 3]);
    }

    #[test]
    fn salted_starts_ascend_and_part_where_they_go_on_from_one_backup() {
        let storage = MemoryStorage::new();
        let space = Subspace::of(Channel::new(ProtocolId(1), 1));
        BootEpoch::begin(&storage, &space).unwrap();
        let start = |salt| BootEpoch::take(&storage, &space, salt, &mut Batch::new()).unwrap();
        assert_eq!(start(0).get(), 2);
        assert_eq!(start(7).get(), 9);
        assert_eq!(start(BOOT_SALT_MAX).get(), 2);
        assert_eq!(start(u64::MAX).get(), 1 + BOOT_SALT_MAX);
    }
}
