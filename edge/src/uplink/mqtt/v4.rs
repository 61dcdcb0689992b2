use bytes::BytesMut;
use rumqttc::mqttbytes::{self, QoS};
use rumqttc::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Login, Packet, PingReq, PubAck, Publish,
    Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe,
};

use super::packets::{Heard, Packets, check_length, qos};
use super::{End, INFALLIBLE, MqttSettings, PACKET_BYTES_MAX, Session, chain};
use crate::error::EdgeError;
use crate::uplink::Message;

/// MQTT 3.1.1.
pub(super) struct V4;

impl Packets for V4 {
    fn connect(
        &self,
        settings: &MqttSettings,
        session: Session,
        out: &mut BytesMut,
    ) -> Result<(), EdgeError> {
        check_length("client id bytes", settings.client_id.len())?;
        let mut connect = Connect::new(&settings.client_id);
        connect.keep_alive = settings.keep_alive_seconds();
        connect.clean_session = settings.begins_clean(session);
        let login = settings.login()?;
        connect.login = login.map(|(user, password)| Login::new(user, password));
        if let Some(will) = settings.will(session)? {
            let (payload, qos) = (will.payload.to_vec(), theirs(will.qos));
            let will = LastWill::new(&*will.topic, payload, qos, will.is_retained);
            connect.last_will = Some(will);
        }
        let written = connect.write(out);
        written
            .map(drop)
            .map_err(|error| EdgeError::malformed("MQTT settings", chain(&error)))
    }

    fn publish(&self, message: Message, packet_id: u16, out: &mut BytesMut) {
        let mut publish =
            Publish::from_bytes(&*message.topic, theirs(message.qos), message.payload);
        publish.pkid = packet_id;
        publish.retain = message.is_retained;
        publish.write(out).expect(INFALLIBLE);
    }

    fn subscribe(&self, filters: &[String], packet_id: u16, out: &mut BytesMut) {
        let filters = filters.iter().cloned();
        let filters = filters.map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = packet_id;
        subscribe.write(out).expect(INFALLIBLE);
    }

    fn unsubscribe(&self, filter: &str, packet_id: u16, out: &mut BytesMut) {
        let mut unsubscribe = Unsubscribe::new(filter);
        unsubscribe.pkid = packet_id;
        unsubscribe.write(out).expect(INFALLIBLE);
    }

    fn acknowledge(&self, packet_id: u16, out: &mut BytesMut) {
        PubAck::new(packet_id).write(out).expect(INFALLIBLE);
    }

    fn ping(&self, out: &mut BytesMut) {
        PingReq.write(out).expect(INFALLIBLE);
    }

    fn read(&self, bytes: &mut BytesMut, settings: &MqttSettings) -> Result<Option<Heard>, End> {
        let before = bytes.len();
        let packet = match Packet::read(bytes, PACKET_BYTES_MAX) {
            Ok(packet) => packet,
            // Where a whole packet was taken off, it is what says that it goes on, and it does not.
            Err(mqttbytes::Error::InsufficientBytes(_)) if bytes.len() == before => {
                return Ok(None);
            }
            Err(error @ mqttbytes::Error::PayloadSizeLimitExceeded(_)) => {
                return Err(End::TooLong(chain(&error)));
            }
            Err(error) => return Err(End::Lost(chain(&error))),
        };
        Ok(Some(match packet {
            Packet::ConnAck(ack) => welcome(&ack, settings),
            Packet::PubAck(PubAck { pkid }) => Heard::Answer {
                packet_id: pkid,
                refusal: None,
            },
            Packet::SubAck(ack) => Heard::Filters {
                packet_id: ack.pkid,
                refusals: ack.return_codes.iter().map(refusal).collect(),
            },
            Packet::UnsubAck(ack) => Heard::Filters {
                packet_id: ack.pkid,
                refusals: Vec::new(),
            },
            Packet::Publish(publish) => Heard::Inbound {
                packet_id: publish.pkid,
                message: Message {
                    topic: publish.topic.into(),
                    payload: publish.payload,
                    qos: ours(publish.qos),
                    is_retained: publish.retain,
                },
            },
            _ => Heard::Other,
        }))
    }
}

fn welcome(ack: &ConnAck, settings: &MqttSettings) -> Heard {
    match ack.code {
        ConnectReturnCode::Success => Heard::Welcome {
            is_resumed: ack.session_present,
            takes: settings.takes(),
            keep_alive: None,
        },
        code => Heard::Farewell(format!("the broker refused the connection: {code:?}")),
    }
}

fn refusal(code: &SubscribeReasonCode) -> Option<String> {
    match code {
        SubscribeReasonCode::Success(_) => None,
        SubscribeReasonCode::Failure => Some("Failure".to_owned()),
    }
}

qos!(QoS, theirs, ours);
