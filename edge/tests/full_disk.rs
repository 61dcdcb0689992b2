//! A disk that fills up while a machine works, and has room again: nothing begins that is not written down, what was given up
//! is told, and the machine goes on where it was.

#![allow(clippy::unwrap_used, reason = "a test ends at what should not be")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use peaberry_core::{
    Batch, Durability, Instant, Layer, Layered, MemoryStorage, Storage, StorageError,
};
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, Metric};
use peaberry_edge::fleet::{Fleet, FleetCommand, FleetEvent, FleetSettings};
use peaberry_edge::order::{OrderCommand, OrderEvent, StepRun};
use peaberry_edge::payload::{Delivery, OrderPhase, Payload, Wire};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink, Uplink, UplinkEvent};
use peaberry_edge::{EdgeError, Name, RecordId};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A disk that takes nothing more while it is full.
#[derive(Default)]
struct Disk {
    inner: MemoryStorage,
    is_full: AtomicBool,
}

impl Layer for Disk {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        if self.is_full.load(Ordering::Relaxed) {
            let path = "disk".into();
            return Err(StorageError::Full { path });
        }
        self.inner.commit(batch, durability)
    }
}

struct Bar {
    disk: Arc<Layered<Disk>>,
    broker: MemoryBroker,
    fleet: Fleet<MemoryUplink>,
    listener: MemoryUplink,
    now: Instant,
    begun: Vec<(String, StepRun)>,
    ends: Vec<OrderPhase>,
    lost: u64,
    known: BTreeSet<RecordId>,
}

fn open(
    broker: &MemoryBroker,
    disk: &Arc<Layered<Disk>>,
    now: Instant,
) -> Result<Fleet<MemoryUplink>, EdgeError> {
    let machine = CoffeeMachine::new(1);
    let device = Device::builder(name("m-1"))
        .metric(Metric::of(machine.sensor(CoffeeMetric::Temperature)))
        .takes_orders(coffee::recipes(), coffee::capabilities());
    let (uplink, settings) = (broker.connect("gateway"), FleetSettings::default());
    Fleet::open(uplink, name("site"), disk.clone(), [device], settings, now)
}

impl Bar {
    fn new() -> Self {
        let broker = MemoryBroker::new(1);
        let disk = Arc::new(Layered::new(Disk::default()));
        let mut listener = broker.connect("listener");
        listener.subscribe("peaberry/1/site/+/up/#");
        let mut bar = Self {
            fleet: open(&broker, &disk, Instant::default()).unwrap(),
            disk,
            broker,
            listener,
            now: Instant::default(),
            begun: Vec::new(),
            ends: Vec::new(),
            lost: 0,
            known: BTreeSet::new(),
        };
        for resource in ["water", "beans", "milk"] {
            let resource = name(resource);
            let units = 1_000;
            bar.order(OrderCommand::Stock { resource, units });
        }
        bar.run(1);
        bar
    }

    fn fill(&self, is_full: bool) {
        self.disk.layer().is_full.store(is_full, Ordering::Relaxed);
    }

    fn order(&mut self, command: OrderCommand) {
        let device = name("m-1");
        let mut events = Vec::new();
        let command = FleetCommand::Order { device, command };
        self.fleet.command(self.now, command, &mut events).unwrap();
        self.take(events);
    }

    fn place(&mut self, key: &str) {
        let (key, recipe) = (name(key), name("espresso"));
        self.order(OrderCommand::Place { key, recipe });
    }

    /// The machine reports the last step that it was told to begin as done.
    fn done(&mut self) {
        let run = self.begun.last().unwrap().1;
        let quality_permille = 950;
        self.order(OrderCommand::Done {
            run,
            quality_permille,
        });
    }

