//! As many messages as one connection gets acknowledged.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use peaberry_core::{Batch, Channel, Clock, DiskOptions, DiskStorage, SystemClock};
use peaberry_edge::Name;
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::{Column, Payload, Readings};
use peaberry_edge::spool::{AckLevel, SPOOL, Spool, SpoolSettings};
use peaberry_edge::uplink::{MqttSettings, MqttUplink};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use crate::broker::Mosquitto;

/// So many messages may be on their way, on both sides.
const WINDOW: u16 = 100;

/// So many records may wait in the spool.
const WAITING_MAX: u64 = 2_000;

/// What one run of one side took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) count: f64,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// Of memory that the process has, for each of `count`.
    pub(crate) resident_bytes: f64,
    /// And what is allocated of it.
    pub(crate) heap_bytes: f64,
}

impl Run {
    pub(crate) fn rate(&self) -> f64 {
        self.count / self.wall.as_secs_f64()
    }

    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count
    }

    pub(crate) fn cpu_percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }

    pub(crate) fn resident_bytes(&self) -> f64 {
        self.resident_bytes
    }

    pub(crate) fn heap_bytes(&self) -> f64 {
        self.heap_bytes
    }
}

/// The CPU time of this process.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("the names of this bench are names")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

/// A record of `readings` readings: one is padded to the length of the peer's message.
fn payload(readings: u64, at: u64) -> Payload {
    if readings == 1 {
        let bytes = vec![7; 120].into();
        return Payload::Custom {
            name: name("c"),
            bytes,
        };
    }
    let mut column = Column::new(name("boiler.temperature"));
    for reading in 0..readings {
        let tenths = u32::try_from(930 + reading % 7).unwrap_or(0);
        let pushed = column.push(at * 1_000 + reading, f64::from(tenths) / 10.0);
        pushed.expect("a column holds a batch");
    }
    Payload::Readings(Readings {
        columns: vec![column],
    })
}

/// `count` records of so many readings each, durable, until the broker has acknowledged all.
pub(crate) fn ours(mosquitto: &Mosquitto, count: u64, readings: u64) -> Run {
    let runtime = runtime();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let disk = DiskStorage::open(folder.path(), DiskOptions::owned_by("bench"));
    let disk = Arc::new(disk.expect("a store can be opened"));
    let clock = SystemClock::new();
    let settings = Arc::new(SpoolSettings {
        bytes_max: 1 << 30,
        window_max: usize::from(WINDOW),
        keep_until: AckLevel::Broker,
        ..SpoolSettings::default()
    });
    let mut batch = Batch::new();
    let owner = Channel::new(SPOOL, 0);
    let (site, device) = (name("site"), name("m"));
    let spool = Spool::open(
        disk.as_ref(),
        owner,
        site.clone(),
        device,
        settings,
        &mut batch,
    );
    let spools = vec![spool.expect("an empty spool opens")];
    let mut uplink = MqttSettings::new("ours", "127.0.0.1", mosquitto.port);
    uplink.window = WINDOW;
    uplink.is_clean = true;
    let uplink = MqttUplink::spawn(runtime.handle(), uplink).expect("the settings can be told");
    let courier = Courier::new(uplink, &site, spools, &batch, clock.now(), disk.as_ref());
    let courier = courier.expect("a courier starts");
    let mut courier = courier
        .sync_beside(disk.clone())
        .expect("a thread can be started");
    runtime.block_on(async {
        let (mut began, mut cpu) = (clock.now(), cpu_time());
        let (mut appended, mut accepted) = (0, 0);
        let mut is_running = false;
        while accepted < count {
            if courier.is_up() && !is_running {
                is_running = true;
                (began, cpu) = (clock.now(), cpu_time());
            }
            // As a device has them whose link is slower than it is. Half of them share a sync.
            let waiting = appended - accepted;
            let until = match is_running && waiting <= WAITING_MAX / 2 {
                true => count.min(accepted + WAITING_MAX),
                false => appended,
            };
            while appended < until {
                let made =
                    courier.append(0, clock.now(), disk.as_ref(), payload(readings, appended));
                made.expect("there is room");
                appended += 1;
            }
            let turned = poll_fn(|cx| match courier.turn(cx, clock.now(), disk.as_ref()) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(report)) => Poll::Ready(report),
                Err(error) => panic!("{error}"),
            });
            accepted += turned.await.accepted;
            tokio::task::yield_now().await;
        }
        Run {
            count: (count * readings) as f64,
            wall: clock.now().since(began),
            cpu: cpu_time().saturating_sub(cpu),
            ..Run::default()
        }
    })
}

/// `count` messages of 150 bytes by rumqttc alone, until the broker has acknowledged all.
pub(crate) fn raw(mosquitto: &Mosquitto, count: u64) -> Run {
    let clock = SystemClock::new();
    let mut options = MqttOptions::new("raw", "127.0.0.1", mosquitto.port);
    options.set_inflight(WINDOW);
    runtime().block_on(async {
        let (client, mut connection) = AsyncClient::new(options, 500);
        while !matches!(
            connection.poll().await,
            Ok(Event::Incoming(Packet::ConnAck(_)))
        ) {}
        let (began, cpu) = (clock.now(), cpu_time());
        tokio::spawn(async move {
            for _ in 0..count {
                let payload = vec![7; 150];
                let published = client.publish("raw/t", QoS::AtLeastOnce, false, payload);
                if published.await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        let mut accepted = 0;
        while accepted < count {
            match connection.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => accepted += 1,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
        Run {
            count: count as f64,
            wall: clock.now().since(began),
            cpu: cpu_time().saturating_sub(cpu),
            ..Run::default()
        }
    })
}
