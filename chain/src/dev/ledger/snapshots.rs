//! States of the chain that somebody may want back.

use std::collections::VecDeque;

use alloy_primitives::B256;

use super::super::Undone;
use super::super::pool::Pool;
use super::Ledger;

// The oldest is forgotten.
const SNAPSHOTS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Snapshots {
    taken: VecDeque<(u64, Snapshot)>,
    last: u64,
}

#[derive(Debug)]
struct Snapshot {
    height: u64,
    head: B256,
    pool: Pool,
    next_timestamp_s: Option<u64>,
}

impl Ledger {
    /// Remembers the chain and what waits; the number to ask for it by.
    pub(in super::super) fn snapshot(&mut self) -> u64 {
        let snapshot = Snapshot {
            height: self.height(),
            head: self.head().hash,
            pool: self.pool.clone(),
            next_timestamp_s: self.next_timestamp_s,
        };
        if self.snapshots.taken.len() >= SNAPSHOTS_MAX {
            self.snapshots.taken.pop_front();
        }
        self.snapshots.last += 1;
        let number = self.snapshots.last;
        self.snapshots.taken.push_back((number, snapshot));
        number
    }

    /// Goes back to a snapshot, and forgets it and those that were taken after it. Whether there is such a one, and the
    /// chain still goes through its block: otherwise nothing changes.
    pub(in super::super) fn revert_to(&mut self, number: u64) -> bool {
        let taken = &mut self.snapshots.taken;
        let Some(place) = taken.iter().position(|(known, _)| *known == number) else {
            return false;
        };
        let mut later = taken.split_off(place);
        let Some((_, snapshot)) = later.pop_front() else {
            return false;
        };
        let known = self.numbered(snapshot.height).map(|block| block.hash);
        if known != Some(snapshot.head) {
            return false;
        }
        self.rewind(self.height() - snapshot.height, Undone::Drop);
        self.pool = snapshot.pool;
        self.next_timestamp_s = snapshot.next_timestamp_s;
        true
    }

    /// The next block is so much later than it would be otherwise.
    pub(in super::super) fn increase_time(&mut self, by_s: u64) {
        let next = self.next_timestamp_s;
        let next =
            next.unwrap_or_else(|| self.head().block().timestamp_s + self.options.block_time_s);
        self.next_timestamp_s = Some(next.saturating_add(by_s));
    }
}
