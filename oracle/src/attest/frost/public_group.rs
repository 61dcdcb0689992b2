use std::collections::BTreeMap;

use frost_secp256k1_evm::keys::{PublicKeyPackage, VerifyingShare};
use frost_secp256k1_evm::round2::SignatureShare;
use frost_secp256k1_evm::{Identifier, SigningPackage, VerifyingKey};
use peaberry_core::wire::{self, Reader};

use super::wire::identifier;
use crate::config::MEMBERS_MAX;
use crate::wire::DecodeError;

const POINT_BYTES: usize = 33;

/// What everybody may know of a group: its key, who has a share of it, and how each one's part of a signature is checked.
///
/// No secret. It is how a member without a share takes part all the same ([`FrostGroup::observer`](super::FrostGroup)).
/// Whoever gets it from somebody else compares its [`key`](Self::key) with the one that the contract is configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicGroup {
    threshold: u16,
    pub(super) package: PublicKeyPackage,
}

impl PublicGroup {
    pub(super) const fn new(threshold: u16, package: PublicKeyPackage) -> Self {
        Self { threshold, package }
    }

    /// How many it takes to sign: f+1.
    #[must_use]
    pub fn threshold(&self) -> usize {
        usize::from(self.threshold)
    }

    /// The group's key as contracts are configured with it: a compressed point.
    ///
    /// # Panics
    ///
    /// Never: no group has the point at infinity for a key.
    #[must_use]
    pub fn key(&self) -> [u8; POINT_BYTES] {
        let bytes = self.package.verifying_key().serialize();
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        bytes.expect("a key is a point of 33 bytes")
    }

    /// Who has a share, ascending.
    pub fn members(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|member| self.has_member(*member))
    }

    pub(super) fn has_member(&self, member: u8) -> bool {
        self.known_share(member).is_some()
    }

    pub(super) fn known_share(&self, member: u8) -> Option<&VerifyingShare> {
        let name = identifier(member).ok()?;
        self.package.verifying_shares().get(&name)
    }

    /// Whether a share of a signature is this member's.
    pub(super) fn verify_share(
        &self,
        name: Identifier,
        share: &SignatureShare,
        package: &SigningPackage,
    ) -> bool {
        let Some(known) = self.package.verifying_shares().get(&name) else {
            return false;
        };
        let key = self.package.verifying_key();
        frost_core::verify_signature_share(name, known, share, package, key).is_ok()
    }

    /// Its bytes.
    ///
    /// # Panics
    ///
    /// Never: every point of a group can be written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_varint(&mut out, u64::from(self.threshold));
        self.encode_points(&mut out);
        out
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: no such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let threshold = decode_threshold(&mut reader)?;
        let group = Self::decode_points(threshold, &mut reader)?;
        reader.finish()?;
        Ok(group)
    }

    /// The key, then each member with its point.
    pub(super) fn encode_points(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key());
        let members: Vec<u8> = self.members().collect();
        wire::put_varint(out, members.len() as u64);
        for member in members {
            out.push(member);
            let point = self.known_share(member).and_then(|it| it.serialize().ok());
            out.extend_from_slice(&point.expect("a member's public share is a point"));
        }
    }

    pub(super) fn decode_points(
        threshold: u16,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        const NO_POINT: DecodeError = DecodeError::Invalid("a key that is no point");
        let key = VerifyingKey::deserialize(reader.take(POINT_BYTES)?);
        let key = key.map_err(|_other| NO_POINT)?;
        let count = reader.length(MEMBERS_MAX)?;
        let mut shares = BTreeMap::new();
        let mut before: Option<u8> = None;
        for _ in 0..count {
            let number = reader.u8()?;
            if before
                .replace(number)
                .is_some_and(|before| before >= number)
            {
                return Err(DecodeError::Invalid("members do not ascend"));
            }
            let name = identifier(number).map_err(|_zero| NO_MEMBER)?;
            let known = VerifyingShare::deserialize(reader.take(POINT_BYTES)?);
            shares.insert(name, known.map_err(|_other| NO_POINT)?);
        }
        let package = PublicKeyPackage::new(shares, key, Some(threshold));
        Ok(Self::new(threshold, package))
    }
}

const NO_MEMBER: DecodeError = DecodeError::Invalid("no such member");

pub(super) fn decode_threshold(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    let threshold = reader.length(MEMBERS_MAX)?;
    u16::try_from(threshold).map_err(|_over| NO_MEMBER)
}
