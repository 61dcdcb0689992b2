//! An oracle that lies: an honest one inside, whose words are changed on their way out and whose mail is read.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use peaberry_chain::primitives::B256;
use peaberry_core::{Effects, EffectsBuffer, Input, Instant, PeerId, Protocol};
use peaberry_oracle::{
    Answer, AttestedReport, Attestor, Body, Config, EcdsaAttestation, EcdsaQuorum, Gathered,
    Keyring, Message, Oracle, OracleCommand, OracleEvent, RoundId, Signature, SignedObservation,
    aggregate,
};

/// How many old messages and reports a liar remembers.
const MEMORY_MAX: usize = 64;

/// What a liar does beside being an oracle. Each seed draws its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tactics {
    /// Says nothing that helps a round along, of a hundred times.
    pub withhold: u8,
    /// Says two things where one is due.
    pub equivocate: bool,
    /// Makes up, doubles or takes from other epochs what it proposes.
    pub forge: bool,
    /// Says again what was said long ago.
    pub replay: bool,
    /// Tries to get the epochs that it leads.
    pub grind: bool,
    /// Makes the reports of the epochs that it leads of no more than 2f+1, itself among them.
    pub shut_out: bool,
}

/// An oracle that lies: an honest one inside, whose words are changed on their way out and whose mail is read.
pub struct Liar<A = EcdsaQuorum> {
    inner: Oracle<A>,
    buffer: EffectsBuffer<OracleEvent>,
    config: Arc<Config>,
    keyring: Arc<dyn Keyring>,
    member: u8,
    tactics: Tactics,
    rng: fastrand::Rng,
    /// Sets that were proposed, by round.
    sets: BTreeMap<RoundId, Vec<SignedObservation>>,
    finals: VecDeque<AttestedReport>,
    said: VecDeque<Bytes>,
    second: Option<Second>,
}

/// A second proposal for a round, made to some.
struct Second {
    report: peaberry_oracle::Report,
    digest: B256,
    attestor: EcdsaQuorum,
}

impl<A> std::fmt::Debug for Liar<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Liar")
            .field("member", &self.member)
            .field("tactics", &self.tactics)
            .finish_non_exhaustive()
    }
}

impl<A: Attestor> Liar<A> {
    /// A liar around `inner`, which signs with the same `keyring`.
    #[must_use]
    pub fn new(
        inner: Oracle<A>,
        config: Arc<Config>,
        keyring: Arc<dyn Keyring>,
        tactics: Tactics,
        rng: fastrand::Rng,
    ) -> Self {
        let channel = peaberry_oracle::oracle_channel(0);
        Self {
            member: inner.member(),
            inner,
            buffer: EffectsBuffer::new(channel),
            config,
            keyring,
            tactics,
            rng,
            sets: BTreeMap::new(),
            finals: VecDeque::new(),
            said: VecDeque::new(),
            second: None,
        }
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }

    /// Remembers what others say.
    fn read(&mut self, bytes: &Bytes, fx: &mut Effects<'_, OracleEvent>) {
        let Ok(message) = Message::from_bytes(bytes) else {
            return;
        };
        match message.body {
            Body::Proposal {
                round,
                observations,
            } => self.remember(round, observations),
            Body::Final(report) => self.remember_final(report),
            Body::Part { digest, part, .. } => self.gather_second(digest, &part, fx),
            _ => {}
        }
    }

    fn remember(&mut self, round: RoundId, set: Vec<SignedObservation>) {
        self.sets.insert(round, set);
        if self.sets.len() > MEMORY_MAX {
            self.sets.pop_first();
        }
    }

    fn remember_final(&mut self, report: AttestedReport) {
        self.finals.push_back(report);
        if self.finals.len() > MEMORY_MAX {
            self.finals.pop_front();
        }
    }

    fn gather_second(&mut self, digest: B256, part: &[u8], fx: &mut Effects<'_, OracleEvent>) {
        let Some(second) = self.second.as_mut().filter(|it| it.digest == digest) else {
            return;
        };
        let member = (0..=u8::MAX)
            .take(self.config.members().len())
            .find(|member| {
                let signer = self.config.member(*member).map(|it| it.signer);
                let signature = part.try_into().map(Signature);
                signature.is_ok_and(|it| self.keyring.recover(&digest, &it) == signer)
            });
        let Some(member) = member else {
            return;
        };
        if let Ok(Gathered::Done(attestation)) = second.attestor.gather(&digest, member, part) {
            let report = second.report.clone();
            let attested = AttestedReport {
                report,
                attestation,
            };
            self.second = None;
            self.say_to_all(&Body::Final(attested.clone()), fx);
            fx.emit(OracleEvent::Transmit {
                slot: 0,
                report: attested.clone(),
            });
            self.remember_final(attested);
        }
    }

