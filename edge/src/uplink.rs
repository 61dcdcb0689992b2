//! The way to a broker: what hands messages over and says what became of them.
//!
//! An [`Uplink`] promises little, so that it can keep it: what it reports as [accepted](UplinkEvent::Accepted) has reached
//! the broker at least once, and nothing else is certain. Whatever was submitted and not accepted when the link went
//! [down](UplinkEvent::Down) may have arrived or not: submit it again. The [spool](crate::spool) does.

#[cfg(any(feature = "http", feature = "mqtt"))]
mod backoff;
#[cfg(feature = "http")]
pub mod http;
mod layer;
pub mod memory;
#[cfg(feature = "mqtt")]
pub mod mqtt;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

#[cfg(feature = "http")]
pub use self::http::{HttpSettings, HttpUplink};
pub use self::layer::{LayeredUplink, UplinkLayer};
pub use self::memory::{MemoryBroker, MemoryUplink};
#[cfg(feature = "tls")]
pub use self::mqtt::MqttTls;
#[cfg(feature = "mqtt")]
pub use self::mqtt::{MqttSettings, MqttUplink, MqttVersion};

/// How hard a broker tries. Exactly-once delivery by the broker is not offered: [identities](crate::RecordId) do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the third level of MQTT is left out on purpose"
)]
pub enum Qos {
    /// Sent once and forgotten.
    AtMostOnce,
    /// Sent until it is acknowledged; may arrive twice.
    AtLeastOnce,
}

/// A message to or from a broker. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes, such as a [`Topic`](crate::topic::Topic) as text.
    pub topic: Arc<str>,
    /// What it says; at most [`MESSAGE_BYTES_MAX`](crate::payload::MESSAGE_BYTES_MAX) bytes.
    pub payload: Bytes,
    /// How hard the broker tries.
    pub qos: Qos,
    /// Whether the broker keeps it for those who subscribe later.
    pub is_retained: bool,
}

impl Message {
    /// A message that is acknowledged and not retained.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            is_retained: false,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("is_retained", &self.is_retained)
            .finish()
    }
}

/// Tells an uplink which inbound message has been dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckToken(pub(crate) u64);

/// What an uplink has to say, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever drives an uplink must look at each of these"
)]
pub enum UplinkEvent {
    /// The broker has let us in, and the filters subscribed to are being renewed.
    Up {
        /// Whether the broker remembers the session before: then what was accepted is still on its way, if it never died.
        is_resumed: bool,
    },
    /// The connection is gone; another is being tried. Nothing more is heard of what was submitted and not accepted.
    Down {
        /// Why.
        reason: Arc<str>,
    },
    /// The broker has the message submitted under this number. **It may still lose it**: only a sink's acknowledgement
    /// says otherwise.
    Accepted(u64),
    /// The broker will not take the message submitted under this number while the connection lasts.
    Refused {
        /// The number.
        seq: u64,
        /// Why.
        reason: Arc<str>,
    },
    /// The broker will not let us hear what matches this filter while the connection lasts.
    NotSubscribed {
        /// The filter.
        filter: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// A message for us.
    Inbound {
        /// The message. Its bytes are a stranger's.
        message: Message,
        /// For [`Uplink::acknowledge`], once it has been dealt with; `None` if the broker does not want to know.
        token: Option<AckToken>,
    },
}

impl UplinkEvent {
    /// Bytes of the message that it brings.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Inbound { message, .. } => message.topic.len() + message.payload.len(),
            _ => 0,
        }
    }
}

/// Why a message was not taken. It must be submitted again, or given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// There is no connection: wait for [`UplinkEvent::Up`].
    #[error("the uplink is down: submit again when it is up")]
    Down,
    /// As many as fit are on their way: wait for [`UplinkEvent::Accepted`].
    #[error("the uplink is busy: submit again when something was accepted")]
    Busy,
    /// Its topic is empty, too long or has a wildcard: it would be refused, now and always.
    #[error("the topic of the message is none: name one without wildcards")]
    BadTopic,
    /// It would be refused for its size, now and always.
    #[error("message of {bytes} bytes is over the limit of {bytes_max}")]
    TooLong {
        /// Bytes of topic and payload.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// Of what has come in, so many bytes are held until somebody looks; then nothing more is read. A message of the greatest
/// length may lie beyond.
#[cfg(any(feature = "http", feature = "mqtt"))]
const HELD_BYTES_MAX: usize = 8 * crate::payload::MESSAGE_BYTES_MAX;

/// A connection to a broker that comes back by itself. One owner at a time drives it.
///
/// An implementer promises:
/// - no method waits or blocks;
/// - [`Up`](UplinkEvent::Up) and [`Down`](UplinkEvent::Down) alternate, beginning with `Up`; `Accepted`, `Refused`,
///   `NotSubscribed` and `Inbound` come between an `Up` and the next `Down`;
/// - `Accepted` comes at most once for each submitted message, only after the broker acknowledged it (with
///   [`Qos::AtMostOnce`]: after it was sent), and never for a message of an earlier connection;
/// - a message is sent at most once by a connection, so whoever submits each once a connection finds no more copies than
///   there were connections;
/// - an inbound message that is not [acknowledged](Self::acknowledge) comes again with a later connection whose session is
///   resumed, as far as the broker remembers it;
/// - everything is bounded: what is on its way by [`room`](Self::room), what has come in by what is not acknowledged and,
///   where nobody looks, in bytes.
pub trait Uplink: Send {
    /// Wants messages whose topic matches `filter` (MQTT's `+` and `#`), now and after every reconnection.
    fn subscribe(&mut self, filter: &str);

    /// Wants messages whose topic matches any of `filters`, each of which has at most
    /// [`TOPIC_BYTES_MAX`](crate::topic::TOPIC_BYTES_MAX) bytes, while this connection lasts: for whoever has so many that it
    /// makes them anew after each [`Up`](UplinkEvent::Up), rather than have them kept. Takes from the front as many as can be
    /// asked for now and answers how many. Fewer than all: the waker of the last [`poll_events`](Self::poll_events) is woken
    /// when more can be, also where there is no event. None while the uplink is down.
    ///
    /// An uplink that does not care has them kept.
    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        filters.map(|filter| self.subscribe(&filter)).count()
    }

    /// Does not want any more what matches `filter`, which a session may still have from an earlier start. It may be
    /// forgotten: call again when something comes.
    fn unsubscribe(&mut self, filter: &str) {
        let _ = filter;
    }

    /// How many messages may be submitted now. 0 while the uplink is down.
    fn room(&self) -> usize;

    /// Hands `message` over under the number `seq`, which must not be that of another message on its way.
    ///
    /// # Errors
    ///
    /// The message was not taken, and nothing will be heard of it.
    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError>;

    /// Says that an inbound message was dealt with. A token of an earlier connection does nothing.
    fn acknowledge(&mut self, token: AckToken);

    /// Appends what happened to `events`. Nothing happened: `Pending`, and the waker is woken when something does.
    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()>;
}

impl<U: Uplink + ?Sized> Uplink for Box<U> {
    fn subscribe(&mut self, filter: &str) {
        (**self).subscribe(filter);
    }

    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        (**self).subscribe_now(filters)
    }

    fn unsubscribe(&mut self, filter: &str) {
        (**self).unsubscribe(filter);
    }

    fn room(&self) -> usize {
        (**self).room()
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        (**self).submit(seq, message)
    }

    fn acknowledge(&mut self, token: AckToken) {
        (**self).acknowledge(token);
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        (**self).poll_events(cx, events)
    }
}
