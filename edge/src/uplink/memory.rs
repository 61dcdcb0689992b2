//! A broker within the process, with faults from a seed: for tests, examples and simulation.
//!
//! It has no time of its own: what is submitted is with its subscribers at once, and a connection that a fault breaks is back
//! at once. Longer outages are made with [`cut`](MemoryBroker::cut) and [`kill`](MemoryBroker::kill).

pub(super) mod router;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use self::router::Router;
use super::{AckToken, Message, Qos, SubmitError, Uplink, UplinkEvent};
use crate::payload::MESSAGE_BYTES_MAX;

/// How many unacknowledged messages the broker keeps for one session. What comes beyond is lost, as with real ones.
pub const SESSION_MESSAGES_MAX: usize = 100_000;

/// How many messages one uplink may have on their way.
pub const IN_FLIGHT_MAX: usize = 1_024;

/// How often what goes wrong; each of a thousand submitted messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The connection breaks before the broker has the message.
    pub lost: u32,
    /// The broker has it, and the connection breaks before it can say so.
    pub unanswered: u32,
    /// The subscribers get it twice.
    pub repeated: u32,
    /// The broker says that it has it, and loses it: what brokers do when they die.
    pub forgotten: u32,
}

/// How often what went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounts {
    /// See [`Faults::lost`].
    pub lost: u64,
    /// See [`Faults::unanswered`].
    pub unanswered: u64,
    /// See [`Faults::repeated`].
    pub repeated: u64,
    /// See [`Faults::forgotten`].
    pub forgotten: u64,
    /// Messages lost because a session already kept [`SESSION_MESSAGES_MAX`].
    pub overflowed: u64,
    /// See [`MemoryBroker::cut`].
    pub cuts: u64,
    /// See [`MemoryBroker::kill`].
    pub kills: u64,
}

/// The broker. Clones are the same one.
///
/// ```
/// use std::task::{Context, Poll, Waker};
/// use peaberry_edge::uplink::{MemoryBroker, Message, Uplink, UplinkEvent};
///
/// let broker = MemoryBroker::new(1);
/// let (mut machine, mut cloud) = (broker.connect("m-17"), broker.connect("cloud"));
/// cloud.subscribe("up/#");
/// machine.submit(7, Message::new("up/telemetry", "93.5")).unwrap();
///
/// let mut events = Vec::new();
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(machine.poll_events(&mut cx, &mut events), Poll::Ready(()));
/// assert_eq!(events, [UplinkEvent::Up { is_resumed: false }, UplinkEvent::Accepted(7)]);
/// events.clear();
/// let _ = cloud.poll_events(&mut cx, &mut events);
/// assert!(matches!(&events[1], UplinkEvent::Inbound { message, .. } if message.payload == "93.5"));
/// ```
#[derive(Clone)]
pub struct MemoryBroker(Arc<Mutex<Broker>>);

struct Broker {
    rng: fastrand::Rng,
    faults: Faults,
    counts: FaultCounts,
    is_running: bool,
    clients: Vec<Client>,
    names: BTreeMap<Box<str>, usize>,
    router: Router,
    retained: BTreeMap<Arc<str>, Message>,
    tokens: u64,
}

struct Client {
    wanted: BTreeSet<Box<str>>,
    is_linked: bool,
    is_up: bool,
    /// The broker knows it from before.
    has_session: bool,
    /// What it has not acknowledged.
    unacknowledged: BTreeMap<u64, Message>,
    events: VecDeque<UplinkEvent>,
    accepted_count: usize,
    waker: Option<Waker>,
}

