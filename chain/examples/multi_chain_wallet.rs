//! One seed phrase, four chains: an account on each, what they hold together, and a payment on each that finds its way
//! by the chain's id.
//!
//! Ethereum, Polygon, BSC and Solana all run in this process: three development chains behind the presets of the real
//! ones, and litesvm behind the client that talks to validators. Nothing secret is ever printed.
//!
//! ```text
//! cargo run --example multi_chain_wallet
//! ```
//!
//! Tested as: `cargo run --example multi_chain_wallet`

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use peaberry_chain::bindings::{CoffeeToken, SolCall, creation};
use peaberry_chain::dev::{DevChain, DevOptions};
use peaberry_chain::evm::{EvmClient, EvmNetwork};
use peaberry_chain::primitives::{U256, keccak256};
use peaberry_chain::solana::{SolanaClient, SolanaNetwork};
use peaberry_chain::wallet::{EvmKey, SolanaKey, Wallet};
use peaberry_chain::{
    AccountId, Address, Amount, Asset, ChainError, ChainId, Finality, Intent, MultiChain, Signer,
    TransactionStatus,
};
use peaberry_chain_litesvm::{GENESIS_HASH, LiteSvmNode};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The phrase that every development chain knows: there is nothing to steal behind it.
const PHRASE: &str = "test test test test test test test test test test test junk";
const PATIENCE: Duration = Duration::from_secs(10);
const SOL: u64 = 1_000_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    tell(&mut std::io::stdout().lock()).await
}

/// The keys of one seed: the same EVM key for every EVM chain, another for Solana, and whom to pay with either.
struct Keys {
    evm: EvmKey,
    solana: SolanaKey,
    friends: [Address; 2],
}

impl Keys {
    fn of(wallet: &Wallet) -> Result<Self, ChainError> {
        Ok(Self {
            evm: wallet.evm_key(0)?,
            solana: wallet.solana_key(0)?,
            friends: [
                wallet.evm_key(1)?.address(),
                wallet.solana_key(1)?.address(),
            ],
        })
    }

    fn owners(&self) -> [Address; 2] {
        [self.evm.address(), self.solana.address()]
    }

    /// Who pays whom how much on `chain`: a tenth of the coin, whatever the coin.
    fn payment(&self, chain: ChainId) -> Result<Intent, ChainError> {
        let is_evm = chain.evm_number().is_some();
        let place = usize::from(!is_evm);
        let decimals = if is_evm { 18 } else { 9 };
        let [from, to] = [self.owners(), self.friends].map(|pair| pair.into_iter().nth(place));
        let missing = || ChainError::UnknownChain { chain };
        Ok(Intent::Transfer {
            from: from.ok_or_else(missing)?,
            to: to.ok_or_else(missing)?,
            asset: Asset::Native,
            amount: Amount::parse("0.1", decimals)?,
        })
    }
}

async fn tell(out: &mut impl Write) -> Outcome<()> {
    let wallet = Wallet::from_phrase(PHRASE, "")?;
    let keys = Keys::of(&wallet)?;
    writeln!(out, "{wallet:?}, {:?} and {:?}", keys.evm, keys.solana)?;

    let chains = connect(&keys).await?;
    let token = deploy_token(&chains, &keys).await?;
    show_balances(out, &chains, &keys, token).await?;
    for chain in chains.chains() {
        pay(out, &chains, &keys, chain).await?;
    }
    refuse(out, &chains, &keys).await
}

/// Three EVM chains and Solana. Each client has asked its node which chain it serves.
async fn connect(keys: &Keys) -> Outcome<MultiChain> {
    let mut chains = MultiChain::new();
    for network in [
        EvmNetwork::ethereum(),
        EvmNetwork::polygon(),
        EvmNetwork::bsc(),
    ] {
        let options = DevOptions {
            chain: network.chain.evm_number().ok_or("an EVM chain")?,
            ..DevOptions::default()
        };
        let node = DevChain::new(options.fund(keys.evm.evm_address()));
        let client = EvmClient::connect(Arc::new(node), network).await?;
        chains = chains.with(Arc::new(client.with_signer(Arc::new(keys.evm.clone()))?));
    }
    let node = Arc::new(LiteSvmNode::new());
    node.airdrop(keys.solana.solana_address(), 10 * SOL);
    let client = SolanaClient::over(node, SolanaNetwork::local(&GENESIS_HASH)).await?;
    Ok(chains.with(Arc::new(client.with_signer(Arc::new(keys.solana.clone()))?)))
}

/// A token on Polygon, 25 of it in the wallet.
async fn deploy_token(chains: &MultiChain, keys: &Keys) -> Outcome<AccountId> {
    let owner = keys.evm.evm_address();
    let coin = U256::from(10).pow(U256::from(18));
    let constructor = CoffeeToken::constructorCall {
        name_: "Coffee".into(),
        symbol_: "CFE".into(),
        cap_: coin * U256::from(1000),
        pointsPerToken_: U256::from(10),
        admin: owner,
    };
    let deploy = Intent::Deploy {
        from: owner.into(),
        value: Amount::wei(0),
        code: creation(&CoffeeToken::BYTECODE, &constructor),
    };
    settle(chains, ChainId::POLYGON, &deploy).await?;
    let token = owner.create(0);
    let grant = CoffeeToken::grantRoleCall {
        role: keccak256("MINTER_ROLE"),
        account: owner,
    };
    let mint = CoffeeToken::mintCall {
        to: owner,
        amount: coin * U256::from(25),
    };
    for data in [grant.abi_encode(), mint.abi_encode()] {
        let call = Intent::Call {
            from: owner.into(),
            to: token.into(),
            value: Amount::wei(0),
            data: data.into(),
        };
        settle(chains, ChainId::POLYGON, &call).await?;
    }
    Ok(AccountId::new(ChainId::POLYGON, token.into())?)
}

