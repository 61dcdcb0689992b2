//! Where the broker's acknowledgement is all there is to wait for: what it has is forgotten, without a write of its own where
//! another is due, and never late enough that anything is dropped or sent again for it.

#![allow(clippy::unwrap_used, reason = "a test ends at what should not be")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::{
    Batch, Channel, Durability, Instant, Layer, Layered, MemoryStorage, Storage, StorageError,
};
use peaberry_edge::courier::Courier;
use peaberry_edge::fleet::FleetSettings;
use peaberry_edge::payload::Payload;
use peaberry_edge::spool::{AckLevel, SPOOL, Spool, SpoolSettings, SpoolStatus};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink};
use peaberry_edge::{EdgeError, Name, RecordId};

/// Counts commits, and is full for some of them.
#[derive(Default)]
struct Disk {
    inner: MemoryStorage,
    commits: AtomicU32,
    full_for: AtomicU32,
}

impl Layer for Disk {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let full_for = self.full_for.load(Ordering::Relaxed);
        if full_for > 0 {
            self.full_for.store(full_for - 1, Ordering::Relaxed);
            let path = "disk".into();
            return Err(StorageError::Full { path });
        }
        self.inner.commit(batch, durability)
    }
}

struct Machine {
    broker: MemoryBroker,
    disk: Layered<Disk>,
    courier: Courier<MemoryUplink>,
    now: Instant,
}

impl Machine {
    fn new(settings: SpoolSettings) -> Self {
        let (broker, disk) = (MemoryBroker::new(1), Layered::<Disk>::default());
        let settings = Arc::new(SpoolSettings {
            keep_until: AckLevel::Broker,
            ..settings
        });
        let (site, now) = (Name::new("site").unwrap(), Instant::default());
        let mut batch = Batch::new();
        let (owner, device) = (Channel::new(SPOOL, 0), Name::new("m").unwrap());
        let spool = Spool::open(&disk, owner, site.clone(), device, settings, &mut batch);
        let (uplink, spools) = (broker.connect("m"), vec![spool.unwrap()]);
        let courier = Courier::new(uplink, &site, spools, &batch, now, &disk).unwrap();
        let mut machine = Self {
            broker,
            disk,
            courier,
            now,
        };
        machine.turn();
        machine
    }

    fn append(&mut self) -> Result<RecordId, EdgeError> {
        let payload = Payload::Custom {
            name: Name::new("c").unwrap(),
            bytes: Bytes::from_static(&[7; 100]),
        };
        self.courier.append(0, self.now, &self.disk, payload)
    }

    fn turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let turned = self.courier.turn(&mut cx, self.now, &self.disk);
        let (Poll::Ready(_) | Poll::Pending) = turned.unwrap();
    }

    /// Until nothing more is said.
    fn rest(&mut self) {
        (0..8).for_each(|_| self.turn());
    }

    fn commits(&self) -> u32 {
        self.disk.layer().commits.load(Ordering::Relaxed)
    }

    fn status(&self) -> SpoolStatus {
        self.courier.spool(0).unwrap().status()
    }
}

#[test]
fn what_the_broker_has_goes_with_the_next_commit_or_a_second_later() {
    let mut machine = Machine::new(FleetSettings::salted(0).spool);
    let begun = machine.commits();
    for count in 1..=10 {
        machine.append().unwrap();
        machine.rest();
        assert_eq!(machine.commits() - begun, count, "one for each record");
        assert_eq!(machine.status().sent_records, u64::from(count));
        assert_eq!(machine.status().in_flight, 0);
        assert_eq!(
            machine.status().records,
            1,
            "what was before it is forgotten"
        );
    }
    let due = machine.courier.deadline().unwrap();
    assert_eq!(due.since(machine.now), Duration::from_secs(1));
    machine.now = due;
    machine.rest();
    assert_eq!(machine.status().records, 0);
    assert_eq!(machine.commits() - begun, 11);
    assert_eq!(machine.courier.deadline(), None, "nothing is left to do");
}

#[test]
fn what_the_broker_has_gives_way_before_anything_is_refused() {
    let mut machine = Machine::new(SpoolSettings {
        bytes_max: 20_000,
        reserved_bytes: 1_000,
        ..FleetSettings::salted(0).spool
    });
    for _ in 0..20 {
        for _ in 0..90 {
            machine.append().unwrap();
        }
        machine.rest();
        assert_eq!(machine.status().in_flight, 0);
    }
    assert_eq!(machine.status().dropped_records, 0);
}

#[test]
fn a_lost_link_brings_nothing_again_that_was_accepted() {
    let mut machine = Machine::new(FleetSettings::salted(0).spool);
    for _ in 0..50 {
        machine.append().unwrap();
    }
    machine.rest();
    assert_eq!(machine.status().sent_records, 50);
    machine.broker.cut("m");
    machine.rest();
    assert_eq!(machine.status().sent_records, 50);
    assert_eq!(machine.status().records, 0);
}

#[test]
fn on_a_full_disk_what_the_broker_has_makes_room() {
    let mut machine = Machine::new(FleetSettings::salted(0).spool);
    for _ in 0..50 {
        machine.append().unwrap();
    }
    machine.rest();
    assert_eq!(machine.status().records, 50);
    machine.disk.layer().full_for.store(1, Ordering::Relaxed);
    machine.append().unwrap();
    machine.turn();
    let status = machine.status();
    assert!(status.records <= 1, "only the gap is left: {status:?}");
    assert_eq!(status.dropped_records, 1, "none that the broker has");
}
