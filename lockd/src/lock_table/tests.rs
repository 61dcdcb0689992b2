mod model;
mod replica;
mod stories;

use bytes::Bytes;
use peaberry_consensus::{Apply, Restore, StateMachine};
use peaberry_core::{Batch, PeerId};

use super::LockTable;
use crate::request::{Entry, EntryReply, Notice, Operation, Reply, Request, SessionId};

pub(super) fn peer(number: u64) -> PeerId {
    PeerId::new(number).unwrap()
}

/// Any state machine that stands in for the table, fed entry by entry.
pub(super) struct Machine<S> {
    pub(super) state: S,
    index: u64,
}

/// What one entry brought about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) replies: Vec<Reply>,
    pub(super) notices: Vec<Notice>,
    pub(super) next_expiry_ms: Option<u64>,
}

impl<S: StateMachine> Machine<S> {
    pub(super) const fn new(state: S) -> Self {
        Self { state, index: 0 }
    }

    pub(super) fn command(&mut self, command: &[u8]) -> (Bytes, Vec<Bytes>) {
        let (mut notices, mut batch) = (Vec::new(), Batch::new());
        self.index += 1;
        let mut apply = Apply::new(self.index, command, &mut notices, &mut batch);
        (self.state.apply(&mut apply), notices)
    }

    pub(super) fn entry(&mut self, log_time_ms: u64, requests: &[(PeerId, Request)]) -> Outcome {
        let (answer, notices) = self.command(&entry_of(log_time_ms, requests));
        let reply = EntryReply::decode(&answer).unwrap();
        Outcome {
            replies: reply
                .replies
                .unwrap()
                .iter()
                .map(|reply| Reply::decode(reply).unwrap())
                .collect(),
            notices: notices
                .iter()
                .map(|notice| Notice::decode(notice).unwrap())
                .collect(),
            next_expiry_ms: reply.next_expiry_ms,
        }
    }

    pub(super) fn chunks(&self) -> Vec<Bytes> {
        self.state.snapshot().collect()
    }
}

pub(super) fn entry_of(log_time_ms: u64, requests: &[(PeerId, Request)]) -> Vec<u8> {
    let encoded: Vec<_> = requests
        .iter()
        .map(|(peer, request)| {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            (*peer, bytes)
        })
        .collect();
    let operations = encoded
        .iter()
        .map(|(peer, request)| Operation {
            peer: *peer,
            request,
        })
        .collect();
    Entry::Requests {
        log_time_ms,
        operations,
    }
    .encode()
}

pub(super) fn restored_from(chunks: &[Bytes]) -> LockTable {
    let mut restore = LockTable::new().begin_restore();
    for chunk in chunks {
        restore.chunk(chunk).unwrap();
    }
    restore.finish().unwrap()
}

pub(super) const fn session(number: u64) -> SessionId {
    SessionId {
        incarnation: 1,
        number,
    }
}
