//! Orders by a broker that repeats itself, on a machine that loses power: each is carried out once.
//!
//! You will learn what an idempotency key is for, and what a machine can and cannot know after a crash.
//!
//! Tested as: `cargo run --example edge_orders`
//!
//! You will see an order's steps with its quality, one refused for want of milk, one given up as unknown, one cancelled amid
//! a step, and a safe stop.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use clap::Parser;
use peaberry_core::{Instant, MemoryStorage};
use peaberry_edge::coffee;
use peaberry_edge::device::Device;
use peaberry_edge::fleet::{Fleet, FleetCommand, FleetEvent, FleetSettings};
use peaberry_edge::order::{OrderCommand, OrderEvent, StepRun};
use peaberry_edge::payload::{Action, Command, OrderPhase, Wire};
use peaberry_edge::topic::{Lane, Topic};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink, Message, Uplink};
use peaberry_edge::{EdgeError, Name};

/// A machine and what it is told to do.
struct Bar {
    broker: MemoryBroker,
    storage: Arc<MemoryStorage>,
    till: MemoryUplink,
    fleet: Fleet<MemoryUplink>,
    now: Instant,
    sent: u64,
    running: Option<StepRun>,
    ground: u32,
    ends: Vec<(String, OrderPhase)>,
}

fn start(
    broker: &MemoryBroker,
    storage: &Arc<MemoryStorage>,
    now: Instant,
) -> Result<Fleet<MemoryUplink>, EdgeError> {
    let device =
        Device::builder(Name::new("m-1")?).takes_orders(coffee::recipes(), coffee::capabilities());
    let (uplink, site) = (broker.connect("m-1"), Name::new("berlin")?);
    Fleet::open(
        uplink,
        site,
        storage.clone(),
        [device],
        FleetSettings::default(),
        now,
    )
}

impl Bar {
    fn turn(&mut self) -> Result<(), EdgeError> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        self.fleet.turn(&mut cx, self.now, &mut events)?;
        let _ = self.till.poll_events(&mut cx, &mut Vec::new());
        for event in events {
            match event {
                FleetEvent::Order {
                    event: OrderEvent::Begin { run, key, step },
                    ..
                } => {
                    println!("  {key}: {}", step.name);
                    self.ground += u32::from(step.name.as_str() == "grind");
                    self.running = Some(run);
                }
                FleetEvent::Order {
                    event: OrderEvent::Update(update),
                    ..
                } if update.phase.is_final() => {
                    let reason = update
                        .reason
                        .map(|reason| format!(" ({reason})"))
                        .unwrap_or_default();
                    let quality = update
                        .quality_permille
                        .map(|q| format!(" at {q} ‰"))
                        .unwrap_or_default();
                    println!("  {}: {:?}{quality}{reason}", update.key, update.phase);
                    self.ends.push((update.key.to_string(), update.phase));
                }
                FleetEvent::Order {
                    event: OrderEvent::Update(update),
                    ..
                } if update.phase == OrderPhase::Rejected => {
                    self.ends.push((update.key.to_string(), update.phase));
                }
                _ => {}
            }
        }
        self.now += Duration::from_secs(1);
        Ok(())
    }

    /// The works do what they were told, a step a second.
    fn work(&mut self, steps: u32) -> Result<(), EdgeError> {
        for _ in 0..steps {
            self.turn()?;
            if let Some(run) = self.running.take() {
                let quality_permille = 950;
                self.tell(OrderCommand::Done {
                    run,
                    quality_permille,
                })?;
            }
        }
        self.turn()
    }

    fn tell(&mut self, command: OrderCommand) -> Result<(), EdgeError> {
        let device = Name::new("m-1")?;
        self.fleet.command(
            self.now,
            FleetCommand::Order { device, command },
            &mut Vec::new(),
        )
    }

    fn order(&mut self, key: &str, recipe: &str) -> Result<(), Box<dyn std::error::Error>> {
        let device = Name::new("m-1")?;
        let topic = Topic {
            site: Name::new("berlin")?,
            device: device.clone(),
            lane: Lane::Commands,
        };
        let action = Action::PlaceOrder {
            key: Name::new(key)?,
            recipe: Name::new(recipe)?,
        };
        let command = Command { device, action };
        self.sent += 1;
        self.till
            .submit(self.sent, Message::new(topic.to_string(), command.encode()))?;
        self.turn()?;
        Ok(())
    }
}

/// Orders by a broker that repeats itself, on a machine that loses power: each is carried out once. It takes no arguments.
#[derive(Parser)]
struct Arguments {}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments {} = Arguments::parse();
    let (broker, storage) = (MemoryBroker::new(1), Arc::new(MemoryStorage::new()));
    let mut bar = Bar {
        fleet: start(&broker, &storage, Instant::default())?,
        till: broker.connect("till"),
        broker,
        storage,
        now: Instant::default(),
        sent: 0,
        running: None,
        ground: 0,
        ends: Vec::new(),
    };
    for (resource, units) in [("water", 1000), ("beans", 200), ("milk", 150)] {
        bar.tell(OrderCommand::Stock {
            resource: Name::new(resource)?,
            units,
        })?;
    }
    println!("an espresso, ordered three times with one key:");
    for _ in 0..3 {
        bar.order("o-1", "espresso")?;
    }
    bar.work(6)?;
    assert_eq!(
        (bar.ground, bar.ends.last()),
        (1, Some(&("o-1".to_owned(), OrderPhase::Completed)))
    );

    println!("a latte, for which there is too little milk:");
    bar.order("o-2", "latte")?;
    bar.turn()?;
    assert_eq!(bar.ground, 1);

    println!("a cappuccino; power is lost while it grinds:");
    bar.order("o-3", "cappuccino")?;
    bar.turn()?;
    bar.running = None;
    bar.fleet = start(&bar.broker, &bar.storage, bar.now)?;
    bar.turn()?;
    bar.order("o-3", "cappuccino")?;
    bar.work(3)?;
    assert_eq!(bar.ground, 2, "it is not ground a second time");
    assert!(bar.ends.contains(&("o-3".to_owned(), OrderPhase::Unknown)));
    println!(
        "beans were ground {} times for 3 orders in 6 messages",
        bar.ground
    );

    println!("an espresso, cancelled while it grinds:");
    bar.order("o-4", "espresso")?;
    bar.turn()?;
    bar.running = None;
    bar.tell(OrderCommand::Cancel {
        key: Name::new("o-4")?,
    })?;
    bar.turn()?;
    assert!(
        bar.ends
            .contains(&("o-4".to_owned(), OrderPhase::Cancelled))
    );

    println!("somebody presses the red button:");
    bar.order("o-5", "espresso")?;
    bar.turn()?;
    bar.running = None;
    bar.tell(OrderCommand::SafeStop {
        reason: "steam escapes".into(),
    })?;
    bar.turn()?;
    bar.order("o-6", "espresso")?;
    bar.turn()?;
    assert!(bar.ends.contains(&("o-5".to_owned(), OrderPhase::Stopped)));
    assert!(bar.ends.contains(&("o-6".to_owned(), OrderPhase::Rejected)));
    Ok(())
}
