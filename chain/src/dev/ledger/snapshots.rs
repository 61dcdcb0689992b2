//! States of the chain that somebody may want back.

use std::collections::VecDeque;

use alloy_primitives::B256;

use super::super::Undone;
use super::super::pool::Pool;
use super::Ledger;

// The oldest is forgotten.
const SNAPSHOTS_MAX: usize = 64;

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
    gifts: usize,
}

impl Snapshots {
    pub(super) fn are_there(&self) -> bool {
        !self.taken.is_empty()
    }
}

impl Ledger {
    /// Remembers the chain and what waits; the number to ask for it by.
    pub(in super::super) fn snapshot(&mut self) -> u64 {
        let snapshot = Snapshot {
            height: self.height(),
            head: self.head().hash,
            pool: self.pool.clone(),
            next_timestamp_s: self.next_timestamp_s,
            gifts: self.gifts.count(),
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
        let place = self.snapshots.taken.iter().position(|(known, one)| {
            let there = self.numbered(one.height).map(|block| block.hash);
            *known == number && there == Some(one.head)
        });
        let Some(place) = place else {
            return false;
        };
        let Some((_, snapshot)) = self.snapshots.taken.split_off(place).pop_front() else {
            return false;
        };
        self.rewind(self.height() - snapshot.height, Undone::Drop);
        self.take_back_gifts(snapshot.gifts);
        self.pool = snapshot.pool;
        self.next_timestamp_s = snapshot.next_timestamp_s;
        true
    }

    /// The next block is so much later than it would be otherwise.
    pub(in super::super) fn increase_time(&mut self, by_s: u64) {
        let next = self.next_timestamp_s;
        let usual = || {
            let head = self.head().block().timestamp_s;
            head.saturating_add(self.options.block_time_s)
        };
        let next = next.unwrap_or_else(usual);
        self.next_timestamp_s = Some(next.saturating_add(by_s));
    }
}
