//! The client's side of the conversation, without tasks or futures.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use peaberry_core::{Effects, Envelope, Input, Instant, PeerId, Protocol};

use super::calls::{Calls, Numbering};
use super::session::{Claim, SessionState, Stage};
use crate::codec::Malformed;
use crate::error::LockError;
use crate::limits::PAGE_LOCKS_MAX;
use crate::message::{Again, CallKind, Told, tidings};
use crate::path::LockPath;
use crate::request::{
    Answer, Contention, Grant, Notice, Query, Reentry, Refusal, Reply, Request, SessionId,
};

/// Calls that a client leaves unanswered before it takes no more acquires, opens and queries. What ends something is
/// always taken.
pub const CLIENT_CALLS_MAX: usize = 4_096;

/// How often a client asks what its waiting claims have become: a notice may be lost.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// What an application asks of a [`ClientProtocol`]. Ids are the application's own, from one counter: none is used twice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCommand {
    /// Open a session and keep its lease. Answered by [`ClientEvent::Opened`].
    Open {
        /// The new session's id.
        session: u64,
        /// The length of its lease.
        ttl: Duration,
        /// What to call it.
        owner: Box<str>,
    },
    /// End a session. [`ClientEvent::Lost`] follows at once, [`ClientEvent::Closed`] when the table knows.
    Close {
        /// Which.
        session: u64,
    },
    /// Ask for a lock. Answered by [`ClientEvent::Acquired`].
    Acquire {
        /// The new claim's id.
        claim: u64,
        /// For which session.
        session: u64,
        /// Which lock.
        path: LockPath,
        /// What to do when it is held.
        contention: Contention,
        /// What to do when the session holds it.
        reentry: Reentry,
    },
    /// Give up a claim that holds. Answered by [`ClientEvent::Released`].
    Release {
        /// Which.
        claim: u64,
    },
    /// Ask about the table. Answered by [`ClientEvent::Answered`].
    Query {
        /// The question's id.
        query: u64,
        /// The question.
        what: Query,
    },
    /// Nobody cares any more for the claim, session or query of this id: undo it. Not answered.
    Abandon {
        /// Which.
        id: u64,
    },
}

/// What a [`ClientProtocol`] tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// [`ClientCommand::Open`] has ended.
    Opened {
        /// The session.
        session: u64,
        /// Whether it is open; [`Valid`](Self::Valid) came before.
        outcome: Result<(), LockError>,
    },
    /// What the session holds is held up to this time of the client's clock, whatever happens.
    Valid {
        /// The session.
        session: u64,
        /// Until when.
        until: Instant,
    },
    /// The session has ended, or may have. It is not spoken of again, except by [`Closed`](Self::Closed).
    Lost {
        /// The session.
        session: u64,
    },
    /// [`ClientCommand::Close`] has ended.
    Closed {
        /// The session.
        session: u64,
        /// [`LockError::Unconfirmed`]: only its lease's end has ended it.
        outcome: Result<(), LockError>,
    },
    /// [`ClientCommand::Acquire`] has ended.
    Acquired {
        /// The claim.
        claim: u64,
        /// What it was granted.
        outcome: Result<Grant, LockError>,
    },
    /// [`ClientCommand::Release`] has ended.
    Released {
        /// The claim.
        claim: u64,
        /// Whether it held until then.
        outcome: Result<(), LockError>,
    },
    /// [`ClientCommand::Query`] has ended.
    Answered {
        /// The question.
        query: u64,
        /// The answer.
        outcome: Result<Answer, LockError>,
    },
    /// A server sent what no correct server sends. It was ignored.
    Misbehaved {
        /// Who.
        peer: PeerId,
        /// What is wrong with its bytes.
        reason: Malformed,
    },
}

/// Finds the leader, asks until it is answered, renews leases at a third of their length, and knows when they may have
/// ended, as a [`Protocol`].
///
/// Lives on the application's own node, on [`lockd_channel`](crate::lockd_channel) of the service's group. Most
/// applications use it through [`LockClient`](crate::LockClient).
#[derive(Debug)]
pub struct ClientProtocol {
    pub(super) calls: Calls<Purpose>,
    pub(super) sessions: BTreeMap<u64, SessionState>,
    /// Open sessions by the table's name for them.
    pub(super) remotes: BTreeMap<SessionId, u64>,
    pub(super) claims: BTreeMap<u64, Claim>,
    /// Sessions whose timers are due at an instant.
    pub(super) alarms: BTreeSet<(Instant, u64)>,
    deadline: Option<Instant>,
}

