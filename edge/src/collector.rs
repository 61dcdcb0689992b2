//! Where the records of many devices arrive, each once, and are made durable before anybody is told so.
//!
//! A [`Collector`] is the sink of a fog or cloud: it knows records by (device, boot epoch, sequence), keeps each new one in a
//! durable inbox, and acknowledges cumulatively, on the device's `down/acks`, what is durable: only that lets a device's
//! [spool](crate::spool) forget. It decides and stages; [`commit`](Collector::commit) is the one thing it does to the store.
//! An [`Intake`] drives it on an uplink.
//!
//! # Guarantees
//!
//! - A record that was acknowledged is in the inbox, or was taken out by [`discard`](Collector::discard). The inbox and what
//!   is known of a stream are one batch, so no crash parts them.
//! - The inbox holds no record twice. A reader that stores the index it has read up to together with what it makes of the
//!   records has each once.
//! - Between two records of a stream that are acknowledged, nothing is missing but what a
//!   [gap record](crate::payload::Gap) tells: gap records are in the inbox like any other.
//! - Memory and keys for one stream of a device are bounded: what arrives with one hole too many is deferred, and comes
//!   again. So are devices and inbox.
//! - A full disk defers everything: nothing is acknowledged, and all of it comes again.
//! - A stranger's bytes are refused by name and stop nothing.

mod exchange;
mod intake;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peaberry_core::mutant::is_planted;
use peaberry_core::{
    Batch, Channel, Durability, Instant, LogId, ProtocolId, Storage, StorageError, Subspace,
};

pub use self::exchange::Exchanged;
pub use self::intake::{Intake, IntakeReport};

use crate::coverage::{Arrival, Coverage};
use crate::error::EdgeError;
use crate::identity::BootEpoch;
use crate::name::{DeviceId, SiteId};
use crate::payload::{Delivery, Record, SinkAck, Wire};
use crate::topic::{Lane, Stream, Topic};
use crate::uplink::Message;

/// The protocol under whose channels collectors keep their keys and inboxes.
pub const COLLECTOR: ProtocolId = ProtocolId(61);

/// The bounds of a [`Collector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectorSettings {
    /// So many devices are known; records of further ones are refused by name. Whoever may write to the topics of a site may
    /// make up names until no place is left: have the broker let each client write to its own device's topics only.
    /// [`Collector::forget`] gives places back.
    pub devices_max: usize,
    /// So many records may wait in the inbox; more are deferred.
    pub inbox_max: u64,
    /// Acknowledgements are sent at most so often. They are cumulative: rarer ones save messages and keep spools longer.
    pub ack_interval: Duration,
}

