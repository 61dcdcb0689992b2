use std::fmt;

use frost_secp256k1_evm::keys::{
    IdentifierList, KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare,
    generate_with_dealer,
};
use peaberry_core::wire::{self, Reader};
use rand_core::{CryptoRng, RngCore};

use super::public_group::{PublicGroup, decode_threshold};
use super::wire::identifier;
use crate::config::MEMBERS_MAX;
use crate::wire::DecodeError;

const POINT_BYTES: usize = 33;
const SCALAR_BYTES: usize = 32;

/// A member's share of a group's key, and what everyone knows of the group: f+1 shares together can sign, f know nothing.
///
/// Holds a secret: what [`to_bytes`](Self::to_bytes) gives belongs where private keys belong. `Debug` does not print it.
#[derive(Clone)]
pub struct GroupShare {
    member: u8,
    pub(super) key: KeyPackage,
    group: PublicGroup,
}

/// Why there is no such share.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupShareError {
    /// Not in the layout of a share.
    #[error("malformed share")]
    Malformed(#[from] DecodeError),
    /// The secret is not the one that the group knows the member by.
    #[error(
        "the secret of member {0} does not belong to its group: restore its backup, or generate a new key"
    )]
    NotOurs(u8),
    /// No such group.
    #[error(
        "{count} members of whom {threshold} sign: 2 to {MEMBERS_MAX} members, and 2 or more sign"
    )]
    Group {
        /// How many members.
        count: u8,
        /// How many sign.
        threshold: u8,
    },
}

impl fmt::Debug for GroupShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupShare")
            .field("member", &self.member)
            .field("threshold", &self.threshold())
            .finish_non_exhaustive()
    }
}

impl GroupShare {
    /// A new key, shared among members 0 to `count`-1, `threshold` of whom can sign. Whoever deals knows the whole key:
    /// for tests, and for a first key whose dealer is trusted; [`KeyGeneration`](crate::KeyGeneration) needs no dealer.
    ///
    /// # Errors
    ///
    /// [`GroupShareError::Group`]: no such group.
    pub fn deal(
        count: u8,
        threshold: u8,
        rng: &mut (impl CryptoRng + RngCore),
    ) -> Result<Vec<Self>, GroupShareError> {
        let no_group = |_error| GroupShareError::Group { count, threshold };
        if usize::from(count) > MEMBERS_MAX {
            return Err(GroupShareError::Group { count, threshold });
        }
        let (shares, public) = generate_with_dealer(
            u16::from(count),
            u16::from(threshold),
            IdentifierList::Default,
            rng,
        )
        .map_err(no_group)?;
        (0..count)
            .zip(shares.into_values())
            .map(|(member, share)| {
                let key = KeyPackage::try_from(share).map_err(no_group)?;
                Ok(Self::new(member, key, public.clone()))
            })
            .collect()
    }

    pub(crate) fn new(member: u8, key: KeyPackage, public: PublicKeyPackage) -> Self {
        let group = PublicGroup::new(*key.min_signers(), public);
        Self { member, key, group }
    }

    /// What everybody may know of the group: what a member without a share needs.
    #[must_use]
    pub const fn group(&self) -> &PublicGroup {
        &self.group
    }

    /// Whose share it is.
    #[must_use]
    pub const fn member(&self) -> u8 {
        self.member
    }

    /// How many it takes to sign: f+1.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.group.threshold()
    }

    /// The group's key as contracts are configured with it: a compressed point.
    ///
    /// # Panics
    ///
    /// Never: no group has the point at infinity for a key.
    #[must_use]
    pub fn group_key(&self) -> [u8; POINT_BYTES] {
        self.group.key()
    }

    /// Who has a share, ascending.
    pub fn members(&self) -> impl Iterator<Item = u8> {
        self.group.members()
    }

    /// Its bytes, secret and all.
    ///
    /// # Panics
    ///
    /// Never: every point of a group can be written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.member];
        wire::put_varint(&mut out, self.threshold() as u64);
        out.extend_from_slice(&self.key.signing_share().serialize());
        self.group.encode_points(&mut out);
        out
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`GroupShareError`]: no such bytes, or a secret that is not the member's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GroupShareError> {
        let mut reader = Reader::new(bytes);
        let share = Self::decode(&mut reader)?;
        reader.finish().map_err(DecodeError::from)?;
        let known = share.group.known_share(share.member);
        if known != Some(share.key.verifying_share()) {
            return Err(GroupShareError::NotOurs(share.member));
        }
        Ok(share)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const NO_SCALAR: DecodeError = DecodeError::Invalid("a secret out of range");
        const NO_MEMBER: DecodeError = DecodeError::Invalid("no such member");
        let member = reader.u8()?;
        let threshold = decode_threshold(reader)?;
        let secret = SigningShare::deserialize(reader.take(SCALAR_BYTES)?);
        let secret = secret.map_err(|_other| NO_SCALAR)?;
        let group = PublicGroup::decode_points(threshold, reader)?;
        let name = identifier(member).map_err(|_zero| NO_MEMBER)?;
        let known = VerifyingShare::from(secret);
        let key = *group.package.verifying_key();
        let key = KeyPackage::new(name, secret, known, key, threshold);
        Ok(Self { member, key, group })
    }
}
