//! A machine's twin, edited on both sides while they cannot hear each other.
//!
//! You will learn what desired and reported are, how both sides come to agree, and how a setting reaches a device.
//!
//! Tested as: `cargo run --example edge_twin`
//!
//! You will see the same twin on both sides after an outage, a stamp from the far future refused, and a machine that reports its
//! health more often because somebody far away wishes so, also after a loss of power.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use clap::Parser;
use peaberry_core::{
    Batch, Channel, Durability, Instant, MemoryStorage, ProtocolId, Storage, Subspace,
};
use peaberry_crdt::ReplicaId;
use peaberry_edge::device::Device;
use peaberry_edge::fleet::{Fleet, FleetEvent, FleetSettings};
use peaberry_edge::payload::{Delivery, Payload, Wire};
use peaberry_edge::spool::{AckLevel, SpoolSettings};
use peaberry_edge::topic::{Lane, Topic};
use peaberry_edge::twin::{Side, Twin};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink, Message, Uplink, UplinkEvent};
use peaberry_edge::{EdgeError, Name};

type Failure = Box<dyn std::error::Error>;

const NOON_MS: u64 = 1_780_000_000_000;

/// Lets both say what they know, and passes messages to and fro until they fall silent.
fn connect(device: &mut Twin, service: &mut Twin, wall_ms: u64) -> Result<usize, EdgeError> {
    let mut batch = Batch::new();
    let mut to_service = vec![device.hello()];
    let mut to_device = vec![service.hello()];
    let mut count = 0;
    while !to_service.is_empty() || !to_device.is_empty() {
        count += to_service.len() + to_device.len();
        let arrived = std::mem::take(&mut to_service);
        for message in std::mem::take(&mut to_device) {
            to_service.extend(device.receive(&message, Some(wall_ms), &mut batch)?.answers);
        }
        for message in arrived {
            to_device.extend(
                service
                    .receive(&message, Some(wall_ms), &mut batch)?
                    .answers,
            );
        }
    }
    Ok(count)
}

/// A machine's twin, edited on both sides while they cannot hear each other. It takes no arguments.
#[derive(Parser)]
struct Arguments {}

fn main() -> Result<(), Failure> {
    let Arguments {} = Arguments::parse();
    edited_apart()?;
    set_from_afar()
}

fn edited_apart() -> Result<(), Failure> {
    let space = Subspace::of(Channel::new(ProtocolId(2000), 1));
    let (here, there) = (MemoryStorage::new(), MemoryStorage::new());
    let mut device = Twin::open(&here, &space, Side::Device)?;
    let side = Side::Service(ReplicaId::new(0xC10D).ok_or("not zero")?);
    let mut service = Twin::open(&there, &space, side)?;
    let (target, grind) = (Name::new("boiler.target")?, Name::new("grind")?);

    println!("while the line is down:");
    let mut batch = Batch::new();
    service.desire(target.clone(), 94.0.into(), Some(NOON_MS), &mut batch)?;
    service.desire(grind.clone(), 3.into(), Some(NOON_MS), &mut batch)?;
    there.commit(&batch, Durability::Synced)?;
    println!("  the service desires {target} = 94, {grind} = 3");
    let mut batch = Batch::new();
    device.desire(grind.clone(), 5.into(), Some(NOON_MS + 60_000), &mut batch)?;
    device.report(target.clone(), 93.0.into(), Some(NOON_MS), &mut batch)?;
    here.commit(&batch, Durability::Synced)?;
    println!("  a minute later, somebody turns the machine's knob: {grind} = 5");

    let messages = connect(&mut device, &mut service, NOON_MS + 120_000)?;
    println!("after {messages} messages, on both sides:");
    for (key, value) in device.all_desired() {
        let reported = device.reported(key).map(|it| format!("reported {it}"));
        let reported = reported.unwrap_or_else(|| "not reported yet".to_owned());
        println!("  {key} = {value}, {reported}");
        assert_eq!(service.desired(key), Some(value));
    }
    assert_eq!(
        device.desired(&grind),
        Some(&5.into()),
        "the later write holds"
    );
    assert_eq!(device.delta(), service.delta());
    assert_eq!(device.delta().len(), 2, "both are yet to be brought about");
    let mut batch = Batch::new();
    for (key, value) in device.delta() {
        device.report(key, value, Some(NOON_MS + 130_000), &mut batch)?;
    }
    here.commit(&batch, Durability::Synced)?;
    connect(&mut device, &mut service, NOON_MS + 140_000)?;
    assert!(
        service.delta().is_empty(),
        "the service sees that it is done"
    );

    let year_ms = 365 * 86_400_000;
    let lie = service.desire(
        target.clone(),
        120.0.into(),
        Some(NOON_MS + year_ms),
        &mut Batch::new(),
    )?;
    let refused = device.receive(&lie, Some(NOON_MS + 150_000), &mut Batch::new());
    let error = refused
        .err()
        .ok_or("a stamp a year ahead must be refused")?;
    println!(
        "a wish dated a year ahead: {error}: {}",
        std::error::Error::source(&error).ok_or("it has a cause")?
    );
    assert_eq!(device.desired(&target), Some(&94.0.into()));
    Ok(())
}

