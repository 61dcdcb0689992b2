//! A disk that fills up while a machine works, and has room again: nothing begins that is not written down, what was given up
//! is told, and the machine goes on where it was.

#![allow(clippy::unwrap_used, reason = "a test ends at what should not be")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use peaberry_core::{
    Batch, Channel, Durability, Instant, Layer, Layered, MemoryStorage, ProtocolId, Storage,
    StorageError, Subspace,
};
use peaberry_crdt::ReplicaId;
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, Metric};
use peaberry_edge::fleet::{Fleet, FleetCommand, FleetEvent, FleetSettings};
use peaberry_edge::order::{OrderCommand, OrderEvent, StepRun};
use peaberry_edge::payload::{Action, Command, Delivery, OrderPhase, Payload, SinkAck, Text, Wire};
use peaberry_edge::topic::Stream;
use peaberry_edge::twin::{Side, Twin};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink, Message, Qos, Uplink, UplinkEvent};
use peaberry_edge::{BootEpoch, EdgeError, Name, RecordId};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A disk that takes nothing more while it is full, or only commits that take less than so many bytes.
struct Disk {
    inner: MemoryStorage,
    room: AtomicUsize,
}

impl Default for Disk {
    fn default() -> Self {
        let (inner, room) = (MemoryStorage::new(), AtomicUsize::new(usize::MAX));
        Self { inner, room }
    }
}

impl Layer for Disk {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        if batch.bytes() >= self.room.load(Ordering::Relaxed) {
            let path = "disk".into();
            return Err(StorageError::Full { path });
        }
        self.inner.commit(batch, durability)
    }
}

