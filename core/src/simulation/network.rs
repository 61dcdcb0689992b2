use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::substrate::{Event, Substrate};
use super::trace::{DropCause, TraceKind};
use crate::mailbox::Mailbox;
use crate::peer::{PeerId, Peers, ProtocolId};
use crate::transport::{Envelope, Outgoing, PAYLOAD_BYTES_MAX, Transport, TransportError};

/// How a simulated network treats messages; every one draws its own delay, so they overtake each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a struct of options, written with `..NetworkProfile::default()`"
)]
pub struct NetworkProfile {
    /// The least time on the way.
    pub delay_min: Duration,
    /// The most time on the way, for most messages.
    pub delay_max: Duration,
    /// The most time on the way for the few that dawdle.
    pub delay_long_max: Duration,
    /// How many of a million dawdle.
    pub long_per_million: u32,
    /// How many of a million are lost.
    pub loss_per_million: u32,
    /// How many of a million arrive twice.
    pub duplicate_per_million: u32,
    /// How many messages may be on one way from a machine to another; `send` refuses more.
    pub in_flight_max: u32,
    /// Where the machines stand, if not all in one place: what is drawn from the delays above is the way within a centre,
    /// and the way to another one takes its distance longer.
    pub centres: Centres,
}

/// Data centres, and how far a message has to go from one to another. The machines stand in them by turns, in the order in
/// which they were added: the first one in the first centre.
///
/// ```
/// use std::time::Duration;
/// use peaberry_core::simulation::Centres;
///
/// let ms = Duration::from_millis;
/// let centres = Centres::new(vec![vec![ms(0), ms(30)], vec![ms(30), ms(0)]]);
/// assert_eq!(centres.distance(0, 1), ms(30));
/// assert_eq!(centres.distance(0, 2), ms(0), "the third machine stands beside the first");
/// assert_eq!(Centres::default().distance(0, 1), ms(0), "one place");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Centres {
    distances: Vec<Vec<Duration>>,
}

impl Centres {
    /// `distances[from][to]` is the least time of one way between two centres.
    ///
    /// # Panics
    ///
    /// If not every centre has a distance to every one.
    #[must_use]
    pub fn new(distances: Vec<Vec<Duration>>) -> Self {
        let count = distances.len();
        assert!(
            distances.iter().all(|row| row.len() == count),
            "{count} centres have {count} distances each"
        );
        Self { distances }
    }

    /// How far the machine that was added as number `to`, from zero, is from the one that was added as number `from`.
    #[must_use]
    pub fn distance(&self, from: usize, to: usize) -> Duration {
        let count = self.distances.len().max(1);
        let row = self.distances.get(from % count);
        let distance = row.and_then(|row| row.get(to % count));
        distance.copied().unwrap_or_default()
    }
}

impl Default for NetworkProfile {
    /// A busy local network: 50 µs to 2 ms, one in a thousand up to 50 ms, no loss, no copies.
    fn default() -> Self {
        Self {
            delay_min: Duration::from_micros(50),
            delay_max: Duration::from_millis(2),
            delay_long_max: Duration::from_millis(50),
            long_per_million: 1_000,
            loss_per_million: 0,
            duplicate_per_million: 0,
            in_flight_max: 1 << 14,
            centres: Centres::default(),
        }
    }
}

/// What a burst makes of a network while it lasts.
const BURST_LOSS_PER_MILLION: u32 = 300_000;
const BURST_DUPLICATE_PER_MILLION: u32 = 300_000;
const BURST_LONG_PER_MILLION: u32 = 500_000;
const BURST_DELAY_MAX: Duration = Duration::from_millis(500);

/// The ways between machines, and what is on them.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) profile: NetworkProfile,
    rng: fastrand::Rng,
    /// `links[from][to]`.
    links: Vec<Vec<Link>>,
    messages: u64,
    /// Until when, in world nanoseconds, messages are lost, copied and delayed more than the profile says.
    pub(super) loss_until: u64,
    pub(super) duplicate_until: u64,
    pub(super) delay_until: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// How many partitions cut it.
    cuts: u32,
    in_flight: u32,
}

