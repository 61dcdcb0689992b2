//! What a quorum signs, and what a contract stores.

use bytes::Bytes;
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_core::wire::{self, Reader};

use crate::config::{Config, FEEDS_MAX};
use crate::observation::typed_data_digest;
use crate::round_id::RoundId;
use crate::wire::{DecodeError, hash, put_round, put_value, round, value};

const TYPE: &str = "Report(bytes32 configDigest,uint32 epoch,uint32 round,uint64 observedAt,bytes32 observations,bytes32[] answers)";
/// The longest attestation: a signature of every member, and some.
pub(crate) const ATTESTATION_BYTES_MAX: usize = 8 << 10;

/// How an answer was made of its observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "contracts read it: a new one is a new layout"
)]
#[repr(u8)]
pub enum Aggregation {
    /// All members weigh the same: the plain median.
    Median = 1,
    /// The median by weight, of a set whose f heaviest members hold less than half of it.
    WeightedMedian = 2,
    /// The plain median, because the set's f heaviest members hold half of it or more.
    EqualWeights = 3,
}

impl Aggregation {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Median,
            2 => Self::WeightedMedian,
            3 => Self::EqualWeights,
            _ => return None,
        })
    }
}

/// The agreed value of one feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "contracts read it: a new field is a new layout"
)]
pub struct Answer {
    /// The number of the feed in the configuration.
    pub feed: u8,
    /// How it was made.
    pub aggregation: Aggregation,
    /// In the feed's units.
    pub value: i128,
}

impl Answer {
    /// The word that is hashed and sent to the contract: two bytes of feed, one of [`Aggregation`], 13 zeros, and the
    /// value as two's complement, all big-endian.
    #[must_use]
    pub fn word(&self) -> [u8; 32] {
        let mut word = [0; 32];
        let (head, value) = word.split_at_mut(16);
        head.iter_mut()
            .zip([0, self.feed, self.aggregation as u8])
            .for_each(|(to, byte)| *to = byte);
        value.copy_from_slice(&self.value.to_be_bytes());
        word
    }
}

/// The answers of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what is signed, field by field")]
pub struct Report {
    /// The digest of the [`Config`] under which the oracles agreed.
    pub config: B256,
    /// The round. A contract stores a report only if its round is above every round it has stored.
    pub round: RoundId,
    /// The median of the observations' times, in milliseconds since 1970-01-01 UTC: f liars cannot move it out of the
    /// range of the honest.
    pub observed_at_ms: u64,
    /// Keccak-256 of the observations in the order of their members, without signatures.
    pub observations: B256,
    /// In the order of their feeds, each at most once; a feed that too few had a value for is missing.
    pub answers: Vec<Answer>,
}

impl Report {
    /// What is signed: the digest of EIP-712, bound to the contract on its chain.
    #[must_use]
    pub fn digest(&self, config: &Config) -> B256 {
        let mut fields = Vec::with_capacity(7 * 32);
        fields.extend_from_slice(keccak256(TYPE).as_slice());
        fields.extend_from_slice(self.config.as_slice());
        put_word(&mut fields, self.round.epoch().into());
        put_word(&mut fields, self.round.round().into());
        put_word(&mut fields, self.observed_at_ms);
        fields.extend_from_slice(self.observations.as_slice());
        let words: Vec<u8> = self.answers.iter().flat_map(Answer::word).collect();
        fields.extend_from_slice(keccak256(words).as_slice());
        typed_data_digest(config.domain(), keccak256(fields))
    }