/// Why a call was made.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Open {
        session: u64,
    },
    Renew {
        session: u64,
    },
    Close {
        session: u64,
        until: Instant,
    },
    Acquire {
        session: u64,
        claim: u64,
    },
    Cancel {
        session: u64,
        numbers: [u64; 2],
    },
    Release {
        session: u64,
        claim: u64,
        number: u64,
    },
    Poll {
        session: u64,
    },
    Query {
        query: u64,
    },
}

type Fx<'a, 'b> = &'a mut Effects<'b, ClientEvent>;

impl ClientProtocol {
    /// A client of the replicas on `servers`. `seed` draws nonces and the first call's number, and spreads retries: it
    /// must not repeat for the same peer, or a restarted client could be taken for the one before, and take that one's
    /// answers for its own.
    #[must_use]
    pub fn new(servers: Vec<PeerId>, seed: u64) -> Self {
        Self {
            calls: Calls::new(servers, seed),
            sessions: BTreeMap::new(),
            remotes: BTreeMap::new(),
            claims: BTreeMap::new(),
            alarms: BTreeSet::new(),
            deadline: None,
        }
    }

    pub(super) fn request(&mut self, now: Instant, request: &Request, purpose: Purpose) -> u64 {
        let mut body = Vec::with_capacity(48);
        request.encode(&mut body);
        // A renewal counts from when it was sent, so its answer must tell which attempt it is for.
        let numbering = match purpose {
            Purpose::Renew { .. } => Numbering::EachAttempt,
            _ => Numbering::Once,
        };
        let kind = (CallKind::Request, numbering);
        self.calls.begin(now, kind, body.into(), purpose)
    }

    fn query(&mut self, now: Instant, query: &Query, purpose: Purpose) -> u64 {
        let mut body = Vec::new();
        query.encode(&mut body);
        let kind = (CallKind::Query, Numbering::Once);
        self.calls.begin(now, kind, body.into(), purpose)
    }

    fn command(&mut self, now: Instant, command: ClientCommand, fx: Fx<'_, '_>) {
        let is_busy = self.calls.len() >= CLIENT_CALLS_MAX;
        match command {
            ClientCommand::Open { session, .. } if is_busy => fx.emit(ClientEvent::Opened {
                session,
                outcome: Err(LockError::Busy),
            }),
            ClientCommand::Open {
                session,
                ttl,
                owner,
            } => self.open(now, session, ttl, owner),
            ClientCommand::Close { session } => self.close(now, session, fx),
            ClientCommand::Acquire { claim, .. } if is_busy => fx.emit(ClientEvent::Acquired {
                claim,
                outcome: Err(LockError::Busy),
            }),
            ClientCommand::Acquire {
                claim,
                session,
                path,
                contention,
                reentry,
            } => {
                let wanted = (path, contention, reentry);
                self.acquire(now, session, claim, wanted, fx);
            }
            ClientCommand::Release { claim } => self.release(now, claim, fx),
            ClientCommand::Query { query, .. } if is_busy => fx.emit(ClientEvent::Answered {
                query,
                outcome: Err(LockError::Busy),
            }),
            ClientCommand::Query { query, what } => {
                self.query(now, &what, Purpose::Query { query });
            }
            ClientCommand::Abandon { id } => self.abandon(now, id, fx),
        }
    }

    fn abandon(&mut self, now: Instant, id: u64, fx: Fx<'_, '_>) {
        if self.claims.contains_key(&id) {
            self.cancel(now, id);
        } else if self.sessions.contains_key(&id) {
            self.close(now, id, fx);
        } else {
            self.calls
                .end_where(|purpose| matches!(purpose, Purpose::Query { query } if *query == id));
        }
    }

