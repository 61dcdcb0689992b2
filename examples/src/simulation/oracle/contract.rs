//! What the contract accepts, written down apart from the crate.

use std::collections::BTreeSet;
use std::sync::Arc;

use peaberry_oracle::{
    AttestedReport, Attestor, Config, EcdsaAttestation, FrostGroup, Keyring, RoundId,
};

/// Stores a report if it is of its configuration, of a later round than every one before, and signed by f+1.
pub(super) struct Contract {
    pub(super) config: Arc<Config>,
    keyring: Arc<dyn Keyring>,
    /// Who knows the group's key, where the members are one.
    pub(super) group: Option<FrostGroup>,
    pub(super) last: Option<RoundId>,
    pub(super) stored: u64,
}

impl Contract {
    pub(super) fn new(
        config: Arc<Config>,
        keyring: Arc<dyn Keyring>,
        group: Option<FrostGroup>,
    ) -> Self {
        Self {
            config,
            keyring,
            group,
            last: None,
            stored: 0,
        }
    }

    /// Whether the report is stored now.
    pub(super) fn transmit(&mut self, attested: &AttestedReport) -> Result<(), &'static str> {
        let report = &attested.report;
        if report.config != self.config.digest() {
            return Err("another configuration");
        }
        if self.last >= Some(report.round) {
            return Err("an old round");
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
        self.last = Some(report.round);
        self.stored += 1;
        Ok(())
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