    fn encode(&self, body: Body) -> Bytes {
        let config = self.config.digest();
        Message { config, body }.to_bytes().into()
    }

    fn others(&self) -> Vec<PeerId> {
        let own = self.config.member(self.member).map(|it| it.peer);
        self.config
            .members()
            .iter()
            .map(|it| it.peer)
            .filter(|it| Some(*it) != own)
            .collect()
    }

    fn say_to_all(&self, body: &Body, fx: &mut Effects<'_, OracleEvent>) {
        let bytes = self.encode(body.clone());
        for peer in self.others() {
            fx.send(peer, bytes.clone());
        }
    }

    /// Passes on what the honest oracle inside wants, changed.
    fn pass_on(&mut self, fx: &mut Effects<'_, OracleEvent>) {
        let sends: Vec<_> = [self.buffer.sends(), self.buffer.sends_after_commit()].concat();
        let events = [self.buffer.events(), self.buffer.events_after_commit()].concat();
        self.buffer.next_turn();
        for event in events {
            fx.emit(event);
        }
        let mut other_proposal: Option<(Bytes, Bytes)> = None;
        for outgoing in sends {
            let (to, payload) = (outgoing.to, outgoing.payload);
            self.keep_saying(&payload);
            let Ok(message) = Message::from_bytes(&payload) else {
                continue;
            };
            match message.body {
                Body::Beat { last, resets, .. } if self.tactics.grind && self.chance(70) => {
                    let new_epoch = if self.rng.bool() {
                        u32::MAX
                    } else {
                        self.rng.u32(..)
                    };
                    fx.send(
                        to,
                        self.encode(Body::Beat {
                            new_epoch,
                            last,
                            resets,
                        }),
                    );
                }
                Body::Beat { .. } => {
                    fx.send(to, payload);
                    self.mutter(to, fx);
                }
                Body::Proposal {
                    round,
                    observations,
                } => {
                    if other_proposal.as_ref().is_none_or(|(of, _)| *of != payload) {
                        let other = self.other_proposal(round, observations, &payload);
                        other_proposal = Some((payload.clone(), other));
                    }
                    let other = other_proposal.as_ref().map(|(_, other)| other.clone());
                    let takes_other = self.tactics.shut_out || self.rng.bool();
                    fx.send(to, other.filter(|_| takes_other).unwrap_or(payload));
                }
                Body::Observation(signed) if self.tactics.equivocate && self.chance(50) => {
                    fx.send(to, payload);
                    let mut other = signed.observation;
                    for value in other.values.iter_mut().flatten() {
                        *value += 1;
                    }
                    let other = other.sign(&self.config, self.member, self.keyring.as_ref());
                    fx.send(to, self.encode(Body::Observation(other)));
                }
                Body::Final(report) => {
                    self.remember_final(report);
                    if !self.chance(self.tactics.withhold) {
                        fx.send(to, payload);
                    }
                }
                Body::Observation(_) | Body::Part { .. } if self.chance(self.tactics.withhold) => {}
                _ => fx.send(to, payload),
            }
        }
    }

    fn keep_saying(&mut self, payload: &Bytes) {
        self.said.push_back(payload.clone());
        if self.said.len() > MEMORY_MAX {
            self.said.pop_front();
        }
    }

    /// What nobody asked for, beside a beat.
    fn mutter(&mut self, to: PeerId, fx: &mut Effects<'_, OracleEvent>) {
        if self.tactics.replay && self.chance(60) {
            if let Some(old) = self
                .rng
                .choice(self.said.iter().cloned().collect::<Vec<_>>())
            {
                fx.send(to, old);
            }
            if let Some(old) = self
                .rng
                .choice(self.finals.iter().cloned().collect::<Vec<_>>())
            {
                fx.send(to, self.encode(Body::Final(old.clone())));
                fx.emit(OracleEvent::Transmit {
                    slot: 0,
                    report: old,
                });
            }
        }
        if self.tactics.forge && self.chance(40) {
            let forged = self.forged_report();
            fx.send(
                to,
                forged.map_or_else(
                    || Bytes::from_static(b"\x01\x09junk"),
                    |it| self.encode(Body::Final(it)),
                ),
            );
        }
    }

    /// A report of our own making, signed by us in the name of f+1.
    fn forged_report(&self) -> Option<AttestedReport> {
        let last = self.finals.back()?;
        let mut report = last.report.clone();
        report.round = RoundId::new(report.round.epoch(), report.round.round().saturating_add(1))?;
        report.answers.iter_mut().for_each(lie_about);
        let signature = self.keyring.sign(&report.digest(&self.config));
        let others = (0..=u8::MAX)
            .filter(|it| *it != self.member)
            .take(self.config.faulty());
        let mut signers: Vec<u8> = others.chain([self.member]).collect();
        signers.sort_unstable();
        let signatures = signers.into_iter().map(|it| (it, signature)).collect();
        Some(AttestedReport {
            report,
            attestation: EcdsaAttestation { signatures }.to_bytes().into(),
        })
    }

