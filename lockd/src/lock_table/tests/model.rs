//! The table against a naive model of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::fence::Token;
use crate::path::LockPath;
use crate::request::{Contention, Grant, Reentry, Refusal, Sequence};

#[derive(Clone, Debug, Default)]
struct Model {
    time: u64,
    opened: u64,
    grants: u64,
    sessions: BTreeMap<SessionId, ModelSession>,
    /// Each lock's holders, with tokens, and behind them its waiters.
    locks: BTreeMap<LockPath, Vec<Seat>>,
    notices: Vec<Notice>,
}

#[derive(Clone, Debug)]
struct ModelSession {
    peer: PeerId,
    nonce: u128,
    ttl_ms: u64,
    expiry: u64,
    acknowledged: u64,
    answers: BTreeMap<u64, Reply>,
}

#[derive(Clone, Debug)]
struct Seat {
    session: SessionId,
    claim: u64,
    token: Option<Token>,
}

impl Model {
    fn entry(&mut self, stamp: u64, requests: &[(PeerId, Request)]) -> Outcome {
        self.time = self.time.max(stamp.min(self.time + 10_000));
        self.notices.clear();
        self.expire();
        let replies = requests
            .iter()
            .map(|(peer, request)| self.execute(*peer, request).unwrap_or_else(Reply::Refused))
            .collect();
        Outcome {
            replies,
            notices: self.notices.clone(),
            next_expiry_ms: self.sessions.values().map(|session| session.expiry).min(),
        }
    }

    fn expire(&mut self) {
        let first_due = |model: &Self| {
            let due = model
                .sessions
                .iter()
                .filter(|(_, s)| s.expiry <= model.time);
            due.map(|(&id, s)| (s.expiry, id)).min()
        };
        while let Some((_, id)) = first_due(self) {
            let seats = self
                .locks
                .values()
                .flatten()
                .filter(|seat| seat.session == id);
            let mut claims: Vec<_> = seats.map(|seat| seat.claim).collect();
            claims.sort_unstable();
            for claim in claims {
                self.vacate(id, claim);
            }
            self.sessions.remove(&id);
        }
    }

    fn execute(&mut self, peer: PeerId, request: &Request) -> Result<Reply, Refusal> {
        match request.clone() {
            Request::Open { nonce, ttl_ms, .. } => {
                let same =
                    |(_, s): &(&SessionId, &ModelSession)| s.peer == peer && s.nonce == nonce;
                if let Some((&session, _)) = self.sessions.iter().find(same) {
                    return Ok(Reply::Opened { session });
                }
                self.opened += 1;
                let fresh = ModelSession {
                    peer,
                    nonce,
                    ttl_ms,
                    expiry: self.time + ttl_ms,
                    acknowledged: 0,
                    answers: BTreeMap::new(),
                };
                self.sessions.insert(session(self.opened), fresh);
                Ok(Reply::Opened {
                    session: session(self.opened),
                })
            }
            Request::Renew { session } => {
                let time = self.time;
                let session = self.session(peer, session)?;
                session.expiry = time + session.ttl_ms;
                Ok(Reply::Renewed)
            }
            Request::Close { session } => {
                let time = self.time;
                self.session(peer, session)?.expiry = time;
                self.expire();
                Ok(Reply::Closed)
            }
            Request::Acquire {
                session,
                sequence,
                path,
                contention,
                reentry,
            } => self.once(peer, session, sequence, |model| {
                let reply = model.acquire(session, sequence.number, path, contention, reentry)?;
                if reentry == Reentry::Join {
                    let time = model.time;
                    let owner = model.sessions.get_mut(&session).unwrap();
                    owner.expiry = time + owner.ttl_ms;
                }
                Ok(reply)
            }),
            Request::Cancel {
                session,
                sequence,
                claim,
            } => self.once(peer, session, sequence, |model| {
                let seated = model.vacate(session, claim);
                let owner = model.sessions.get_mut(&session).unwrap();
                if claim >= owner.acknowledged && (seated || !owner.answers.contains_key(&claim)) {
                    // Nothing that has been acknowledged is kept.
                    owner.answers.insert(claim, Reply::Cancelled);
                }
                Ok(Reply::Cancelled)
            }),
            Request::Release {
                session,
                sequence,
                claim,
                token,
            } => self.once(peer, session, sequence, |model| {
                let holds = model.locks.values().flatten().any(|seat| {
                    (seat.session, seat.claim, seat.token) == (session, claim, Some(token))
                });
                if !holds {
                    return Err(Refusal::NotHeld);
                }
                model.vacate(session, claim);
                Ok(Reply::Released)
            }),
        }
    }

