//! One coffee machine, no broker: it measures, obeys a rule at once, and keeps what it has to say until somebody has it.
//!
//! You will learn how a device is put together from parts, and that its rules need no network.
//!
//! Tested as: `cargo run --example edge_hello`
//!
//! You will see the boiler overheat, the heater switched off within one reading, and the records wait in the spool.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use clap::Parser;
use peaberry_core::{Instant, MemoryStorage};
use peaberry_edge::Name;
use peaberry_edge::coffee::{CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, Metric};
use peaberry_edge::fleet::{Fleet, FleetEvent, FleetSettings};
use peaberry_edge::payload::Level;
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::uplink::MemoryBroker;

/// One coffee machine without a network: it measures, obeys a rule at once, and keeps what it has to say.
#[derive(Parser)]
struct Arguments {
    /// What the machine's measurements are drawn from.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let machine = CoffeeMachine::new(Arguments::parse().seed);
    let id = Name::new("m-1")?;
    let device = Device::builder(id.clone())
        .location("by the window")
        .metric(
            Metric::of(machine.sensor(CoffeeMetric::Temperature))
                .every(Duration::from_millis(500))
                .significant(0.2, Duration::from_secs(60))
                .keep_history(),
        )
        .rule(Rule {
            name: Name::new("too.hot")?,
            metric: CoffeeMetric::Temperature.name(),
            condition: Condition::Above(98.0),
            hysteresis: 2.0,
            broken_ms_min: 0,
            is_latched: false,
            level: Level::Critical,
            action: Some(Name::new("heater.off")?),
        });

    // A broker that does not run: nothing is sent, everything else works.
    let broker = MemoryBroker::new(1);
    broker.kill();
    let storage = Arc::new(MemoryStorage::new());
    let mut now = Instant::default();
    let (uplink, site) = (broker.connect("m-1"), Name::new("berlin")?);
    let mut fleet = Fleet::open(
        uplink,
        site,
        storage,
        [device],
        FleetSettings::default(),
        now,
    )?;

    let mut events = Vec::new();
    let mut switched_off_at = None;
    for step in 0..600 {
        if step == 100 {
            println!("{:>5.1} s: the thermostat breaks", step as f64 / 10.0);
            machine.overheat(15.0);
        }
        fleet.turn(&mut Context::from_waker(Waker::noop()), now, &mut events)?;
        for event in events.drain(..) {
            if let FleetEvent::Act { act, .. } = event {
                let at = act.at_ms as f64 / 1000.0;
                println!(
                    "{at:>5.1} s: {} at {:.1} °C: {}",
                    act.alert.rule, act.alert.value, act.action
                );
                machine.overheat(-5.0);
                switched_off_at = Some(act.at_ms);
            }
        }
        now += Duration::from_millis(100);
    }

    let device = fleet.device(&id).ok_or("it is hosted")?;
    let metric = CoffeeMetric::Temperature.name();
    let hottest = device
        .history(&metric)
        .map(|sample| sample.value)
        .fold(0.0, f64::max);
    let spool = fleet.spool(&id).ok_or("it is hosted")?;
    println!(
        "{} readings, at most {hottest:.1} °C, {} records of {} bytes wait",
        device.counts().0,
        spool.records,
        spool.bytes
    );
    assert!(switched_off_at.is_some(), "the rule acts without a network");
    assert!(hottest < 99.5, "within one reading");
    assert!(
        spool.records > 0 && spool.dropped_records == 0,
        "nothing is lost meanwhile"
    );
    Ok(())
}
