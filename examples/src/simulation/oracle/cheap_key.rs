//! Signatures that cost a hash, for worlds that sign all the time.

use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::{B256, keccak256};
use peaberry_oracle::{Keyring, SIGNATURE_BYTES, Signature};

/// A key that only this world's machines can check: a keyed hash with the world's secret. Liars hold such keys too, and
/// sign with their own alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheapKey {
    secret: u64,
    address: EvmAddress,
}

impl CheapKey {
    pub(super) fn new(secret: u64, number: u8) -> Self {
        Self {
            secret,
            address: EvmAddress::repeat_byte(number + 1),
        }
    }

    fn seal(&self, address: &[u8], digest: &B256) -> B256 {
        keccak256([&self.secret.to_be_bytes(), address, digest.as_slice()].concat())
    }
}

impl Keyring for CheapKey {
    fn address(&self) -> EvmAddress {
        self.address
    }

    fn sign(&self, digest: &B256) -> Signature {
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes[..20].copy_from_slice(self.address.as_slice());
        let seal = self.seal(self.address.as_slice(), digest);
        // As in every signature, the uppermost bit of the second word is free and the parity is 27 or 28.
        bytes[33..64].copy_from_slice(&seal[..31]);
        bytes[64] = 27;
        Signature(bytes)
    }

    fn recover(&self, digest: &B256, signature: &Signature) -> Option<EvmAddress> {
        let (address, rest) = signature.0.split_first_chunk::<20>()?;
        let is_genuine = rest.get(13..44)? == self.seal(address, digest).get(..31)?;
        is_genuine.then(|| EvmAddress::new(*address))
    }
}
