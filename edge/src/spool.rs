//! Store and forward: what a device has to say waits here until somebody has made it durable.
//!
//! A [`Spool`] decides and does not act. It writes into a [`Batch`] that its driver commits, so that ten thousand devices of
//! one store share one sync; it names what to send and is told what became of it; time comes from outside. A
//! [`Courier`](crate::courier::Courier) is such a driver.
//!
//! # Kept
//!
//! - [`append`](Spool::append) gives a record its identity and stages it. Once the batch is
//!   [committed](Spool::committed) the record is durable: it survives a crash, and only now is it sent.
//! - It stays until it is acknowledged on the level [chosen](SpoolSettings::keep_until). A **broker's** acknowledgement moves
//!   the send window and no more: brokers lose what they have acknowledged when they die. A **sink's** is cumulative and
//!   says that everything up to it is durable there: it cuts the spool.
//! - Whatever the spool gives up for want of room it tells, in a [gap record](crate::payload::Gap) of the alerts stream: range
//!   and count. The gap is durable together with the drop it tells of; while the uplink is down it only widens.
//! - After a restart everything that was not acknowledged is sent again, under its old identities. Nothing is read but both
//!   ends of each log, so a million records take no longer than one.
//!
//! # Room
//!
//! All streams together have [`bytes_max`](SpoolSettings::bytes_max). When a record does not fit, its own stream gives way as
//! its [policy](DropPolicy) has it; where that is not enough, streams of less importance that drop. A part is reserved for
//! alerts and orders.
//!
//! **A full disk** ([`StorageError::Full`](peaberry_core::StorageError::Full)): the commit changed nothing. Tell the spool
//! ([`aborted`](Spool::aborted)), commit what [`relieve`](Spool::relieve) gives up, and go on. Records of the failed batch
//! are not kept, and are told in a gap as soon as anything can be written; what was durable goes on being sent, and every
//! acknowledgement frees space: a courier tries by itself what it cuts, which finds room where nothing else does. Any other failure of the store is final, as everywhere.
//!
//! # Order
//!
//! Reserved streams first, then what is new of the others, then their backlog; within these by priority. One send in
//! [`BACKLOG_SHARE`] prefers the backlog, so that it drains however much is new. A stream that is not
//! [live first](StreamSettings::is_live_first) keeps its order.
//!
//! ```
//! use std::sync::Arc;
//! use peaberry_core::{Batch, Channel, Durability, Instant, MemoryStorage, Storage};
//! use peaberry_edge::payload::{Payload, SinkAck};
//! use peaberry_edge::spool::{SPOOL, Spool, SpoolSettings};
//! use peaberry_edge::topic::Stream;
//! use peaberry_edge::{DeviceId, SiteId};
//!
//! let storage = MemoryStorage::new();
//! let (site, device) = (SiteId::new("berlin").unwrap(), DeviceId::new("m-17").unwrap());
//! let settings = Arc::new(SpoolSettings::default());
//! let mut batch = Batch::new();
//! let owner = Channel::new(SPOOL, 17);
//! let mut spool = Spool::open(&storage, owner, site, device.clone(), settings, &mut batch).unwrap();
//!
//! let payload = Payload::Twin(b"delta".as_slice().into());
//! let id = spool.append(&storage, &mut batch, 1_500, payload).unwrap();
//! storage.commit(&batch, Durability::Synced).unwrap();
//! spool.committed();
//! batch.clear();
//!
//! let now = Instant::default();
//! spool.up(now, false);
//! let outgoing = spool.next(now, &storage).unwrap().unwrap();
//! assert_eq!(&*outgoing.message.topic, "peaberry/1/berlin/m-17/up/twin");
//! spool.accepted(now, outgoing.seq, &storage, &mut batch).unwrap();
//! assert_eq!(spool.status().records, 1, "the broker may still lose it");
//!
//! let ack = SinkAck { device, boot: id.boot, stream: Stream::Twin, through: id.sequence };
//! spool.acknowledged(now, &ack, &storage, &mut batch).unwrap();
//! assert_eq!(spool.status().records, 0);
//! ```

mod entry;
mod gaps;
mod lane;
mod levels;
mod log;
mod room;
mod send;
mod settings;
mod unwanted;

use std::sync::Arc;

use bytes::Bytes;
use peaberry_core::{Batch, Channel, ProtocolId, Storage, Subspace};

pub use self::entry::RECORD_OVERHEAD;
pub use self::send::{BACKLOG_SHARE, Outgoing};
pub use self::settings::{AckLevel, DropPolicy, SpoolSettings, StreamSettings};
pub use self::unwanted::{REFUSED_MAX, TOO_LONG_INTERVAL, TOO_LONG_MAX};

use self::gaps::Gaps;
use self::lane::Lane;
use self::send::Link;
use self::unwanted::Unwanted;
use crate::error::EdgeError;
use crate::identity::{BootEpoch, Position, RecordId};
use crate::name::{DeviceId, SiteId};
use crate::payload::{Gap, GapReason, MESSAGE_BYTES_MAX, Payload, Record, Wire};
use crate::topic::{Stream, TOPIC_BYTES_MAX};

