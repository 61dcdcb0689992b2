//! The system program: accounts and SOL.

use super::{AccountMeta, Instruction};
use crate::SolanaAddress;

/// The system program.
pub const PROGRAM: SolanaAddress = SolanaAddress([0; 32]);

/// Moves `lamports` from `from`, who signs, to `to`.
#[must_use]
pub fn transfer(from: SolanaAddress, to: SolanaAddress, lamports: u64) -> Instruction {
    let mut data = 2_u32.to_le_bytes().to_vec();
    data.extend(lamports.to_le_bytes());
    Instruction {
        program: PROGRAM,
        accounts: vec![AccountMeta::write(from).signed(), AccountMeta::write(to)],
        data,
    }
}

/// Makes the account `new`, who signs, of `bytes` bytes for the program `owner`, with `lamports` from `from`, who signs.
#[must_use]
pub fn create_account(
    from: SolanaAddress,
    new: SolanaAddress,
    lamports: u64,
    bytes: u64,
    owner: SolanaAddress,
) -> Instruction {
    let mut data = 0_u32.to_le_bytes().to_vec();
    data.extend(lamports.to_le_bytes());
    data.extend(bytes.to_le_bytes());
    data.extend(owner.0);
    Instruction {
        program: PROGRAM,
        accounts: vec![
            AccountMeta::write(from).signed(),
            AccountMeta::write(new).signed(),
        ],
        data,
    }
}