    /// Another proposal for the same round: one that contradicts the first, or one that no honest leader makes.
    fn other_proposal(
        &mut self,
        round: RoundId,
        set: Vec<SignedObservation>,
        payload: &Bytes,
    ) -> Bytes {
        self.remember(round, set.clone());
        let other = match self.rng.u8(..6) {
            _ if self.tactics.shut_out => Some(self.narrowed(set)),
            0..3 if self.tactics.equivocate => self.contradiction(set),
            3 if self.tactics.forge => Some(self.doubled(set)),
            4 if self.tactics.forge => Some(made_up(set, self.member)),
            5 if self.tactics.forge => self.replayed_epoch(round),
            _ => None,
        };
        let Some(observations) = other else {
            return payload.clone();
        };
        self.second = self.second_of(round, &observations);
        self.encode(Body::Proposal {
            round,
            observations,
        })
    }

    /// What it takes to have the other proposal signed as well: the parts for it come to us.
    fn second_of(&self, round: RoundId, set: &[SignedObservation]) -> Option<Second> {
        let report = aggregate(&self.config, round, set);
        let digest = report.digest(&self.config);
        let mut attestor = EcdsaQuorum::new(&self.config, self.keyring.clone());
        attestor.begin(&digest);
        let own = attestor.contribute(&digest, None).ok()?;
        attestor.gather(&digest, self.member, &own).ok()?;
        Some(Second {
            report,
            digest,
            attestor,
        })
    }

    fn own(
        &self,
        set: &[SignedObservation],
        change: impl Fn(&mut i128),
    ) -> Option<SignedObservation> {
        let own = set.iter().find(|it| it.member == self.member)?;
        let mut seen = own.observation.clone();
        seen.values.iter_mut().flatten().for_each(change);
        Some(seen.sign(&self.config, self.member, self.keyring.as_ref()))
    }

    /// The same with another word of ours, or without somebody's.
    fn contradiction(&mut self, mut set: Vec<SignedObservation>) -> Option<Vec<SignedObservation>> {
        if set.len() > self.config.quorum() && self.rng.bool() {
            set.remove(self.rng.usize(..set.len()));
        } else {
            let own = self.own(&set, |value| *value -= *value / 100)?;
            let place = set.iter_mut().find(|it| it.member == self.member)?;
            *place = own;
        }
        Some(set)
    }

    /// Our own word and 2f more.
    fn narrowed(&self, mut set: Vec<SignedObservation>) -> Vec<SignedObservation> {
        let mut spare = set.len().saturating_sub(self.config.quorum());
        set.retain(|it| {
            let is_spare = it.member != self.member && spare > 0;
            spare -= usize::from(is_spare);
            !is_spare
        });
        set
    }

    /// Our own word, false, as often as there are places.
    fn doubled(&self, set: Vec<SignedObservation>) -> Vec<SignedObservation> {
        let Some(own) = self.own(&set, |value| *value *= 2) else {
            return set;
        };
        let quorum = self.config.quorum();
        let mut doubled = vec![own; quorum - 1];
        doubled.extend(set.into_iter().find(|it| it.member != self.member));
        doubled.sort_by_key(|it| it.member);
        doubled
    }

    /// What others saw in the round of this number of an earlier epoch.
    fn replayed_epoch(&self, round: RoundId) -> Option<Vec<SignedObservation>> {
        let old = self
            .sets
            .iter()
            .find(|(of, _)| of.round() == round.round() && of.epoch() != round.epoch());
        let mut set = old?.1.clone();
        set.iter_mut().for_each(|it| it.observation.round = round);
        Some(set)
    }
}

/// Others' words as we would have them.
fn made_up(mut set: Vec<SignedObservation>, own: u8) -> Vec<SignedObservation> {
    for signed in set.iter_mut().filter(|it| it.member != own) {
        signed
            .observation
            .values
            .iter_mut()
            .flatten()
            .for_each(|value| *value *= 2);
    }
    set
}

fn lie_about(answer: &mut Answer) {
    answer.value *= 2;
}

impl<A: Attestor> Protocol for Liar<A> {
    type Command = OracleCommand;
    type Event = OracleEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<OracleCommand>,
        fx: &mut Effects<'_, OracleEvent>,
    ) -> Result<(), Infallible> {
        if let Input::Message(envelope) = &input {
            self.read(&envelope.payload.clone(), fx);
        }
        self.inner.step(now, input, &mut self.buffer.effects())?;
        self.pass_on(fx);
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, OracleEvent>,
    ) -> Result<(), Infallible> {
        self.inner.settle(now, &mut self.buffer.effects())?;
        self.pass_on(fx);
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }
}