    fn session(&mut self, peer: PeerId, id: SessionId) -> Result<&mut ModelSession, Refusal> {
        let session = self.sessions.get_mut(&id).filter(|s| s.peer == peer);
        session.ok_or(Refusal::SessionLost)
    }

    fn once(
        &mut self,
        peer: PeerId,
        id: SessionId,
        sequence: Sequence,
        run: impl FnOnce(&mut Self) -> Result<Reply, Refusal>,
    ) -> Result<Reply, Refusal> {
        let session = self.session(peer, id)?;
        let acknowledged = sequence.acknowledged.min(sequence.number);
        session.acknowledged = session.acknowledged.max(acknowledged);
        session.answers = session.answers.split_off(&session.acknowledged);
        if sequence.number < session.acknowledged {
            return Err(Refusal::StaleSequence);
        }
        if let Some(&answer) = session.answers.get(&sequence.number) {
            return Ok(answer);
        }
        let reply = run(self).unwrap_or_else(Reply::Refused);
        self.session(peer, id)?
            .answers
            .insert(sequence.number, reply);
        Ok(reply)
    }

    fn acquire(
        &mut self,
        id: SessionId,
        claim: u64,
        path: LockPath,
        contention: Contention,
        reentry: Reentry,
    ) -> Result<Reply, Refusal> {
        let seats = self.locks.entry(path.clone()).or_default();
        let holder = seats
            .first()
            .map(|seat| (seat.session, seat.token.unwrap()));
        let mut seat = Seat {
            session: id,
            claim,
            token: None,
        };
        if let Some((holder, token)) = holder {
            if holder == id && reentry == Reentry::Join {
                seat.token = Some(token);
                let waiters = seats.iter().position(|seat| seat.token.is_none());
                seats.insert(waiters.unwrap_or(seats.len()), seat);
                return Ok(granted(token));
            }
            if contention == Contention::Refuse {
                return Err(Refusal::Held);
            }
            let ahead = seats.iter().filter(|seat| seat.token.is_none()).count();
            seats.push(seat);
            return Ok(Reply::Queued {
                ahead: u32::try_from(ahead).unwrap(),
            });
        }
        seats.push(seat);
        self.grants += 1;
        let token = Token::new(1, self.grants).unwrap();
        self.locks.get_mut(&path).unwrap()[0].token = Some(token);
        Ok(granted(token))
    }

    /// Takes a claim out of whatever lock it is in, and grants that to the next.
    fn vacate(&mut self, id: SessionId, claim: u64) -> bool {
        let sits = |seat: &Seat| seat.session == id && seat.claim == claim;
        let lock = self
            .locks
            .iter_mut()
            .find(|(_, seats)| seats.iter().any(sits));
        let Some((path, seats)) = lock else {
            return false;
        };
        seats.retain(|seat| !sits(seat));
        let (sessions, time) = (&mut self.sessions, self.time);
        if seats.first().is_some_and(|seat| seat.token.is_none()) {
            while seats
                .first()
                .is_some_and(|seat| sessions[&seat.session].expiry <= time)
            {
                seats.remove(0);
            }
            if let Some(next) = seats.first_mut() {
                self.grants += 1;
                let token = Token::new(1, self.grants).unwrap();
                next.token = Some(token);
                let session = sessions.get_mut(&next.session).unwrap();
                if let Some(answer) = session.answers.get_mut(&next.claim) {
                    *answer = granted(token);
                }
                self.notices.push(Notice {
                    peer: session.peer,
                    session: next.session,
                    claim: next.claim,
                    path: path.clone(),
                    grant: exclusive(token),
                });
            }
        }
        self.locks.retain(|_, seats| !seats.is_empty());
        true
    }
}

