use std::time::Duration;

use peaberry_core::{Channel, Instant, MemoryStorage, ProtocolId, Subspace, Timestamp};

use super::*;
use crate::coffee::{CoffeeMachine, CoffeeMetric, Fault};
use crate::ops::Operator;
use crate::payload::Level;
use crate::rules::{Condition, Rule};
use crate::sensor::SENSOR_FAILED;
use crate::twin::TwinValue;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn start(builder: DeviceBuilder) -> Device {
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    builder
        .start(
            &MemoryStorage::new(),
            &space,
            BootEpoch::FIRST,
            Instant::default(),
        )
        .unwrap()
}

fn too_hot() -> Rule<Name> {
    Rule {
        name: name("too.hot"),
        metric: name("boiler.temperature"),
        condition: Condition::Above(100.0),
        hysteresis: 2.0,
        broken_ms_min: 0,
        is_latched: false,
        level: Level::Critical,
        action: Some(name("heater.off")),
    }
}

/// Polls it through `seconds` seconds, whenever it wants.
fn run(device: &mut Device, seconds: u64, out: &mut Outlet<Name>) {
    while device.due_ms() <= seconds * 1000 {
        device.poll(device.due_ms(), Surroundings::default(), out);
    }
}

#[test]
fn readings_come_in_batches_and_health_in_its_rhythm() {
    let machine = CoffeeMachine::new(3);
    let mut device = start(
        Device::builder(name("m"))
            .metric(Metric::of(machine.sensor(CoffeeMetric::Water)).keep_history())
            .heartbeat_every(Duration::from_secs(20))
            .batch(Duration::from_secs(10), 100),
    );
    let mut out = Outlet::default();
    run(&mut device, 60, &mut out);
    let health = out
        .payloads
        .iter()
        .filter(|p| matches!(p, Payload::Health(_)));
    assert_eq!(health.count(), 4);
    let batches: Vec<_> = out
        .payloads
        .iter()
        .filter_map(|payload| match payload {
            Payload::Readings(readings) => Some(readings.columns[0].len()),
            _ => None,
        })
        .collect();
    assert_eq!(batches, [11, 11, 11, 11, 11]);
    assert_eq!(device.history(&name("water")).count(), 61);
    assert_eq!(device.counts(), (61, 0));
}

#[test]
fn a_sensor_that_fails_raises_one_alert_and_nothing_else_stops() {
    let machine = CoffeeMachine::new(3);
    let mut device = start(
        Device::builder(name("m"))
            .metric(Metric::of(machine.sensor(CoffeeMetric::Temperature)))
            .metric(Metric::of(machine.sensor(CoffeeMetric::Water)))
            .heartbeat_every(Duration::from_secs(10)),
    );
    let mut out = Outlet::default();
    machine.damage(CoffeeMetric::Temperature, Some(Fault::NotANumber));
    run(&mut device, 10, &mut out);
    machine.damage(CoffeeMetric::Temperature, None);
    run(&mut device, 11, &mut out);
    let alerts: Vec<_> = out
        .payloads
        .iter()
        .filter_map(|payload| match payload {
            Payload::Alert(alert) => Some((alert.rule.as_str(), alert.is_raised)),
            _ => None,
        })
        .collect();
    assert_eq!(alerts, [(SENSOR_FAILED, true), (SENSOR_FAILED, false)]);
    let health = out.payloads.iter().rev().find_map(|payload| match payload {
        Payload::Health(health) => Some(health),
        _ => None,
    });
    assert_eq!(health.unwrap().sensor_errors, 11);
    assert_eq!(health.unwrap().alerts_active, 1);
    assert_eq!(device.counts().0, 11 + 1 + 1);
}

#[test]
fn a_rule_acts_on_the_sample_and_a_repeated_backlog_does_not() {
    let fed = name("boiler.temperature");
    let mut device = start(
        Device::builder(name("m"))
            .metric(Metric::fed(fed.clone()))
            .rule(too_hot()),
    );
    let mut out = Outlet::default();
    let at = |boot: BootEpoch, since_boot_ms| DeviceTime {
        boot,
        since_boot_ms,
    };
    let present = device.boot();
    let other = BootEpoch::new(present.get() + 1).unwrap();
    let backlog = [(1, 90.0), (2, 101.0), (3, 95.0), (4, 102.0)];
    for _ in 0..3 {
        for (at_ms, value) in backlog {
            assert!(device.feed(&fed, at(present, at_ms), value, &mut out));
            // Nor does that of another start, whose times mean nothing here.
            assert!(device.feed(&fed, at(other, at_ms + 10), 200.0, &mut out));
        }
    }
    let acts: Vec<_> = out
        .acts
        .iter()
        .map(|act| (act.at_ms, act.action.as_str()))
        .collect();
    assert_eq!(acts, [(2, "heater.off"), (4, "heater.off")]);
    assert_eq!(out.payloads.len(), 3);
    assert_eq!(device.counts().0, 4);
    assert!(!device.feed(&name("other"), at(present, 5), 1.0, &mut out));
}

