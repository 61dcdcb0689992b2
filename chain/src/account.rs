//! Whose account on which chain: CAIP-10.

use std::fmt;
use std::str::FromStr;

use crate::chain_id::excerpt;
use crate::{Address, ChainError, ChainId};

/// An address on a chain as CAIP-10 writes it: `eip155:1:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb`.
///
/// The address is of the chain's family by construction.
///
/// ```
/// use peaberry_chain::{AccountId, ChainId};
///
/// let account: AccountId = "eip155:1:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb".parse()?;
/// assert_eq!(account.chain(), ChainId::ETHEREUM);
/// assert!("eip155:1:11111111111111111111111111111111".parse::<AccountId>().is_err());
/// # Ok::<(), peaberry_chain::ChainError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId {
    chain: ChainId,
    address: Address,
}

impl AccountId {
    /// `address` on `chain`.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongFamily`]: the chain has other addresses.
    pub fn new(chain: ChainId, address: Address) -> Result<Self, ChainError> {
        let address = address.expect_on(chain)?;
        Ok(Self { chain, address })
    }

    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }
}

impl FromStr for AccountId {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        let (chain, address) = text
            .rsplit_once(':')
            .ok_or_else(|| ChainError::InvalidAddress {
                text: excerpt(text),
                reason: "not a chain and an address behind a colon",
            })?;
        Self::new(chain.parse()?, address.parse()?)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.chain, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_survive_a_round_trip() {
        for text in [
            "eip155:1:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb",
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp:7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv",
        ] {
            assert_eq!(text.parse::<AccountId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn half_an_account_and_a_foreign_address_are_refused() {
        for text in [
            "0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb",
            "eip155:1",
            "eip155:1:",
            "cosmos:cosmoshub-4:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb",
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb",
        ] {
            assert!(text.parse::<AccountId>().is_err(), "{text}");
        }
    }
}
