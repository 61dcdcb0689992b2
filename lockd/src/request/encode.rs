use super::{
    Answer, Contention, Grant, Inspection, Notice, Query, Reentry, Refusal, Reply, Request,
    Sequence, SessionId, Status,
};
use crate::codec::{VERSION, put_bytes, put_number};
use crate::fence::Token;

impl Request {
    /// Appends the request's bytes, at most [`REQUEST_BYTES_MAX`](crate::limits::REQUEST_BYTES_MAX).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open {
                nonce,
                ttl_ms,
                owner,
            } => {
                out.push(0);
                out.extend_from_slice(&nonce.to_be_bytes());
                put_number(out, *ttl_ms);
                put_bytes(out, owner.as_bytes());
            }
            Self::Renew { session } => {
                out.push(1);
                put_session(out, *session);
            }
            Self::Close { session } => {
                out.push(2);
                put_session(out, *session);
            }
            Self::Acquire {
                session,
                sequence,
                path,
                contention,
                reentry,
            } => {
                out.push(3);
                put_session(out, *session);
                put_sequence(out, *sequence);
                put_bytes(out, path.as_str().as_bytes());
                out.push(u8::from(*contention == Contention::Refuse));
                out.push(u8::from(*reentry == Reentry::Join));
            }
            Self::Cancel {
                session,
                sequence,
                claim,
            } => {
                out.push(4);
                put_session(out, *session);
                put_sequence(out, *sequence);
                put_number(out, *claim);
            }
            Self::Release {
                session,
                sequence,
                claim,
                token,
            } => {
                out.push(5);
                put_session(out, *session);
                put_sequence(out, *sequence);
                put_number(out, *claim);
                put_token(out, *token);
            }
        }
    }
}

impl Reply {
    /// Appends the reply's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Opened { session } => {
                out.push(0);
                put_session(out, *session);
            }
            Self::Renewed => out.push(1),
            Self::Closed => out.push(2),
            Self::Granted(grant) => {
                out.push(3);
                put_grant(out, *grant);
            }
            Self::Queued { ahead } => {
                out.push(4);
                put_number(out, u64::from(*ahead));
            }
            Self::Cancelled => out.push(5),
            Self::Released => out.push(6),
            Self::Refused(refusal) => {
                out.push(7);
                out.push(refusal_code(*refusal));
            }
        }
    }
}

const fn refusal_code(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::SessionLost => 0,
        Refusal::StaleSequence => 1,
        Refusal::Held => 2,
        Refusal::NotHeld => 3,
        Refusal::Malformed => 4,
        Refusal::TtlOutOfRange => 5,
        Refusal::TooManySessions => 6,
        Refusal::TooManyLocks => 7,
        Refusal::TooManyClaims => 8,
        Refusal::TooManyWaiters => 9,
        Refusal::TooManyReplies => 10,
    }
}

impl Notice {
    /// The notice's bytes, with their version.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.path.as_str().len());
        out.push(VERSION);
        put_number(&mut out, self.peer.get());
        put_session(&mut out, self.session);
        put_number(&mut out, self.claim);
        put_bytes(&mut out, self.path.as_str().as_bytes());
        put_grant(&mut out, self.grant);
        out
    }
}

impl Query {
    /// Appends the query's bytes, at most [`REQUEST_BYTES_MAX`](crate::limits::REQUEST_BYTES_MAX).
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Inspect { path } => {
                out.push(0);
                put_bytes(out, path.as_str().as_bytes());
            }
            Self::Status => out.push(1),
            Self::Session { session, after } => {
                out.push(2);
                put_session(out, *session);
                put_number(out, *after);
            }
            Self::List { after } => {
                out.push(3);
                put_bytes(
                    out,
                    after.as_ref().map_or("", |path| path.as_str()).as_bytes(),
                );
            }
        }
    }
}

impl Answer {
    /// Appends the answer's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Inspection(None) => out.push(0),
            Self::Inspection(Some(inspection)) => {
                out.push(1);
                put_inspection(out, inspection);
            }
            Self::Status(status) => {
                out.push(2);
                put_status(out, status);
            }
            Self::Session(claims) => {
                out.push(3);
                put_number(out, claims.len() as u64);
                for (claim, grant) in claims {
                    put_number(out, *claim);
                    put_grant(out, *grant);
                }
            }
            Self::SessionLost => out.push(4),
            Self::Locks(locks) => {
                out.push(5);
                put_number(out, locks.len() as u64);
                for (path, token) in locks {
                    put_bytes(out, path.as_str().as_bytes());
                    put_token(out, *token);
                }
            }
            Self::Malformed => out.push(6),
        }
    }
}

fn put_inspection(out: &mut Vec<u8>, inspection: &Inspection) {
    put_bytes(out, inspection.owner.as_bytes());
    put_session(out, inspection.session);
    put_token(out, inspection.token);
    put_number(out, inspection.held_ms);
    put_number(out, inspection.remaining_ms);
    put_number(out, u64::from(inspection.holds));
    put_number(out, u64::from(inspection.waiters));
}

fn put_status(out: &mut Vec<u8>, status: &Status) {
    put_number(out, status.log_time_ms);
    put_optional(out, status.next_expiry_ms);
    put_number(out, status.incarnation);
    put_number(out, status.sessions);
    put_number(out, status.locks);
}

/// Zero for `None`, else one more than the number: times never reach the last number.
pub(super) fn put_optional(out: &mut Vec<u8>, number: Option<u64>) {
    put_number(out, number.map_or(0, |number| number.saturating_add(1)));
}

pub(crate) fn put_session(out: &mut Vec<u8>, session: SessionId) {
    put_number(out, session.incarnation);
    put_number(out, session.number);
}

fn put_sequence(out: &mut Vec<u8>, sequence: Sequence) {
    put_number(out, sequence.number);
    put_number(out, sequence.acknowledged);
}

pub(crate) fn put_token(out: &mut Vec<u8>, token: Token) {
    put_number(out, token.incarnation());
    put_number(out, token.grant());
}

pub(crate) fn put_grant(out: &mut Vec<u8>, grant: Grant) {
    put_token(out, grant.token);
    put_token(out, grant.floor);
}
