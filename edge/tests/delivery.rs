//! Devices, broker and collector together, with everything failing: what was durable on a device arrives once, or a gap says
//! that it will not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::simulation::check_seeds;
use peaberry_core::{
    Batch, Channel, Durability, Instant, Layer, Layered, LogId, MemoryStorage, Storage,
    StorageError,
};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::{Delivery, Gap, Payload, Record, Wire};
use peaberry_edge::spool::{SPOOL, Spool, SpoolSettings};
use peaberry_edge::topic::Stream;
use peaberry_edge::uplink::memory::Faults;
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink, Message};
use peaberry_edge::{BootEpoch, EdgeError, Name, Position, RecordId};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A disk that is full for a while, or fails for good until it is opened again.
#[derive(Default)]
struct Disk {
    inner: MemoryStorage,
    full_for: AtomicU32,
    fails_after: AtomicU32,
}

impl Layer for Disk {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let count_down = |counter: &AtomicU32| {
            counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
        };
        if count_down(&self.full_for).is_ok() {
            return Err(StorageError::Full {
                path: "disk".into(),
            });
        }
        if count_down(&self.fails_after) == Ok(1) {
            return Err(StorageError::Poisoned);
        }
        self.inner.commit(batch, durability)
    }
}

type Store = Layered<Disk>;

const DEVICES: usize = 2;

struct World {
    broker: MemoryBroker,
    device_disk: Store,
    collector_disk: Store,
    settings: Arc<SpoolSettings>,
    courier: Courier<MemoryUplink>,
    intake: Intake<MemoryUplink>,
    now: Instant,
}

fn courier(
    broker: &MemoryBroker,
    disk: &Store,
    settings: &Arc<SpoolSettings>,
    now: Instant,
) -> Courier<MemoryUplink> {
    let mut batch = Batch::new();
    let open = |device: usize| {
        let owner = Channel::new(SPOOL, device as u64);
        let id = name(&format!("m-{device}"));
        Spool::open(disk, owner, name("site"), id, settings.clone(), &mut batch).unwrap()
    };
    let spools = (0..DEVICES).map(open).collect();
    let uplink = broker.connect("gateway");
    Courier::new(uplink, &name("site"), spools, &batch, now, disk).unwrap()
}

fn intake(broker: &MemoryBroker, disk: &Store) -> Intake<MemoryUplink> {
    let owner = Channel::new(COLLECTOR, 0);
    let settings = CollectorSettings::default();
    let collector = Collector::open(disk, owner, name("site"), settings).unwrap();
    Intake::new(collector, broker.connect("fog"))
}

impl World {
    fn new(seed: u64, settings: SpoolSettings, faults: Faults) -> Self {
        let broker = MemoryBroker::with_faults(seed, faults);
        let (device_disk, collector_disk) = (Store::default(), Store::default());
        let settings = Arc::new(settings);
        let now = Instant::default();
        Self {
            courier: courier(&broker, &device_disk, &settings, now),
            intake: intake(&broker, &collector_disk),
            broker,
            device_disk,
            collector_disk,
            settings,
            now,
        }
    }

    fn restart_devices(&mut self) {
        self.device_disk
            .layer()
            .full_for
            .store(0, Ordering::Relaxed);
        self.device_disk
            .layer()
            .fails_after
            .store(0, Ordering::Relaxed);
        self.courier = courier(&self.broker, &self.device_disk, &self.settings, self.now);
    }

    fn restart_collector(&mut self) {
        self.collector_disk
            .layer()
            .full_for
            .store(0, Ordering::Relaxed);
        self.collector_disk
            .layer()
            .fails_after
            .store(0, Ordering::Relaxed);
        self.intake = intake(&self.broker, &self.collector_disk);
    }

    /// Whether the devices' store is still alive.
    fn turn_devices(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let is_alive = self
            .courier
            .turn(&mut cx, self.now, &self.device_disk)
            .is_ok();
        if !is_alive {
            self.restart_devices();
        }
        is_alive
    }

    fn turn_collector(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        if self
            .intake
            .turn(&mut cx, self.now, &self.collector_disk)
            .is_err()
        {
            self.restart_collector();
        }
    }

    fn records(&self) -> u64 {
        let status = |device| self.courier.spool(device).unwrap().status();
        (0..DEVICES)
            .map(|device| status(device).records + u64::from(status(device).has_gaps))
            .sum()
    }

    /// Nothing fails any more, until everything has arrived.
    fn settle(&mut self) {
        self.broker.set_faults(Faults::default());
        self.broker.mend("gateway");
        self.broker.mend("fog");
        self.broker.start();
        self.restart_devices();
        self.restart_collector();
        for _ in 0..2_000 {
            self.now += Duration::from_secs(5);
            self.turn_devices();
            self.turn_collector();
            if self.records() == 0 {
                return;
            }
        }
        panic!("{} records do not leave", self.records());
    }

