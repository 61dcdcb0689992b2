//! What a transaction asks of a program.

use crate::SolanaAddress;

/// One call of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The program.
    pub program: SolanaAddress,
    /// The accounts that it may touch, in the order it expects.
    pub accounts: Vec<AccountMeta>,
    /// What it is told, in its own encoding.
    pub data: Vec<u8>,
}

/// An account, and what an instruction may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountMeta {
    /// The account.
    pub address: SolanaAddress,
    /// Whether its key must sign the transaction.
    pub is_signer: bool,
    /// Whether the instruction may change it.
    pub is_writable: bool,
}

impl AccountMeta {
    /// It is read.
    #[must_use]
    pub const fn read(address: SolanaAddress) -> Self {
        Self {
            address,
            is_signer: false,
            is_writable: false,
        }
    }

    /// It is changed.
    #[must_use]
    pub const fn write(address: SolanaAddress) -> Self {
        Self {
            is_writable: true,
            ..Self::read(address)
        }
    }

    /// The same, and its key signs.
    #[must_use]
    pub const fn signed(self) -> Self {
        Self {
            is_signer: true,
            ..self
        }
    }
}
