use std::task::{Context, Waker};
use std::time::Duration;

use peaberry_core::{Batch, MemoryStorage};

use super::*;
use crate::coffee::{self, CoffeeMachine, CoffeeMetric};
use crate::device::Metric;
use crate::error::EdgeError;
use crate::order::OrderCommand;
use crate::payload::{Action, Command, Delivery, Payload, Wire};
use crate::time::DeviceTime;
use crate::topic::{Lane, Topic};
use crate::uplink::{MemoryBroker, MemoryUplink, Message, Uplink, UplinkEvent};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A fleet of one machine, its broker, and somebody who listens.
struct Bench {
    fleet: Fleet<MemoryUplink>,
    storage: Arc<MemoryStorage>,
    broker: MemoryBroker,
    listener: MemoryUplink,
    now: Instant,
    events: Vec<FleetEvent<Name>>,
    inbox: Vec<UplinkEvent>,
}

fn open(broker: &MemoryBroker, storage: &Arc<MemoryStorage>, now: Instant) -> Fleet<MemoryUplink> {
    let machine = CoffeeMachine::new(1);
    let device = Device::builder(name("m-1"))
        .metric(Metric::of(machine.sensor(CoffeeMetric::Temperature)))
        .takes_orders(coffee::recipes(), coffee::capabilities())
        .has_twin();
    let settings = FleetSettings::salted(0);
    let uplink = broker.connect("gateway");
    Fleet::open(
        uplink,
        name("site"),
        storage.clone(),
        [device],
        settings,
        now,
    )
    .unwrap()
}

impl Bench {
    fn new() -> Self {
        let broker = MemoryBroker::new(1);
        let storage = Arc::new(MemoryStorage::new());
        let mut listener = broker.connect("listener");
        listener.subscribe("peaberry/1/site/+/up/#");
        Self {
            fleet: open(&broker, &storage, Instant::default()),
            storage,
            broker,
            listener,
            now: Instant::default(),
            events: Vec::new(),
            inbox: Vec::new(),
        }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        let mut cx = Context::from_waker(Waker::noop());
        while self.now <= end {
            self.fleet
                .turn(&mut cx, self.now, &mut self.events)
                .unwrap();
            self.now += Duration::from_millis(100);
        }
    }

    fn heard(&mut self) -> Vec<Payload> {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.listener.poll_events(&mut cx, &mut self.inbox);
        std::mem::take(&mut self.inbox)
            .into_iter()
            .filter_map(|event| match event {
                UplinkEvent::Inbound { message, token } => {
                    self.listener.acknowledge(token.unwrap());
                    Some(Delivery::decode(&message.payload).unwrap().record.payload)
                }
                _ => None,
            })
            .collect()
    }

    fn send(&mut self, lane: Lane, payload: Vec<u8>) {
        let topic = Topic {
            site: name("site"),
            device: name("m-1"),
            lane,
        };
        let message = Message::new(topic.to_string(), payload);
        self.listener.submit(1, message).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        self.run(0);
        let _ = self.listener.poll_events(&mut cx, &mut self.inbox);
    }

    fn restart(&mut self) {
        self.events.clear();
        self.fleet = open(&self.broker, &self.storage, self.now);
    }

    fn stock(&mut self) {
        for resource in ["water", "beans", "milk"] {
            let (resource, units) = (name(resource), 1000);
            self.order(OrderCommand::Stock { resource, units });
        }
    }

    fn order(&mut self, command: OrderCommand) {
        let device = name("m-1");
        let command = FleetCommand::Order { device, command };
        let events = &mut self.events;
        self.fleet.command(self.now, command, events).unwrap();
    }

    fn begun(&self) -> Vec<(String, crate::order::StepRun)> {
        let begin = |event: &FleetEvent<Name>| match event {
            FleetEvent::Order {
                event: OrderEvent::Begin { run, step, .. },
                ..
            } => Some((step.name.to_string(), *run)),
            _ => None,
        };
        self.events.iter().filter_map(begin).collect()
    }
}

