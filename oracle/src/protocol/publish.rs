//! What an oracle does with a report that a quorum has signed.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};

use peaberry_core::Instant;
use peaberry_core::mutant::is_planted;

use super::{Evidence, Fx, Misbehaviour, Oracle, OracleEvent};
use crate::attest::Attestor;
use crate::message::Body;
use crate::report::{AttestedReport, Report};
use crate::round_id::RoundId;
use crate::schedule::{leader_of, slot_of};

/// How many reports are kept to be compared with others of the same round, while we live: a second one that comes later is
/// passed over as old.
const RECENT_MAX: usize = 8;
/// How many reports may wait for their turn; the oldest goes, since newer ones are worth more.
const WAITING_MAX: usize = 8;

/// The newest reports.
#[derive(Debug, Default)]
pub(super) struct Recent {
    reports: VecDeque<AttestedReport>,
    /// Whom we have sent the newest report since our last beat: once is enough.
    caught_up: BTreeSet<u8>,
}

impl Recent {
    pub(super) fn allow_catching_up(&mut self) {
        self.caught_up.clear();
    }

    fn keep(&mut self, report: AttestedReport) {
        self.reports.push_front(report);
        self.reports.truncate(RECENT_MAX);
    }

    fn of(&self, round: RoundId) -> Option<&AttestedReport> {
        self.reports.iter().find(|it| it.report.round == round)
    }
}

/// Reports that wait for our turn to put them on chain.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    slot: u32,
    report: AttestedReport,
}

impl Publishing {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|it| it.due).min()
    }
}

impl<A: Attestor> Oracle<A> {
    pub(super) fn hear_final(
        &mut self,
        now: Instant,
        from: u8,
        attested: AttestedReport,
        fx: Fx<'_, '_>,
    ) {
        let round = attested.report.round;
        let known = self.recent.of(round);
        let is_needless = match known {
            Some(known) => known.report == attested.report,
            None => self.last_round() >= Some(round) && !is_planted("stale_round_accepted"),
        };
        if is_needless {
            return;
        }
        let digest = attested.report.digest(&self.config);
        if let Err(error) = self.attestor.verify(&digest, &attested.attestation) {
            return self.blame(from, Misbehaviour::Attestation(error), fx);
        }
        match known.cloned() {
            None => self.accept(now, from, attested, fx),
            // A quorum has signed two reports of one round: their leader proposed two sets.
            Some(known) => {
                let offender = leader_of(&self.config, round.epoch());
                self.keep_evidence(offender, Evidence::Reports(known, attested), fx);
            }
        }
    }

    /// Takes a report that a quorum has signed, passes it on, and takes a place in the queue to put it on chain.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        from: u8,
        attested: AttestedReport,
        fx: Fx<'_, '_>,
    ) {
        let round = attested.report.round;
        let digest = attested.report.digest(&self.config);
        let observations = self.observations_behind(digest).map(<[_]>::to_vec);
        if let Some(observations) = &observations {
            self.promises
                .reputation
                .record(&self.config, &attested.report, observations);
            self.promises.put_reputation(fx.batch(), &self.config);
        }
        let observed_at_ms = attested.report.observed_at_ms;
        for answer in &attested.report.answers {
            let awaited = self.awaited.get(&answer.feed);
            if awaited.is_some_and(|from| observed_at_ms >= *from) {
                self.awaited.remove(&answer.feed);
            }
        }
        self.credit(now, &attested.report);
        self.promises.put_last(fx.batch(), attested.clone());
        self.recent.keep(attested.clone());
        self.enqueue(now, attested.clone());
        self.broadcast_but(from, &Body::Final(attested.clone()), fx);
        fx.emit_after_commit(OracleEvent::Agreed {
            report: attested,
            observations,
        });
        self.finish_round(now, round);
        let is_last = round.round() >= self.config.timing().rounds_per_epoch;
        if is_last && round.epoch() == self.pacemaker.epoch() {
            self.give_up(now, fx);
        }
    }

    /// Who has an older report than ours gets ours, once a beat.
    pub(super) fn bring_up_to_date(&mut self, member: u8, theirs: Option<RoundId>, fx: Fx<'_, '_>) {
        let Some(last) = &self.promises.last else {
            return;
        };
        let is_ours = last.report.config == self.config.digest();
        if is_ours && theirs < Some(last.report.round) && self.recent.caught_up.insert(member) {
            let last = Body::Final(last.clone());
            self.send(member, last, fx);
        }
    }

    /// After a restart: what is not known to be on chain may not be.
    pub(super) fn publish_again(&mut self, now: Instant) {
        if let Some(last) = self.promises.last.clone()
            && last.report.config == self.config.digest()
        {
            self.recent.keep(last.clone());
            if self.promises.landed < Some(last.report.round) {
                self.enqueue(now, last);
            }
        }
    }

    fn enqueue(&mut self, now: Instant, report: AttestedReport) {
        let slot = slot_of(&self.config, report.report.round, self.member);
        let due = now + self.config.timing().stage * slot;
        if self.publishing.waiting.len() >= WAITING_MAX {
            self.publishing.waiting.pop_front();
        }
        self.publishing
            .waiting
            .push_back(Waiting { due, slot, report });
    }

    /// Hands on what it is our turn to transmit.
    pub(super) fn transmit_due(&mut self, now: Instant, fx: Fx<'_, '_>) {
        let waiting = std::mem::take(&mut self.publishing.waiting);
        for one in waiting {
            if one.due > now {
                self.publishing.waiting.push_back(one);
            } else {
                let (slot, report) = (one.slot, one.report);
                fx.emit_after_commit(OracleEvent::Transmit { slot, report });
            }
        }
    }

    /// The contract has stored a round. An earlier report is needless where the stored one has an answer for each of its
    /// feeds; where it leaves one out, or has not come here, the earlier one waits on: whether the contract still wants it
    /// is asked before it is paid for.
    pub(super) fn landed(&mut self, round: RoundId, fx: Fx<'_, '_>) {
        if self.promises.landed >= Some(round) {
            return;
        }
        self.promises.put_landed(fx.batch(), round);
        let stored = self.recent.of(round).map(|it| &it.report);
        self.publishing.waiting.retain(|it| {
            let waiting = &it.report.report;
            match waiting.round.cmp(&round) {
                Ordering::Greater => true,
                Ordering::Equal => false,
                Ordering::Less => !stored.is_some_and(|stored| covers(stored, waiting)),
            }
        });
    }
}

/// Whether `newer` has an answer for each feed of `older`.
fn covers(newer: &Report, older: &Report) -> bool {
    let mut feeds = older.answers.iter().map(|answer| usize::from(answer.feed));
    feeds.all(|feed| newer.answer(feed).is_some())
}
