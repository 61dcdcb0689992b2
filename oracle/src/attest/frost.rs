//! One Schnorr signature of a group (FROST, RFC 9591), made by f+1 of its members whatever f others do (ROAST).

mod gathering;
mod public_group;
mod share;
mod wire;

use std::fmt;

use bytes::Bytes;
use frost_secp256k1_evm::{Signature, SigningPackage, round1, round2};
use k256::EncodedPoint;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use peaberry_chain::primitives::B256;
use peaberry_core::mutant::is_planted;
use rand_core::{CryptoRng, CryptoRngCore, OsRng, RngCore};

use self::gathering::Gathering;
pub use self::public_group::PublicGroup;
pub use self::share::{GroupShare, GroupShareError};
use self::wire::{Commitment, Part, Request, identifier};
use super::{AttestError, Attestor, Gathered, Misfit};
use crate::config::Config;

/// R as x and y, then z.
const ATTESTATION_BYTES: usize = 96;

/// A group that signs as one: the attestation is one Schnorr signature, the same size and gas for any number of members.
///
/// The attestation is the nonce's point as x and y, then the scalar, 32 bytes each: what `PriceOracle` takes. Who took
/// part is not in it; whoever gathered knows.
///
/// A member's first part is a commitment to a nonce. Once f+1 have committed, the gatherer asks them to sign together, and
/// each answers with its share and the commitment to its next nonce. Whoever answers is free again, so as soon as f+1 are
/// free the gatherer asks them anew, beside those who keep it waiting (Ruffing et al., "ROAST: Robust Asynchronous
/// Schnorr Threshold Signatures", 2022). Each unfinished attempt has a member in it who does not answer, or who says that
/// it has lost its nonces; the latter is believed twice of each, so nobody leaves more than three unfinished, and with at
/// most f such members the (3f+1)-th attempt at the latest succeeds. A share that is not its sender's blames it, and the
/// gatherer asks that member for nothing more.
///
/// The group need not be everybody: 2f+1 members or more have a share, such as those whom a key generation succeeded with.
/// Any other member is an [`observer`](Self::observer), who observes, leads, gathers and verifies as all do, and signs
/// nothing. Among 2f+1 are f+1 honest ones, who must then all be up for a signature.
///
/// Nonces live in memory, are used for one request and are gone after a restart. The same request gets the same answer;
/// another one for a used nonce is refused.
///
/// ```
/// use peaberry_chain::primitives::B256;
/// use peaberry_oracle::{Attestor, FrostGroup, Gathered, GroupShare};
/// # use rand_core::OsRng;
///
/// let mut members: Vec<_> = GroupShare::deal(4, 2, &mut OsRng).unwrap().into_iter().map(FrostGroup::new).collect();
/// let digest = B256::repeat_byte(7);
/// members[0].begin(&digest);
/// let mut asked = Vec::new();
/// for member in [1_u8, 3] {
///     let commitment = members[usize::from(member)].contribute(&digest, None).unwrap();
///     if let Gathered::Ask(requests) = members[0].gather(&digest, member, &commitment).unwrap() {
///         asked = requests;
///     }
/// }
/// let mut attestation = None;
/// for (member, request) in asked {
///     let share = members[usize::from(member)].contribute(&digest, Some(&request)).unwrap();
///     if let Gathered::Done(bytes) = members[0].gather(&digest, member, &share).unwrap() {
///         attestation = Some(bytes);
///     }
/// }
/// assert_eq!(members[2].verify(&digest, &attestation.unwrap()), Ok(()));
/// ```
pub struct FrostGroup {
    group: PublicGroup,
    share: Option<GroupShare>,
    rng: Box<dyn CryptoRngCore + Send>,
    signing: Option<Signing>,
    gathering: Option<Gathering>,
}

/// What we do as one of the signers of a digest.
struct Signing {
    digest: B256,
    nonce: Nonce,
    /// The last request that was answered, and how.
    answered: Option<(Bytes, Bytes)>,
}