/// Whoever asks again, under its key, hears how the order stands, not that it was rejected.
#[test]
fn a_retried_order_hears_how_it_stands_whatever_the_machine_is_by_now() {
    use crate::payload::{OrderPhase, Status};

    let mut bench = Bench::new();
    bench.run(1);
    bench.stock();
    bench.send(Lane::Commands, place("o-1", "espresso", "m-1"));
    assert_eq!(bench.begun().len(), 1);
    bench.heard();
    let ask = |bench: &mut Bench, key: &str| {
        bench.send(Lane::Commands, place(key, "espresso", "m-1"));
        bench.run(1);
        let phase = |payload| match payload {
            Payload::Order(update) if update.key == name(key) => Some(update.phase),
            _ => None,
        };
        bench.heard().into_iter().filter_map(phase).next_back()
    };
    bench.fleet.hosted[0].device.set_status(Status::Maintenance);
    assert_eq!(ask(&mut bench, "o-1"), Some(OrderPhase::Began));
    assert_eq!(ask(&mut bench, "o-2"), Some(OrderPhase::Rejected));
    bench.fleet.hosted[0].device.set_status(Status::Online);
    bench.fleet.is_stuck = true;
    bench.send(Lane::Commands, place("o-1", "espresso", "m-1"));
    bench.run(1);
    assert!(!bench.heard().iter().any(|payload| {
        matches!(payload, Payload::Order(update) if update.phase == OrderPhase::Rejected)
    }));
}

/// Links that come and go make no queue of the same words, and who listens anew hears what the device is.
#[test]
fn a_hello_that_waits_is_not_said_again_and_each_connection_hears_what_the_device_is() {
    let mut bench = Bench::new();
    bench.run(1);
    let is_hello = |payload: &&Payload| matches!(payload, Payload::Twin(_));
    assert_eq!(bench.heard().iter().filter(is_hello).count(), 1);
    let mut profiles = 0;
    for _ in 0..5 {
        bench.broker.cut("gateway");
        bench.run(1);
        bench.broker.mend("gateway");
        bench.run(40);
        let told = |payload: &&Payload| matches!(payload, Payload::Health(health) if !health.capabilities.is_empty());
        profiles += bench.heard().iter().filter(told).count();
    }
    assert!(profiles >= 5, "{profiles}");
    let spool = bench.fleet.courier.spool(0).unwrap();
    assert!(
        spool.holds(crate::topic::Stream::Twin),
        "nobody acknowledges"
    );
    assert_eq!(bench.fleet.hosted[0].said.map(|_| ()), Some(()));
    let records = bench.fleet.status().spooled_records;
    bench.broker.cut("gateway");
    bench.run(0);
    bench.broker.mend("gateway");
    bench.run(0);
    assert_eq!(
        bench.fleet.status().spooled_records,
        records,
        "no second hello"
    );
}

