//! Alloy's side, as its users have it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_eips::Encodable2718 as _;
use alloy_network::{EthereumWallet, NetworkTransactionBuilder as _, TransactionBuilder as _};
use alloy_provider::{DynProvider, Provider as _, ProviderBuilder};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_signer_local::PrivateKeySigner;
use peaberry_chain::dev::DevChain;
use peaberry_chain::primitives::{B256, U256};

use super::{Failure, key, shop};

pub(crate) const FEE_MAX: u128 = 100_000_000_000;
pub(crate) const TIP_MAX: u128 = 1_000_000_000;
const POLL: Duration = Duration::from_millis(20);

pub(crate) struct Bare {
    chain: u64,
    plain: DynProvider,
    filled: DynProvider,
    raw: Account,
    by_hand: Account,
}

/// An account whose nonces are counted here.
struct Account {
    wallet: EthereumWallet,
    next_nonce: AtomicU64,
}

impl Account {
    fn new(number: u8) -> Result<Self, Failure> {
        Ok(Self {
            wallet: wallet(number)?,
            next_nonce: AtomicU64::new(0),
        })
    }
}

fn wallet(number: u8) -> Result<EthereumWallet, Failure> {
    let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(number))?;
    assert_eq!(signer.address(), key(number).evm_address());
    Ok(EthereumWallet::new(signer))
}

impl Bare {
    pub(crate) fn connect(url: &str, chain: &DevChain) -> Result<Self, Failure> {
        let network = chain.network().chain;
        let chain = network.evm_number().ok_or("an EVM chain")?;
        // Which of them is the program's to choose; a second choice changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = ProviderBuilder::new().disable_recommended_fillers();
        let filled = ProviderBuilder::new().wallet(wallet(3)?);
        Ok(Self {
            chain,
            plain: plain.connect_http(url.parse()?).erased(),
            filled: filled.connect_http(url.parse()?).erased(),
            raw: Account::new(4)?,
            by_hand: Account::new(5)?,
        })
    }

    pub(crate) async fn call(&self) {
        let request = TransactionRequest::default().with_to(shop());
        let answer = self.plain.call(request).latest().await;
        assert!(answer.expect("the node answers").is_empty());
    }

    /// Signs and submits, and asks for nothing.
    pub(crate) async fn send_raw(&self) {
        self.send(&self.raw).await;
    }

    /// The recommended fillers: nonce, gas, fees, chain; then the receipt.
    pub(crate) async fn pay_filled(&self) {
        let request = TransactionRequest::default()
            .with_to(shop())
            .with_value(U256::ONE);
        let sent = self.filled.send_transaction(request).await;
        let receipt = sent.expect("the node takes it").get_receipt().await;
        assert!(receipt.expect("it is included").status());
    }

    /// As fast as it goes by hand: everything set, the receipt asked for every 20 ms.
    pub(crate) async fn pay_by_hand(&self) {
        let hash = self.send(&self.by_hand).await;
        loop {
            let receipt = self.plain.get_transaction_receipt(hash).await;
            if receipt.expect("the node answers").is_some() {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn send(&self, account: &Account) -> B256 {
        let request = TransactionRequest::default()
            .with_to(shop())
            .with_value(U256::ONE)
            .with_chain_id(self.chain)
            .with_nonce(account.next_nonce.fetch_add(1, Ordering::Relaxed))
            .with_gas_limit(21_000)
            .with_max_fee_per_gas(FEE_MAX)
            .with_max_priority_fee_per_gas(TIP_MAX);
        let signed = request.build(&account.wallet).await.expect("a key signs");
        let raw = signed.encoded_2718();
        let sent = self.plain.send_raw_transaction(&raw).await;
        *sent.expect("the node takes it").tx_hash()
    }
}
