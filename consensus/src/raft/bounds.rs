//! Refuses what raft-rs would panic on.
//!
//! raft-rs trusts its peers: a heartbeat that commits past the log's end, or a vote that brings a commit index without
//! its term, ends the process. Everything here can be checked before the message is stepped.

use raft::eraftpb::{Message, MessageType};
use raft::{RawNode, StateRole};

use super::event::Misbehaviour;
use super::log_store::LogStore;

/// Terms and indices stay below this, so that adding to one cannot overflow.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

/// Checks a decoded message against the state it is about to be stepped into.
///
/// # Errors
///
/// [`Misbehaviour::Impossible`] says what contradicts what.
pub(super) fn check(raw: &RawNode<LogStore>, message: &Message) -> Result<(), Misbehaviour> {
    check_numbers(message)?;
    match message.get_msg_type() {
        MessageType::MsgAppend => check_append(message),
        MessageType::MsgHeartbeat => check_heartbeat(raw, message),
        MessageType::MsgAppendResponse => check_append_response(raw, message),
        MessageType::MsgRequestVoteResponse => {
            check_vote(message)?;
            check_vote_response(raw, message)
        }
        MessageType::MsgRequestVote
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => check_vote(message),
        _ => Ok(()),
    }
}

/// raft-rs takes a message of term zero for a local one; only reads travel without a term.
fn check_numbers(message: &Message) -> Result<(), Misbehaviour> {
    let is_read = message.get_msg_type() == MessageType::MsgReadIndex;
    if (message.term == 0) != is_read {
        return Err(Misbehaviour::Impossible(
            "a term where none belongs, or none where one does",
        ));
    }
    let numbers = [
        message.term,
        message.index,
        message.log_term,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ];
    if numbers.iter().any(|&number| number > NUMBER_MAX) {
        return Err(Misbehaviour::Impossible(
            "a number beyond any that can have been counted to",
        ));
    }
    Ok(())
}

fn check_append(message: &Message) -> Result<(), Misbehaviour> {
    let mut term = message.log_term;
    for entry in &message.entries {
        if entry.term < term || entry.term > message.term || entry.term == 0 {
            return Err(Misbehaviour::Impossible(
                "terms of entries go back, or beyond their leader's",
            ));
        }
        term = entry.term;
    }
    if (message.index == 0) != (message.log_term == 0) {
        return Err(Misbehaviour::Impossible(
            "the log's start has a term, or another place has none",
        ));
    }
    Ok(())
}

/// A leader commits on a follower only what that follower has acknowledged.
fn check_heartbeat(raw: &RawNode<LogStore>, message: &Message) -> Result<(), Misbehaviour> {
    if message.commit > raw.raft.raft_log.last_index() {
        return Err(Misbehaviour::Impossible(
            "a heartbeat commits entries this replica never had",
        ));
    }
    Ok(())
}

fn check_append_response(raw: &RawNode<LogStore>, message: &Message) -> Result<(), Misbehaviour> {
    let leads_in_this_term = raw.raft.state == StateRole::Leader && raw.raft.term == message.term;
    let last = raw.raft.raft_log.last_index();
    if leads_in_this_term && !message.reject && message.index > last {
        return Err(Misbehaviour::Impossible(
            "it acknowledges entries that were never sent",
        ));
    }
    Ok(())
}

/// A rejected vote may bring a commit index; without its term, raft-rs would take an absent entry for that one.
fn check_vote(message: &Message) -> Result<(), Misbehaviour> {
    if message.commit > 0 && message.commit_term == 0 {
        return Err(Misbehaviour::Impossible("a commit index without its term"));
    }
    Ok(())
}

/// Votes are asked for once the whole log is durable, and a candidate's log stands still: raft-rs insists on that when it
/// begins to lead.
fn check_vote_response(raw: &RawNode<LogStore>, message: &Message) -> Result<(), Misbehaviour> {
    let log = &raw.raft.raft_log;
    let stands = raw.raft.state == StateRole::Candidate && raw.raft.term == message.term;
    if stands && !message.reject && log.persisted < log.last_index() {
        return Err(Misbehaviour::Impossible(
            "it grants a vote that has not been asked for yet",
        ));
    }
    Ok(())
}
