//! What oracles say to each other.
//!
//! One byte of version, one of kind, the configuration's digest, then the fields. The sender is not written: the transport
//! has proven it. Decoding is total, and every length is checked before anything is allocated for it.

use bytes::Bytes;
use peaberry_chain::primitives::B256;
use peaberry_core::wire::{self, Reader};

use crate::attest::PART_BYTES_MAX;
use crate::config::{FEEDS_MAX, MEMBERS_MAX};
use crate::observation::SignedObservation;
use crate::report::AttestedReport;
use crate::round_id::RoundId;
use crate::wire::{DecodeError, hash, put_round, put_round_or_none, round, round_or_none};

const VERSION: u8 = 1;

/// A message, and the configuration under which it means something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a header of one field")]
pub struct Message {
    /// The digest of the sender's configuration.
    pub config: B256,
    /// What is said.
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a new message is a new version of the layout"
)]
pub enum Body {
    /// Everyone to everyone, now and then: which epoch the sender wants, and what it knows.
    Beat {
        /// The epoch that the sender wants to be in, or is in.
        new_epoch: u32,
        /// The newest round whose report the sender has; who has a newer one sends it.
        last: Option<RoundId>,
        /// Feeds whose circuit breaker the sender's operator has reset, with the round of the answer before the newest such
        /// jump: said for good, for those who were away.
        resets: Vec<(u8, RoundId)>,
    },
    /// The leader to everyone: what do you see?
    Ask(RoundId),
    /// The answer to it.
    Observation(SignedObservation),
    /// The leader to everyone: make a report of these.
    Proposal {
        /// The round of all of them.
        round: RoundId,
        /// At least 2f+1, in the order of their members.
        observations: Vec<SignedObservation>,
    },
    /// To the leader: a part of the report's attestation.
    Part {
        /// The report's round.
        round: RoundId,
        /// The report's digest.
        digest: B256,
        /// As the [`Attestor`](crate::Attestor) made it.
        part: Bytes,
    },
    /// The leader to one member: contribute once more.
    Request {
        /// The report's round.
        round: RoundId,
        /// The report's digest.
        digest: B256,
        /// As the [`Attestor`](crate::Attestor) made it.
        request: Bytes,
    },
    /// Anyone to anyone: a report that a quorum has signed.
    Final(AttestedReport),
}

impl Body {
    /// The name of its kind, for logs and pictures.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Beat { .. } => "Beat",
            Self::Ask(_) => "Ask",
            Self::Observation(_) => "Observation",
            Self::Proposal { .. } => "Proposal",
            Self::Part { .. } => "Part",
            Self::Request { .. } => "Request",
            Self::Final(_) => "Final",
        }
    }
}

impl Message {
    /// Its bytes.
    ///
    /// ```
    /// use peaberry_chain::primitives::B256;
    /// use peaberry_oracle::{Body, Message, RoundId};
    ///
    /// let ask = Message { config: B256::repeat_byte(1), body: Body::Ask(RoundId::new(2, 1).unwrap()) };
    /// assert_eq!(Message::from_bytes(&ask.to_bytes()), Ok(ask));
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, 0];
        out.extend_from_slice(self.config.as_slice());
        let kind = self.body.encode(&mut out);
        if let Some(place) = out.get_mut(1) {
            *place = kind;
        }
        out
    }

    /// Reads bytes that a stranger may have written.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: no correct oracle wrote them. What can be read is in the one spelling there is; signatures are
    /// not checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let kind = reader.u8()?;
        let config = hash(&mut reader)?;
        let body = Body::decode(kind, config, &mut reader)?;
        reader.finish()?;
        Ok(Self { config, body })
    }
}

