//! From an intent to instructions.

use super::client::unsupported;
use super::holdings::{Mint, is_token_program};
use super::{Instruction, SolanaClient, system, token};
use crate::{Amount, Asset, ChainError, Intent, SolanaAddress};

const LAMPORTS_DECIMALS: u8 = 9;
// A token account without extensions; those of Token-2022 say that their owner stays.
const ACCOUNT_BYTES: u64 = 165;
const ACCOUNT_2022_BYTES: u64 = 170;

/// What an intent is on Solana.
pub(super) struct Plan {
    pub(super) instructions: Vec<Instruction>,
    /// What new accounts take, in lamports.
    pub(super) rent: u64,
}

impl SolanaClient {
    pub(super) async fn plan(
        &self,
        intent: &Intent,
        from: SolanaAddress,
    ) -> Result<Plan, ChainError> {
        intent.expect_on(self.network.chain)?;
        match intent {
            Intent::Transfer {
                to,
                asset: Asset::Native,
                amount,
                ..
            } => {
                let to = to.solana_on(self.network.chain)?;
                let lamports = units(*amount, LAMPORTS_DECIMALS)?;
                Ok(Plan {
                    instructions: vec![system::transfer(from, to, lamports)],
                    rent: 0,
                })
            }
            Intent::Transfer {
                to,
                asset: Asset::Token(mint),
                amount,
                ..
            } => {
                let to = to.solana_on(self.network.chain)?;
                let mint = mint.solana_on(self.network.chain)?;
                self.plan_tokens(from, to, mint, *amount).await
            }
            Intent::Call { .. } => Err(unsupported("a contract call: use submit_instructions")),
            Intent::Deploy { .. } => Err(unsupported("creating a contract from an intent")),
        }
    }

    async fn plan_tokens(
        &self,
        from: SolanaAddress,
        to: SolanaAddress,
        mint: SolanaAddress,
        amount: Amount,
    ) -> Result<Plan, ChainError> {
        let Mint { program, decimals } = self.mint(mint).await?;
        let amount = units(amount, decimals)?;
        let [source, target] =
            [from, to].map(|owner| token::associated_account(owner, mint, program));
        let found = self.rpc.accounts(&[to, source, target]).await?;
        let [recipient, source_found, target_found] =
            <[_; 3]>::try_from(found).map_err(|_other| {
                // Counted by `accounts`.
                unsupported("three accounts")
            })?;
        let is_token_account = recipient.is_some_and(|account| is_token_program(account.owner));
        if is_token_account {
            return Err(ChainError::InvalidAddress {
                text: to.to_string(),
                reason: "it is a token account or mint: give its owner's address",
            });
        }
        if source_found.is_none() && amount > 0 {
            return Err(ChainError::InsufficientFunds {
                account: Some(from.into()),
                detail: format!("no account for tokens of {mint}"),
            });
        }
        let mut instructions = Vec::new();
        let mut rent = 0;
        if target_found.is_none() {
            instructions.push(token::create_associated_account(from, to, mint, program));
            let is_2022 = program == token::PROGRAM_2022;
            let bytes = if is_2022 {
                ACCOUNT_2022_BYTES
            } else {
                ACCOUNT_BYTES
            };
            rent = self.rpc.rent_exemption(bytes).await?;
        }
        instructions.push(token::transfer_checked(
            program,
            mint,
            [source, target],
            from,
            amount,
            decimals,
        ));
        Ok(Plan { instructions, rent })
    }
}

fn units(amount: Amount, decimals: u8) -> Result<u64, ChainError> {
    if amount.decimals() != decimals {
        return Err(ChainError::DecimalsDiffer {
            left: decimals,
            right: amount.decimals(),
        });
    }
    amount.to_u64()
}