    fn inbox(&mut self) -> Vec<Record> {
        let collector = self.intake.collector();
        let mut records = Vec::new();
        let mut from = collector.inbox().start;
        while from < collector.inbox().end {
            let page = collector
                .records(&self.collector_disk, from, 1 << 16)
                .unwrap();
            from += page.len() as u64;
            records.extend(page);
        }
        records
    }
}

fn payload(rng: &mut fastrand::Rng) -> Payload {
    let bytes = Bytes::from(vec![1; rng.usize(0..200)]);
    match rng.u32(0..3) {
        0 => Payload::Health(peaberry_edge::payload::Health::default()),
        1 => Payload::Twin(bytes),
        _ => {
            let name = name("c");
            Payload::Custom { name, bytes }
        }
    }
}

#[test]
fn what_was_durable_arrives_once_or_a_gap_says_that_it_will_not() {
    check_seeds(0..300, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let settings = SpoolSettings {
            bytes_max: if rng.bool() { 8_000 } else { 1 << 20 },
            reserved_bytes: 2_000,
            window_max: 4,
            ..peaberry_edge::fleet::FleetSettings::salted(0).spool
        };
        let faults = Faults {
            lost: rng.u32(0..30),
            unanswered: rng.u32(0..30),
            repeated: rng.u32(0..30),
            forgotten: rng.u32(0..30),
        };
        let mut world = World::new(seed, settings, faults);
        let mut durable: BTreeMap<RecordId, Stream> = BTreeMap::new();
        let mut staged = Vec::new();
        for _ in 0..rng.usize(100..600) {
            match rng.u32(0..100) {
                0..40 => {
                    let device = rng.usize(..DEVICES);
                    let payload = payload(&mut rng);
                    let stream = payload.stream();
                    match world
                        .courier
                        .append(device, world.now, &world.device_disk, payload)
                    {
                        Ok(id) => staged.push((id, stream)),
                        Err(EdgeError::SpoolFull { .. }) => {}
                        Err(error) => return Err(error.to_string()),
                    }
                }
                40..65 => {
                    let is_full = world.device_disk.layer().full_for.load(Ordering::Relaxed) > 0;
                    if world.turn_devices() && !is_full {
                        durable.extend(staged.drain(..));
                    }
                    staged.clear();
                }
                65..85 => world.turn_collector(),
                85..87 => world.broker.cut(if rng.bool() { "gateway" } else { "fog" }),
                87..90 => {
                    world.broker.mend("gateway");
                    world.broker.mend("fog");
                    world.broker.start();
                }
                90 => world.broker.kill(),
                91 => {
                    world.restart_devices();
                    staged.clear();
                }
                92 => world.restart_collector(),
                93 => world
                    .device_disk
                    .layer()
                    .full_for
                    .store(rng.u32(1..4), Ordering::Relaxed),
                94 => world
                    .collector_disk
                    .layer()
                    .full_for
                    .store(rng.u32(1..4), Ordering::Relaxed),
                95 => world
                    .collector_disk
                    .layer()
                    .fails_after
                    .store(rng.u32(1..6), Ordering::Relaxed),
                96 => world
                    .device_disk
                    .layer()
                    .fails_after
                    .store(rng.u32(1..6), Ordering::Relaxed),
                _ => world.now += Duration::from_secs(rng.u64(0..30)),
            }
        }
        world.settle();
        let mut seen = BTreeSet::new();
        let mut gaps: Vec<(Name, Gap)> = Vec::new();
        for record in world.inbox() {
            if !seen.insert(record.id.clone()) {
                return Err(format!("{} is there twice", record.id));
            }
            if let Payload::Gap(gap) = record.payload {
                gaps.push((record.id.device, gap));
            }
        }
        for (id, stream) in durable {
            let at = id.position();
            let is_told = gaps.iter().any(|(device, gap)| {
                *device == id.device && gap.stream == stream && gap.first <= at && at <= gap.last
            });
            if !seen.contains(&id) && !is_told {
                return Err(format!("{id} is lost"));
            }
        }
        Ok(())
    });
}

fn delivery(device: &str, sequence: u64, after: Option<u64>) -> Message {
    let id = RecordId {
        device: name(device),
        boot: BootEpoch::FIRST,
        sequence,
    };
    let position = |sequence| Position::new(BootEpoch::FIRST, sequence);
    let record = Record {
        id,
        at_ms: 1,
        payload: Payload::Twin(Bytes::from_static(b"t")),
    };
    let after = after.map(position);
    let topic = format!("peaberry/1/site/{device}/up/twin");
    Message::new(topic, Delivery { record, after }.encode())
}

