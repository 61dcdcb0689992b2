//! What the versions differ in: how packets are spelled. rumqttc spells and reads them.

use std::time::Duration;

use bytes::BytesMut;

use super::{End, MqttSettings, Session, Takes};
use crate::error::EdgeError;
use crate::uplink::Message;

/// The packets of one version.
pub(super) trait Packets: Send + Sync {
    /// Appends the packet by which a connection begins. An error says which of the settings cannot be told.
    fn connect(
        &self,
        settings: &MqttSettings,
        session: Session,
        out: &mut BytesMut,
    ) -> Result<(), EdgeError>;

    /// Appends a message, whose topic [is one](is_topic). Number 0: it is not acknowledged.
    fn publish(&self, message: Message, packet_id: u16, out: &mut BytesMut);

    /// Appends a subscription to some filters.
    fn subscribe(&self, filters: &[String], packet_id: u16, out: &mut BytesMut);

    /// Appends the end of a subscription.
    fn unsubscribe(&self, filter: &str, packet_id: u16, out: &mut BytesMut);

    /// Appends the acknowledgement of an inbound message.
    fn acknowledge(&self, packet_id: u16, out: &mut BytesMut);

    /// Appends a question whether the broker is there.
    fn ping(&self, out: &mut BytesMut);

    /// Takes the first packet off `bytes`; `None`: more are needed. An error ends the connection.
    fn read(&self, bytes: &mut BytesMut, settings: &MqttSettings) -> Result<Option<Heard>, End>;
}

/// What a broker may say to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It has let us in.
    Welcome {
        is_resumed: bool,
        takes: Takes,
        /// Where it does not follow our wish.
        keep_alive: Option<Duration>,
    },
    /// It will not let us in, or ends the connection: why.
    Farewell(String),
    /// It has a message, or says why it does not take it.
    Answer {
        packet_id: u16,
        refusal: Option<String>,
    },
    /// It has taken filters, or says of each, in their order, why it does not.
    Filters {
        packet_id: u16,
        refusals: Vec<Option<String>>,
    },
    /// A message for us. Number 0: it wants no acknowledgement.
    Inbound { message: Message, packet_id: u16 },
    /// Nothing that needs anything done.
    Other,
}

/// How hard a broker tries, in the words of a version and back: rumqttc has one type for each.
macro_rules! qos {
    ($Theirs:ident, $theirs:ident, $ours:ident) => {
        const fn $theirs(qos: crate::uplink::Qos) -> $Theirs {
            match qos {
                crate::uplink::Qos::AtMostOnce => $Theirs::AtMostOnce,
                crate::uplink::Qos::AtLeastOnce => $Theirs::AtLeastOnce,
            }
        }

        /// What was sent exactly once is acknowledged as what was sent at least once.
        const fn $ours(qos: $Theirs) -> crate::uplink::Qos {
            match qos {
                $Theirs::AtMostOnce => crate::uplink::Qos::AtMostOnce,
                $Theirs::AtLeastOnce | $Theirs::ExactlyOnce => crate::uplink::Qos::AtLeastOnce,
            }
        }
    };
}

pub(super) use qos;

/// Whether a broker takes it for a topic: one that is none would end the connection.
pub(super) fn is_topic(topic: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
}

/// Whether a broker takes it for a filter.
pub(super) fn is_filter(filter: &str) -> bool {
    filter.len() <= TEXT_BYTES_MAX && rumqttc::valid_filter(filter)
}

/// Whether `what`, of so many bytes, can be told: its length is two bytes.
pub(super) const fn check_length(what: &'static str, bytes: usize) -> Result<(), EdgeError> {
    if bytes > TEXT_BYTES_MAX {
        return Err(EdgeError::TooLong {
            what,
            length: bytes as u64,
            length_max: TEXT_BYTES_MAX as u64,
        });
    }
    Ok(())
}

/// MQTT 5.0, section 1.5.4.
const TEXT_BYTES_MAX: usize = 65_535;