/// Whoever asks a twin again and again what takes long to answer does not fill the spool, and is answered in the end.
#[test]
fn small_questions_push_nothing_out_of_the_spool() {
    use crate::payload::SinkAck;
    use crate::topic::Stream;
    use crate::twin::{Side, Twin};
    use peaberry_core::{Channel, ProtocolId, Subspace};

    let mut bench = Bench::new();
    bench.run(12);
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    let side = Side::Service(peaberry_crdt::ReplicaId::new(77).unwrap());
    let mut service = Twin::open(&MemoryStorage::new(), &space, side).unwrap();
    let mut questions = Vec::new();
    for count in 0..200 {
        let (key, value) = (name(&format!("note-{count}")), "n".repeat(500));
        let value = value.as_str().into();
        let wished = service.desire(key, value, Some(5), &mut Batch::new());
        // Who knows so much asks for something else each time.
        questions.push(service.hello().to_vec());
        bench.send(Lane::DesiredTwin, wished.unwrap().to_vec());
        bench.heard();
    }
    let bytes = |bench: &Bench| bench.fleet.courier.spool(0).unwrap().status().bytes;
    let before = bytes(&bench);
    for _ in 0..2 {
        bench.send(Lane::DesiredTwin, questions[0].clone());
    }
    let answer = bytes(&bench) - before;
    assert!(answer > 90_000, "{answer}");
    bench.send(Lane::DesiredTwin, questions[0].clone());
    assert_eq!(bytes(&bench) - before, answer, "it waits to be heard");
    for _ in 0..3 {
        for question in &questions {
            bench.send(Lane::DesiredTwin, question.clone());
            bench.heard();
        }
    }
    let most = SpoolSettings::default().bytes_max / 8;
    assert!(bytes(&bench) < most + 100_000, "{}", bytes(&bench));
    assert_eq!(bench.fleet.status().dropped_records, 0);
    // Whose question was passed over first is answered once there is room, however much that takes: a hello in its place would
    // wait as well when the next question comes. Others hear then that they may ask again.
    let acknowledge = |bench: &mut Bench| {
        let ack = SinkAck {
            device: name("m-1"),
            boot: crate::BootEpoch::FIRST,
            stream: Stream::Twin,
            through: bench.fleet.courier.spool(0).unwrap().last_sequence(),
        };
        bench.heard();
        bench.send(Lane::Acks, ack.encode());
        bench.run(1);
        bench.heard()
    };
    let longest = |heard: Vec<Payload>| {
        let twins = heard.iter().filter_map(|payload| match payload {
            Payload::Twin(bytes) => Some(bytes.len()),
            _ => None,
        });
        twins.max().unwrap_or(0)
    };
    let answer = longest(acknowledge(&mut bench));
    assert!(answer > 10_000, "an answer, not a hello of {answer} bytes");
    let hello = bench.fleet.device(&name("m-1")).unwrap().twin().unwrap();
    let hello = Payload::Twin(hello.hello());
    assert!(acknowledge(&mut bench).contains(&hello));
}

/// Whatever else is desired, a setting that is refused is told once.
#[test]
fn a_refused_setting_is_told_once() {
    let mut bench = Bench::new();
    bench.run(1);
    for (key, value) in [
        ("config.heartbeat_ms", 5),
        ("a", 1),
        ("b", 2),
        ("config.batch_ms", -1),
    ] {
        let (device, key, value) = (name("m-1"), name(key), value.into());
        let command = FleetCommand::Desire { device, key, value };
        let events = &mut bench.events;
        bench.fleet.command(bench.now, command, events).unwrap();
        bench.run(1);
    }
    let is_refusal = |payload: &&Payload| matches!(payload, Payload::Notification(it) if it.text.as_str().contains("is refused"));
    assert_eq!(bench.heard().iter().filter(is_refusal).count(), 2);
}

/// An end whose record was given up is not passed over in silence when there is nothing left to tell.
#[test]
fn an_end_that_is_forgotten_before_it_is_told_is_named() {
    let mut bench = Bench::new();
    bench.run(1);
    bench.fleet.untold.insert((0, name("gone")));
    bench.run(60);
    let is_named = |event: &FleetEvent<Name>| matches!(event, FleetEvent::Refused { error: EdgeError::EndForgotten { order, .. }, .. } if order == "gone");
    assert_eq!(bench.events.iter().filter(|it| is_named(it)).count(), 1);
}

