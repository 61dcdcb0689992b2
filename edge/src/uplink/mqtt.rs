//! MQTT 3.1.1 and 5, on rumqttc.
//!
//! rumqttc is used for what it does well, one connection; what it does to keep a *session* loses messages (everything in
//! flight and in its queue, when the broker forgot the session) or stalls (a packet number that collided once). So each
//! connection has an event loop of its own, which is thrown away at the first error; what was submitted and not accepted is
//! the [spool](crate::spool)'s to send again.
//!
//! - The send window is ours: never are more packet numbers given out since the oldest unacknowledged than rumqttc has,
//!   whatever order the broker acknowledges in, so that numbers cannot collide.
//! - Filters are subscribed to again after every connection, many in one packet. Those of a gateway's devices are not kept
//!   here: whoever drives it makes them anew. A filter that the broker refuses is told. Inbound messages are acknowledged when the application says so.
//! - Between connections it waits ever longer, with jitter from a seed that differs from device to device: ten thousand do
//!   not come back at once. Only a connection that lasted makes it begin with short waits again.
//! - A message to us over [the limit](crate::payload::MESSAGE_BYTES_MAX) cannot be refused in 3.1.1: it ends the connection, and
//!   the session would bring it again with each next. So the broker is then told to forget the session, and what else it had
//!   kept for us goes with it. A *retained* one comes again with each subscription: have the broker hold to the limit.
//! - What the broker says it takes (5) is kept to: its window, and its largest packet.
//! - Version 5 is given the same small window; by itself it takes 13.5 MiB a client. rumqttc's room for a hundred events,
//!   which is most of a quiet client, is given back.
//! - Plain TCP, or TLS (feature `tls`). Why there is no connection says [`MqttUplink::trouble`].

mod client;
#[cfg(feature = "tls")]
mod tls;
mod v4;
mod v5;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