/// A machine with its fleet, and a service that hears what it says and keeps a copy of its twin.
struct Line {
    broker: MemoryBroker,
    storage: Arc<MemoryStorage>,
    fleet: Fleet<MemoryUplink>,
    uplink: MemoryUplink,
    service: Twin,
    now: Instant,
    /// How often the machine has said how it is.
    heartbeats: u32,
}

fn start(
    broker: &MemoryBroker,
    storage: &Arc<MemoryStorage>,
    now: Instant,
) -> Result<Fleet<MemoryUplink>, EdgeError> {
    let device = Device::builder(Name::new("m-1")?).has_twin();
    let (uplink, site) = (broker.connect("m-1"), Name::new("berlin")?);
    // There is no collector here: what the broker has is told.
    let settings = FleetSettings {
        spool: SpoolSettings {
            keep_until: AckLevel::Broker,
            ..SpoolSettings::default()
        },
    };
    Fleet::open(uplink, site, storage.clone(), [device], settings, now)
}

impl Line {
    fn open() -> Result<Self, Failure> {
        let (broker, storage) = (MemoryBroker::new(1), Arc::new(MemoryStorage::new()));
        let mut uplink = broker.connect("service");
        uplink.subscribe("peaberry/1/berlin/+/up/#");
        let space = Subspace::of(Channel::new(ProtocolId(2000), 2));
        let side = Side::Service(ReplicaId::new(0xC10D).ok_or("not zero")?);
        Ok(Self {
            fleet: start(&broker, &storage, Instant::default())?,
            service: Twin::open(&MemoryStorage::new(), &space, side)?,
            broker,
            storage,
            uplink,
            now: Instant::default(),
            heartbeats: 0,
        })
    }

    /// A minute goes by; returns how often the machine said how it is.
    fn minute(&mut self) -> Result<u32, Failure> {
        let before = self.heartbeats;
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..600 {
            let mut events = Vec::new();
            self.fleet.turn(&mut cx, self.now, &mut events)?;
            for event in events {
                if let FleetEvent::Delta { delta, .. } = event {
                    return Err(format!("{delta:?} is left to the application").into());
                }
            }
            self.hear(&mut cx)?;
            self.now += Duration::from_millis(100);
        }
        Ok(self.heartbeats - before)
    }

    fn hear(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let mut events = Vec::new();
        let _ = self.uplink.poll_events(cx, &mut events);
        for event in events {
            let UplinkEvent::Inbound { message, token } = event else {
                continue;
            };
            match Delivery::decode(&message.payload)?.record.payload {
                Payload::Health(_) => self.heartbeats += 1,
                Payload::Twin(said) => {
                    let mut batch = Batch::new();
                    let answers = self.service.receive(&said, None, &mut batch)?.answers;
                    for answer in answers {
                        self.send(answer.to_vec())?;
                    }
                }
                _ => {}
            }
            if let Some(token) = token {
                self.uplink.acknowledge(token);
            }
        }
        Ok(())
    }

    fn send(&mut self, twin: Vec<u8>) -> Result<(), Failure> {
        let topic = Topic {
            site: Name::new("berlin")?,
            device: Name::new("m-1")?,
            lane: Lane::DesiredTwin,
        };
        self.uplink
            .submit(1, Message::new(topic.to_string(), twin))?;
        Ok(())
    }
}

/// What the service desires of a setting, the fleet applies and reports by itself.
fn set_from_afar() -> Result<(), Failure> {
    let mut line = Line::open()?;
    // In the first it also says what it is, to whoever is new.
    line.minute()?;
    let before = line.minute()?;
    println!("a machine says {before} times a minute how it is");
    assert_eq!(before, 2, "each 30 s");

    let setting = Name::new("config.heartbeat_ms")?;
    let mut batch = Batch::new();
    let wish = line
        .service
        .desire(setting.clone(), 5_000.into(), Some(NOON_MS), &mut batch)?;
    line.send(wish.to_vec())?;
    line.minute()?;
    let after = line.minute()?;
    println!("the service desires {setting} = 5000: {after} times a minute");
    assert_eq!(after, 12, "each 5 s");
    assert_eq!(line.service.reported(&setting), Some(&5_000.into()));
    assert!(line.service.delta().is_empty(), "it holds, and is reported");

    line.fleet = start(&line.broker, &line.storage, line.now)?;
    line.minute()?;
    let again = line.minute()?;
    println!("behind a loss of power: {again} times a minute");
    assert_eq!(again, 12, "what was reported holds again");
    Ok(())
}