    fn message(&mut self, now: Instant, message: &Envelope, fx: Fx<'_, '_>) {
        let peer = message.from;
        let outcome = tidings(&message.payload)
            .and_then(|mut told| told.try_for_each(|told| self.told(now, peer, told?, fx)));
        if let Err(reason) = outcome {
            fx.emit(ClientEvent::Misbehaved { peer, reason });
        }
    }

    fn told(
        &mut self,
        now: Instant,
        peer: PeerId,
        told: Told<'_>,
        fx: Fx<'_, '_>,
    ) -> Result<(), Malformed> {
        match told {
            Told::Reply { call, body } => {
                let reply = Reply::decode(body)?;
                if let Some((purpose, sent)) = self.calls.end(call) {
                    self.replied(now, purpose, sent, reply, fx);
                }
            }
            Told::Answer { call, body } => {
                let answer = Answer::decode(body)?;
                match self.calls.end(call) {
                    Some((Purpose::Query { query }, _)) => {
                        let outcome = Ok(answer);
                        fx.emit(ClientEvent::Answered { query, outcome });
                    }
                    Some((Purpose::Poll { session }, _)) => self.polled(now, session, answer, fx),
                    _ => {}
                }
            }
            Told::Again { call, reason } => self.again(now, peer, call, reason),
            Told::Notice { body } => {
                let notice = Notice::decode(body)?;
                self.noticed(&notice, fx);
            }
        }
        Ok(())
    }

    fn again(&mut self, now: Instant, peer: PeerId, call: u64, reason: Again) {
        match reason {
            Again::NotLeader { hint } => self.calls.redirect(now, peer, call, hint),
            Again::Busy | Again::Unknown => self.calls.back_off(now, call),
        }
    }

