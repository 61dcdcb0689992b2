//! Against a real broker that is killed: everything arrives once. Skipped where Mosquitto is not installed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

mod broker;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::{Batch, Channel, Clock, MemoryStorage, SystemClock};
use peaberry_edge::collector::{COLLECTOR, Collector, CollectorSettings, Intake};
use peaberry_edge::courier::Courier;
use peaberry_edge::payload::Payload;
use peaberry_edge::spool::{SPOOL, Spool, SpoolSettings};
use peaberry_edge::uplink::{MqttSettings, MqttUplink, MqttVersion};
use peaberry_edge::{Name, Position};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use self::broker::Broker;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn settings(broker: &Broker, id: &str, version: MqttVersion) -> MqttSettings {
    let mut settings = MqttSettings::new(id, "127.0.0.1", broker.port);
    settings.version = version;
    settings.backoff_max = Duration::from_millis(500);
    settings
}

/// Sends `count` records and kills the broker when a third and two thirds have arrived. Answers how many did not arrive, and
/// how many were sent.
/// Each version has a site of its own: the broker may still have what it was sent for another.
async fn ours(broker: &mut Broker, version: MqttVersion, count: u64) -> (u64, u64) {
    let clock = SystemClock::new();
    let site = &format!("{version:?}");
    let uplink = |who: &str| {
        let settings = settings(broker, &format!("{site}-{who}"), version);
        MqttUplink::spawn(&tokio::runtime::Handle::current(), settings).unwrap()
    };
    let (spooled, collected) = (MemoryStorage::new(), MemoryStorage::new());
    let spool_settings = Arc::new(SpoolSettings {
        bytes_max: 256 << 20,
        window_max: 100,
        resend_after: Duration::from_secs(2),
        ..peaberry_edge::fleet::FleetSettings::salted(0).spool
    });
    let mut batch = Batch::new();
    let owner = Channel::new(SPOOL, 0);
    let spool = Spool::open(
        &spooled,
        owner,
        name(site),
        name("m"),
        spool_settings,
        &mut batch,
    );
    let spools = vec![spool.unwrap()];
    let mut courier = Courier::new(
        uplink("m"),
        &name(site),
        spools,
        &batch,
        clock.now(),
        &spooled,
    )
    .unwrap();
    let owner = Channel::new(COLLECTOR, 0);
    let collector =
        Collector::open(&collected, owner, name(site), CollectorSettings::default()).unwrap();
    let mut intake = Intake::new(collector, uplink("fog"));
    let (mut appended, mut arrived, mut kills) = (0, 0, 0);
    let began = clock.now();
    while appended < count || courier.spool(0).unwrap().status().records > 0 {
        assert!(
            clock.now().since(began) < PATIENCE,
            "{arrived} of {count} arrived"
        );
        for _ in 0..200_u64.min(count - appended) {
            let payload = Payload::Custom {
                name: name("c"),
                bytes: Bytes::from_static(&[7; 100]),
            };
            courier.append(0, clock.now(), &spooled, payload).unwrap();
            appended += 1;
        }
        let is_more = appended < count;
        let turn = poll_fn(|cx| {
            let sent = courier.turn(cx, clock.now(), &spooled).unwrap();
            let taken = intake.turn(cx, clock.now(), &collected).unwrap();
            if let Poll::Ready(report) = &taken {
                arrived += report.new;
            }
            let is_idle = sent.is_pending() && taken.is_pending() && !is_more;
            if is_idle {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        });
        // Acknowledgements and repetitions have their times.
        let _ = tokio::time::timeout(Duration::from_millis(20), turn).await;
        tokio::task::yield_now().await;
        if arrived >= count * (kills + 1) / 3 && kills < 2 {
            kills += 1;
            broker.kill_and_restart();
        }
    }
    assert_eq!(kills, 2);
    let mut seen: BTreeSet<Position> = BTreeSet::new();
    let collector = intake.collector();
    let mut from = 0;
    while from < collector.inbox().end {
        for record in collector.records(&collected, from, 1 << 20).unwrap() {
            assert!(
                seen.insert(record.id.position()),
                "{} is there twice",
                record.id
            );
            from += 1;
        }
    }
    let sent = courier.spool(0).unwrap().status().sent_records;
    (count - seen.len() as u64, sent)
}

/// The same with rumqttc alone, sessions kept: how many did not arrive.
async fn rumqttc_alone(broker: &mut Broker, count: u64) -> u64 {
    let options = |id: &str| {
        let mut options = MqttOptions::new(id, "127.0.0.1", broker.port);
        options.set_clean_session(false);
        options
    };
    let (reader, mut reading) = AsyncClient::new(options("raw-reader"), 500);
    let (writer, mut writing) = AsyncClient::new(options("raw-writer"), 500);
    let (subscribed, mut is_subscribed) = tokio::sync::mpsc::unbounded_channel();
    let arrived = Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
    let seen = arrived.clone();
    let reading = tokio::spawn(async move {
        loop {
            match reading.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    let _ = reader.try_subscribe("raw/#", QoS::AtLeastOnce);
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    let _ = subscribed.send(());
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let number: [u8; 8] = publish.payload[..8].try_into().unwrap();
                    seen.lock().insert(u64::from_be_bytes(number));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    is_subscribed.recv().await;
    let (idle, mut is_idle) = tokio::sync::mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        loop {
            match writing.poll().await {
                Ok(_) => {
                    let _ = idle.send(writing.state.inflight());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    let mut kills = 0;
    for number in 0..count {
        let mut payload = vec![7; 150];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        writer
            .publish("raw/t", QoS::AtLeastOnce, false, payload)
            .await
            .unwrap();
        if arrived.lock().len() as u64 >= count * (kills + 1) / 3 && kills < 2 {
            kills += 1;
            broker.kill_and_restart();
        }
    }
    assert_eq!(kills, 2);
    // Until nothing happens any more, neither at the writer nor at the reader.
    let mut before = u64::MAX;
    loop {
        let wrote = tokio::time::timeout(Duration::from_secs(2), is_idle.recv()).await;
        let now = arrived.lock().len() as u64;
        if wrote.is_err() && now == before {
            break;
        }
        before = now;
    }
    reading.abort();
    writing.abort();
    let arrived = arrived.lock().len() as u64;
    count - arrived
}

#[test]
fn a_broker_killed_twice_under_60000_messages_loses_none() {
    let Some(mut broker) = Broker::start(|_| "max_queued_messages 0".to_owned()) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let count = 60_000;
        for version in [MqttVersion::V4, MqttVersion::V5] {
            let (lost, sent) = ours(&mut broker, version, count).await;
            println!("{version:?}: {lost} of {count} lost, {sent} sent");
            assert_eq!(lost, 0);
        }
        let lost = rumqttc_alone(&mut broker, count).await;
        println!("rumqttc alone: {lost} of {count} lost");
    });
}
