//! What is desired of a device and what it reports, edited on both sides while they cannot hear each other.
//!
//! A [`Twin`] is one replicated document of `peaberry-crdt`, a copy on the device and one on each service: a map of entries
//! in two sections, each entry a register of which the last write holds, by hybrid time. Of *desired* everybody may write,
//! the device too (somebody turned its knob); of *reported* the device alone, and an entry that claims otherwise is refused
//! by its writer's name. What both sides did while apart comes together the same way on both, whatever way the messages come.
//!
//! # Messages
//!
//! Three, all in the byte format of `peaberry-crdt`: a delta; a vector, which says what its sender knows; and, for one that
//! was behind, the delta it lacks. Each change makes a delta. On connecting, a side says its [vector](Twin::hello); who
//! gets one [answers](Received::answers) with what the other lacks, and with its own vector when the other knows more. A delta
//! that does not follow on what is known is answered with the vector. So lost, late and repeated messages do no harm, and
//! two sides that know the same fall silent.
//!
//! # Time
//!
//! A stamp further ahead of the receiver's wall clock than [`DRIFT_MS_MAX`] is refused, or it would win until clocks catch
//! up. A device that has not learned the time takes anything up to [`WALL_MS_MAX`], and dates anew what turns out to lie in
//! the future [once it knows the time](Twin::learn_time); until then a service, which can judge, refuses it.
//!
//! # Strangers
//!
//! Whoever may write to a device's topics may desire. What nobody may is refused by the name of the writer: to report, to
//! unsay what the device reported, or to name an event of the receiver's own that it never made. A broker's access rules
//! decide who writes; ids are not secrets.
//!
//! # What survives
//!
//! Every change is in the turn's batch before its delta leaves. After a crash the twin is as the last commit left it, and
//! no event is ever named twice: what was lost with the power had not left.

mod admission;
mod date;
mod rest;
mod value;

use bytes::Bytes;
use peaberry_core::{Batch, Storage, Subspace};
use peaberry_crdt::wire::{Budget, Message};
use peaberry_crdt::{
    ApplyError, Causal, Changed, Delta, Hlc, Lattice, LwwRegister, ObservedRemoveMap, ReplicaId,
    VersionVector, WriteError, Writer,
};

use self::admission::check_count;
pub use self::date::WALL_MS_MAX;
use self::rest::Resting;
pub use self::value::TwinValue;
use self::value::{Section, TwinKey};

use crate::error::EdgeError;
use crate::name::Name;
use crate::payload::MESSAGE_BYTES_MAX;

/// How far a stamp may lead the receiver's wall clock: 5 minutes, in milliseconds.
pub const DRIFT_MS_MAX: u64 = 5 * 60_000;

/// How many entries a twin may have, desired and reported together.
pub const TWIN_ENTRIES_MAX: usize = 256;

/// How many writers a twin may ever have known: the device, and services that keep their ids.
pub const TWIN_WRITERS_MAX: usize = 1024;

/// How much of what was removed is remembered for those who are behind, in bytes.
const REMOVALS_BYTES_MAX: usize = 4096;

const WHAT: &str = "twin message";

type Document = Causal<Entries>;
type Entries = ObservedRemoveMap<TwinKey, LwwRegister<TwinValue>>;

/// Whose copy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are two sides")]
pub enum Side {
    /// The device's: it alone reports.
    Device,
    /// A service's, which desires. No two services of one device share an id; draw it at random, and keep it: a device knows
    /// [so many](TWIN_WRITERS_MAX) and refuses another by name.
    Service(ReplicaId),
}

/// The device's own id in the document of its twin.
const DEVICE: u128 = 1;

