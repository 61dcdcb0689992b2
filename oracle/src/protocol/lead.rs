use std::collections::BTreeMap;

use peaberry_chain::primitives::B256;
use peaberry_core::Instant;

use crate::observation::SignedObservation;
use crate::report::Report;
use crate::round_id::RoundId;

/// What the leader of an epoch is about.
#[derive(Debug)]
pub(super) struct Lead {
    /// When the next round may begin.
    pub(super) next_due: Instant,
    /// When the next round begins whatever became of this one.
    pub(super) patience_due: Instant,
    /// The newest round that was asked for in this epoch.
    pub(super) asked: Option<RoundId>,
    /// What each member has signed for it, kept until the next question: whoever signs something else, at whatever stage
    /// of the round, contradicts himself.
    pub(super) heard: BTreeMap<u8, SignedObservation>,
    pub(super) stage: Stage,
}

/// How far the round is.
#[derive(Debug)]
pub(super) enum Stage {
    /// None is under way.
    Idle,
    /// The members have been asked.
    Collecting(Collecting),
    /// A report has been proposed.
    Attesting(Attesting),
}

#[derive(Debug)]
pub(super) struct Collecting {
    pub(super) round: RoundId,
    /// When what has come is proposed although feeds lack values that others may still have.
    pub(super) values_due: Instant,
    /// When what has come is proposed; set once 2f+1 have answered.
    pub(super) grace_due: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Attesting {
    pub(super) report: Report,
    pub(super) digest: B256,
}

impl Lead {
    /// Begins a lead: the first round is due at once.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            next_due: now,
            patience_due: now,
            asked: None,
            heard: BTreeMap::new(),
            stage: Stage::Idle,
        }
    }

    /// When there is something to do for a leader.
    pub(super) fn deadline(&self) -> Instant {
        match &self.stage {
            Stage::Idle => self.next_due,
            Stage::Collecting(collecting) => {
                let grace_due = collecting.grace_due.unwrap_or(self.patience_due);
                grace_due.min(self.patience_due)
            }
            Stage::Attesting(_) => self.patience_due,
        }
    }
}
