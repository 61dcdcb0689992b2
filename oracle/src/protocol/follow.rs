//! What an oracle does for a leader.

use bytes::Bytes;
use peaberry_chain::primitives::B256;
use peaberry_core::Instant;
use peaberry_core::mutant::is_planted;

use super::breaker::Trip;
use super::{Evidence, Followed, Fx, Misbehaviour, Oracle, OracleEvent, Values};
use crate::aggregate::{aggregate, is_out_of_reach, observations_hash, verify_set};
use crate::attest::{AttestError, Attestor};
use crate::message::Body;
use crate::observation::{Observation, SignedObservation};
use crate::report::Report;
use crate::round_id::RoundId;

impl<A: Attestor> Oracle<A> {
    /// Tells the leader what we see, or again what we saw.
    pub(super) fn observe(&mut self, now: Instant, from: u8, round: RoundId, fx: Fx<'_, '_>) {
        if !self.is_led_by(from, round, fx) {
            return;
        }
        let known = self
            .promises
            .observed
            .as_ref()
            .map(|it| it.observation.round);
        if known > Some(round) {
            return;
        }
        let kept = self.promises.observed.as_ref().filter(|kept| {
            kept.observation.round == round && kept.observation.config == self.config.digest()
        });
        if let Some(kept) = kept.cloned() {
            return self.send(from, Body::Observation(kept), fx);
        }
        if known == Some(round) {
            // Signed under another configuration: nothing more is signed for this round.
            return;
        }
        let Some(observation) = self.see(now, round) else {
            return;
        };
        let signed = observation.sign(&self.config, self.member, self.keyring.as_ref());
        self.promises.put_observed(fx.batch(), signed.clone());
        fx.emit_after_commit(OracleEvent::Observed(signed.clone()));
        self.send(from, Body::Observation(signed), fx);
    }

    /// What we would sign now; `None` where the sources have been silent for too long.
    fn see(&self, now: Instant, round: RoundId) -> Option<Observation> {
        let age_max = self.config.timing().observation_age_max;
        let seen = self
            .values
            .as_ref()
            .filter(|it| now.since(it.came_at) <= age_max)?;
        let feeds = self.config.feeds().iter().enumerate();
        let values = feeds.map(|(number, feed)| {
            let value = value_of(seen, number)?;
            (feed.admits(value) && !self.promises.breaker.is_tripped(number)).then_some(value)
        });
        Some(Observation {
            config: self.config.digest(),
            round,
            observed_at_ms: seen.observed_at_ms,
            values: values.collect(),
            standing: self.promises.reputation.weights(),
        })
    }