/// What becomes of one message.
struct Fate {
    lost: bool,
    delay: u64,
    /// The delay of a second copy.
    copy: Option<u64>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            profile: NetworkProfile::default(),
            rng: fastrand::Rng::with_seed(seed),
            links: Vec::new(),
            messages: 0,
            loss_until: 0,
            duplicate_until: 0,
            delay_until: 0,
        }
    }

    pub(super) fn grow(&mut self) {
        let count = self.links.len() + 1;
        self.links.resize_with(count, Vec::new);
        for row in &mut self.links {
            row.resize(count, Link::default());
        }
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        self.links
            .get_mut(from)
            .and_then(|row| row.get_mut(to))
            .expect("links grow with the machines")
    }

    /// Adds a cut; `true` if the link was whole.
    pub(super) fn cut(&mut self, from: usize, to: usize) -> bool {
        let link = self.link(from, to);
        link.cuts += 1;
        link.cuts == 1
    }

    /// Takes a cut away; `true` if the link is whole now and was not before.
    pub(super) fn mend(&mut self, from: usize, to: usize) -> bool {
        let link = self.link(from, to);
        let was_cut = link.cuts > 0;
        link.cuts = link.cuts.saturating_sub(1);
        was_cut && link.cuts == 0
    }

    /// Takes every cut of a link away; `true` if it was cut.
    pub(super) fn mend_fully(&mut self, from: usize, to: usize) -> bool {
        std::mem::take(&mut self.link(from, to).cuts) > 0
    }

    pub(super) fn is_cut(&mut self, from: usize, to: usize) -> bool {
        self.link(from, to).cuts > 0
    }

    pub(super) const fn end_bursts(&mut self) {
        self.loss_until = 0;
        self.duplicate_until = 0;
        self.delay_until = 0;
    }

    fn fate(&mut self, now: u64) -> Fate {
        let profile = &self.profile;
        let during = |until: u64, burst: u32, usual: u32| if now < until { burst } else { usual };
        let loss = during(
            self.loss_until,
            BURST_LOSS_PER_MILLION,
            profile.loss_per_million,
        );
        let duplicate = during(
            self.duplicate_until,
            BURST_DUPLICATE_PER_MILLION,
            profile.duplicate_per_million,
        );
        let lost = loss > 0 && self.rng.u32(..1_000_000) < loss;
        let copied = duplicate > 0 && self.rng.u32(..1_000_000) < duplicate;
        Fate {
            lost,
            delay: self.delay(now),
            copy: copied.then(|| self.delay(now)),
        }
    }

    fn delay(&mut self, now: u64) -> u64 {
        let profile = &self.profile;
        let slow = now < self.delay_until;
        let (long, long_max) = if slow {
            (BURST_LONG_PER_MILLION, BURST_DELAY_MAX)
        } else {
            (profile.long_per_million, profile.delay_long_max)
        };
        let (min, max) = (nanos(profile.delay_min), nanos(profile.delay_max));
        let is_long = long > 0 && self.rng.u32(..1_000_000) < long;
        let max = if is_long { nanos(long_max) } else { max };
        self.rng.u64(min..=max.max(min))
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Substrate {
    /// Takes one message over from its sender; gives it back when it is refused.
    fn post(&mut self, from: usize, outgoing: Outgoing) -> Result<(), Outgoing> {
        let Some(&to) = self.machines.get(&outgoing.to) else {
            return Err(outgoing);
        };
        let in_flight_max = self.network.profile.in_flight_max;
        if to == from
            || outgoing.payload.len() > PAYLOAD_BYTES_MAX
            || self.network.link(from, to).in_flight >= in_flight_max
        {
            return Err(outgoing);
        }
        self.network.messages += 1;
        let message = self.network.messages;
        let (sender, leaves) = {
            let port = self.port(from);
            (port.peer, port.elapsed)
        };
        let leaves = self.now_nanos() + leaves;
        self.record(TraceKind::Sent {
            message,
            from: sender,
            to: outgoing.to,
            channel: outgoing.channel,
            payload: outgoing.payload.clone(),
        });
        let fate = self.network.fate(leaves);
        let distance = nanos(self.network.profile.centres.distance(from, to));
        let arrives = leaves + distance;
        let cause = if self.network.is_cut(from, to) {
            Some(DropCause::Cut)
        } else {
            fate.lost.then_some(DropCause::Loss)
        };
        if let Some(cause) = cause {
            let to = outgoing.to;
            self.record(TraceKind::Dropped { message, to, cause });
            return Ok(());
        }
        let envelope = Envelope {
            from: sender,
            channel: outgoing.channel,
            payload: outgoing.payload,
        };
        if let Some(delay) = fate.copy {
            self.dispatch(arrives + delay, from, to, message, envelope.clone());
        }
        self.dispatch(arrives + fate.delay, from, to, message, envelope);
        Ok(())
    }

    fn dispatch(&mut self, at: u64, from: usize, to: usize, message: u64, envelope: Envelope) {
        self.network.link(from, to).in_flight += 1;
        self.queue.push(
            at,
            Event::Deliver {
                from,
                to,
                message,
                envelope,
            },
        );
    }

    /// Puts a message into its receiver's mailbox, if it can still get there.
    pub(super) fn deliver(
        &mut self,
        from: usize,
        to: usize,
        message: u64,
        envelope: Envelope,
        scratch: &mut Vec<Envelope>,
    ) {
        let link = self.network.link(from, to);
        link.in_flight -= 1;
        let is_cut = link.cuts > 0;
        let port = self.port(to);
        let receiver = port.peer;
        let mailbox = port.mailbox(envelope.channel.protocol, envelope.from);
        let kind = match mailbox {
            _ if is_cut => Err(DropCause::Cut),
            None => Err(DropCause::Unbound),
            Some(mailbox) => {
                scratch.push(envelope);
                mailbox.deliver(scratch);
                if scratch.is_empty() {
                    Ok(())
                } else {
                    scratch.clear();
                    Err(DropCause::Full)
                }
            }
        };
        let to = receiver;
        self.record(match kind {
            Ok(()) => TraceKind::Delivered { message, to },
            Err(cause) => TraceKind::Dropped { message, to, cause },
        });
    }
}

/// A protocol's mailbox on one machine.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) protocol: ProtocolId,
    pub(super) accept: Peers,
    pub(super) mailbox: Weak<Mailbox>,
}