/// A broker keeps a retained order for ever: it is not taken when it comes as such.
#[test]
fn a_retained_order_is_taken_when_it_is_new_and_never_when_it_was_kept() {
    use crate::payload::OrderPhase;

    let mut bench = Bench::new();
    bench.stock();
    let topic = "peaberry/1/site/m-1/down/commands";
    let retain = |bench: &mut Bench, key| {
        let mut message = Message::new(topic, place(key, "espresso", "m-1"));
        message.is_retained = true;
        bench.listener.submit(1, message).unwrap();
    };
    retain(&mut bench, "kept");
    bench.run(1);
    assert!(bench.begun().is_empty());
    let is_rejected = |bench: &mut Bench, key| {
        bench.heard().iter().any(|payload| {
            matches!(payload, Payload::Order(update) if update.key == name(key)
                && update.phase == OrderPhase::Rejected)
        })
    };
    assert!(is_rejected(&mut bench, "kept"));
    retain(&mut bench, "new");
    bench.run(1);
    assert_eq!(bench.begun().len(), 1);
    bench.broker.cut("gateway");
    bench.run(1);
    bench.broker.mend("gateway");
    bench.run(40);
    assert_eq!(bench.begun().len(), 1);
    assert!(!is_rejected(&mut bench, "new"), "it is known");
}

/// A service's message that sets the device's own number of events ahead is refused, and what it would have set is not.
#[test]
fn a_message_in_the_devices_own_name_stops_nothing() {
    use peaberry_core::{Channel, ProtocolId, Subspace};

    use crate::twin::{Side, Twin, TwinValue};

    let mut bench = Bench::new();
    bench.run(1);
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    let mut forger = Twin::open(&MemoryStorage::new(), &space, Side::Device).unwrap();
    let mut batch = Batch::new();
    let value = TwinValue::from(5_000.0);
    let forged = forger.desire(name("config.heartbeat_ms"), value, Some(1), &mut batch);
    bench.send(Lane::DesiredTwin, forged.unwrap().to_vec());
    bench.run(1);
    let refused = bench.events.iter().find_map(|event| match event {
        FleetEvent::Refused { error, .. } => Some(error.to_string()),
        _ => None,
    });
    assert!(refused.unwrap().contains("which is this device"));
    bench.restart();
    bench.run(1);
}

fn place(key: &str, recipe: &str, device: &str) -> Vec<u8> {
    let action = Action::PlaceOrder {
        key: name(key),
        recipe: name(recipe),
    };
    let device = name(device);
    Command { device, action }.encode()
}

#[test]
fn telemetry_and_health_arrive_and_what_is_durable_survives_an_outage() {
    let mut bench = Bench::new();
    bench.broker.cut("gateway");
    bench.run(25);
    assert!(bench.heard().is_empty());
    let waiting = bench.fleet.status().spooled_records;
    assert!(waiting >= 3, "{waiting}");
    bench.restart();
    bench.broker.mend("gateway");
    bench.run(1);
    let heard = bench.heard();
    let is_readings = |payload: &&Payload| matches!(payload, Payload::Readings(_));
    assert!(heard.iter().filter(is_readings).count() >= 2, "{heard:?}");
    assert_eq!(bench.fleet.device(&name("m-1")).unwrap().boot().get(), 2);
}

#[test]
fn an_order_by_the_uplink_begins_once_it_is_durable_and_once() {
    let mut bench = Bench::new();
    bench.run(1);
    bench.stock();
    bench.send(Lane::Commands, place("o-1", "espresso", "m-1"));
    bench.send(Lane::Commands, place("o-1", "espresso", "m-1"));
    bench.run(0);
    let begun = bench.begun();
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0].0, "grind");
    // Power is lost while it grinds: nobody can tell, and it is not begun again.
    bench.restart();
    bench.run(1);
    assert!(bench.begun().is_empty());
    let is_unknown = |payload: &Payload| matches!(payload, Payload::Order(update) if update.phase == crate::payload::OrderPhase::Unknown);
    assert!(bench.heard().iter().any(is_unknown));
}

