//! Ten thousand devices in a process of their own.

use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use peaberry_core::{Batch, Channel, Clock, MemoryStorage, SystemClock};
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::{Column, Health, Payload, Readings};
use peaberry_edge::spool::{AckLevel, SPOOL, Spool, SpoolSettings};
use peaberry_edge::uplink::{MqttSettings, MqttUplink};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use crate::Failure;
use crate::rate::{Run, cpu_time, name};

pub(crate) const DEVICES: usize = 10_000;

/// Says what this process is to be, when it is a child: side, port, devices, connections.
const CHILD: &str = "PEABERRY_EDGE_UPLINK_CHILD";

/// All devices have their turn once in so many ticks, every 5 s.
const TICKS: usize = 100;
const TICK: Duration = Duration::from_millis(50);

/// Measured over so many ticks, behind one round that is not.
const TICKS_MEASURED: usize = 2 * TICKS;

/// Every so many readings a heartbeat.
const HEARTBEAT: usize = 6;

/// Runs one side in a child, and reads what it says.
pub(crate) fn run(side: &str, port: u16, devices: usize, connections: usize) -> Run {
    let this = std::env::current_exe().expect("a bench has a program");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 20000; exec \"$0\""])
        .arg(this)
        .env(CHILD, format!("{side} {port} {devices} {connections}"))
        .output()
        .expect("a child starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [bytes, cpu, wall] = figures[..] else {
        panic!(
            "the child failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    Run {
        count: devices as f64,
        wall: Duration::from_secs_f64(wall),
        cpu: Duration::from_secs_f64(cpu),
        bytes,
    }
}

/// What this process does as a child.
pub(crate) fn child() -> Option<Result<(), Failure>> {
    let task = std::env::var(CHILD).ok()?;
    let words: Vec<_> = task.split(' ').collect();
    let [side, port, devices, connections] = words[..] else {
        return Some(Err("a child was told nonsense".into()));
    };
    let numbers = (port.parse(), devices.parse(), connections.parse());
    let (Ok(port), Ok(devices), Ok(connections)) = numbers else {
        return Some(Err("a child was told nonsense".into()));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    Some(runtime.map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            match side {
                "ours" => ours(port, devices, connections).await,
                _ => raw(port, devices).await,
            }
        })
    }))
}

fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1_024.0
}

/// What the parent reads.
fn tell(before: f64, devices: usize, cpu: Duration, wall: Duration) {
    let bytes = (resident_bytes() - before) / devices as f64;
    println!("{bytes} {} {}", cpu.as_secs_f64(), wall.as_secs_f64());
}

fn reading() -> Payload {
    let mut column = Column::new(name("boiler.temperature"));
    column.push(1_000, 93.5).expect("there is room");
    Payload::Readings(Readings {
        columns: vec![column],
    })
}

struct Fleet {
    storage: MemoryStorage,
    clock: SystemClock,
    couriers: Vec<Courier<MqttUplink>>,
    accepted: u64,
    /// The last hundred samples of each device, as a ring has them.
    samples: Vec<Box<[(u64, f64); 100]>>,
}

impl Fleet {
    fn new(port: u16, devices: usize, connections: usize) -> Result<Self, Failure> {
        let storage = MemoryStorage::new();
        let clock = SystemClock::new();
        let runtime = tokio::runtime::Handle::current();
        let settings = Arc::new(SpoolSettings {
            keep_until: AckLevel::Broker,
            ..SpoolSettings::default()
        });
        let site = name("site");
        let mut couriers = Vec::new();
        for connection in 0..connections {
            let mut batch = Batch::new();
            let mut spools = Vec::new();
            for device in (connection..devices).step_by(connections) {
                let owner = Channel::new(SPOOL, device as u64);
                let device = name(&format!("machine-{device}"));
                let settings = settings.clone();
                spools.push(Spool::open(
                    &storage,
                    owner,
                    site.clone(),
                    device,
                    settings,
                    &mut batch,
                )?);
            }
            let id = format!("fleet-{connection}");
            let mut uplink = MqttSettings::new(&id, "127.0.0.1", port);
            uplink.window = if connections == devices { 10 } else { 100 };
            uplink.is_clean = true;
            uplink.seed = connection as u64;
            let uplink = MqttUplink::spawn(&runtime, uplink);
            couriers.push(Courier::new(
                uplink,
                &site,
                spools,
                &batch,
                clock.now(),
                &storage,
            )?);
        }
        Ok(Self {
            storage,
            clock,
            couriers,
            accepted: 0,
            samples: vec![Box::new([(0, 0.0); 100]); devices],
        })
    }