/// One side's copy of a device's twin.
///
/// ```
/// use peaberry_core::{Batch, Channel, MemoryStorage, ProtocolId, Subspace};
/// use peaberry_crdt::ReplicaId;
/// use peaberry_edge::Name;
/// use peaberry_edge::twin::{Side, Twin, TwinValue};
///
/// let space = Subspace::of(Channel::new(ProtocolId(2000), 1));
/// let (here, there) = (MemoryStorage::new(), MemoryStorage::new());
/// let mut device = Twin::open(&here, &space, Side::Device).unwrap();
/// let service = Side::Service(ReplicaId::new(0xF0).unwrap());
/// let mut service = Twin::open(&there, &space, service).unwrap();
/// let target = Name::new("boiler.target").unwrap();
///
/// let mut batch = Batch::new();
/// let wished = service.desire(target.clone(), TwinValue::from(94.5), Some(1_000), &mut batch).unwrap();
/// let received = device.receive(&wished, Some(1_000), &mut batch).unwrap();
/// assert!(received.has_changed);
/// assert_eq!(device.delta(), [(target.clone(), TwinValue::from(94.5))]); // what the device is to do
/// device.report(target, TwinValue::from(94.5), Some(1_001), &mut batch).unwrap();
/// assert!(device.delta().is_empty());
/// ```
#[derive(Debug)]
pub struct Twin {
    document: Resting,
    writer: Writer,
    clock: Hlc,
    side: Side,
    space: Subspace,
}

/// What became of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Whether the twin changed: look at the [delta](Twin::delta), and commit the batch.
    pub has_changed: bool,
    /// What to send back; at most two messages.
    pub answers: Vec<Bytes>,
}

impl Twin {
    /// The copy in `space`; an empty one if there is none.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] if it cannot be read, [`EdgeError::Malformed`] if it is none.
    pub fn open(storage: &dyn Storage, space: &Subspace, side: Side) -> Result<Self, EdgeError> {
        let stored = space.get(storage, STATE).map_err(|source| {
            let doing = "read the twin";
            EdgeError::Storage { doing, source }
        })?;
        let document = stored.map_or_else(|| Ok(Resting::new()), Resting::stored)?;
        let replica = match side {
            Side::Device => device_replica(),
            Side::Service(replica) => replica,
        };
        let minted = document.get().vector().get(replica);
        let mut this = Self {
            document,
            // Every event is committed before it leaves, so none that is not stored was ever seen.
            writer: Writer::new(replica, minted, u64::MAX),
            clock: Hlc::new(DRIFT_MS_MAX),
            side,
            space: space.clone(),
        };
        for (_, register) in this.document.get().value().iter() {
            observe(&mut this.clock, register);
        }
        Ok(this)
    }

    /// Desires an entry. Returns the message for the other side; send it once `batch` is durable.
    ///
    /// `wall_ms` is the wall time in milliseconds since 1970, if it is known: without it, the write is later than all that
    /// this side has seen, and no more.
    ///
    /// # Errors
    ///
    /// [`EdgeError::TooLong`] if it would be one entry too many, [`EdgeError::TwinWrite`] if all of this side's events are
    /// used up; nothing changed.
    pub fn desire(
        &mut self,
        key: Name,
        value: TwinValue,
        wall_ms: Option<u64>,
        batch: &mut Batch,
    ) -> Result<Bytes, EdgeError> {
        self.write(Section::Desired, key, value, wall_ms, batch)
    }

    /// Reports an entry. As [`desire`](Self::desire).
    ///
    /// # Errors
    ///
    /// As [`desire`](Self::desire), and [`EdgeError::Malformed`] on a service's side: only the device reports.
    pub fn report(
        &mut self,
        key: Name,
        value: TwinValue,
        wall_ms: Option<u64>,
        batch: &mut Batch,
    ) -> Result<Bytes, EdgeError> {
        if self.side != Side::Device {
            return Err(EdgeError::malformed("report", "only the device reports"));
        }
        self.write(Section::Reported, key, value, wall_ms, batch)
    }

    /// Desires nothing of an entry any more. Returns the message for the other side, `None` if nothing was desired.
    ///
    /// # Errors
    ///
    /// [`EdgeError::TwinWrite`] if all of this side's events are used up; nothing changed.
    pub fn forget(&mut self, key: &Name, batch: &mut Batch) -> Result<Option<Bytes>, EdgeError> {
        let key = TwinKey::new(Section::Desired, key.clone());
        if self.document.get().value().get(&key).is_none() {
            return Ok(None);
        }
        let delta = self
            .document
            .get_mut()
            .write(&mut self.writer, |entries, _| Ok(entries.remove(&key)))
            .map_err(not_written)?;
        self.save(batch);
        Ok(Some(delta.to_bytes().into()))
    }

