//! A client's way to the broker on which messages overtake one another, come twice and are refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use peaberry_edge::uplink::{
    LayeredUplink, MemoryUplink, Message, SubmitError, Uplink, UplinkEvent, UplinkLayer,
};

use super::network::Network;
use super::trace::Trace;

/// How the links are at present. Shared by all of them.
#[derive(Default)]
pub(super) struct Weather {
    /// Counts the steps of the world.
    pub(super) step: AtomicU64,
    /// How many of a thousand messages are late.
    pub(super) late: AtomicU32,
    /// How many of a thousand messages come twice.
    pub(super) twice: AtomicU32,
    /// How many of a thousand messages to the broker it refuses.
    pub(super) refused: AtomicU32,
    /// How many came late.
    pub(super) delayed: AtomicU64,
    /// How many came twice.
    pub(super) repeated: AtomicU64,
    /// How many were refused.
    pub(super) refusals: AtomicU64,
}

/// How many steps a message may be late.
const LATE_STEPS_MAX: u64 = 25;

/// A [`MemoryUplink`] in some [`Weather`].
pub(super) type Link = LayeredUplink<Way>;

/// What the weather does to it.
pub(super) struct Way {
    name: &'static str,
    inner: MemoryUplink,
    weather: Arc<Weather>,
    trace: Trace,
    rng: fastrand::Rng,
    late: Vec<(u64, UplinkEvent)>,
    heard: Vec<UplinkEvent>,
    /// What is under way to the broker, and what it refuses.
    sent: BTreeMap<u64, Message>,
    refused: Vec<u64>,
    waker: Option<Waker>,
    accepted: Accepted,
}

/// What the broker has said that it has, over all lives and links of whoever asks.
pub(super) type Accepted = Arc<Mutex<Vec<Message>>>;

impl Way {
    /// What the broker accepts is added to `accepted`.
    pub(super) fn link(
        network: &Network,
        name: &'static str,
        rng: fastrand::Rng,
        accepted: &Accepted,
    ) -> Link {
        LayeredUplink::new(Self {
            name,
            inner: network.broker.connect(name),
            weather: network.weather.clone(),
            trace: network.trace.clone(),
            rng,
            late: Vec::new(),
            heard: Vec::new(),
            sent: BTreeMap::new(),
            refused: Vec::new(),
            waker: None,
            accepted: accepted.clone(),
        })
    }

    /// There is, or may be soon, something to hear.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn rolls(&mut self, per_mille: &AtomicU32) -> bool {
        self.rng.u32(..1000) < per_mille.load(Ordering::Relaxed)
    }

    fn pass(&mut self, event: UplinkEvent, events: &mut Vec<UplinkEvent>) {
        let weather = self.weather.clone();
        match event {
            UplinkEvent::Inbound { .. } if self.rolls(&weather.late) => {
                let step = weather.step.load(Ordering::Relaxed);
                let until = step + self.rng.u64(1..=LATE_STEPS_MAX);
                self.late.push((until, event));
            }
            UplinkEvent::Inbound { .. } if self.rolls(&weather.twice) => {
                weather.repeated.fetch_add(1, Ordering::Relaxed);
                events.push(event.clone());
                events.push(event);
            }
            UplinkEvent::Down { .. } => {
                // What is under way is lost with the connection; the broker knows that it was not acknowledged.
                self.late.clear();
                self.refused.clear();
                events.push(event);
            }
            UplinkEvent::Accepted(seq) => {
                self.accepted.lock().extend(self.sent.remove(&seq));
                events.push(event);
            }
            _ => events.push(event),
        }
    }
}

impl UplinkLayer for Way {
    fn inner(&self) -> &dyn Uplink {
        &self.inner
    }

    fn inner_mut(&mut self) -> &mut dyn Uplink {
        &mut self.inner
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        let weather = self.weather.clone();
        self.trace.sent(self.name, &message);
        if self.inner.room() > 0 && self.rolls(&weather.refused) {
            weather.refusals.fetch_add(1, Ordering::Relaxed);
            self.refused.push(seq);
            self.wake();
            return Ok(());
        }
        self.inner.submit(seq, message.clone())?;
        self.sent.insert(seq, message);
        Ok(())
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        let before = events.len();
        let mut heard = std::mem::take(&mut self.heard);
        let _ = self.inner.poll_events(cx, &mut heard);
        for event in heard.drain(..) {
            self.pass(event, events);
        }
        self.heard = heard;
        let refused = std::mem::take(&mut self.refused).into_iter();
        events.extend(refused.map(|seq| UplinkEvent::Refused {
            seq,
            reason: "the broker's quota is used up".into(),
        }));
        let step = self.weather.step.load(Ordering::Relaxed);
        let due = self.late.extract_if(.., |(until, _)| *until <= step);
        let on_time = events.len();
        events.extend(due.map(|(_, event)| event));
        let late = (events.len() - on_time) as u64;
        self.weather.delayed.fetch_add(late, Ordering::Relaxed);
        for event in events.get(before..).unwrap_or_default() {
            self.trace.heard(self.name, event);
        }
        self.waker = Some(cx.waker().clone());
        if !self.late.is_empty() {
            // The world's steps are no wakers.
            self.wake();
        }
        if events.len() > before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
