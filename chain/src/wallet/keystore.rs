//! Keys in files: Web3 Secret Storage, version 3. Written with scrypt; read also with PBKDF2.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;

use aes::cipher::{KeyIvInit, StreamCipher};
use alloy_primitives::{Keccak256, hex};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{EvmKey, invalid};
use crate::ChainError;

/// The largest file that is read.
pub const KEYSTORE_BYTES_MAX: usize = 16 << 10;

// 1 GiB and a minute are more than any honest file asks for.
const LOG_N_MAX: u8 = 20;
const BLOCKS_MAX: u32 = 8;
const LANES_MAX: u32 = 16;
const MEMORY_BYTES_MAX: u64 = 1 << 30;
// Forty times what such files have, and some seconds.
const ROUNDS_MAX: u32 = 10_000_000;

/// How hard a password is to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretching {
    /// 256 MiB of memory and about a second for a guess, as other wallets write.
    Standard,
    /// 4 MiB and some milliseconds: for tests, and passwords that are themselves random.
    Light,
}

impl Stretching {
    const fn scrypt(self) -> Scrypt {
        let n = match self {
            Self::Standard => 1 << 18,
            Self::Light => 1 << 12,
        };
        Scrypt {
            dklen: 32,
            n,
            r: 8,
            p: 1,
            salt: String::new(),
        }
    }
}

#[derive(Deserialize, Serialize)]
struct KeyFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    // Some wallets write it with a capital.
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    #[serde(default)]
    id: String,
    version: u32,
}

#[derive(Deserialize, Serialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Deserialize, Serialize)]
struct CipherParams {
    iv: String,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum KdfParams {
    Scrypt(Scrypt),
    Pbkdf2(Pbkdf2),
}

#[derive(Deserialize, Serialize)]
struct Scrypt {
    dklen: usize,
    n: u64,
    r: u32,
    p: u32,
    salt: String,
}

#[derive(Deserialize, Serialize)]
struct Pbkdf2 {
    dklen: usize,
    c: u32,
    prf: String,
    salt: String,
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
        let mut random = [0; 64];
        getrandom::fill(&mut random).map_err(|error| invalid("randomness", &error))?;
        self.seal(password, stretching, &random)
    }

