//! Messages that are too long, one way or the other, and windows that are too narrow, against a real broker: they are told,
//! and nothing else waits for them. Skipped where Mosquitto is not installed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it sees, and ends at what should not be"
)]

mod broker;

use std::future::poll_fn;
use std::time::Duration;

use peaberry_edge::uplink::{
    Message, MqttSettings, MqttUplink, MqttVersion, SubmitError, Uplink, UplinkEvent,
};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use self::broker::Broker;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(broker: &Broker, id: &str, version: MqttVersion) -> MqttUplink {
    let mut settings = MqttSettings::new(id, "127.0.0.1", broker.port);
    settings.version = version;
    settings.backoff_min = Duration::from_millis(10);
    settings.backoff_max = Duration::from_millis(100);
    MqttUplink::spawn(&tokio::runtime::Handle::current(), settings).unwrap()
}

async fn next(uplink: &mut MqttUplink) -> Vec<UplinkEvent> {
    let mut events = Vec::new();
    poll_fn(|cx| uplink.poll_events(cx, &mut events)).await;
    events
}

async fn up(uplink: &mut MqttUplink) {
    let events = next(uplink).await;
    assert!(matches!(events[0], UplinkEvent::Up { .. }), "{events:?}");
}

/// Publishes more than our uplink would, and waits until the broker has it.
async fn publish_too_long(broker: &Broker) {
    let mut options = MqttOptions::new("stranger", "127.0.0.1", broker.port);
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = AsyncClient::new(options, 10);
    let (topic, payload) = ("down/commands", vec![7; 300 << 10]);
    client
        .publish(topic, QoS::AtLeastOnce, false, payload)
        .await
        .unwrap();
    while !matches!(
        connection.poll().await.unwrap(),
        Event::Incoming(Packet::PubAck(_))
    ) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_over_the_limit_costs_one_connection_and_not_every_next() {
    for version in [MqttVersion::V4, MqttVersion::V5] {
        let Some(broker) = Broker::start(|_| String::new()) else {
            return;
        };
        let story = tokio::time::timeout(PATIENCE, too_long_to_us(&broker, version));
        story.await.expect("the session does not hold it for ever");
    }
}

async fn too_long_to_us(broker: &Broker, version: MqttVersion) {
    let mut machine = connect(broker, "machine", version);
    let mut office = connect(broker, "office", version);
    machine.subscribe("down/#");
    up(&mut machine).await;
    up(&mut office).await;
    // Until the first word is heard the subscription may not be there.
    let (mut seq, mut is_sent, mut downs) = (0, false, 0);
    loop {
        seq += 1;
        let word = if is_sent { "after" } else { "before" };
        let _ = office.submit(seq, Message::new("down/commands", word));
        let _ = next(&mut office).await;
        let heard = tokio::time::timeout(Duration::from_millis(50), next(&mut machine)).await;
        let mut is_heard = false;
        for event in heard.unwrap_or_default() {
            match event {
                UplinkEvent::Inbound { message, token } => {
                    machine.acknowledge(token.unwrap());
                    is_heard |= message.payload == word.as_bytes();
                }
                UplinkEvent::Down { reason } => {
                    downs += 1;
                    assert!(reason.contains("over the limit"), "{reason}");
                }
                _ => {}
            }
        }
        match (is_heard, is_sent) {
            (true, true) => break,
            (true, false) => {
                publish_too_long(broker).await;
                is_sent = true;
            }
            _ => {}
        }
    }
    println!("{version:?}: {downs} connections lost");
    // In version 5 the broker knows our limit, and keeps it from us.
    assert!(downs <= usize::from(version == MqttVersion::V4), "{downs}");
    drop(machine);
    // It comes back to a session in which nothing waits for it.
    let mut machine = connect(broker, "machine", version);
    assert!(matches!(
        next(&mut machine).await[0],
        UplinkEvent::Up { is_resumed: true }
    ));
    machine.submit(1, Message::new("up/t", "here")).unwrap();
    loop {
        let events = next(&mut machine).await;
        let is_down = |event: &UplinkEvent| matches!(event, UplinkEvent::Down { .. });
        assert!(!events.iter().any(is_down), "{events:?}");
        if events.contains(&UplinkEvent::Accepted(1)) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_says_it_takes_is_kept_to() {
    let config = "max_inflight_messages 10\nmax_packet_size 4096".to_owned();
    let Some(broker) = Broker::start(|_| config) else {
        return;
    };
    let story = tokio::time::timeout(PATIENCE, narrow(&broker));
    story.await.expect("nothing takes so long");
}

async fn narrow(broker: &Broker) {
    let mut machine = connect(broker, "machine", MqttVersion::V5);
    up(&mut machine).await;
    assert!((1..=10).contains(&machine.room()), "{}", machine.room());
    let refused = machine.submit(0, Message::new("up/t", vec![7; 10_000]));
    assert!(
        matches!(refused, Err(SubmitError::TooLong { bytes_max, .. }) if bytes_max < 4096),
        "{refused:?}"
    );
    let (mut sent, mut accepted) = (0, Vec::new());
    while accepted.len() < 200 {
        while machine.room() > 0 && sent < 200 {
            sent += 1;
            let topic = "up/t";
            machine
                .submit(sent, Message::new(topic, vec![7; 3_900]))
                .unwrap();
            // Subscriptions take numbers, too.
            machine.subscribe(&format!("down/{sent}"));
        }
        for event in next(&mut machine).await {
            match event {
                UplinkEvent::Accepted(seq) => accepted.push(seq),
                other => panic!("{other:?}"),
            }
        }
    }
    accepted.sort_unstable();
    assert_eq!(accepted, (1..=200).collect::<Vec<_>>());
}
