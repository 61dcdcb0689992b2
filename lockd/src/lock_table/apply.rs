//! What each request does.

use std::collections::BTreeMap;

use bytes::Bytes;
use peaberry_consensus::Apply;
use peaberry_core::PeerId;
use peaberry_core::mutant::is_planted;

use super::session::{Claim, Place, Replies, Session, Verdict};
use super::{Lock, LockTable, Waiter};
use crate::fence::Token;
use crate::limits::{
    CLAIMS_PER_SESSION_MAX, LOCKS_MAX, REAPED_PER_ENTRY_MAX, REENTRIES_MAX, SESSIONS_MAX,
    SESSIONS_PER_PEER_MAX, TTL_MS_MAX, TTL_MS_MIN, WAITERS_PER_LOCK_MAX,
};
use crate::path::LockPath;
use crate::request::{
    Contention, Entry, Grant, Notice, Operation, Reentry, Refusal, Reply, Request, Sequence,
    SessionId, put_answer, put_entry_reply,
};

/// What one entry may still do, and what it has to tell.
struct Work<'w, 'a> {
    apply: &'w mut Apply<'a>,
    /// Claims that may still be reaped.
    reapable: usize,
    /// The last token of a lock that was passed on in this entry: a tempting one to use again.
    passed_on: Option<Token>,
}

impl LockTable {
    pub(super) fn apply_entry(&mut self, apply: &mut Apply<'_>) -> Bytes {
        let command = apply.command;
        let mut work = Work {
            apply,
            reapable: REAPED_PER_ENTRY_MAX,
            passed_on: None,
        };
        let mut replies = Vec::new();
        let taken = match Entry::decode(command) {
            Ok(Entry::Requests {
                log_time_ms,
                operations,
            }) => {
                self.advance(log_time_ms);
                self.reap(&mut work);
                let mut scratch = Vec::with_capacity(32);
                replies.reserve(operations.len() * 8);
                for operation in operations {
                    let reply = self.execute(operation, &mut work);
                    put_answer(&mut replies, &mut scratch, |out| reply.encode(out));
                }
                true
            }
            Ok(Entry::Restored { log_time_ms, from }) => {
                self.advance(log_time_ms);
                self.restored(from);
                true
            }
            Err(_) => false,
        };
        let mut answer = Vec::with_capacity(24 + replies.len());
        put_entry_reply(&mut answer, taken, self.time, self.next_expiry());
        answer.extend_from_slice(&replies);
        answer.into()
    }

    fn execute(&mut self, operation: Operation<'_>, work: &mut Work<'_, '_>) -> Reply {
        let Operation { peer, request } = operation;
        let outcome = match Request::decode(request) {
            Ok(Request::Open {
                nonce,
                ttl_ms,
                owner,
            }) => self.open(peer, nonce, ttl_ms, owner),
            Ok(Request::Renew { session }) => self.renew(peer, session),
            Ok(Request::Close { session }) => self.close(peer, session, work),
            Ok(Request::Acquire {
                session,
                sequence,
                path,
                contention,
                reentry,
            }) => self.once(peer, session, sequence, work, |table, _| {
                let reply = table.acquire(session, sequence.number, path, contention, reentry)?;
                if reentry == Reentry::Join {
                    table.restart_lease(session);
                }
                Ok(reply)
            }),
            Ok(Request::Cancel {
                session,
                sequence,
                claim,
            }) => self.once(peer, session, sequence, work, |table, work| {
                table.cancel(session, claim, work)
            }),
            Ok(Request::Release {
                session,
                sequence,
                claim,
                token,
            }) => self.once(peer, session, sequence, work, |table, work| {
                table.release(session, claim, token, work)
            }),
            Err(_) => Err(Refusal::Malformed),
        };
        outcome.unwrap_or_else(Reply::Refused)
    }