const fn lost(event: &FleetEvent<Name>) -> u64 {
    match event {
        FleetEvent::Lost { records } => *records,
        _ => 0,
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
        .takes_orders(coffee::recipes(), coffee::capabilities())
        .has_twin();
    let (uplink, settings) = (broker.connect("gateway"), FleetSettings::salted(0));
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
        self.leave_room(if is_full { 0 } else { usize::MAX });
    }

    fn leave_room(&self, bytes: usize) {
        self.disk.layer().room.store(bytes, Ordering::Relaxed);
    }

    /// Reports notes of so many bytes: they are state, which is to be kept.
    fn report_notes(&mut self, bytes: usize) {
        let (device, key) = (name("m-1"), name("notes"));
        let value = "n".repeat(bytes).as_str().into();
        let command = FleetCommand::Report { device, key, value };
        let mut events = Vec::new();
        self.fleet.command(self.now, command, &mut events).unwrap();
        self.take(events);
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

    /// Sends a message to the machine from far away.
    fn send(&mut self, lane: &str, payload: Vec<u8>) {
        let topic = format!("peaberry/1/site/m-1/down/{lane}");
        let message = Message::new(topic, payload);
        self.listener.submit(1, message).unwrap();
        self.heard();
    }

    fn send_command(&mut self, action: Action) {
        let device = name("m-1");
        self.send("commands", Command { device, action }.encode());
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            let events = self.turn();
            self.take(events);
            self.now += Duration::from_millis(100);
        }
    }

    fn turn(&mut self) -> Vec<FleetEvent<Name>> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        self.fleet.turn(&mut cx, self.now, &mut events).unwrap();
        events
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

/// However often others ask while the disk is full, what is to be told when there is room does not grow.
#[test]
fn what_is_asked_thousands_of_times_on_a_full_disk_is_told_once() {
    let mut bar = Bar::new();
    bar.place("o-1");
    bar.run(1);
    let run = bar.begun.last().unwrap().1;
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    let side = Side::Service(ReplicaId::new(77).unwrap());
    let mut service = Twin::open(&MemoryStorage::new(), &space, side).unwrap();
    bar.fill(true);
    const ROUNDS: u64 = 3_000;
    for round in 0..ROUNDS {
        let permille = u16::try_from(round % 1_000).unwrap();
        bar.order(OrderCommand::Progress { run, permille });
        bar.place("o-1");
        let key = name(&format!("made-up-{round}"));
        bar.order(OrderCommand::Cancel { key });
        if round > ROUNDS / 2 {
            let reason = Text::new(&format!("steam {round}"));
            bar.order(OrderCommand::SafeStop { reason });
        }
        let wished = round.cast_signed().into();
        let wished = service.desire(name("target"), wished, Some(5), &mut Batch::new());
        let topic = "peaberry/1/site/m-1/down/twin";
        let mut message = Message::new(topic, wished.unwrap());
        message.qos = Qos::AtMostOnce;
        bar.listener.submit(round, message).unwrap();
        bar.heard();
        bar.turn();
    }
    bar.fill(false);
    let told = bar.turn();
    assert!(told.len() < 24, "{} events waited", told.len());
    let is_last = |event: &FleetEvent<Name>| match event {
        FleetEvent::Delta { delta, .. } => delta[0].1 == (ROUNDS - 1).cast_signed().into(),
        _ => false,
    };
    assert!(told.iter().any(is_last), "{told:?}");
    let last_stop = format!("stopped: steam {}", ROUNDS - 1);
    let is_last = |event: &FleetEvent<Name>| match event {
        FleetEvent::Order {
            event: OrderEvent::Notify(told),
            ..
        } => told.text.as_str() == last_stop,
        _ => false,
    };
    assert!(told.iter().any(is_last), "{told:?}");
}

/// What a sink has need not wait until there is room for all else: forgetting it makes some, and nothing else is given up.
#[test]
fn what_a_sink_has_is_forgotten_on_a_disk_with_little_room() {
    let mut bar = Bar::new();
    bar.run(40);
    let status = |bar: &Bar| bar.fleet.spool(&name("m-1")).unwrap();
    // A twin of some kilobytes finds no room, and is tried again with each commit.
    bar.leave_room(512);
    bar.report_notes(1_000);
    bar.turn();
    let records = status(&bar).records;
    assert!(records > 4, "{records}");
    let dropped = status(&bar).dropped_records;
    let topic = "peaberry/1/site/m-1/down/acks";
    let through = bar.known.iter().map(|id| id.sequence).max();
    for stream in Stream::ALL {
        let ack = SinkAck {
            device: name("m-1"),
            boot: BootEpoch::FIRST,
            stream,
            through: through.unwrap_or(0).max(4),
        };
        let message = Message::new(topic, ack.encode());
        bar.listener.submit(1, message).unwrap();
    }
    let events = bar.turn();
    let left = status(&bar);
    assert!(left.records < records, "{} of {records} left", left.records);
    // What the turn itself had to say is lost, as ever, and nothing older is.
    let lost: u64 = events.iter().map(lost).sum();
    assert_eq!(left.dropped_records, dropped + lost, "{events:?}");
    bar.fill(false);
    bar.run(1);
    let twin = bar.fleet.device(&name("m-1")).unwrap().twin().unwrap();
    assert!(twin.reported(&name("notes")).is_some());
}

/// What is to be kept finds no room, and there is little: old telemetry makes more, written down by itself.
#[test]
fn old_telemetry_makes_room_for_what_does_not_fit_beside_its_own_deletion() {
    let mut bar = Bar::new();
    bar.run(60);
    let dropped = bar.fleet.spool(&name("m-1")).unwrap().dropped_records;
    bar.leave_room(512);
    bar.report_notes(1_000);
    let events = bar.turn();
    let lost: u64 = events.iter().map(lost).sum();
    let given_up = bar.fleet.spool(&name("m-1")).unwrap().dropped_records - dropped - lost;
    assert!(given_up > 0, "nothing made room");
}

/// Where what gives way makes no room, it does not go on giving way turn by turn.
#[test]
fn a_disk_that_gives_no_room_back_does_not_cost_all_that_was_kept() {
    let mut bar = Bar::new();
    bar.run(60);
    let kept = bar.fleet.spool(&name("m-1")).unwrap().records;
    bar.leave_room(512);
    bar.report_notes(100_000);
    for _ in 0..200 {
        bar.now += Duration::from_millis(4);
        bar.turn();
        bar.leave_room(512);
    }
    let left = bar.fleet.spool(&name("m-1")).unwrap().records;
    assert!(left * 4 >= kept * 3, "of {kept} records {left} are left");
}

/// A broker sends no more than its window to a device that acknowledges nothing: what asks for nothing durable is acknowledged
/// on a full disk as well, so that an acknowledgement of the sink, and a stop, can come.
#[test]
fn a_full_disk_does_not_fill_the_window_of_the_broker() {
    let mut bar = Bar::new();
    bar.place("o-1");
    bar.run(1);
    bar.fill(true);
    bar.done();
    bar.turn();
    for round in 0..40 {
        let ack = SinkAck {
            device: name("m-1"),
            boot: BootEpoch::FIRST,
            stream: Stream::Telemetry,
            through: 1,
        };
        bar.send("acks", ack.encode());
        bar.send("twin", vec![0xff]);
        let key = name(&format!("o-{}", round + 2));
        let recipe = name("espresso");
        bar.send_command(Action::PlaceOrder { key, recipe });
        bar.turn();
    }
    let reason = "steam".into();
    bar.send_command(Action::SafeStop { reason });
    bar.turn();
    // Who takes the session over hears again what is not acknowledged.
    let mut cx = Context::from_waker(Waker::noop());
    let mut heard = Vec::new();
    let _ = bar
        .broker
        .connect("gateway")
        .poll_events(&mut cx, &mut heard);
    let again = heard.into_iter().filter_map(|event| match event {
        UplinkEvent::Inbound { message, .. } => {
            Some(Command::decode(&message.payload).unwrap().action)
        }
        _ => None,
    });
    let again: Vec<_> = again.collect();
    // That one is not written down yet.
    assert!(matches!(again[..], [Action::SafeStop { .. }]), "{again:?}");
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
