//! What runs beside each replica of the group, between it and the clients.

mod in_flight;
mod log_clock;
mod mail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use peaberry_consensus::RaftEvent;
use peaberry_core::{Channel, Effects, Envelope, Input, Instant, PeerId, Protocol, ProtocolId};

use self::in_flight::InFlight;
use self::log_clock::LogClock;
pub(crate) use self::log_clock::TICK_MS;
use self::mail::Mail;
use crate::codec::Malformed;
use crate::message::{Again, Call, CallKind, Told, calls};
use crate::request::{
    Entry, EntryWriter, Query, Refusal, Reply, Request, begin_queries, put_frame,
};

/// The protocol on which services and clients talk.
pub const LOCKD_PROTOCOL: ProtocolId = ProtocolId(20);

/// The channel of the lock service on replicated group `group`.
#[must_use]
pub const fn lockd_channel(group: u64) -> Channel {
    Channel::new(LOCKD_PROTOCOL, group)
}

/// Calls of one peer that may be unanswered. With 512 bytes each it holds 2 MiB.
pub const CALLS_PER_PEER_MAX: usize = 4_096;

/// Calls of all peers that may be unanswered.
pub const CALLS_MAX: usize = 65_536;

/// When an entry is long enough; the next request begins another.
const ENTRY_BYTES: usize = 64 << 10;

/// Entries and reads that wait for the group, together. What comes behind waits here and shares an entry.
const IN_FLIGHT_MAX: usize = 64;

/// How long renewals wait for company: they make at most ten entries a second.
const RENEWALS_EVERY: Duration = Duration::from_millis(100);

/// How long a new leader waits before it asks the table for its time again.
const STATUS_RETRY: Duration = Duration::from_millis(50);

/// Takes clients' calls to the group and its answers back to them, as a [`Protocol`].
///
/// Runs on each replica; only the leader's does more than say who leads. It puts all requests of a turn into one entry,
/// stamps the entry with log time, and proposes an empty one when a lease is due. Log time goes on from the table's own,
/// read by quorum when this replica becomes leader: before that nothing is stamped. It keeps nothing on disk: whatever
/// is lost with it, clients ask again, and the table knows what it has executed.
///
/// [`Replica::add_to`](crate::Replica::add_to) puts it and a group together.
#[derive(Debug)]
pub struct LockService {
    local: PeerId,
    term: u64,
    leader: Option<PeerId>,
    /// The log time to stamp with; `None` unless this replica leads and has read the table's.
    clock: Option<LogClock>,
    /// When to ask for the table's time, if not asked already.
    status_at: Option<Instant>,
    /// When the first lease runs out, in log time, behind the entry at the index.
    next_expiry: (u64, Option<u64>),
    requests: VecDeque<Pending>,
    renewals: Vec<Pending>,
    renewals_sent: Option<Instant>,
    queries: VecDeque<Pending>,
    in_flight: BTreeMap<u64, InFlight>,
    /// The token of the empty entry that has not come back.
    ticking: Option<u64>,
    last_token: u64,
    unanswered: BTreeMap<PeerId, usize>,
    unanswered_sum: usize,
    mail: Mail,
    deadline: Option<Instant>,
}

/// A call that waits to be put into an entry or a read.
#[derive(Debug)]
struct Pending {
    asker: Asker,
    body: Bytes,
}

/// Whom to answer.
#[derive(Clone, Copy, Debug)]
struct Asker {
    peer: PeerId,
    call: u64,
}

/// What a [`LockService`] is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceCommand {
    /// What the group emitted, in its order.
    Group(Vec<RaftEvent<u64>>),
    /// The group goes on from a backup of `from`: see [`Entry::Restored`]. Only the leader takes it.
    DeclareRestored {
        /// The incarnation in the backup.
        from: u64,
    },
}

/// What a [`LockService`] wants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// Have the group replicate a command.
    Propose {
        /// Comes back with the outcome.
        token: u64,
        /// The command.
        command: Bytes,
    },
    /// Have the group answer a query.
    Read {
        /// Comes back with the answer.
        token: u64,
        /// The query.
        query: Bytes,
    },
    /// [`ServiceCommand::DeclareRestored`] has ended.
    Restored {
        /// Whether the entry was committed. If not, declare it again to whoever leads.
        committed: bool,
    },
    /// A peer sent what no correct client sends. It was ignored.
    Misbehaved {
        /// Who.
        peer: PeerId,
        /// What is wrong with its bytes.
        reason: Malformed,
    },
}

