use frost_secp256k1_evm::Signature as Proof;
use frost_secp256k1_evm::keys::dkg::round1::Package;
use frost_secp256k1_evm::keys::{SigningShare, VerifiableSecretSharingCommitment};
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_core::wire::{self, Reader};

use crate::config::MEMBERS_MAX;
use crate::signature::{Keyring, SIGNATURE_BYTES, Signature};
use crate::wire::{DecodeError, hash};

const FORMAT: u8 = 1;
const POINT_BYTES: usize = 33;
const PROOF_BYTES: usize = 65;
const SHARE_BYTES: usize = 32;

/// What members say to each other. `attempt` names the configuration, the attempt and who takes part.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) attempt: B256,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "messages of a ceremony are few, and each lives for a turn"
)]
pub(super) enum Body {
    /// What everyone may hear, from its author or from anyone who has heard it.
    Statement(Statement),
    /// The dealer's polynomial at our place: a secret between the two.
    Share(SigningShare),
    /// The share of whoever complained, for all to see.
    Justification {
        dealer: u8,
        complainer: u8,
        share: SigningShare,
    },
}

/// Signed by its author: whoever says two things has said them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) author: u8,
    pub(super) said: Said,
    pub(super) signature: Signature,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A commitment to the coefficients of a polynomial, with a proof that the dealer knows the first of them.
    Deal(Package),
    /// The digests of all deals, in the order of the participants.
    Echo(Vec<B256>),
    /// The dealer of this number has given us no share, or a wrong one.
    Complaint(u8),
    /// We have a share of this group's key, and will have it after a crash.
    Done([u8; POINT_BYTES]),
}

impl Statement {
    pub(super) fn sign(
        attempt: B256,
        author: u8,
        said: Said,
        keyring: &dyn Keyring,
    ) -> Result<Self, DecodeError> {
        let digest = said.digest(attempt, author)?;
        Ok(Self {
            author,
            said,
            signature: keyring.sign(&digest),
        })
    }
}

impl Said {
    /// What is signed, and, of a deal, echoed.
    pub(super) fn digest(&self, attempt: B256, author: u8) -> Result<B256, DecodeError> {
        let mut bytes = [b"key generation".as_slice(), attempt.as_slice(), &[author]].concat();
        self.encode(&mut bytes)?;
        Ok(keccak256(bytes))
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match self {
            Self::Deal(package) => {
                out.push(1);
                out.extend_from_slice(&package_bytes(package)?);
            }
            Self::Echo(digests) => {
                out.push(2);
                wire::put_varint(out, digests.len() as u64);
                digests
                    .iter()
                    .for_each(|it| out.extend_from_slice(it.as_slice()));
            }
            Self::Complaint(dealer) => out.extend_from_slice(&[3, *dealer]),
            Self::Done(key) => {
                out.push(4);
                out.extend_from_slice(key);
            }
        }
        Ok(())
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Deal(package(reader)?),
            2 => {
                let count = reader.length(MEMBERS_MAX)?;
                let digests = (0..count).map(|_| hash(reader));
                Self::Echo(digests.collect::<Result<_, _>>()?)
            }
            3 => Self::Complaint(reader.u8()?),
            4 => Self::Done(reader.array()?),
            kind => return Err(DecodeError::Kind(kind)),
        })
    }
}

/// The coefficients' points, then the proof.
fn package_bytes(package: &Package) -> Result<Vec<u8>, DecodeError> {
    let unwritten = |_error| DecodeError::Invalid("a point at infinity");
    let points = package.commitment().serialize().map_err(unwritten)?;
    let proof = package
        .proof_of_knowledge()
        .serialize()
        .map_err(unwritten)?;
    let mut out = Vec::with_capacity(1 + points.len() * POINT_BYTES + PROOF_BYTES);
    wire::put_varint(&mut out, points.len() as u64);
    points.iter().for_each(|point| out.extend_from_slice(point));
    out.extend_from_slice(&proof);
    Ok(out)
}

fn package(reader: &mut Reader<'_>) -> Result<Package, DecodeError> {
    let count = reader.length(MEMBERS_MAX)?;
    let mut points = Vec::with_capacity(count);
    for _ in 0..count {
        points.push(reader.take(POINT_BYTES)?);
    }
    let commitment = VerifiableSecretSharingCommitment::deserialize(points);
    let commitment =
        commitment.map_err(|_other| DecodeError::Invalid("a coefficient is no point"))?;
    let proof = Proof::deserialize(reader.take(PROOF_BYTES)?);
    let proof = proof.map_err(|_other| DecodeError::Invalid("the proof is no signature"))?;
    Ok(Package::new(commitment, proof))
}

fn share(reader: &mut Reader<'_>) -> Result<SigningShare, DecodeError> {
    let share = SigningShare::deserialize(reader.take(SHARE_BYTES)?);
    share.map_err(|_other| DecodeError::Invalid("a share out of range"))
}

impl Message {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, DecodeError> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(self.attempt.as_slice());
        match &self.body {
            Body::Statement(statement) => {
                out.extend_from_slice(&[1, statement.author]);
                statement.said.encode(&mut out)?;
                out.extend_from_slice(&statement.signature.0);
            }
            Body::Share(share) => {
                out.push(2);
                out.extend_from_slice(&share.serialize());
            }
            Body::Justification {
                dealer,
                complainer,
                share,
            } => {
                out.extend_from_slice(&[3, *dealer, *complainer]);
                out.extend_from_slice(&share.serialize());
            }
        }
        Ok(out)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            FORMAT => {}
            other => return Err(DecodeError::Version(other)),
        }
        let attempt = hash(&mut reader)?;
        let body = match reader.u8()? {
            1 => Body::Statement(Statement {
                author: reader.u8()?,
                said: Said::decode(&mut reader)?,
                signature: Signature(reader.array::<SIGNATURE_BYTES>()?),
            }),
            2 => Body::Share(share(&mut reader)?),
            3 => Body::Justification {
                dealer: reader.u8()?,
                complainer: reader.u8()?,
                share: share(&mut reader)?,
            },
            kind => return Err(DecodeError::Kind(kind)),
        };
        reader.finish()?;
        Ok(Self { attempt, body })
    }
}

/// For fuzzing: no bytes panic, and what is read is written the same.
#[doc(hidden)]
pub fn decode_any_key_generation_bytes(bytes: &[u8]) {
    if let Ok(message) = Message::from_bytes(bytes) {
        let written = message.to_bytes();
        assert_eq!(
            written.ok().as_deref(),
            Some(bytes),
            "another way to write it"
        );
    }
}
