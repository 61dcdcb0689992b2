//! SPL tokens: mints, and the accounts that hold tokens of them.
//!
//! Both token programs are meant by `program`: the original one and Token-2022.

use super::{AccountMeta, Instruction, find_program_address, system};
use crate::SolanaAddress;

/// The original token program.
pub const PROGRAM: SolanaAddress =
    SolanaAddress::constant("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");

/// Token-2022.
pub const PROGRAM_2022: SolanaAddress =
    SolanaAddress::constant("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb");

/// The program that makes associated token accounts.
pub const ASSOCIATED_PROGRAM: SolanaAddress =
    SolanaAddress::constant("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL");

/// How many bytes a mint without extensions has.
pub const MINT_BYTES: u64 = 82;

/// The account in which `owner` keeps tokens of `mint`, a mint of the token program `program`.
///
/// ```
/// use peaberry_chain::solana::token;
///
/// let wallet = "B8UwBUUnKwCyKuGMbFKWaG7exYdDk2ozZrPg72NyVbfj".parse()?;
/// let mint = "7o36UsWR1JQLpZ9PE2gn9L4SQ69CNNiWAXd4Jt7rqz9Z".parse()?;
/// let account = token::associated_account(wallet, mint, token::PROGRAM);
/// assert_eq!(account.to_string(), "DShWnroshVbeUp28oopA3Pu7oFPDBtC1DBmPECXXAQ9n");
/// # Ok::<(), peaberry_chain::ChainError>(())
/// ```
///
/// # Panics
///
/// Never, in practice: one pair of owner and mint in 2^256 has no such account.
#[must_use]
pub fn associated_account(
    owner: SolanaAddress,
    mint: SolanaAddress,
    program: SolanaAddress,
) -> SolanaAddress {
    let seeds = [&owner.0[..], &program.0, &mint.0];
    let (address, _) = find_program_address(&seeds, ASSOCIATED_PROGRAM)
        .expect("one of 256 bumps leads off the curve");
    address
}

/// Makes `owner`'s associated account for `mint` unless it is there; `payer` signs and pays for it.
#[must_use]
pub fn create_associated_account(
    payer: SolanaAddress,
    owner: SolanaAddress,
    mint: SolanaAddress,
    program: SolanaAddress,
) -> Instruction {
    Instruction {
        program: ASSOCIATED_PROGRAM,
        accounts: vec![
            AccountMeta::write(payer).signed(),
            AccountMeta::write(associated_account(owner, mint, program)),
            AccountMeta::read(owner),
            AccountMeta::read(mint),
            AccountMeta::read(system::PROGRAM),
            AccountMeta::read(program),
        ],
        data: vec![1],
    }
}

/// Moves `amount` of the smallest unit between two token accounts, `owner`, who signs, owning the first. The program
/// refuses if the mint has other `decimals`.
#[must_use]
pub fn transfer_checked(
    program: SolanaAddress,
    mint: SolanaAddress,
    [from, to]: [SolanaAddress; 2],
    owner: SolanaAddress,
    amount: u64,
    decimals: u8,
) -> Instruction {
    Instruction {
        program,
        accounts: vec![
            AccountMeta::write(from),
            AccountMeta::read(mint),
            AccountMeta::write(to),
            AccountMeta::read(owner).signed(),
        ],
        data: with_amount(12, amount, decimals),
    }
}

/// Makes the account `mint`, new and of [`MINT_BYTES`], a mint; `authority` may mint, and nobody freezes accounts.
#[must_use]
pub fn initialize_mint(
    program: SolanaAddress,
    mint: SolanaAddress,
    authority: SolanaAddress,
    decimals: u8,
) -> Instruction {
    let mut data = vec![20, decimals];
    data.extend(authority.0);
    data.push(0);
    Instruction {
        program,
        accounts: vec![AccountMeta::write(mint)],
        data,
    }
}

/// Mints `amount` of the smallest unit into the token account `to`; the mint's `authority` signs.
#[must_use]
pub fn mint_to_checked(
    program: SolanaAddress,
    mint: SolanaAddress,
    to: SolanaAddress,
    authority: SolanaAddress,
    amount: u64,
    decimals: u8,
) -> Instruction {
    Instruction {
        program,
        accounts: vec![
            AccountMeta::write(mint),
            AccountMeta::write(to),
            AccountMeta::read(authority).signed(),
        ],
        data: with_amount(14, amount, decimals),
    }
}

fn with_amount(kind: u8, amount: u64, decimals: u8) -> Vec<u8> {
    let mut data = vec![kind];
    data.extend(amount.to_le_bytes());
    data.push(decimals);
    data
}

/// The decimals in the bytes of a mint, if they are one's.
pub(super) fn mint_decimals(account: &[u8]) -> Option<u8> {
    let is_initialized = account.get(45) == Some(&1);
    account.get(44).copied().filter(|_| is_initialized)
}

/// The amount in the bytes of a token account of `mint` and `owner`, if they are one's.
pub(super) fn account_amount(
    account: &[u8],
    mint: SolanaAddress,
    owner: SolanaAddress,
) -> Option<u64> {
    let is_expected = account.get(..32) == Some(&mint.0) && account.get(32..64) == Some(&owner.0);
    let amount = account.get(64..)?.first_chunk::<8>()?;
    is_expected.then(|| u64::from_le_bytes(*amount))
}