    fn run(&mut self, seconds: u64) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..seconds * 10 {
            let mut events = Vec::new();
            self.fleet.turn(&mut cx, self.now, &mut events).unwrap();
            self.take(events);
            self.now += Duration::from_millis(100);
        }
    }

    fn take(&mut self, events: Vec<FleetEvent<Name>>) {
        for event in events {
            match event {
                FleetEvent::Order {
                    event: OrderEvent::Begin { run, step, .. },
                    ..
                } => self.begun.push((step.name.to_string(), run)),
                FleetEvent::Order {
                    event: OrderEvent::Update(update),
                    ..
                } if update.phase.is_final() => self.ends.push(update.phase),
                FleetEvent::Lost { records } => self.lost += records,
                _ => {}
            }
        }
    }

    /// The ends of orders that were heard of far away, and how many records were told to be gone.
    fn heard(&mut self) -> (Vec<OrderPhase>, u64) {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut ends, mut told, mut heard) = (Vec::new(), 0, Vec::new());
        let _ = self.listener.poll_events(&mut cx, &mut heard);
        for event in heard {
            let UplinkEvent::Inbound { message, .. } = event else {
                continue;
            };
            let record = Delivery::decode(&message.payload).unwrap().record;
            // Nobody acknowledges as a sink does: all of it comes again.
            if !self.known.insert(record.id) {
                continue;
            }
            match record.payload {
                Payload::Order(update) if update.phase.is_final() => ends.push(update.phase),
                Payload::Gap(gap) => told += gap.count,
                _ => {}
            }
        }
        (ends, told)
    }

    fn steps(&self) -> Vec<&str> {
        self.begun.iter().map(|(step, _)| step.as_str()).collect()
    }
}

#[test]
fn an_order_under_way_waits_for_room_and_is_brewed_once() {
    let mut bar = Bar::new();
    bar.place("o-1");
    bar.run(1);
    assert_eq!(bar.steps(), ["grind"]);
    bar.fill(true);
    bar.done();
    bar.run(12);
    // That the next step begins could not be written down.
    assert_eq!(bar.steps(), ["grind"]);
    assert!(bar.lost > 0);
    // Nobody is kept waiting for what cannot be taken.
    bar.place("o-2");
    assert_eq!(bar.ends, [OrderPhase::Rejected]);
    bar.fill(false);
    bar.run(1);
    for _ in 0..3 {
        bar.done();
        bar.run(1);
    }
    bar.done();
    bar.run(35);
    assert_eq!(bar.steps(), ["grind", "heat", "extract", "finalise"]);
    let (ends, told) = bar.heard();
    assert_eq!(ends, [OrderPhase::Rejected, OrderPhase::Completed]);
    assert_eq!(told, bar.lost, "each record that was given up is told");
}

#[test]
fn a_step_that_waits_for_room_is_withdrawn_by_a_safe_stop() {
    let mut bar = Bar::new();
    bar.place("o-1");
    bar.run(1);
    bar.fill(true);
    bar.done();
    bar.run(1);
    bar.order(OrderCommand::SafeStop {
        reason: "steam".into(),
    });
    bar.fill(false);
    bar.run(15);
    assert_eq!(
        bar.steps(),
        ["grind"],
        "nothing begins on a stopped machine"
    );
    assert_eq!(bar.heard().0, [OrderPhase::Stopped]);
}

#[test]
fn power_lost_on_a_full_disk_leaves_an_order_that_is_told_as_unknown() {
    let mut bar = Bar::new();
    bar.place("o-1");
    bar.run(1);
    bar.fill(true);
    bar.done();
    bar.run(2);
    bar.fill(false);
    bar.fleet = open(&bar.broker, &bar.disk, bar.now).unwrap();
    bar.run(2);
    assert_eq!(bar.steps(), ["grind"], "it is not begun again");
    assert_eq!(bar.heard().0, [OrderPhase::Unknown]);
}

#[test]
fn an_end_whose_record_was_given_up_is_told_when_there_is_room() {
    let mut bar = Bar::new();
    bar.place("o-1");
    bar.run(1);
    for _ in 0..3 {
        bar.done();
        bar.run(1);
    }
    bar.fill(true);
    bar.done();
    bar.run(5);
    assert!(bar.heard().0.is_empty());
    bar.fill(false);
    bar.run(15);
    assert_eq!(bar.heard().0, [OrderPhase::Completed]);
}

#[test]
fn a_start_on_a_full_disk_fails_without_a_trace_and_succeeds_later() {
    let mut bar = Bar::new();
    bar.fill(true);
    let error = open(&bar.broker, &bar.disk, bar.now).unwrap_err();
    assert!(matches!(
        error,
        EdgeError::Storage {
            source: StorageError::Full { .. },
            ..
        }
    ));
    bar.fill(false);
    bar.fleet = open(&bar.broker, &bar.disk, bar.now).unwrap();
    let boot = bar.fleet.device(&name("m-1")).unwrap().boot();
    assert_eq!(boot.get(), 2);
}