impl LockService {
    /// The service of the replica on peer `local`.
    #[must_use]
    pub fn new(local: PeerId) -> Self {
        Self {
            local,
            term: 0,
            leader: None,
            clock: None,
            status_at: None,
            next_expiry: (0, None),
            requests: VecDeque::new(),
            renewals: Vec::new(),
            renewals_sent: None,
            queries: VecDeque::new(),
            in_flight: BTreeMap::new(),
            ticking: None,
            last_token: 0,
            unanswered: BTreeMap::new(),
            unanswered_sum: 0,
            mail: Mail::default(),
            deadline: None,
        }
    }

    fn leads(&self) -> bool {
        self.leader == Some(self.local)
    }

    fn message(&mut self, message: &Envelope, fx: &mut Effects<'_, ServiceEvent>) {
        let peer = message.from;
        let outcome = calls(&message.payload).and_then(|mut calls| {
            calls.try_for_each(|call| call.map(|call| self.call(peer, call, &message.payload)))
        });
        if let Err(reason) = outcome {
            fx.emit(ServiceEvent::Misbehaved { peer, reason });
        }
    }

    fn call(&mut self, peer: PeerId, call: Call<'_>, message: &Bytes) {
        let asker = Asker {
            peer,
            call: call.number,
        };
        let again = |reason| Told::Again {
            call: asker.call,
            reason,
        };
        if !self.leads() {
            let hint = self.leader;
            self.mail.tell(peer, again(Again::NotLeader { hint }));
            return;
        }
        let of_peer = self.unanswered.entry(peer).or_default();
        if *of_peer >= CALLS_PER_PEER_MAX || self.unanswered_sum >= CALLS_MAX {
            self.mail.tell(peer, again(Again::Busy));
            return;
        }
        let body = message.slice_ref(call.body);
        let queue = match call.kind {
            CallKind::Query => &mut self.queries,
            CallKind::Request => match Request::decode(call.body) {
                Ok(Request::Renew { .. }) => {
                    *of_peer += 1;
                    self.unanswered_sum += 1;
                    self.renewals.push(Pending { asker, body });
                    return;
                }
                Ok(_) => &mut self.requests,
                Err(_) => {
                    let mut body = Vec::new();
                    Reply::Refused(Refusal::Malformed).encode(&mut body);
                    let call = asker.call;
                    self.mail.tell(peer, Told::Reply { call, body: &body });
                    return;
                }
            },
        };
        *of_peer += 1;
        self.unanswered_sum += 1;
        queue.push_back(Pending { asker, body });
    }