#[test]
fn malformed_and_misplaced_messages_are_refused_by_name_and_stop_nothing() {
    let storage = MemoryStorage::new();
    let owner = Channel::new(COLLECTOR, 0);
    let settings = CollectorSettings::default();
    let mut collector = Collector::open(&storage, owner, name("site"), settings).unwrap();
    let good = delivery("m", 1, None);
    let elsewhere = |topic: &str| Message {
        topic: topic.into(),
        ..good.clone()
    };
    for bad in [
        elsewhere("peaberry/1/site/other/up/twin"),
        elsewhere("peaberry/1/elsewhere/m/up/twin"),
        elsewhere("peaberry/1/site/m/up/alerts"),
        elsewhere("peaberry/1/site/m/down/acks"),
        elsewhere("rubbish"),
        Message::new("peaberry/1/site/m/up/twin", vec![0xff; 100]),
        Message::new("peaberry/1/site/m/up/twin", vec![0; 300_000]),
    ] {
        let error = collector.receive(&storage, &bad).unwrap_err();
        assert!(!matches!(error, EdgeError::Storage { .. }), "{error}");
    }
    collector.receive(&storage, &good).unwrap();
    collector.commit(&storage).unwrap();
    assert_eq!(collector.inbox(), 0..1);
}

/// Nothing is acknowledged before it is durable, nor across a hole; a full disk acknowledges nothing.
#[test]
fn acknowledgements_are_cumulative_and_follow_the_disk() {
    let storage = Store::default();
    let owner = Channel::new(COLLECTOR, 0);
    let settings = CollectorSettings::default();
    let mut collector = Collector::open(&storage, owner, name("site"), settings).unwrap();
    let through = |collector: &mut Collector, seconds: u64| {
        let now = Instant::from_nanos(seconds * 1_000_000_000);
        let acks = collector.acks(now);
        let read = |message: &Message| peaberry_edge::payload::SinkAck::decode(&message.payload);
        acks.first().map(|ack| read(ack).unwrap().through)
    };
    collector
        .receive(&storage, &delivery("m", 5, None))
        .unwrap();
    assert_eq!(through(&mut collector, 1), None);
    collector.commit(&storage).unwrap();
    assert_eq!(through(&mut collector, 2), Some(5));
    collector
        .receive(&storage, &delivery("m", 9, Some(7)))
        .unwrap();
    collector.commit(&storage).unwrap();
    assert_eq!(through(&mut collector, 3), Some(5), "7 is missing");
    storage.layer().full_for.store(1, Ordering::Relaxed);
    collector
        .receive(&storage, &delivery("m", 7, Some(5)))
        .unwrap();
    assert!(collector.commit(&storage).is_err());
    assert_eq!(through(&mut collector, 4), None);
    collector
        .receive(&storage, &delivery("m", 7, Some(5)))
        .unwrap();
    collector.commit(&storage).unwrap();
    assert_eq!(through(&mut collector, 5), Some(9));
    assert_eq!(collector.inbox(), 0..3);
}

/// Counts what is read of logs.
#[derive(Default)]
struct Counted {
    inner: MemoryStorage,
    reads: AtomicU32,
}

impl Layer for Counted {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.log_read(log, range, bytes_max)
    }
}

/// How often a spool of so many records is read until it is open, and until its first record is on its way.
fn reads_to_recover(count: usize) -> (u32, u32) {
    let storage = Layered::new(Counted::default());
    let settings = Arc::new(SpoolSettings {
        bytes_max: 1 << 30,
        ..peaberry_edge::fleet::FleetSettings::salted(0).spool
    });
    let owner = Channel::new(SPOOL, 0);
    let mut batch = Batch::new();
    let open = |batch: &mut Batch| {
        let (site, device, settings) = (name("site"), name("m"), settings.clone());
        Spool::open(&storage, owner, site, device, settings, batch).unwrap()
    };
    let mut spool = open(&mut batch);
    for _ in 0..count {
        let payload = Payload::Twin(Bytes::from_static(b"0123456789"));
        spool.append(&storage, &mut batch, 1, payload).unwrap();
    }
    storage.commit(&batch, Durability::Synced).unwrap();
    spool.committed();
    let before = spool.status();
    batch.clear();
    storage.layer().reads.store(0, Ordering::Relaxed);
    let mut spool = open(&mut batch);
    let to_open = storage.layer().reads.load(Ordering::Relaxed);
    let after = spool.status();
    assert_eq!((after.records, after.bytes), (count as u64, before.bytes));
    assert_eq!(spool.boot().get(), 2);
    storage.commit(&batch, Durability::Synced).unwrap();
    spool.committed();
    spool.up(Instant::default(), false);
    let first = spool.next(Instant::default(), &storage).unwrap().unwrap();
    assert_eq!(first.at, Position::new(BootEpoch::FIRST, 1));
    (to_open, storage.layer().reads.load(Ordering::Relaxed))
}

/// A million records are not read to be recovered.
#[test]
fn opening_reads_both_ends_however_much_lies_between() {
    let (few, many) = (reads_to_recover(100), reads_to_recover(100_000));
    assert_eq!(few, many);
    assert!(many.1 <= 4, "{many:?}");
}
