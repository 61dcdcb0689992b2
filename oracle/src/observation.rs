//! What one oracle saw.

use peaberry_chain::primitives::{B256, keccak256};
use peaberry_core::mutant::is_planted;
use peaberry_core::wire::{self, Reader};

use crate::config::{Config, FEEDS_MAX, MEMBERS_MAX, WEIGHT_MAX, WEIGHT_MIN};
use crate::round_id::RoundId;
use crate::signature::{Keyring, Signature};
use crate::wire::{DecodeError, hash, put_round, put_value, round, value};

const TYPE: &str = "Observation(bytes32 configDigest,bytes body)";

/// What one oracle saw for one round: a value for each feed, and how far it trusts the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what is signed, field by field")]
pub struct Observation {
    /// The digest of the [`Config`] it is made under.
    pub config: B256,
    /// The round it is made for; it means nothing in any other.
    pub round: RoundId,
    /// When the values were seen: milliseconds since 1970-01-01 UTC by the oracle's own clock.
    pub observed_at_ms: u64,
    /// By the number of the feed; `None` where the oracle has no value it would sign.
    pub values: Vec<Option<i128>>,
    /// By the number of the member, the weight that the oracle would give it in the next generation; empty while it has
    /// no opinion. See [`Reputation`](crate::Reputation).
    pub standing: Vec<u16>,
}

/// An observation and its author's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "three fields that stay")]
pub struct SignedObservation {
    /// The author's number in the configuration.
    pub member: u8,
    /// What it saw.
    pub observation: Observation,
    /// Of [`Observation::digest`]. Not part of the report: signing again changes nothing.
    pub signature: Signature,
}

/// Why an observation counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObservationError {
    /// Made under another configuration.
    #[error("it is made under another configuration")]
    Config,
    /// Not a value, or an explicit absence, for each feed.
    #[error("it has {count} values for {feeds} feeds")]
    Values {
        /// How many there are.
        count: usize,
        /// How many there should be.
        feeds: usize,
    },
    /// A value out of its feed's bounds.
    #[error("its value for feed {feed} is out of bounds")]
    OutOfBounds {
        /// The number of the feed.
        feed: usize,
    },
    /// Weights that no correct oracle would give.
    #[error("its standing of the members is not one weight in bounds for each")]
    Standing,
    /// Nobody of that number is a member.
    #[error("it names member {0}, and there is none")]
    NoSuchMember(u8),
    /// The signature is not its author's.
    #[error("its signature is not that of its author")]
    Signature,
}

impl Observation {
    /// What is signed: EIP-712 over the configuration's domain, so that it is no transaction, no report, and nothing on
    /// another chain.
    #[must_use]
    pub fn digest(&self, config: &Config) -> B256 {
        let mut body = Vec::with_capacity(16 + 17 * self.values.len() + 2 * self.standing.len());
        let signed_round = if is_planted("epoch_replay") {
            RoundId::new(1, self.round.round()).unwrap_or(self.round)
        } else {
            self.round
        };
        put_round(&mut body, signed_round);
        self.encode_content(&mut body);
        let mut fields = [0; 96];
        let (kind, rest) = fields.split_at_mut(32);
        let (configuration, content) = rest.split_at_mut(32);
        kind.copy_from_slice(keccak256(TYPE).as_slice());
        configuration.copy_from_slice(self.config.as_slice());
        content.copy_from_slice(keccak256(&body).as_slice());
        typed_data_digest(config.domain(), keccak256(fields))
    }

    /// Signs it as `member`.
    #[must_use]
    pub fn sign(self, config: &Config, member: u8, keyring: &dyn Keyring) -> SignedObservation {
        let signature = keyring.sign(&self.digest(config));
        SignedObservation {
            member,
            observation: self,
            signature,
        }
    }

    /// All that is not in the round's own name.
    fn encode_content(&self, out: &mut Vec<u8>) {
        wire::put_varint(out, self.observed_at_ms);
        wire::put_varint(out, self.values.len() as u64);
        for value in &self.values {
            match value {
                Some(value) => {
                    out.push(1);
                    put_value(out, *value);
                }
                None => out.push(0),
            }
        }
        wire::put_varint(out, self.standing.len() as u64);
        for weight in &self.standing {
            out.extend_from_slice(&weight.to_be_bytes());
        }
    }

    fn decode_content(
        config: B256,
        round: RoundId,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        let observed_at_ms = reader.varint()?;
        let count = reader.length(FEEDS_MAX)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(match reader.u8()? {
                0 => None,
                1 => Some(value(reader)?),
                _ => return Err(DecodeError::Invalid("neither a value nor none")),
            });
        }
        let count = reader.length(MEMBERS_MAX)?;
        let mut standing = Vec::with_capacity(count);
        for _ in 0..count {
            standing.push(u16::from_be_bytes(reader.array()?));
        }
        Ok(Self {
            config,
            round,
            observed_at_ms,
            values,
            standing,
        })
    }
}