impl MemoryBroker {
    /// A broker that is running, without faults of its own.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_faults(seed, Faults::default())
    }

    /// A broker with faults; one seed and one order of calls give one history.
    #[must_use]
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        Self(Arc::new(Mutex::new(Broker {
            rng: fastrand::Rng::with_seed(seed),
            faults,
            counts: FaultCounts::default(),
            is_running: true,
            clients: Vec::new(),
            names: BTreeMap::new(),
            router: Router::default(),
            retained: BTreeMap::new(),
            tokens: 0,
        })))
    }

    /// The uplink of the client called `name`. A name that is connected already is taken over, with its session.
    #[must_use]
    pub fn connect(&self, name: &str) -> MemoryUplink {
        let mut broker = self.0.lock();
        let client = broker.client(name);
        broker.down(client, "another took over");
        if let Some(state) = broker.clients.get_mut(client) {
            state.events.clear();
            state.wanted.clear();
            state.is_linked = true;
        }
        broker.up(client);
        MemoryUplink {
            broker: self.clone(),
            client,
        }
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// The broker dies and forgets all sessions, what it kept for them, and what it retained.
    pub fn kill(&self) {
        let mut broker = self.0.lock();
        if !broker.is_running {
            return;
        }
        broker.is_running = false;
        broker.counts.kills += 1;
        broker.router = Router::default();
        broker.retained.clear();
        for client in 0..broker.clients.len() {
            broker.down(client, "the broker died");
            if let Some(client) = broker.clients.get_mut(client) {
                client.has_session = false;
                client.unacknowledged.clear();
            }
        }
    }

    /// The broker starts again.
    pub fn start(&self) {
        let mut broker = self.0.lock();
        broker.is_running = true;
        for client in 0..broker.clients.len() {
            broker.up(client);
        }
    }

    /// Cuts the link of one client, whose session the broker keeps. What was on its way to it goes again later.
    pub fn cut(&self, name: &str) {
        let mut broker = self.0.lock();
        let client = broker.client(name);
        broker.counts.cuts += 1;
        broker.down(client, "the link was cut");
        if let Some(client) = broker.clients.get_mut(client) {
            client.is_linked = false;
        }
    }

    /// Mends the link of one client.
    pub fn mend(&self, name: &str) {
        let mut broker = self.0.lock();
        let client = broker.client(name);
        if let Some(client) = broker.clients.get_mut(client) {
            client.is_linked = true;
        }
        broker.up(client);
    }

    /// What has gone wrong so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.0.lock().counts
    }
}

impl Broker {
    fn client(&mut self, name: &str) -> usize {
        if let Some(&client) = self.names.get(name) {
            return client;
        }
        self.clients.push(Client {
            wanted: BTreeSet::new(),
            is_linked: false,
            is_up: false,
            has_session: false,
            unacknowledged: BTreeMap::new(),
            events: VecDeque::new(),
            accepted_count: 0,
            waker: None,
        });
        let client = self.clients.len() - 1;
        self.names.insert(name.into(), client);
        client
    }

    fn up(&mut self, at: usize) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        if !self.is_running || !client.is_linked || client.is_up {
            return;
        }
        client.is_up = true;
        let is_resumed = std::mem::replace(&mut client.has_session, true);
        client.push(UplinkEvent::Up { is_resumed });
        for (&token, message) in &client.unacknowledged {
            let token = Some(AckToken(token));
            let message = message.clone();
            client
                .events
                .push_back(UplinkEvent::Inbound { message, token });
        }
        for filter in client.wanted.clone() {
            self.subscribe(at, &filter);
        }
    }

    /// What the client has not yet heard is lost with the connection; what it has not acknowledged is kept.
    fn down(&mut self, at: usize, reason: &str) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        if !std::mem::replace(&mut client.is_up, false) {
            return;
        }
        client.accepted_count = 0;
        let is_news = |event: &UplinkEvent| {
            matches!(event, UplinkEvent::Up { .. } | UplinkEvent::Down { .. })
        };
        client.events.retain(is_news);
        client.push(UplinkEvent::Down {
            reason: reason.into(),
        });
    }

    /// What is retained is sent with each subscription, renewed ones too, as MQTT 3.1.1 has it (section 3.8.4).
    fn subscribe(&mut self, client: usize, filter: &str) {
        self.router.subscribe(filter, client);
        let retained: Vec<_> = self.retained.values().cloned().collect();
        for message in retained {
            if router::is_match(filter, &message.topic) {
                self.deliver(client, &message);
            }
        }
    }

    fn deliver(&mut self, at: usize, message: &Message) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        let mut token = None;
        if message.qos == Qos::AtLeastOnce {
            if client.unacknowledged.len() >= SESSION_MESSAGES_MAX {
                self.counts.overflowed += 1;
                return;
            }
            self.tokens += 1;
            client.unacknowledged.insert(self.tokens, message.clone());
            token = Some(AckToken(self.tokens));
        }
        if client.is_up {
            let message = message.clone();
            client.push(UplinkEvent::Inbound { message, token });
        }
    }

    fn publish(&mut self, message: &Message) {
        if message.is_retained {
            let topic = message.topic.clone();
            if message.payload.is_empty() {
                self.retained.remove(&topic);
            } else {
                self.retained.insert(topic, message.clone());
            }
        }
        // Who is subscribed already is not told that it is kept, as MQTT 3.1.1 has it (section 3.3.1.3).
        let message = &Message {
            is_retained: false,
            ..message.clone()
        };
        for client in self.router.subscribers(&message.topic) {
            self.deliver(client, message);
        }
    }

    fn submit(&mut self, client: usize, seq: u64, message: &Message) {
        let roll = self.rng.u32(..1_000);
        let Faults {
            lost,
            unanswered,
            repeated,
            forgotten,
        } = self.faults;
        if roll < lost {
            self.counts.lost += 1;
            self.blip(client);
            return;
        }
        let roll = roll - lost;
        let is_forgotten =
            (unanswered + repeated..unanswered + repeated + forgotten).contains(&roll);
        if is_forgotten {
            self.counts.forgotten += 1;
        } else {
            self.publish(message);
        }
        if roll < unanswered {
            self.counts.unanswered += 1;
            self.blip(client);
            return;
        }
        if (unanswered..unanswered + repeated).contains(&roll) {
            self.counts.repeated += 1;
            self.publish(message);
        }
        if let Some(client) = self.clients.get_mut(client) {
            client.accepted_count += 1;
            client.push(UplinkEvent::Accepted(seq));
        }
    }

    fn blip(&mut self, client: usize) {
        self.down(client, "the connection broke");
        self.up(client);
    }
}

