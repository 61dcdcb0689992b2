//! Linearizable reads: the leader proves that it still leads, then the state must have caught up (Raft thesis §6.4).

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{RawNode, ReadState};

use super::event::{RaftEvent, ReadError};
use super::log_store::LogStore;

/// Queries that may wait in all.
const READS_MAX: usize = 1 << 16;

/// Rounds of heartbeats under way at once; queries that come meanwhile share the next.
const ROUNDS_MAX: usize = 4;

/// Ticks after which a round that raft-rs dropped, as it does without a leader, is tried again.
const RETRY_TICKS: u64 = 3;

/// Queries that have not been answered.
#[derive(Debug)]
pub(super) struct Reads<T> {
    /// What every round's name begins with: replica and start, so that no answer is taken for another's.
    name: [u8; 16],
    rounds_begun: u64,
    waiting: Vec<Query<T>>,
    confirming: VecDeque<Round<T>>,
    confirmed: VecDeque<(u64, Vec<Query<T>>)>,
    count: usize,
}

#[derive(Debug)]
struct Query<T> {
    query: Bytes,
    token: T,
    /// The group's tick at which it came.
    since: u64,
}

#[derive(Debug)]
struct Round<T> {
    number: u64,
    begun: u64,
    queries: Vec<Query<T>>,
}

impl<T> Reads<T> {
    pub(super) fn new(local: u64, seed: u64) -> Self {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&local.to_be_bytes());
        name[8..].copy_from_slice(&seed.to_be_bytes());
        Self {
            name,
            rounds_begun: 0,
            waiting: Vec::new(),
            confirming: VecDeque::new(),
            confirmed: VecDeque::new(),
            count: 0,
        }
    }

    /// Takes a query that came at `tick`.
    pub(super) fn push(&mut self, query: Bytes, token: T, tick: u64) -> Result<(), RaftEvent<T>> {
        if self.count >= READS_MAX {
            return Err(RaftEvent::Answered {
                token,
                answer: Err(ReadError::Overloaded),
            });
        }
        self.count += 1;
        self.waiting.push(Query {
            query,
            token,
            since: tick,
        });
        Ok(())
    }

    /// Begins a round for the queries that wait, if there is room for one and a leader to ask.
    pub(super) fn flush(&mut self, raw: &mut RawNode<LogStore>, tick: u64) {
        let can_ask = raw.raft.leader_id != 0
            && (raw.raft.leader_id != raw.raft.id || raw.raft.commit_to_current_term());
        if self.waiting.is_empty() || self.confirming.len() >= ROUNDS_MAX || !can_ask {
            return;
        }
        self.rounds_begun += 1;
        let round = Round {
            number: self.rounds_begun,
            begun: tick,
            queries: std::mem::take(&mut self.waiting),
        };
        raw.read_index(self.context(round.number));
        self.confirming.push_back(round);
    }

    fn context(&self, round: u64) -> Vec<u8> {
        [self.name.as_slice(), &round.to_be_bytes()].concat()
    }

    /// Takes the indices that rounds were confirmed at.
    pub(super) fn confirm(&mut self, states: Vec<ReadState>) {
        for state in states {
            let Some(at) = self
                .confirming
                .iter()
                .position(|round| self.context(round.number) == state.request_ctx)
            else {
                continue;
            };
            // Only this round: one begun earlier may have been dropped, and its queries came no later, so they may
            // share this answer.
            for round in self.confirming.drain(..=at) {
                self.confirmed.push_back((state.index, round.queries));
            }
        }
    }

    /// Answers the queries whose index has been applied.
    pub(super) fn release(
        &mut self,
        applied: u64,
        answer: impl Fn(&[u8]) -> Bytes,
        mut emit: impl FnMut(RaftEvent<T>),
    ) {
        while let Some((_, queries)) = self.confirmed.pop_front_if(|(index, _)| *index <= applied) {
            self.count -= queries.len();
            for query in queries {
                emit(RaftEvent::Answered {
                    token: query.token,
                    answer: Ok(answer(&query.query)),
                });
            }
        }
    }

    /// Tries rounds again that were probably dropped, and gives up queries older than `ticks_max`.
    pub(super) fn tick(&mut self, tick: u64, ticks_max: u64, mut emit: impl FnMut(RaftEvent<T>)) {
        while let Some(round) = self
            .confirming
            .pop_front_if(|round| round.begun + RETRY_TICKS <= tick)
        {
            self.waiting.extend(round.queries);
        }
        let late = |query: &mut Query<T>| query.since + ticks_max <= tick;
        // A confirmed one is late when this replica is cut off before it has the entries that the answer rests on.
        let confirmed = self.confirmed.iter_mut().map(|(_, queries)| queries);
        for queries in confirmed.chain([&mut self.waiting]) {
            for query in queries.extract_if(.., late) {
                self.count -= 1;
                emit(RaftEvent::Answered {
                    token: query.token,
                    answer: Err(ReadError::Unavailable),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica that is cut off between the leader's word and the entries answers all the same, in the end.
    #[test]
    fn a_confirmed_read_whose_entries_never_come_is_given_up() {
        let mut reads = Reads::new(1, 7);
        reads.push(Bytes::new(), "mine", 0).unwrap();
        let queries = std::mem::take(&mut reads.waiting);
        reads.confirmed.push_back((5, queries));
        let mut ended = Vec::new();
        for tick in 1..=10 {
            reads.tick(tick, 10, |event| ended.push((tick, event)));
        }
        let answer = Err(ReadError::Unavailable);
        let token = "mine";
        assert_eq!(ended, [(10, RaftEvent::Answered { token, answer })]);
        assert_eq!(reads.count, 0, "its place is free again");
        reads.release(
            5,
            |_| Bytes::new(),
            |event| panic!("answered again: {event:?}"),
        );
    }
}
