//! What ten thousand devices on sixteen uplinks take: spools, couriers, their store, and a reading and a heartbeat of each on
//! its way.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use peaberry_core::{Batch, Channel, Instant, MemoryStorage};
use peaberry_edge::Name;
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::{Column, Health, Payload, Readings};
use peaberry_edge::spool::{AckLevel, SPOOL, Spool, SpoolSettings};
use peaberry_edge::uplink::{MemoryBroker, MemoryUplink};

const DEVICES: usize = 10_000;
const UPLINKS: usize = 16;
const BYTES_MAX: usize = 6_553;

fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1_024)
}

fn courier(
    at: usize,
    broker: &MemoryBroker,
    storage: &MemoryStorage,
    settings: &Arc<SpoolSettings>,
) -> Courier<MemoryUplink> {
    let site = Name::new("site").unwrap();
    let mut batch = Batch::new();
    let mut open = |device: usize| {
        let owner = Channel::new(SPOOL, device as u64);
        let name = Name::new(&format!("machine-{device}")).unwrap();
        Spool::open(
            storage,
            owner,
            site.clone(),
            name,
            settings.clone(),
            &mut batch,
        )
        .unwrap()
    };
    let devices = (at..DEVICES).step_by(UPLINKS);
    let spools = devices.map(&mut open).collect();
    let uplink = broker.connect(&format!("gateway-{at}"));
    Courier::new(uplink, &site, spools, &batch, Instant::default(), storage).unwrap()
}

fn reading(second: u64) -> Payload {
    let mut column = Column::new(Name::new("boiler.temperature").unwrap());
    column.push(second * 1_000, 93.5).unwrap();
    Payload::Readings(Readings {
        columns: vec![column],
    })
}

#[test]
fn a_device_takes_less_than_its_share() {
    let Some(before) = resident_bytes() else {
        println!("skipped: this system does not tell how much memory a process has");
        return;
    };
    let (broker, storage) = (MemoryBroker::new(1), MemoryStorage::new());
    let settings = Arc::new(SpoolSettings {
        keep_until: AckLevel::Broker,
        ..SpoolSettings::default()
    });
    let mut couriers: Vec<_> = (0..UPLINKS)
        .map(|at| courier(at, &broker, &storage, &settings))
        .collect();
    let mut cx = Context::from_waker(Waker::noop());
    let mut now = Instant::default();
    let mut accepted = 0;
    for round in 0..5 {
        now += Duration::from_secs(5);
        for courier in &mut couriers {
            for device in 0..DEVICES / UPLINKS {
                courier
                    .append(device, now, &storage, reading(round * 5))
                    .unwrap();
                let health = Payload::Health(Health::default());
                courier.append(device, now, &storage, health).unwrap();
            }
            while let std::task::Poll::Ready(report) = courier.turn(&mut cx, now, &storage).unwrap()
            {
                accepted += report.accepted;
            }
        }
    }
    assert_eq!(accepted, 5 * 2 * DEVICES as u64);
    let bytes = resident_bytes().unwrap().saturating_sub(before) / DEVICES;
    println!("{bytes} bytes a device");
    assert!(bytes <= BYTES_MAX, "{bytes} bytes a device");
}