/// A nonce that was not used yet, and what we have said of it.
struct Nonce {
    secret: round1::SigningNonces,
    commitment: Commitment,
}

impl fmt::Debug for FrostGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrostGroup")
            .field("share", &self.share)
            .field("members", &self.group.members().collect::<Vec<_>>())
            .field("gathering", &self.gathering)
            .finish_non_exhaustive()
    }
}

impl FrostGroup {
    /// Signs with `share`, with nonces from the operating system.
    #[must_use]
    pub fn new(share: GroupShare) -> Self {
        Self::with_rng(share, OsRng)
    }

    /// Signs with `share`, with nonces from `rng`: for simulations. A generator that repeats itself after a restart gives
    /// the share away.
    #[must_use]
    pub fn with_rng(share: GroupShare, rng: impl CryptoRng + RngCore + Send + 'static) -> Self {
        Self {
            group: share.group().clone(),
            share: Some(share),
            rng: Box::new(rng),
            signing: None,
            gathering: None,
        }
    }

    /// Gathers and verifies for this group, and signs nothing: for a member who has no share of its key. What it needs is
    /// public; whoever has a share hands it out ([`GroupShare::group`]).
    #[must_use]
    pub fn observer(group: PublicGroup) -> Self {
        Self {
            group,
            share: None,
            rng: Box::new(OsRng),
            signing: None,
            gathering: None,
        }
    }

    /// The share that it signs with; `None` for an [`observer`](Self::observer).
    #[must_use]
    pub const fn share(&self) -> Option<&GroupShare> {
        self.share.as_ref()
    }

    /// What everybody may know of its group.
    #[must_use]
    pub const fn group(&self) -> &PublicGroup {
        &self.group
    }

    fn draw(&mut self) -> Result<Nonce, AttestError> {
        let share = self.share.as_ref().ok_or(AttestError::NoShare)?;
        let key = share.key.signing_share();
        let (secret, commitments) = round1::commit(key, &mut self.rng);
        let commitment = Commitment::of(&commitments)?;
        Ok(Nonce { secret, commitment })
    }

    /// Our commitment for this digest: the one that was not used yet, or a new one.
    fn commit(&mut self, digest: &B256) -> Result<Bytes, AttestError> {
        if let Some(signing) = self.signing.as_ref().filter(|it| it.digest == *digest) {
            return Ok(Part::Commitment(signing.nonce.commitment).to_bytes());
        }
        let nonce = self.draw()?;
        let part = Part::Commitment(nonce.commitment).to_bytes();
        self.signing = Some(Signing {
            digest: *digest,
            nonce,
            answered: None,
        });
        Ok(part)
    }

    /// Our share for what the gatherer asks.
    fn sign(&mut self, digest: &B256, bytes: &[u8]) -> Result<Bytes, AttestError> {
        let request = Request::from_bytes(bytes, self.group.threshold())?;
        let next = self.draw()?;
        let share = self.share.as_ref().ok_or(AttestError::NoShare)?;
        let signing = self.signing.as_mut().filter(|it| it.digest == *digest);
        let signing = signing.ok_or(AttestError::NonceGone)?;
        if let Some((asked, answer)) = &signing.answered
            && asked == bytes
        {
            return Ok(answer.clone());
        }
        let ours = request.commitment_of(share.member());
        if ours != Some(signing.nonce.commitment) {
            return Err(AttestError::NonceGone);
        }
        let package = request.package(digest)?;
        let signed = round2::sign(&package, &signing.nonce.secret, &share.key);
        let signed =
            signed.map_err(|_other| AttestError::Malformed("commitments that nobody can sign"))?;
        let used = signing.nonce.commitment;
        if !is_planted("frost_nonce_used_again") {
            signing.nonce = next;
        }
        let answer = Part::Share {
            used,
            share: signed,
            next: signing.nonce.commitment,
        };
        let answer = answer.to_bytes();
        signing.answered = Some((Bytes::copy_from_slice(bytes), answer.clone()));
        Ok(answer)
    }
}

