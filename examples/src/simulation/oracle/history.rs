//! What the honest have signed and agreed on, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use peaberry_chain::primitives::{B256, keccak256};
use peaberry_core::PeerId;
use peaberry_oracle::{
    Aggregation, AttestedReport, Config, EcdsaQuorum, Evidence, FrostGroup, Keyring, Observation,
    OracleEvent, Report, ResetBy, RoundId, SignedObservation, aggregate, leader_of,
};

use super::contract::Contract;
use super::reached;
use crate::simulation::Reached;

/// A round under a configuration.
type Round = (B256, RoundId);

/// What has happened since the trouble ended.
struct Calm {
    /// The newest epoch that an honest oracle was in when it ended.
    epoch: u32,
    /// By oracle and feed, the first round of that epoch or a later one in which it has agreed on an answer since.
    first: BTreeMap<(PeerId, u8), RoundId>,
    /// Of which feeds an answer was stored since.
    stored: BTreeSet<u8>,
}

pub(super) struct History {
    pub(super) violations: Vec<String>,
    pub(super) reached: Reached,
    pub(super) contract: Contract,
    keyring: Arc<dyn Keyring>,
    /// Every configuration there is.
    configs: BTreeMap<B256, Arc<Config>>,
    liars: BTreeSet<PeerId>,
    /// By round and member, what the honest have signed.
    observed: BTreeMap<Round, BTreeMap<u8, Observation>>,
    /// By hash, the sets that honest members know.
    sets: BTreeMap<B256, Vec<SignedObservation>>,
    /// By round, the reports that honest members have taken.
    agreed: BTreeMap<Round, BTreeSet<B256>>,
    /// By oracle, the newest round it has agreed on, over all its lives.
    pub(super) newest: BTreeMap<PeerId, RoundId>,
    pub(super) epochs: BTreeMap<PeerId, u32>,
    calm: Option<Calm>,
    /// Who waits for an operator to look at a jump.
    pub(super) tripped: BTreeSet<(PeerId, u8)>,
    /// The weights that the newest set would give, with the set.
    pub(super) opinion: Option<Vec<SignedObservation>>,
    /// What there is to transmit.
    pub(super) outbox: Vec<(PeerId, u32, AttestedReport)>,
    /// What was stored on chain, counted apart from the contract: once for each round and feed.
    stored: BTreeMap<(Round, u8), i128>,
    /// By oracle, what its mail must have proven in its present life: offender and round.
    expected: BTreeMap<PeerId, BTreeSet<(u8, RoundId)>>,
    /// By oracle, what it has said that it keeps, over all its lives.
    kept: BTreeMap<PeerId, Vec<(u8, Evidence)>>,
    /// By commitment, what the honest have used their nonces for.
    nonces: BTreeMap<B256, B256>,
    pub(super) operations: u64,
}

impl History {
    pub(super) fn new(
        config: Arc<Config>,
        keyring: Arc<dyn Keyring>,
        group: Option<FrostGroup>,
        liars: BTreeSet<PeerId>,
    ) -> Self {
        let mut history = Self {
            violations: Vec::new(),
            reached: reached::none(),
            contract: Contract::new(config.clone(), keyring.clone(), group),
            keyring,
            configs: BTreeMap::new(),
            liars,
            nonces: BTreeMap::new(),
            stored: BTreeMap::new(),
            expected: BTreeMap::new(),
            kept: BTreeMap::new(),
            observed: BTreeMap::new(),
            sets: BTreeMap::new(),
            agreed: BTreeMap::new(),
            newest: BTreeMap::new(),
            epochs: BTreeMap::new(),
            calm: None,
            tripped: BTreeSet::new(),
            opinion: None,
            outbox: Vec::new(),
            operations: 0,
        };
        history.know(config);
        history
    }

    pub(super) fn know(&mut self, config: Arc<Config>) {
        // Under the bug that leaves weights out of the digest two configurations share one: the contract's is first.
        self.configs.entry(config.digest()).or_insert(config);
    }

    pub(super) fn complain(&mut self, complaint: String) {
        self.violations.push(complaint);
    }

    pub(super) fn is_liar(&self, peer: PeerId) -> bool {
        self.liars.contains(&peer)
    }

    /// From now on nothing but liars stands in the way of an answer.
    pub(super) fn begin_calm(&mut self, epoch: u32) {
        self.calm = Some(Calm {
            epoch,
            first: BTreeMap::new(),
            stored: BTreeSet::new(),
        });
    }

    /// By oracle and feed, the first round with an answer that it has agreed on in the calm.
    pub(super) fn first_in_calm(&self) -> Option<&BTreeMap<(PeerId, u8), RoundId>> {
        self.calm.as_ref().map(|calm| &calm.first)
    }

    /// The feeds of which the contract has stored an answer in the calm.
    pub(super) fn stored_in_calm(&self) -> Option<&BTreeSet<u8>> {
        self.calm.as_ref().map(|calm| &calm.stored)
    }

