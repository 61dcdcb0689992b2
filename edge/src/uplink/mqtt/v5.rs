use rumqttc::v5::mqttbytes::Error as MqttError;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, Filter, LastWill, Packet, PubAckReason, Publish,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions, StateError};
use rumqttc::{NetworkOptions, Outgoing};

use super::client::client;
use super::{
    ACKS_MAX, EVENTS_ROOM, End, MqttSettings, PACKET_BYTES_MAX, Requests, SUBSCRIPTIONS_SLACK,
    Session, Shared, Takes, chain,
};
use crate::uplink::{Message, Qos};

/// How long a broker keeps a session that is not clean: a week.
const SESSION_SECONDS: u32 = 7 * 24 * 3_600;

client!(Publish::new("", QoS::AtLeastOnce, Vec::new(), None));

/// One connection, from its beginning to the reason for its end.
pub(super) async fn run(shared: &Shared, settings: &MqttSettings, session: Session) -> End {
    let options = options(settings, session);
    let (client, mut connection) = AsyncClient::new(options, settings.requests_max());
    connection.state.events.shrink_to(EVENTS_ROOM);
    loop {
        match connection.poll().await {
            Ok(Event::Outgoing(
                Outgoing::Publish(packet_id)
                | Outgoing::Subscribe(packet_id)
                | Outgoing::Unsubscribe(packet_id),
            )) => shared.written(packet_id),
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refusals = ack.return_codes.iter().map(|code| match code {
                    SubscribeReasonCode::Success(_) => None,
                    reason => Some(format!("{reason:?}")),
                });
                shared.answered(ack.pkid, refusals);
            }
            Ok(Event::Incoming(Packet::UnsubAck(ack))) => shared.answered(ack.pkid, []),
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                let refusal = match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
                    reason => Some(format!("{reason:?}")),
                };
                shared.acknowledged(ack.pkid, refusal);
            }
            Ok(Event::Incoming(Packet::ConnAck(_))) if session == Session::Unwanted => {
                return End::Forgotten;
            }
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                let client = Client(client.clone());
                shared.up(client, ack.session_present, takes(settings, &ack));
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => inbound(shared, &publish),
            Ok(_) => {}
            Err(error) => return end(&error),
        }
    }
}

fn end(error: &ConnectionError) -> End {
    let reason = chain(error);
    match error {
        ConnectionError::MqttState(
            StateError::IncomingPacketTooLarge { .. }
            | StateError::Deserialization(MqttError::PayloadSizeLimitExceeded { .. }),
        ) => End::TooLong(reason),
        _ => End::Lost(reason),
    }
}

/// rumqttc gives out no more packet numbers than the broker takes messages at a time: those of subscriptions are among them.
fn takes(settings: &MqttSettings, ack: &ConnAck) -> Takes {
    let ours = settings.takes();
    let Some(said) = &ack.properties else {
        return ours;
    };
    let window = said.receive_max.map_or(ours.window, |numbers| {
        usize::from(numbers.saturating_sub(SUBSCRIPTIONS_SLACK).max(1))
    });
    let packet_bytes_max = said.max_packet_size.map_or(ours.packet_bytes_max, |bytes| {
        usize::try_from(bytes).unwrap_or(usize::MAX)
    });
    Takes {
        window: window.min(ours.window),
        packet_bytes_max: packet_bytes_max.min(ours.packet_bytes_max),
    }
}

fn options(settings: &MqttSettings, session: Session) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_keep_alive(settings.keep_alive());
    // Without a limit it holds room for 65,535 messages.
    options.set_outgoing_inflight_upper_limit(settings.packet_ids());
    options.set_manual_acks(true);
    options.set_clean_start(settings.is_clean || session == Session::Unwanted);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = u32::try_from(PACKET_BYTES_MAX).ok();
    properties.receive_maximum = u16::try_from(ACKS_MAX).ok();
    properties.session_expiry_interval = (!settings.is_clean).then_some(SESSION_SECONDS);
    options.set_connect_properties(properties);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    #[cfg(feature = "tls")]
    if let Some(tls) = &settings.tls {
        options.set_transport(tls.transport());
    }
    if let Some((user, password)) = &settings.credentials {
        options.set_credentials(user, password);
    }
    if session == Session::Unwanted {
        // It ends as soon as it is there: nobody has died.
        return options;
    }
    if let Some(will) = &settings.last_will {
        let payload = will.payload.to_vec();
        options.set_last_will(LastWill::new(
            &*will.topic,
            payload,
            theirs(will.qos),
            will.is_retained,
            None,
        ));
    }
    options
}

fn inbound(shared: &Shared, publish: &Publish) {
    // One that is no text matches no topic of ours, and is refused by name.
    let topic = String::from_utf8_lossy(&publish.topic);
    let message = Message {
        topic: (&*topic).into(),
        payload: publish.payload.clone(),
        qos: ours(publish.qos),
        is_retained: publish.retain,
    };
    shared.inbound(message, publish.pkid);
}
