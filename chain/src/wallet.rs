//! Keys that grow from one seed phrase.

mod evm_key;
#[cfg(feature = "keystore")]
mod keystore;
#[cfg(feature = "solana")]
mod slip10;
#[cfg(feature = "solana")]
mod solana_key;
#[cfg(test)]
mod vectors;
mod wiped;

use std::fmt::{self, Write as _};

use bip39::{Language, Mnemonic};
use zeroize::{Zeroize as _, Zeroizing};

pub use evm_key::EvmKey;
#[cfg(feature = "keystore")]
pub use keystore::{KEYSTORE_BYTES_MAX, Stretching, read_any_key_file};
#[cfg(feature = "solana")]
pub use solana_key::SolanaKey;

use crate::ChainError;

/// 24 words of at most eight letters, and what is between them.
const PHRASE_BYTES_MAX: usize = 24 * 8 + 23;

/// One seed, and from it the keys of every chain.
///
/// BIP-39 turns a phrase into the seed; EVM keys lie at `m/44'/60'/0'/0/i` (BIP-44), Solana's at `m/44'/501'/i'/0'`
/// (SLIP-0010): where other wallets find them. The seed is wiped from memory when the wallet is dropped, and appears in
/// no output.
///
/// ```
/// use peaberry_chain::{Signer, wallet::Wallet};
///
/// let phrase = "test test test test test test test test test test test junk";
/// let wallet = Wallet::from_phrase(phrase, "")?;
/// let first = wallet.evm_key(0)?;
/// assert_eq!(first.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
/// assert_eq!(format!("{wallet:?}"), "Wallet");
/// # Ok::<(), peaberry_chain::ChainError>(())
/// ```
pub struct Wallet {
    // In one place: what is moved leaves a copy behind.
    seed: Box<Zeroizing<[u8; 64]>>,
}

/// A seed phrase: whoever reads it owns everything. Shown by [`reveal`](Self::reveal) alone; wiped when dropped.
pub struct Phrase(Zeroizing<String>);

impl Phrase {
    /// The words, to be written on paper.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Wallet {
    /// A new wallet and the English phrase of 24 words that brings it back, from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: the system has no randomness.
    pub fn generate() -> Result<(Self, Phrase), ChainError> {
        let mut entropy = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *entropy).map_err(|error| invalid("randomness", &error))?;
        let mnemonic =
            Mnemonic::from_entropy(&*entropy).map_err(|error| invalid("entropy", &error))?;
        // A text that grew would leave its beginnings behind.
        let mut phrase = Phrase(Zeroizing::new(String::with_capacity(PHRASE_BYTES_MAX)));
        write!(phrase.0, "{mnemonic}").map_err(|error| invalid("seed phrase", &error))?;
        Ok((Self::from_mnemonic(&mnemonic, ""), phrase))
    }

    /// The wallet of an English phrase of 12 to 24 words, and the passphrase that protects it (empty for most).
    ///
    /// Any passphrase gives a wallet: a wrong one gives an empty one.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: a word that is not in the list (the message says which place, not which word), or a
    /// checksum that is wrong.
    pub fn from_phrase(phrase: &str, passphrase: &str) -> Result<Self, ChainError> {
        let mnemonic = Mnemonic::parse_in(Language::English, phrase)
            .map_err(|error| invalid("seed phrase", &error))?;
        Ok(Self::from_mnemonic(&mnemonic, passphrase))
    }

    /// The wallet of a seed as BIP-39 makes them. What the caller keeps of it is the caller's to wipe.
    #[must_use]
    pub fn from_seed(mut seed: [u8; 64]) -> Self {
        let wallet = Self::of(&seed);
        seed.zeroize();
        wallet
    }

    fn of(seed: &[u8; 64]) -> Self {
        let mut kept = Box::new(Zeroizing::new([0; 64]));
        kept.copy_from_slice(seed);
        Self { seed: kept }
    }

    fn from_mnemonic(mnemonic: &Mnemonic, passphrase: &str) -> Self {
        let mut seed = mnemonic.to_seed(passphrase);
        let wallet = Self::of(&seed);
        seed.zeroize();
        wallet
    }

    /// The EVM key number `index`, at `m/44'/60'/0'/0/index`. One key serves on all EVM chains.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: the index is 2^31 or more.
    pub fn evm_key(&self, index: u32) -> Result<EvmKey, ChainError> {
        self.evm_key_at(&format!("m/44'/60'/0'/0/{index}"))
    }

    /// The EVM key at a BIP-32 path such as `m/44'/60'/1'/0/0`.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: not a path.
    pub fn evm_key_at(&self, path: &str) -> Result<EvmKey, ChainError> {
        let parsed = path
            .parse()
            .map_err(|error: bip32::Error| invalid("path", &error))?;
        let key = bip32::XPrv::derive_from_path(self.seed.as_slice(), &parsed)
            .map_err(|error| invalid("path", &error))?;
        Ok(EvmKey::new(key.private_key().clone()))
    }

    /// The Solana key number `index`, at `m/44'/501'/index'/0'`.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: the index is 2^31 or more.
    #[cfg(feature = "solana")]
    pub fn solana_key(&self, index: u32) -> Result<SolanaKey, ChainError> {
        let node = slip10::derive(self.seed.as_slice(), &[44, 501, index, 0])?;
        Ok(SolanaKey::from_bytes(&node.key))
    }
}