/// The protocol under whose channels spools keep their keys and logs; the group is the device's number in its store.
pub const SPOOL: ProtocolId = ProtocolId(60);

/// The longest encoded record: with its topic and what delivery adds it is still a message.
pub const RECORD_BYTES_MAX: usize = MESSAGE_BYTES_MAX - TOPIC_BYTES_MAX - 64;

/// How a [`Spool`] stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolStatus {
    /// Records in it, staged ones too.
    pub records: u64,
    /// What they cost of [`SpoolSettings::bytes_max`].
    pub bytes: u64,
    /// Records given up since this start, for whatever reason.
    pub dropped_records: u64,
    /// Records sent since this start, repetitions too.
    pub sent_records: u64,
    /// Records that the broker has not acknowledged yet.
    pub in_flight: usize,
    /// Whether gaps wait to be told.
    pub has_gaps: bool,
}

/// What one device has to say and nobody has made durable yet. See [the module](self).
#[derive(Debug)]
pub struct Spool {
    settings: Arc<SpoolSettings>,
    owner: Channel,
    site: SiteId,
    device: DeviceId,
    boot: BootEpoch,
    /// A later start that the sink knows, and the next one will not repeat.
    skipped: Option<BootEpoch>,
    next_sequence: u64,
    /// The most important first.
    lanes: Vec<Lane>,
    gaps: Gaps,
    link: Link,
    is_staged: bool,
    must_sync: bool,
    dropped_records: u64,
    /// Records that are given up if the present commit succeeds.
    dropping_records: u64,
    sent_records: u64,
}

impl Spool {
    /// Opens the spool that `owner` has in `storage`, for a new start of the device: its boot epoch is staged in `batch`,
    /// which must be committed, and [told](Self::committed), like any other.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`]; nothing changed.
    pub fn open(
        storage: &dyn Storage,
        owner: Channel,
        site: SiteId,
        device: DeviceId,
        settings: Arc<SpoolSettings>,
        batch: &mut Batch,
    ) -> Result<Self, EdgeError> {
        let space = Subspace::of(owner);
        let gaps = Gaps::open(storage, space.within(b"gap"))?;
        let unwanted = Unwanted::open(storage, &space)?;
        let mut spool = Self {
            settings,
            owner,
            site,
            device,
            boot: BootEpoch::FIRST,
            skipped: None,
            next_sequence: 1,
            lanes: Vec::new(),
            gaps,
            link: Link::new(unwanted),
            is_staged: true,
            must_sync: true,
            dropped_records: 0,
            dropping_records: 0,
            sent_records: 0,
        };
        for stream in Stream::ALL {
            let lane = Lane::open(storage, owner, stream)?;
            if lane.count() > 0 || lane.durable.iter().any(|log| log.end > 0) {
                spool.add_lane(lane);
            }
        }
        let salt = spool.settings.boot_salt.draw();
        spool.boot = BootEpoch::take(storage, &space, salt, batch)?;
        Ok(spool)
    }

    /// Which start of the device this is.
    #[must_use]
    pub const fn boot(&self) -> BootEpoch {
        self.boot
    }

    /// Whose keys its are: the group is the device's number in its store.
    pub(crate) const fn owner(&self) -> Channel {
        self.owner
    }

