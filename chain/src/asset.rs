//! Of what.

use std::fmt;

use crate::Address;

/// Something that accounts of a chain hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// The coin that pays for transactions: ETH, POL, BNB, SOL.
    Native,
    /// A token: an ERC-20 contract, or the mint of an SPL token.
    Token(Address),
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native coin"),
            Self::Token(address) => write!(f, "token {address}"),
        }
    }
}