/// Whoever listens hears how far each step is, how well it was done, and what to tell the customer; the application, too.
#[test]
fn how_an_order_goes_on_is_told_step_by_step_here_and_far_away() {
    use crate::payload::{Notification, OrderUpdate};

    let mut bench = Bench::new();
    bench.run(1);
    bench.stock();
    bench.send(Lane::Commands, place("o-1", "espresso", "m-1"));
    for (count, step) in ["grind", "heat", "extract", "finalise"].iter().enumerate() {
        let (begun, run) = bench.begun().pop().unwrap();
        assert_eq!(begun, *step);
        let permille = 500;
        bench.order(OrderCommand::Progress { run, permille });
        let quality_permille = 980 - u16::try_from(count).unwrap() * 10;
        let done = OrderCommand::Done {
            run,
            quality_permille,
        };
        bench.order(done);
        bench.run(0);
    }
    bench.run(1);
    let update = |update: &OrderUpdate| {
        let step = update.step.as_ref().map(|(_, name)| format!(" {name}"));
        let progress = update.permille.map(|permille| format!(" {permille}"));
        let quality = update
            .quality_permille
            .map(|quality| format!(" q{quality}"));
        let words = [step, progress, quality].map(Option::unwrap_or_default);
        format!("{:?}{}", update.phase, words.concat()).to_lowercase()
    };
    let note = |note: &Notification| {
        format!(
            "{:?} of {}",
            note.text.as_str(),
            note.order.as_ref().unwrap()
        )
    };
    let expected = [
        "accepted",
        "began grind",
        "progress grind 500",
        "done grind q980",
        "began heat",
        "progress heat 500",
        "done heat q970",
        "began extract",
        "progress extract 500",
        "done extract q960",
        "began finalise",
        "progress finalise 500",
        "done finalise q950",
        "completed q950",
        "\"espresso is ready\" of o-1",
    ];
    let heard = bench.heard();
    let heard = heard.iter().filter_map(|payload| match payload {
        Payload::Order(it) => Some(update(it)),
        Payload::Notification(it) => Some(note(it)),
        _ => None,
    });
    assert_eq!(heard.collect::<Vec<_>>(), expected, "far away");
    let told = bench.events.iter().filter_map(|event| match event {
        FleetEvent::Order { event, .. } => match event {
            OrderEvent::Update(it) => Some(update(it)),
            OrderEvent::Notify(it) => Some(note(it)),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), expected, "here");
}

#[test]
fn what_makes_no_sense_is_refused_by_reason_and_nothing_stops() {
    let mut bench = Bench::new();
    bench.run(1);
    bench.events.clear();
    bench.send(Lane::Commands, b"\xff\xff".to_vec());
    bench.send(Lane::Commands, place("o", "espresso", "m-2"));
    bench.send(Lane::Commands, vec![0; 200_000]);
    bench.send(Lane::DesiredTwin, b"no delta".to_vec());
    bench.send(Lane::Acks, b"no ack".to_vec());
    let refusals: Vec<_> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            FleetEvent::Refused { error, .. } => Some(error.to_string()),
            _ => None,
        })
        .collect();
    assert!(
        refusals
            .iter()
            .any(|error| error == "command for m-2 reached m-1: it was not carried out"),
        "{refusals:?}"
    );
    assert!(refusals.len() >= 5, "{refusals:?}");
    // An unknown recipe and missing ingredients are answered, not refused as messages.
    bench.send(Lane::Commands, place("o-1", "soup", "m-1"));
    bench.send(Lane::Commands, place("o-2", "latte", "m-1"));
    bench.run(1);
    let heard = bench.heard();
    let reasons: Vec<_> = heard
        .iter()
        .filter_map(|payload| match payload {
            Payload::Order(update) => update.reason.as_ref().map(ToString::to_string),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("unknown") && reasons[1].contains("not enough"));
}