    /// Whose records these are.
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        &self.device
    }

    /// How the spool stands.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        SpoolStatus {
            records: self.lanes.iter().map(Lane::count).sum(),
            bytes: self.lanes.iter().map(Lane::bytes).sum(),
            dropped_records: self.dropped_records + self.dropping_records,
            sent_records: self.sent_records,
            in_flight: self.link.in_flight.len(),
            has_gaps: !self.gaps.is_empty(),
        }
    }

    /// The number of the last record that was made.
    #[cfg(test)]
    pub(crate) const fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Whether any record of a stream waits.
    pub(crate) fn holds(&self, stream: Stream) -> bool {
        let mut lanes = self.lanes.iter();
        lanes.any(|lane| lane.stream == stream && lane.count() > 0)
    }

    /// Stages a record made `at_ms` milliseconds after the device's start. Its identity may be used outside once the batch is
    /// committed.
    ///
    /// # Errors
    ///
    /// [`EdgeError::TooLong`] for a record over [`SpoolSettings::record_bytes_max`]; nothing changed. [`EdgeError::SpoolFull`] if nothing
    /// gives way to it: the record is not kept, and that is staged as a gap. [`EdgeError::Storage`] or
    /// [`EdgeError::Stored`] if the spool cannot be read.
    pub fn append(
        &mut self,
        storage: &dyn Storage,
        batch: &mut Batch,
        at_ms: u64,
        payload: Payload,
    ) -> Result<RecordId, EdgeError> {
        let stream = payload.stream();
        let id = RecordId {
            device: self.device.clone(),
            boot: self.boot,
            sequence: self.next_sequence,
        };
        let record = Record { id, at_ms, payload };
        let bytes = record.encode();
        let bytes_max = self.settings.record_bytes_max.min(RECORD_BYTES_MAX);
        if bytes.len() > bytes_max {
            return Err(EdgeError::TooLong {
                what: "record bytes",
                length: bytes.len() as u64,
                length_max: bytes_max as u64,
            });
        }
        self.gaps.save(batch);
        self.save_unwanted(batch);
        let at = record.id.position();
        let has_room = self.make_room(stream, entry::cost(bytes.len()), storage, batch)?;
        self.next_sequence += 1;
        self.is_staged = true;
        self.must_sync = true;
        if !has_room {
            self.lost(batch, gaps::one(stream, at, GapReason::Rejected));
            self.gaps.depends(stream, at);
            return Err(EdgeError::SpoolFull {
                stream: stream.word(),
                bytes_max: self.settings.bytes_max,
            });
        }
        let owner = self.owner;
        let lane = self.lane(stream);
        if let Some(log) = lane.staged_mut().first_mut() {
            log.append(batch, lane::log_id(owner, stream, 0), at, &bytes);
        }
        self.gaps.depends(stream, at);
        Ok(record.id)
    }

    /// A record of `stream` is not taken, and nothing is staged about that: hand the gap to [`owe`](Self::owe) once nothing is
    /// staged any more.
    pub(crate) fn reject(&mut self, stream: Stream) -> (Gap, EdgeError) {
        let at = Position::new(self.boot, self.next_sequence);
        self.next_sequence += 1;
        self.dropped_records += 1;
        let error = EdgeError::SpoolFull {
            stream: stream.word(),
            bytes_max: self.settings.bytes_max,
        };
        (gaps::one(stream, at, GapReason::Rejected), error)
    }

    /// Records were lost that are told with what is staged next.
    pub(crate) fn owe(&mut self, gap: Gap) {
        self.gaps.owe(gap);
    }

    /// Whether anything of this spool waits for the commit of its batch.
    #[must_use]
    pub const fn is_staged(&self) -> bool {
        self.is_staged
    }

    /// Whether the commit must be [synced](peaberry_core::Durability::Synced). Else it only forgets what was acknowledged:
    /// after a crash that would be sent once more, and known by its identity.
    #[must_use]
    pub const fn must_sync(&self) -> bool {
        self.must_sync
    }

    /// Everything staged is durable.
    pub fn committed(&mut self) {
        self.is_staged = false;
        self.must_sync = false;
        for lane in &mut self.lanes {
            if lane.is_staged() {
                lane.committed();
            }
        }
        self.gaps.committed();
        self.link.unwanted.committed();
        self.dropped_records += std::mem::take(&mut self.dropping_records);
    }

    /// What is staged is going to be [committed](Self::committed) without a sync: none of it is sent until it is
    /// [synced](Self::synced).
    pub(crate) fn hold_back(&mut self) {
        self.lanes.iter_mut().for_each(Lane::hold_back);
    }

    /// Everything committed is durable, also what was held back.
    pub(crate) fn synced(&mut self) {
        self.lanes.iter_mut().for_each(Lane::synced);
    }

    /// The store had no room for the batch: nothing staged was kept. The records of the batch are lost; a gap will say so.
    /// Answers how many they are.
    pub fn aborted(&mut self) -> u64 {
        // It may have been staged only now: the sink will say it again.
        self.skipped = None;
        self.is_staged = false;
        self.must_sync = false;
        for lane in &mut self.lanes {
            if lane.is_staged() {
                lane.aborted();
            }
        }
        let count = self.gaps.aborted();
        self.link.unwanted.aborted();
        // What was to give way is there still.
        self.dropping_records = 0;
        self.dropped_records += count;
        count
    }

    fn lane(&mut self, stream: Stream) -> &mut Lane {
        let found = self.lanes.iter().position(|lane| lane.stream == stream);
        let at = found.unwrap_or_else(|| self.add_lane(Lane::new(stream)));
        self.lanes.get_mut(at).expect("a lane is where it was put")
    }

    fn add_lane(&mut self, lane: Lane) -> usize {
        let rank = |stream| {
            let settings = self.settings.stream(stream);
            (!settings.is_reserved, settings.priority, stream.number())
        };
        let own = rank(lane.stream);
        let at = self.lanes.partition_point(|other| rank(other.stream) < own);
        // Most devices use half of the streams: none pays for the others.
        self.lanes.reserve_exact(1);
        self.lanes.insert(at, lane);
        at
    }
}

/// Feeds any bytes at all to the decoders of what spools keep.
pub(crate) fn decode_any(bytes: &[u8]) {
    unwanted::decode_any(bytes);
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(read) = entry::read(&bytes) {
        let mut again = Vec::new();
        entry::put(&mut again, read.head, &read.record);
        assert_eq!(again, bytes, "an entry has one spelling");
    }
}

#[cfg(test)]
mod tests;