    /// What is desired of an entry.
    #[must_use]
    pub fn desired(&self, key: &Name) -> Option<&TwinValue> {
        self.entry(Section::Desired, key)
    }

    /// What the device reports of an entry.
    #[must_use]
    pub fn reported(&self, key: &Name) -> Option<&TwinValue> {
        self.entry(Section::Reported, key)
    }

    /// Everything desired, in ascending order of keys.
    pub fn all_desired(&self) -> impl Iterator<Item = (&Name, &TwinValue)> + '_ {
        self.section(Section::Desired)
    }

    /// Everything reported, in ascending order of keys.
    pub fn all_reported(&self) -> impl Iterator<Item = (&Name, &TwinValue)> + '_ {
        self.section(Section::Reported)
    }

    /// Desired less reported: what the device has yet to bring about, in ascending order of keys.
    #[must_use]
    pub fn delta(&self) -> Vec<(Name, TwinValue)> {
        self.all_desired()
            .filter(|(key, desired)| self.reported(key) != Some(desired))
            .map(|(key, desired)| (key.clone(), desired.clone()))
            .collect()
    }

    /// Gives back the memory that it takes to look at the twin. The next look reads it again.
    pub fn rest(&mut self) {
        self.document.rest();
    }

    /// Says what this side knows: the first message of a connection.
    #[must_use]
    pub fn hello(&self) -> Bytes {
        self.document.get().vector().to_bytes().into()
    }

    /// Names what this side knows: two that know the same have the same.
    pub(crate) fn digest(&self) -> [u8; 16] {
        self.document.get().vector().digest()
    }

    /// Takes a message of the other side. If the twin changed, its new state is in `batch`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Malformed`] or [`EdgeError::TooLong`] for what is no such message, writes or unsays what only the device
    /// may, names an event of this side's own that it never made, or makes the twin too large, in entries, writers or bytes;
    /// [`EdgeError::Twin`] for a stamp from the far future, or an event with two meanings. Nothing changed.
    pub fn receive(
        &mut self,
        message: &[u8],
        wall_ms: Option<u64>,
        batch: &mut Batch,
    ) -> Result<Received, EdgeError> {
        if let Ok(vector) = VersionVector::from_bytes(message, BUDGET) {
            self.check_own(vector.get(self.writer.replica()))?;
            return Ok(self.answer(&vector));
        }
        let delta = Delta::<Entries>::from_bytes(message, BUDGET)
            .map_err(|error| EdgeError::malformed(WHAT, error.to_string()))?;
        self.check(&delta)?;
        let mut document = self.document.get().clone();
        match document.apply_within(&delta, &date::limits(wall_ms)) {
            Ok(Changed::No) => Ok(Received::default()),
            Ok(Changed::Yes) => {
                self.check_reports(&document)?;
                let budget = match self.side {
                    Side::Device => &BY_OTHERS,
                    Side::Service(_) => &BUDGET,
                };
                self.document.become_if_within(budget, document)?;
                for (_, register) in delta.store().iter() {
                    observe(&mut self.clock, register);
                }
                self.save(batch);
                Ok(Received {
                    has_changed: true,
                    answers: Vec::new(),
                })
            }
            Err(ApplyError::Gap { .. }) => Ok(Received {
                has_changed: false,
                answers: vec![self.hello()],
            }),
            Err(source) => Err(EdgeError::Twin { source }),
        }
    }

    /// To a side that knows `theirs`: what it lacks, and what we know if it knows more.
    fn answer(&self, theirs: &VersionVector) -> Received {
        let mut answers = Vec::new();
        let document = self.document.get();
        if !theirs.partial_le(document.vector()) {
            answers.push(self.hello());
        }
        let lacking = document.delta_since(theirs);
        if !lacking.is_empty() {
            answers.push(lacking.to_bytes().into());
        }
        Received {
            has_changed: false,
            answers,
        }
    }

    fn write(
        &mut self,
        section: Section,
        key: Name,
        value: TwinValue,
        wall_ms: Option<u64>,
        batch: &mut Batch,
    ) -> Result<Bytes, EdgeError> {
        let key = TwinKey::new(section, key);
        let held = self.document.get().value();
        check_count(held.iter().len() + usize::from(held.get(&key).is_none()))?;
        let stamp = self.clock.now(date::own(wall_ms));
        let delta = self
            .document
            .get_mut()
            .write(&mut self.writer, |entries, mint| {
                entries.update(key, |register| register.write(mint, stamp, value))
            })
            .map_err(not_written)?;
        self.save(batch);
        Ok(delta.to_bytes().into())
    }

    fn save(&mut self, batch: &mut Batch) {
        self.space.put(batch, STATE, self.document.bytes());
    }

    fn entry(&self, section: Section, key: &Name) -> Option<&TwinValue> {
        let key = TwinKey::new(section, key.clone());
        self.document.get().value().get(&key)?.value()
    }

    fn section(&self, section: Section) -> impl Iterator<Item = (&Name, &TwinValue)> + '_ {
        let entries = self.document.get().value().iter();
        entries
            .filter(move |(key, _)| key.section == section)
            .filter_map(|(key, register)| Some((&key.name, register.value()?)))
    }
}

