use std::collections::BTreeMap;

use peaberry_core::PeerId;
use peaberry_core::mutant::is_planted;

use crate::limits::REPLIES_PER_SESSION_MAX;
use crate::path::LockPath;
use crate::request::{Refusal, Reply, Sequence};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) peer: PeerId,
    pub(super) nonce: u128,
    pub(super) owner: Box<str>,
    pub(super) ttl_ms: u64,
    /// The log time from which on it is dead.
    pub(super) expiry: u64,
    pub(super) replies: Replies,
    /// What it holds and waits for, by the number of the acquire.
    pub(super) claims: BTreeMap<u64, Claim>,
}

impl Session {
    pub(super) const fn is_alive(&self, time: u64) -> bool {
        self.expiry > time
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) path: LockPath,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Holding,
    Waiting { ticket: u64 },
}

/// The replies that a client has not acknowledged, by sequence number (RIFL, SOSP 2015).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replies {
    /// Requests numbered below are answered and acknowledged.
    pub(super) acknowledged: u64,
    /// In the order of their numbers.
    pub(super) kept: Vec<(u64, Reply)>,
}

/// What to do with a request.
pub(super) enum Verdict {
    Execute,
    Answer(Reply),
}

impl Replies {
    /// Forgets what `sequence` acknowledges, and looks whether it has been answered.
    pub(super) fn begin(&mut self, sequence: Sequence) -> Verdict {
        self.acknowledge(sequence.acknowledged.min(sequence.number));
        if sequence.number < self.acknowledged {
            return Verdict::Answer(Reply::Refused(Refusal::StaleSequence));
        }
        if is_planted("retry_executed_twice") {
            return Verdict::Execute;
        }
        match self.find(sequence.number) {
            Ok(at) => {
                let reply = self.kept.get(at).map(|(_, reply)| *reply);
                Verdict::Answer(reply.expect("found there"))
            }
            Err(_) if self.kept.len() >= REPLIES_PER_SESSION_MAX => {
                Verdict::Answer(Reply::Refused(Refusal::TooManyReplies))
            }
            Err(_) => Verdict::Execute,
        }
    }

    fn acknowledge(&mut self, below: u64) {
        if below > self.acknowledged {
            self.acknowledged = below;
            let gone = self.kept.partition_point(|&(number, _)| number < below);
            self.kept.drain(..gone);
        }
    }

    pub(super) fn keep(&mut self, number: u64, reply: Reply) {
        match self.find(number) {
            Ok(at) => {
                if let Some((_, kept)) = self.kept.get_mut(at) {
                    *kept = reply;
                }
            }
            Err(at) => self.kept.insert(at, (number, reply)),
        }
    }

    /// Puts `reply` in the place of the kept one, if the client has not acknowledged that.
    pub(super) fn amend(&mut self, number: u64, reply: Reply) {
        if let Ok(at) = self.find(number)
            && let Some((_, kept)) = self.kept.get_mut(at)
        {
            *kept = reply;
        }
    }

    /// Whether there is room for one more reply beside that of the request at hand.
    pub(super) const fn has_room(&self) -> bool {
        self.kept.len() + 1 < REPLIES_PER_SESSION_MAX
    }

    pub(super) fn answered(&self, number: u64) -> bool {
        number < self.acknowledged || self.find(number).is_ok()
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        self.kept.binary_search_by_key(&number, |&(kept, _)| kept)
    }
}