/// One life of a machine on the simulated network.
pub(super) struct SimulatedTransport {
    pub(super) local: PeerId,
    pub(super) machine: usize,
    pub(super) incarnation: u64,
    pub(super) substrate: Arc<Mutex<Substrate>>,
}

impl Transport for SimulatedTransport {
    fn local(&self) -> PeerId {
        self.local
    }

    fn bind(
        &self,
        protocol: ProtocolId,
        accept: Peers,
        mailbox: Arc<Mailbox>,
    ) -> Result<(), TransportError> {
        let mut substrate = self.substrate.lock();
        let port = substrate.port(self.machine);
        let is_taken =
            |binding: &Binding| binding.protocol == protocol && binding.mailbox.strong_count() > 0;
        if port.incarnation != self.incarnation || port.bindings.iter().any(is_taken) {
            return Err(TransportError::AlreadyBound {
                protocol,
                local: self.local,
            });
        }
        port.bindings.retain(|binding| binding.protocol != protocol);
        port.bindings.push(Binding {
            protocol,
            accept,
            mailbox: Arc::downgrade(&mailbox),
        });
        Ok(())
    }

    fn send(&self, batch: &mut Vec<Outgoing>) {
        let mut substrate = self.substrate.lock();
        if !substrate.port(self.machine).is_alive(self.incarnation) {
            batch.clear();
            return;
        }
        let mut refused = Vec::new();
        for outgoing in batch.drain(..) {
            let is_chosen = substrate.is_chosen(self.local, &outgoing);
            if let Err(outgoing) = substrate.post(self.machine, outgoing) {
                refused.push(outgoing);
            } else if substrate.dies_after_send(self.machine, is_chosen) {
                // The machine dies here: what is behind in the batch never leaves.
                break;
            }
        }
        batch.append(&mut refused);
    }
}
