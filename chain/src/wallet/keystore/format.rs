//! The format: which fields, how a password is stretched, what is encrypted and what the code is over.

use aes::cipher::{KeyIvInit, StreamCipher};
use alloy_primitives::{Keccak256, hex};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{KEYSTORE_BYTES_MAX, Stretching};
use crate::ChainError;
use crate::wallet::invalid;

// 1 GiB and a minute are more than any honest file asks for.
const LOG_N_MAX: u8 = 20;
const BLOCKS_MAX: u32 = 8;
const LANES_MAX: u32 = 16;
const MEMORY_BYTES_MAX: u64 = 1 << 30;
// Forty times what such files have, and some seconds.
const ROUNDS_MAX: u32 = 10_000_000;
// What is stretched in microseconds.
const QUICK_BYTES: u64 = 8 << 10;
const QUICK_ROUNDS: u32 = 16;

/// What a file holds. Of a key of EVM accounts nothing is said: so other wallets write and read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Holds {
    /// The 64 bytes that a seed phrase gives.
    #[serde(rename = "bip39-seed")]
    Seed,
    /// The 32 bytes of a Solana key.
    #[serde(rename = "ed25519")]
    SolanaKey,
}

impl Holds {
    const fn label(self) -> &'static str {
        match self {
            Self::Seed => "bip39-seed",
            Self::SolanaKey => "ed25519",
        }
    }
}

/// A secret with what stands beside it in the open.
pub(super) struct Sealed {
    pub(super) secret: Zeroizing<Vec<u8>>,
    pub(super) holds: Option<Holds>,
    pub(super) address: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct KeyFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holds: Option<Holds>,
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

impl Sealed {
    /// The JSON of the file, encrypted with `password`.
    pub(super) fn seal(
        self,
        password: &str,
        stretching: Stretching,
        random: &[u8; 64],
    ) -> Result<String, ChainError> {
        self.seal_by(Scrypt::of(stretching), password, random)
    }

    /// The same at other costs, of which the salt is not looked at.
    fn seal_by(
        mut self,
        costs: Scrypt,
        password: &str,
        random: &[u8; 64],
    ) -> Result<String, ChainError> {
        let (salt, rest) = random.split_at(32);
        let (iv, id) = rest.split_at(16);
        let params = Scrypt {
            salt: hex::encode(salt),
            ..costs
        };
        let stretched = params.stretch(password)?;
        encrypt(&stretched, iv, &mut self.secret)?;
        let file = KeyFile {
            address: self.address,
            holds: self.holds,
            crypto: Crypto {
                cipher: "aes-128-ctr".into(),
                cipherparams: CipherParams {
                    iv: hex::encode(iv),
                },
                ciphertext: hex::encode(self.secret.as_slice()),
                kdf: "scrypt".into(),
                mac: hex::encode(mac(&stretched, &self.secret, iv, self.holds)),
                kdfparams: KdfParams::Scrypt(params),
            },
            id: uuid(id),
            version: 3,
        };
        serde_json::to_string_pretty(&file).map_err(|error| invalid("key file", &error))
    }

    /// What the JSON of a file holds, which must be `wanted`.
    pub(super) fn open(
        json: &[u8],
        password: &str,
        wanted: Option<Holds>,
    ) -> Result<Self, ChainError> {
        let file = KeyFile::read(json)?;
        if file.holds != wanted {
            return Err(damaged(match file.holds {
                None => "it holds a key of EVM accounts",
                Some(Holds::Seed) => "it holds the seed of a wallet",
                Some(Holds::SolanaKey) => "it holds a key of Solana accounts",
            }));
        }
        Ok(Self {
            secret: decrypt(&file.crypto, password, wanted)?,
            holds: wanted,
            address: file.address.filter(|address| !address.is_empty()),
        })
    }