    /// An honest oracle's observation, as it was told or as it was sent.
    pub(super) fn observe(&mut self, peer: PeerId, signed: &SignedObservation) {
        let seen = &signed.observation;
        let by_member = self.observed.entry((seen.config, seen.round)).or_default();
        let known = by_member
            .entry(signed.member)
            .or_insert_with(|| seen.clone());
        if known != seen {
            let complaint = format!("{peer} signed two observations for round {}", seen.round);
            self.complain(complaint);
        }
    }

    pub(super) fn hear(&mut self, peer: PeerId, event: OracleEvent) {
        if let OracleEvent::Transmit { slot, report } = event {
            self.outbox.push((peer, slot, report));
            return;
        }
        if self.is_liar(peer) {
            return;
        }
        match event {
            OracleEvent::Observed(signed) => self.observe(peer, &signed),
            OracleEvent::Agreed {
                report,
                observations,
            } => self.agree(peer, &report, observations),
            OracleEvent::Epoch { epoch, .. } => {
                self.epochs.insert(peer, epoch);
            }
            OracleEvent::Tripped { feed, .. } => {
                self.tripped.insert((peer, feed));
                self.reached.mark(reached::TRIPPED);
            }
            OracleEvent::Reset { feed, by } => {
                self.tripped.remove(&(peer, feed));
                self.reached.mark(match by {
                    ResetBy::Operator => reached::RESET_BY_OPERATOR,
                    ResetBy::Quorum => reached::RESET_BY_QUORUM,
                });
            }
            OracleEvent::Evidence { offender, evidence } => {
                self.judge(peer, offender, &evidence);
                self.kept
                    .entry(peer)
                    .or_default()
                    .push((offender, evidence));
            }
            OracleEvent::Misbehaviour { peer: named, what } if self.is_liar(named) => {
                let _ = what;
                self.reached.mark(reached::LIAR_NAMED);
            }
            OracleEvent::Misbehaviour { peer: named, what } => {
                self.complain(format!("{peer} blames the honest {named}: {what}"));
            }
            OracleEvent::OtherConfiguration { .. } => {
                self.reached.mark(reached::OTHER_CONFIGURATION)
            }
            _ => {}
        }
    }

    fn agree(
        &mut self,
        peer: PeerId,
        attested: &AttestedReport,
        set: Option<Vec<SignedObservation>>,
    ) {
        let report = &attested.report;
        self.operations += 1;
        self.check_range(report, "agreed on");
        let newest = self.newest.get(&peer).copied();
        if newest >= Some(report.round) {
            self.complain(format!(
                "{peer} went back from round {newest:?} to {}",
                report.round
            ));
        }
        self.newest.insert(peer, report.round);
        if let Some(calm) = &mut self.calm
            && report.round.epoch() >= calm.epoch
        {
            for answer in &report.answers {
                let first = calm.first.entry((peer, answer.feed));
                first.or_insert(report.round);
            }
        }
        for answer in &report.answers {
            match answer.aggregation {
                Aggregation::WeightedMedian => self.reached.mark(reached::WEIGHTED),
                Aggregation::EqualWeights => self.reached.mark(reached::FALLBACK),
                Aggregation::Median => {}
            }
        }
        let Some(config) = self.configs.get(&report.config).cloned() else {
            return self.complain(format!(
                "{peer} agreed under a configuration that nobody made"
            ));
        };
        let leader = config.member(leader_of(&config, report.round.epoch()));
        if leader.is_some_and(|leader| self.is_liar(leader.peer)) {
            self.reached.mark(reached::LIAR_LED);
        }
        let reports = self
            .agreed
            .entry((report.config, report.round))
            .or_default();
        let is_second = reports.insert(report.digest(&config)) && reports.len() == 2;
        if is_second {
            self.reached.mark(reached::TWO_REPORTS);
            if leader.is_some_and(|leader| !self.is_liar(leader.peer)) {
                self.complain(format!(
                    "two reports for round {} of an honest leader",
                    report.round
                ));
            }
        }
        if let Some(set) = set {
            self.opinion = Some(set.clone());
            self.sets.insert(report.observations, set);
        }
    }

    /// The answers lie within what the honest observed for this round.
    fn check_range(&mut self, report: &Report, did: &str) {
        let none = BTreeMap::new();
        let observed = self
            .observed
            .get(&(report.config, report.round))
            .unwrap_or(&none);
        let mut complaints = Vec::new();
        for answer in &report.answers {
            let feed = usize::from(answer.feed);
            let values = observed
                .values()
                .filter_map(|seen| seen.values.get(feed).copied().flatten());
            let (low, high) = (values.clone().min(), values.max());
            let is_within = low.is_some_and(|low| low <= answer.value)
                && high.is_some_and(|high| answer.value <= high);
            if !is_within {
                complaints.push(format!(
                    "{did} {} for feed {feed} in round {}, and the honest saw {low:?} to {high:?}",
                    answer.value, report.round
                ));
            }
        }
        self.violations.extend(complaints);
    }

    /// Two words of `offender` for one round have reached `peer`, who had asked for the round.
    pub(super) fn expect_evidence(&mut self, peer: PeerId, offender: u8, round: RoundId) {
        self.reached.mark(reached::EQUIVOCATION_ARRIVED);
        self.expected
            .entry(peer)
            .or_default()
            .insert((offender, round));
    }