impl Default for CollectorSettings {
    /// 100,000 devices, ten million records, acknowledgements every 200 ms.
    fn default() -> Self {
        Self {
            devices_max: 100_000,
            inbox_max: 10_000_000,
            ack_interval: Duration::from_millis(200),
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// A record not seen before; it will have this index in the inbox.
    New(u64),
    /// Seen before. It is acknowledged again.
    Repeated,
    /// Of an earlier start than the last one that is known: come late, and seen before, or given up by its device. It is
    /// acknowledged again. If a device has much of it, its disk was replaced or restored from a backup, and it goes on from
    /// an earlier start: it hears of the later start by this acknowledgement, and goes on above it
    /// [when it is started again](EdgeError::LaterStart). Or a stranger has spoken in its name:
    /// [forget](Collector::forget) it.
    OfEarlierStart {
        /// The last start that is known.
        known: BootEpoch,
    },
    /// Not taken, for want of room: its device will send it again.
    Deferred,
}

/// The sink of many devices. See [the module](self).
#[derive(Debug)]
pub struct Collector {
    site: SiteId,
    settings: CollectorSettings,
    space: Subspace,
    inbox: LogId,
    first: u64,
    end: u64,
    devices: BTreeSet<DeviceId>,
    batch: Batch,
    /// Streams of the present batch, as they will be.
    touched: BTreeMap<(DeviceId, Stream), Coverage>,
    staged_end: u64,
    due: BTreeMap<(DeviceId, Stream), SinkAck>,
    acked_at: Option<Instant>,
}

impl Collector {
    /// Opens the collector of `site` that `owner` has in `storage`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`]; nothing changed.
    pub fn open(
        storage: &dyn Storage,
        owner: Channel,
        site: SiteId,
        settings: CollectorSettings,
    ) -> Result<Self, EdgeError> {
        let space = Subspace::of(owner).within(b"seen");
        let inbox = LogId::new(owner, 0);
        let bounds = storage.log_bounds(inbox).map_err(unreadable)?;
        Ok(Self {
            site,
            settings,
            devices: known_devices(storage, &space)?,
            space,
            inbox,
            first: bounds.start,
            end: bounds.end,
            batch: Batch::new(),
            touched: BTreeMap::new(),
            staged_end: bounds.end,
            due: BTreeMap::new(),
            acked_at: None,
        })
    }

    /// What the collector's uplink subscribes to.
    #[must_use]
    pub fn filter(&self) -> String {
        Topic::site_up_filter(&self.site)
    }

    /// Takes a message. A new record is in the inbox once [`commit`](Self::commit) has returned.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Topic`], [`EdgeError::Name`], [`EdgeError::Malformed`], [`EdgeError::TooLong`] or
    /// [`EdgeError::Version`] for what is no delivery, or is of another site; [`EdgeError::WrongDevice`] where topic and record
    /// name different devices; [`EdgeError::Malformed`] also for a position too [far ahead](crate::BOOT_JUMP_MAX) of
    /// all that was heard of its device, and [`EdgeError::TooLong`] for a device more than
    /// [may be known](CollectorSettings::devices_max). Nothing changed: tell somebody, acknowledge the message to the broker, and go on.
    /// [`EdgeError::Storage`] or [`EdgeError::Stored`] if the store cannot be read.
    pub fn receive(
        &mut self,
        storage: &dyn Storage,
        message: &Message,
    ) -> Result<Received, EdgeError> {
        let Delivery { record, after } = self.decode(message)?;
        let stream = record.payload.stream();
        let key = (record.id.device.clone(), stream);
        self.check_known(&key.0)?;
        let mut coverage = match self.touched.get(&key) {
            Some(coverage) => coverage.clone(),
            None => self.read(storage, &key)?,
        };
        let at = record.id.position();
        if !coverage.is_in_reach(at) {
            let reason = format!("position {at} is too far ahead of all that was heard before");
            return Err(EdgeError::malformed("record", reason));
        }
        let earlier = coverage.newest().map(|known| known.boot);
        let earlier = earlier.filter(|known| at.boot < *known);
        let arrival = coverage.take(after, at);
        let is_full = self.staged_end - self.first >= self.settings.inbox_max;
        let received = match arrival {
            Arrival::Deferred => return Ok(Received::Deferred),
            Arrival::New if is_full => return Ok(Received::Deferred),
            Arrival::Repeated => match earlier {
                Some(known) => Received::OfEarlierStart { known },
                None => Received::Repeated,
            },
            Arrival::New => {
                let index = self.staged_end;
                self.batch
                    .append_with(self.inbox, index, |out| record.encode_into(out));
                self.staged_end += 1;
                Received::New(index)
            }
        };
        if is_planted("edge_ack_before_sync") {
            self.acknowledge(&key, &coverage);
        }
        self.devices.insert(key.0.clone());
        self.touched.insert(key, coverage);
        Ok(received)
    }

    fn check_known(&self, device: &DeviceId) -> Result<(), EdgeError> {
        let length_max = self.settings.devices_max as u64;
        let length = self.devices.len() as u64 + 1;
        if length <= length_max || self.devices.contains(device) {
            return Ok(());
        }
        Err(EdgeError::TooLong {
            what: "devices known to the collector (forget one): a count",
            length,
            length_max,
        })
    }

    /// Forgets what was seen of a device, in `batch`, which the caller commits before it calls anything else here: a device that
    /// is gone for good, a made-up name that takes a place, or one whose positions a stranger has spoilt. Its records in the
    /// inbox stay. If it is heard of again, whatever its spool still holds is new, and so may what the inbox has had before be.
    /// Answers whether it was known.
    pub fn forget(&mut self, batch: &mut Batch, device: &DeviceId) -> bool {
        for stream in Stream::ALL {
            let key = (device.clone(), stream);
            self.space.delete(batch, &name_of(&key));
            self.touched.remove(&key);
            self.due.remove(&key);
        }
        self.devices.remove(device)
    }

    fn decode(&self, message: &Message) -> Result<Delivery, EdgeError> {
        let topic = Topic::parse(&message.topic)?;
        let refuse = |reason| EdgeError::Topic {
            topic: message.topic.to_string(),
            reason,
        };
        let Lane::Up(stream) = topic.lane else {
            return Err(refuse("nothing is collected from it"));
        };
        if topic.site != self.site {
            return Err(refuse("it is another site's"));
        }
        let delivery = Delivery::decode(&message.payload)?;
        if delivery.record.id.device != topic.device {
            return Err(EdgeError::WrongDevice {
                addressed: delivery.record.id.device.to_string(),
                device: topic.device.to_string(),
            });
        }
        if delivery.record.payload.stream() != stream {
            return Err(refuse("its record belongs to another stream"));
        }
        Ok(delivery)
    }

    /// Makes everything received durable; what it acknowledges is due from now on.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`]. If it [is full](StorageError::Full), nothing was kept and nothing is acknowledged: everything
    /// received since the last commit comes again, and the collector goes on. Else the store is done for: restart.
    pub fn commit(&mut self, storage: &dyn Storage) -> Result<(), EdgeError> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let mut seen = Batch::new();
        let is_cursor_first = is_planted("edge_cursor_before_data");
        for (key, coverage) in &self.touched {
            let mut bytes = Vec::new();
            coverage.encode_into(&mut bytes);
            let batch = if is_cursor_first {
                &mut seen
            } else {
                &mut self.batch
            };
            self.space.put(batch, &name_of(key), &bytes);
        }
        let touched = std::mem::take(&mut self.touched);
        let outcome = if is_cursor_first {
            storage
                .commit(&seen, Durability::Synced)
                .and_then(|()| storage.commit(&self.batch, Durability::Synced))
        } else {
            storage.commit(&self.batch, Durability::Synced)
        };
        self.batch.clear();
        if let Err(source) = outcome {
            self.staged_end = self.end;
            let doing = "make records durable";
            return Err(EdgeError::Storage { doing, source });
        }
        self.end = self.staged_end;
        for (key, coverage) in touched {
            self.acknowledge(&key, &coverage);
        }
        Ok(())
    }

    fn acknowledge(&mut self, key: &(DeviceId, Stream), coverage: &Coverage) {
        let Some(through) = coverage.through() else {
            return;
        };
        let ack = SinkAck {
            device: key.0.clone(),
            boot: through.boot,
            stream: key.1,
            through: through.sequence,
        };
        self.due.insert(key.clone(), ack);
    }

    /// The acknowledgements that are due, as messages to the devices; empty until the
    /// [interval](CollectorSettings::ack_interval) is over. If one is lost, its device sends again and gets another.
    pub fn acks(&mut self, now: Instant) -> Vec<Message> {
        if self.deadline().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.acked_at = Some(now);
        let due = std::mem::take(&mut self.due);
        due.values().map(|ack| self.message(ack)).collect()
    }

    fn message(&self, ack: &SinkAck) -> Message {
        let topic = Topic {
            site: self.site.clone(),
            device: ack.device.clone(),
            lane: Lane::Acks,
        };
        Message::new(topic.to_string(), ack.encode())
    }

    /// When [`acks`](Self::acks) has something, if it will.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let at = self
            .acked_at
            .map_or_else(Instant::default, |at| at + self.settings.ack_interval);
        (!self.due.is_empty()).then_some(at)
    }

