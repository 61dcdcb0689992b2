//! A disk that hangs or fails when a machine is about to do harm: what makes it safe needs no disk.

#![allow(clippy::unwrap_used, reason = "a test ends at what should not be")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use peaberry_core::{
    Batch, Clock, Durability, Instant, Layer, Layered, LogId, MemoryStorage, Operation, Storage,
    StorageError, SystemClock,
};
use peaberry_edge::coffee;
use peaberry_edge::device::{Device, Metric};
use peaberry_edge::fleet::{Fleet, FleetCommand, FleetEvent, FleetSettings, FleetThread};
use peaberry_edge::order::{OrderCommand, OrderEvent, StepRun};
use peaberry_edge::payload::{Action, Command, Level, OrderPhase, OrderUpdate, SinkAck, Wire};
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::spool::SpoolSettings;
use peaberry_edge::time::DeviceTime;
use peaberry_edge::topic::Stream;
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink, Message, Uplink};
use peaberry_edge::{BootEpoch, EdgeError, Name};

/// More than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// What the disk does about a commit that is about a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Hangs,
    Fails,
}

#[derive(Default)]
struct Disk {
    inner: MemoryStorage,
    plan: Mutex<Plan>,
    moved: Condvar,
}

#[derive(Default)]
struct Plan {
    mood: Option<(Mood, &'static str)>,
    is_hanging: bool,
    syncs_beside: bool,
    has_word: bool,
}

impl Layer for Disk {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StorageError> {
        let mut plan = self.plan.lock();
        if durability == Durability::Buffered && plan.syncs_beside {
            // What it is about is left to the sync.
            plan.has_word |= plan.mood.is_some_and(|(_, word)| is_about(batch, word));
            return self.inner.commit(batch, durability);
        }
        while plan.has_word && plan.mood.is_some() {
            self.hang(&mut plan)?;
        }
        while let Some((mood, word)) = plan.mood
            && is_about(batch, word)
        {
            if mood == Mood::Fails {
                return Err(StorageError::Poisoned);
            }
            self.hang(&mut plan)?;
        }
        drop(plan);
        self.inner.commit(batch, durability)
    }
}

fn is_about(batch: &Batch, word: &str) -> bool {
    let is_in = |bytes: &[u8]| {
        let mut places = bytes.windows(word.len());
        places.any(|place| place == word.as_bytes())
    };
    batch.operations().any(|operation| match operation {
        Operation::Put { value, .. } => is_in(value),
        Operation::Append { entries, .. } => is_in(entries.bytes()),
        _ => false,
    })
}

impl Disk {
    fn hang(&self, plan: &mut MutexGuard<'_, Plan>) -> Result<(), StorageError> {
        plan.is_hanging = true;
        self.moved.notify_all();
        match self.moved.wait_for(plan, 2 * PATIENCE).timed_out() {
            // The test has ended at what should not be.
            true => Err(StorageError::Poisoned),
            false => Ok(()),
        }
    }

    fn is_to(&self, mood: Option<(Mood, &'static str)>) {
        self.plan.lock().mood = mood;
        self.moved.notify_all();
    }

    fn await_hanging(&self) {
        let mut plan = self.plan.lock();
        while !plan.is_hanging {
            let waited = self.moved.wait_for(&mut plan, PATIENCE);
            assert!(!waited.timed_out(), "no commit came");
        }
    }
}

struct Machine {
    disk: Arc<Layered<Disk>>,
    thread: FleetThread<MemoryUplink>,
    broker: MemoryBroker,
    events: Receiver<FleetEvent<Name>>,
    /// Of the first step.
    run: StepRun,
}

impl Machine {
    /// One with an order whose first step is under way.
    fn brewing() -> Self {
        Self::start(|fleet| fleet)
    }

    /// The same, whose disk hangs in its syncs alone.
    fn brewing_and_syncing_beside() -> Self {
        let machine = Self::start(|fleet| fleet.sync_beside().unwrap());
        machine.disk.layer().plan.lock().syncs_beside = true;
        machine
    }