    /// The key in the JSON of a key file.
    ///
    /// # Errors
    ///
    /// [`ChainError::Wallet`]: not a key file of version 3 with scrypt or PBKDF2, costs beyond 1 GiB or ten million
    /// rounds, a wrong password, which cannot be told from a damaged file, or a key of another address than the file's.
    pub fn from_keystore(json: &[u8], password: &str) -> Result<Self, ChainError> {
        if json.len() > KEYSTORE_BYTES_MAX {
            return Err(damaged("it is over 16 KiB"));
        }
        let file: KeyFile =
            serde_json::from_slice(json).map_err(|error| invalid("key file", &error))?;
        if file.version != 3 {
            return Err(damaged("its version is not 3"));
        }
        let secret = open(&file.crypto, password)?;
        let key = Self::from_bytes(&secret)?;
        // The code is over the ciphertext alone: whoever can write the file can put another account's name on it.
        if let Some(address) = file
            .address
            .as_deref()
            .filter(|address| !address.is_empty())
        {
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
    /// alone.
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
        let json = self.to_keystore(password, stretching)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(path).and_then(|mut file| {
            file.write_all(json.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| invalid("key file", &error))
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// As [`from_keystore`](Self::from_keystore), or the file could not be read.
    pub fn read_keystore(path: &Path, password: &str) -> Result<Self, ChainError> {
        let mut json = Vec::new();
        let limit = KEYSTORE_BYTES_MAX as u64 + 1;
        let read =
            std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut json));
        read.map_err(|error| invalid("key file", &error))?;
        Self::from_keystore(&json, password)
    }

    fn seal(
        &self,
        password: &str,
        stretching: Stretching,
        random: &[u8; 64],
    ) -> Result<String, ChainError> {
        let (salt, rest) = random.split_at(32);
        let (iv, id) = rest.split_at(16);
        let params = Scrypt {
            salt: hex::encode(salt),
            ..stretching.scrypt()
        };
        let stretched = params.stretch(password)?;
        let mut secret = self.reveal();
        encrypt(&stretched, iv, &mut *secret)?;
        let file = KeyFile {
            address: Some(hex::encode(self.evm_address())),
            crypto: Crypto {
                cipher: "aes-128-ctr".into(),
                cipherparams: CipherParams {
                    iv: hex::encode(iv),
                },
                ciphertext: hex::encode(secret.as_slice()),
                kdf: "scrypt".into(),
                mac: hex::encode(mac(&stretched, &*secret)),
                kdfparams: KdfParams::Scrypt(params),
            },
            id: uuid(id),
            version: 3,
        };
        serde_json::to_string_pretty(&file).map_err(|error| invalid("key file", &error))
    }
}

fn open(crypto: &Crypto, password: &str) -> Result<Zeroizing<[u8; 32]>, ChainError> {
    if crypto.cipher != "aes-128-ctr" {
        return Err(damaged("it is not of aes-128-ctr"));
    }
    let iv = unhex(&crypto.cipherparams.iv)?;
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(&crypto.ciphertext, &mut *secret)
        .map_err(|_not_32_bytes| damaged("its ciphertext is not 32 bytes of hex"))?;
    let stretched = match (crypto.kdf.as_str(), &crypto.kdfparams) {
        ("scrypt", KdfParams::Scrypt(params)) => params.stretch(password)?,
        ("pbkdf2", KdfParams::Pbkdf2(params)) => params.stretch(password)?,
        _ => return Err(damaged("it is not of scrypt or PBKDF2 and its parameters")),
    };
    let expected = unhex(&crypto.mac)?;
    // The code is checked before anything is decrypted.
    if !bool::from(mac(&stretched, &*secret).ct_eq(expected.as_slice())) {
        return Err(damaged("the password is wrong, or the file is damaged"));
    }
    encrypt(&stretched, &iv, &mut *secret)?;
    Ok(secret)
}

impl Scrypt {
    fn stretch(&self, password: &str) -> Result<Zeroizing<[u8; 32]>, ChainError> {
        let log_n = self
            .n
            .checked_ilog2()
            .and_then(|log| u8::try_from(log).ok())
            .unwrap_or_default();
        let memory = self.n.saturating_mul(u64::from(self.r)).saturating_mul(128);
        let is_affordable = self.n.is_power_of_two()
            && (1..=LOG_N_MAX).contains(&log_n)
            && (1..=BLOCKS_MAX).contains(&self.r)
            && (1..=LANES_MAX).contains(&self.p)
            && memory <= MEMORY_BYTES_MAX
            && self.dklen == 32;
        if !is_affordable {
            return Err(damaged(
                "its scrypt parameters are none, or cost more than 1 GiB",
            ));
        }
        let salt = unhex(&self.salt)?;
        let scrypt = scrypt::Params::new(log_n, self.r, self.p)
            .map_err(|error| invalid("key file", &error))?;
        let mut stretched = Zeroizing::new([0; 32]);
        scrypt::scrypt(password.as_bytes(), &salt, &scrypt, &mut *stretched)
            .map_err(|error| invalid("key file", &error))?;
        Ok(stretched)
    }
}

impl Pbkdf2 {
    fn stretch(&self, password: &str) -> Result<Zeroizing<[u8; 32]>, ChainError> {
        if self.prf != "hmac-sha256" || self.dklen != 32 || !(1..=ROUNDS_MAX).contains(&self.c) {
            return Err(damaged(
                "its PBKDF2 parameters are none, or more than ten million rounds",
            ));
        }
        let salt = unhex(&self.salt)?;
        let mut stretched = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<pbkdf2::sha2::Sha256>(
            password.as_bytes(),
            &salt,
            self.c,
            &mut *stretched,
        );
        Ok(stretched)
    }
}

/// Counter mode: the same both ways.
fn encrypt(stretched: &[u8; 32], iv: &[u8], bytes: &mut [u8]) -> Result<(), ChainError> {
    let (key, _) = stretched.split_at(16);
    let mut cipher = ctr::Ctr128BE::<aes::Aes128>::new_from_slices(key, iv)
        .map_err(|_not_16_bytes| damaged("its iv is not 16 bytes"))?;
    cipher.apply_keystream(bytes);
    Ok(())
}

fn mac(stretched: &[u8; 32], ciphertext: &[u8]) -> [u8; 32] {
    let (_, key) = stretched.split_at(16);
    let mut hasher = Keccak256::new();
    hasher.update(key);
    hasher.update(ciphertext);
    hasher.finalize().0
}

fn unhex(text: &str) -> Result<Vec<u8>, ChainError> {
    hex::decode(text).map_err(|_not_hex| damaged("a field is not hex"))
}

/// 16 random bytes as a UUID of version 4.
fn uuid(bytes: &[u8]) -> String {
    let mut text = hex::encode(bytes);
    text.replace_range(12..13, "4");
    text.replace_range(16..17, "a");
    for place in [20, 16, 12, 8] {
        text.insert(place, '-');
    }
    text
}

fn damaged(reason: &str) -> ChainError {
    invalid("key file", &reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The vectors of the Web3 Secret Storage definition.
    const PUBLISHED_PBKDF2: &str = r#"{
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "kdf": "pbkdf2",
            "kdfparams": {
                "c": 262144, "dklen": 32, "prf": "hmac-sha256",
                "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"
            },
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3
    }"#;
    const PUBLISHED: &str = r#"{
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32, "n": 262144, "p": 8, "r": 1,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3
    }"#;

    #[test]
    fn the_published_files_open() {
        for file in [PUBLISHED, PUBLISHED_PBKDF2] {
            let key = EvmKey::from_keystore(file.as_bytes(), "testpassword").unwrap();
            assert_eq!(
                hex::encode(key.reveal().as_slice()),
                "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
            );
        }
    }

    #[test]
    fn a_file_of_pbkdf2_cannot_ask_for_all_our_time() {
        for (from, to) in [
            ("262144", "10000001"),
            ("262144", "4294967296"),
            ("262144", "0"),
            ("hmac-sha256", "hmac-sha512"),
            ("\"dklen\": 32", "\"dklen\": 16"),
            ("\"pbkdf2\"", "\"scrypt\""),
        ] {
            let json = PUBLISHED_PBKDF2.replace(from, to);
            assert_ne!(json, PUBLISHED_PBKDF2);
            assert!(
                EvmKey::from_keystore(json.as_bytes(), "testpassword").is_err(),
                "{to}"
            );
        }
    }

    #[test]
    fn a_file_that_bears_another_address_is_refused() {
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let json = key.to_keystore("pw", Stretching::Light).unwrap();
        let own = hex::encode(key.evm_address());
        for other in [hex::encode([9; 20]), "no address".to_owned()] {
            let json = json.replace(&own, &other);
            let refused = EvmKey::from_keystore(json.as_bytes(), "pw").unwrap_err();
            assert!(refused.to_string().contains("address"), "{refused}");
        }
        // With the prefix, and in capitals, as some wallets write it; or empty, as others do.
        for same in [format!("0x{own}"), own.to_uppercase(), String::new()] {
            let json = json.replace(&own, &same);
            assert!(
                EvmKey::from_keystore(json.as_bytes(), "pw").is_ok(),
                "{same}"
            );
        }
    }

    #[test]
    fn what_is_sealed_opens_with_its_password_alone() {
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let json = key.to_keystore("correct horse", Stretching::Light).unwrap();
        assert!(!json.contains(&hex::encode([7; 32])));
        let again = EvmKey::from_keystore(json.as_bytes(), "correct horse").unwrap();
        assert_eq!(*again.reveal(), *key.reveal());
        assert!(EvmKey::from_keystore(json.as_bytes(), "correct horsf").is_err());
        assert_ne!(
            json,
            key.to_keystore("correct horse", Stretching::Light).unwrap()
        );
    }

    #[test]
    fn a_file_cannot_ask_for_all_our_memory() {
        for (from, to) in [
            ("262144", "4611686018427387904"),
            ("262144", "262145"),
            ("262144", "0"),
            ("\"r\": 1", "\"r\": 4294967295"),
            ("\"p\": 8", "\"p\": 4294967295"),
            ("\"dklen\": 32", "\"dklen\": 16"),
            ("d172bf", "d1"),
            ("83dbcc", "83"),
            ("\"version\": 3", "\"version\": 1"),
            ("\"scrypt\"", "\"pbkdf2\""),
        ] {
            let json = PUBLISHED.replace(from, to);
            assert_ne!(json, PUBLISHED);
            assert!(
                EvmKey::from_keystore(json.as_bytes(), "testpassword").is_err(),
                "{to}"
            );
        }
        assert!(EvmKey::from_keystore(&vec![b' '; KEYSTORE_BYTES_MAX + 1], "").is_err());
    }

    #[test]
    fn files_are_the_owners_and_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let key = EvmKey::from_bytes(&[9; 32]).unwrap();
        key.write_keystore(&path, "pw", Stretching::Light).unwrap();
        assert!(key.write_keystore(&path, "pw", Stretching::Light).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let again = EvmKey::read_keystore(&path, "pw").unwrap();
        assert_eq!(again.evm_address(), key.evm_address());
    }
}
