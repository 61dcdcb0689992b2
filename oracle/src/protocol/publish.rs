//! What an oracle does with a report that a quorum has signed.

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
/// How many reports may wait for their turn.
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

impl Waiting {
    const fn report(&self) -> &Report {
        &self.report.report
    }
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

    /// After a restart: what is not known to be on chain may not be. The newest report is transmitted again; where it leaves
    /// a feed out, whose answer stood in an earlier one, that feed's next answer is due.
    pub(super) fn publish_again(&mut self, now: Instant) {
        let last = self.promises.last.clone();
        let last = last.filter(|it| it.report.config == self.config.digest());
        for (feed, answer) in (0..=u8::MAX).zip(&self.promises.answers) {
            let is_lost = answer.is_some_and(|it| self.promises.landed(feed) < Some(it.round));
            if is_lost && !last.as_ref().is_some_and(|it| has(&it.report, feed)) {
                self.awaited.insert(feed, 0);
            }
        }
        if let Some(last) = last {
            self.recent.keep(last.clone());
            if self.is_wanted(&last.report) {
                self.enqueue(now, last);
            }
        }
    }

    fn enqueue(&mut self, now: Instant, report: AttestedReport) {
        let slot = slot_of(&self.config, report.report.round, self.member);
        let due = now + self.config.timing().stage * slot;
        if self.publishing.waiting.len() >= WAITING_MAX {
            self.make_room(&report.report);
        }
        self.publishing
            .waiting
            .push_back(Waiting { due, slot, report });
    }

    /// Lets the oldest report go of which newer ones have every feed. Where there is none, the oldest goes, and new answers
    /// are due in place of those that nothing has any more.
    fn make_room(&mut self, coming: &Report) {
        let waiting = &mut self.publishing.waiting;
        let missing = |waiting: &VecDeque<Waiting>, at: usize| -> Vec<u8> {
            let mut newer: Vec<&Report> =
                waiting.iter().skip(at + 1).map(Waiting::report).collect();
            newer.push(coming);
            let feeds = waiting
                .get(at)
                .into_iter()
                .flat_map(|it| feeds_of(it.report()));
            feeds
                .filter(|feed| !newer.iter().any(|it| has(it, *feed)))
                .collect()
        };
        let at = (0..waiting.len()).find(|at| missing(waiting, *at).is_empty());
        let at = at.unwrap_or(0);
        for feed in missing(waiting, at) {
            self.awaited.entry(feed).or_insert(0);
        }
        waiting.remove(at);
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

    /// The contract has an answer of this round for the feed. A report is needless when each of its feeds has one of its
    /// round or a later one.
    pub(super) fn landed(&mut self, feed: u8, round: RoundId, fx: Fx<'_, '_>) {
        if self.promises.put_landed(fx.batch(), feed, round) {
            let mut waiting = std::mem::take(&mut self.publishing.waiting);
            waiting.retain(|it| self.is_wanted(it.report()));
            self.publishing.waiting = waiting;
        }
    }

    /// Whether the contract lacks an answer of the report, as far as we know.
    fn is_wanted(&self, report: &Report) -> bool {
        feeds_of(report).any(|feed| self.promises.landed(feed) < Some(report.round))
    }
}

fn feeds_of(report: &Report) -> impl Iterator<Item = u8> {
    report.answers.iter().map(|answer| answer.feed)
}

fn has(report: &Report, feed: u8) -> bool {
    report.answer(usize::from(feed)).is_some()
}
