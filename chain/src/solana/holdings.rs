//! Which tokens an account holds.

use alloy_primitives::U256;

use super::{SolanaClient, token};
use crate::{Amount, ChainError, SolanaAddress};

const MINTS_KNOWN_MAX: usize = 4096;

/// What never changes about a mint.
#[derive(Clone, Copy)]
pub(super) struct Mint {
    pub(super) program: SolanaAddress,
    pub(super) decimals: u8,
}

impl SolanaClient {
    pub(super) async fn mint(&self, address: SolanaAddress) -> Result<Mint, ChainError> {
        if let Some(mint) = self.mints.lock().get(&address) {
            return Ok(*mint);
        }
        let found = self.rpc.accounts(&[address]).await?.into_iter().flatten();
        let mint = found
            .filter(|account| is_token_program(account.owner))
            .find_map(|account| {
                let decimals = token::mint_decimals(&account.data)?;
                Some(Mint {
                    program: account.owner,
                    decimals,
                })
            });
        let mint = mint.ok_or_else(|| ChainError::NotFound {
            what: format!("a mint at {address}"),
        })?;
        let mut known = self.mints.lock();
        if known.len() >= MINTS_KNOWN_MAX {
            known.pop_first();
        }
        known.insert(address, mint);
        Ok(mint)
    }

    pub(super) async fn tokens(
        &self,
        owner: SolanaAddress,
        address: SolanaAddress,
    ) -> Result<Amount, ChainError> {
        let mint = self.mint(address).await?;
        let account = token::associated_account(owner, address, mint.program);
        let found = self.rpc.accounts(&[account]).await?.into_iter().flatten();
        let amount = found
            .filter(|account| account.owner == mint.program)
            .find_map(|account| token::account_amount(&account.data, address, owner));
        Ok(Amount::new(
            U256::from(amount.unwrap_or_default()),
            mint.decimals,
        ))
    }
}

pub(super) fn is_token_program(program: SolanaAddress) -> bool {
    program == token::PROGRAM || program == token::PROGRAM_2022
}
