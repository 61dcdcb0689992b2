use peaberry_core::wire::Reader;

use crate::attest::Attestor;
use crate::config::Config;
use crate::observation::SignedObservation;
use crate::report::AttestedReport;
use crate::round_id::RoundId;
use crate::schedule::leader_of;
use crate::signature::Keyring;
use crate::wire::DecodeError;

/// How many pieces of evidence are kept against one member: more would prove nothing more.
pub(super) const EVIDENCE_PER_MEMBER_MAX: usize = 16;

/// Two signed statements that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a judge weighs every kind")]
pub enum Evidence {
    /// One member, one round, two observations: against their author.
    Observations(SignedObservation, SignedObservation),
    /// One round, two reports that a quorum has signed. An honest oracle signs one report for a round, and only what the
    /// round's leader proposed to it; so the leader proposed two. Both answers lie within the honest range, and a contract
    /// stores at most one for each feed. Noticed while the first is among the last 8 since our start.
    Reports(AttestedReport, AttestedReport),
}

impl Evidence {
    /// Checks it, and answers the number of the offender; `None`: it proves nothing under `config`.
    #[must_use]
    pub fn verify(
        &self,
        config: &Config,
        keyring: &dyn Keyring,
        attestor: &dyn Attestor,
    ) -> Option<u8> {
        match self {
            Self::Observations(one, other) => {
                let is_contradiction = one.member == other.member
                    && one.observation.round == other.observation.round
                    && one.observation != other.observation;
                let are_signed = || {
                    [one, other]
                        .iter()
                        .all(|it| it.verify(config, keyring).is_ok())
                };
                (is_contradiction && are_signed()).then_some(one.member)
            }
            Self::Reports(one, other) => {
                let is_contradiction = one.report.round == other.report.round
                    && one.report != other.report
                    && [one, other]
                        .iter()
                        .all(|it| it.report.config == config.digest());
                let is_signed = |it: &AttestedReport| {
                    attestor
                        .verify(&it.report.digest(config), &it.attestation)
                        .is_ok()
                };
                let offender = leader_of(config, one.report.round.epoch());
                (is_contradiction && is_signed(one) && is_signed(other)).then_some(offender)
            }
        }
    }

    /// The round it is about.
    #[must_use]
    pub const fn round(&self) -> RoundId {
        match self {
            Self::Observations(one, _) => one.observation.round,
            Self::Reports(one, _) => one.report.round,
        }
    }

    /// Its bytes, complete: whoever has the configuration can check them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.kind()];
        match self {
            Self::Observations(one, other) => {
                [one, other].iter().for_each(|it| it.encode(&mut out))
            }
            Self::Reports(one, other) => [one, other].iter().for_each(|it| it.encode(&mut out)),
        }
        out
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; it proves nothing before it is [verified](Self::verify).
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: not such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let evidence = match reader.u8()? {
            1 => Self::Observations(
                SignedObservation::decode(&mut reader)?,
                SignedObservation::decode(&mut reader)?,
            ),
            2 => Self::Reports(
                AttestedReport::decode(&mut reader)?,
                AttestedReport::decode(&mut reader)?,
            ),
            other => return Err(DecodeError::Kind(other)),
        };
        reader.finish()?;
        Ok(evidence)
    }

    pub(super) const fn kind(&self) -> u8 {
        match self {
            Self::Observations(..) => 1,
            Self::Reports(..) => 2,
        }
    }
}
