//! Proposals on their way to a quorum.

use std::collections::VecDeque;

use bytes::Bytes;
use peaberry_core::PeerId;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, StateRole};

use super::entry;
use super::event::{Outcome, RaftEvent, Rejection};
use super::log_store::{LogStore, Position};

/// One message proposes entries of about this many bytes: below the limit for one append.
const PROPOSE_BYTES: usize = 512 << 10;

/// Proposals that have not ended.
#[derive(Debug)]
pub(super) struct Proposals<T> {
    /// Commands of this turn, a vector for each message that will propose them.
    messages: Vec<Vec<Entry>>,
    /// What the last of `messages` takes.
    message_bytes: usize,
    tokens: Vec<T>,
    /// Proposals in the log, by rising index.
    in_log: VecDeque<InLog<T>>,
}

#[derive(Debug)]
struct InLog<T> {
    at: Position,
    /// The group's tick at which it was proposed.
    since: u64,
    token: T,
}

impl<T> Proposals<T> {
    pub(super) const fn new() -> Self {
        Self {
            messages: Vec::new(),
            message_bytes: 0,
            tokens: Vec::new(),
            in_log: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, command: Bytes, token: T) {
        let entry = entry::command(command);
        let is_full = self.message_bytes >= PROPOSE_BYTES;
        let bytes = entry::cost(&entry);
        match self.messages.last_mut() {
            Some(message) if !is_full => {
                message.push(entry);
                self.message_bytes += bytes;
            }
            _ => {
                self.messages.push(vec![entry]);
                self.message_bytes = bytes;
            }
        }
        self.tokens.push(token);
    }

    /// Proposes this turn's commands, many entries to a message.
    pub(super) fn flush(
        &mut self,
        raw: &mut RawNode<LogStore>,
        tick: u64,
        mut emit: impl FnMut(RaftEvent<T>),
    ) {
        let mut tokens = std::mem::take(&mut self.tokens);
        let mut waiting = tokens.drain(..);
        for message in std::mem::take(&mut self.messages) {
            let tokens = waiting.by_ref().take(message.len());
            match propose(raw, message) {
                // An earlier leadership's proposals at these indices have left our log; a rival may still hold them.
                Ok(first) => {
                    self.give_up_from(first.index, &mut emit);
                    self.in_log
                        .extend((first.index..).zip(tokens).map(|(index, token)| InLog {
                            at: Position {
                                index,
                                term: first.term,
                            },
                            since: tick,
                            token,
                        }));
                }
                Err(rejection) => tokens.for_each(|token| {
                    emit(RaftEvent::Completed {
                        token,
                        outcome: Outcome::Rejected(rejection.clone()),
                    });
                }),
            }
        }
        drop(waiting);
        // Kept for its memory.
        self.tokens = tokens;
    }

    /// Ends the proposal at `at`, where a committed entry has been applied, and those before it.
    pub(super) fn complete(
        &mut self,
        at: Position,
        response: Bytes,
        mut emit: impl FnMut(RaftEvent<T>),
    ) {
        while let Some(proposal) = self
            .in_log
            .pop_front_if(|proposal| proposal.at.index < at.index)
        {
            emit(RaftEvent::Completed {
                token: proposal.token,
                outcome: Outcome::Unknown,
            });
        }
        let Some(proposal) = self
            .in_log
            .pop_front_if(|proposal| proposal.at.index == at.index)
        else {
            return;
        };
        let outcome = if proposal.at.term == at.term {
            Outcome::Committed {
                index: at.index,
                response,
            }
        } else {
            Outcome::Rejected(Rejection::Superseded)
        };
        emit(RaftEvent::Completed {
            token: proposal.token,
            outcome,
        });
    }

    /// Ends the proposals up to `index` whose entries a snapshot has jumped over.
    pub(super) fn jump(&mut self, index: u64, mut emit: impl FnMut(RaftEvent<T>)) {
        while let Some(proposal) = self
            .in_log
            .pop_front_if(|proposal| proposal.at.index <= index)
        {
            emit(RaftEvent::Completed {
                token: proposal.token,
                outcome: Outcome::Unknown,
            });
        }
    }

    fn give_up_from(&mut self, index: u64, mut emit: impl FnMut(RaftEvent<T>)) {
        let kept = self
            .in_log
            .partition_point(|proposal| proposal.at.index < index);
        for proposal in self.in_log.drain(kept..) {
            emit(RaftEvent::Completed {
                token: proposal.token,
                outcome: Outcome::Unknown,
            });
        }
    }

    /// Ends the proposals made before the tick `before`: nobody knows when their fate will be decided.
    pub(super) fn give_up(&mut self, before: u64, mut emit: impl FnMut(RaftEvent<T>)) {
        while let Some(proposal) = self.in_log.pop_front_if(|proposal| proposal.since < before) {
            emit(RaftEvent::Completed {
                token: proposal.token,
                outcome: Outcome::Unknown,
            });
        }
    }
}

/// Appends `entries` to the leader's log; answers the place of the first.
fn propose(raw: &mut RawNode<LogStore>, entries: Vec<Entry>) -> Result<Position, Rejection> {
    if raw.raft.state != StateRole::Leader {
        return Err(Rejection::NotLeader {
            leader: PeerId::new(raw.raft.leader_id),
        });
    }
    let first = Position {
        index: raw.raft.raft_log.last_index() + 1,
        term: raw.raft.term,
    };
    let mut message = Message {
        from: raw.raft.id,
        entries: entries.into(),
        ..Message::default()
    };
    message.set_msg_type(MessageType::MsgPropose);
    // raft-rs drops a proposal when too much waits for a quorum, and while leadership is handed over.
    raw.raft
        .step(message)
        .map_err(|_dropped| Rejection::Overloaded)?;
    Ok(first)
}
