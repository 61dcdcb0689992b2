//! What a token is worth.

use peaberry_chain::primitives::U256;

use crate::Failure;
use crate::town::Town;

/// Places of a price.
pub(crate) const DECIMALS: u8 = 8;

/// A price on the chain.
pub(crate) struct Price;

impl Price {
    /// How many of the token's smallest units so many cents are.
    pub(crate) async fn tokens(&self, _town: &Town, cents: u32) -> Result<U256, Failure> {
        let answer = U256::from(25_000_000_u64);
        let ten = U256::from(10);
        let unit = ten.pow(U256::from(18 - 2 + u64::from(DECIMALS)));
        Ok(U256::from(cents) * unit / answer)
    }
}
