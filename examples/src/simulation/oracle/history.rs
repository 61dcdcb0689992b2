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
    /// Who waits for an operator to look at a jump.
    pub(super) tripped: BTreeSet<(PeerId, u8)>,
    /// The weights that the newest set would give, with the set.
    pub(super) opinion: Option<Vec<SignedObservation>>,
    /// What there is to transmit.
    pub(super) outbox: Vec<(PeerId, u32, AttestedReport)>,
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
            observed: BTreeMap::new(),
            sets: BTreeMap::new(),
            agreed: BTreeMap::new(),
            newest: BTreeMap::new(),
            epochs: BTreeMap::new(),
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
            OracleEvent::Evidence { offender, evidence } => self.judge(peer, offender, &evidence),
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

    /// Somebody transmits: answers whether the contract stored it.
    pub(super) fn transmit(&mut self, slot: u32, attested: &AttestedReport) -> bool {
        if let Err(reason) = self.contract.transmit(attested) {
            if reason == "an old round" {
                self.reached.mark(reached::REFUSED_ON_CHAIN);
            }
            return false;
        }
        if slot > 0 {
            self.reached.mark(reached::LATE_SLOT);
        }
        let report = &attested.report;
        self.check_range(report, "stored");
        if let Some(set) = self.sets.get(&report.observations) {
            self.reached.mark(reached::RECHECKED);
            let again = aggregate(&self.contract.config, report.round, set);
            if again != *report {
                let round = report.round;
                self.complain(format!(
                    "the report of round {round} is not what the contract's weights make of its set"
                ));
            }
        }
        true
    }
}
