use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peaberry_core::{Effects, Instant};

use super::protocol::{ClientEvent, ClientProtocol, Purpose};
use crate::error::LockError;
use crate::fence::Token;
use crate::path::LockPath;
use crate::request::{Contention, Reentry, Refusal, Reply, Request, Sequence, SessionId};
use crate::service::TICK_MS;

/// What a lease is shorter for its holder than for the table: log time moves in ticks, and an overdue one may be
/// followed at once by the next, right behind the stamp.
const MARGIN: Duration = Duration::from_millis(3 * TICK_MS);

/// By how much two clocks may run apart, as one in so many: 1 %.
const DRIFT_ONE_IN: u32 = 100;

/// How long a holder may rely on a lease of `ttl`, counted on its own clock from when it asked for it.
pub(super) fn reliable(ttl: Duration) -> Duration {
    let counted = ttl.saturating_sub(MARGIN);
    counted.saturating_sub(counted / DRIFT_ONE_IN)
}

#[derive(Debug)]
pub(super) struct SessionState {
    /// `None` until it is open.
    pub(super) remote: Option<SessionId>,
    ttl: Duration,
    owner: Box<str>,
    valid_until: Instant,
    renew_at: Option<Instant>,
    pub(super) poll_at: Option<Instant>,
    pub(super) poll_call: Option<u64>,
    next_number: u64,
    /// Requests whose answers have not come.
    outstanding: BTreeSet<u64>,
    /// Claims by the number of their acquire.
    pub(super) claims: BTreeMap<u64, u64>,
}

#[derive(Debug)]
pub(super) struct Claim {
    pub(super) session: u64,
    pub(super) number: u64,
    /// Whether its acquire also renews the session.
    pub(super) renews: bool,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    Asking { call: u64 },
    Waiting,
    Held { token: Token },
    Releasing,
}

impl SessionState {
    fn next_sequence(&mut self) -> Sequence {
        let number = self.next_number;
        self.next_number += 1;
        self.outstanding.insert(number);
        Sequence {
            number,
            acknowledged: self.outstanding.first().copied().unwrap_or(number),
        }
    }

    pub(super) fn acknowledge(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.outstanding.remove(number);
        }
    }
}

type Fx<'a, 'b> = &'a mut Effects<'b, ClientEvent>;

impl ClientProtocol {
    pub(super) fn open(&mut self, now: Instant, id: u64, ttl: Duration, owner: Box<str>) {
        let nonce = self.calls.nonce();
        let request = Request::Open {
            nonce,
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            owner: owner.clone(),
        };
        self.request(now, &request, Purpose::Open { session: id });
        let session = SessionState {
            remote: None,
            ttl,
            owner,
            valid_until: now,
            renew_at: None,
            poll_at: None,
            poll_call: None,
            next_number: 1,
            outstanding: BTreeSet::new(),
            claims: BTreeMap::new(),
        };
        self.sessions.insert(id, session);
    }

    pub(super) fn opened(
        &mut self,
        now: Instant,
        id: u64,
        sent: Instant,
        reply: Reply,
        fx: Fx<'_, '_>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match reply {
            // Counted from the first attempt: that may be the one which was executed.
            Reply::Opened { session: remote } if sent + reliable(session.ttl) > now => {
                session.remote = Some(remote);
                self.remotes.insert(remote, id);
                self.extend(id, sent, fx);
                let (session, outcome) = (id, Ok(()));
                fx.emit(ClientEvent::Opened { session, outcome });
            }
            // It took longer than the lease: begin with another nonce.
            Reply::Opened { .. } | Reply::Refused(Refusal::SessionLost) => {
                let (ttl, owner) = (session.ttl, std::mem::take(&mut session.owner));
                self.open(now, id, ttl, owner);
            }
            Reply::Refused(refusal) => {
                self.sessions.remove(&id);
                let (session, outcome) = (id, Err(LockError::Refused(refusal)));
                fx.emit(ClientEvent::Opened { session, outcome });
            }
            _ => {}
        }
    }

