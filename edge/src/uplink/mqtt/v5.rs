use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill, Packet, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing};

use super::client::client;
use super::{ACKS_MAX, EVENTS_ROOM, MqttSettings, PACKET_BYTES_MAX, Requests, Shared, chain};
use crate::uplink::{Message, Qos};

/// How long a broker keeps a session that is not clean: a week.
const SESSION_SECONDS: u32 = 7 * 24 * 3_600;

client!(Publish::new("", QoS::AtLeastOnce, Vec::new(), None));

/// One connection, from its beginning to the reason for its end.
pub(super) async fn run(shared: &Shared, settings: &MqttSettings) -> String {
    let (client, mut connection) = AsyncClient::new(options(settings), settings.requests_max());
    connection.state.events.shrink_to(EVENTS_ROOM);
    loop {
        match connection.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(packet_id))) => shared.written(packet_id),
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                let refusal = match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
                    reason => Some(format!("{reason:?}")),
                };
                shared.acknowledged(ack.pkid, refusal);
            }
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                shared.up(Client(client.clone()), ack.session_present);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => inbound(shared, &publish),
            Ok(_) => {}
            Err(error) => return chain(&error),
        }
    }
}

fn options(settings: &MqttSettings) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_keep_alive(settings.keep_alive());
    // Without a limit it holds room for 65,535 messages.
    options.set_outgoing_inflight_upper_limit(settings.packet_ids());
    options.set_manual_acks(true);
    options.set_clean_start(settings.is_clean);
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
