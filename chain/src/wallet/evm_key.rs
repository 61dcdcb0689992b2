//! A key of EVM accounts in this process's memory.

use std::fmt;

use alloy_primitives::Address as EvmAddress;
use async_trait::async_trait;
use k256::ecdsa::SigningKey;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{Address, ChainError, Payload, Signature, Signer};

/// A secp256k1 key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct EvmKey {
    key: SigningKey,
    address: EvmAddress,
}

impl EvmKey {
    pub(super) fn new(key: SigningKey) -> Self {
        let address = EvmAddress::from_public_key(key.verifying_key());
        Self { key, address }
    }

    /// The key of these bytes.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: zero, or not below the order of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, ChainError> {
        // The error's own words say nothing of the bytes.
        let key = SigningKey::from_slice(bytes).map_err(|error| super::invalid("key", &error))?;
        Ok(Self::new(key))
    }

    /// The bytes. Whoever reads them owns the account.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = self.key.to_bytes();
        let mut revealed = Zeroizing::new([0; 32]);
        revealed.copy_from_slice(&bytes);
        bytes.zeroize();
        revealed
    }

    /// The account.
    #[must_use]
    pub const fn evm_address(&self) -> EvmAddress {
        self.address
    }
}

#[async_trait]
impl Signer for EvmKey {
    fn address(&self) -> Address {
        self.address.into()
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn sign(&self, payload: Payload<'_>) -> Result<Signature, ChainError> {
        let refused = |reason: &str| ChainError::Signer {
            address: self.address.into(),
            reason: reason.to_owned(),
        };
        let digest = payload.evm_digest();
        let digest = digest.ok_or_else(|| refused("an EVM key signs nothing of Solana's"))?;
        // Deterministic (RFC 6979), with s in the lower half.
        let signed = self.key.sign_prehash_recoverable(digest.as_slice());
        let (signature, recovery) = signed.map_err(|error| refused(&error.to_string()))?;
        Ok(Signature::Evm((signature, recovery).into()))
    }
}

impl fmt::Debug for EvmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvmKey({})", self.address)
    }
}
