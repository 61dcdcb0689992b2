//! The replicated state: sessions, locks and time.

mod apply;
#[cfg(test)]
mod invariants;
mod query;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use peaberry_consensus::{Apply, StateMachine};
use peaberry_core::PeerId;
use peaberry_core::mutant::is_planted;

use self::session::Session;
pub use self::snapshot::{LockTableRestore, LockTableSnapshot};
use crate::fence::Token;
use crate::limits::ADVANCE_MS_MAX;
use crate::path::LockPath;
use crate::request::SessionId;

/// Sessions with leases, and FIFO locks that they hold, as a [`StateMachine`].
///
/// Commands are [`Entry`](crate::request::Entry)s, answered by [`EntryReply`](crate::request::EntryReply)s; queries are
/// put together by the service, who also makes the entries. What holds after every entry:
///
/// - log time never goes back and moves by at most [`ADVANCE_MS_MAX`] an entry; nothing else decides when a lease ends;
/// - a lock has one holding session, whose lease had not run out when it was granted;
/// - each grant has a token above that of every grant before it, on every lock;
/// - claims on one lock are granted in the order in which they were queued; a release and the grant that follows are
///   one entry;
/// - a request that was answered before is answered alike, and not executed, until the client acknowledges the answer.
///
/// # Example
///
/// ```
/// use peaberry_consensus::{Apply, StateMachine};
/// use peaberry_core::{Batch, PeerId};
/// use peaberry_lockd::LockTable;
/// use peaberry_lockd::request::{Entry, EntryReply, Operation, Reply, Request};
///
/// let mut open = Vec::new();
/// Request::Open { nonce: 7, ttl_ms: 30_000, owner: "worker".into() }.encode(&mut open);
/// let operation = Operation { peer: PeerId::new(9).unwrap(), request: &open };
/// let entry = Entry::Requests { log_time_ms: 1_000, operations: vec![operation] }.encode();
///
/// let mut table = LockTable::new();
/// let answer = table.apply(&mut Apply::new(1, &entry, &mut Vec::new(), &mut Batch::new()));
/// let answer = EntryReply::decode(&answer).unwrap();
/// assert_eq!(answer.next_expiry_ms, Some(31_000));
/// assert!(matches!(Reply::decode(&answer.replies.unwrap()[0]), Ok(Reply::Opened { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockTable {
    /// Milliseconds of log time.
    time: u64,
    incarnation: u64,
    /// Grants so far: the number of the last token.
    grants: u64,
    /// Claims queued so far: the number of the last place in a queue.
    tickets: u64,
    /// Sessions opened so far in this incarnation.
    opened: u64,
    sessions: BTreeMap<SessionId, Session>,
    by_nonce: BTreeMap<PeerId, BTreeMap<u128, SessionId>>,
    expiries: BTreeSet<(u64, SessionId)>,
    locks: BTreeMap<LockPath, Lock>,
}

/// A held lock; a lock that nobody holds is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lock {
    session: SessionId,
    /// The claims that share the hold: more than one after re-entry.
    holds: Vec<u64>,
    token: Token,
    /// Log time of the grant.
    since: u64,
    /// Who is next, by ticket.
    waiters: BTreeMap<u64, Waiter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiter {
    session: SessionId,
    claim: u64,
}

impl Default for LockTable {
    fn default() -> Self {
        Self::new()
    }
}

impl LockTable {
    /// A table without sessions, in its first incarnation.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            time: 0,
            incarnation: 1,
            grants: 0,
            tickets: 0,
            opened: 0,
            sessions: BTreeMap::new(),
            by_nonce: BTreeMap::new(),
            expiries: BTreeSet::new(),
            locks: BTreeMap::new(),
        }
    }

    /// Moves log time to `stamp`, never back and never far.
    fn advance(&mut self, stamp: u64) {
        let stamp = if is_planted("wall_clock_in_apply") {
            wall_clock_ms()
        } else {
            stamp
        };
        let latest = self.time.saturating_add(ADVANCE_MS_MAX);
        self.time = self.time.max(stamp.min(latest));
    }

    fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|&(expiry, _)| expiry)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the bug `wall_clock_in_apply`: time from outside the log"
)]
fn wall_clock_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

impl StateMachine for LockTable {
    type Snapshot = LockTableSnapshot;
    type Restore = LockTableRestore;

    fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes {
        self.apply_entry(apply)
    }

    fn query(&self, query: &[u8]) -> Bytes {
        self.answer(query)
    }

    fn snapshot(&self) -> LockTableSnapshot {
        LockTableSnapshot::new(self)
    }

    fn begin_restore(&self) -> LockTableRestore {
        LockTableRestore::new()
    }
}