impl Body {
    /// Appends the fields and answers the kind.
    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Self::Beat {
                new_epoch,
                last,
                resets,
            } => {
                wire::put_varint(out, u64::from(*new_epoch));
                put_round_or_none(out, *last);
                wire::put_varint(out, resets.len() as u64);
                for (feed, since) in resets {
                    out.push(*feed);
                    put_round(out, *since);
                }
                1
            }
            Self::Ask(round) => {
                put_round(out, *round);
                2
            }
            Self::Observation(signed) => {
                put_round(out, signed.observation.round);
                signed.encode_in_round(out);
                3
            }
            Self::Proposal {
                round,
                observations,
            } => {
                put_round(out, *round);
                wire::put_varint(out, observations.len() as u64);
                observations
                    .iter()
                    .for_each(|signed| signed.encode_in_round(out));
                4
            }
            Self::Part {
                round,
                digest,
                part: bytes,
            } => {
                encode_step(out, *round, digest, bytes);
                5
            }
            Self::Request {
                round,
                digest,
                request: bytes,
            } => {
                encode_step(out, *round, digest, bytes);
                6
            }
            Self::Final(attested) => {
                attested.encode(out);
                7
            }
        }
    }

    fn decode(kind: u8, config: B256, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => decode_beat(reader)?,
            2 => Self::Ask(round(reader)?),
            3 => {
                let round = round(reader)?;
                Self::Observation(SignedObservation::decode_in_round(config, round, reader)?)
            }
            4 => {
                let round = round(reader)?;
                let count = reader.length(MEMBERS_MAX)?;
                let mut observations = Vec::with_capacity(count);
                for _ in 0..count {
                    observations.push(SignedObservation::decode_in_round(config, round, reader)?);
                }
                Self::Proposal {
                    round,
                    observations,
                }
            }
            5 => {
                let (round, digest, part) = decode_step(reader)?;
                Self::Part {
                    round,
                    digest,
                    part,
                }
            }
            6 => {
                let (round, digest, request) = decode_step(reader)?;
                Self::Request {
                    round,
                    digest,
                    request,
                }
            }
            7 => {
                let attested = AttestedReport::decode(reader)?;
                if attested.report.config != config {
                    return Err(DecodeError::Invalid(
                        "a report of another configuration than its message",
                    ));
                }
                Self::Final(attested)
            }
            other => return Err(DecodeError::Kind(other)),
        })
    }
}

fn decode_beat(reader: &mut Reader<'_>) -> Result<Body, DecodeError> {
    let new_epoch = u32::try_from(reader.varint()?);
    let new_epoch =
        new_epoch.map_err(|_too_large| DecodeError::Invalid("an epoch over 32 bits"))?;
    let last = round_or_none(reader)?;
    let count = reader.length(FEEDS_MAX)?;
    let mut resets: Vec<(u8, RoundId)> = Vec::with_capacity(count);
    for _ in 0..count {
        let feed = reader.u8()?;
        if resets.last().is_some_and(|(last, _)| *last >= feed) {
            return Err(DecodeError::Invalid(
                "resets are not in the order of their feeds",
            ));
        }
        resets.push((feed, round(reader)?));
    }
    Ok(Body::Beat {
        new_epoch,
        last,
        resets,
    })
}

fn encode_step(out: &mut Vec<u8>, round: RoundId, digest: &B256, bytes: &Bytes) {
    put_round(out, round);
    out.extend_from_slice(digest.as_slice());
    wire::put_bytes(out, bytes);
}

fn decode_step(reader: &mut Reader<'_>) -> Result<(RoundId, B256, Bytes), DecodeError> {
    let round = round(reader)?;
    let digest = hash(reader)?;
    let bytes = Bytes::copy_from_slice(reader.bytes(PART_BYTES_MAX)?);
    Ok((round, digest, bytes))
}