    fn replied(
        &mut self,
        now: Instant,
        purpose: Purpose,
        sent: Instant,
        reply: Reply,
        fx: Fx<'_, '_>,
    ) {
        match purpose {
            Purpose::Open { session } => self.opened(now, session, sent, reply, fx),
            Purpose::Renew { session } => self.renewed(now, session, sent, reply, fx),
            Purpose::Close { session, .. } => fx.emit(ClientEvent::Closed {
                session,
                outcome: Ok(()),
            }),
            Purpose::Acquire { session, claim } => {
                self.acquired((now, sent), session, claim, reply, fx);
            }
            Purpose::Cancel { session, numbers } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.acknowledge(&numbers);
                }
                self.check_alive(session, reply, fx);
            }
            Purpose::Release {
                session,
                claim,
                number,
            } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.acknowledge(&[number]);
                }
                if self.check_alive(session, reply, fx) {
                    self.claims.remove(&claim);
                    let outcome = match reply {
                        Reply::Refused(refusal) => Err(LockError::Refused(refusal)),
                        _ => Ok(()),
                    };
                    fx.emit(ClientEvent::Released { claim, outcome });
                }
            }
            Purpose::Poll { .. } | Purpose::Query { .. } => {}
        }
    }

    /// Whether the session lives, as far as `reply` tells; else it is lost now.
    fn check_alive(&mut self, session: u64, reply: Reply, fx: Fx<'_, '_>) -> bool {
        let lost = reply == Reply::Refused(Refusal::SessionLost);
        if lost {
            self.lose(session, fx);
        }
        !lost
    }

    fn acquired(
        &mut self,
        (now, sent): (Instant, Instant),
        session: u64,
        claim: u64,
        reply: Reply,
        fx: Fx<'_, '_>,
    ) {
        if !self.check_alive(session, reply, fx) {
            return;
        }
        let renews = self.claims.get(&claim).is_some_and(|claim| claim.renews);
        if renews && matches!(reply, Reply::Granted(_) | Reply::Queued { .. }) {
            self.renewed_by_the_way(now, session, sent, fx);
        }
        let (Some(state), Some(waiting)) =
            (self.sessions.get_mut(&session), self.claims.get_mut(&claim))
        else {
            return;
        };
        state.acknowledge(&[waiting.number]);
        match reply {
            Reply::Granted(grant) => self.granted(claim, grant, fx),
            Reply::Queued { .. } => {
                waiting.stage = Stage::Waiting;
                if state.poll_at.is_none() {
                    let at = now + POLL_EVERY;
                    state.poll_at = Some(at);
                    self.alarms.insert((at, session));
                }
            }
            Reply::Refused(refusal) => {
                state.claims.remove(&waiting.number);
                self.claims.remove(&claim);
                let outcome = Err(LockError::Refused(refusal));
                fx.emit(ClientEvent::Acquired { claim, outcome });
            }
            _ => {}
        }
    }

    /// A claim that was asked for holds: once, however often and from where it is told.
    pub(super) fn granted(&mut self, claim: u64, grant: Grant, fx: Fx<'_, '_>) {
        let Some(waiting) = self.claims.get_mut(&claim) else {
            return;
        };
        match waiting.stage {
            Stage::Asking { call } => {
                self.calls.end(call);
            }
            Stage::Waiting => {}
            Stage::Held { .. } | Stage::Releasing => return,
        }
        waiting.stage = Stage::Held { token: grant.token };
        let (session, number) = (waiting.session, waiting.number);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.acknowledge(&[number]);
        }
        let outcome = Ok(grant);
        fx.emit(ClientEvent::Acquired { claim, outcome });
    }

    fn noticed(&mut self, notice: &Notice, fx: Fx<'_, '_>) {
        if let Some(&session) = self.remotes.get(&notice.session) {
            self.granted_number(session, notice.claim, notice.grant, fx);
        }
    }

    fn granted_number(&mut self, session: u64, number: u64, grant: Grant, fx: Fx<'_, '_>) {
        let claims = self.sessions.get(&session).map(|session| &session.claims);
        if let Some(&claim) = claims.and_then(|claims| claims.get(&number)) {
            self.granted(claim, grant, fx);
        }
    }

    fn polled(&mut self, now: Instant, session: u64, answer: Answer, fx: Fx<'_, '_>) {
        match answer {
            Answer::Session(held) => {
                for &(number, grant) in &held {
                    self.granted_number(session, number, grant, fx);
                }
                if held.len() == PAGE_LOCKS_MAX
                    && let Some(&(last, _)) = held.last()
                {
                    self.poll_after(now, session, last);
                }
            }
            Answer::SessionLost => self.lose(session, fx),
            _ => {}
        }
    }

    /// Asks what became of waiting claims, and again later while there are any.
    pub(super) fn poll(&mut self, now: Instant, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let waits = |claim: &u64| {
            let claim = self.claims.get(claim);
            claim.is_some_and(|claim| matches!(claim.stage, Stage::Waiting))
        };
        let first = session.claims.iter().find(|(_, claim)| waits(claim));
        let Some((&first, _)) = first else {
            session.poll_at = None;
            return;
        };
        let at = now + POLL_EVERY;
        session.poll_at = Some(at);
        let is_asked = session
            .poll_call
            .is_some_and(|call| self.calls.is_open(call));
        self.alarms.insert((at, id));
        if !is_asked {
            self.poll_after(now, id, first - 1);
        }
    }

    fn poll_after(&mut self, now: Instant, id: u64, after: u64) {
        let remote = self.sessions.get(&id).and_then(|session| session.remote);
        let Some(session) = remote else {
            return;
        };
        let query = Query::Session { session, after };
        let call = self.query(now, &query, Purpose::Poll { session: id });
        if let Some(session) = self.sessions.get_mut(&id) {
            session.poll_call = Some(call);
        }
    }
}

impl Protocol for ClientProtocol {
    type Command = ClientCommand;
    type Event = ClientEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<ClientCommand>,
        fx: &mut Effects<'_, ClientEvent>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Command(command) => self.command(now, command, fx),
            Input::Message(message) => {
                self.calls.heard(message.from);
                self.message(now, &message, fx);
            }
            Input::Unreachable(peer) => self.calls.unreachable(now, peer),
            Input::Timeout | Input::Committed(_) | Input::Read(..) => {}
        }
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, ClientEvent>,
    ) -> Result<(), Infallible> {
        self.ring_alarms(now, fx);
        self.calls.fire(now);
        self.calls.flush(now, |server, message: Bytes| {
            fx.send(server, message);
        });
        let alarm = self.alarms.first().map(|&(at, _)| at);
        self.deadline = [alarm, self.calls.deadline()].into_iter().flatten().min();
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
