//! Go Coffee's token, to deploy.

use peaberry_chain::EvmAddress;
use peaberry_chain::bindings::{CoffeeToken, creation};
use peaberry_chain::primitives::{Bytes, U256};

/// The most that there can be of it.
pub(crate) const CAP: u64 = 1000;

/// What creates a token without points, whose roles are all `admin`'s.
pub(crate) fn coffee_token(admin: EvmAddress) -> Bytes {
    let constructor = CoffeeToken::constructorCall {
        name_: "Coffee".into(),
        symbol_: "CFE".into(),
        cap_: U256::from(CAP),
        pointsPerToken_: U256::ZERO,
        admin,
    };
    creation(&CoffeeToken::BYTECODE, &constructor)
}
