//! A courier that syncs beside its turns: nothing leaves before its own sync has ended, and what was durable before goes on.

#![allow(clippy::unwrap_used, reason = "a test ends at what should not be")]

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use peaberry_core::{
    Batch, Channel, Durability, Instant, Layer, Layered, MemoryStorage, Storage, StorageError,
};
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::Payload;
use peaberry_edge::spool::{AckLevel, SPOOL, Spool, SpoolSettings, SpoolStatus};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink};
use peaberry_edge::{EdgeError, Name};

/// A disk whose syncs last until they are let go, and that counts those which have begun.
#[derive(Default)]
struct Disk {
    inner: MemoryStorage,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Default)]
struct Gate {
    begun: u32,
    ended: u32,
    fails: bool,
    panics: bool,
}

impl Layer for Disk {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        if durability == Durability::Synced && batch.is_empty() {
            let mut gate = self.gate.lock();
            gate.begun += 1;
            let own = gate.begun;
            self.moved.notify_all();
            while gate.ended < own {
                self.moved.wait(&mut gate);
            }
            assert!(!gate.panics, "the store panics, as it is to");
            if gate.fails {
                return Err(StorageError::Poisoned);
            }
        }
        self.inner.commit(batch, durability)
    }
}

impl Disk {
    fn await_sync(&self, number: u32) {
        let mut gate = self.gate.lock();
        while gate.begun < number {
            self.moved.wait(&mut gate);
        }
    }

    fn end_sync(&self) {
        self.gate.lock().ended += 1;
        self.moved.notify_all();
    }
}

/// Says when it was woken.
#[derive(Default)]
struct Woken {
    is_woken: Mutex<bool>,
    moved: Condvar,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock() = true;
        self.moved.notify_all();
    }
}

struct Machine {
    disk: Arc<Layered<Disk>>,
    courier: Courier<MemoryUplink>,
    woken: Arc<Woken>,
}

impl Machine {
    fn new() -> Self {
        let (broker, disk) = (MemoryBroker::new(1), Arc::new(Layered::<Disk>::default()));
        let settings = Arc::new(SpoolSettings {
            keep_until: AckLevel::Broker,
            ..peaberry_edge::fleet::FleetSettings::salted(0).spool
        });
        let (site, now) = (Name::new("site").unwrap(), Instant::default());
        let mut batch = Batch::new();
        let (owner, device) = (Channel::new(SPOOL, 0), Name::new("m").unwrap());
        let store = disk.as_ref();
        let spool = Spool::open(store, owner, site.clone(), device, settings, &mut batch);
        let (uplink, spools) = (broker.connect("m"), vec![spool.unwrap()]);
        let courier = Courier::new(uplink, &site, spools, &batch, now, store).unwrap();
        let courier = courier.sync_beside(disk.clone()).unwrap();
        let woken = Arc::default();
        let mut machine = Self {
            disk,
            courier,
            woken,
        };
        machine.rest();
        machine
    }

    fn append(&mut self, count: u64) {
        for _ in 0..count {
            let payload = Payload::Custom {
                name: Name::new("c").unwrap(),
                bytes: Bytes::from_static(&[7; 100]),
            };
            let (disk, now) = (self.disk.clone(), Instant::default());
            self.courier.append(0, now, disk.as_ref(), payload).unwrap();
        }
    }

    /// Until nothing more is said.
    fn rest(&mut self) {
        let waker = Waker::from(self.woken.clone());
        let (disk, now) = (self.disk.clone(), Instant::default());
        for _ in 0..8 {
            let mut cx = Context::from_waker(&waker);
            let turned = self.courier.turn(&mut cx, now, disk.as_ref());
            let (Poll::Ready(_) | Poll::Pending) = turned.unwrap();
        }
    }

    /// Ends the sync under way, and waits for being woken.
    fn end_sync(&mut self) {
        *self.woken.is_woken.lock() = false;
        self.disk.layer().end_sync();
        let mut is_woken = self.woken.is_woken.lock();
        while !*is_woken {
            self.woken.moved.wait(&mut is_woken);
        }
    }