const fn exclusive(token: Token) -> Grant {
    Grant {
        token,
        floor: token,
    }
}

const fn granted(token: Token) -> Reply {
    Reply::Granted(exclusive(token))
}

/// Requests over few sessions, numbers and paths, so that they meet: retries, reordered cancels, wrong tokens.
fn request() -> impl Strategy<Value = (PeerId, Request)> {
    let id = || (1..7_u64).prop_map(session);
    let sequence = || {
        (1..40_u64, prop::option::weighted(0.3, 0..40_u64)).prop_map(|(number, acknowledged)| {
            Sequence {
                number,
                acknowledged: acknowledged.unwrap_or(0),
            }
        })
    };
    let path = || prop::sample::select(vec!["a", "b", "c/d"]).prop_map(|p| p.parse().unwrap());
    let request = prop_oneof![
        2 => (0..3_u128, 500..3_000_u64).prop_map(|(nonce, ttl_ms)| Request::Open {
            nonce, ttl_ms, owner: "o".into()
        }),
        2 => id().prop_map(|session| Request::Renew { session }),
        1 => id().prop_map(|session| Request::Close { session }),
        8 => (id(), sequence(), path(), any::<(bool, bool)>()).prop_map(
            |(session, sequence, path, (refuse, join))| Request::Acquire {
                session,
                sequence,
                path,
                contention: if refuse { Contention::Refuse } else { Contention::Wait },
                reentry: if join { Reentry::Join } else { Reentry::Exclude },
            }
        ),
        2 => (id(), sequence(), 1..40_u64).prop_map(|(session, sequence, claim)| Request::Cancel {
            session, sequence, claim
        }),
        4 => (id(), sequence(), 1..40_u64, 1..20_u64).prop_map(
            |(session, sequence, claim, grant)| Request::Release {
                session, sequence, claim, token: Token::new(1, grant).unwrap()
            }
        ),
    ];
    (
        prop::sample::select(vec![1, 1, 1, 2]).prop_map(peer),
        request,
    )
}

pub(super) fn entries() -> impl Strategy<Value = Vec<(u64, Vec<(PeerId, Request)>)>> {
    let entry = (0..900_u64, prop::collection::vec(request(), 0..6));
    prop::collection::vec(entry, 1..40).prop_map(|entries| {
        let stamps = entries.iter().scan(0, |time, (step, _)| {
            *time += step;
            Some(*time)
        });
        let stamps: Vec<_> = stamps.collect();
        stamps
            .into_iter()
            .zip(entries)
            .map(|(stamp, (_, requests))| (stamp, requests))
            .collect()
    })
}

/// Points each release at what its claim was really granted, half of the time: a random token seldom fits.
fn aim(model: &Model, requests: &mut [(PeerId, Request)], hit: bool) {
    for (_, request) in requests {
        if let Request::Release {
            session,
            claim,
            token,
            ..
        } = request
            && hit
            && let Some(seat) = model
                .locks
                .values()
                .flatten()
                .find(|seat| seat.session == *session && seat.token.is_some())
        {
            (*claim, *token) = (seat.claim, seat.token.unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn table_answers_as_the_naive_model_does(entries in entries(), hits: u64) {
        let (mut table, mut model) = (Machine::new(LockTable::new()), Model::default());
        let mut last = None;
        for (at, (stamp, mut requests)) in entries.into_iter().enumerate() {
            aim(&model, &mut requests, hits >> (at % 64) & 1 == 0);
            let outcome = table.entry(stamp, &requests);
            prop_assert_eq!(&outcome, &model.entry(stamp, &requests));
            table.state.assert_consistent();
            for notice in &outcome.notices {
                prop_assert!(last < Some(notice.grant.token), "tokens only grow");
                last = Some(notice.grant.token);
            }
        }
    }
}
