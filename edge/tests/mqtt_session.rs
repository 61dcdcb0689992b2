//! What an MQTT uplink promises beside delivery, against a real broker: inbound messages that were not acknowledged come
//! again, those that were do not, filters are subscribed to again, and a client of version 5 takes kilobytes. Skipped where
//! Mosquitto is not installed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

mod broker;

use std::alloc::System;
use std::future::poll_fn;
use std::time::Duration;

use peaberry_edge::uplink::{
    AckToken, Message, MqttSettings, MqttUplink, MqttVersion, Uplink, UplinkEvent,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::broker::Broker;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// By itself a client of version 5 takes 13.5 MiB.
const CLIENT_BYTES_MAX: usize = 256 << 10;

fn live_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

fn connect(broker: &Broker, id: &str, version: MqttVersion) -> MqttUplink {
    let mut settings = MqttSettings::new(id, "127.0.0.1", broker.port);
    settings.version = version;
    settings.backoff_max = Duration::from_millis(200);
    MqttUplink::spawn(&tokio::runtime::Handle::current(), settings).unwrap()
}

/// Events, one after the other.
struct Client {
    uplink: MqttUplink,
    events: Vec<UplinkEvent>,
}

impl Client {
    const fn new(uplink: MqttUplink) -> Self {
        let events = Vec::new();
        Self { uplink, events }
    }

    async fn next(&mut self) -> UplinkEvent {
        if self.events.is_empty() {
            poll_fn(|cx| self.uplink.poll_events(cx, &mut self.events)).await;
        }
        self.events.remove(0)
    }

    /// Whether the session was resumed.
    async fn up(&mut self) -> bool {
        match self.next().await {
            UplinkEvent::Up { is_resumed } => is_resumed,
            other => panic!("{other:?} before it is up"),
        }
    }

    async fn inbound(&mut self) -> (Vec<u8>, AckToken) {
        match self.next().await {
            UplinkEvent::Inbound { message, token } => (message.payload.to_vec(), token.unwrap()),
            other => panic!("{other:?} instead of a message"),
        }
    }

    async fn publish(&mut self, seq: u64, text: &'static str) {
        let message = Message::new("down/commands", text);
        self.uplink.submit(seq, message).unwrap();
        assert_eq!(self.next().await, UplinkEvent::Accepted(seq));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inbound_messages_are_acknowledged_by_hand_and_filters_renewed() {
    let Some(mut broker) = Broker::start(|_| String::new()) else {
        return;
    };
    let story = tokio::time::timeout(PATIENCE, async {
        for version in [MqttVersion::V4, MqttVersion::V5] {
            tell(&mut broker, version).await;
        }
    });
    story.await.expect("nothing takes so long");
}

async fn tell(broker: &mut Broker, version: MqttVersion) {
    let id = format!("machine-{version:?}");
    let mut office = Client::new(connect(broker, &format!("office-{version:?}"), version));
    office.up().await;
    let before = live_bytes();
    let mut machine = Client::new(connect(broker, &id, version));
    machine.uplink.subscribe("down/#");
    assert!(!machine.up().await);
    let bytes = live_bytes().saturating_sub(before);
    println!("{version:?}: {bytes} bytes for a connected client");
    assert!(bytes <= CLIENT_BYTES_MAX, "a client takes {bytes} bytes");

    // The subscription and what is published race: the first word is repeated until it is heard.
    let mut seq = 0;
    loop {
        seq += 1;
        office.publish(seq, "one").await;
        let heard = tokio::time::timeout(Duration::from_millis(200), machine.inbound()).await;
        if let Ok((text, _)) = heard {
            assert_eq!(text, b"one");
            break;
        }
    }
    // It dies before it has dealt with it: the message comes again, and is acknowledged now.
    drop(machine);
    let mut machine = Client::new(connect(broker, &id, version));
    assert!(machine.up().await, "the broker remembers it");
    let (text, token) = machine.inbound().await;
    assert_eq!(text, b"one");
    machine.uplink.acknowledge(token);
    // What is behind it is acknowledged by nobody, and shows that the broker has heard of the acknowledgement before it.
    office.publish(seq + 1, "two").await;
    loop {
        let (text, token) = machine.inbound().await;
        if text == b"two" {
            break;
        }
        machine.uplink.acknowledge(token);
    }
    machine
        .uplink
        .submit(1, Message::new("up/t", "done"))
        .unwrap();
    assert_eq!(machine.next().await, UplinkEvent::Accepted(1));
    drop(machine);
    let mut machine = Client::new(connect(broker, &id, version));
    machine.uplink.subscribe("down/#");
    assert!(machine.up().await);
    assert_eq!(
        machine.inbound().await.0,
        b"two",
        "only what was not acknowledged"
    );

    broker.kill_and_restart();
    for client in [&mut machine, &mut office] {
        assert!(matches!(client.next().await, UplinkEvent::Down { .. }));
        assert!(!client.up().await, "another broker knows nobody");
    }
    loop {
        seq += 2;
        office.publish(seq, "three").await;
        let heard = tokio::time::timeout(Duration::from_millis(200), machine.inbound()).await;
        if let Ok((text, _)) = heard {
            assert_eq!(text, b"three", "the filter was renewed");
            break;
        }
    }
}