    /// The indices of the durable records in the inbox.
    #[must_use]
    pub const fn inbox(&self) -> std::ops::Range<u64> {
        self.first..self.end
    }

    /// How many devices have been heard of.
    #[must_use]
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// Records of the inbox from index `from` on, as many as fit into `bytes_max`, at least one if there is any.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`], or what [`Record::decode`] says of a foreign entry.
    pub fn records(
        &self,
        storage: &dyn Storage,
        from: u64,
        bytes_max: usize,
    ) -> Result<Vec<Record>, EdgeError> {
        let entries = storage
            .log_read(self.inbox, from..self.end, bytes_max)
            .map_err(unreadable)?;
        entries.iter().map(|entry| Record::decode(entry)).collect()
    }

    /// Takes the records before index `to` out of the inbox, in `batch`, which the caller commits: together with what it made
    /// of them, if that lives in the same store.
    pub fn discard(&mut self, batch: &mut Batch, to: u64) {
        let to = to.min(self.end);
        batch.discard(self.inbox, to);
        self.first = self.first.max(to);
    }

    fn read(&self, storage: &dyn Storage, key: &(DeviceId, Stream)) -> Result<Coverage, EdgeError> {
        match self.space.get(storage, &name_of(key)).map_err(unreadable)? {
            Some(bytes) => Coverage::decode(&bytes).map_err(|source| EdgeError::Stored {
                what: "what was seen of a device",
                source,
            }),
            None => Ok(Coverage::default()),
        }
    }
}

/// Device, then stream: names have no zero byte.
fn name_of((device, stream): &(DeviceId, Stream)) -> Vec<u8> {
    [device.as_str().as_bytes(), &[0, stream.number()]].concat()
}

fn known_devices(storage: &dyn Storage, space: &Subspace) -> Result<BTreeSet<DeviceId>, EdgeError> {
    let mut devices = BTreeSet::new();
    for entry in space.entries(storage) {
        let (name, _) = entry.map_err(unreadable)?;
        let device = name.get(..name.len().saturating_sub(2)).unwrap_or_default();
        devices.insert(DeviceId::new(&String::from_utf8_lossy(device))?);
    }
    Ok(devices)
}

const fn unreadable(source: StorageError) -> EdgeError {
    EdgeError::Storage {
        doing: "read what was collected",
        source,
    }
}