    fn start(with: impl FnOnce(Fleet<MemoryUplink>) -> Fleet<MemoryUplink>) -> Self {
        let disk = Arc::new(Layered::<Disk>::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let device = Device::builder(name("m-1"))
            .metric(Metric::fed(name("pressure")))
            .rule(rule())
            .takes_orders(coffee::recipes(), coffee::capabilities());
        let broker = MemoryBroker::new(1);
        let (uplink, site) = (broker.connect("m-1"), name("site"));
        let (settings, now) = (FleetSettings::salted(0), clock.now());
        let fleet = Fleet::open(uplink, site, disk.clone(), [device], settings, now).unwrap();
        let (told, events) = channel();
        let thread = FleetThread::start(with(fleet), clock, move |event, _| {
            // Who listens may be gone already.
            let _ = told.send(event);
        });
        let run = StepRun {
            order: 1,
            step: 0,
            attempt: 1,
        };
        let machine = Self {
            disk,
            thread: thread.unwrap(),
            broker,
            events,
            run,
        };
        for resource in ["water", "beans"] {
            let (resource, units) = (name(resource), 1_000);
            machine.order(OrderCommand::Stock { resource, units });
        }
        let (key, recipe) = (name("o-1"), name("espresso"));
        machine.order(OrderCommand::Place { key, recipe });
        machine
            .hear(|event| matches!(event, OrderEvent::Begin { run: begun, .. } if *begun == run));
        machine
    }

    fn order(&self, command: OrderCommand) {
        assert!(self.thread.handle().order(&name("m-1"), command));
    }

    fn stop_safely(&self) {
        let reason = "steam".into();
        self.order(OrderCommand::SafeStop { reason });
    }

    fn burst(&self) {
        assert!(self.thread.handle().submit(burst()));
    }

    fn await_event(&self, is_it: impl Fn(&FleetEvent<Name>) -> bool) {
        let mut heard = Vec::new();
        while let Ok(event) = self.events.recv_timeout(PATIENCE) {
            if is_it(&event) {
                return;
            }
            heard.push(event);
        }
        panic!("not heard; only {heard:?}");
    }

    fn hear(&self, is_it: impl Fn(&OrderEvent) -> bool) {
        self.await_event(|event| match event {
            FleetEvent::Order { event, .. } => is_it(event),
            _ => false,
        });
    }

    fn hear_act(&self) {
        self.await_event(|event| matches!(event, FleetEvent::Act { .. }));
    }

    fn hear_abort(&self) {
        self.hear(|event| matches!(event, OrderEvent::Abort { .. }));
    }

    /// Whoever hosts a fleet can tell that it has stopped, and nothing is taken that nobody will look at.
    fn ends_with_its_store(self) {
        // Until the sink is dropped.
        while self.events.recv_timeout(PATIENCE).is_ok() {}
        while !self.thread.is_finished() {
            std::thread::yield_now();
        }
        assert!(!self.thread.handle().submit(burst()));
        let error = self.thread.stop().unwrap_err();
        assert!(matches!(error, EdgeError::Storage { .. }), "{error}");
    }
}

/// A valve opens when the pressure is too high.
fn rule() -> Rule<Name> {
    Rule {
        name: name("pressure.high"),
        metric: name("pressure"),
        condition: Condition::Above(9.0),
        hysteresis: 1.0,
        broken_ms_min: 0,
        is_latched: false,
        level: Level::Critical,
        action: Some(name("valve.open")),
    }
}

/// The pressure is too high.
fn burst() -> FleetCommand {
    FleetCommand::Sample {
        device: name("m-1"),
        metric: name("pressure"),
        at: DeviceTime {
            boot: BootEpoch::FIRST,
            since_boot_ms: 0,
        },
        value: 12.0,
    }
}

#[test]
fn an_act_is_told_while_the_disk_hangs() {
    let machine = Machine::brewing();
    let disk = machine.disk.layer();
    disk.is_to(Some((Mood::Hangs, "pressure.high")));
    machine.burst();
    machine.hear_act();
    disk.await_hanging();
    disk.is_to(None);
    machine.thread.stop().unwrap();
}

#[test]
fn a_safe_stop_breaks_off_the_step_while_the_disk_hangs_and_is_durable_afterwards() {
    let machine = Machine::brewing();
    let disk = machine.disk.layer();
    disk.is_to(Some((Mood::Hangs, "steam")));
    machine.stop_safely();
    machine.hear_abort();
    disk.await_hanging();
    disk.is_to(None);
    let fleet = machine.thread.stop().unwrap();
    let orders = fleet.device(&name("m-1")).unwrap().orders();
    assert!(orders.unwrap().stopped().is_some());
}

/// The same for one that comes from far away, by the uplink.
#[test]
fn a_safe_stop_that_was_sent_breaks_off_the_step_while_the_disk_hangs() {
    let machine = Machine::brewing();
    let disk = machine.disk.layer();
    disk.is_to(Some((Mood::Hangs, "steam")));
    let (device, reason) = (name("m-1"), "steam".into());
    let action = Action::SafeStop { reason };
    let topic = "peaberry/1/site/m-1/down/commands";
    let message = Message::new(topic, Command { device, action }.encode());
    machine.broker.connect("bar").submit(1, message).unwrap();
    machine.hear_abort();
    disk.await_hanging();
    disk.is_to(None);
    machine.thread.stop().unwrap();
}

/// Not only what was decided before the disk was asked: whatever comes while it hangs.
#[test]
fn rules_act_and_steps_are_broken_off_as_long_as_a_sync_beside_hangs() {
    let machine = Machine::brewing_and_syncing_beside();
    let disk = machine.disk.layer();
    disk.is_to(Some((Mood::Hangs, "o-2")));
    let (key, recipe) = (name("o-2"), name("espresso"));
    machine.order(OrderCommand::Place { key, recipe });
    disk.await_hanging();
    machine.burst();
    machine.hear_act();
    machine.stop_safely();
    machine.hear_abort();
    // Nothing is told to be durable that is not.
    machine.order(OrderCommand::Cancel { key: name("soup") });
    let is_of = |update: &OrderUpdate, key| update.key == name(key);
    machine.hear(|event| match event {
        OrderEvent::Update(update) => {
            assert!(!is_of(update, "o-2"), "{update:?}");
            is_of(update, "soup")
        }
        _ => false,
    });
    disk.is_to(None);
    machine.hear(|event| matches!(event, OrderEvent::Update(update) if is_of(update, "o-2")));
    machine.hear(
        |event| matches!(event, OrderEvent::Update(update) if update.phase == OrderPhase::Stopped),
    );
    let fleet = machine.thread.stop().unwrap();
    let orders = fleet.device(&name("m-1")).unwrap().orders();
    assert!(orders.unwrap().stopped().is_some());
}

/// A step whose beginning waits for its sync is withdrawn: it must not begin on a stopped machine.
#[test]
fn a_step_that_waits_for_a_sync_is_withdrawn_by_a_safe_stop() {
    let machine = Machine::brewing_and_syncing_beside();
    let disk = machine.disk.layer();
    disk.is_to(Some((Mood::Hangs, "heat")));
    let run = machine.run;
    let quality_permille = 900;
    machine.order(OrderCommand::Done {
        run,
        quality_permille,
    });
    disk.await_hanging();
    machine.stop_safely();
    machine.order(OrderCommand::Cancel { key: name("soup") });
    machine.hear(|event| match event {
        OrderEvent::Update(update) => update.key == name("soup"),
        event => panic!("{event:?}"),
    });
    disk.is_to(None);
    machine.hear(|event| match event {
        OrderEvent::Begin { .. } | OrderEvent::Abort { .. } => panic!("{event:?}"),
        OrderEvent::Update(update) => update.phase == OrderPhase::Stopped,
        _ => false,
    });
    machine.thread.stop().unwrap();
}

/// A sync that hangs must not turn into memory without end: each order with a key of its own is another thing to tell.
#[test]
fn orders_are_rejected_when_too_much_waits_for_a_sync() {
    const ORDERS: usize = 3_000;
    let machine = Machine::brewing_and_syncing_beside();
    let disk = machine.disk.layer();
    disk.is_to(Some((Mood::Hangs, "o-2")));
    let (key, recipe) = (name("o-2"), name("espresso"));
    machine.order(OrderCommand::Place { key, recipe });
    disk.await_hanging();
    for number in 0..ORDERS {
        let (key, recipe) = (name(&format!("more-{number}")), name("espresso"));
        let again = key.clone();
        machine.order(OrderCommand::Place { key, recipe });
        machine.order(OrderCommand::Cancel { key: again });
    }
    let mut rejected = 0;
    let last = name(&format!("more-{}", ORDERS - 1));
    while let Ok(event) = machine.events.recv_timeout(PATIENCE) {
        let FleetEvent::Order {
            event: OrderEvent::Update(update),
            ..
        } = event
        else {
            continue;
        };
        assert_eq!(update.phase, OrderPhase::Rejected, "{update:?}");
        let reason = update.reason.as_ref().map_or("", |reason| reason.as_str());
        rejected += usize::from(reason.contains("does not keep up"));
        if update.key == last {
            break;
        }
    }
    assert!(rejected > ORDERS / 2, "{rejected} of {ORDERS}");
    // It takes orders again when the sync has ended.
    disk.is_to(None);
    machine.hear(|event| matches!(event, OrderEvent::Update(update) if update.key == name("o-2")));
    machine.thread.stop().unwrap();
}

/// A disk that counts how often it is read.
#[derive(Default)]
struct Reads {
    inner: MemoryStorage,
    count: AtomicU64,
}

impl Layer for Reads {
    fn inner(&self) -> &dyn Storage {
        &self.inner
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key)
    }

