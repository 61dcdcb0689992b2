//! The table's state as chunks, and back.

use std::collections::{BTreeMap, btree_map};

use bytes::Bytes;
use peaberry_consensus::{Restore, RestoreError};
use peaberry_core::mutant::is_planted;

use super::session::{Claim, Place, Replies, Session};
use super::{Lock, LockTable, Waiter};
use crate::codec::{Malformed, Reader, VERSION, put_bytes, put_number};
use crate::limits::{
    CLAIMS_PER_SESSION_MAX, LOCKS_MAX, OWNER_BYTES_MAX, REENTRIES_MAX, REPLIES_PER_SESSION_MAX,
    REQUEST_BYTES_MAX, SESSIONS_MAX, TTL_MS_MAX, TTL_MS_MIN, WAITERS_PER_LOCK_MAX,
};
use crate::path::LockPath;
use crate::request::{Reply, SessionId, decode, encode};

/// When a chunk is long enough. The longest record behind it, a lock with all its waiters, still fits into the limit of
/// [`SNAPSHOT_CHUNK_BYTES_MAX`](peaberry_consensus::SNAPSHOT_CHUNK_BYTES_MAX).
const CHUNK_BYTES: usize = 64 << 10;

/// Log times beyond have been made up: the first 292 million years lie before.
const TIME_MAX: u64 = 1 << 63;

const SESSION: u8 = 0;
const LOCK: u8 = 1;

/// The state of a [`LockTable`] at one index, written out chunk by chunk.
#[derive(Debug)]
pub struct LockTableSnapshot {
    head: Option<Vec<u8>>,
    sessions: btree_map::IntoIter<SessionId, Session>,
    locks: btree_map::IntoIter<LockPath, Lock>,
}

impl LockTableSnapshot {
    pub(super) fn new(table: &LockTable) -> Self {
        let mut head = vec![VERSION];
        for number in [
            table.time,
            table.incarnation,
            table.grants,
            table.tickets,
            table.opened,
            table.sessions.len() as u64,
            table.locks.len() as u64,
        ] {
            put_number(&mut head, number);
        }
        Self {
            head: Some(head),
            sessions: table.sessions.clone().into_iter(),
            locks: table.locks.clone().into_iter(),
        }
    }
}

impl Iterator for LockTableSnapshot {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut chunk = self.head.take().unwrap_or_default();
        while chunk.len() < CHUNK_BYTES {
            if let Some((id, session)) = self.sessions.next() {
                put_session(&mut chunk, id, &session);
            } else if let Some((path, lock)) = self.locks.next() {
                put_lock(&mut chunk, &path, &lock);
            } else {
                break;
            }
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }
}

fn put_session(out: &mut Vec<u8>, id: SessionId, session: &Session) {
    out.push(SESSION);
    encode::put_session(out, id);
    put_number(out, session.peer.get());
    out.extend_from_slice(&session.nonce.to_be_bytes());
    put_bytes(out, session.owner.as_bytes());
    put_number(out, session.ttl_ms);
    put_number(out, session.expiry);
    put_number(out, session.replies.acknowledged);
    put_number(out, session.replies.kept.len() as u64);
    let mut scratch = Vec::new();
    for (number, reply) in &session.replies.kept {
        put_number(out, *number);
        crate::request::put_answer(out, &mut scratch, |out| reply.encode(out));
    }
}

fn put_lock(out: &mut Vec<u8>, path: &LockPath, lock: &Lock) {
    out.push(LOCK);
    put_bytes(out, path.as_str().as_bytes());
    encode::put_session(out, lock.session);
    encode::put_token(out, lock.token);
    put_number(out, lock.since);
    put_number(out, lock.holds.len() as u64);
    for &claim in &lock.holds {
        put_number(out, claim);
    }
    put_number(out, lock.waiters.len() as u64);
    for (&ticket, waiter) in &lock.waiters {
        put_number(out, ticket);
        encode::put_session(out, waiter.session);
        put_number(out, waiter.claim);
    }
}

/// A [`LockTable`] being rebuilt. What a table could not have written is refused.
#[derive(Debug, Default)]
pub struct LockTableRestore {
    table: LockTable,
    /// Sessions and locks to come; `None` before the first chunk.
    missing: Option<(usize, usize)>,
}

impl LockTableRestore {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn read(&mut self, chunk: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(chunk);
        if self.missing.is_none() {
            reader = Reader::versioned(chunk)?;
            self.head(&mut reader)?;
        }
        while !reader.is_empty() {
            match reader.byte()? {
                SESSION => self.session(&mut reader)?,
                LOCK => self.lock(&mut reader)?,
                _ => return Err(Malformed::new("unknown record")),
            }
        }
        Ok(())
    }

    fn head(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let table = &mut self.table;
        table.time = reader.number()?;
        table.incarnation = reader.number()?;
        table.grants = reader.number()?;
        table.tickets = reader.number()?;
        table.opened = reader.number()?;
        require(table.time < TIME_MAX, "log time out of range")?;
        require(table.incarnation > 0, "incarnation zero")?;
        self.missing = Some((reader.count(SESSIONS_MAX)?, reader.count(LOCKS_MAX)?));
        if is_planted("token_reset_by_snapshot") {
            self.table.grants = 0;
        }
        Ok(())
    }

