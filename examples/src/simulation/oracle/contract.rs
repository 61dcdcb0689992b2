//! What the contract `PriceOracle` does with a report, written down apart from the crate and from the contract.

use std::collections::BTreeSet;
use std::sync::Arc;

use peaberry_core::mutant::is_planted;
use peaberry_oracle::{
    Answer, AttestedReport, Attestor, Config, EcdsaAttestation, FrostGroup, Keyring, Report,
    RoundId,
};

/// Every feed takes an answer of a later round than its last one, within its bounds and its breaker, of a report that f+1
/// have signed.
pub(super) struct Contract {
    config: Arc<Config>,
    keyring: Arc<dyn Keyring>,
    /// Who knows the group's key, where the members are one.
    pub(super) group: Option<FrostGroup>,
    feeds: Vec<Stored>,
}

/// What the contract holds of a feed.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    value: Option<i128>,
    /// Of this configuration.
    round: Option<RoundId>,
    is_halted: bool,
    /// It was reset: the next answer may be anything, if it was observed at this time or later.
    open_from_ms: Option<u64>,
}

/// What a report has changed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// The answers that were stored.
    pub(super) taken: Vec<Answer>,
    /// The feeds that are halted now and were not before.
    pub(super) halted: Vec<u8>,
}

impl Contract {
    pub(super) fn new(
        config: Arc<Config>,
        keyring: Arc<dyn Keyring>,
        group: Option<FrostGroup>,
    ) -> Self {
        Self {
            feeds: vec![Stored::default(); config.feeds().len()],
            config,
            keyring,
            group,
        }
    }

    pub(super) const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The next generation: rounds begin anew, answers and halts stay.
    pub(super) fn configure(&mut self, next: Arc<Config>) {
        self.config = next;
        for feed in &mut self.feeds {
            feed.round = None;
        }
    }

    pub(super) fn is_halted(&self, feed: u8) -> bool {
        let feed = self.feeds.get(usize::from(feed));
        feed.is_some_and(|it| it.is_halted)
    }

    /// Lets a halted feed take answers again that are observed at this time or later.
    pub(super) fn reset(&mut self, feed: u8, from_ms: u64) {
        if let Some(feed) = self.feeds.get_mut(usize::from(feed))
            && std::mem::take(&mut feed.is_halted)
        {
            feed.open_from_ms = Some(from_ms);
        }
    }

    /// The feeds that were reset and have had no answer since, and from when on it must be observed.
    pub(super) fn opening(&self) -> Vec<(u8, u64)> {
        let feeds = (0..=u8::MAX).zip(&self.feeds);
        feeds
            .filter_map(|(number, feed)| Some((number, feed.open_from_ms?)))
            .collect()
    }

    /// Of which rounds its newest answers are, or those that halted a feed.
    pub(super) fn landed(&self) -> Vec<(u8, RoundId)> {
        let feeds = (0..=u8::MAX).zip(&self.feeds);
        feeds
            .filter_map(|(number, feed)| Some((number, feed.round?)))
            .collect()
    }

    /// Takes what can be taken of a report; one of which nothing can be is refused.
    pub(super) fn transmit(&mut self, attested: &AttestedReport) -> Result<Changed, &'static str> {
        let report = &attested.report;
        if report.config != self.config.digest() {
            return Err("another configuration");
        }
        let is_signed = match &self.group {
            Some(group) => {
                let digest = report.digest(&self.config);
                group.verify(&digest, &attested.attestation).is_ok()
            }
            None => self.signers(attested) > self.config.faulty(),
        };
        if !is_signed {
            return Err("too few signers");
        }
        let mut changed = Changed::default();
        for answer in &report.answers {
            self.take(report, *answer, &mut changed);
        }
        if changed.taken.is_empty() && changed.halted.is_empty() {
            return Err("an old round");
        }
        Ok(changed)
    }

    fn take(&mut self, report: &Report, answer: Answer, changed: &mut Changed) {
        let round = report.round;
        let number = usize::from(answer.feed);
        let (Some(feed), Some(stored)) =
            (self.config.feeds().get(number), self.feeds.get_mut(number))
        else {
            return;
        };
        let is_later = stored.round < Some(round)
            || (stored.round == Some(round) && is_planted("contract_takes_a_round_twice"));
        if !is_later || stored.is_halted || !(feed.min..=feed.max).contains(&answer.value) {
            return;
        }
        if stored.open_from_ms > Some(report.observed_at_ms) {
            return;
        }
        let limit = feed.breaker_bps.filter(|_| stored.open_from_ms.is_none());
        let is_jump = |last: i128, bps: u32| {
            last.abs_diff(answer.value) * 10_000 > last.unsigned_abs() * u128::from(bps)
        };
        if let (Some(last), Some(bps)) = (stored.value, limit)
            && is_jump(last, bps)
        {
            stored.is_halted = true;
            stored.round = Some(round);
            changed.halted.push(answer.feed);
            return;
        }
        *stored = Stored {
            value: Some(answer.value),
            round: Some(round),
            is_halted: false,
            open_from_ms: None,
        };
        changed.taken.push(answer);
    }

    /// How many members have signed, whatever the set of signers says.
    fn signers(&self, attested: &AttestedReport) -> usize {
        let digest = attested.report.digest(&self.config);
        let Ok(attestation) = EcdsaAttestation::from_bytes(&attested.attestation) else {
            return 0;
        };
        let recovered = attestation.signatures.iter();
        let recovered = recovered.filter_map(|(_, it)| self.keyring.recover(&digest, it));
        let members = self.config.members();
        let known = recovered.filter(|signer| members.iter().any(|it| it.signer == *signer));
        known.collect::<BTreeSet<_>>().len()
    }
}
