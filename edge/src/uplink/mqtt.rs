//! MQTT 3.1.1 and 5, in rumqttc's packets.
//!
//! rumqttc spells and reads the packets. Its event loop is not used: it loses whatever is in flight and in its queue when the
//! broker forgot the session, stalls once a packet number collided, and writes each message by itself. Here each connection
//! begins with nothing, and is thrown away at the first error; what was submitted and not accepted is the
//! [spool](crate::spool)'s to send again.
//!
//! - The send window is ours: never are more packet numbers given out since the oldest unacknowledged than there are, whatever
//!   order the broker acknowledges in, so that numbers cannot collide.
//! - What is submitted together is written together, and what comes together is told together: a system call and a wake-up for
//!   each message cost more than all the rest of it.
//! - Filters are subscribed to again after every connection, many in one packet. Those of a gateway's devices are not kept
//!   here: whoever drives it makes them anew. A filter that the broker refuses is told. Inbound messages are acknowledged when
//!   the application says so.
//! - Between connections it waits ever longer, with jitter from a seed that differs from device to device: ten thousand do
//!   not come back at once. Only a connection that lasted makes it begin with short waits again.
//! - A message to us over [the limit](crate::payload::MESSAGE_BYTES_MAX) cannot be refused in 3.1.1: it ends the connection, and
//!   the session would bring it again with each next. So the broker is then told to forget the session, and what else it had
//!   kept for us goes with it. A *retained* one comes again with each subscription: have the broker hold to the limit.
//! - What the broker says it takes (5) is kept to: its window, its largest packet, its keep alive. One that takes no packets of
//!   1,024 bytes is left.
//! - So is one that sends and reads nothing for two keep alives, or lets thousands of acknowledgements wait. What has come in and
//!   nobody has looked at is bounded in count and bytes.
//! - A connection that is silent keeps no buffers.
//! - Plain TCP, or TLS (feature `tls`). Why there is no connection says [`MqttUplink::trouble`].

mod connection;
mod packets;
mod socket;
mod state;
#[cfg(feature = "tls")]
mod tls;
mod v4;
mod v5;
mod window;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::packets::{Packets, check_length};
use self::state::Shared;
#[cfg(feature = "tls")]
pub use self::tls::MqttTls;
use super::backoff::Backoff;
use super::{AckToken, Message, SubmitError, Uplink, UplinkEvent};
use crate::error::EdgeError;
use crate::payload::MESSAGE_BYTES_MAX;
use crate::topic::TOPIC_BYTES_MAX;

/// Which version of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MqttVersion {
    /// 3.1.1, which every broker speaks.
    #[default]
    V4,
    /// 5, where a broker can say why it refuses a message.
    V5,
}

/// How an [`MqttUplink`] connects.
#[derive(Clone, PartialEq, Eq)]
pub struct MqttSettings {
    /// Names the client to the broker: one connection for each name.
    pub client_id: String,
    /// The broker's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Which version to speak.
    pub version: MqttVersion,
    /// So many messages may be on their way; at least 1.
    pub window: u16,
    /// How long the connection may be silent: whole seconds, of which 1 to 65,535 can be told.
    pub keep_alive: Duration,
    /// Whether the broker forgets the session with the connection. Else it keeps what is sent to the client meanwhile.
    pub is_clean: bool,
    /// User and password; an empty one is none. Version 3.1.1 has no password without a user.
    pub credentials: Option<(String, String)>,
    /// How the connection is encrypted; `None`: it is not.
    #[cfg(feature = "tls")]
    pub tls: Option<MqttTls>,
    /// What the broker publishes when the connection is lost.
    pub last_will: Option<Message>,
    /// The first wait before another connection; it doubles each time.
    pub backoff_min: Duration,
    /// The longest.
    pub backoff_max: Duration,
    /// Where jitter comes from. Give each client another, such as its number.
    pub seed: u64,
}

