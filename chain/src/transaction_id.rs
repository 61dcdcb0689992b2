//! Which transaction.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::B256;

use crate::chain_id::excerpt;
use crate::{ChainError, ChainFamily};

/// A transaction's name: on EVM chains the hash of its signed bytes, on Solana its first signature.
///
/// Another signature over the same intent is another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TxId {
    /// Keccak-256 of the signed transaction's bytes. Written as hex behind `0x`.
    Evm(B256),
    /// The fee payer's ed25519 signature. Written in base 58.
    Solana([u8; 64]),
}

impl TxId {
    /// The chains on which it means something.
    #[must_use]
    pub const fn family(&self) -> ChainFamily {
        match self {
            Self::Evm(_) => ChainFamily::Evm,
            Self::Solana(_) => ChainFamily::Solana,
        }
    }
}

impl From<B256> for TxId {
    fn from(hash: B256) -> Self {
        Self::Evm(hash)
    }
}

impl FromStr for TxId {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        // 64 bytes never take more than 88 characters of base 58.
        const CHARACTERS_MAX: usize = 88;
        let invalid = || ChainError::InvalidTxId {
            text: excerpt(text),
        };
        if text.len() > CHARACTERS_MAX {
            return Err(invalid());
        }
        if text.starts_with("0x") {
            return text.parse().map(Self::Evm).map_err(|_not_hex| invalid());
        }
        let mut signature = [0; 64];
        match bs58::decode(text).onto(&mut signature) {
            Ok(64) => Ok(Self::Solana(signature)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evm(hash) => write!(f, "{hash:?}"),
            Self::Solana(signature) => f.write_str(&bs58::encode(signature).into_string()),
        }
    }
}

impl fmt::Debug for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_a_round_trip_and_nothing_else_is_one() {
        for id in [TxId::Evm(B256::repeat_byte(0xab)), TxId::Solana([7; 64])] {
            assert_eq!(id.to_string().parse::<TxId>().unwrap(), id);
        }
        for text in [
            "",
            "0x",
            "0xabcd",
            "1",
            &"1".repeat(63),
            &"1".repeat(1 << 16),
        ] {
            assert!(text.parse::<TxId>().is_err());
        }
    }
}