    fn session(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let id = decode::session(reader)?;
        let session = Session {
            peer: reader.peer()?,
            nonce: u128::from_be_bytes(reader.array()?),
            owner: reader.text(OWNER_BYTES_MAX)?.into(),
            ttl_ms: reader.number()?,
            expiry: reader.number()?,
            replies: replies(reader)?,
            claims: BTreeMap::new(),
        };
        let table = &mut self.table;
        let last = table.sessions.last_key_value().map(|(&last, _)| last);
        require(last < Some(id), "sessions out of order")?;
        let counted = id.incarnation == table.incarnation && id.number <= table.opened;
        require(counted && id.number > 0, "a session that was not opened")?;
        let lease = TTL_MS_MIN..=TTL_MS_MAX;
        require(lease.contains(&session.ttl_ms), "lease out of range")?;
        require(
            session.expiry <= table.time.saturating_add(TTL_MS_MAX),
            "expiry out of range",
        )?;
        let own = table.by_nonce.entry(session.peer).or_default();
        require(own.insert(session.nonce, id).is_none(), "a nonce twice")?;
        table.expiries.insert((session.expiry, id));
        table.sessions.insert(id, session);
        self.count_down(|(sessions, _)| sessions)
    }

    fn lock(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let path = decode::path(reader)?;
        let mut lock = Lock {
            session: decode::session(reader)?,
            token: decode::token(reader)?,
            since: reader.number()?,
            holds: Vec::new(),
            waiters: BTreeMap::new(),
        };
        let table = &self.table;
        let last = table.locks.last_key_value().map(|(last, _)| last);
        require(last < Some(&path), "locks out of order")?;
        let given_out = lock.token.grant() <= table.grants;
        require(
            given_out || is_planted("token_reset_by_snapshot"),
            "a token not given out",
        )?;
        require(
            lock.token.incarnation() == table.incarnation && lock.since <= table.time,
            "a grant from elsewhere",
        )?;
        for _ in 0..reader.count(REENTRIES_MAX)? {
            let claim = reader.number()?;
            self.claim(lock.session, claim, &path, Place::Holding)?;
            lock.holds.push(claim);
        }
        require(!lock.holds.is_empty(), "a lock that nobody holds")?;
        for _ in 0..reader.count(WAITERS_PER_LOCK_MAX)? {
            let ticket = reader.number()?;
            let last = lock.waiters.last_key_value().map(|(&last, _)| last);
            let given_out = last < Some(ticket) && ticket <= self.table.tickets;
            require(given_out, "tickets out of order")?;
            let session = decode::session(reader)?;
            let claim = reader.number()?;
            self.claim(session, claim, &path, Place::Waiting { ticket })?;
            lock.waiters.insert(ticket, Waiter { session, claim });
        }
        self.table.locks.insert(path, lock);
        self.count_down(|(_, locks)| locks)
    }

    fn claim(
        &mut self,
        session: SessionId,
        number: u64,
        path: &LockPath,
        place: Place,
    ) -> Result<(), Malformed> {
        let session = self.table.sessions.get_mut(&session);
        let claims = &mut session
            .ok_or(Malformed::new("a claim without a session"))?
            .claims;
        require(claims.len() < CLAIMS_PER_SESSION_MAX, "too many claims")?;
        let path = path.clone();
        let twice = claims.insert(number, Claim { path, place }).is_some();
        require(!twice, "a claim twice")
    }

    fn count_down(
        &mut self,
        of: impl FnOnce(&mut (usize, usize)) -> &mut usize,
    ) -> Result<(), Malformed> {
        let missing = self.missing.as_mut().map(of);
        let missing = missing.ok_or(Malformed::new("records before the head"))?;
        *missing = missing
            .checked_sub(1)
            .ok_or(Malformed::new("more records than announced"))?;
        Ok(())
    }
}

fn replies(reader: &mut Reader<'_>) -> Result<Replies, Malformed> {
    let acknowledged = reader.number()?;
    let mut kept: Vec<(u64, Reply)> = Vec::new();
    for _ in 0..reader.count(REPLIES_PER_SESSION_MAX)? {
        let number = reader.number()?;
        let last = kept.last().map(|&(last, _)| last);
        require(
            last < Some(number) && number >= acknowledged,
            "replies out of order",
        )?;
        kept.push((number, Reply::decode(reader.bytes(REQUEST_BYTES_MAX)?)?));
    }
    Ok(Replies { acknowledged, kept })
}

const fn require(holds: bool, otherwise: &'static str) -> Result<(), Malformed> {
    if holds {
        Ok(())
    } else {
        Err(Malformed::new(otherwise))
    }
}

impl Restore for LockTableRestore {
    type Machine = LockTable;

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        self.read(chunk)
            .map_err(|malformed| RestoreError::new(malformed.reason()))
    }

    fn finish(self) -> Result<LockTable, RestoreError> {
        match self.missing {
            Some((0, 0)) => Ok(self.table),
            _ => Err(RestoreError::new("chunks are missing")),
        }
    }
}
