//! The three questions to a token.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, sol};

use crate::ChainError;
use crate::Sent;

sol! {
    function balanceOf(address owner) external view returns (uint256);
    function decimals() external view returns (uint8);
    function transfer(address to, uint256 amount) external returns (bool);
}

pub(super) fn balance_of(owner: Address) -> Bytes {
    balanceOfCall { owner }.abi_encode().into()
}

pub(super) fn read_balance(answer: &[u8], token: Address) -> Result<U256, ChainError> {
    expect_answer(answer, token)?;
    balanceOfCall::abi_decode_returns(answer).map_err(|error| malformed(&error))
}

pub(super) fn ask_decimals() -> Bytes {
    decimalsCall {}.abi_encode().into()
}

pub(super) fn read_decimals(answer: &[u8], token: Address) -> Result<u8, ChainError> {
    expect_answer(answer, token)?;
    decimalsCall::abi_decode_returns(answer).map_err(|error| malformed(&error))
}

pub(super) fn transfer(to: Address, amount: U256) -> Bytes {
    transferCall { to, amount }.abi_encode().into()
}

/// An address without code answers a call with nothing.
fn expect_answer(answer: &[u8], token: Address) -> Result<(), ChainError> {
    if answer.is_empty() {
        return Err(ChainError::NotFound {
            what: format!("a token at {token}"),
        });
    }
    Ok(())
}

fn malformed(error: &alloy_sol_types::Error) -> ChainError {
    ChainError::Malformed {
        doing: "eth_call",
        reason: error.to_string(),
        sent: Sent::No,
    }
}