    /// A lease asked for at `sent` was given; the next renewal is due after a third of it.
    fn extend(&mut self, id: u64, sent: Instant, fx: Fx<'_, '_>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.renew_at = Some(sent);
        }
        self.extend_early(id, sent, fx);
    }

    /// As [`extend`](Self::extend), between renewals: one that is on its way stays the one to follow.
    fn extend_early(&mut self, id: u64, sent: Instant, fx: Fx<'_, '_>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.valid_until = session.valid_until.max(sent + reliable(session.ttl));
        let until = session.valid_until;
        self.alarms.insert((until, id));
        if let Some(renew_at) = &mut session.renew_at {
            *renew_at = (*renew_at).max(sent + session.ttl / 3);
            self.alarms.insert((*renew_at, id));
        }
        fx.emit(ClientEvent::Valid { session: id, until });
    }

    pub(super) fn renewed(
        &mut self,
        now: Instant,
        id: u64,
        sent: Instant,
        reply: Reply,
        fx: Fx<'_, '_>,
    ) {
        let session = self.sessions.get(&id);
        match reply {
            // Too late: guards have said that they are lost, and what is lost stays lost.
            Reply::Renewed if session.is_some_and(|session| session.valid_until <= now) => {
                self.close(now, id, fx);
            }
            Reply::Renewed => self.extend(id, sent, fx),
            Reply::Refused(Refusal::SessionLost) => self.lose(id, fx),
            _ => {}
        }
    }

    /// An acquire has renewed the session: executed once, and not before its first attempt was sent.
    pub(super) fn renewed_by_the_way(
        &mut self,
        now: Instant,
        id: u64,
        sent: Instant,
        fx: Fx<'_, '_>,
    ) {
        let lives = |session: &SessionState| session.valid_until > now;
        if self.sessions.get(&id).is_some_and(lives) {
            self.extend_early(id, sent, fx);
        }
    }

    fn renew(&mut self, now: Instant, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // The call repeats itself until it is answered; then the next is due.
        session.renew_at = None;
        if let Some(session) = session.remote {
            self.request(
                now,
                &Request::Renew { session },
                Purpose::Renew { session: id },
            );
        }
    }

    pub(super) fn acquire(
        &mut self,
        now: Instant,
        id: u64,
        claim: u64,
        (path, contention, reentry): (LockPath, Contention, Reentry),
        fx: Fx<'_, '_>,
    ) {
        let open = |session: &SessionState| session.remote;
        let session = self.sessions.get_mut(&id);
        let Some((remote, session)) = session.and_then(|state| Some((open(state)?, state))) else {
            let outcome = Err(LockError::SessionLost);
            fx.emit(ClientEvent::Acquired { claim, outcome });
            return;
        };
        let sequence = session.next_sequence();
        session.claims.insert(sequence.number, claim);
        let request = Request::Acquire {
            session: remote,
            sequence,
            path,
            contention,
            reentry,
        };
        let call = self.request(now, &request, Purpose::Acquire { session: id, claim });
        let asked = Claim {
            session: id,
            number: sequence.number,
            renews: reentry == Reentry::Join,
            stage: Stage::Asking { call },
        };
        self.claims.insert(claim, asked);
    }

    pub(super) fn release(&mut self, now: Instant, claim: u64, fx: Fx<'_, '_>) {
        let held = self.claims.get_mut(&claim).and_then(|state| {
            let Stage::Held { token } = state.stage else {
                return None;
            };
            state.stage = Stage::Releasing;
            Some((state.session, state.number, token))
        });
        let prepared = held.and_then(|(id, number, token)| {
            let session = self.sessions.get_mut(&id)?;
            session.claims.remove(&number);
            let sequence = session.next_sequence();
            let request = Request::Release {
                session: session.remote?,
                sequence,
                claim: number,
                token,
            };
            Some((id, sequence.number, request))
        });
        let Some((session, number, request)) = prepared else {
            let outcome = Err(LockError::SessionLost);
            fx.emit(ClientEvent::Released { claim, outcome });
            return;
        };
        let purpose = Purpose::Release {
            session,
            claim,
            number,
        };
        self.request(now, &request, purpose);
    }

    /// Makes sure that a claim neither waits nor holds. Its acquire stays unacknowledged until then, so that a late copy
    /// of it finds itself answered.
    pub(super) fn cancel(&mut self, now: Instant, claim: u64) {
        let Some(state) = self.claims.get(&claim) else {
            return;
        };
        match state.stage {
            Stage::Releasing => return,
            Stage::Asking { call } => {
                self.calls.end(call);
            }
            Stage::Waiting | Stage::Held { .. } => {}
        }
        let (id, number) = (state.session, state.number);
        self.claims.remove(&claim);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.claims.remove(&number);
        let sequence = session.next_sequence();
        let Some(remote) = session.remote else {
            return;
        };
        let request = Request::Cancel {
            session: remote,
            sequence,
            claim: number,
        };
        let numbers = [number, sequence.number];
        let purpose = Purpose::Cancel {
            session: id,
            numbers,
        };
        self.request(now, &request, purpose);
    }

    /// Ends a session: its holder stops first, then the table is told.
    pub(super) fn close(&mut self, now: Instant, id: u64, fx: Fx<'_, '_>) {
        let Some(session) = self.sessions.get(&id) else {
            let (session, outcome) = (id, Ok(()));
            fx.emit(ClientEvent::Closed { session, outcome });
            return;
        };
        let (remote, until) = (session.remote, now.max(session.valid_until) + session.ttl);
        self.lose(id, fx);
        match remote {
            Some(remote) => {
                let request = Request::Close { session: remote };
                let purpose = Purpose::Close { session: id, until };
                self.request(now, &request, purpose);
                self.alarms.insert((until, id));
            }
            // Nobody renews it: if its opening is executed yet, the lease runs out.
            None => fx.emit(ClientEvent::Closed {
                session: id,
                outcome: Ok(()),
            }),
        }
    }

    /// Forgets a session and tells everyone who relied on it.
    pub(super) fn lose(&mut self, id: u64, fx: Fx<'_, '_>) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(remote) = session.remote {
            self.remotes.remove(&remote);
        }
        fx.emit(ClientEvent::Lost { session: id });
        self.calls.end_where(|purpose| match purpose {
            Purpose::Open { session }
            | Purpose::Renew { session }
            | Purpose::Acquire { session, .. }
            | Purpose::Cancel { session, .. }
            | Purpose::Release { session, .. }
            | Purpose::Poll { session } => *session == id,
            Purpose::Close { .. } | Purpose::Query { .. } => false,
        });
        let outcome = Err(LockError::SessionLost);
        let lost: Vec<_> = self
            .claims
            .iter()
            .filter(|(_, claim)| claim.session == id)
            .map(|(&claim, _)| claim)
            .collect();
        for claim in lost {
            let stage = self.claims.remove(&claim).map(|claim| claim.stage);
            match stage {
                Some(Stage::Asking { .. } | Stage::Waiting) => {
                    let outcome = Err(LockError::SessionLost);
                    fx.emit(ClientEvent::Acquired { claim, outcome });
                }
                Some(Stage::Releasing) => fx.emit(ClientEvent::Released { claim, outcome }),
                Some(Stage::Held { .. }) | None => {}
            }
        }
    }

    /// Renews, polls and gives up what is due.
    pub(super) fn ring_alarms(&mut self, now: Instant, fx: Fx<'_, '_>) {
        while let Some(&(at, id)) = self.alarms.first()
            && at <= now
        {
            self.alarms.pop_first();
            let Some(session) = self.sessions.get(&id) else {
                self.give_up_closing(now, id, fx);
                continue;
            };
            if session.remote.is_some() && session.valid_until <= now {
                // The lease may live on in the table: end it, so that waiters need not wait it out.
                self.close(now, id, fx);
                continue;
            }
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let (renew, poll) = (is_due(session.renew_at), is_due(session.poll_at));
            if renew {
                self.renew(now, id);
            }
            if poll {
                self.poll(now, id);
            }
        }
    }

    fn give_up_closing(&mut self, now: Instant, id: u64, fx: Fx<'_, '_>) {
        let late = |purpose: &Purpose| matches!(purpose, Purpose::Close { session, until } if *session == id && *until <= now);
        if self.calls.end_where(late) {
            let (session, outcome) = (id, Err(LockError::Unconfirmed));
            fx.emit(ClientEvent::Closed { session, outcome });
        }
    }
}