#[test]
fn a_setting_desired_far_away_holds_also_after_a_restart() {
    use crate::twin::{Side, Twin};
    use peaberry_core::{Channel, ProtocolId, Subspace};
    let mut bench = Bench::new();
    bench.run(1);
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    let side = Side::Service(peaberry_crdt::ReplicaId::new(77).unwrap());
    let mut service = Twin::open(&MemoryStorage::new(), &space, side).unwrap();
    let mut batch = Batch::new();
    let wished = service
        .desire(
            name("config.status"),
            "maintenance".into(),
            Some(5),
            &mut batch,
        )
        .unwrap();
    bench.send(Lane::DesiredTwin, wished.to_vec());
    let status = |bench: &Bench| bench.fleet.device(&name("m-1")).unwrap().status();
    assert_eq!(status(&bench), crate::payload::Status::Maintenance);
    bench.restart();
    assert_eq!(status(&bench), crate::payload::Status::Maintenance);
    // What the device reported about it has reached the service, with what it was missing.
    bench.run(1);
    for payload in bench.heard() {
        if let Payload::Twin(bytes) = payload {
            let _ = service.receive(&bytes, Some(5), &mut batch).unwrap();
        }
    }
    assert!(service.delta().is_empty());
}

#[test]
fn what_is_desired_and_not_reported_is_handed_over_again_after_a_restart() {
    let mut bench = Bench::new();
    bench.run(1);
    let (device, key) = (name("m-1"), name("boiler.target"));
    let value = crate::twin::TwinValue::from(94.5);
    let command = FleetCommand::Desire { device, key, value };
    bench
        .fleet
        .command(bench.now, command, &mut bench.events)
        .unwrap();
    bench.run(0);
    let deltas = |bench: &Bench| {
        let is_delta = |event: &&FleetEvent<Name>| matches!(event, FleetEvent::Delta { .. });
        bench.events.iter().filter(is_delta).count()
    };
    assert_eq!(deltas(&bench), 1);
    // Power is lost before the application has brought it about.
    bench.restart();
    bench.run(0);
    assert_eq!(deltas(&bench), 1);
}

/// A desire that is withdrawn leaves nothing to bring about: that is told once.
#[test]
fn that_nothing_is_desired_any_more_is_told() {
    use crate::twin::{Side, Twin};
    use peaberry_core::{Channel, ProtocolId, Subspace};

    let mut bench = Bench::new();
    bench.run(1);
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    let side = Side::Service(peaberry_crdt::ReplicaId::new(77).unwrap());
    let mut service = Twin::open(&MemoryStorage::new(), &space, side).unwrap();
    let (key, batch) = (name("target"), &mut Batch::new());
    let wished = service.desire(key.clone(), 94.into(), Some(5), batch);
    let withdrawn = service.forget(&key, batch).unwrap().unwrap();
    let again = service.desire(key.clone(), 95.into(), Some(6), batch);
    let withdrawn_again = service.forget(&key, batch).unwrap().unwrap();
    for message in [wished.unwrap(), withdrawn.clone(), withdrawn] {
        bench.send(Lane::DesiredTwin, message.to_vec());
        bench.run(0);
    }
    let told = |bench: &Bench| -> Vec<usize> {
        let events = bench.events.iter();
        let deltas = events.filter_map(|event| match event {
            FleetEvent::Delta { delta, .. } => Some(delta.len()),
            _ => None,
        });
        deltas.collect()
    };
    assert_eq!(told(&bench), [1, 0]);
    // Both at once.
    for message in [again.unwrap(), withdrawn_again] {
        bench.send(Lane::DesiredTwin, message.to_vec());
    }
    bench.run(0);
    assert_eq!(told(&bench).last(), Some(&0), "{:?}", told(&bench));
}