    /// The secret, which is so long.
    pub(super) fn bytes<const LENGTH: usize>(&self) -> Result<&[u8; LENGTH], ChainError> {
        let bytes = self.secret.as_slice().try_into();
        bytes.map_err(|_other_length| damaged("its secret is of another length"))
    }
}

/// Whether the file of this JSON is opened, or refused, at once: where it costs nearly nothing, or more than anybody pays.
pub(super) fn is_quick(json: &[u8]) -> bool {
    let Ok(file) = KeyFile::read(json) else {
        return true;
    };
    match &file.crypto.kdfparams {
        KdfParams::Scrypt(params) => {
            let bytes = params.memory_bytes().saturating_mul(params.p.into());
            !params.is_affordable() || bytes <= QUICK_BYTES
        }
        KdfParams::Pbkdf2(params) => !params.is_affordable() || params.c <= QUICK_ROUNDS,
    }
}

impl KeyFile {
    fn read(json: &[u8]) -> Result<Self, ChainError> {
        if json.len() > KEYSTORE_BYTES_MAX {
            return Err(damaged("it is over 16 KiB"));
        }
        let file: Self =
            serde_json::from_slice(json).map_err(|error| invalid("key file", &error))?;
        if file.version != 3 {
            return Err(damaged("its version is not 3"));
        }
        Ok(file)
    }
}

fn decrypt(
    crypto: &Crypto,
    password: &str,
    holds: Option<Holds>,
) -> Result<Zeroizing<Vec<u8>>, ChainError> {
    if crypto.cipher != "aes-128-ctr" {
        return Err(damaged("it is not of aes-128-ctr"));
    }
    let iv = unhex(&crypto.cipherparams.iv)?;
    let mut secret = Zeroizing::new(unhex(&crypto.ciphertext)?);
    let stretched = match (crypto.kdf.as_str(), &crypto.kdfparams) {
        ("scrypt", KdfParams::Scrypt(params)) => params.stretch(password)?,
        ("pbkdf2", KdfParams::Pbkdf2(params)) => params.stretch(password)?,
        _ => return Err(damaged("it is not of scrypt or PBKDF2 and its parameters")),
    };
    let expected = unhex(&crypto.mac)?;
    // The code is checked before anything is decrypted.
    if !bool::from(mac(&stretched, &secret, &iv, holds).ct_eq(expected.as_slice())) {
        return Err(damaged("the password is wrong, or the file is damaged"));
    }
    encrypt(&stretched, &iv, &mut secret)?;
    Ok(secret)
}

impl Scrypt {
    const fn of(stretching: Stretching) -> Self {
        let n = match stretching {
            Stretching::Standard => 1 << 18,
            Stretching::Light => 1 << 12,
        };
        Self {
            dklen: 32,
            n,
            r: 8,
            p: 1,
            salt: String::new(),
        }
    }

    fn log_n(&self) -> u8 {
        let log = self.n.checked_ilog2();
        log.and_then(|log| u8::try_from(log).ok())
            .unwrap_or_default()
    }

    fn is_affordable(&self) -> bool {
        self.n.is_power_of_two()
            && (1..=LOG_N_MAX).contains(&self.log_n())
            && (1..=BLOCKS_MAX).contains(&self.r)
            && (1..=LANES_MAX).contains(&self.p)
            && self.memory_bytes() <= MEMORY_BYTES_MAX
            && self.dklen == 32
    }

    fn memory_bytes(&self) -> u64 {
        self.n.saturating_mul(u64::from(self.r)).saturating_mul(128)
    }

    fn stretch(&self, password: &str) -> Result<Zeroizing<[u8; 32]>, ChainError> {
        if !self.is_affordable() {
            return Err(damaged(
                "its scrypt parameters are none, or cost more than 1 GiB",
            ));
        }
        let salt = unhex(&self.salt)?;
        let scrypt = scrypt::Params::new(self.log_n(), self.r, self.p)
            .map_err(|error| invalid("key file", &error))?;
        let mut stretched = Zeroizing::new([0; 32]);
        scrypt::scrypt(password.as_bytes(), &salt, &scrypt, &mut *stretched)
            .map_err(|error| invalid("key file", &error))?;
        Ok(stretched)
    }
}

impl Pbkdf2 {
    fn is_affordable(&self) -> bool {
        self.prf == "hmac-sha256" && self.dklen == 32 && (1..=ROUNDS_MAX).contains(&self.c)
    }

    fn stretch(&self, password: &str) -> Result<Zeroizing<[u8; 32]>, ChainError> {
        if !self.is_affordable() {
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

/// Where it is said what the file holds, over that and over the iv, too: nobody makes one thing of another, nor has a file
/// opened as other bytes. That of Web3's own files is over neither.
fn mac(stretched: &[u8; 32], ciphertext: &[u8], iv: &[u8], holds: Option<Holds>) -> [u8; 32] {
    let (_, key) = stretched.split_at(16);
    let mut hasher = Keccak256::new();
    hasher.update(key);
    hasher.update(ciphertext);
    if let Some(holds) = holds {
        hasher.update(iv);
        hasher.update(holds.label());
    }
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

pub(super) fn damaged(reason: &str) -> ChainError {
    invalid("key file", &reason)
}

#[cfg(test)]
impl Sealed {
    /// As [`seal`](Self::seal), at no cost to speak of.
    pub(super) fn seal_cheaply(self, password: &str) -> String {
        let costs = Scrypt {
            n: 2,
            r: 1,
            ..Scrypt::of(Stretching::Light)
        };
        self.seal_by(costs, password, &[7; 64]).unwrap()
    }
}
