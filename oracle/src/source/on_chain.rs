use std::fmt;
use std::sync::Arc;

use alloy_sol_types::{SolCall, sol};
use async_trait::async_trait;
use peaberry_chain::primitives::{Bytes, I256};
use peaberry_chain::{Address, BlockAt, CallRequest, ChainClient, ChainError, EvmAddress, Sent};

use super::{Quote, Source, SourceError};
use crate::fixed_point::{DECIMALS_MAX, FixedPointError, VALUE_MAX};

sol! {
    function decimals() external view returns (uint8);
    function latestRoundData() external view returns (
        uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound
    );
}

/// A price that is on chain already, read through `AggregatorV3Interface`: another oracle's feed.
///
/// Its time is the contract's `updatedAt`, so a feed that nobody updates any more goes stale in its
/// [panel](super::PanelPolicy).
pub struct OnChainSource {
    name: String,
    unit: String,
    client: Arc<dyn ChainClient>,
    contract: EvmAddress,
    at: BlockAt,
}

impl fmt::Debug for OnChainSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnChainSource")
            .field("name", &self.name)
            .field("contract", &self.contract)
            .finish_non_exhaustive()
    }
}

impl OnChainSource {
    /// Reads `contract` through `client`, at the newest block or at a [final](BlockAt::Final) one.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        unit: impl Into<String>,
        client: Arc<dyn ChainClient>,
        contract: EvmAddress,
        at: BlockAt,
    ) -> Self {
        Self {
            name: name.into(),
            unit: unit.into(),
            client,
            contract,
            at,
        }
    }

    async fn ask<C: SolCall + Send>(&self, call: C) -> Result<C::Return, SourceError> {
        let request = CallRequest::new(Address::Evm(self.contract), Bytes::from(call.abi_encode()));
        let answer = self.client.call(&request, self.at).await?;
        drop(call);
        C::abi_decode_returns(&answer).map_err(|error| {
            SourceError::Chain(ChainError::Malformed {
                doing: "eth_call",
                reason: error.to_string(),
                sent: Sent::No,
            })
        })
    }
}

#[async_trait]
impl Source for OnChainSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> &str {
        &self.unit
    }

    async fn quote(&self, decimals: u8) -> Result<Quote, SourceError> {
        let theirs = self.ask(decimalsCall {}).await?;
        let round = self.ask(latestRoundDataCall {}).await?;
        // A feed that has never been updated answers zeros.
        if round.updatedAt.is_zero() {
            return Err(SourceError::NoValue);
        }
        let updated_at_s = u64::try_from(round.updatedAt).unwrap_or(u64::MAX);
        Ok(Quote {
            value: rescaled(round.answer, theirs, decimals)?,
            observed_at_ms: updated_at_s.saturating_mul(1_000),
        })
    }
}

/// The answer in other decimals, rounded half up.
fn rescaled(answer: I256, from: u8, to: u8) -> Result<i128, FixedPointError> {
    if answer.is_negative() {
        return Err(FixedPointError::Negative);
    }
    let answer = i128::try_from(answer).map_err(|_over_128_bits| FixedPointError::TooLarge)?;
    if from > DECIMALS_MAX || answer > VALUE_MAX {
        return Err(FixedPointError::TooLarge);
    }
    let shift = 10_i128.pow(u32::from(from.abs_diff(to.min(DECIMALS_MAX))));
    let value = if from > to {
        (answer + shift / 2) / shift
    } else {
        answer.checked_mul(shift).ok_or(FixedPointError::TooLarge)?
    };
    match value {
        0 => Err(FixedPointError::Zero),
        value if value > VALUE_MAX => Err(FixedPointError::TooLarge),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_change_their_decimals_and_absurd_ones_are_refused() {
        let whole = |value: i128| I256::try_from(value).unwrap();
        assert_eq!(rescaled(whole(2_171_251_000_000), 8, 2), Ok(2_171_251));
        assert_eq!(rescaled(whole(2_171_251), 2, 8), Ok(2_171_251_000_000));
        assert_eq!(rescaled(whole(149), 2, 0), Ok(1));
        assert_eq!(rescaled(whole(150), 2, 0), Ok(2));
        assert_eq!(rescaled(whole(-5), 2, 2), Err(FixedPointError::Negative));
        assert_eq!(rescaled(whole(0), 2, 2), Err(FixedPointError::Zero));
        assert_eq!(rescaled(whole(4), 2, 0), Err(FixedPointError::Zero));
        assert_eq!(rescaled(I256::MAX, 8, 8), Err(FixedPointError::TooLarge));
        assert_eq!(
            rescaled(whole(VALUE_MAX), 0, 18),
            Err(FixedPointError::TooLarge)
        );
        assert_eq!(rescaled(whole(1), 255, 8), Err(FixedPointError::TooLarge));
    }
}
