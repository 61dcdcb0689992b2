//! Which chain: CAIP-2.

use std::fmt;
use std::str::FromStr;

use crate::ChainError;

const NAMESPACE_BYTES: std::ops::RangeInclusive<usize> = 3..=8;
const REFERENCE_BYTES_MAX: usize = 32;
const BYTES_MAX: usize = 8 + 1 + REFERENCE_BYTES_MAX;

/// A chain's name as CAIP-2 writes it: `eip155:137` is Polygon.
///
/// A namespace of 3 to 8 of `-a-z0-9`, a colon, a reference of 1 to 32 of `-_a-zA-Z0-9`. In the namespace `eip155` the
/// reference is the chain's number without leading zeros, and never zero. Ordered by its text.
///
/// ```
/// use peaberry_chain::{ChainFamily, ChainId};
///
/// let polygon: ChainId = "eip155:137".parse()?;
/// assert_eq!(polygon, ChainId::POLYGON);
/// assert_eq!(polygon.evm_number(), Some(137));
/// assert_eq!(ChainId::SOLANA.family(), Some(ChainFamily::Solana));
/// assert!("eip155:0137".parse::<ChainId>().is_err());
/// # Ok::<(), peaberry_chain::ChainError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId {
    // Padded with zeros, which no name contains: the derived order is that of the text.
    text: [u8; BYTES_MAX],
}

/// Chains that share addresses, keys and a transaction format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainFamily {
    /// CAIP-2 namespace `eip155`.
    Evm,
    /// CAIP-2 namespace `solana`.
    Solana,
}

impl fmt::Display for ChainFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evm => "EVM",
            Self::Solana => "Solana",
        })
    }
}

impl ChainId {
    /// Ethereum mainnet.
    pub const ETHEREUM: Self = Self::constant("eip155:1");
    /// Polygon PoS mainnet.
    pub const POLYGON: Self = Self::constant("eip155:137");
    /// BNB Smart Chain mainnet.
    pub const BSC: Self = Self::constant("eip155:56");
    /// Solana mainnet-beta, named by the first 32 characters of its genesis hash.
    pub const SOLANA: Self = Self::constant("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp");
    /// Solana devnet.
    pub const SOLANA_DEVNET: Self = Self::constant("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1");

    /// The EVM chain of this number.
    ///
    /// # Panics
    ///
    /// `number` is zero, which is no chain.
    #[must_use]
    pub fn evm(number: u64) -> Self {
        assert!(number != 0, "an EVM chain's number is not zero");
        Self::constant(&format!("eip155:{number}"))
    }

    /// The Solana cluster with this genesis hash: its name is the first 32 characters in base 58.
    #[must_use]
    pub fn solana(genesis_hash: &[u8; 32]) -> Self {
        let hash = bs58::encode(genesis_hash).into_string();
        let reference = hash.get(..REFERENCE_BYTES_MAX).unwrap_or(&hash);
        // Base 58 is a subset of the characters of a reference.
        Self::constant(&format!("solana:{reference}"))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.text.iter().position(|&byte| byte == 0);
        let text = self.text.get(..length.unwrap_or(BYTES_MAX));
        // Always ASCII: only parsed names get here.
        text.and_then(|text| str::from_utf8(text).ok())
            .unwrap_or_default()
    }

    /// What stands before the colon.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.split().0
    }

    /// What stands behind the colon.
    #[must_use]
    pub fn reference(&self) -> &str {
        self.split().1
    }

    /// The number of an EVM chain; `None` for another family's.
    #[must_use]
    pub fn evm_number(&self) -> Option<u64> {
        match self.split() {
            ("eip155", reference) => reference.parse().ok(),
            _ => None,
        }
    }

    /// What kind of chain this is; `None` for one that this crate has no client for.
    #[must_use]
    pub fn family(&self) -> Option<ChainFamily> {
        match self.namespace() {
            "eip155" => Some(ChainFamily::Evm),
            "solana" => Some(ChainFamily::Solana),
            _ => None,
        }
    }

    fn split(&self) -> (&str, &str) {
        self.as_str().split_once(':').unwrap_or_default()
    }

    /// `name` is valid, and so not too long.
    const fn constant(name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut text = [0; BYTES_MAX];
        let (head, _) = text.split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        Self { text }
    }
}

impl FromStr for ChainId {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        let invalid = |reason| ChainError::InvalidChainId {
            text: excerpt(text),
            reason,
        };
        let (namespace, reference) = text.split_once(':').ok_or_else(|| invalid("no colon"))?;
        let namespace_is_valid = NAMESPACE_BYTES.contains(&namespace.len())
            && namespace
                .bytes()
                .all(|b| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit());
        if !namespace_is_valid {
            return Err(invalid("the namespace is not 3 to 8 of -a-z0-9"));
        }
        let reference_is_valid = (1..=REFERENCE_BYTES_MAX).contains(&reference.len())
            && reference
                .bytes()
                .all(|b| matches!(b, b'-' | b'_') || b.is_ascii_alphanumeric());
        if !reference_is_valid {
            return Err(invalid("the reference is not 1 to 32 of -_a-zA-Z0-9"));
        }
        if namespace == "eip155" && !is_plain_number(reference) {
            return Err(invalid(
                "an EVM chain's reference is a plain number over zero",
            ));
        }
        Ok(Self::constant(text))
    }
}

fn is_plain_number(reference: &str) -> bool {
    reference
        .parse::<u64>()
        .is_ok_and(|number| number != 0 && number.to_string() == reference)
}

/// The beginning of a stranger's text, for an error's message.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 96;
    text.chars()
        .take(CHARACTERS_MAX)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_caip_2_are_refused() {
        for text in [
            "",
            "eip155",
            "eip155:",
            "eip155:0",
            "eip155:+1",
            "eip155:01",
            "eip155:99999999999999999999",
            "EIP155:1",
            "ab:1",
            "abcdefghi:1",
            "solana:a:b",
            "cosmos:\u{e9}",
            "cosmos:123456789012345678901234567890123",
        ] {
            assert!(text.parse::<ChainId>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_survive_a_round_trip_and_order_as_text() {
        let mut names = [
            "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z",
            "eip155:56",
            "eip155:1",
            "cosmos:cosmoshub-4",
        ];
        let mut ids = names.map(|name| name.parse::<ChainId>().unwrap());
        assert_eq!(ids.map(|id| id.to_string()), names);
        ids.sort_unstable();
        names.sort_unstable();
        assert_eq!(ids.map(|id| id.to_string()), names);
    }
}
