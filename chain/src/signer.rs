//! Who signs.

use alloy_primitives::{B256, keccak256};
use async_trait::async_trait;

use crate::{Address, ChainError};

/// A key that may be anywhere: in memory, in a hardware device, behind a service. Callable concurrently.
///
/// It is given what it signs, not a bare hash, so that a device can show it and a service can refuse by policy.
///
/// An implementer promises: the signature is the key of [`address`](Self::address)'s, over exactly the payload; nothing
/// of the key appears in `Debug` or in errors. It may ask a person, and so take a minute or two; it may be dropped at any time, as
/// clients do with one that takes longer than it is [given](crate::evm::SIGNED_WITHIN).
#[async_trait]
pub trait Signer: Send + Sync {
    /// The account whose key this is.
    fn address(&self) -> Address;

    /// Whether the key itself lies here, in memory that only this process writes. What comes from anywhere else is held
    /// against the address before it is used, which takes longer than signing. `false` unless said otherwise.
    fn is_local(&self) -> bool {
        false
    }

    /// Signs `payload`.
    ///
    /// # Errors
    ///
    /// [`ChainError::Signer`]: refused, unreachable or of the wrong family. Nothing was sent.
    async fn sign(&self, payload: Payload<'_>) -> Result<Signature, ChainError>;
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// An EVM transaction's bytes without its signature: for a typed one the type byte and the list (EIP-2718).
    EvmTransaction(&'a [u8]),
    /// Structured data of EIP-712.
    EvmTypedData {
        /// The hash of the domain: which contract on which chain.
        domain: B256,
        /// The hash of the value and its type.
        value: B256,
    },
    /// Text or bytes for a person to agree to, prefixed as EIP-191 says.
    EvmMessage(&'a [u8]),
    /// A Solana message's bytes.
    SolanaMessage(&'a [u8]),
}

impl Payload<'_> {
    /// The 32 bytes that an EVM key signs; `None` for Solana, whose keys sign the bytes themselves.
    #[must_use]
    pub fn evm_digest(&self) -> Option<B256> {
        match self {
            Self::EvmTransaction(unsigned) => Some(keccak256(unsigned)),
            Self::EvmTypedData { domain, value } => {
                let mut preimage = [0; 66];
                let (prefix, hashes) = preimage.split_at_mut(2);
                prefix.copy_from_slice(b"\x19\x01");
                let (first, second) = hashes.split_at_mut(32);
                first.copy_from_slice(domain.as_slice());
                second.copy_from_slice(value.as_slice());
                Some(keccak256(preimage))
            }
            Self::EvmMessage(message) => Some(alloy_primitives::eip191_hash_message(message)),
            Self::SolanaMessage(_) => None,
        }
    }
}

/// A signature of a chain's own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// ECDSA over secp256k1 with the parity that recovers the key; `s` in the lower half of the group (EIP-2).
    Evm(alloy_primitives::Signature),
    /// ed25519.
    Solana([u8; 64]),
}
