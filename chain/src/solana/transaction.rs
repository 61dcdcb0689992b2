//! A Solana transaction with its signatures.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Bytes;
use ed25519_dalek::VerifyingKey;

use super::Message;
use super::message::put_length;
use crate::{ChainError, Payload, Sent, Signature, Signer, SolanaAddress, TxId};

/// The most bytes of a transaction: what fits one packet of IPv6's smallest size.
pub const TRANSACTION_BYTES_MAX: usize = 1232;

/// A transaction as it goes over the wire. Store the bytes before they are sent, with the height until which they are
/// valid: another signature for the same intent may be given only once no block up to that height holds this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    raw: Bytes,
    signature: [u8; 64],
    last_valid_height: u64,
}

impl SignedTransaction {
    /// Has `signers` sign `message`, whose block hash is valid up to the block height `last_valid_height`, and checks
    /// every signature.
    ///
    /// # Errors
    ///
    /// [`ChainError::NoSigner`], [`ChainError::Signer`]. Nothing was sent.
    pub async fn sign(
        message: &Message,
        signers: &BTreeMap<SolanaAddress, Arc<dyn Signer>>,
        last_valid_height: u64,
    ) -> Result<Self, ChainError> {
        let mut raw = Vec::with_capacity(TRANSACTION_BYTES_MAX);
        put_length(&mut raw, message.signers().len());
        for address in message.signers() {
            let signer = signers.get(address).ok_or(ChainError::NoSigner {
                address: (*address).into(),
            })?;
            raw.extend(ask(&**signer, *address, message).await?);
        }
        raw.extend(message.as_bytes());
        Self::from_raw(raw.into(), last_valid_height)
    }

    /// Takes bytes as they were signed, such as from a journal. Only the place of the first signature is looked for.
    ///
    /// # Errors
    ///
    /// [`ChainError::Malformed`], [`ChainError::TransactionTooLarge`]: no transaction begins like this.
    pub fn from_raw(raw: Bytes, last_valid_height: u64) -> Result<Self, ChainError> {
        let malformed = || ChainError::Malformed {
            doing: "a signed transaction",
            reason: "no signatures stand at its beginning".into(),
            sent: Sent::No,
        };
        if raw.len() > TRANSACTION_BYTES_MAX {
            return Err(ChainError::TransactionTooLarge {
                bytes: raw.len(),
                bytes_max: TRANSACTION_BYTES_MAX,
            });
        }
        let (count, rest) = raw.split_first().ok_or_else(malformed)?;
        // So many signatures fit that their count takes one byte.
        let has_room = *count > 0 && *count < 0x80 && rest.len() > usize::from(*count) * 64;
        let signature = rest.first_chunk::<64>().filter(|_| has_room);
        let signature = *signature.ok_or_else(malformed)?;
        Ok(Self {
            raw,
            signature,
            last_valid_height,
        })
    }

    /// The bytes to send.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Its name on the chain: the payer's signature.
    #[must_use]
    pub const fn signature(&self) -> [u8; 64] {
        self.signature
    }

    /// The same, as every chain's client takes it.
    #[must_use]
    pub const fn id(&self) -> TxId {
        TxId::Solana(self.signature)
    }

    /// The last block height that may include it.
    #[must_use]
    pub const fn last_valid_height(&self) -> u64 {
        self.last_valid_height
    }
}

async fn ask(
    signer: &dyn Signer,
    address: SolanaAddress,
    message: &Message,
) -> Result<[u8; 64], ChainError> {
    let refused = |reason: &str| ChainError::Signer {
        address: address.into(),
        reason: reason.to_owned(),
    };
    let payload = Payload::SolanaMessage(message.as_bytes());
    let Signature::Solana(signature) = signer.sign(payload).await? else {
        return Err(refused("it gave a signature of another family"));
    };
    if signer.is_local() {
        return Ok(signature);
    }
    let key = VerifyingKey::from_bytes(&address.0)
        .map_err(|_not_a_point| refused("its address is no public key"))?;
    let is_valid = key
        .verify_strict(message.as_bytes(), &signature.into())
        .is_ok();
    is_valid
        .then_some(signature)
        .ok_or_else(|| refused("it signed with another key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_transaction_are_refused() {
        for raw in [
            vec![],
            vec![0; 70],
            vec![1; 65],
            vec![2; 129],
            vec![0xff; 200],
            vec![1; 1233],
        ] {
            assert!(SignedTransaction::from_raw(raw.into(), 0).is_err());
        }
        let signed = SignedTransaction::from_raw(vec![1; 66].into(), 5).unwrap();
        assert_eq!(signed.id(), TxId::Solana([1; 64]));
    }

    #[test]
    fn any_bytes_are_a_transaction_or_refused() {
        let two = [&[2][..], &[3; 128], b"message"].concat();
        crate::hostile::each_spoiled(&[&[1; 70], &two], |raw| {
            if let Ok(signed) = SignedTransaction::from_raw(raw.to_vec().into(), 5) {
                assert_eq!(signed.raw(), raw);
                assert_eq!(signed.signature(), raw[1..65]);
            }
        });
    }
}
