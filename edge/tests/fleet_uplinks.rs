//! A fleet over several uplinks: each device goes by its own, nothing is done twice, and no uplink is asked that has nothing to
//! say.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at what should not be"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use peaberry_core::{Instant, MemoryStorage};
use peaberry_edge::Name;
use peaberry_edge::coffee::{CoffeeMachine, CoffeeMetric};
use peaberry_edge::device::{Device, DeviceBuilder, Metric};
use peaberry_edge::fleet::{Fleet, FleetEvent, FleetSettings};
use peaberry_edge::payload::{Action, Command, Wire};
use peaberry_edge::topic::{Lane, Topic};
use peaberry_edge::uplink::{
    LayeredUplink, MemoryBroker, MemoryUplink, Message, Uplink, UplinkEvent, UplinkLayer,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Counts how often it is asked.
struct Counted {
    inner: MemoryUplink,
    polls: Arc<AtomicUsize>,
}

impl UplinkLayer for Counted {
    fn inner(&self) -> &dyn Uplink {
        &self.inner
    }

    fn inner_mut(&mut self) -> &mut dyn Uplink {
        &mut self.inner
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.inner.poll_events(cx, events)
    }
}

/// Some machines that read every 10 s, over some uplinks.
struct Site {
    broker: MemoryBroker,
    listener: MemoryUplink,
    fleet: Fleet<LayeredUplink<Counted>>,
    polls: Arc<AtomicUsize>,
    now: Instant,
    events: Vec<FleetEvent<Name>>,
}

impl Site {
    fn new(devices: usize, uplinks: usize) -> Self {
        let broker = MemoryBroker::new(1);
        let mut listener = broker.connect("listener");
        listener.subscribe("peaberry/1/site/+/up/#");
        let polls: Arc<AtomicUsize> = Arc::default();
        let connect = |number| {
            LayeredUplink::new(Counted {
                inner: broker.connect(&format!("line-{number}")),
                polls: polls.clone(),
            })
        };
        let uplinks = (0..uplinks).map(connect).collect();
        let now = Instant::default();
        let fleet = Fleet::open_over(
            uplinks,
            name("site"),
            Arc::new(MemoryStorage::new()),
            (0..devices).map(device),
            FleetSettings::salted(0),
            now,
        );
        Self {
            fleet: fleet.unwrap(),
            broker,
            listener,
            polls,
            now,
            events: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        self.fleet
            .turn(&mut cx, self.now, &mut self.events)
            .unwrap();
    }

    fn run(&mut self, seconds: u32) {
        for _ in 0..seconds * 10 {
            self.now += Duration::from_millis(100);
            self.turn();
        }
    }

    /// How many messages of each device the listener has had since it was asked last.
    fn heard(&mut self) -> BTreeMap<Name, usize> {
        let (mut heard, mut counts) = (Vec::new(), BTreeMap::new());
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.listener.poll_events(&mut cx, &mut heard);
        for event in heard {
            if let UplinkEvent::Inbound { message, token } = event {
                self.listener.acknowledge(token.unwrap());
                let topic = Topic::parse(&message.topic).unwrap();
                *counts.entry(topic.device).or_default() += 1;
            }
        }
        counts
    }

    fn command(&mut self, device: &str) {
        let topic = Topic {
            site: name("site"),
            device: name(device),
            lane: Lane::Commands,
        };
        let action = Action::Custom {
            name: name("rinse"),
            bytes: b"now".as_slice().into(),
        };
        let command = Command {
            device: name(device),
            action,
        };
        let message = Message::new(topic.to_string(), command.encode());
        self.listener.submit(1, message).unwrap();
    }

    fn rinsed(&self) -> Vec<&str> {
        let rinsed = self.events.iter().filter_map(|event| match event {
            FleetEvent::Custom { device, .. } => Some(device.as_str()),
            _ => None,
        });
        rinsed.collect()
    }
}

fn device(number: usize) -> DeviceBuilder {
    let machine = CoffeeMachine::new(number as u64);
    let metric = Metric::of(machine.sensor(CoffeeMetric::Temperature));
    Device::builder(name(&format!("m-{number}")))
        .metric(metric.every(Duration::from_secs(10)))
        .batch(Duration::ZERO, 1)
}

#[test]
fn a_device_whose_connection_is_cut_is_silent_and_loses_nothing() {
    let mut site = Site::new(3, 3);
    site.run(5);
    assert_eq!(site.fleet.status().uplinks_up, 3);
    let before = site.heard();
    assert_eq!(before.len(), 3);
    site.broker.cut("line-1");
    site.run(60);
    let status = site.fleet.status();
    assert_eq!((status.uplinks_up, status.is_up), (2, false));
    assert_eq!(status.losses, 1);
    let heard = site.heard();
    assert!(!heard.contains_key(&name("m-1")), "{heard:?}");
    assert!(heard[&name("m-0")] >= 6 && heard[&name("m-2")] >= 6);
    let spooled = usize::try_from(site.fleet.spool(&name("m-1")).unwrap().records).unwrap();
    let unsent = spooled - before[&name("m-1")];
    assert!(unsent >= 6, "{unsent} wait");
    site.broker.mend("line-1");
    site.run(1);
    assert_eq!(site.fleet.status().uplinks_up, 3);
    assert!(site.heard()[&name("m-1")] >= unsent);
}

#[test]
fn what_two_gateways_hear_is_done_once() {
    let mut site = Site::new(5, 2);
    site.run(1);
    for device in ["m-0", "m-3", "m-4"] {
        site.command(device);
        site.run(1);
    }
    assert_eq!(site.rinsed(), ["m-0", "m-3", "m-4"]);
}

#[test]
fn with_a_connection_each_only_those_are_asked_that_have_something_to_say() {
    const DEVICES: usize = 300;
    let mut site = Site::new(DEVICES, DEVICES);
    site.run(1);
    assert_eq!(site.fleet.status().uplinks_up, DEVICES);
    site.polls.store(0, Ordering::Relaxed);
    site.command("m-77");
    site.turn();
    assert_eq!(site.rinsed(), ["m-77"]);
    let polls = site.polls.load(Ordering::Relaxed);
    assert!(polls <= 4, "{polls} of {DEVICES} were asked");
}

#[test]
fn a_fleet_without_an_uplink_is_refused() {
    let fleet: Result<Fleet<LayeredUplink<Counted>>, _> = Fleet::open_over(
        Vec::new(),
        name("site"),
        Arc::new(MemoryStorage::new()),
        [device(1)],
        FleetSettings::salted(0),
        Instant::default(),
    );
    assert!(fleet.unwrap_err().to_string().contains("no uplink"));
}
