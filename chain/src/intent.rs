//! What shall happen, before anybody has signed it.

use alloy_primitives::{Bytes, U256};

use crate::{Address, Amount, Asset, ChainError, ChainId};

/// Something to be done on a chain, without nonce, fees or signature: the client adds them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Intent {
    /// Gives `amount` of `asset` to `to`.
    ///
    /// A token's decimals are checked on Solana by the chain itself; on EVM chains they are the caller's word.
    /// A recipient on Solana without an account for the token gets one, at the sender's cost.
    Transfer {
        /// Who pays. The client must hold its signer.
        from: Address,
        /// Who gets it.
        to: Address,
        /// Of what.
        asset: Asset,
        /// How much.
        amount: Amount,
    },
    /// Calls an EVM contract.
    Call {
        /// Who calls. The client must hold its signer.
        from: Address,
        /// The contract.
        to: Address,
        /// What it is paid, in the native coin.
        value: Amount,
        /// Selector and arguments, ABI-encoded.
        data: Bytes,
    },
    /// Creates an EVM contract.
    Deploy {
        /// Who creates it. The client must hold its signer.
        from: Address,
        /// What it is paid, in the native coin.
        value: Amount,
        /// Its creation code with the constructor's arguments behind.
        code: Bytes,
    },
}

impl Intent {
    /// Who has to sign.
    #[must_use]
    pub const fn from(&self) -> Address {
        match self {
            Self::Transfer { from, .. } | Self::Call { from, .. } | Self::Deploy { from, .. } => {
                *from
            }
        }
    }

    /// Checks that every address in it belongs on `chain`.
    ///
    /// # Errors
    ///
    /// [`ChainError::WrongFamily`] names the first that does not. Nothing was sent.
    pub fn expect_on(&self, chain: ChainId) -> Result<(), ChainError> {
        self.from().expect_on(chain)?;
        match self {
            Self::Transfer { to, asset, .. } => {
                to.expect_on(chain)?;
                if let Asset::Token(token) = asset {
                    token.expect_on(chain)?;
                }
            }
            Self::Call { to, .. } => {
                to.expect_on(chain)?;
            }
            Self::Deploy { .. } => {}
        }
        Ok(())
    }
}

/// A question to a contract, which changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRequest {
    /// In whose name; where absent, the node's choice.
    pub from: Option<Address>,
    /// The contract; absent to ask what creating one would do.
    pub to: Option<Address>,
    /// What it would be paid, in the native coin's smallest unit.
    pub value: U256,
    /// Selector and arguments, ABI-encoded.
    pub data: Bytes,
}

impl CallRequest {
    /// A call of the contract `to`.
    #[must_use]
    pub fn new(to: impl Into<Address>, data: impl Into<Bytes>) -> Self {
        Self {
            to: Some(to.into()),
            data: data.into(),
            ..Self::default()
        }
    }

    /// The same in the name of `from`.
    #[must_use]
    pub fn from(mut self, from: impl Into<Address>) -> Self {
        self.from = Some(from.into());
        self
    }
}

/// What an intent would take at the moment. It may take more by the time it is included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Gas; on Solana compute units.
    pub gas: u64,
    /// The most that would be paid for it, in the native coin, beside what the intent itself moves.
    pub fee_max: Amount,
}