    /// Computes the report ourselves and, where it is worth one, gives our part of its attestation.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        from: u8,
        round: RoundId,
        observations: Vec<SignedObservation>,
        fx: Fx<'_, '_>,
    ) {
        if !self.is_led_by(from, round, fx) {
            return;
        }
        if let Some(followed) = self.followed.as_ref().filter(|it| it.round >= round) {
            if followed.round == round {
                self.follow_again(from, &observations, fx);
            }
            return;
        }
        let is_old = self
            .promises
            .attested
            .is_some_and(|(attested, _)| attested >= round)
            || self.last_round() >= Some(round);
        if is_old {
            return;
        }
        if let Err(error) = verify_set(&self.config, self.keyring.as_ref(), round, &observations) {
            return self.blame(from, Misbehaviour::Proposal(error), fx);
        }
        let report = aggregate(&self.config, round, &observations);
        let digest = report.digest(&self.config);
        self.followed = Some(Followed {
            round,
            set: report.observations,
            digest,
            observations,
        });
        if self.is_believed(&report, fx) && self.is_due(&report) {
            self.attest(from, round, digest, fx);
        } else {
            // The leader has done what there was to do, unless an answer is missing.
            self.credit(now, &report);
            self.finish_round(now, round);
            if round.round() >= self.config.timing().rounds_per_epoch {
                self.give_up(now, fx);
            }
        }
    }

    fn attest(&mut self, leader: u8, round: RoundId, digest: B256, fx: Fx<'_, '_>) {
        self.promises.put_attested(fx.batch(), round, digest);
        self.contribute(leader, round, digest, None, fx);
    }

    /// A proposal came again: the part may have been lost. Another one for the same round is not followed; who has signed
    /// one word in the first and another in this one is held to both.
    fn follow_again(&mut self, from: u8, observations: &[SignedObservation], fx: Fx<'_, '_>) {
        let Some(followed) = &self.followed else {
            return;
        };
        let (round, digest) = (followed.round, followed.digest);
        if observations_hash(observations) != followed.set {
            self.blame(from, Misbehaviour::TwoProposals(round), fx);
            for (offender, evidence) in self.contradictions(followed, observations) {
                self.keep_evidence(offender, evidence, fx);
            }
        } else if self.promises.attested == Some((round, digest)) {
            self.contribute(from, round, digest, None, fx);
        }
    }

    /// Who has signed two words for the round of `followed`, up to the first word that nobody has signed: a leader who
    /// forges costs us no more checks.
    fn contradictions(
        &self,
        followed: &Followed,
        observations: &[SignedObservation],
    ) -> Vec<(u8, Evidence)> {
        let pairs = observations.iter().filter_map(|other| {
            let known = followed
                .observations
                .iter()
                .find(|it| it.member == other.member)?;
            let is_other =
                other.observation.round == followed.round && other.observation != known.observation;
            is_other.then_some((known, other))
        });
        pairs
            .take_while(|(_, other)| other.verify(&self.config, self.keyring.as_ref()).is_ok())
            .map(|(known, other)| {
                let evidence = Evidence::Observations(known.clone(), other.clone());
                (other.member, evidence)
            })
            .collect()
    }

    /// The leader needs a further step of ours.
    pub(super) fn contribute_again(
        &mut self,
        from: u8,
        round: RoundId,
        digest: B256,
        request: &Bytes,
        fx: Fx<'_, '_>,
    ) {
        if self.is_led_by(from, round, fx) && self.promises.attested == Some((round, digest)) {
            self.contribute(from, round, digest, Some(request), fx);
        }
    }

    /// Gives the leader our part: the first, or the one that was asked for.
    fn contribute(
        &mut self,
        leader: u8,
        round: RoundId,
        digest: B256,
        request: Option<&Bytes>,
        fx: Fx<'_, '_>,
    ) {
        let request = request.map(AsRef::as_ref);
        match self.attestor.contribute(&digest, request) {
            Ok(part) => {
                let part = Body::Part {
                    round,
                    digest,
                    part,
                };
                self.send(leader, part, fx);
            }
            // The network repeats requests, and we forget nonces when we restart.
            Err(AttestError::NonceGone) => {}
            Err(error) if request.is_some() => self.blame(leader, Misbehaviour::Part(error), fx),
            Err(_) => {}
        }
    }

    /// Takes note that a leader has got something done. One that leaves out an answer which it could have had is given up
    /// as one that is silent is: a set may hold f liars without values, and then says nothing, or nothing of one feed.
    pub(super) fn credit(&mut self, now: Instant, report: &Report) {
        if !self.is_lacking(now, report) || is_planted("missing_answers_are_progress") {
            self.pacemaker.progress(now, self.config.timing().progress);
        }
    }

    /// Whether an answer is missing that an honest leader might have had: we have a value for the feed, and the set, as far
    /// as it came here, does not prove that too few have one. Who was not asked in the round goes by what it sees now.
    fn is_lacking(&self, now: Instant, report: &Report) -> bool {
        let signed = self.promises.observed.as_ref().map(|it| &it.observation);
        let signed =
            signed.filter(|it| it.round == report.round && it.config == self.config.digest());
        let Some(own) = signed.cloned().or_else(|| self.see(now, report.round)) else {
            return false;
        };
        let followed = self.followed.as_ref();
        let set = followed
            .filter(|it| it.round == report.round && it.set == report.observations)
            .map_or(&[][..], |it| &it.observations);
        let is_answered = |feed: u8| report.answers.iter().any(|it| it.feed == feed);
        (0..=u8::MAX).zip(&own.values).any(|(feed, value)| {
            value.is_some()
                && !is_answered(feed)
                && !is_out_of_reach(&self.config, usize::from(feed), set.iter())
        })
    }

    /// Whether no answer jumps further than its breaker lets it. The first jump trips it.
    fn is_believed(&mut self, report: &Report, fx: Fx<'_, '_>) -> bool {
        let mut is_believed = true;
        for answer in &report.answers {
            let number = usize::from(answer.feed);
            is_believed &= !self.promises.breaker.is_tripped(number);
            let last = self.promises.answers.get(number).copied().flatten();
            let (Some(last), Some(feed)) = (last, self.config.feeds().get(number)) else {
                continue;
            };
            if !feed.trips(last.value, answer.value) {
                continue;
            }
            is_believed = false;
            let trip = Trip {
                since: last.round,
                last: last.value,
                refused: answer.value,
            };
            if self.promises.breaker.trip(answer.feed, trip) {
                self.promises.put_breaker(fx.batch());
                fx.emit_after_commit(trip.told(answer.feed));
            }
        }
        is_believed
    }

    /// Whether one of the answers is worth a transaction: the first one, one that deviates, one whose time has come, one that
    /// the contract awaits after a reset, or one for a feed whose stored answer is of a later round than we know of. Such a
    /// report was kept back: it may be as old as the contract lets it be, and what we know of may be no deviation from it.
    /// Time is the observations' own, on which all agree, and not this machine's.
    fn is_due(&self, report: &Report) -> bool {
        report.answers.iter().any(|answer| {
            let awaited = self.awaited.get(&answer.feed);
            if awaited.is_some_and(|from| report.observed_at_ms >= *from) {
                return true;
            }
            let number = usize::from(answer.feed);
            let last = self.promises.answers.get(number).copied().flatten();
            let (Some(last), Some(feed)) = (last, self.config.feeds().get(number)) else {
                return true;
            };
            self.promises.landed(answer.feed) > Some(last.round)
                || feed.deviates(last.value, answer.value)
                || report.observed_at_ms >= last.observed_at_ms.saturating_add(feed.heartbeat_ms)
        })
    }

    /// The observations behind the report of this digest, if they have been here.
    pub(super) fn observations_behind(&self, digest: B256) -> Option<&[SignedObservation]> {
        let followed = self.followed.as_ref().filter(|it| it.digest == digest)?;
        Some(&followed.observations)
    }
}

fn value_of(seen: &Values, feed: usize) -> Option<i128> {
    seen.values.get(feed).copied().flatten()
}