#[test]
fn ticks_that_were_missed_are_not_made_up_for() {
    let machine = CoffeeMachine::new(3);
    let metric = Metric::of(machine.sensor(CoffeeMetric::Water));
    let mut device = start(Device::builder(name("m")).metric(metric));
    let mut out = Outlet::default();
    device.poll(0, Surroundings::default(), &mut out);
    device.poll(7_500, Surroundings::default(), &mut out);
    assert_eq!(device.counts(), (2, 1));
    assert_eq!(device.due_ms(), 8_000);
}

#[test]
fn settings_are_applied_or_refused_with_a_reason() {
    let machine = CoffeeMachine::new(3);
    let metric = Metric::of(machine.sensor(CoffeeMetric::Water));
    let mut device = start(Device::builder(name("m")).metric(metric));
    let mut out = Outlet::default();
    device.poll(0, Surroundings::default(), &mut out);
    let mut set = |key: &str, value: TwinValue| device.configure(&name(key), &value);
    assert_eq!(
        set("config.period_ms.water", 250.into()),
        Configured::Applied
    );
    assert_eq!(
        set("config.status", "maintenance".into()),
        Configured::Applied
    );
    assert_eq!(set("colour", "red".into()), Configured::NotASetting);
    for (key, value) in [
        ("config.period_ms.water", 0.into()),
        ("config.period_ms.gold", 5.into()),
        ("config.heartbeat_ms", 1.5.into()),
        ("config.heartbeat_ms", 99.into()),
        ("config.status", "offline".into()),
        ("config.colour", true.into()),
    ] {
        assert!(matches!(set(key, value), Configured::Refused(_)), "{key}");
    }
    assert_eq!(device.due_ms(), 250);
    assert_eq!(device.status(), Status::Maintenance);
}

#[test]
fn a_device_built_against_itself_is_refused() {
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    let storage = MemoryStorage::new();
    let try_start = |builder: DeviceBuilder| {
        builder.start(&storage, &space, BootEpoch::FIRST, Instant::default())
    };
    let twice = Device::builder(name("m"))
        .metric(Metric::fed(name("a")))
        .metric(Metric::fed(name("a")));
    let error = try_start(twice).unwrap_err();
    assert_eq!(error.to_string(), "device is malformed: m measures a twice");
    let empty = Device::builder(name("m")).batch(Duration::ZERO, 0);
    assert!(try_start(empty).is_err());
    let filter = Metric::fed(name("a")).significant(f64::NAN, Duration::from_secs(1));
    assert!(try_start(Device::builder(name("m")).metric(filter)).is_err());
}

#[test]
fn wall_time_is_learned_and_told() {
    let mut device = start(Device::builder(name("m")));
    assert_eq!(device.wall_ms(5), None);
    let now = Instant::default() + Duration::from_secs(2);
    device.observe_time(
        now,
        Timestamp::from_unix_nanos(10_000_000_000),
        Duration::ZERO,
    );
    assert_eq!(device.wall_ms(2_500), Some(10_500));
    let mut out = Outlet::default();
    device.heartbeat(3_000, Surroundings::default(), &mut out);
    assert!(
        matches!(&out.payloads[0], Payload::Health(health) if health.wall_offset_ms == Some(8_000))
    );
}

/// What a watch and a detector find is told with the sample itself, whatever the filter thinks of it, and once.
#[test]
fn a_watch_and_a_detector_raise_their_alert_once_and_before_the_filter() {
    use crate::anomaly::AnomalySettings;
    use crate::ops::Cusum;

    const QUARTER_MS: u64 = 900_000;
    const DAY: u64 = 96;
    const SPIKE: u64 = 5 * DAY + 40;
    let queue = name("queue");
    let mut cusum = Cusum::new(20.0, 5.0, 30.0).unwrap();
    let metric = Metric::fed(queue.clone())
        .watch(name("queue.shift"), Level::Critical, move |sample| {
            let shift = cusum.push(sample)?.shift;
            shift.map(|_| sample.value)
        })
        .anomalies(name("queue.unusual"), AnomalySettings::default())
        .unwrap()
        .significant(1_000.0, Duration::from_secs(86_400 * 30));
    let mut device = start(Device::builder(name("m")).metric(metric));
    let mut out = Outlet::default();
    for quarter in 1..8 * DAY {
        let value = if quarter == SPIKE {
            60.0
        } else {
            20.0 + f64::from(u32::try_from(quarter * 7 % 5).unwrap()) - 2.0
        };
        let (boot, since_boot_ms) = (device.boot(), quarter * QUARTER_MS);
        let made = DeviceTime {
            boot,
            since_boot_ms,
        };
        // Twice: whoever hands in may repeat himself.
        for _ in 0..2 {
            assert!(device.feed(&queue, made, value, &mut out));
        }
        let alerts = out.payloads.drain(..).filter_map(|payload| match payload {
            Payload::Alert(alert) => Some(alert),
            _ => None,
        });
        let alerts: Vec<_> = alerts.collect();
        if quarter != SPIKE {
            assert!(alerts.is_empty(), "{quarter}: {alerts:?}");
            continue;
        }
        let [watched, found] = &alerts[..] else {
            panic!("{alerts:?}");
        };
        let alert = Alert {
            rule: name("queue.shift"),
            metric: queue.clone(),
            level: Level::Critical,
            is_raised: true,
            value: 60.0,
        };
        assert_eq!(*watched, alert);
        let score = found.value;
        assert!(score >= AnomalySettings::default().threshold, "{score}");
        let alert = Alert {
            rule: name("queue.unusual"),
            level: Level::Warning,
            value: score,
            ..alert
        };
        assert_eq!(*found, alert);
    }
}