    fn status(&self) -> SpoolStatus {
        self.courier.spool(0).unwrap().status()
    }
}

#[test]
fn nothing_leaves_before_its_own_sync_has_ended() {
    let mut machine = Machine::new();
    machine.append(100);
    machine.rest();
    machine.disk.layer().await_sync(1);
    machine.rest();
    assert_eq!(machine.status().sent_records, 0);
    // What comes while a sync lasts waits for the next.
    machine.append(10);
    machine.rest();
    assert_eq!(machine.status().sent_records, 0);
    machine.end_sync();
    machine.rest();
    assert_eq!(
        machine.status().sent_records,
        100,
        "what was synced, all of it"
    );
    machine.disk.layer().await_sync(2);
    machine.rest();
    assert_eq!(machine.status().sent_records, 100);
    machine.end_sync();
    machine.rest();
    assert_eq!(machine.status().sent_records, 110);
}

#[test]
fn what_is_durable_goes_on_while_a_sync_lasts() {
    let mut machine = Machine::new();
    machine.append(100);
    machine.rest();
    machine.disk.layer().await_sync(1);
    machine.end_sync();
    // One turn takes the end of the sync, begins the next, and sends the first of those that are durable.
    machine.append(10);
    machine.rest();
    machine.disk.layer().await_sync(2);
    assert_eq!(machine.status().sent_records, 100);
    assert_eq!(machine.status().in_flight, 0);
    machine.end_sync();
}

/// A sync that hangs must not turn into memory without end; what is not kept is counted, and told when it has ended.
#[test]
fn what_waits_for_a_sync_that_hangs_is_bounded_and_the_rest_told_in_a_gap() {
    let mut machine = Machine::new();
    machine.append(1);
    machine.rest();
    machine.disk.layer().await_sync(1);
    let (mut kept, mut rejected) = (0, 0);
    for _ in 0..130 {
        let payload = Payload::Custom {
            name: Name::new("c").unwrap(),
            bytes: Bytes::from(vec![7; 100_000]),
        };
        let (disk, now) = (machine.disk.clone(), Instant::default());
        match machine.courier.append(0, now, disk.as_ref(), payload) {
            Ok(_) => kept += 1,
            Err(EdgeError::SpoolFull { .. }) => rejected += 1,
            Err(error) => panic!("{error}"),
        }
    }
    let status = machine.status();
    machine.end_sync();
    assert!((80..90).contains(&kept), "{kept} kept");
    assert_eq!(status.dropped_records, rejected);
    assert!(!status.has_gaps, "nothing is written about it at once");
    // The next is of what was kept, and the one behind it of the record that tells the gap.
    for sync in 2..=3 {
        machine.rest();
        machine.disk.layer().await_sync(sync);
        machine.end_sync();
    }
    for _ in 0..20 {
        machine.rest();
    }
    assert_eq!(machine.status().sent_records, 1 + kept + 1);
    assert!(!machine.status().has_gaps);
}

#[test]
fn a_sync_that_failed_ends_the_courier_and_nothing_of_it_has_left() {
    ends(|gate| gate.fails = true);
}

#[test]
fn a_store_that_panics_in_a_sync_ends_the_courier_as_one_that_fails() {
    ends(|gate| gate.panics = true);
}

fn ends(harm: impl FnOnce(&mut Gate)) {
    let mut machine = Machine::new();
    machine.append(10);
    machine.rest();
    machine.disk.layer().await_sync(1);
    harm(&mut machine.disk.layer().gate.lock());
    machine.end_sync();
    let mut cx = Context::from_waker(Waker::noop());
    let (disk, now) = (machine.disk.clone(), Instant::default());
    let turned = machine.courier.turn(&mut cx, now, disk.as_ref());
    let error = turned.expect_err("what was to be synced may be lost");
    assert!(
        chain(&error).contains("takes no more writes"),
        "{}",
        chain(&error)
    );
    assert_eq!(machine.status().sent_records, 0);
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(chain).unwrap_or_default();
    format!("{error}: {cause}")
}