    fn log_read(
        &self,
        log: LogId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.inner.log_read(log, range, bytes_max)
    }
}

/// A disk may hang when it is read as well: where a spool is full, and where a sink acknowledges a part of it.
#[test]
fn nothing_is_read_before_acts_are_told() {
    let disk = Arc::new(Layered::<Reads>::default());
    let reads = || disk.layer().count.load(Ordering::Relaxed);
    let broker = MemoryBroker::new(1);
    let mut sink = broker.connect("sink");
    let settings = FleetSettings {
        spool: SpoolSettings {
            bytes_max: 20_000,
            reserved_bytes: 4_000,
            ..FleetSettings::salted(0).spool
        },
    };
    let (uplink, site, mut now) = (broker.connect("m-1"), name("site"), Instant::default());
    let device = Device::builder(name("m-1"))
        .metric(Metric::fed(name("pressure")))
        .rule(rule());
    let mut fleet = Fleet::open(uplink, site, disk.clone(), [device], settings, now).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let (mut acts, mut read) = (0, 0);
    for round in 0..1_000_u64 {
        let mut events = Vec::new();
        let before = reads();
        let command = FleetCommand::Sample {
            device: name("m-1"),
            metric: name("pressure"),
            at: DeviceTime {
                boot: BootEpoch::FIRST,
                since_boot_ms: round * 250,
            },
            value: if round % 2 == 0 { 12.0 } else { 1.0 },
        };
        fleet.command(now, command, &mut events).unwrap();
        let ack = SinkAck {
            device: name("m-1"),
            boot: BootEpoch::FIRST,
            stream: Stream::Alerts,
            through: round / 2,
        };
        let message = Message::new("peaberry/1/site/m-1/down/acks", ack.encode());
        sink.submit(round, message).unwrap();
        fleet.decide(&mut cx, now, &mut events).unwrap();
        assert_eq!(reads(), before, "the disk is read before acts are told");
        let is_act = |event: &&FleetEvent<Name>| matches!(event, FleetEvent::Act { .. });
        acts += events.iter().filter(is_act).count();
        fleet.settle(&mut cx, now, &mut events).unwrap();
        read += reads() - before;
        now += Duration::from_millis(250);
        let _ = sink.poll_events(&mut cx, &mut Vec::new());
    }
    assert_eq!(acts, 500);
    let dropped = fleet.status().dropped_records;
    assert!(dropped > 0 && read > 0, "{dropped} dropped, {read} reads");
}

#[test]
fn an_act_is_told_when_the_commit_of_its_turn_fails() {
    let machine = Machine::brewing();
    let failure = (Mood::Fails, "pressure.high");
    machine.disk.layer().is_to(Some(failure));
    machine.burst();
    machine.hear_act();
    machine.ends_with_its_store();
}

#[test]
fn an_abort_is_told_when_the_commit_of_its_turn_fails() {
    let machine = Machine::brewing();
    machine.disk.layer().is_to(Some((Mood::Fails, "steam")));
    machine.stop_safely();
    machine.hear_abort();
    machine.ends_with_its_store();
}
