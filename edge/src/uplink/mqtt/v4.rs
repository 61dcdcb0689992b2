use rumqttc::mqttbytes::v4::{
    PubAck, Publish, SubAck, SubscribeFilter as Filter, SubscribeReasonCode, UnsubAck,
};
use rumqttc::{
    AsyncClient, ConnectionError, Event, LastWill, MqttOptions, NetworkOptions, Outgoing, Packet,
    QoS, StateError, mqttbytes,
};

use super::client::client;
use super::{EVENTS_ROOM, End, MqttSettings, PACKET_BYTES_MAX, Requests, Session, Shared, chain};
use crate::uplink::{Message, Qos};

client!(Publish::new("", QoS::AtLeastOnce, Vec::new()));

/// One connection, from its beginning to the reason for its end.
pub(super) async fn run(shared: &Shared, settings: &MqttSettings, session: Session) -> End {
    let options = options(settings, session);
    let (client, mut connection) = AsyncClient::new(options, settings.requests_max());
    connection.state.events.shrink_to(EVENTS_ROOM);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.set_network_options(network);
    loop {
        match connection.poll().await {
            Ok(Event::Outgoing(
                Outgoing::Publish(packet_id)
                | Outgoing::Subscribe(packet_id)
                | Outgoing::Unsubscribe(packet_id),
            )) => shared.written(packet_id),
            Ok(Event::Incoming(Packet::SubAck(SubAck { pkid, return_codes }))) => {
                let refusals = return_codes.iter().map(|code| match code {
                    SubscribeReasonCode::Success(_) => None,
                    SubscribeReasonCode::Failure => Some("Failure".to_owned()),
                });
                shared.answered(pkid, refusals);
            }
            Ok(Event::Incoming(Packet::UnsubAck(UnsubAck { pkid }))) => shared.answered(pkid, []),
            Ok(Event::Incoming(Packet::PubAck(PubAck { pkid }))) => {
                shared.acknowledged(pkid, None);
            }
            Ok(Event::Incoming(Packet::ConnAck(_))) if session == Session::Unwanted => {
                return End::Forgotten;
            }
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                let client = Client(client.clone());
                shared.up(client, ack.session_present, settings.takes());
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => inbound(shared, publish),
            Ok(_) => {}
            Err(error) => return end(&error),
        }
    }
}

fn end(error: &ConnectionError) -> End {
    let reason = chain(error);
    match error {
        ConnectionError::MqttState(StateError::Deserialization(
            mqttbytes::Error::PayloadSizeLimitExceeded(_),
        )) => End::TooLong(reason),
        _ => End::Lost(reason),
    }
}

fn options(settings: &MqttSettings, session: Session) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_keep_alive(settings.keep_alive());
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    options.set_inflight(settings.packet_ids());
    options.set_manual_acks(true);
    options.set_clean_session(settings.is_clean || session == Session::Unwanted);
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
        ));
    }
    options
}

fn inbound(shared: &Shared, publish: Publish) {
    let message = Message {
        topic: publish.topic.into(),
        payload: publish.payload,
        qos: ours(publish.qos),
        is_retained: publish.retain,
    };
    shared.inbound(message, publish.pkid);
}