impl MqttSettings {
    /// Version 3.1.1, a window of 100, a session that lasts, silence of a minute, waits from 100 ms to 30 s.
    #[must_use]
    pub fn new(client_id: &str, host: &str, port: u16) -> Self {
        let seed = client_id.bytes().fold(7_u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Self {
            client_id: client_id.to_owned(),
            host: host.to_owned(),
            port,
            version: MqttVersion::V4,
            window: 100,
            keep_alive: Duration::from_secs(60),
            is_clean: false,
            credentials: None,
            #[cfg(feature = "tls")]
            tls: None,
            last_will: None,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            seed,
        }
    }

    /// What a broker takes that does not say.
    fn takes(&self) -> Takes {
        Takes {
            window: usize::from(self.window.max(1)),
            packet_bytes_max: PACKET_BYTES_MAX,
        }
    }

    /// What is told to the broker.
    fn keep_alive_seconds(&self) -> u16 {
        let seconds = self.keep_alive.as_secs().max(1);
        u16::try_from(seconds).unwrap_or(u16::MAX)
    }

    /// What is acted upon: what was [told](Self::keep_alive_seconds), and nothing else.
    fn keep_alive(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_alive_seconds()))
    }

    /// Whether the broker is to forget what it kept.
    fn begins_clean(&self, session: Session) -> bool {
        self.is_clean || session == Session::Unwanted
    }

    /// User and password, which can be told.
    fn login(&self) -> Result<Option<(&str, &str)>, EdgeError> {
        let Some((user, password)) = &self.credentials else {
            return Ok(None);
        };
        check_length("user name bytes", user.len())?;
        check_length("password bytes", password.len())?;
        // [MQTT-3.1.2-22]
        if self.version == MqttVersion::V4 && user.is_empty() && !password.is_empty() {
            return Err(EdgeError::PasswordWithoutUser);
        }
        Ok(Some((user, password)))
    }

    /// The last will of a connection. One that is only to have the session forgotten has none: nobody dies with it.
    fn will(&self, session: Session) -> Result<Option<&Message>, EdgeError> {
        let will = self.last_will.as_ref();
        let will = will.filter(|_| session == Session::Wanted);
        if let Some(will) = will {
            check_length("last will topic bytes", will.topic.len())?;
            check_length("last will bytes", will.payload.len())?;
        }
        Ok(will)
    }
}

impl fmt::Debug for MqttSettings {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttSettings")
            .field("client_id", &self.client_id)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("version", &self.version)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// Inbound messages that the broker may have with us unacknowledged.
const ACKS_MAX: usize = 256;

/// So many acknowledgements may wait until the broker reads. It cannot have asked for so many if it keeps to what it was told,
/// and one that sends on and never reads would fill the memory with them.
const UNREAD_ACKS_MAX: usize = 16 * ACKS_MAX;

/// A broker that takes no packets of this size is none for us: our subscriptions would not fit, and records that are kept for
/// it would be given up for their length.
const PACKET_BYTES_MIN: usize = 1_024;

/// The largest packet: a message, its topic and its header.
const PACKET_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1_024;

/// What a packet has beside a message's topic and payload: kind, length, two lengths, a number, no properties.
const HEADER_BYTES_MAX: usize = 16;

/// How many filters one packet asks for.
const FILTERS_MAX: usize = 64;

/// What a filter has beside its text: its length, and how hard the broker is to try.
const FILTER_OVERHEAD: usize = 3;

/// Why rumqttc spells a packet whose lengths were looked at.
const INFALLIBLE: &str = "a packet within the limits can be spelled";

/// An uplink over MQTT. It lives on the tokio runtime it was made on, as one task, and ends when it is dropped.
pub struct MqttUplink {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl MqttUplink {
    /// Connects, and connects again whenever the connection is lost.
    ///
    /// # Errors
    ///
    /// [`EdgeError::PasswordWithoutUser`], or [`EdgeError::TooLong`] for a name, a password or a last will over 65,535 bytes:
    /// no broker could be told. Nothing was begun.
    pub fn spawn(runtime: &Handle, settings: MqttSettings) -> Result<Self, EdgeError> {
        Self::spawn_all(runtime, settings, None)
    }