impl Client {
    fn push(&mut self, event: UplinkEvent) {
        self.events.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broker = self.0.lock();
        f.debug_struct("MemoryBroker")
            .field("is_running", &broker.is_running)
            .field("clients", &broker.names)
            .field("counts", &broker.counts)
            .finish_non_exhaustive()
    }
}

/// One client's way to a [`MemoryBroker`].
#[derive(Debug)]
pub struct MemoryUplink {
    broker: MemoryBroker,
    client: usize,
}

impl Uplink for MemoryUplink {
    fn subscribe(&mut self, filter: &str) {
        let mut broker = self.broker.0.lock();
        let Some(client) = broker.clients.get_mut(self.client) else {
            return;
        };
        client.wanted.insert(filter.into());
        if client.is_up {
            broker.subscribe(self.client, filter);
        }
    }

    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        let mut broker = self.broker.0.lock();
        if !broker.clients.get(self.client).is_some_and(|it| it.is_up) {
            return 0;
        }
        filters
            .map(|filter| broker.subscribe(self.client, &filter))
            .count()
    }

    fn unsubscribe(&mut self, filter: &str) {
        let mut broker = self.broker.0.lock();
        if let Some(client) = broker.clients.get_mut(self.client) {
            client.wanted.remove(filter);
            if client.is_up {
                broker.router.unsubscribe(filter, self.client);
            }
        }
    }

    fn room(&self) -> usize {
        let broker = self.broker.0.lock();
        match broker.clients.get(self.client) {
            Some(client) if client.is_up => IN_FLIGHT_MAX.saturating_sub(client.accepted_count),
            _ => 0,
        }
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        let bytes = message.payload.len() + message.topic.len();
        if bytes > MESSAGE_BYTES_MAX {
            let bytes_max = MESSAGE_BYTES_MAX;
            return Err(SubmitError::TooLong { bytes, bytes_max });
        }
        let mut broker = self.broker.0.lock();
        match broker.clients.get(self.client) {
            Some(client) if !client.is_up => return Err(SubmitError::Down),
            Some(client) if client.accepted_count >= IN_FLIGHT_MAX => {
                return Err(SubmitError::Busy);
            }
            _ => {}
        }
        broker.submit(self.client, seq, &message);
        Ok(())
    }

    fn acknowledge(&mut self, token: AckToken) {
        let mut broker = self.broker.0.lock();
        if let Some(client) = broker.clients.get_mut(self.client) {
            client.unacknowledged.remove(&token.0);
        }
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        let mut broker = self.broker.0.lock();
        let Some(client) = broker.clients.get_mut(self.client) else {
            return Poll::Pending;
        };
        if client.events.is_empty() {
            client.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        client.accepted_count = 0;
        // Its memory too: after an outage there may have been many.
        events.extend(std::mem::take(&mut client.events));
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
