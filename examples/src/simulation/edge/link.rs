//! A client's way to the broker on which messages overtake one another and come twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use peaberry_edge::uplink::{
    AckToken, MemoryBroker, MemoryUplink, Message, SubmitError, Uplink, UplinkEvent,
};

/// How the links are at present. Shared by all of them.
#[derive(Default)]
pub(super) struct Weather {
    /// Counts the steps of the world.
    pub(super) step: AtomicU64,
    /// How many of a thousand messages are late.
    pub(super) late: AtomicU32,
    /// How many of a thousand messages come twice.
    pub(super) twice: AtomicU32,
    /// How many were late, and were overtaken.
    pub(super) delayed: AtomicU64,
    /// How many came twice.
    pub(super) repeated: AtomicU64,
}

/// How many steps a message may be late.
const LATE_STEPS_MAX: u64 = 25;

/// A [`MemoryUplink`] in some [`Weather`].
pub(super) struct Link {
    inner: MemoryUplink,
    weather: Arc<Weather>,
    rng: fastrand::Rng,
    late: Vec<(u64, UplinkEvent)>,
    heard: Vec<UplinkEvent>,
}

impl Link {
    pub(super) fn new(
        broker: &MemoryBroker,
        name: &str,
        weather: &Arc<Weather>,
        rng: fastrand::Rng,
    ) -> Self {
        Self {
            inner: broker.connect(name),
            weather: weather.clone(),
            rng,
            late: Vec::new(),
            heard: Vec::new(),
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
                weather.delayed.fetch_add(1, Ordering::Relaxed);
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
                events.push(event);
            }
            _ => events.push(event),
        }
    }
}

impl Uplink for Link {
    fn subscribe(&mut self, filter: &str) {
        self.inner.subscribe(filter);
    }

    fn subscribe_now(&mut self, filters: &mut dyn Iterator<Item = String>) -> usize {
        self.inner.subscribe_now(filters)
    }

    fn unsubscribe(&mut self, filter: &str) {
        self.inner.unsubscribe(filter);
    }

    fn room(&self) -> usize {
        self.inner.room()
    }

    fn submit(&mut self, seq: u64, message: Message) -> Result<(), SubmitError> {
        self.inner.submit(seq, message)
    }

    fn acknowledge(&mut self, token: AckToken) {
        self.inner.acknowledge(token);
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<UplinkEvent>) -> Poll<()> {
        let before = events.len();
        let mut heard = std::mem::take(&mut self.heard);
        let _ = self.inner.poll_events(cx, &mut heard);
        for event in heard.drain(..) {
            self.pass(event, events);
        }
        self.heard = heard;
        let step = self.weather.step.load(Ordering::Relaxed);
        let due = self.late.extract_if(.., |(until, _)| *until <= step);
        events.extend(due.map(|(_, event)| event));
        if events.len() > before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