    /// Executes a numbered request unless it has been answered before, and keeps its answer.
    fn once(
        &mut self,
        peer: PeerId,
        session: SessionId,
        sequence: Sequence,
        work: &mut Work<'_, '_>,
        run: impl FnOnce(&mut Self, &mut Work<'_, '_>) -> Result<Reply, Refusal>,
    ) -> Result<Reply, Refusal> {
        let replies = &mut self.alive(peer, session)?.replies;
        if let Verdict::Answer(reply) = replies.begin(sequence) {
            return Ok(reply);
        }
        let reply = run(self, work).unwrap_or_else(Reply::Refused);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.replies.keep(sequence.number, reply);
        }
        Ok(reply)
    }

    /// The session, if it is the peer's and its lease has not run out.
    fn alive(&mut self, peer: PeerId, session: SessionId) -> Result<&mut Session, Refusal> {
        let time = self.time;
        self.sessions
            .get_mut(&session)
            .filter(|session| session.peer == peer && session.is_alive(time))
            .ok_or(Refusal::SessionLost)
    }

    fn open(
        &mut self,
        peer: PeerId,
        nonce: u128,
        ttl_ms: u64,
        owner: Box<str>,
    ) -> Result<Reply, Refusal> {
        if !(TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms) {
            return Err(Refusal::TtlOutOfRange);
        }
        let own = self.by_nonce.entry(peer).or_default();
        if let Some(&session) = own.get(&nonce) {
            // A retry, unless the session has ended meanwhile: then the client must choose another nonce.
            return self.alive(peer, session).map(|_| Reply::Opened { session });
        }
        if own.len() >= SESSIONS_PER_PEER_MAX || self.sessions.len() >= SESSIONS_MAX {
            if own.is_empty() {
                self.by_nonce.remove(&peer);
            }
            return Err(Refusal::TooManySessions);
        }
        self.opened += 1;
        let id = SessionId {
            incarnation: self.incarnation,
            number: self.opened,
        };
        own.insert(nonce, id);
        let session = Session {
            peer,
            nonce,
            owner,
            ttl_ms,
            expiry: self.time.saturating_add(ttl_ms),
            replies: Replies::default(),
            claims: BTreeMap::new(),
        };
        self.expiries.insert((session.expiry, id));
        self.sessions.insert(id, session);
        Ok(Reply::Opened { session: id })
    }

    fn renew(&mut self, peer: PeerId, id: SessionId) -> Result<Reply, Refusal> {
        self.alive(peer, id)?;
        self.restart_lease(id);
        Ok(Reply::Renewed)
    }

    fn restart_lease(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            let ttl_ms = session.ttl_ms;
            self.expire_at(id, self.time.saturating_add(ttl_ms));
        }
    }

    fn close(
        &mut self,
        peer: PeerId,
        id: SessionId,
        work: &mut Work<'_, '_>,
    ) -> Result<Reply, Refusal> {
        self.alive(peer, id)?;
        self.expire_at(id, self.time);
        self.reap(work);
        Ok(Reply::Closed)
    }

    fn expire_at(&mut self, id: SessionId, expiry: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            self.expiries.remove(&(session.expiry, id));
            session.expiry = expiry;
            self.expiries.insert((expiry, id));
        }
    }

    fn acquire(
        &mut self,
        id: SessionId,
        claim: u64,
        path: LockPath,
        contention: Contention,
        reentry: Reentry,
    ) -> Result<Reply, Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::SessionLost)?;
        if session.claims.len() >= CLAIMS_PER_SESSION_MAX {
            return Err(Refusal::TooManyClaims);
        }
        let Some(lock) = self.locks.get_mut(&path) else {
            if self.locks.len() >= LOCKS_MAX {
                return Err(Refusal::TooManyLocks);
            }
            let token = mint(&mut self.grants, self.incarnation);
            let lock = Lock {
                session: id,
                holds: vec![claim],
                token,
                since: self.time,
                waiters: BTreeMap::new(),
            };
            self.locks.insert(path.clone(), lock);
            let place = Place::Holding;
            session.claims.insert(claim, Claim { path, place });
            return Ok(Reply::Granted(exclusive(token)));
        };
        if reentry == Reentry::Join && lock.session == id {
            if lock.holds.len() >= REENTRIES_MAX {
                return Err(Refusal::TooManyClaims);
            }
            lock.holds.push(claim);
            let place = Place::Holding;
            session.claims.insert(claim, Claim { path, place });
            return Ok(Reply::Granted(exclusive(lock.token)));
        }
        if contention == Contention::Refuse {
            return Err(Refusal::Held);
        }
        if lock.waiters.len() >= WAITERS_PER_LOCK_MAX {
            return Err(Refusal::TooManyWaiters);
        }
        let ahead = u32::try_from(lock.waiters.len()).unwrap_or(u32::MAX);
        self.tickets += 1;
        let ticket = self.tickets;
        let waiter = Waiter { session: id, claim };
        lock.waiters.insert(ticket, waiter);
        let place = Place::Waiting { ticket };
        session.claims.insert(claim, Claim { path, place });
        Ok(Reply::Queued { ahead })
    }

    /// Drops the claim; one that has not arrived yet finds itself answered when it does.
    fn cancel(
        &mut self,
        id: SessionId,
        claim: u64,
        work: &mut Work<'_, '_>,
    ) -> Result<Reply, Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::SessionLost)?;
        if let Some(dropped) = session.claims.remove(&claim) {
            session.replies.amend(claim, Reply::Cancelled);
            self.drop_claim(claim, dropped, work);
        } else if !session.replies.answered(claim) {
            if !session.replies.has_room() {
                return Err(Refusal::TooManyReplies);
            }
            session.replies.keep(claim, Reply::Cancelled);
        }
        Ok(Reply::Cancelled)
    }

    fn release(
        &mut self,
        id: SessionId,
        claim: u64,
        token: Token,
        work: &mut Work<'_, '_>,
    ) -> Result<Reply, Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::SessionLost)?;
        let holds = session.claims.get(&claim).is_some_and(|claim| {
            claim.place == Place::Holding
                && self
                    .locks
                    .get(&claim.path)
                    .is_some_and(|lock| lock.token == token)
        });
        if !holds {
            return Err(Refusal::NotHeld);
        }
        let dropped = session.claims.remove(&claim).ok_or(Refusal::NotHeld)?;
        self.drop_claim(claim, dropped, work);
        Ok(Reply::Released)
    }

    /// Takes a claim, gone from its session already, out of its lock; the last hold passes the lock on.
    fn drop_claim(&mut self, number: u64, claim: Claim, work: &mut Work<'_, '_>) {
        let Some(lock) = self.locks.get_mut(&claim.path) else {
            return;
        };
        match claim.place {
            Place::Waiting { ticket } => {
                lock.waiters.remove(&ticket);
            }
            Place::Holding => {
                lock.holds.retain(|&hold| hold != number);
                if lock.holds.is_empty() {
                    self.pass_on(claim.path, work);
                }
            }
        }
    }

    /// Grants the lock to the first waiter whose session lives, or forgets it.
    fn pass_on(&mut self, path: LockPath, work: &mut Work<'_, '_>) {
        let Some(lock) = self.locks.get_mut(&path) else {
            return;
        };
        while let Some((_, waiter)) = lock.waiters.pop_first() {
            let Some(session) = self.sessions.get_mut(&waiter.session) else {
                continue;
            };
            // The lease may have run out while the claim waited.
            if !session.is_alive(self.time) {
                session.claims.remove(&waiter.claim);
                continue;
            }
            let token = mint_next(&mut self.grants, self.incarnation, work);
            lock.session = waiter.session;
            lock.holds.push(waiter.claim);
            lock.token = token;
            lock.since = self.time;
            if let Some(claim) = session.claims.get_mut(&waiter.claim) {
                claim.place = Place::Holding;
            }
            let grant = exclusive(token);
            session.replies.amend(waiter.claim, Reply::Granted(grant));
            let notice = Notice {
                peer: session.peer,
                session: waiter.session,
                claim: waiter.claim,
                path,
                grant,
            };
            work.apply.notify(notice.encode().into());
            return;
        }
        self.locks.remove(&path);
    }

    /// Forgets sessions whose lease has run out, as far as the entry's bound lets it.
    fn reap(&mut self, work: &mut Work<'_, '_>) {
        while work.reapable > 0
            && let Some(&(expiry, id)) = self.expiries.first()
            && expiry <= self.time
        {
            work.reapable -= 1;
            let claim = self
                .sessions
                .get_mut(&id)
                .and_then(|session| session.claims.pop_first());
            match claim {
                Some((number, claim)) => self.drop_claim(number, claim, work),
                None => self.forget(expiry, id),
            }
        }
    }

    fn forget(&mut self, expiry: u64, id: SessionId) {
        self.expiries.remove(&(expiry, id));
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(own) = self.by_nonce.get_mut(&session.peer) {
            own.remove(&session.nonce);
            if own.is_empty() {
                self.by_nonce.remove(&session.peer);
            }
        }
    }

    /// Leaves the backup's sessions and locks behind: what they were granted since then is not known.
    fn restored(&mut self, from: u64) {
        if self.incarnation != from {
            return;
        }
        *self = Self {
            time: self.time,
            incarnation: from.saturating_add(1),
            ..Self::new()
        };
    }
}

const fn exclusive(token: Token) -> Grant {
    Grant {
        token,
        floor: token,
    }
}

/// The next token: each call answers a greater one.
fn mint(grants: &mut u64, incarnation: u64) -> Token {
    *grants += 1;
    Token::new(incarnation, *grants).expect("both count from one")
}

/// A token for a lock that is passed on.
fn mint_next(grants: &mut u64, incarnation: u64, work: &mut Work<'_, '_>) -> Token {
    if is_planted("one_token_for_two_grants")
        && let Some(token) = work.passed_on
    {
        return token;
    }
    let token = mint(grants, incarnation);
    work.passed_on = Some(token);
    token
}