    /// As [`spawn`](Self::spawn), and asks `will` for a last will before each attempt to connect, in place of
    /// [`MqttSettings::last_will`]: for wills that name their connection. It must not block. One that cannot be told is no
    /// connection, and [`trouble`](Self::trouble) says so.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_with_will(
        runtime: &Handle,
        mut settings: MqttSettings,
        will: impl FnMut() -> Option<Message> + Send + 'static,
    ) -> Result<Self, EdgeError> {
        settings.last_will = None;
        Self::spawn_all(runtime, settings, Some(Box::new(will)))
    }

    fn spawn_all(
        runtime: &Handle,
        settings: MqttSettings,
        will: Option<Will>,
    ) -> Result<Self, EdgeError> {
        let packets: &dyn Packets = match settings.version {
            MqttVersion::V4 => &v4::V4,
            MqttVersion::V5 => &v5::V5,
        };
        packets.connect(&settings, Session::Wanted, &mut BytesMut::new())?;
        let shared = Arc::new(Shared::new(packets, settings.takes()));
        let task = runtime.spawn(run(shared.clone(), settings, will));
        Ok(Self { shared, task })
    }

    /// Why there is no connection; `None` while there is one, and until the first attempt has failed.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.shared.trouble()
    }
}

impl Drop for MqttUplink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for MqttUplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttUplink").finish_non_exhaustive()
    }
}

/// Makes the last will of each connection.
type Will = Box<dyn FnMut() -> Option<Message> + Send>;

async fn run(shared: Arc<Shared>, mut settings: MqttSettings, mut will: Option<Will>) {
    let mut backoff = Backoff::new(settings.seed, settings.backoff_min, settings.backoff_max);
    let mut session = Session::Wanted;
    loop {
        if let Some(will) = &mut will
            && session == Session::Wanted
        {
            settings.last_will = will();
        }
        let begun = Instant::now();
        // In a box, so that a task that waits for the next is small.
        let end = Box::pin(connection::run(&shared, &settings, session)).await;
        session = match end {
            End::TooLong(_) => Session::Unwanted,
            End::Forgotten => Session::Wanted,
            End::Lost(_) => session,
        };
        let was_up = shared.down(end);
        backoff.wait(was_up, begun.elapsed()).await;
    }
}

/// What is to become of the session that the broker may have kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// It is resumed, unless the [settings](MqttSettings::is_clean) say otherwise.
    Wanted,
    /// It holds a message that cannot be taken: the broker is to forget it.
    Unwanted,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Lost(String),
    /// A message to us was over the limit.
    TooLong(String),
    /// The broker has forgotten the session, as it was to.
    Forgotten,
}

impl End {
    fn reason(self) -> String {
        match self {
            Self::Lost(reason) => reason,
            Self::TooLong(reason) => format!(
                "{reason}: a message to us is over the limit of {MESSAGE_BYTES_MAX} bytes; the session is given up with it"
            ),
            Self::Forgotten => "the broker was told to forget the session".to_owned(),
        }
    }
}

/// What a broker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Takes {
    /// So many messages at a time.
    pub(super) window: usize,
    /// A packet of so many bytes.
    pub(super) packet_bytes_max: usize,
}

impl Takes {
    /// How many filters fit a packet, however long they are.
    fn filters(self) -> usize {
        let bytes = self.packet_bytes_max.saturating_sub(HEADER_BYTES_MAX);
        (bytes / (TOPIC_BYTES_MAX + FILTER_OVERHEAD)).clamp(1, FILTERS_MAX)
    }
}

/// An error with its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}

impl Uplink for MqttUplink {
    fn subscribe(&mut self, filter: &str) {
        self.shared.subscribe(filter);
    }

    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        self.shared.subscribe_now(filters)
    }

    fn unsubscribe(&mut self, filter: &str) {
        self.shared.unsubscribe(filter);
    }

    fn room(&self) -> usize {
        self.shared.room()
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        self.shared.submit(seq, message)
    }

    fn acknowledge(&mut self, token: AckToken) {
        self.shared.acknowledge(token);
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        let heard = self.shared.take_events(cx);
        if heard.is_empty() {
            return Poll::Pending;
        }
        events.extend(heard);
        Poll::Ready(())
    }
}

