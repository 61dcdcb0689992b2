//! What an oracle does while it leads.

use bytes::Bytes;
use peaberry_chain::primitives::B256;
use peaberry_core::Instant;
use peaberry_core::mutant::is_planted;

use super::lead::{Attesting, Collecting, Stage};
use super::{Evidence, Fx, Misbehaviour, Oracle};
use crate::aggregate::{aggregate, is_acceptable, is_complete};
use crate::attest::{Attestor, Gathered};
use crate::message::Body;
use crate::observation::SignedObservation;
use crate::report::AttestedReport;
use crate::round_id::RoundId;

impl<A: Attestor> Oracle<A> {
    /// Does what a leader has to do by now.
    pub(super) fn lead_on(&mut self, now: Instant, fx: Fx<'_, '_>) {
        let Some(lead) = &self.lead else {
            return;
        };
        let is_grace_over = match &lead.stage {
            Stage::Collecting(collecting) => collecting.grace_due.is_some_and(|due| due <= now),
            Stage::Idle | Stage::Attesting(_) => false,
        };
        if is_grace_over {
            return self.propose(now, fx);
        }
        let due = match &lead.stage {
            Stage::Idle => lead.next_due,
            Stage::Collecting(_) | Stage::Attesting(_) => lead.patience_due,
        };
        if due <= now {
            self.begin_round(now, fx);
        }
    }

    fn begin_round(&mut self, now: Instant, fx: Fx<'_, '_>) {
        let epoch = self.pacemaker.epoch();
        let asked = self.promises.asked.filter(|asked| asked.epoch() == epoch);
        let number = asked.map_or(0, RoundId::round).saturating_add(1);
        let timing = *self.config.timing();
        let round = RoundId::new(epoch, number).filter(|_| number <= timing.rounds_per_epoch);
        let Some(round) = round else {
            self.lead = None;
            return self.give_up(now, fx);
        };
        let Some(lead) = &mut self.lead else {
            return;
        };
        lead.next_due = now + timing.round;
        // A round that is slow to come together is still better than one begun again and again.
        lead.patience_due = now + timing.round.max(timing.progress / 2);
        lead.asked = Some(round);
        lead.heard.clear();
        lead.stage = Stage::Collecting(Collecting {
            round,
            values_due: now + timing.progress / 2,
            grace_due: None,
        });
        // None is asked for twice, whatever crashes: two proposals for one round are held against their leader.
        self.promises.put_asked(fx.batch(), round);
        let ask = Body::Ask(round);
        self.broadcast(&ask, fx);
        self.own_mail.push_back(ask);
    }

    /// Takes an answer to our question.
    pub(super) fn collect(
        &mut self,
        now: Instant,
        from: u8,
        signed: SignedObservation,
        fx: Fx<'_, '_>,
    ) {
        if signed.member != from {
            return self.blame(from, Misbehaviour::NotItsAuthor(signed.member), fx);
        }
        let round = signed.observation.round;
        let lead = self.lead.as_ref().filter(|it| it.asked == Some(round));
        let Some(known) = lead.map(|lead| lead.heard.get(&from).cloned()) else {
            return;
        };
        if known
            .as_ref()
            .is_some_and(|known| known.observation == signed.observation)
        {
            return;
        }
        if let Err(error) = signed.verify(&self.config, self.keyring.as_ref()) {
            return self.blame(from, Misbehaviour::Observation(error), fx);
        }
        match known {
            Some(known) => self.keep_evidence(from, Evidence::Observations(known, signed), fx),
            None => self.count(now, from, signed, fx),
        }
    }

    /// Takes a member's word for the round that was asked for; it counts if there is no proposal yet. The grace begins when
    /// 2f+1 have answered and waiting would bring no feed an answer more: else a liar who is quick to say that he has no
    /// value would shut out who is slower than the grace.
    fn count(&mut self, now: Instant, from: u8, signed: SignedObservation, fx: Fx<'_, '_>) {
        let Some(lead) = &mut self.lead else {
            return;
        };
        lead.heard.insert(from, signed);
        let Stage::Collecting(collecting) = &mut lead.stage else {
            return;
        };
        if lead.heard.len() < self.config.quorum() {
            return;
        }
        let due = if is_complete(&self.config, lead.heard.values()) {
            now + self.config.timing().grace
        } else {
            collecting.values_due
        };
        let sooner = collecting.grace_due.map_or(due, |known| known.min(due));
        collecting.grace_due = Some(sooner);
        if lead.heard.len() == self.config.members().len() {
            self.propose(now, fx);
        }
    }

    /// Proposes what has come. A set that its f heaviest dominate is proposed too: all count the same in it, and the report
    /// says so. So the silence of f never stops a round.
    fn propose(&mut self, now: Instant, fx: Fx<'_, '_>) {
        let Some(lead) = &mut self.lead else {
            return;
        };
        let Stage::Collecting(collecting) = &mut lead.stage else {
            return;
        };
        if is_planted("waits_for_a_heavier_set") && !self.config.weights_are_equal() {
            let weights = lead
                .heard
                .keys()
                .filter_map(|it| Some(self.config.member(*it)?.weight));
            if !is_acceptable(weights, self.config.faulty()) {
                collecting.grace_due = None;
                lead.patience_due = now + self.config.timing().progress * 1_000;
                return;
            }
        }
        let round = collecting.round;
        let observations: Vec<_> = lead.heard.values().cloned().collect();
        let report = aggregate(&self.config, round, &observations);
        let digest = report.digest(&self.config);
        lead.stage = Stage::Attesting(Attesting { report, digest });
        // Who was waited for long has not used up the time for the signatures.
        lead.patience_due = lead.patience_due.max(now + self.config.timing().round);
        self.attestor.begin(&digest);
        let proposal = Body::Proposal {
            round,
            observations,
        };
        self.broadcast(&proposal, fx);
        self.own_mail.push_back(proposal);
    }

    /// Takes a member's part of the attestation.
    pub(super) fn gather(
        &mut self,
        now: Instant,
        from: u8,
        round: RoundId,
        digest: B256,
        part: &Bytes,
        fx: Fx<'_, '_>,
    ) {
        let Some(Stage::Attesting(attesting)) = self.lead.as_ref().map(|lead| &lead.stage) else {
            return;
        };
        let is_over = self.last_round() >= Some(round);
        if attesting.report.round != round || attesting.digest != digest || is_over {
            return;
        }
        match self.attestor.gather(&digest, from, part) {
            Ok(Gathered::More) => {}
            Ok(Gathered::Ask(requests)) => {
                for (member, request) in requests {
                    self.send(
                        member,
                        Body::Request {
                            round,
                            digest,
                            request,
                        },
                        fx,
                    );
                }
            }
            Ok(Gathered::Done(attestation)) => {
                let report = attesting.report.clone();
                let attested = AttestedReport {
                    report,
                    attestation,
                };
                self.accept(now, self.member, attested, fx);
            }
            Err(error) => self.blame(from, Misbehaviour::Part(error), fx),
        }
    }

    /// A round is over, with a report or because none was due.
    pub(super) fn finish_round(&mut self, now: Instant, round: RoundId) {
        let Some(lead) = &mut self.lead else {
            return;
        };
        let under_way = match &lead.stage {
            Stage::Idle => None,
            Stage::Collecting(collecting) => Some(collecting.round),
            Stage::Attesting(attesting) => Some(attesting.report.round),
        };
        if under_way == Some(round) {
            lead.stage = Stage::Idle;
            lead.next_due = lead.next_due.max(now);
        }
    }
}