impl Attestor for FrostGroup {
    fn fits(&self, config: &Config, member: u8) -> Result<(), Misfit> {
        let (own, threshold) = (self.group.threshold(), config.threshold());
        if own != threshold {
            return Err(Misfit::Threshold { own, threshold });
        }
        let members = config.members().len();
        let are_known = self.group.members().all(|it| usize::from(it) < members);
        if !are_known || self.group.members().count() < config.quorum() {
            return Err(Misfit::Members { members });
        }
        match self.share.as_ref().map(GroupShare::member) {
            Some(own) if own != member => Err(Misfit::Member { own, member }),
            _ => Ok(()),
        }
    }

    fn contribute(&mut self, digest: &B256, request: Option<&[u8]>) -> Result<Bytes, AttestError> {
        match request {
            None => self.commit(digest),
            Some(request) => self.sign(digest, request),
        }
    }

    fn begin(&mut self, digest: &B256) {
        self.gathering = Some(Gathering::new(*digest));
    }

    fn gather(&mut self, digest: &B256, member: u8, part: &[u8]) -> Result<Gathered, AttestError> {
        let gathering = self.gathering.as_mut().filter(|it| it.digest() == digest);
        let gathering = gathering.ok_or(AttestError::Unexpected)?;
        let part = Part::from_bytes(part)?;
        gathering.take(&self.group, member, part)
    }

    fn verify(&self, digest: &B256, attestation: &[u8]) -> Result<(), AttestError> {
        let signature = signature_of(attestation)?;
        let key = self.group.package.verifying_key();
        let is_ours = key.verify(digest.as_slice(), &signature);
        is_ours.map_err(|_other| AttestError::GroupSignature)
    }
}

/// A signature as contracts take it: R uncompressed, so that they need no square root.
fn attestation_of(signature: &Signature) -> Result<Bytes, AttestError> {
    const UNEXPECTED: AttestError = AttestError::Malformed("a signature that cannot be written");
    let compressed = signature.serialize().map_err(|_other| UNEXPECTED)?;
    let (point, scalar) = compressed.split_at_checked(33).ok_or(UNEXPECTED)?;
    let point = k256::PublicKey::from_sec1_bytes(point).map_err(|_other| UNEXPECTED)?;
    let point = point.to_encoded_point(false);
    let coordinates = point.as_bytes().get(1..).ok_or(UNEXPECTED)?;
    Ok([coordinates, scalar].concat().into())
}

fn signature_of(attestation: &[u8]) -> Result<Signature, AttestError> {
    let Some((point, scalar)) = attestation
        .split_at_checked(64)
        .filter(|_| attestation.len() == ATTESTATION_BYTES)
    else {
        return Err(AttestError::Malformed("not 96 bytes"));
    };
    let off_curve = AttestError::Malformed("its point is not on the curve");
    let point = [&[4], point].concat();
    let point = EncodedPoint::from_bytes(point).map_err(|_other| off_curve)?;
    let point = k256::PublicKey::try_from(&point).map_err(|_other| off_curve)?;
    let compressed = [point.to_encoded_point(true).as_bytes(), scalar].concat();
    let signature = Signature::deserialize(&compressed);
    signature.map_err(|_other| AttestError::Malformed("its scalar is out of range"))
}

/// What is signed together.
fn package_of<'a>(
    digest: &B256,
    commitments: impl Iterator<Item = (u8, &'a Commitment)>,
) -> Result<SigningPackage, AttestError> {
    let commitments = commitments.map(|(member, it)| Ok((identifier(member)?, it.opened()?)));
    let commitments = commitments.collect::<Result<_, AttestError>>()?;
    Ok(SigningPackage::new(commitments, digest.as_slice()))
}