/// Feeds any bytes at all to the readers of both versions and to what acts on what they read, once where the broker has let us
/// in and once where they are to do it, and panics if one misbehaves.
#[doc(hidden)]
pub fn read_any_mqtt_bytes(bytes: &[u8]) {
    let settings = MqttSettings::new("m", "localhost", 1_883);
    for packets in [&v4::V4 as &dyn Packets, &v5::V5] {
        hear_any(packets, &settings, settings.takes(), BytesMut::from(bytes));
        let mut incoming = BytesMut::from(bytes);
        if let Ok(Some(heard)) = packets.read(&mut incoming, &settings)
            && let Ok((_, takes, _)) = connection::welcome(heard)
        {
            hear_any(packets, &settings, takes, incoming);
        }
    }
}

fn hear_any(
    packets: &'static dyn Packets,
    settings: &MqttSettings,
    takes: Takes,
    mut incoming: BytesMut,
) {
    let ours = settings.takes();
    assert!((1..=ours.window).contains(&takes.window));
    assert!((PACKET_BYTES_MIN..=ours.packet_bytes_max).contains(&takes.packet_bytes_max));
    let shared = Shared::new(packets, ours);
    shared.state.lock().up(packets, false, takes);
    shared.subscribe("down/#");
    let submitted = shared.submit(7, Message::new("up/t", "7"));
    // A place is the subscription's.
    let has_place = takes.window > 1;
    assert_eq!(submitted.is_ok(), has_place, "nothing else is on its way");
    let mut before = incoming.len();
    while let Ok(Some(heard)) = packets.read(&mut incoming, settings) {
        assert!(incoming.len() < before, "a packet has some bytes");
        before = incoming.len();
        let mut state = shared.state.lock();
        if state.is_full() || state.hear(packets, heard).is_err() {
            break;
        }
    }
    assert!(shared.room() <= takes.window);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a broker of version 5 says that it takes is acted upon from its first bytes on.
    #[test]
    fn limits_in_a_welcome_are_bounded_and_kept_to() {
        let welcome = |properties: &[u8]| {
            let bytes = u8::try_from(properties.len()).unwrap();
            let mut welcome = vec![0x20, 3 + bytes, 0, 0, bytes];
            welcome.extend_from_slice(properties);
            read_any_mqtt_bytes(&welcome);
            let settings = MqttSettings::new("m", "127.0.0.1", 1_883);
            let heard = v5::V5.read(&mut BytesMut::from(&*welcome), &settings);
            let takes = connection::welcome(heard.unwrap().unwrap());
            takes.map(|(_, takes, _)| (takes.window, takes.packet_bytes_max))
        };
        assert_eq!(welcome(&[]), Ok((100, PACKET_BYTES_MAX)));
        assert_eq!(welcome(&[0x21, 0, 1]), Ok((1, PACKET_BYTES_MAX)));
        assert_eq!(welcome(&[0x21, 0, 7, 0x27, 0, 0, 4, 0]), Ok((7, 1_024)));
        let most = [0x21, 0xff, 0xff, 0x27, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(welcome(&most), Ok((100, PACKET_BYTES_MAX)));
        assert!(welcome(&[0x27, 0, 0, 3, 0xff]).is_err());
    }

    /// The broker is told the very silence after which it is asked whether it is there.
    #[test]
    fn a_keep_alive_is_acted_upon_as_it_is_told() {
        for (wanted_ms, told) in [(0, 1), (1_900, 1), (60_000, 60), (100_000_000, u16::MAX)] {
            let mut settings = MqttSettings::new("m", "127.0.0.1", 1_883);
            settings.keep_alive = Duration::from_millis(wanted_ms);
            assert_eq!(settings.keep_alive_seconds(), told);
            assert_eq!(settings.keep_alive().as_secs(), u64::from(told));
        }
    }
}
