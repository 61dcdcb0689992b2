//! What comes back from the group.

use bytes::Bytes;
use peaberry_consensus::{Outcome, RaftEvent, ReadError, Rejection};
use peaberry_core::{Effects, Instant};

use super::log_clock::LogClock;
use super::{Asker, LockService, STATUS_RETRY, ServiceEvent};
use crate::message::{Again, Told};
use crate::request::{Answer, EntryReply, Notice, answers_of};

/// Who waits for a proposal or a read.
#[derive(Debug)]
pub(super) enum InFlight {
    /// The askers of the requests in an entry, in their order.
    Entry(Vec<Asker>),
    /// The askers of the queries in a read, in their order.
    Queries(Vec<Asker>),
    /// This service, new leader of the term.
    Status(u64),
    /// An operator.
    Restored,
}

impl LockService {
    pub(super) fn group_event(
        &mut self,
        now: Instant,
        event: RaftEvent<u64>,
        fx: &mut Effects<'_, ServiceEvent>,
    ) {
        match event {
            RaftEvent::Completed { token, outcome } => self.completed(token, outcome, fx),
            RaftEvent::Answered { token, answer } => self.answered(now, token, answer),
            RaftEvent::Leader { term, leader } => {
                self.term = term;
                self.leader = leader;
                self.clock = None;
                self.status_at = self.leads().then_some(now);
                if !self.leads() {
                    self.turn_away();
                }
            }
            RaftEvent::Notice { notice, .. } if self.leads() => {
                if let Ok(Notice { peer, .. }) = Notice::decode(&notice) {
                    self.mail.tell(peer, Told::Notice { body: &notice });
                }
            }
            _ => {}
        }
    }

    fn completed(&mut self, token: u64, outcome: Outcome, fx: &mut Effects<'_, ServiceEvent>) {
        if self.ticking == Some(token) {
            self.ticking = None;
        }
        let waiting = self.in_flight.remove(&token);
        let reply = match &outcome {
            Outcome::Committed { index, response } => self.entry_reply(*index, response),
            _ => None,
        };
        match waiting {
            Some(InFlight::Entry(askers)) => {
                let reason = again_of(&outcome);
                let replies = reply.and_then(|reply| reply.replies).unwrap_or_default();
                let mut replies = replies.into_iter();
                for asker in askers {
                    let call = asker.call;
                    match replies.next() {
                        Some(body) => self.answer(asker, Told::Reply { call, body: &body }),
                        None => self.ask_again(asker, reason),
                    }
                }
            }
            Some(InFlight::Restored) => {
                let committed = reply.is_some();
                fx.emit(ServiceEvent::Restored { committed });
            }
            Some(InFlight::Queries(_) | InFlight::Status(_)) | None => {}
        }
    }

    /// Notes what an entry's answer tells about time.
    fn entry_reply(&mut self, index: u64, response: &Bytes) -> Option<EntryReply> {
        let reply = EntryReply::decode(response).ok()?;
        if let Some(clock) = &mut self.clock {
            clock.committed(reply.log_time_ms);
        }
        if index >= self.next_expiry.0 {
            self.next_expiry = (index, reply.next_expiry_ms);
        }
        Some(reply)
    }

    fn answered(&mut self, now: Instant, token: u64, answer: Result<Bytes, ReadError>) {
        match self.in_flight.remove(&token) {
            Some(InFlight::Queries(askers)) => {
                let reason = match answer {
                    Err(ReadError::Overloaded) => Again::Busy,
                    _ => Again::Unknown,
                };
                let answers = answer.ok().and_then(|bytes| answers_of(&bytes).ok());
                let mut answers = answers.unwrap_or_default().into_iter();
                for asker in askers {
                    let call = asker.call;
                    match answers.next() {
                        Some(body) => self.answer(asker, Told::Answer { call, body: &body }),
                        None => self.ask_again(asker, reason),
                    }
                }
            }
            Some(InFlight::Status(term)) if term == self.term && self.leads() => {
                self.status_answered(now, answer);
            }
            Some(InFlight::Status(_) | InFlight::Entry(_) | InFlight::Restored) | None => {}
        }
    }

    /// The table's time is known, at least as new as every committed stamp: from here on entries are stamped.
    fn status_answered(&mut self, now: Instant, answer: Result<Bytes, ReadError>) {
        let answers = answer.ok().and_then(|bytes| answers_of(&bytes).ok());
        let first = answers.and_then(|answers| answers.into_iter().next());
        match first.map(|bytes| Answer::decode(&bytes)) {
            Some(Ok(Answer::Status(status))) => {
                self.clock = Some(LogClock::starting_at(status.log_time_ms));
                self.next_expiry.1 = status.next_expiry_ms;
            }
            _ => self.status_at = Some(now + STATUS_RETRY),
        }
    }
}

const fn again_of(outcome: &Outcome) -> Again {
    match outcome {
        Outcome::Rejected(Rejection::NotLeader { leader }) => Again::NotLeader { hint: *leader },
        Outcome::Rejected(Rejection::Overloaded | Rejection::TooLarge { .. }) => Again::Busy,
        _ => Again::Unknown,
    }
}
