//! Who signed what.

use std::fmt;

use k256::ecdsa::{RecoveryId, SigningKey, VerifyingKey};
use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::B256;

/// The length of a signature, in bytes: `r`, `s`, and the parity as 27 or 28.
pub const SIGNATURE_BYTES: usize = 65;

/// A signature as EVM contracts take it.
///
/// Many signatures can stand for one signer and one digest, so it says who vouched for what, and never which message
/// this is: nothing here keys a message by its signature.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "65 bytes and nothing else")]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Signature({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// Our key, and how the signatures of others are traced to theirs. Callable from any thread.
///
/// An implementer promises:
/// - `recover(digest, &sign(digest))` is `Some(address())`;
/// - nobody without the key of an address can make a signature that recovers to it;
/// - both are functions: no clock, no randomness, the same in every process;
/// - `recover` never panics, whatever the bytes.
///
/// [`EcdsaKey`] is the one for production. A simulation that must be fast brings its own.
pub trait Keyring: Send + Sync + 'static {
    /// The address of our key.
    fn address(&self) -> EvmAddress;

    /// Signs 32 bytes.
    fn sign(&self, digest: &B256) -> Signature;

    /// Whose signature of `digest` this is; `None` if it is nobody's.
    fn recover(&self, digest: &B256, signature: &Signature) -> Option<EvmAddress>;
}

/// A secp256k1 key in this process's memory. Never printed.
///
/// Signatures are deterministic (RFC 6979), with `s` in the lower half of the group (EIP-2); others are refused.
///
/// ```
/// use peaberry_chain::primitives::B256;
/// use peaberry_oracle::{EcdsaKey, Keyring};
///
/// let key = EcdsaKey::from_bytes(&[7; 32]).unwrap();
/// let digest = B256::repeat_byte(1);
/// assert_eq!(key.recover(&digest, &key.sign(&digest)), Some(key.address()));
/// assert_ne!(key.recover(&B256::ZERO, &key.sign(&digest)), Some(key.address()));
/// assert!(EcdsaKey::from_bytes(&[0; 32]).is_none(), "zero is no key");
/// ```
#[derive(Clone)]
pub struct EcdsaKey {
    key: SigningKey,
    address: EvmAddress,
}

impl EcdsaKey {
    /// The key of these bytes; `None` for zero and for what is not below the order of the curve.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let key = SigningKey::from_slice(bytes).ok()?;
        let address = EvmAddress::from_public_key(key.verifying_key());
        Some(Self { key, address })
    }
}

impl Keyring for EcdsaKey {
    fn address(&self) -> EvmAddress {
        self.address
    }

    fn sign(&self, digest: &B256) -> Signature {
        let signed = self.key.sign_prehash_recoverable(digest.as_slice());
        let (signature, recovery) = signed.expect("a digest of 32 bytes can be signed");
        let mut bytes = [0; SIGNATURE_BYTES];
        let (scalars, parity) = bytes.split_at_mut(64);
        scalars.copy_from_slice(&signature.to_bytes());
        parity.fill(27 + u8::from(recovery.is_y_odd()));
        Signature(bytes)
    }

    fn recover(&self, digest: &B256, signature: &Signature) -> Option<EvmAddress> {
        recover(digest, signature)
    }
}

/// Whose ECDSA signature of `digest` this is, as a contract's `ecrecover` with a check for a low `s` would say.
#[must_use]
pub fn recover(digest: &B256, signature: &Signature) -> Option<EvmAddress> {
    let (scalars, parity) = signature.0.split_at(64);
    let is_y_odd = match parity {
        [27] => false,
        [28] => true,
        _ => return None,
    };
    let signature = k256::ecdsa::Signature::from_slice(scalars).ok()?;
    if signature.normalize_s().is_some() {
        return None;
    }
    let recovery = RecoveryId::new(is_y_odd, false);
    let key = VerifyingKey::recover_from_prehash(digest.as_slice(), &signature, recovery).ok()?;
    Some(EvmAddress::from_public_key(&key))
}

impl fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcdsaKey({})", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same point, mirrored: it verifies under plain ECDSA and must not here.
    #[test]
    fn a_high_s_is_nobodys() {
        let key = EcdsaKey::from_bytes(&[9; 32]).unwrap();
        let digest = B256::repeat_byte(3);
        let signature = key.sign(&digest);
        let low = k256::ecdsa::Signature::from_slice(&signature.0[..64]).unwrap();
        let (r, s) = low.split_scalars();
        let high = k256::ecdsa::Signature::from_scalars(r, -s).unwrap();
        let mut mirrored = signature;
        mirrored.0[..64].copy_from_slice(&high.to_bytes());
        mirrored.0[64] = if signature.0[64] == 27 { 28 } else { 27 };
        assert_eq!(key.recover(&digest, &mirrored), None);
        assert_eq!(key.recover(&digest, &signature), Some(key.address()));
    }

    #[test]
    fn garbage_is_nobodys_and_never_panics() {
        let digest = B256::repeat_byte(3);
        for fill in [0, 1, 0xff] {
            assert_eq!(recover(&digest, &Signature([fill; 65])), None, "{fill}");
        }
        let key = EcdsaKey::from_bytes(&[9; 32]).unwrap();
        let signature = key.sign(&digest);
        for at in 0..SIGNATURE_BYTES {
            let mut flipped = signature;
            flipped.0[at] ^= 1;
            assert_ne!(recover(&digest, &flipped), Some(key.address()), "byte {at}");
        }
    }
}