impl SignedObservation {
    /// Checks everything about it but its round: bounds first, the signature last.
    ///
    /// # Errors
    ///
    /// [`ObservationError`] says why it counts for nothing.
    pub fn verify(&self, config: &Config, keyring: &dyn Keyring) -> Result<(), ObservationError> {
        let member = config.member(self.member);
        let member = member.ok_or(ObservationError::NoSuchMember(self.member))?;
        let seen = &self.observation;
        if seen.config != config.digest() {
            return Err(ObservationError::Config);
        }
        let (count, feeds) = (seen.values.len(), config.feeds().len());
        if count != feeds {
            return Err(ObservationError::Values { count, feeds });
        }
        for (feed, (value, bounds)) in seen.values.iter().zip(config.feeds()).enumerate() {
            if value.is_some_and(|value| !bounds.admits(value)) {
                return Err(ObservationError::OutOfBounds { feed });
            }
        }
        let is_opinion = seen.standing.len() == config.members().len()
            && seen
                .standing
                .iter()
                .all(|weight| (WEIGHT_MIN..=WEIGHT_MAX).contains(weight));
        if !seen.standing.is_empty() && !is_opinion {
            return Err(ObservationError::Standing);
        }
        let signer = keyring.recover(&seen.digest(config), &self.signature);
        if signer != Some(member.signer) && !is_planted("unsigned_observation_accepted") {
            return Err(ObservationError::Signature);
        }
        Ok(())
    }

    /// Its bytes, complete: what evidence is made of.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.observation.config.as_slice());
        put_round(out, self.observation.round);
        self.encode_in_round(out);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let config = hash(reader)?;
        let round = round(reader)?;
        Self::decode_in_round(config, round, reader)
    }

    /// Its bytes among others of the same round.
    pub(crate) fn encode_in_round(&self, out: &mut Vec<u8>) {
        out.push(self.member);
        self.observation.encode_content(out);
        out.extend_from_slice(&self.signature.0);
    }

    pub(crate) fn decode_in_round(
        config: B256,
        round: RoundId,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            member: reader.u8()?,
            observation: Observation::decode_content(config, round, reader)?,
            signature: Signature(reader.array()?),
        })
    }
}

/// Keccak-256 over who saw what, in the order of the members and without signatures: what the report commits to.
pub(crate) fn hash_of(observations: &[SignedObservation]) -> B256 {
    let mut out = Vec::new();
    for signed in observations {
        out.push(signed.member);
        signed.observation.encode_content(&mut out);
    }
    keccak256(out)
}

/// The digest of EIP-712: `0x1901`, the domain, the hash of the structure.
pub(crate) fn typed_data_digest(domain: B256, structure: B256) -> B256 {
    let mut preimage = [0; 66];
    let (prefix, hashes) = preimage.split_at_mut(2);
    prefix.copy_from_slice(&[0x19, 0x01]);
    let (first, second) = hashes.split_at_mut(32);
    first.copy_from_slice(domain.as_slice());
    second.copy_from_slice(structure.as_slice());
    keccak256(preimage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, key};

    fn seen(config: &Config) -> Observation {
        Observation {
            config: config.digest(),
            round: RoundId::new(3, 4).unwrap(),
            observed_at_ms: 1_678_492_800_000,
            values: vec![Some(2_100_000)],
            standing: vec![1000, 500, 100, 777],
        }
    }

    #[test]
    fn an_observation_counts_for_its_author_round_and_configuration_alone() {
        let config = config(1);
        let signed = seen(&config).sign(&config, 1, &*key(1));
        assert_eq!(signed.verify(&config, &*key(0)), Ok(()));

        let spoil = |change: &dyn Fn(&mut SignedObservation)| {
            let mut spoilt = signed.clone();
            change(&mut spoilt);
            spoilt.verify(&config, &*key(0)).unwrap_err()
        };
        assert_eq!(spoil(&|it| it.member = 2), ObservationError::Signature);
        assert_eq!(
            spoil(&|it| it.member = 9),
            ObservationError::NoSuchMember(9)
        );
        let other_round = RoundId::new(4, 4).unwrap();
        assert_eq!(
            spoil(&|it| it.observation.round = other_round),
            ObservationError::Signature
        );
        assert_eq!(
            spoil(&|it| it.observation.observed_at_ms += 1),
            ObservationError::Signature
        );
        assert_eq!(
            spoil(&|it| it.observation.values = vec![None]),
            ObservationError::Signature
        );
        assert_eq!(
            spoil(&|it| it.observation.standing.clear()),
            ObservationError::Signature
        );
        assert_eq!(
            spoil(&|it| it.observation.config = B256::ZERO),
            ObservationError::Config
        );
        for value in [0, -5, i128::MIN, i128::MAX] {
            let error = spoil(&|it| it.observation.values = vec![Some(value)]);
            assert_eq!(error, ObservationError::OutOfBounds { feed: 0 });
        }
        let error = spoil(&|it| it.observation.values.push(None));
        assert_eq!(error, ObservationError::Values { count: 2, feeds: 1 });
        assert_eq!(
            spoil(&|it| it.observation.standing = vec![0; 4]),
            ObservationError::Standing
        );

        // The same contract on another chain.
        let mut form = crate::testing::form(1);
        form.chain_id += 1;
        let elsewhere = Config::new(form).unwrap();
        let mut moved = signed;
        moved.observation.config = elsewhere.digest();
        assert_eq!(
            moved.verify(&elsewhere, &*key(0)),
            Err(ObservationError::Signature)
        );
    }
}
