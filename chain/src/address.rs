//! Whose account.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::Address as EvmAddress;

use crate::chain_id::excerpt;
use crate::{ChainError, ChainFamily, ChainId};

/// An account or contract, on a chain of the address's family.
///
/// Written and parsed as its chain writes it: EVM addresses as 40 hex digits behind `0x` with the checksum of EIP-55,
/// Solana's as 32 bytes in base 58. Mixed-case hex whose checksum is wrong is refused; hex of one case has no checksum
/// and is taken as it is. The two families cannot be mistaken for one another: base 58 has no `0`.
///
/// ```
/// use peaberry_chain::{Address, ChainError, ChainId};
///
/// let text = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
/// let address: Address = text.parse()?;
/// assert_eq!(address.to_string(), text);
///
/// let typo = text.replace("eAed", "eaed").parse::<Address>();
/// assert!(matches!(typo, Err(ChainError::InvalidAddress { .. })));
///
/// let elsewhere = address.expect_on(ChainId::SOLANA);
/// assert!(matches!(elsewhere, Err(ChainError::WrongFamily { .. })));
/// # Ok::<(), ChainError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// 20 bytes: the end of the Keccak-256 of a public key, or a contract.
    Evm(EvmAddress),
    /// 32 bytes: an ed25519 public key, or an address that a program derived.
    Solana(SolanaAddress),
}

impl Address {
    /// The chains on which it means something.
    #[must_use]
    pub const fn family(&self) -> ChainFamily {
        match self {
            Self::Evm(_) => ChainFamily::Evm,
            Self::Solana(_) => ChainFamily::Solana,
        }
    }

    /// This address, if `chain` is of its family.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongFamily`]: it belongs to another family. Nothing was sent.
    pub fn expect_on(self, chain: ChainId) -> Result<Self, ChainError> {
        if chain.family() == Some(self.family()) {
            Ok(self)
        } else {
            Err(ChainError::WrongFamily {
                address: self,
                chain,
            })
        }
    }

    /// The EVM address, for use on `chain`.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongFamily`]: it is none. Nothing was sent.
    pub const fn evm_on(self, chain: ChainId) -> Result<EvmAddress, ChainError> {
        match self {
            Self::Evm(address) => Ok(address),
            Self::Solana(_) => Err(ChainError::WrongFamily {
                address: self,
                chain,
            }),
        }
    }

    /// The Solana address, for use on `chain`.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongFamily`]: it is none. Nothing was sent.
    pub const fn solana_on(self, chain: ChainId) -> Result<SolanaAddress, ChainError> {
        match self {
            Self::Solana(address) => Ok(address),
            Self::Evm(_) => Err(ChainError::WrongFamily {
                address: self,
                chain,
            }),
        }
    }
}

/// An address on Solana: 32 bytes, written in base 58.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SolanaAddress(pub [u8; 32]);

impl SolanaAddress {
    /// The address written as `text`, for constants.
    #[cfg(feature = "solana")]
    pub(crate) const fn constant(text: &str) -> Self {
        Self(bs58::decode(text.as_bytes()).into_array_const_unwrap())
    }
}

impl FromStr for SolanaAddress {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        // 32 bytes never take more than 44 characters; longer text is not worth decoding.
        const CHARACTERS_MAX: usize = 44;
        let invalid = |reason| ChainError::InvalidAddress {
            text: excerpt(text),
            reason,
        };
        if text.len() > CHARACTERS_MAX {
            return Err(invalid("longer than 32 bytes in base 58"));
        }
        let mut bytes = [0; 32];
        match bs58::decode(text).onto(&mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            Ok(_) => Err(invalid("shorter than 32 bytes in base 58")),
            Err(bs58::decode::Error::BufferTooSmall) => {
                Err(invalid("longer than 32 bytes in base 58"))
            }
            Err(_) => Err(invalid("neither hex behind 0x nor base 58")),
        }
    }
}

impl FromStr for Address {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        match text.strip_prefix("0x") {
            Some(digits) => parse_evm(text, digits).map(Self::Evm),
            None => text.parse().map(Self::Solana),
        }
    }
}

fn parse_evm(text: &str, digits: &str) -> Result<EvmAddress, ChainError> {
    let invalid = |reason| ChainError::InvalidAddress {
        text: excerpt(text),
        reason,
    };
    if digits.len() != 40 {
        return Err(invalid("not 40 hex digits behind 0x"));
    }
    let address =
        EvmAddress::from_str(text).map_err(|_not_hex| invalid("not 40 hex digits behind 0x"))?;
    let has_checksum = digits.bytes().any(|b| b.is_ascii_uppercase())
        && digits.bytes().any(|b| b.is_ascii_lowercase());
    if has_checksum && address.to_checksum(None) != text {
        return Err(invalid("its checksum is wrong: a digit was mistyped"));
    }
    Ok(address)
}

impl From<EvmAddress> for Address {
    fn from(address: EvmAddress) -> Self {
        Self::Evm(address)
    }
}

impl From<SolanaAddress> for Address {
    fn from(address: SolanaAddress) -> Self {
        Self::Solana(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evm(address) => f.pad(&address.to_checksum(None)),
            Self::Solana(address) => fmt::Display::fmt(address, f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SolanaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bs58::encode(self.0).into_string())
    }
}

impl fmt::Debug for SolanaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of EIP-55.
    const CHECKSUMMED: [&str; 8] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn published_checksums_are_accepted_and_written() {
        for text in CHECKSUMMED {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn one_letter_in_the_wrong_case_is_refused() {
        let text = CHECKSUMMED[4];
        for (at, letter) in text
            .char_indices()
            .skip(2)
            .filter(|(_, c)| c.is_ascii_alphabetic())
        {
            let mut flipped = text.to_owned();
            let other = if letter.is_ascii_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            };
            flipped.replace_range(at..=at, &other.to_string());
            assert!(flipped.parse::<Address>().is_err(), "{flipped}");
        }
    }

    #[test]
    fn neither_family_reads_the_others_text_nor_anything_else() {
        assert!(CHECKSUMMED[0].parse::<SolanaAddress>().is_err());
        for text in [
            "",
            "0x",
            "0x12",
            "hello",
            "1111",
            &"1".repeat(33),
            &"z".repeat(44),
            &"1".repeat(1 << 16),
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:.50}");
        }
        let system: Address = "11111111111111111111111111111111".parse().unwrap();
        assert_eq!(system, Address::Solana(SolanaAddress([0; 32])));
    }
}
