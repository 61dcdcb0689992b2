//! An EVM transaction, before and after it is signed.

use alloy_consensus::transaction::RlpEcdsaEncodableTx;
use alloy_consensus::{SignableTransaction, Transaction as _, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::Decodable2718 as _;
use alloy_eips::eip2718::EIP4844_TX_TYPE_ID;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};

use crate::{ChainError, ChainId, Payload, Sent, Signature, Signer};

const WORDS_ABOUT_BLOBS: &str = "it carries blobs (EIP-4844), which are not handled here: give it with its sidecar to a node \
     of your own by eth_sendRawTransaction";

/// A complete transaction without its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The chain it is valid on (EIP-155).
    pub chain: ChainId,
    /// How many transactions of its sender come before it.
    pub nonce: u64,
    /// The most gas it may use.
    pub gas_limit: u64,
    /// What is offered for a unit of gas.
    pub fees: Fees,
    /// The contract or account called; `None` creates a contract.
    pub to: Option<Address>,
    /// What it is paid, in wei.
    pub value: U256,
    /// Call data, or a new contract's creation code.
    pub data: Bytes,
}

/// What is offered for a unit of gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fees {
    /// EIP-1559: the block's base fee and a tip, together no more than the maximum.
    Eip1559 {
        /// The most for base fee and tip together.
        fee_max: u128,
        /// The most for the block's maker.
        tip_max: u128,
    },
    /// One price, on chains without a base fee.
    Legacy {
        /// The price.
        gas_price: u128,
    },
}

impl Fees {
    /// The most that a unit of gas may cost.
    #[must_use]
    pub const fn fee_max(&self) -> u128 {
        match self {
            Self::Eip1559 { fee_max, .. } => *fee_max,
            Self::Legacy { gas_price } => *gas_price,
        }
    }
}

/// A transaction as it goes over the wire. Store the bytes before they are sent: only they can be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    raw: Bytes,
    hash: B256,
}

impl SignedTransaction {
    /// Takes bytes as they were signed, such as from a journal. They are not looked into.
    #[must_use]
    pub fn from_raw(raw: Bytes) -> Self {
        let hash = keccak256(&raw);
        Self { raw, hash }
    }

    /// The bytes to broadcast.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The chain that its signature is for; `None` where it is valid on any, as before EIP-155.
    ///
    /// # Errors
    ///
    /// [`ChainError::Malformed`]: the bytes are no signed transaction of a kind that Ethereum knows; or one that carries
    /// blobs (EIP-4844), which travels with a sidecar that is no part of the chain's transaction, and has another hash than
    /// its bytes.
    pub fn chain(&self) -> Result<Option<ChainId>, ChainError> {
        Ok(self.envelope()?.chain_id().map(ChainId::evm))
    }

    /// What the bytes say; errors as of [`chain`](Self::chain).
    pub(super) fn envelope(&self) -> Result<TxEnvelope, ChainError> {
        let malformed = |reason: String| ChainError::Malformed {
            doing: "a signed transaction",
            reason,
            sent: Sent::No,
        };
        if self.raw.first() == Some(&EIP4844_TX_TYPE_ID) {
            return Err(malformed(WORDS_ABOUT_BLOBS.into()));
        }
        let envelope = TxEnvelope::decode_2718_exact(&self.raw);
        envelope.map_err(|error| malformed(error.to_string()))
    }

    /// Its name on the chain: Keccak-256 of the bytes.
    #[must_use]
    pub const fn hash(&self) -> B256 {
        self.hash
    }
}

impl Transaction {
    /// Has `signer` sign it, and checks that it was that account's key which signed, unless the key is
    /// [local](Signer::is_local).
    ///
    /// # Errors
    ///
    /// [`ChainError::Signer`]: it refused, or signed with another key. [`ChainError::WrongFamily`]: it is no EVM
    /// signer, or the chain is none. Nothing was sent.
    pub async fn sign(&self, signer: &dyn Signer) -> Result<SignedTransaction, ChainError> {
        let address = signer.address();
        let from = address.evm_on(self.chain)?;
        let number = self.chain.evm_number();
        let number = number.ok_or(ChainError::WrongFamily {
            address,
            chain: self.chain,
        })?;
        match self.fees {
            Fees::Eip1559 { fee_max, tip_max } => {
                let transaction = TxEip1559 {
                    chain_id: number,
                    nonce: self.nonce,
                    gas_limit: self.gas_limit,
                    max_fee_per_gas: fee_max,
                    max_priority_fee_per_gas: tip_max.min(fee_max),
                    to: self.kind(),
                    value: self.value,
                    access_list: Default::default(),
                    input: self.data.clone(),
                };
                encode(signer, from, &transaction).await
            }
            Fees::Legacy { gas_price } => {
                let transaction = TxLegacy {
                    chain_id: Some(number),
                    nonce: self.nonce,
                    gas_price,
                    gas_limit: self.gas_limit,
                    to: self.kind(),
                    value: self.value,
                    input: self.data.clone(),
                };
                encode(signer, from, &transaction).await
            }
        }
    }

    const fn kind(&self) -> TxKind {
        match self.to {
            Some(to) => TxKind::Call(to),
            None => TxKind::Create,
        }
    }
}

/// Has `transaction` signed, and writes both as they go over the wire (EIP-2718).
async fn encode(
    signer: &dyn Signer,
    from: Address,
    transaction: &(impl SignableTransaction<alloy_primitives::Signature> + RlpEcdsaEncodableTx),
) -> Result<SignedTransaction, ChainError> {
    let signature = ask(signer, from, transaction).await?;
    let mut raw = Vec::new();
    transaction.eip2718_encode(&signature, &mut raw);
    Ok(SignedTransaction::from_raw(raw.into()))
}

async fn ask(
    signer: &dyn Signer,
    from: Address,
    transaction: &impl SignableTransaction<alloy_primitives::Signature>,
) -> Result<alloy_primitives::Signature, ChainError> {
    let refused = |reason: &str| ChainError::Signer {
        address: from.into(),
        reason: reason.to_owned(),
    };
    let unsigned = transaction.encoded_for_signing();
    let payload = Payload::EvmTransaction(&unsigned);
    let Signature::Evm(signature) = signer.sign(payload).await? else {
        return Err(refused("it gave a signature of another family"));
    };
    if signer.is_local() {
        return Ok(signature);
    }
    let digest = keccak256(&unsigned);
    match signature.recover_address_from_prehash(&digest) {
        Ok(signed_by) if signed_by == from => Ok(signature.normalize_s().unwrap_or(signature)),
        _ => Err(refused("it signed with another key")),
    }
}
