use super::{
    Answer, Contention, Grant, Inspection, Notice, Query, Reentry, Refusal, Reply, Request,
    Sequence, SessionId, Status,
};
use crate::codec::{Malformed, Reader};
use crate::fence::Token;
use crate::limits::{OWNER_BYTES_MAX, PAGE_LOCKS_MAX, PATH_BYTES_MAX};
use crate::path::LockPath;

impl Request {
    /// The request that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`Malformed`], for all bytes that it does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        whole(bytes, |reader| {
            Ok(match reader.byte()? {
                0 => Self::Open {
                    nonce: u128::from_be_bytes(reader.array()?),
                    ttl_ms: reader.number()?,
                    owner: reader.text(OWNER_BYTES_MAX)?.into(),
                },
                1 => Self::Renew {
                    session: session(reader)?,
                },
                2 => Self::Close {
                    session: session(reader)?,
                },
                3 => Self::Acquire {
                    session: session(reader)?,
                    sequence: sequence(reader)?,
                    path: path(reader)?,
                    contention: if reader.flag()? {
                        Contention::Refuse
                    } else {
                        Contention::Wait
                    },
                    reentry: if reader.flag()? {
                        Reentry::Join
                    } else {
                        Reentry::Exclude
                    },
                },
                4 => Self::Cancel {
                    session: session(reader)?,
                    sequence: sequence(reader)?,
                    claim: reader.number()?,
                },
                5 => Self::Release {
                    session: session(reader)?,
                    sequence: sequence(reader)?,
                    claim: reader.number()?,
                    token: token(reader)?,
                },
                _ => return Err(Malformed::new("unknown request")),
            })
        })
    }
}

impl Reply {
    /// The reply that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`Malformed`], for all bytes that it does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        whole(bytes, reply)
    }
}

pub(crate) fn reply(reader: &mut Reader<'_>) -> Result<Reply, Malformed> {
    Ok(match reader.byte()? {
        0 => Reply::Opened {
            session: session(reader)?,
        },
        1 => Reply::Renewed,
        2 => Reply::Closed,
        3 => Reply::Granted(grant(reader)?),
        4 => Reply::Queued {
            ahead: small(reader)?,
        },
        5 => Reply::Cancelled,
        6 => Reply::Released,
        7 => Reply::Refused(refusal(reader.byte()?)?),
        _ => return Err(Malformed::new("unknown reply")),
    })
}

const fn refusal(code: u8) -> Result<Refusal, Malformed> {
    Ok(match code {
        0 => Refusal::SessionLost,
        1 => Refusal::StaleSequence,
        2 => Refusal::Held,
        3 => Refusal::NotHeld,
        4 => Refusal::Malformed,
        5 => Refusal::TtlOutOfRange,
        6 => Refusal::TooManySessions,
        7 => Refusal::TooManyLocks,
        8 => Refusal::TooManyClaims,
        9 => Refusal::TooManyWaiters,
        10 => Refusal::TooManyReplies,
        _ => return Err(Malformed::new("unknown refusal")),
    })
}

impl Notice {
    /// The notice that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`Malformed`], for all bytes that it does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::versioned(bytes)?;
        let notice = Self {
            peer: reader.peer()?,
            session: session(&mut reader)?,
            claim: reader.number()?,
            path: path(&mut reader)?,
            grant: grant(&mut reader)?,
        };
        reader.finish()?;
        Ok(notice)
    }
}

impl Query {
    /// The query that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`Malformed`], for all bytes that it does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        whole(bytes, |reader| {
            Ok(match reader.byte()? {
                0 => Self::Inspect {
                    path: path(reader)?,
                },
                1 => Self::Status,
                2 => Self::Session {
                    session: session(reader)?,
                    after: reader.number()?,
                },
                3 => Self::List {
                    after: match reader.text(PATH_BYTES_MAX)? {
                        "" => None,
                        text => Some(parse_path(text)?),
                    },
                },
                _ => return Err(Malformed::new("unknown query")),
            })
        })
    }
}

impl Answer {
    /// The answer that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`Malformed`], for all bytes that it does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        whole(bytes, |reader| {
            Ok(match reader.byte()? {
                0 => Self::Inspection(None),
                1 => Self::Inspection(Some(inspection(reader)?)),
                2 => Self::Status(status(reader)?),
                3 => Self::Session(page(reader, |reader| {
                    Ok((reader.number()?, grant(reader)?))
                })?),
                4 => Self::SessionLost,
                5 => Self::Locks(page(reader, |reader| Ok((path(reader)?, token(reader)?)))?),
                6 => Self::Malformed,
                _ => return Err(Malformed::new("unknown answer")),
            })
        })
    }
}

fn page<T>(
    reader: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = reader.count(PAGE_LOCKS_MAX)?;
    (0..count).map(|_| item(reader)).collect()
}

fn inspection(reader: &mut Reader<'_>) -> Result<Inspection, Malformed> {
    Ok(Inspection {
        owner: reader.text(OWNER_BYTES_MAX)?.into(),
        session: session(reader)?,
        token: token(reader)?,
        held_ms: reader.number()?,
        remaining_ms: reader.number()?,
        holds: small(reader)?,
        waiters: small(reader)?,
    })
}

fn status(reader: &mut Reader<'_>) -> Result<Status, Malformed> {
    Ok(Status {
        log_time_ms: reader.number()?,
        next_expiry_ms: optional(reader)?,
        incarnation: reader.number()?,
        sessions: reader.number()?,
        locks: reader.number()?,
    })
}

/// Reads one thing that fills all of `bytes`.
fn whole<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

pub(super) fn optional(reader: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    Ok(reader.number()?.checked_sub(1))
}

fn small(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(reader.number()?).map_err(|_large| Malformed::new("number over 32 bits"))
}

pub(crate) fn session(reader: &mut Reader<'_>) -> Result<SessionId, Malformed> {
    Ok(SessionId {
        incarnation: reader.number()?,
        number: reader.number()?,
    })
}

fn sequence(reader: &mut Reader<'_>) -> Result<Sequence, Malformed> {
    Ok(Sequence {
        number: reader.number()?,
        acknowledged: reader.number()?,
    })
}

pub(crate) fn path(reader: &mut Reader<'_>) -> Result<LockPath, Malformed> {
    parse_path(reader.text(PATH_BYTES_MAX)?)
}

fn parse_path(text: &str) -> Result<LockPath, Malformed> {
    text.parse()
        .map_err(|_bad| Malformed::new("not the path of a lock"))
}

pub(crate) fn token(reader: &mut Reader<'_>) -> Result<Token, Malformed> {
    Token::new(reader.number()?, reader.number()?).ok_or(Malformed::new("token zero"))
}

pub(crate) fn grant(reader: &mut Reader<'_>) -> Result<Grant, Malformed> {
    Ok(Grant {
        token: token(reader)?,
        floor: token(reader)?,
    })
}
