//! Secrets in files: Web3 Secret Storage, version 3. Written with scrypt; read also with PBKDF2.
//!
//! Keys of EVM accounts are as other wallets write and read them. Seeds and Solana keys have the same form and a field
//! `holds` beside it, which the file's code is over, too: other wallets do not take them for what they are not.

mod any;
mod file;
mod format;
#[cfg(test)]
mod tests;

use std::path::Path;

use alloy_primitives::hex;
use zeroize::Zeroizing;

#[cfg(feature = "solana")]
use super::SolanaKey;
use super::{EvmKey, Wallet, invalid};
use crate::ChainError;
pub use any::read_any_key_file;
use format::{Holds, Sealed, damaged};

/// The largest file that is read.
pub const KEYSTORE_BYTES_MAX: usize = 16 << 10;

/// How hard a password is to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretching {
    /// 256 MiB of memory and about a second for a guess, as other wallets write.
    Standard,
    /// 4 MiB and some milliseconds: for tests, and passwords that are themselves random.
    Light,
}

impl EvmKey {
    /// The key, encrypted with `password`, as the JSON of a key file.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: the system has no randomness.
    pub fn to_keystore(
        &self,
        password: &str,
        stretching: Stretching,
    ) -> Result<String, ChainError> {
        self.sealed().seal(password, stretching, &random()?)
    }

    /// The key in the JSON of a key file.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: not a key file of version 3 with scrypt or PBKDF2, or one that holds something else; costs
    /// beyond 1 GiB or ten million rounds; a wrong password, which cannot be told from a damaged file, or a key of
    /// another address than the file's.
    pub fn from_keystore(json: &[u8], password: &str) -> Result<Self, ChainError> {
        let sealed = Sealed::open(json, password, None)?;
        let key = Self::from_bytes(sealed.bytes()?)?;
        // The code is over the secret alone: whoever can write the file can put another account's name on it.
        if let Some(address) = &sealed.address {
            let mut named = [0; 20];
            hex::decode_to_slice(address, &mut named)
                .map_err(|_not_20_bytes| damaged("its address is not 20 bytes of hex"))?;
            if named != key.evm_address() {
                return Err(damaged("its key is not that of its address"));
            }
        }
        Ok(key)
    }

    /// Writes a key file that only the owner may read (where the system knows such things). An existing file is left
    /// alone; a crash leaves the whole file or none of this name.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: there is a file already, or it could not be written.
    pub fn write_keystore(
        &self,
        path: &Path,
        password: &str,
        stretching: Stretching,
    ) -> Result<(), ChainError> {
        write(path, &self.to_keystore(password, stretching)?)
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// As [`from_keystore`](Self::from_keystore), or the file could not be read.
    pub fn read_keystore(path: &Path, password: &str) -> Result<Self, ChainError> {
        Self::from_keystore(&read(path)?, password)
    }

    fn sealed(&self) -> Sealed {
        Sealed {
            secret: Zeroizing::new(self.reveal().to_vec()),
            holds: None,
            address: Some(hex::encode(self.evm_address())),
        }
    }
}

impl Wallet {
    /// The seed, from which every key of the wallet grows again, encrypted with `password`, as the JSON of a key file.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: the system has no randomness.
    pub fn to_keystore(
        &self,
        password: &str,
        stretching: Stretching,
    ) -> Result<String, ChainError> {
        self.sealed().seal(password, stretching, &random()?)
    }

    /// The wallet of the seed in the JSON of a key file.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: not a key file of version 3 with scrypt or PBKDF2, or one that holds something else; costs
    /// beyond 1 GiB or ten million rounds; a wrong password, which cannot be told from a damaged file.
    pub fn from_keystore(json: &[u8], password: &str) -> Result<Self, ChainError> {
        let sealed = Sealed::open(json, password, Some(Holds::Seed))?;
        Ok(Self::of(sealed.bytes()?))
    }

    /// Writes a key file that only the owner may read (where the system knows such things). An existing file is left
    /// alone; a crash leaves the whole file or none of this name.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: there is a file already, or it could not be written.
    pub fn write_keystore(
        &self,
        path: &Path,
        password: &str,
        stretching: Stretching,
    ) -> Result<(), ChainError> {
        write(path, &self.to_keystore(password, stretching)?)
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// As [`from_keystore`](Self::from_keystore), or the file could not be read.
    pub fn read_keystore(path: &Path, password: &str) -> Result<Self, ChainError> {
        Self::from_keystore(&read(path)?, password)
    }

    fn sealed(&self) -> Sealed {
        Sealed {
            secret: Zeroizing::new(self.seed.to_vec()),
            holds: Some(Holds::Seed),
            address: None,
        }
    }
}

#[cfg(feature = "solana")]
impl SolanaKey {
    /// The key, encrypted with `password`, as the JSON of a key file.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: the system has no randomness.
    pub fn to_keystore(
        &self,
        password: &str,
        stretching: Stretching,
    ) -> Result<String, ChainError> {
        self.sealed().seal(password, stretching, &random()?)
    }

    /// The key in the JSON of a key file.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: not a key file of version 3 with scrypt or PBKDF2, or one that holds something else; costs
    /// beyond 1 GiB or ten million rounds; a wrong password, which cannot be told from a damaged file, or a key of
    /// another address than the file's.
    pub fn from_keystore(json: &[u8], password: &str) -> Result<Self, ChainError> {
        let sealed = Sealed::open(json, password, Some(Holds::SolanaKey))?;
        let key = Self::from_bytes(sealed.bytes()?);
        let own = key.solana_address().to_string();
        if sealed.address.is_some_and(|address| address != own) {
            return Err(damaged("its key is not that of its address"));
        }
        Ok(key)
    }

    /// Writes a key file that only the owner may read (where the system knows such things). An existing file is left
    /// alone; a crash leaves the whole file or none of this name.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: there is a file already, or it could not be written.
    pub fn write_keystore(
        &self,
        path: &Path,
        password: &str,
        stretching: Stretching,
    ) -> Result<(), ChainError> {
        write(path, &self.to_keystore(password, stretching)?)
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// As [`from_keystore`](Self::from_keystore), or the file could not be read.
    pub fn read_keystore(path: &Path, password: &str) -> Result<Self, ChainError> {
        Self::from_keystore(&read(path)?, password)
    }

    fn sealed(&self) -> Sealed {
        Sealed {
            secret: Zeroizing::new(self.reveal().to_vec()),
            holds: Some(Holds::SolanaKey),
            address: Some(self.solana_address().to_string()),
        }
    }
}

fn random() -> Result<[u8; 64], ChainError> {
    let mut random = [0; 64];
    getrandom::fill(&mut random).map_err(|error| invalid("randomness", &error))?;
    Ok(random)
}

fn write(path: &Path, json: &str) -> Result<(), ChainError> {
    file::write_new(path, json).map_err(|error| invalid("key file", &error))
}

fn read(path: &Path) -> Result<Vec<u8>, ChainError> {
    file::read(path, KEYSTORE_BYTES_MAX).map_err(|error| invalid("key file", &error))
}