#[cfg(feature = "tls")]
pub use self::tls::MqttTls;
use super::backoff::Backoff;
use super::{AckToken, Message, Qos, SubmitError, Uplink, UplinkEvent};
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
    /// How long the connection may be silent; at least a second.
    pub keep_alive: Duration,
    /// Whether the broker forgets the session with the connection. Else it keeps what is sent to the client meanwhile.
    pub is_clean: bool,
    /// User and password.
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

    /// How many packet numbers rumqttc has: those of the window and of subscriptions.
    fn packet_ids(&self) -> u16 {
        self.window.max(1).saturating_add(SUBSCRIPTIONS_SLACK)
    }

    /// How many requests wait for rumqttc at most: all that we may hand it, and acknowledgements.
    fn requests_max(&self) -> usize {
        usize::from(self.packet_ids()) + ACKS_MAX
    }

    /// What a broker takes that does not say.
    fn takes(&self) -> Takes {
        Takes {
            window: usize::from(self.window.max(1)),
            packet_bytes_max: PACKET_BYTES_MAX,
        }
    }

    fn keep_alive(&self) -> Duration {
        self.keep_alive.max(Duration::from_secs(1))
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

/// Packet numbers that subscriptions may take while publications are on their way.
const SUBSCRIPTIONS_SLACK: u16 = 4;

/// Inbound messages that the broker may have with us unacknowledged.
const ACKS_MAX: usize = 256;

/// rumqttc makes room for a hundred of its events, 14 KiB; a connection that has little to say needs few at a time. Where
/// more come, it makes more room.
const EVENTS_ROOM: usize = 4;

/// The largest packet: a message, its topic and its header.
const PACKET_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1_024;

/// What a packet has beside a message's topic and payload: kind, length, two lengths, a number, no properties.
const HEADER_BYTES_MAX: usize = 16;

/// How many filters one packet asks for.
const FILTERS_MAX: usize = 64;

/// What a filter has beside its text: its length, and how hard the broker is to try.
const FILTER_OVERHEAD: usize = 3;

/// An uplink over MQTT. It lives on the tokio runtime it was made on, as one task, and ends when it is dropped.
pub struct MqttUplink {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl MqttUplink {
    /// Connects, and connects again whenever the connection is lost.
    #[must_use]
    pub fn spawn(runtime: &Handle, settings: MqttSettings) -> Self {
        Self::spawn_all(runtime, settings, None)
    }

    /// As [`spawn`](Self::spawn), and asks `will` for a last will before each attempt to connect, in place of
    /// [`MqttSettings::last_will`]: for wills that name their connection. It must not block.
    #[must_use]
    pub fn spawn_with_will(
        runtime: &Handle,
        settings: MqttSettings,
        will: impl FnMut() -> Option<Message> + Send + 'static,
    ) -> Self {
        Self::spawn_all(runtime, settings, Some(Box::new(will)))
    }

    fn spawn_all(runtime: &Handle, settings: MqttSettings, will: Option<Will>) -> Self {
        let shared = Arc::new(Shared::new(&settings));
        let task = runtime.spawn(run(shared.clone(), settings, will));
        Self { shared, task }
    }

    /// Why there is no connection; `None` while there is one, and until the first attempt has failed.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.shared.state.lock().trouble.clone()
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
        // Each in a box of its own, or every task would be as large as the larger.
        let end = match settings.version {
            MqttVersion::V4 => Box::pin(v4::run(&shared, &settings, session)).await,
            MqttVersion::V5 => Box::pin(v5::run(&shared, &settings, session)).await,
        };
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
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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

/// One connection's way to its event loop. None of these waits; `false`: there was no room, or it is gone.
pub(super) trait Requests: Send {
    fn publish(&self, message: Message) -> bool;
    fn subscribe(&self, filters: Vec<String>) -> bool;
    fn unsubscribe(&self, filter: &str) -> bool;
    fn acknowledge(&self, packet_id: u16) -> bool;
}

/// What the uplink and its task share.
pub(super) struct Shared {
    state: Mutex<State>,
}

struct State {
    requests: Option<Box<dyn Requests>>,
    /// Counts connections, so that tokens of an earlier one do nothing.
    connection: u64,
    events: Vec<UplinkEvent>,
    waker: Option<Waker>,
    wanted: Vec<Box<str>>,
    /// So many of these, from the first on, this connection has been asked for.
    asked: usize,
    takes: Takes,
    window: Window,
    /// Acknowledgements for which there was no room.
    late_acks: Vec<u16>,
    trouble: Option<Arc<str>>,
}

/// What is on its way, in the order in which it was handed over.
#[derive(Default)]
struct Window {
    /// From the oldest that the broker has not acknowledged on.
    sent: VecDeque<Sent>,
    /// How many of these were written; the others have no packet number yet.
    numbered: usize,
}

/// A packet with a number.
struct Sent {
    /// `None`: the broker has acknowledged it.
    what: Option<What>,
    packet_id: u16,
}

enum What {
    /// A message, under the number that it was submitted with.
    Message(u64),
    /// Filters that are, or are no longer, wanted.
    Filters(Box<Filters>),
}

#[derive(Debug, PartialEq, Eq)]
struct Filters(Vec<String>);

impl Window {
    fn push(&mut self, what: What) {
        let (what, packet_id) = (Some(what), 0);
        self.sent.push_back(Sent { what, packet_id });
    }

    /// The next of those handed over was written; number 0 is of one that is not acknowledged. Answers whether it is done.
    fn written(&mut self, packet_id: u16) -> Option<u64> {
        let at = self.numbered;
        let sent = self.sent.get_mut(at)?;
        sent.packet_id = packet_id;
        self.numbered += 1;
        if packet_id == 0
            && let Some(What::Message(seq)) = self.finish(at)
        {
            return Some(seq);
        }
        None
    }

    fn acknowledged(&mut self, packet_id: u16) -> Option<u64> {
        // Mostly it is the first.
        let mut numbered = self.sent.iter().take(self.numbered);
        let at = numbered.position(|sent| {
            sent.packet_id == packet_id && matches!(sent.what, Some(What::Message(_)))
        })?;
        match self.finish(at)? {
            What::Message(seq) => Some(seq),
            What::Filters(_) => None,
        }
    }

    /// The broker has answered for filters.
    fn answered(&mut self, packet_id: u16) -> Option<Filters> {
        let mut numbered = self.sent.iter().take(self.numbered);
        let at = numbered.position(|sent| {
            sent.packet_id == packet_id && matches!(sent.what, Some(What::Filters(_)))
        })?;
        match self.finish(at)? {
            What::Filters(filters) => Some(*filters),
            What::Message(_) => None,
        }
    }

    fn finish(&mut self, at: usize) -> Option<What> {
        let what = self.sent.get_mut(at)?.what.take();
        while let Some(Sent { what: None, .. }) = self.sent.front() {
            self.sent.pop_front();
            self.numbered -= 1;
        }
        what
    }
}

impl Shared {
    fn new(settings: &MqttSettings) -> Self {
        Self {
            state: Mutex::new(State {
                requests: None,
                connection: 0,
                events: Vec::new(),
                waker: None,
                wanted: Vec::new(),
                asked: 0,
                takes: settings.takes(),
                window: Window::default(),
                late_acks: Vec::new(),
                trouble: None,
            }),
        }
    }

    pub(super) fn up(&self, requests: impl Requests + 'static, is_resumed: bool, takes: Takes) {
        let mut state = self.state.lock();
        state.connection += 1;
        state.takes = takes;
        state.window = Window::default();
        state.trouble = None;
        state.requests = Some(Box::new(requests));
        state.asked = 0;
        state.ask_for_wanted();
        state.push(UplinkEvent::Up { is_resumed });
    }

    /// Whether it had been up.
    fn down(&self, end: End) -> bool {
        let reason = end.reason();
        let mut state = self.state.lock();
        let was_up = state.requests.take().is_some();
        state.window = Window::default();
        state.late_acks.clear();
        let reason: Arc<str> = reason.into();
        state.trouble = Some(reason.clone());
        if was_up {
            // What has come in is not acknowledged yet and comes again; what was accepted was.
            state
                .events
                .retain(|event| !matches!(event, UplinkEvent::Inbound { .. }));
            state.push(UplinkEvent::Down { reason });
        }
        was_up
    }

    pub(super) fn written(&self, packet_id: u16) {
        let mut state = self.state.lock();
        if let Some(seq) = state.window.written(packet_id) {
            state.push(UplinkEvent::Accepted(seq));
            state.ask_for_wanted();
        }
    }

    /// The broker has a message, or says why it does not take it.
    pub(super) fn acknowledged(&self, packet_id: u16, refusal: Option<String>) {
        let mut state = self.state.lock();
        let Some(seq) = state.window.acknowledged(packet_id) else {
            return;
        };
        state.push(match refusal {
            None => UplinkEvent::Accepted(seq),
            Some(reason) => UplinkEvent::Refused {
                seq,
                reason: reason.into(),
            },
        });
        state.ask_for_wanted();
    }

    /// The broker says of each filter of a packet, in their order, why it refuses it.
    pub(super) fn answered(
        &self,
        packet_id: u16,
        refusals: impl IntoIterator<Item = Option<String>>,
    ) {
        let mut state = self.state.lock();
        let Some(Filters(filters)) = state.window.answered(packet_id) else {
            return;
        };
        for (filter, refusal) in filters.into_iter().zip(refusals) {
            if let Some(reason) = refusal {
                let (filter, reason) = (filter.into(), reason.into());
                state.push(UplinkEvent::NotSubscribed { filter, reason });
            }
        }
        state.ask_for_wanted();
        // There is room for more.
        state.wake();
    }

    pub(super) fn inbound(&self, message: Message, packet_id: u16) {
        let mut state = self.state.lock();
        // Nobody acknowledges it, so nothing else bounds it; and it may be lost.
        let is_full = state.events.len() >= state.takes.window + ACKS_MAX;
        if message.qos == Qos::AtMostOnce && is_full {
            return;
        }
        let token = AckToken(state.connection << 16 | u64::from(packet_id));
        let token = (message.qos == Qos::AtLeastOnce).then_some(token);
        state.push(UplinkEvent::Inbound { message, token });
    }
}

impl State {
    fn push(&mut self, event: UplinkEvent) {
        self.events.push(event);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn has_room(&self) -> bool {
        self.window.sent.len() < self.takes.window
    }

    /// Asks for what is wanted and has not been asked for, if it can be.
    fn ask_for_wanted(&mut self) {
        if self.asked >= self.wanted.len() {
            return;
        }
        let wanted = std::mem::take(&mut self.wanted);
        let rest = wanted.iter().skip(self.asked);
        self.asked += self.ask_for(&mut rest.map(ToString::to_string));
        self.wanted = wanted;
    }

    /// Asks for as many filters as can be, and answers how many.
    fn ask_for(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        let mut asked = 0;
        while self.has_room()
            && let Some(requests) = &self.requests
        {
            let packet: Vec<_> = filters.take(self.takes.filters()).collect();
            let count = packet.len();
            if count == 0 || !requests.subscribe(packet.clone()) {
                break;
            }
            self.window.push(What::Filters(Box::new(Filters(packet))));
            asked += count;
        }
        asked
    }

    fn acknowledge_late(&mut self) {
        if let Some(requests) = &self.requests {
            self.late_acks
                .retain(|packet_id| !requests.acknowledge(*packet_id));
        }
    }
}

impl Uplink for MqttUplink {
    fn subscribe(&mut self, filter: &str) {
        let mut state = self.shared.state.lock();
        if state.wanted.iter().any(|wanted| **wanted == *filter) {
            return;
        }
        state.wanted.push(filter.into());
        state.ask_for_wanted();
    }

    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        self.shared.state.lock().ask_for(filters)
    }

    fn unsubscribe(&mut self, filter: &str) {
        let mut state = self.shared.state.lock();
        if let Some(at) = state.wanted.iter().position(|wanted| **wanted == *filter) {
            state.wanted.remove(at);
            state.asked -= usize::from(at < state.asked);
        }
        if !state.has_room() {
            return;
        }
        let is_asked = state.requests.as_ref().map(|it| it.unsubscribe(filter));
        if is_asked == Some(true) {
            let filters = Filters(vec![filter.to_owned()]);
            state.window.push(What::Filters(Box::new(filters)));
        }
    }

    fn room(&self) -> usize {
        let state = self.shared.state.lock();
        if state.requests.is_none() {
            return 0;
        }
        let sent = state.window.sent.len();
        state.takes.window.saturating_sub(sent)
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        let bytes = message.topic.len() + message.payload.len();
        if bytes > MESSAGE_BYTES_MAX {
            let bytes_max = MESSAGE_BYTES_MAX;
            return Err(SubmitError::TooLong { bytes, bytes_max });
        }
        let mut state = self.shared.state.lock();
        let Some(requests) = &state.requests else {
            return Err(SubmitError::Down);
        };
        // Written, it would end the connection, and all that is on its way with it.
        let bytes_max = state
            .takes
            .packet_bytes_max
            .saturating_sub(HEADER_BYTES_MAX);
        if bytes > bytes_max {
            return Err(SubmitError::TooLong { bytes, bytes_max });
        }
        if !state.has_room() || !requests.publish(message) {
            return Err(SubmitError::Busy);
        }
        state.window.push(What::Message(seq));
        Ok(())
    }

    fn acknowledge(&mut self, token: AckToken) {
        let mut state = self.shared.state.lock();
        if token.0 >> 16 != state.connection {
            return;
        }
        state.late_acks.push((token.0 & 0xffff) as u16);
        state.acknowledge_late();
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        let mut state = self.shared.state.lock();
        state.acknowledge_late();
        if state.events.is_empty() {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // Nothing is kept for a connection that is silent.
        events.extend(std::mem::take(&mut state.events));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever order the broker acknowledges in, no more packet numbers are out than there are.
    #[test]
    fn numbers_are_matched_in_order_and_the_window_counts_from_the_oldest() {
        let mut window = Window::default();
        for seq in [70, 71, 72] {
            window.push(What::Message(seq));
        }
        assert_eq!(window.written(1), None);
        assert_eq!(window.written(0), Some(71), "not to be acknowledged");
        assert_eq!(window.written(2), None);
        assert_eq!(window.acknowledged(2), Some(72));
        assert_eq!(window.sent.len(), 3, "the oldest is still out");
        assert_eq!(window.acknowledged(2), None);
        assert_eq!(window.acknowledged(1), Some(70));
        assert!(window.sent.is_empty());
        window.push(What::Message(73));
        window.written(3);
        assert_eq!(window.acknowledged(3), Some(73));
    }

    struct Asked(Arc<Mutex<Vec<String>>>);

    impl Requests for Asked {
        fn publish(&self, _: Message) -> bool {
            true
        }

        fn subscribe(&self, filters: Vec<String>) -> bool {
            self.0.lock().extend(filters);
            true
        }

        fn unsubscribe(&self, _: &str) -> bool {
            true
        }

        fn acknowledge(&self, _: u16) -> bool {
            true
        }
    }

    /// A filter that finds the window full of messages is asked for when one of them is done.
    #[test]
    fn a_filter_waits_for_room_and_no_longer() {
        let mut settings = MqttSettings::new("m", "127.0.0.1", 1);
        settings.window = 1;
        let (shared, asked) = (Shared::new(&settings), Arc::default());
        shared.up(Asked(Arc::clone(&asked)), false, settings.takes());
        shared.state.lock().window.push(What::Message(7));
        shared.written(1);
        shared.state.lock().wanted.push("a/#".into());
        shared.state.lock().ask_for_wanted();
        assert!(asked.lock().is_empty());
        shared.acknowledged(1, None);
        assert_eq!(*asked.lock(), ["a/#"]);
    }

    #[test]
    fn a_filter_that_the_broker_refuses_is_told() {
        let shared = Shared::new(&MqttSettings::new("m", "127.0.0.1", 1));
        let filters = ["a/#", "b/#"].map(ToOwned::to_owned).into();
        let mut state = shared.state.lock();
        state.window.push(What::Filters(Box::new(Filters(filters))));
        state.window.written(1);
        drop(state);
        shared.answered(1, [None, Some("Failure".to_owned())]);
        let (filter, reason) = ("b/#".into(), "Failure".into());
        let told = [UplinkEvent::NotSubscribed { filter, reason }];
        assert_eq!(shared.state.lock().events, told);
    }

    /// Subscriptions take places in the window, as they take numbers, and an answer of the wrong kind ends nothing.
    #[test]
    fn an_answer_is_only_for_what_was_asked() {
        let mut window = Window::default();
        let filters = || Filters(vec!["a/#".to_owned()]);
        window.push(What::Filters(Box::new(filters())));
        window.push(What::Message(7));
        assert_eq!((window.written(1), window.written(2)), (None, None));
        assert_eq!(window.acknowledged(1), None);
        assert_eq!(window.answered(2), None);
        assert_eq!(window.sent.len(), 2);
        assert_eq!(window.acknowledged(2), Some(7));
        assert_eq!(window.sent.len(), 2, "the subscription is still out");
        assert_eq!(window.answered(1), Some(filters()));
        assert!(window.sent.is_empty());
    }
}
