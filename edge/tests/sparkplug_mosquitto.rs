//! Birth and death of a Sparkplug node over a real broker. Skipped where Mosquitto is not installed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

mod broker;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_edge::Name;
use peaberry_edge::sparkplug::wire::{Payload, Value};
use peaberry_edge::sparkplug::{EdgeNode, MessageType, Outgoing, SparkplugTopic};
use peaberry_edge::uplink::{
    Message, MqttSettings, MqttUplink, MqttVersion, Qos, Uplink, UplinkEvent,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use self::broker::Broker;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A wire to the broker that can be cut. Who comes while it is waits until it is mended.
struct Wire {
    port: u16,
    is_cut: watch::Sender<bool>,
}

impl Wire {
    async fn lay(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_cut, cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, broker, cut.clone()));
            }
        });
        Self { port, is_cut }
    }
}

async fn carry(mut near: TcpStream, broker: u16, mut cut: watch::Receiver<bool>) {
    let is_whole = cut.wait_for(|is_cut| !is_cut).await.is_ok();
    if is_whole && let Ok(mut far) = TcpStream::connect(("127.0.0.1", broker)).await {
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = cut.wait_for(|is_cut| *is_cut) => {}
        }
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn settings(port: u16, id: &str, version: MqttVersion) -> MqttSettings {
    let mut settings = MqttSettings::new(id, "127.0.0.1", port);
    settings.version = version;
    settings.backoff_min = Duration::from_millis(10);
    settings.backoff_max = Duration::from_millis(100);
    settings
}

/// A client, and what it has heard and nobody has looked at.
struct Client {
    uplink: MqttUplink,
    heard: Vec<UplinkEvent>,
}

impl Client {
    const fn new(uplink: MqttUplink) -> Self {
        let heard = Vec::new();
        Self { uplink, heard }
    }

    async fn next(&mut self) -> UplinkEvent {
        while self.heard.is_empty() {
            poll_fn(|cx| self.uplink.poll_events(cx, &mut self.heard)).await;
        }
        self.heard.remove(0)
    }

    async fn up(&mut self) {
        while !matches!(self.next().await, UplinkEvent::Up { .. }) {}
    }

    /// The next message, which is acknowledged.
    async fn message(&mut self) -> Message {
        loop {
            if let UplinkEvent::Inbound { message, token } = self.next().await {
                if let Some(token) = token {
                    self.uplink.acknowledge(token);
                }
                return message;
            }
        }
    }

    /// A host that hears everything of a group.
    async fn host(settings: MqttSettings, group: &Name) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let mut host = Self::new(MqttUplink::spawn(&runtime, settings).unwrap());
        host.uplink.subscribe(&format!("spBv1.0/{group}/#"));
        host.up().await;
        // What it says itself comes back once it is subscribed.
        let echo = Message::new(format!("spBv1.0/{group}/echo"), "echo");
        host.uplink.submit(0, echo.clone()).unwrap();
        assert_eq!(host.message().await.topic, echo.topic);
        host
    }

    /// What the node says of itself next, and the number of the connection.
    async fn hears(&mut self) -> (MessageType, u64) {
        let message = self.message().await;
        assert!(!message.is_retained);
        let kind = SparkplugTopic::parse(&message.topic).unwrap().kind;
        let metrics = Payload::decode(&message.payload).unwrap().metrics;
        let number = metrics.iter().find_map(|metric| match &metric.value {
            Some(Value::Long(number)) if metric.name.as_deref() == Some("bdSeq") => Some(*number),
            _ => None,
        });
        (kind, number.unwrap())
    }
}

/// Says that the node is there, as often as it is connected.
async fn be_born(node: &Mutex<EdgeNode>, client: &mut Client) {
    client.up().await;
    let Outgoing { topic, payload } = node.lock().birth(1_000);
    let mut birth = Message::new(topic, payload);
    birth.qos = Qos::AtMostOnce;
    client.uplink.submit(1, birth).unwrap();
}

/// The node is born; its connection is lost, and the broker says so with the number of that birth; it is born again with the
/// next.
async fn born_and_dead(broker: &Broker, version: MqttVersion) {
    let group = name(&format!("group-{version:?}"));
    let id = |who: &str| format!("{version:?}-{who}");
    let mut host = Client::host(settings(broker.port, &id("host"), version), &group).await;
    let wire = Wire::lay(broker.port).await;
    let node = Arc::new(Mutex::new(EdgeNode::new(group, name("gateway"))));
    let connecting = node.clone();
    let uplink = MqttUplink::spawn_with_will(
        &tokio::runtime::Handle::current(),
        settings(wire.port, &id("gateway"), version),
        move || Some(connecting.lock().connecting()),
    );
    let mut client = Client::new(uplink.unwrap());
    for number in 0..3 {
        be_born(&node, &mut client).await;
        assert_eq!(host.hears().await, (MessageType::NodeBirth, number));
        wire.is_cut.send_replace(true);
        assert_eq!(host.hears().await, (MessageType::NodeDeath, number));
        wire.is_cut.send_replace(false);
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_is_dead_by_the_number_of_its_birth_and_born_again_with_the_next() {
    let Some(broker) = Broker::start(|_| String::new()) else {
        return;
    };
    for version in [MqttVersion::V4, MqttVersion::V5] {
        let story = born_and_dead(&broker, version);
        tokio::time::timeout(PATIENCE, story)
            .await
            .expect("nothing takes so long");
    }
}