    /// A new life: what the last one had in memory is gone.
    pub(super) fn begin_life(&mut self, peer: PeerId) {
        self.expected.remove(&peer);
    }

    /// What an honest oracle's store holds in the end must prove something, be all that it has said it keeps, and all that
    /// its mail must have proven, up to the 16 pieces that are kept of each member.
    pub(super) fn look_into_the_store(&mut self, peer: PeerId, store: &[(u8, Evidence)]) {
        const PIECES_MAX: usize = 16;
        let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
        for (offender, evidence) in store {
            *counts.entry(*offender).or_default() += 1;
            self.judge(peer, *offender, evidence);
            self.reached.mark(reached::EVIDENCE_READ_BACK);
        }
        if counts.values().any(|count| *count > PIECES_MAX) {
            self.complain(format!("{peer} keeps more evidence than it has room for"));
        }
        for kept in self.kept.remove(&peer).unwrap_or_default() {
            if !store.contains(&kept) {
                let (offender, round) = (kept.0, kept.1.round());
                self.complain(format!(
                    "{peer} has lost its evidence against {offender} for round {round}"
                ));
            }
        }
        for (offender, round) in self.expected.remove(&peer).unwrap_or_default() {
            let is_kept = store.iter().any(|(of, evidence)| {
                *of == offender
                    && evidence.round() == round
                    && matches!(evidence, Evidence::Observations(..))
            });
            if !is_kept && counts.get(&offender) != Some(&PIECES_MAX) {
                self.complain(format!(
                    "{peer} keeps nothing against {offender}, who signed twice for round {round}"
                ));
            }
        }
    }

    fn judge(&mut self, peer: PeerId, offender: u8, evidence: &Evidence) {
        self.reached.mark(match evidence {
            Evidence::Observations(..) => reached::EVIDENCE_OBSERVATIONS,
            Evidence::Reports(..) => reached::EVIDENCE_REPORTS,
        });
        let proven = self.configs.values().find_map(|config| {
            let keyring = self.keyring.as_ref();
            let proven = match &self.contract.group {
                Some(group) => evidence.verify(config, keyring, group)?,
                None => {
                    let quorum = EcdsaQuorum::new(config, self.keyring.clone());
                    evidence.verify(config, keyring, &quorum)?
                }
            };
            Some((proven, config.member(proven)?.peer))
        });
        match proven {
            None => self.complain(format!("{peer} keeps evidence that proves nothing")),
            Some((proven, _)) if proven != offender => {
                self.complain(format!(
                    "{peer} keeps evidence against the wrong member {offender}"
                ));
            }
            Some((_, named)) if !self.is_liar(named) => {
                self.complain(format!("{peer} has evidence against the honest {named}"));
            }
            Some(_) => {}
        }
    }

    /// An honest one has signed what was asked for with the nonce of this commitment.
    pub(super) fn use_nonce(&mut self, peer: PeerId, nonce: &[u8], request: &[u8]) {
        let asked = keccak256(request);
        let first = *self.nonces.entry(keccak256(nonce)).or_insert(asked);
        if first != asked {
            self.complain(format!("{peer} has signed two requests with one nonce"));
        }
    }

    /// Somebody transmits.
    pub(super) fn transmit(&mut self, slot: u32, attested: &AttestedReport) {
        let changed = match self.contract.transmit(attested) {
            Ok(changed) => changed,
            Err(reason) => {
                if reason == "an old round" {
                    self.reached.mark(reached::REFUSED_ON_CHAIN);
                }
                return;
            }
        };
        if !changed.halted.is_empty() {
            self.reached.mark(reached::HALTED_ON_CHAIN);
        }
        if changed.taken.is_empty() {
            return;
        }
        if slot > 0 {
            self.reached.mark(reached::LATE_SLOT);
        }
        let report = &attested.report;
        for answer in &changed.taken {
            if let Some(calm) = &mut self.calm {
                calm.stored.insert(answer.feed);
            }
            let place = ((report.config, report.round), answer.feed);
            if self.stored.insert(place, answer.value).is_some() {
                let complaint = format!(
                    "two answers for feed {} of round {} are stored",
                    answer.feed, report.round
                );
                self.complain(complaint);
            }
        }
        self.check_range(report, "stored");
        if let Some(set) = self.sets.get(&report.observations) {
            self.reached.mark(reached::RECHECKED);
            let again = aggregate(self.contract.config(), report.round, set);
            if again != *report {
                let round = report.round;
                self.complain(format!(
                    "the report of round {round} is not what the contract's weights make of its set"
                ));
            }
        }
    }

    /// The operators let what is halted of the contract go on, with what is observed from then on.
    pub(super) fn reset_on_chain(&mut self, from_ms: u64) {
        let feeds = (0..=u8::MAX).take(self.contract.config().feeds().len());
        let halted: Vec<u8> = feeds.filter(|it| self.contract.is_halted(*it)).collect();
        for feed in &halted {
            self.contract.reset(*feed, from_ms);
            self.reached.mark(reached::RESET_ON_CHAIN);
        }
    }
}