    /// The answer for the feed numbered `feed`, if there is one.
    #[must_use]
    pub fn answer(&self, feed: usize) -> Option<&Answer> {
        self.answers
            .iter()
            .find(|answer| usize::from(answer.feed) == feed)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.config.as_slice());
        put_round(out, self.round);
        wire::put_varint(out, self.observed_at_ms);
        out.extend_from_slice(self.observations.as_slice());
        wire::put_varint(out, self.answers.len() as u64);
        for answer in &self.answers {
            out.extend_from_slice(&[answer.feed, answer.aggregation as u8]);
            put_value(out, answer.value);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut report = Self {
            config: hash(reader)?,
            round: round(reader)?,
            observed_at_ms: reader.varint()?,
            observations: hash(reader)?,
            answers: Vec::new(),
        };
        let count = reader.length(FEEDS_MAX)?;
        report.answers.reserve_exact(count);
        for _ in 0..count {
            let feed = reader.u8()?;
            if report.answers.last().is_some_and(|last| last.feed >= feed) {
                return Err(DecodeError::Invalid(
                    "answers are not in the order of their feeds",
                ));
            }
            let aggregation = Aggregation::from_byte(reader.u8()?);
            report.answers.push(Answer {
                feed,
                aggregation: aggregation.ok_or(DecodeError::Invalid("no such aggregation"))?,
                value: value(reader)?,
            });
        }
        Ok(report)
    }
}

fn put_word(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&[0; 24]);
    out.extend_from_slice(&value.to_be_bytes());
}

/// A report that a quorum has signed: what goes on chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two fields that stay")]
pub struct AttestedReport {
    /// The report.
    pub report: Report,
    /// What the [`Attestor`](crate::Attestor) made of the members' parts; see there how to read it.
    pub attestation: Bytes,
}

impl AttestedReport {
    /// Its bytes.
    ///
    /// ```
    /// # use peaberry_oracle::AttestedReport;
    /// assert!(AttestedReport::from_bytes(b"no report").is_err());
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(96 + 18 * self.report.answers.len() + self.attestation.len());
        self.encode(&mut out);
        out
    }

    /// What [`to_bytes`](Self::to_bytes) wrote. Proves nothing: check the attestation.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: not such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let decoded = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(decoded)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.report.encode(out);
        wire::put_bytes(out, &self.attestation);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            report: Report::decode(reader)?,
            attestation: Bytes::copy_from_slice(reader.bytes(ATTESTATION_BYTES_MAX)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::config;

    fn report(config: &Config) -> Report {
        Report {
            config: config.digest(),
            round: RoundId::new(2, 3).unwrap(),
            observed_at_ms: 1_678_492_800_000,
            observations: B256::repeat_byte(5),
            answers: vec![Answer {
                feed: 0,
                aggregation: Aggregation::Median,
                value: 2_100_000,
            }],
        }
    }

    #[test]
    fn every_field_is_in_the_digest() {
        let config = config(1);
        let changes: [&dyn Fn(&mut Report); 9] = [
            &|_| {},
            &|it| it.config = B256::ZERO,
            &|it| it.round = RoundId::new(3, 3).unwrap(),
            &|it| it.round = RoundId::new(2, 4).unwrap(),
            &|it| it.observed_at_ms += 1,
            &|it| it.observations = B256::ZERO,
            &|it| it.answers[0].value = -it.answers[0].value,
            &|it| it.answers[0].feed += 1,
            &|it| it.answers[0].aggregation = Aggregation::EqualWeights,
        ];
        let digests: BTreeSet<_> = changes
            .iter()
            .map(|change| {
                let mut changed = report(&config);
                change(&mut changed);
                changed.digest(&config)
            })
            .collect();
        assert_eq!(digests.len(), changes.len());
    }

    #[test]
    fn bytes_are_read_back_and_every_cut_is_noticed() {
        let attested = AttestedReport {
            report: report(&config(1)),
            attestation: Bytes::from_static(b"signed"),
        };
        let bytes = attested.to_bytes();
        assert_eq!(AttestedReport::from_bytes(&bytes), Ok(attested));
        for cut in 0..bytes.len() {
            assert!(
                AttestedReport::from_bytes(&bytes[..cut]).is_err(),
                "cut at {cut}"
            );
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(AttestedReport::from_bytes(&longer).is_err());
    }
}
