use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Filter, LastWill, Login, Packet,
    PingReq, PubAck, PubAckReason, Publish, Subscribe, SubscribeReasonCode, Unsubscribe,
};
use rumqttc::v5::mqttbytes::{Error, QoS};

use super::packets::{Heard, Packets, check_length, qos};
use super::{ACKS_MAX, End, INFALLIBLE, MqttSettings, PACKET_BYTES_MAX, Session, Takes, chain};
use crate::error::EdgeError;
use crate::uplink::Message;

/// How long a broker keeps a session that is not clean: a week.
const SESSION_SECONDS: u32 = 7 * 24 * 3_600;

/// MQTT 5.
pub(super) struct V5;

impl Packets for V5 {
    fn connect(
        &self,
        settings: &MqttSettings,
        session: Session,
        out: &mut BytesMut,
    ) -> Result<(), EdgeError> {
        check_length("client id bytes", settings.client_id.len())?;
        let mut properties = ConnectProperties::new();
        properties.max_packet_size = u32::try_from(PACKET_BYTES_MAX).ok();
        properties.receive_maximum = u16::try_from(ACKS_MAX).ok();
        properties.session_expiry_interval = (!settings.is_clean).then_some(SESSION_SECONDS);
        let connect = Connect {
            keep_alive: settings.keep_alive_seconds(),
            client_id: settings.client_id.clone(),
            clean_start: settings.begins_clean(session),
            properties: Some(properties),
        };
        let login = settings.login()?;
        let login = login.map(|(user, password)| Login::new(user, password));
        let will = settings.will(session)?.map(|will| {
            let (payload, qos) = (will.payload.to_vec(), theirs(will.qos));
            LastWill::new(&*will.topic, payload, qos, will.is_retained, None)
        });
        let written = connect.write(&will, &login, out);
        written
            .map(drop)
            .map_err(|error| EdgeError::malformed("MQTT settings", chain(&error)))
    }

    fn publish(&self, message: Message, packet_id: u16, out: &mut BytesMut) {
        let publish = Publish {
            qos: theirs(message.qos),
            retain: message.is_retained,
            topic: Bytes::copy_from_slice(message.topic.as_bytes()),
            pkid: packet_id,
            payload: message.payload,
            ..Publish::default()
        };
        publish.write(out).expect(INFALLIBLE);
    }

    fn subscribe(&self, filters: &[String], packet_id: u16, out: &mut BytesMut) {
        let filters = filters.iter();
        let filters = filters.map(|filter| Filter::new(filter, QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters, None);
        subscribe.pkid = packet_id;
        subscribe.write(out).expect(INFALLIBLE);
    }

    fn unsubscribe(&self, filter: &str, packet_id: u16, out: &mut BytesMut) {
        let mut unsubscribe = Unsubscribe::new(filter, None);
        unsubscribe.pkid = packet_id;
        unsubscribe.write(out).expect(INFALLIBLE);
    }

    fn acknowledge(&self, packet_id: u16, out: &mut BytesMut) {
        PubAck::new(packet_id, None).write(out).expect(INFALLIBLE);
    }

    fn ping(&self, out: &mut BytesMut) {
        PingReq::write(out).expect(INFALLIBLE);
    }

    fn read(&self, bytes: &mut BytesMut, settings: &MqttSettings) -> Result<Option<Heard>, End> {
        let before = bytes.len();
        let packet = match Packet::read(bytes, u32::try_from(PACKET_BYTES_MAX).ok()) {
            Ok(packet) => packet,
            // Where a whole packet was taken off, it is what says that it goes on, and it does not.
            Err(Error::InsufficientBytes(_)) if bytes.len() == before => return Ok(None),
            Err(error @ Error::PayloadSizeLimitExceeded { .. }) => {
                return Err(End::TooLong(chain(&error)));
            }
            Err(error) => return Err(End::Lost(chain(&error))),
        };
        Ok(Some(match packet {
            Packet::ConnAck(ack) => welcome(&ack, settings),
            Packet::PubAck(ack) => Heard::Answer {
                packet_id: ack.pkid,
                refusal: refusal(ack.reason),
            },
            Packet::SubAck(ack) => Heard::Filters {
                packet_id: ack.pkid,
                refusals: ack.return_codes.iter().map(not_subscribed).collect(),
            },
            Packet::UnsubAck(ack) => Heard::Filters {
                packet_id: ack.pkid,
                refusals: Vec::new(),
            },
            Packet::Publish(publish) => inbound(publish),
            Packet::Disconnect(said) => {
                let why = said.reason_code;
                Heard::Farewell(format!("the broker ended the connection: {why:?}"))
            }
            _ => Heard::Other,
        }))
    }
}

fn welcome(ack: &ConnAck, settings: &MqttSettings) -> Heard {
    if ack.code != ConnectReturnCode::Success {
        let code = ack.code;
        return Heard::Farewell(format!("the broker refused the connection: {code:?}"));
    }
    let said = ack.properties.as_ref();
    // 0: it never ends a silent connection. Whether it is still there we go on asking as often as we wished to.
    let seconds = said.and_then(|it| it.server_keep_alive);
    let seconds = seconds.filter(|seconds| *seconds > 0);
    Heard::Welcome {
        is_resumed: ack.session_present,
        takes: takes(settings, ack),
        keep_alive: seconds.map(|seconds| Duration::from_secs(u64::from(seconds))),
    }
}

fn takes(settings: &MqttSettings, ack: &ConnAck) -> Takes {
    let ours = settings.takes();
    let Some(said) = &ack.properties else {
        return ours;
    };
    let window = said
        .receive_max
        .map_or(ours.window, |count| usize::from(count.max(1)));
    let packet_bytes_max = said.max_packet_size.map_or(ours.packet_bytes_max, |bytes| {
        usize::try_from(bytes).unwrap_or(usize::MAX)
    });
    Takes {
        window: window.min(ours.window),
        packet_bytes_max: packet_bytes_max.min(ours.packet_bytes_max),
    }
}

fn refusal(reason: PubAckReason) -> Option<String> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
        reason => Some(format!("{reason:?}")),
    }
}

fn not_subscribed(code: &SubscribeReasonCode) -> Option<String> {
    match code {
        SubscribeReasonCode::Success(_) => None,
        reason => Some(format!("{reason:?}")),
    }
}

fn inbound(publish: Publish) -> Heard {
    // One that is no text matches no topic of ours, and is refused by name.
    let topic = String::from_utf8_lossy(&publish.topic);
    Heard::Inbound {
        packet_id: publish.pkid,
        message: Message {
            topic: (&*topic).into(),
            payload: publish.payload,
            qos: ours(publish.qos),
            is_retained: publish.retain,
        },
    }
}

qos!(QoS, theirs, ours);