    fn turn(&mut self, connection: usize) -> Result<(), Failure> {
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(courier) = self.couriers.get_mut(connection)
            && let Poll::Ready(report) = courier.turn(&mut cx, self.clock.now(), &self.storage)?
        {
            self.accepted += report.accepted;
        }
        Ok(())
    }

    /// The devices of this tick report, and those connections have their turn that have anything to do.
    fn tick(&mut self, tick: usize) -> Result<(), Failure> {
        let (devices, connections) = (self.samples.len(), self.couriers.len());
        for device in (tick % TICKS..devices).step_by(TICKS) {
            let now = self.clock.now();
            if let Some(samples) = self.samples.get_mut(device) {
                samples[tick / TICKS % 100] = (now.as_nanos(), 93.5);
            }
            let Some(courier) = self.couriers.get_mut(device % connections) else {
                continue;
            };
            courier.append(device / connections, now, &self.storage, reading())?;
            if (tick / TICKS + device) % HEARTBEAT == 0 {
                let health = Payload::Health(Health::default());
                courier.append(device / connections, now, &self.storage, health)?;
            }
        }
        if connections < devices {
            return (0..connections).try_for_each(|connection| self.turn(connection));
        }
        // What was sent at the tick before is accepted by now.
        for tick in [tick, tick + TICKS - 1] {
            for connection in (tick % TICKS..devices).step_by(TICKS) {
                self.turn(connection)?;
            }
        }
        Ok(())
    }
}

async fn ours(port: u16, devices: usize, connections: usize) -> Result<(), Failure> {
    let before = resident_bytes();
    let mut fleet = Fleet::new(port, devices, connections)?;
    while !fleet.couriers.iter().all(Courier::is_up) {
        for connection in 0..connections {
            fleet.turn(connection)?;
        }
        tokio::time::sleep(TICK).await;
    }
    let mut interval = tokio::time::interval(TICK);
    let (mut began, mut cpu) = (fleet.clock.now(), cpu_time());
    for tick in 0..TICKS + TICKS_MEASURED {
        if tick == TICKS {
            (began, cpu) = (fleet.clock.now(), cpu_time());
        }
        interval.tick().await;
        fleet.tick(tick)?;
    }
    let wall = fleet.clock.now().since(began);
    tell(before, devices, cpu_time().saturating_sub(cpu), wall);
    let made = (devices * (TICKS + TICKS_MEASURED) / TICKS) as u64;
    if fleet.accepted < made * 9 / 10 {
        return Err(format!("{} of {made} accepted", fleet.accepted).into());
    }
    Ok(())
}

async fn raw(port: u16, devices: usize) -> Result<(), Failure> {
    let before = resident_bytes();
    let clock = SystemClock::new();
    let (up, mut ups) = tokio::sync::mpsc::unbounded_channel();
    let mut clients = Vec::new();
    for device in 0..devices {
        let mut options = MqttOptions::new(format!("raw-{device}"), "127.0.0.1", port);
        options.set_inflight(10);
        options.set_keep_alive(Duration::from_secs(60));
        let (client, mut connection) = AsyncClient::new(options, 10);
        client.try_subscribe(format!("raw/{device}/down"), QoS::AtLeastOnce)?;
        let up = up.clone();
        tokio::spawn(async move {
            loop {
                match connection.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let _ = up.send(());
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        clients.push(client);
    }
    for _ in 0..devices {
        ups.recv().await;
    }
    let mut interval = tokio::time::interval(TICK);
    let (mut began, mut cpu) = (clock.now(), cpu_time());
    for tick in 0..TICKS + TICKS_MEASURED {
        if tick == TICKS {
            (began, cpu) = (clock.now(), cpu_time());
        }
        interval.tick().await;
        for device in (tick % TICKS..devices).step_by(TICKS) {
            let Some(client) = clients.get(device) else {
                continue;
            };
            let payload = vec![7; 60];
            let topic = format!("raw/{device}/up");
            client
                .publish(topic, QoS::AtLeastOnce, false, payload)
                .await?;
            if (tick / TICKS + device) % HEARTBEAT == 0 {
                let topic = format!("raw/{device}/health");
                client
                    .publish(topic, QoS::AtLeastOnce, false, vec![7; 40])
                    .await?;
            }
        }
    }
    let wall = clock.now().since(began);
    tell(before, devices, cpu_time().saturating_sub(cpu), wall);
    Ok(())
}
