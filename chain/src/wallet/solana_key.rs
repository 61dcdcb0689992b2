//! A key of Solana accounts in this process's memory.

use std::fmt;

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::{Address, ChainError, Payload, Signature, Signer, SolanaAddress};

/// An ed25519 key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct SolanaKey {
    key: SigningKey,
}

impl SolanaKey {
    /// The key of these bytes: the first 32 of the 64 in a file of Solana's own tools.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self {
            key: SigningKey::from_bytes(bytes),
        }
    }

    /// The bytes. Whoever reads them owns the account.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<[u8; 32]> {
        let mut revealed = Zeroizing::new([0; 32]);
        revealed.copy_from_slice(self.key.as_bytes());
        revealed
    }

    /// The account.
    #[must_use]
    pub fn solana_address(&self) -> SolanaAddress {
        SolanaAddress(self.key.verifying_key().to_bytes())
    }
}

#[async_trait]
impl Signer for SolanaKey {
    fn address(&self) -> Address {
        self.solana_address().into()
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn sign(&self, payload: Payload<'_>) -> Result<Signature, ChainError> {
        match payload {
            Payload::SolanaMessage(message) => {
                Ok(Signature::Solana(self.key.sign(message).to_bytes()))
            }
            _ => Err(ChainError::Signer {
                address: self.address(),
                reason: "a Solana key signs nothing of EVM chains".into(),
            }),
        }
    }
}

impl fmt::Debug for SolanaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SolanaKey({})", self.solana_address())
    }
}