const STATE: &[u8] = b"twin";

/// What a device's twin may become by what others wrote. Its own writes come on top, and all of it must still be a message.
const BY_OTHERS: Budget = Budget {
    bytes_max: MESSAGE_BYTES_MAX / 4 * 3,
    ids_max: TWIN_WRITERS_MAX,
    dots_max: 4 * TWIN_ENTRIES_MAX,
    ..BUDGET
};

/// What a message may claim before memory is taken for it.
const BUDGET: Budget = Budget {
    bytes_max: MESSAGE_BYTES_MAX,
    ids_max: TWIN_WRITERS_MAX + 1,
    dots_max: 5 * TWIN_ENTRIES_MAX,
    intervals_max: 4096,
    events_max: 1 << 32,
    depth_max: 4,
};

const fn device_replica() -> ReplicaId {
    ReplicaId::new(DEVICE).expect("one is not zero")
}

fn observe(clock: &mut Hlc, register: &LwwRegister<TwinValue>) {
    // They were admitted: whatever the wall clock says now, later stamps must exceed them.
    register.stamps().for_each(|(_, stamp)| clock.follow(stamp));
}

fn not_written(source: WriteError) -> EdgeError {
    EdgeError::TwinWrite { source }
}

/// Feeds any bytes at all to a twin that holds something, on either side, and panics if one that it took cannot be read back.
#[doc(hidden)]
pub fn receive_any_twin_bytes(bytes: &[u8]) {
    let storage = peaberry_core::MemoryStorage::new();
    let space = Subspace::of(peaberry_core::Channel::new(
        peaberry_core::ProtocolId(2000),
        1,
    ));
    let other = ReplicaId::new(2).expect("two is not zero");
    for side in [Side::Device, Side::Service(other)] {
        let mut twin = Twin::open(&storage, &space, side).expect("nothing is stored");
        let mut batch = Batch::new();
        if let Ok(received) = twin.receive(bytes, Some(1_000), &mut batch) {
            assert_eq!(received.has_changed, !batch.is_empty());
            let again = Document::from_bytes(&twin.document.get().to_bytes(), Budget::default());
            assert_eq!(
                again.as_ref().expect("a twin reads its own bytes"),
                twin.document.get()
            );
            twin.rest();
            assert_eq!(again.expect("it was read above"), *twin.document.get());
        }
        // Whatever it has heard, it goes on writing, and what it wrote is taken by another copy that heard the same.
        let key = Name::new("boiler").expect("a name");
        for wall_ms in [None, Some(1_000)] {
            let written = twin.desire(key.clone(), TwinValue::from(1.0), wall_ms, &mut batch);
            assert!(
                matches!(written, Ok(_) | Err(EdgeError::TooLong { .. })),
                "{written:?}"
            );
        }
        let forgotten = twin.forget(&key, &mut batch);
        assert!(forgotten.is_ok(), "{forgotten:?}");
        let dated = twin.learn_time(1_000, &mut batch);
        assert!(dated.is_ok(), "{dated:?}");
    }
}

#[cfg(test)]
mod tests;