fn invalid(what: &'static str, error: &dyn fmt::Display) -> ChainError {
    ChainError::Wallet {
        what,
        reason: error.to_string(),
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wallet")
    }
}

impl fmt::Debug for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrase")
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::vectors::ABANDON;
    use super::*;

    #[test]
    fn a_wrong_phrase_is_refused_without_being_repeated() {
        for phrase in [
            "",
            "abandon",
            &ABANDON.replace("about", "abandon"),
            &ABANDON.replace("about", "sekret"),
        ] {
            let error = Wallet::from_phrase(phrase, "").unwrap_err();
            assert!(!error.to_string().contains("sekret"), "{error}");
            assert!(!error.may_have_been_sent());
        }
        let wallet = Wallet::from_phrase(ABANDON, "").unwrap();
        assert!(wallet.evm_key(1 << 31).is_err());
        assert!(wallet.evm_key_at("n/44").is_err());
    }

    #[test]
    fn a_new_wallet_has_24_words_of_its_own() {
        let (wallet, phrase) = Wallet::generate().unwrap();
        let (_, other) = Wallet::generate().unwrap();
        assert_eq!(phrase.reveal().split(' ').count(), 24);
        assert_ne!(phrase.reveal(), other.reveal());
        let again = Wallet::from_phrase(phrase.reveal(), "").unwrap();
        assert_eq!(*wallet.seed, *again.seed);
    }

    #[test]
    fn secrets_are_never_printed() {
        let (wallet, phrase) = Wallet::generate().unwrap();
        let again = Wallet::from_phrase(phrase.reveal(), "").unwrap();
        assert_eq!(*wallet.seed, *again.seed);
        assert_eq!(phrase.0.capacity(), PHRASE_BYTES_MAX, "it has grown");
        let key = wallet.evm_key(0).unwrap();
        let secrets = [
            hex::encode(&wallet.seed[..8]),
            format!("{:?}", &wallet.seed[..4]),
            hex::encode(&key.reveal()[..8]),
            phrase.reveal()[..20].to_owned(),
        ];
        for printed in [
            format!("{wallet:?}{wallet:#?}"),
            format!("{phrase:?}"),
            format!("{key:?}{key:#?}"),
        ] {
            for secret in &secrets {
                assert!(!printed.contains(secret.as_str()), "{printed}");
            }
        }
    }

    #[cfg(feature = "solana")]
    #[test]
    fn a_solana_key_is_never_printed() {
        let wallet = Wallet::from_phrase(ABANDON, "").unwrap();
        let key = wallet.solana_key(0).unwrap();
        let secret = key.reveal();
        let secrets = [
            hex::encode(&secret[..8]),
            format!("{:?}", &secret[..4]),
            bs58::encode(&secret[..]).into_string(),
        ];
        let printed = format!("{key:?}{key:#?}");
        for secret in secrets {
            assert!(!printed.contains(&secret), "{printed}");
        }
    }
}
