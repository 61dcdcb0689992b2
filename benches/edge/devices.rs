//! Whole devices in one fleet: a sensor that is smoothed, judged and remembered, orders, a twin, a spool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use peaberry_core::{Clock, MemoryStorage, SystemClock};
use peaberry_edge::Name;
use peaberry_edge::coffee::{self, CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, DeviceBuilder, Metric};
use peaberry_edge::fleet::{Fleet, FleetEvent, FleetSettings, FleetStatus, FleetThread};
use peaberry_edge::ops::Ewma;
use peaberry_edge::order::Recipes;
use peaberry_edge::payload::Level;
use peaberry_edge::rules::{Condition, Rule};
use peaberry_edge::spool::{AckLevel, SpoolSettings};
use peaberry_edge::uplink::{MqttSettings, MqttUplink};

use crate::Failure;
use crate::child::{HEARTBEAT, PERIOD, Task, Watch};
use crate::rate::name;

/// In so many groups, evenly over the period.
const GROUPS: u32 = 100;

/// What all devices have in common, once for all.
struct Model {
    recipes: Recipes,
    capabilities: [Name; 5],
    rule: Rule<Name>,
}

impl Model {
    fn new() -> Self {
        Self {
            recipes: Recipes::from(coffee::recipes()),
            capabilities: coffee::capabilities(),
            rule: Rule {
                name: name("too.hot"),
                metric: CoffeeMetric::Temperature.name(),
                condition: Condition::Above(98.0),
                hysteresis: 2.0,
                broken_ms_min: 0,
                is_latched: false,
                level: Level::Critical,
                action: Some(name("heater.off")),
            },
        }
    }
}

fn device(number: usize, model: &Model) -> Result<DeviceBuilder, Failure> {
    let machine = CoffeeMachine::new(number as u64);
    let metric = Metric::of(machine.sensor(CoffeeMetric::Temperature))
        .every(PERIOD)
        .smooth(Ewma::new(0.3)?)
        .keep_history();
    let phase = PERIOD / GROUPS * (number as u32 % GROUPS);
    Ok(Device::builder(name(&format!("machine-{number}")))
        .metric(metric)
        .rule(model.rule.clone())
        .takes_orders(model.recipes.clone(), model.capabilities.clone())
        .has_twin()
        .heartbeat_every(PERIOD * HEARTBEAT)
        .batch(Duration::ZERO, 100)
        .phase(phase))
}

fn uplink(task: Task, number: usize) -> MqttUplink {
    let mut settings = MqttSettings::new(&format!("line-{number}"), "127.0.0.1", task.port);
    settings.is_clean = true;
    if task.connections == task.devices {
        settings.window = 4;
    }
    let uplink = MqttUplink::spawn(&tokio::runtime::Handle::current(), settings);
    uplink.expect("the settings can be told")
}

fn open(task: Task, clock: &SystemClock) -> Result<Fleet<MqttUplink>, Failure> {
    let settings = FleetSettings {
        spool: SpoolSettings {
            keep_until: AckLevel::Broker,
            ..SpoolSettings::default()
        },
    };
    let model = Model::new();
    // One after the other: nothing is left behind of their making.
    let devices =
        (0..task.devices).map(|number| device(number, &model).expect("a device can be built"));
    let uplinks = (0..task.connections).map(|number| uplink(task, number));
    let (uplinks, storage) = (uplinks.collect(), Arc::new(MemoryStorage::new()));
    let (site, now) = (name("site"), clock.now());
    Ok(Fleet::open_over(
        uplinks, site, storage, devices, settings, now,
    )?)
}

pub(crate) async fn run(task: Task) -> Result<(), Failure> {
    let mut watch = Watch::start();
    let clock = Arc::new(SystemClock::new());
    let fleet = open(task, &clock)?;
    let ups = Arc::new(AtomicUsize::new(0));
    let counted = ups.clone();
    let count = move |event, _: &_| {
        if let FleetEvent::Link { is_up: true, .. } = event {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let thread = FleetThread::start(fleet, clock.clone(), count)?;
    while ups.load(Ordering::Relaxed) < task.connections {
        tokio::time::sleep(PERIOD / GROUPS).await;
    }
    tokio::time::sleep(PERIOD).await;
    watch.restart_cpu();
    let began = clock.now();
    tokio::time::sleep(PERIOD * task.periods).await;
    watch.tell(clock.now().since(began));
    check(task, thread.stop()?.status())
}

/// # Errors
///
/// Something of what is compared was not done: readings, or the heartbeats among them.
fn check(task: Task, status: FleetStatus) -> Result<(), Failure> {
    let (devices, periods) = (task.devices as u64, u64::from(task.periods));
    let readings = devices * (periods + 1);
    // A device's first heartbeat comes before what is measured.
    let heartbeats = devices * (periods / u64::from(HEARTBEAT) + 1);
    let is_done = status.readings >= readings * 9 / 10
        && status.sent_records >= (readings + heartbeats) * 9 / 10
        && status.spooled_records <= readings / 10;
    if !is_done {
        let due = format!("{readings} readings and {heartbeats} heartbeats were due");
        return Err(format!("{due}: {status:?}").into());
    }
    Ok(())
}