/// One question for all chains: each owner's coins, and the token where it lives.
async fn show_balances(
    out: &mut impl Write,
    chains: &MultiChain,
    keys: &Keys,
    token: AccountId,
) -> Outcome<()> {
    let holdings = chains.balances(&keys.owners(), &[token]).await;
    for holding in &holdings {
        let what = match holding.asset {
            Asset::Native => "coins",
            Asset::Token(_) => "CFE",
        };
        let amount = holding.amount.clone()?;
        writeln!(out, "{}  {amount} {what}", holding.account)?;
        assert!(!amount.is_zero(), "everyone has something");
    }
    // Four coins and one token: nobody is asked for what his chain does not have.
    assert_eq!(holdings.len(), 5);
    let tokens = holdings
        .iter()
        .find(|holding| holding.asset != Asset::Native);
    let tokens = tokens.ok_or("the token is among them")?.amount.clone()?;
    assert_eq!(tokens, Amount::parse("25", 18)?);
    Ok(())
}

/// Pays the friend on `chain`, and looks at both sides afterwards.
async fn pay(
    out: &mut impl Write,
    chains: &MultiChain,
    keys: &Keys,
    chain: ChainId,
) -> Outcome<()> {
    let payment = keys.payment(chain)?;
    let Intent::Transfer {
        from, to, amount, ..
    } = payment
    else {
        return Err("a payment is a transfer".into());
    };
    let [payer, friend] = [AccountId::new(chain, from)?, AccountId::new(chain, to)?];
    let before = chains.balance(payer, Asset::Native).await?;
    let estimate = chains.estimate(chain, &payment).await?;
    settle(chains, chain, &payment).await?;

    assert_eq!(chains.balance(friend, Asset::Native).await?, amount);
    let after = chains.balance(payer, Asset::Native).await?;
    let fee = before.checked_sub(after)?.checked_sub(amount)?;
    writeln!(out, "{chain}: paid {amount} to {to}, for {fee}")?;
    assert!(
        !fee.is_zero()
            && fee
                .checked_sub(estimate.fee_max)
                .map_or(true, |over| over.is_zero())
    );
    Ok(())
}

/// What does not belong together is refused before anything leaves the process.
async fn refuse(out: &mut impl Write, chains: &MultiChain, keys: &Keys) -> Outcome<()> {
    let solana = chains.chains().find(|chain| chain.evm_number().is_none());
    let solana = solana.ok_or("Solana is here")?;
    let stray = keys.payment(ChainId::ETHEREUM)?;
    let Err(error) = chains.submit(solana, &stray).await else {
        return Err("an EVM address is none of Solana's".into());
    };
    writeln!(out, "the same payment on Solana: {error}")?;
    assert!(matches!(error, ChainError::WrongFamily { .. }));
    assert!(!error.may_have_been_sent());

    let elsewhere = ChainId::evm(42_161);
    let Err(error) = chains.submit(elsewhere, &stray).await else {
        return Err("there is no client for that chain".into());
    };
    writeln!(out, "and where nobody is: {error}")?;
    assert!(matches!(error, ChainError::UnknownChain { chain } if chain == elsewhere));
    Ok(())
}

async fn settle(chains: &MultiChain, chain: ChainId, intent: &Intent) -> Outcome<()> {
    let id = chains.submit(chain, intent).await?;
    match chains.wait(chain, id, Finality::Latest, PATIENCE).await? {
        TransactionStatus::Included { .. } | TransactionStatus::Final { .. } => Ok(()),
        other => Err(format!("{id} is {other:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use peaberry_chain::primitives::hex;

    use super::*;

    /// The whole story holds, and what it prints gives nothing away.
    #[tokio::test]
    async fn the_story_holds_and_keeps_its_secrets() {
        let mut told = Vec::new();
        tell(&mut told).await.unwrap();
        let told = String::from_utf8(told).unwrap();
        for public in [
            "eip155:1:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266  10000 coins",
            "eip155:137:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266  25 CFE",
            "eip155:56: paid 0.1",
            "  10 coins",
        ] {
            assert!(told.contains(public), "{public} in\n{told}");
        }
        let wallet = Wallet::from_phrase(PHRASE, "").unwrap();
        let keys = [
            *wallet.evm_key(0).unwrap().reveal(),
            *wallet.solana_key(0).unwrap().reveal(),
        ];
        for secret in keys {
            let decimal = format!("{:?}", &secret[..4]);
            for written in [hex::encode(&secret[..6]), decimal] {
                assert!(!told.to_lowercase().contains(&written));
            }
        }
        assert!(!told.contains("junk"));
    }
}