#[test]
fn a_sample_from_the_future_is_refused_and_silences_no_rule() {
    let mut bench = Bench::new();
    bench.run(1);
    let sample = |since_boot_ms| FleetCommand::Sample {
        device: name("m-1"),
        metric: name("boiler.temperature"),
        at: DeviceTime {
            boot: crate::BootEpoch::FIRST,
            since_boot_ms,
        },
        value: 93.0,
    };
    for (since_boot_ms, refusals) in [(u64::MAX, 1), (500, 0)] {
        let mut events = Vec::new();
        let command = sample(since_boot_ms);
        bench
            .fleet
            .command(bench.now, command, &mut events)
            .unwrap();
        assert_eq!(events.len(), refusals, "{events:?}");
    }
}

#[test]
fn a_clock_set_back_ten_years_stops_nothing_and_is_set_right_again() {
    use crate::twin::{Side, Twin};
    use peaberry_core::{Channel, ProtocolId, Subspace, Timestamp};
    const YEAR_MS: u64 = 365 * 86_400_000;
    let mut bench = Bench::new();
    let tell = |bench: &mut Bench, wall_ms: u64| {
        for _ in 0..crate::time::JUMP_SAMPLES {
            let wall = Timestamp::from_unix_nanos(wall_ms * 1_000_000);
            let round_trip = Duration::from_millis(10);
            let command = FleetCommand::Time { wall, round_trip };
            bench
                .fleet
                .command(bench.now, command, &mut bench.events)
                .unwrap();
        }
    };
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    let side = Side::Service(peaberry_crdt::ReplicaId::new(77).unwrap());
    let mut service = Twin::open(&MemoryStorage::new(), &space, side).unwrap();
    let (key, mut batch) = (name("boiler.target"), Batch::new());
    let present_ms = 56 * YEAR_MS;
    let wished = service
        .desire(key.clone(), 94.5.into(), Some(present_ms), &mut batch)
        .unwrap();
    bench.run(1);
    tell(&mut bench, present_ms);
    tell(&mut bench, present_ms - 10 * YEAR_MS);
    bench.run(1);
    let is_told = |payload: &Payload| matches!(payload, Payload::Notification(told) if told.text.as_str().contains("-315360000000 ms"));
    assert!(
        bench.heard().iter().any(is_told),
        "somebody is told of the jump"
    );
    bench.send(Lane::DesiredTwin, wished.to_vec());
    let is_refused = |event: &FleetEvent<Name>| {
        matches!(
            event,
            FleetEvent::Refused {
                error: EdgeError::Twin { .. },
                ..
            }
        )
    };
    assert!(bench.events.iter().any(is_refused), "{:?}", bench.events);
    bench.run(25);
    let heard = bench.heard();
    let is_readings = |payload: &&Payload| matches!(payload, Payload::Readings(_));
    assert!(heard.iter().filter(is_readings).count() >= 2, "{heard:?}");
    tell(&mut bench, present_ms + 26_000);
    bench.send(Lane::DesiredTwin, wished.to_vec());
    let twin = bench.fleet.device(&name("m-1")).unwrap().twin().unwrap();
    assert_eq!(twin.desired(&key), Some(&94.5.into()));
}

#[test]
fn a_fleet_on_its_thread_answers_and_gives_itself_back() {
    let broker = MemoryBroker::new(1);
    let storage = Arc::new(MemoryStorage::new());
    let clock: Arc<dyn peaberry_core::Clock> = Arc::new(peaberry_core::SystemClock::new());
    let fleet = open(&broker, &storage, clock.now());
    let (told, heard) = std::sync::mpsc::channel();
    let thread = FleetThread::start(fleet, clock, move |event, _| {
        let _ = told.send(event);
    });
    let thread = thread.unwrap();
    assert!(
        thread
            .handle()
            .place(&name("m-1"), name("o-1"), name("soup"))
    );
    let is_answer = |event: &FleetEvent<Name>| matches!(event, FleetEvent::Order { event: OrderEvent::Update(update), .. } if update.reason.is_some());
    assert!(heard.iter().any(|event| is_answer(&event)));
    let fleet = thread.stop().unwrap();
    assert!(fleet.status().sent_records > 0);
}
