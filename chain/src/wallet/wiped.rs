//! What others make for secrets wipes itself when it is dropped. Where one of them no longer does, as when a feature of
//! its crate is taken away, this does not compile.
//!
//! Not so, and in no hand of ours: the chain codes of `bip32`, and what `hmac` and the stretching of passwords leave on the
//! stack.

use zeroize::ZeroizeOnDrop;

const fn wiped<T: ZeroizeOnDrop>() {}

const _: () = {
    wiped::<bip39::Mnemonic>();
    wiped::<k256::ecdsa::SigningKey>();
    #[cfg(feature = "keystore")]
    wiped::<ctr::Ctr128BE<aes::Aes128>>();
    #[cfg(feature = "solana")]
    {
        wiped::<ed25519_dalek::SigningKey>();
        wiped::<super::slip10::Node>();
    }
};
