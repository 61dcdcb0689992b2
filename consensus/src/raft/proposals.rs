//! Proposals on their way to a quorum.

use std::collections::VecDeque;

use peaberry_core::PeerId;
use raft::eraftpb::{Entry, Message, MessageType};
use raft::{RawNode, StateRole};

use super::entry;
use super::event::{Outcome, RaftEvent, Rejection};
use super::log_store::{LogStore, Position};

/// One entry holds commands of at most so many bytes, or one longer command: below the limit for one append.
const ENTRY_BYTES: usize = 256 << 10;

/// Proposals that have not ended.
#[derive(Debug)]
pub(super) struct Proposals<T> {
    /// This turn's, a batch for each entry that will hold them.
    batches: Vec<Batch<T>>,
    /// Those in the log, by rising index.
    in_log: VecDeque<InLog<T>>,
}

/// Commands that are proposed together, and who proposed each.
#[derive(Debug)]
struct Batch<T> {
    commands: Vec<u8>,
    tokens: Vec<T>,
}

#[derive(Debug)]
struct InLog<T> {
    at: Position,
    /// The group's tick at which they were proposed.
    since: u64,
    tokens: Vec<T>,
}

impl<T> Proposals<T> {
    pub(super) const fn new() -> Self {
        Self {
            batches: Vec::new(),
            in_log: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, command: &[u8], token: T) {
        let fits = |batch: &&mut Batch<T>| batch.commands.len() + command.len() < ENTRY_BYTES;
        if let Some(batch) = self.batches.last_mut().filter(fits) {
            entry::put_command(&mut batch.commands, command);
            batch.tokens.push(token);
            return;
        }
        let mut commands = Vec::with_capacity(command.len() + 8);
        entry::put_command(&mut commands, command);
        let tokens = vec![token];
        self.batches.push(Batch { commands, tokens });
    }

    /// Proposes this turn's commands, each batch as one entry.
    pub(super) fn flush(
        &mut self,
        raw: &mut RawNode<LogStore>,
        tick: u64,
        mut emit: impl FnMut(RaftEvent<T>),
    ) {
        for Batch { commands, tokens } in std::mem::take(&mut self.batches) {
            match propose(raw, entry::of(commands)) {
                // An earlier leadership's proposals at these indices have left our log; a rival may still hold them.
                Ok(at) => {
                    self.give_up_from(at.index, &mut emit);
                    let since = tick;
                    self.in_log.push_back(InLog { at, since, tokens });
                }
                Err(rejection) => end(tokens, &Outcome::Rejected(rejection), &mut emit),
            }
        }
    }

    /// Who proposed the commands of the committed entry at `at`, in their order; nobody here if it is empty. Ends the
    /// proposals before it, and those at its index that it has taken the place of.
    pub(super) fn committed(&mut self, at: Position, mut emit: impl FnMut(RaftEvent<T>)) -> Vec<T> {
        while let Some(before) = self.pop_if(|proposed| proposed.at.index < at.index) {
            end(before.tokens, &Outcome::Unknown, &mut emit);
        }
        match self.pop_if(|proposed| proposed.at.index == at.index) {
            Some(proposed) if proposed.at.term == at.term => proposed.tokens,
            Some(rival) => {
                end(
                    rival.tokens,
                    &Outcome::Rejected(Rejection::Superseded),
                    &mut emit,
                );
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Ends the proposals up to `index` whose entries a snapshot has jumped over.
    pub(super) fn jump(&mut self, index: u64, mut emit: impl FnMut(RaftEvent<T>)) {
        while let Some(jumped) = self.pop_if(|proposed| proposed.at.index <= index) {
            end(jumped.tokens, &Outcome::Unknown, &mut emit);
        }
    }

    fn give_up_from(&mut self, index: u64, mut emit: impl FnMut(RaftEvent<T>)) {
        let kept = self
            .in_log
            .partition_point(|proposed| proposed.at.index < index);
        for proposed in self.in_log.drain(kept..) {
            end(proposed.tokens, &Outcome::Unknown, &mut emit);
        }
    }

    /// Ends the proposals made before the tick `before`: nobody knows when their fate will be decided.
    pub(super) fn give_up(&mut self, before: u64, mut emit: impl FnMut(RaftEvent<T>)) {
        while let Some(old) = self.pop_if(|proposed| proposed.since < before) {
            end(old.tokens, &Outcome::Unknown, &mut emit);
        }
    }

    fn pop_if(&mut self, is_due: impl FnOnce(&InLog<T>) -> bool) -> Option<InLog<T>> {
        self.in_log.pop_front_if(|first| is_due(first))
    }
}

fn end<T>(tokens: Vec<T>, outcome: &Outcome, emit: &mut impl FnMut(RaftEvent<T>)) {
    for token in tokens {
        let outcome = outcome.clone();
        emit(RaftEvent::Completed { token, outcome });
    }
}

/// Appends `entry` to the leader's log; answers its place.
fn propose(raw: &mut RawNode<LogStore>, entry: Entry) -> Result<Position, Rejection> {
    if raw.raft.state != StateRole::Leader {
        return Err(Rejection::NotLeader {
            leader: PeerId::new(raw.raft.leader_id),
        });
    }
    let at = Position {
        index: raw.raft.raft_log.last_index() + 1,
        term: raw.raft.term,
    };
    let mut message = Message {
        from: raw.raft.id,
        entries: vec![entry].into(),
        ..Message::default()
    };
    message.set_msg_type(MessageType::MsgPropose);
    // raft-rs drops a proposal when too much waits for a quorum, and while leadership is handed over.
    raw.raft
        .step(message)
        .map_err(|_dropped| Rejection::Overloaded)?;
    Ok(at)
}