/// A smoothing that has nothing to say yet must not let the raw sample through to the rules.
#[test]
fn rules_judge_nothing_while_the_smoothing_keeps_the_sample() {
    struct Pairs(Option<f64>);

    impl Operator for Pairs {
        type Output = Sample;

        fn push(&mut self, sample: Sample) -> Option<Sample> {
            let Some(first) = self.0.take() else {
                self.0 = Some(sample.value);
                return None;
            };
            Some(Sample::new(
                sample.at_ms,
                f64::midpoint(first, sample.value),
            ))
        }
    }

    let fed = name("boiler.temperature");
    let mut device = start(
        Device::builder(name("m"))
            .metric(Metric::fed(fed.clone()).smooth(Pairs(None)))
            .rule(too_hot()),
    );
    let mut out = Outlet::default();
    let mut feed = |at_ms, value| {
        let at = DeviceTime {
            boot: BootEpoch::FIRST,
            since_boot_ms: at_ms,
        };
        device.feed(&fed, at, value, &mut out);
        out.acts.len()
    };
    // An outlier of one sample is what it is smoothed for.
    assert_eq!(feed(1, 150.0), 0);
    assert_eq!(feed(1, 150.0), 0, "nor when it comes again");
    assert_eq!(feed(2, 20.0), 0);
    assert_eq!(feed(3, 110.0), 0);
    assert_eq!(feed(4, 100.0), 1, "their mean is too hot");
    assert_eq!(device.counts().0, 4);
}

/// An alarm that waits for somebody to see it waits on after a loss of power, and fires nothing again.
#[test]
fn latched_rules_are_raised_again_after_a_restart_and_fire_nothing() {
    use peaberry_core::{Batch, Durability, Storage};

    let (storage, fed) = (MemoryStorage::new(), name("boiler.temperature"));
    let space = Subspace::of(Channel::new(ProtocolId(2001), 0));
    let mut out = Outlet::default();
    let start = |number: u64| {
        let rule = Rule {
            is_latched: true,
            ..too_hot()
        };
        let builder = Device::builder(name("m"))
            .metric(Metric::fed(fed.clone()))
            .rule(rule);
        let boot = BootEpoch::new(number).unwrap();
        builder.start(&storage, &space, boot, Instant::default())
    };
    let save = |device: &Device, out: &mut Outlet<Name>| {
        assert!(std::mem::take(&mut out.has_latched));
        let mut batch = Batch::new();
        device.save_latches(&space, &mut batch);
        storage.commit(&batch, Durability::Synced).unwrap();
    };
    let raised = |device: &Device| device.rules.raised().count();
    let feed = |device: &mut Device, at_ms, value, out: &mut Outlet<Name>| {
        let boot = device.boot();
        let since_boot_ms = at_ms;
        device.feed(
            &fed,
            DeviceTime {
                boot,
                since_boot_ms,
            },
            value,
            out,
        );
    };

    let mut device = start(1).unwrap();
    feed(&mut device, 1, 120.0, &mut out);
    assert_eq!(out.acts.len(), 1);
    save(&device, &mut out);

    let mut device = start(2).unwrap();
    assert_eq!(raised(&device), 1);
    feed(&mut device, 1, 121.0, &mut out);
    assert_eq!(out.acts.len(), 1, "it has been done");
    assert_eq!(
        device.acknowledge(&name("too.hot"), &mut out),
        Acknowledged::StillBroken
    );
    save(&device, &mut out);

    let mut device = start(3).unwrap();
    assert_eq!(raised(&device), 1);
    feed(&mut device, 1, 90.0, &mut out);
    assert_eq!(raised(&device), 0, "somebody had seen it");
    save(&device, &mut out);
    assert_eq!(raised(&start(4).unwrap()), 0);
}

/// Whoever may desire settings of a device must not have it make a thousand records a second, each with a sync of its own.
#[test]
fn readings_in_quick_succession_wait_for_one_another() {
    let metric = Metric::of(CoffeeMachine::new(1).sensor(CoffeeMetric::Water));
    let mut device = start(Device::builder(name("m")).metric(metric));
    let mut set = |key: &str, ms: i64| device.configure(&name(key), &ms.into());
    let period = "config.period_ms.water";
    assert_eq!(set("config.batch_ms", 0), Configured::Applied);
    assert!(matches!(set(period, 1), Configured::Refused(_)));
    assert_eq!(set(period, 100), Configured::Applied);
    assert_eq!(set("config.batch_ms", 100), Configured::Applied);
    assert_eq!(set(period, 1), Configured::Applied);
    assert!(matches!(set("config.batch_ms", 99), Configured::Refused(_)));
}
