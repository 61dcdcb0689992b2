//! Questions to the table.

use std::ops::Bound;

use bytes::Bytes;
use peaberry_core::PeerId;

use super::LockTable;
use super::session::Place;
use crate::codec::VERSION;
use crate::limits::{PAGE_LOCKS_MAX, REQUESTS_PER_ENTRY_MAX};
use crate::path::LockPath;
use crate::request::{
    Answer, Grant, Inspection, Operation, Query, SessionId, Status, put_answer, read_queries,
};

impl LockTable {
    /// Answers each query of a read, in order. The leader's log time comes along: the table's own is that of its last
    /// entry, which may be seconds ago.
    pub(super) fn answer(&self, queries: &[u8]) -> Bytes {
        let mut out = vec![VERSION];
        let mut scratch = Vec::new();
        let Ok((log_time_ms, frames)) = read_queries(queries) else {
            return out.into();
        };
        let now = self.time.max(log_time_ms);
        for frame in frames.take(REQUESTS_PER_ENTRY_MAX) {
            let answer = frame.map_or(Answer::Malformed, |frame| self.answer_one(frame, now));
            put_answer(&mut out, &mut scratch, |out| answer.encode(out));
        }
        out.into()
    }

    fn answer_one(&self, frame: Operation<'_>, now: u64) -> Answer {
        match Query::decode(frame.request) {
            Ok(Query::Inspect { path }) => Answer::Inspection(self.inspect(&path, now)),
            Ok(Query::Status) => Answer::Status(self.status()),
            Ok(Query::Session { session, after }) => self.session_state(frame.peer, session, after),
            Ok(Query::List { after }) => Answer::Locks(self.list(after)),
            Err(_) => Answer::Malformed,
        }
    }

    fn inspect(&self, path: &LockPath, now: u64) -> Option<Inspection> {
        let lock = self.locks.get(path)?;
        let session = self.sessions.get(&lock.session)?;
        Some(Inspection {
            owner: session.owner.clone(),
            session: lock.session,
            token: lock.token,
            held_ms: now.saturating_sub(lock.since),
            remaining_ms: session.expiry.saturating_sub(now),
            holds: u32::try_from(lock.holds.len()).unwrap_or(u32::MAX),
            waiters: u32::try_from(lock.waiters.len()).unwrap_or(u32::MAX),
        })
    }

    fn status(&self) -> Status {
        Status {
            log_time_ms: self.time,
            next_expiry_ms: self.next_expiry(),
            incarnation: self.incarnation,
            sessions: self.sessions.len() as u64,
            locks: self.locks.len() as u64,
        }
    }

    fn session_state(&self, peer: PeerId, id: SessionId, after: u64) -> Answer {
        let own = |session: &&super::Session| session.peer == peer && session.is_alive(self.time);
        let Some(session) = self.sessions.get(&id).filter(own) else {
            return Answer::SessionLost;
        };
        let claims = session
            .claims
            .range((Bound::Excluded(after), Bound::Unbounded));
        let held = claims.filter(|(_, claim)| claim.place == Place::Holding);
        let granted = held.filter_map(|(&number, claim)| {
            let token = self.locks.get(&claim.path)?.token;
            Some((
                number,
                Grant {
                    token,
                    floor: token,
                },
            ))
        });
        Answer::Session(granted.take(PAGE_LOCKS_MAX).collect())
    }

    fn list(&self, after: Option<LockPath>) -> Vec<(LockPath, crate::fence::Token)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let locks = self.locks.range::<LockPath, _>((from, Bound::Unbounded));
        let page = locks.map(|(path, lock)| (path.clone(), lock.token));
        page.take(PAGE_LOCKS_MAX).collect()
    }
}