    /// Answers a call and forgets it.
    fn answer(&mut self, asker: Asker, told: Told<'_>) {
        self.unanswered_sum = self.unanswered_sum.saturating_sub(1);
        if let Some(count) = self.unanswered.get_mut(&asker.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.unanswered.remove(&asker.peer);
            }
        }
        self.mail.tell(asker.peer, told);
    }

    fn ask_again(&mut self, asker: Asker, reason: Again) {
        let call = asker.call;
        self.answer(asker, Told::Again { call, reason });
    }

    /// Sends away what waits here: another replica leads.
    fn turn_away(&mut self) {
        let hint = self.leader;
        let requests = std::mem::take(&mut self.requests);
        let queries = std::mem::take(&mut self.queries);
        let renewals = std::mem::take(&mut self.renewals);
        for pending in requests.into_iter().chain(queries).chain(renewals) {
            self.ask_again(pending.asker, Again::NotLeader { hint });
        }
    }

    fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// Asks for the table's time, which is where a new leader's goes on.
    fn read_status(&mut self, fx: &mut Effects<'_, ServiceEvent>) {
        self.status_at = None;
        let token = self.next_token();
        let mut scratch = Vec::new();
        Query::Status.encode(&mut scratch);
        let mut query = begin_queries(0);
        put_frame(&mut query, self.local, &scratch);
        let query = query.into();
        self.in_flight.insert(token, InFlight::Status(self.term));
        fx.emit(ServiceEvent::Read { token, query });
    }

    fn read_queries(&mut self, stamp: u64, fx: &mut Effects<'_, ServiceEvent>) {
        while !self.queries.is_empty() && self.in_flight.len() < IN_FLIGHT_MAX {
            let count = self
                .queries
                .len()
                .min(crate::limits::REQUESTS_PER_ENTRY_MAX);
            let mut query = begin_queries(stamp);
            let mut askers = Vec::with_capacity(count);
            for pending in self.queries.drain(..count) {
                put_frame(&mut query, pending.asker.peer, &pending.body);
                askers.push(pending.asker);
            }
            let token = self.next_token();
            self.in_flight.insert(token, InFlight::Queries(askers));
            let query = query.into();
            fx.emit(ServiceEvent::Read { token, query });
        }
    }

    /// Proposes what waits, stamped with log time before this turn's tick: a renewal that has arrived comes before the
    /// end of its lease.
    fn propose_requests(&mut self, now: Instant, stamp: u64, fx: &mut Effects<'_, ServiceEvent>) {
        let renewals_due = self.renewals_due().is_some_and(|due| due <= now);
        while (renewals_due && !self.renewals.is_empty()) || !self.requests.is_empty() {
            if self.in_flight.len() >= IN_FLIGHT_MAX {
                return;
            }
            self.propose_entry(now, stamp, fx);
        }
    }

    fn propose_entry(&mut self, now: Instant, stamp: u64, fx: &mut Effects<'_, ServiceEvent>) {
        let mut entry = EntryWriter::new(stamp);
        let mut askers = Vec::with_capacity(self.renewals.len() + self.requests.len());
        while !entry.is_full() && entry.bytes() < ENTRY_BYTES {
            // Renewals go along with any entry; their order among themselves decides nothing.
            let next = self.renewals.pop();
            self.renewals_sent = next.as_ref().map(|_| now).or(self.renewals_sent);
            let Some(pending) = next.or_else(|| self.requests.pop_front()) else {
                break;
            };
            entry.push(pending.asker.peer, &pending.body);
            askers.push(pending.asker);
        }
        let token = self.next_token();
        self.in_flight.insert(token, InFlight::Entry(askers));
        let command = entry.finish();
        fx.emit(ServiceEvent::Propose { token, command });
    }

    fn renewals_due(&self) -> Option<Instant> {
        let waiting = !self.renewals.is_empty();
        waiting.then(|| {
            self.renewals_sent
                .map_or_else(Instant::default, |sent| sent + RENEWALS_EVERY)
        })
    }

    /// Proposes an entry without requests when a lease is due, or when the table's time is far behind.
    fn propose_tick(&mut self, fx: &mut Effects<'_, ServiceEvent>) {
        let (Some(clock), (_, Some(expiry))) = (&self.clock, self.next_expiry) else {
            return;
        };
        let due = expiry <= clock.time() || clock.is_far_ahead();
        if !due || self.ticking.is_some() || self.in_flight.len() >= IN_FLIGHT_MAX {
            return;
        }
        let command = EntryWriter::new(clock.time()).finish();
        let token = self.next_token();
        self.ticking = Some(token);
        self.in_flight.insert(token, InFlight::Entry(Vec::new()));
        fx.emit(ServiceEvent::Propose { token, command });
    }

    fn declare_restored(&mut self, from: u64, fx: &mut Effects<'_, ServiceEvent>) {
        let Some(clock) = &self.clock else {
            fx.emit(ServiceEvent::Restored { committed: false });
            return;
        };
        let log_time_ms = clock.time();
        let command = Entry::Restored { log_time_ms, from }.encode().into();
        let token = self.next_token();
        self.in_flight.insert(token, InFlight::Restored);
        fx.emit(ServiceEvent::Propose { token, command });
    }

    fn lead(&mut self, now: Instant, fx: &mut Effects<'_, ServiceEvent>) {
        if self.status_at.is_some_and(|at| at <= now) {
            self.read_status(fx);
        }
        let Some(stamp) = self.clock.as_ref().map(LogClock::time) else {
            return;
        };
        self.read_queries(stamp, fx);
        self.propose_requests(now, stamp, fx);
        let needed = self.next_expiry.1.is_some();
        if let Some(clock) = &mut self.clock {
            clock.run(now, needed);
            clock.tick(now);
        }
        self.propose_tick(fx);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let ticks = self.clock.as_ref().and_then(LogClock::deadline);
        let renewals = self
            .renewals_due()
            .filter(|_| self.clock.is_some() && self.in_flight.len() < IN_FLIGHT_MAX);
        [self.status_at, ticks, renewals]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Protocol for LockService {
    type Command = ServiceCommand;
    type Event = ServiceEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<ServiceCommand>,
        fx: &mut Effects<'_, ServiceEvent>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Message(message) => self.message(&message, fx),
            Input::Command(ServiceCommand::Group(events)) => {
                for event in events {
                    self.group_event(now, event, fx);
                }
            }
            Input::Command(ServiceCommand::DeclareRestored { from }) => {
                self.declare_restored(from, fx);
            }
            // A client that is gone asks again when it is back; ticks and retries are looked at when settling.
            Input::Unreachable(_) | Input::Timeout | Input::Committed(_) | Input::Read(..) => {}
        }
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, ServiceEvent>,
    ) -> Result<(), Infallible> {
        if self.leads() {
            self.lead(now, fx);
        }
        self.mail.send(fx);
        self.deadline = self.next_deadline();
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
