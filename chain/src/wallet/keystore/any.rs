//! Any bytes at all as the JSON of a key file.

use super::format::is_quick;
use crate::wallet::{EvmKey, Wallet};

/// Opens any bytes as each kind of key file, for fuzzing: files whose password takes long to stretch are passed over. Answers
/// how many kinds they were.
#[doc(hidden)]
pub fn read_any_key_file(json: &[u8], password: &str) -> usize {
    if !is_quick(json) {
        return 0;
    }
    let opened = [
        EvmKey::from_keystore(json, password).is_ok(),
        Wallet::from_keystore(json, password).is_ok(),
        #[cfg(feature = "solana")]
        crate::wallet::SolanaKey::from_keystore(json, password).is_ok(),
    ];
    let opened = opened.into_iter().filter(|is_so| *is_so).count();
    assert!(opened <= 1, "a file holds one thing");
    opened
}

#[cfg(all(test, feature = "solana"))]
mod tests {
    use super::*;
    use crate::hostile::each_spoiled;
    use crate::wallet::SolanaKey;

    #[test]
    fn any_file_is_opened_or_refused() {
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let solana = SolanaKey::from_bytes(&[7; 32]);
        let wallet = Wallet::from_seed([7; 64]);
        let sealed = [key.sealed(), solana.sealed(), wallet.sealed()];
        let [key, solana, wallet] = sealed.map(|sealed| sealed.seal_cheaply("pw"));
        let pbkdf2 = key
            .replace("\"scrypt\"", "\"pbkdf2\"")
            .replace("\"n\": 2", "\"c\": 2, \"prf\": \"hmac-sha256\"");
        let files = [&key, &solana, &wallet];
        for file in files {
            assert_eq!(read_any_key_file(file.as_bytes(), "pw"), 1, "{file}");
            assert_eq!(read_any_key_file(file.as_bytes(), "wp"), 0, "{file}");
        }
        let samples = [&key, &solana, &wallet, &pbkdf2].map(|file| file.as_bytes());
        each_spoiled(&samples, |json| {
            read_any_key_file(json, "pw");
        });
    }
}
