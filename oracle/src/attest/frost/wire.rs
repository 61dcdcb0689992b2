use bytes::Bytes;
use frost_secp256k1_evm::round1::{NonceCommitment, SigningCommitments};
use frost_secp256k1_evm::round2::SignatureShare;
use frost_secp256k1_evm::{Identifier, SigningPackage};
use peaberry_chain::primitives::B256;

use super::package_of;
use crate::attest::AttestError;

const POINT_BYTES: usize = 33;
const COMMITMENT_BYTES: usize = 2 * POINT_BYTES;
const SHARE_BYTES: usize = 32;
/// Commitment, share, commitment.
const ANSWER_BYTES: usize = 2 * COMMITMENT_BYTES + SHARE_BYTES;

/// The name of a member in the polynomials: zero would be the secret itself.
pub(super) fn identifier(member: u8) -> Result<Identifier, AttestError> {
    Identifier::try_from(u16::from(member) + 1).map_err(|_zero| AttestError::NoSuchMember(member))
}

/// The points of a hiding and a binding nonce, compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commitment([u8; COMMITMENT_BYTES]);

impl Commitment {
    pub(super) fn of(commitments: &SigningCommitments) -> Result<Self, AttestError> {
        let point = |it: &NonceCommitment| it.serialize();
        let points = [point(commitments.hiding()), point(commitments.binding())];
        let [Ok(hiding), Ok(binding)] = points else {
            return Err(AttestError::Malformed("a nonce of zero"));
        };
        let bytes = [hiding, binding].concat();
        let bytes = bytes.try_into();
        bytes
            .map(Self)
            .map_err(|_other| AttestError::Malformed("a point of another length"))
    }

    pub(super) fn opened(&self) -> Result<SigningCommitments, AttestError> {
        let (hiding, binding) = self.0.split_at(POINT_BYTES);
        let points = [hiding, binding].map(NonceCommitment::deserialize);
        match points {
            [Ok(hiding), Ok(binding)] => Ok(SigningCommitments::new(hiding, binding)),
            _ => Err(AttestError::Malformed("a commitment that is no point")),
        }
    }

    fn from_bytes(bytes: &[u8; COMMITMENT_BYTES]) -> Result<Self, AttestError> {
        let commitment = Self(*bytes);
        commitment.opened()?;
        Ok(commitment)
    }
}

/// What a member gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Commitment(Commitment),
    /// The share made with the nonce of `used`, and the commitment to the next one.
    Share {
        used: Commitment,
        share: SignatureShare,
        next: Commitment,
    },
}

impl Part {
    pub(super) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Commitment(commitment) => Bytes::copy_from_slice(&commitment.0),
            Self::Share { used, share, next } => {
                [&used.0[..], &share.serialize(), &next.0].concat().into()
            }
        }
    }

    /// Two lengths, two kinds.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, AttestError> {
        if let Ok(bytes) = bytes.try_into() {
            return Ok(Self::Commitment(Commitment::from_bytes(bytes)?));
        }
        let malformed = AttestError::Malformed("neither a commitment nor a share");
        let answer: &[u8; ANSWER_BYTES] = bytes.try_into().map_err(|_other_length| malformed)?;
        let (used, rest) = answer.split_first_chunk().ok_or(malformed)?;
        let (share, next) = rest.split_at_checked(SHARE_BYTES).ok_or(malformed)?;
        let next = next.try_into().map_err(|_other_length| malformed)?;
        let share = SignatureShare::deserialize(share);
        Ok(Self::Share {
            used: Commitment::from_bytes(used)?,
            share: share.map_err(|_other| AttestError::Malformed("a share out of range"))?,
            next: Commitment::from_bytes(next)?,
        })
    }
}

/// Who is to sign together: in ascending order, each once, a byte for the member and its commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) signers: Vec<(u8, Commitment)>,
}

impl Request {
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.signers.len() * (1 + COMMITMENT_BYTES));
        for (member, commitment) in &self.signers {
            out.push(*member);
            out.extend_from_slice(&commitment.0);
        }
        out.into()
    }

    /// Of exactly `threshold` signers.
    pub(super) fn from_bytes(bytes: &[u8], threshold: usize) -> Result<Self, AttestError> {
        let (entries, rest) = bytes.as_chunks::<{ 1 + COMMITMENT_BYTES }>();
        let count = entries.len();
        if !rest.is_empty() || count != threshold {
            return Err(AttestError::Signers { count, threshold });
        }
        let mut signers: Vec<(u8, Commitment)> = Vec::with_capacity(count);
        for [member, commitment @ ..] in entries {
            if signers.last().is_some_and(|(last, _)| last >= member) {
                return Err(AttestError::Malformed("signers do not ascend"));
            }
            signers.push((*member, Commitment::from_bytes(commitment)?));
        }
        Ok(Self { signers })
    }

    pub(super) fn commitment_of(&self, member: u8) -> Option<Commitment> {
        let ours = self.signers.iter().find(|(signer, _)| *signer == member);
        ours.map(|(_, commitment)| *commitment)
    }

    pub(super) fn package(&self, digest: &B256) -> Result<SigningPackage, AttestError> {
        package_of(
            digest,
            self.signers.iter().map(|(member, it)| (*member, it)),
        )
    }
}