/// Reads bytes as everything that strangers' bytes are read as here; for fuzzing. What is read must be written as it was.
#[doc(hidden)]
pub fn decode_any_oracle_bytes(bytes: &[u8]) {
    if let Ok(message) = Message::from_bytes(bytes) {
        assert_eq!(message.to_bytes(), bytes, "one message has one spelling");
    }
    if let Ok(report) = AttestedReport::from_bytes(bytes) {
        assert_eq!(report.to_bytes(), bytes, "one report has one spelling");
    }
    if let Ok(evidence) = crate::Evidence::from_bytes(bytes) {
        assert_eq!(
            evidence.to_bytes(),
            bytes,
            "one piece of evidence has one spelling"
        );
    }
    if let Ok(attestation) = crate::EcdsaAttestation::from_bytes(bytes) {
        assert_eq!(
            attestation.to_bytes(),
            bytes,
            "one attestation has one spelling"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observation::Observation;
    use crate::report::{Aggregation, Answer, Report};
    use crate::signature::Signature;

    fn rounds() -> impl Strategy<Value = RoundId> {
        (1..=u32::MAX, 1..=u32::MAX).prop_map(|(epoch, round)| RoundId::new(epoch, round).unwrap())
    }

    fn observations(config: B256, round: RoundId) -> impl Strategy<Value = SignedObservation> {
        let values = prop::collection::vec(prop::option::of(any::<i128>()), 0..=FEEDS_MAX);
        let standing = prop::collection::vec(any::<u16>(), 0..=MEMBERS_MAX);
        (any::<u8>(), any::<u64>(), values, standing, any::<u8>()).prop_map(
            move |(member, observed_at_ms, values, standing, fill)| SignedObservation {
                member,
                observation: Observation {
                    config,
                    round,
                    observed_at_ms,
                    values,
                    standing,
                },
                signature: Signature([fill; 65]),
            },
        )
    }

    fn finals(config: B256) -> impl Strategy<Value = AttestedReport> {
        let values = prop::collection::btree_map(any::<u8>(), any::<i128>(), 0..=FEEDS_MAX);
        let attestation = prop::collection::vec(any::<u8>(), 0..200);
        (rounds(), any::<u64>(), values, attestation).prop_map(
            move |(round, observed_at_ms, values, attestation)| {
                let aggregation = Aggregation::WeightedMedian;
                AttestedReport {
                    report: Report {
                        config,
                        round,
                        observed_at_ms,
                        observations: B256::repeat_byte(9),
                        answers: values
                            .into_iter()
                            .map(|(feed, value)| Answer {
                                feed,
                                aggregation,
                                value,
                            })
                            .collect(),
                    },
                    attestation: attestation.into(),
                }
            },
        )
    }

    fn messages() -> impl Strategy<Value = Message> {
        let config = B256::repeat_byte(7);
        let bodies = rounds().prop_flat_map(move |round| {
            let bytes = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
            let digest = B256::repeat_byte(3);
            let resets = prop::collection::btree_map(any::<u8>(), rounds(), 0..=FEEDS_MAX);
            prop_oneof![
                (any::<u32>(), prop::option::of(rounds()), resets).prop_map(
                    |(new_epoch, last, resets)| {
                        Body::Beat {
                            new_epoch,
                            last,
                            resets: resets.into_iter().collect(),
                        }
                    }
                ),
                Just(Body::Ask(round)),
                observations(config, round).prop_map(Body::Observation),
                prop::collection::vec(observations(config, round), 0..5).prop_map(
                    move |observations| Body::Proposal {
                        round,
                        observations
                    }
                ),
                bytes().prop_map(move |part| Body::Part {
                    round,
                    digest,
                    part
                }),
                bytes().prop_map(move |request| Body::Request {
                    round,
                    digest,
                    request
                }),
                finals(config).prop_map(Body::Final),
            ]
        });
        bodies.prop_map(move |body| Message { config, body })
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written(message in messages()) {
            prop_assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message));
        }

        #[test]
        fn a_cut_message_is_noticed_and_a_spoilt_one_panics_nowhere(
            message in messages(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), mask in 1..=255_u8,
        ) {
            let mut bytes = message.to_bytes();
            prop_assert!(Message::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
            let at = flip.index(bytes.len());
            bytes[at] ^= mask;
            decode_any_oracle_bytes(&bytes);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            decode_any_oracle_bytes(&bytes);
        }
    }

    #[test]
    fn a_count_is_checked_before_anything_is_allocated_for_it() {
        let mut bytes = Message {
            config: B256::ZERO,
            body: Body::Ask(RoundId::new(1, 1).unwrap()),
        }
        .to_bytes();
        bytes[1] = 4;
        wire::put_varint(&mut bytes, u64::MAX);
        assert!(matches!(
            Message::from_bytes(&bytes),
            Err(DecodeError::Wire(_))
        ));
    }
}
