//! What a round cannot do without: signatures, by the libraries alone.

use std::collections::BTreeMap;

use frost_secp256k1_evm::keys::{
    IdentifierList, KeyPackage, PublicKeyPackage, generate_with_dealer,
};
use frost_secp256k1_evm::{Identifier, Signature, SigningPackage, aggregate, round1, round2};
use rand_core::OsRng;

/// How many signatures a round takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) signed: u64,
    pub(crate) recovered: u64,
}

impl Work {
    /// So many with k256 alone.
    pub(crate) fn bare(self) {
        use k256::ecdsa::{SigningKey, VerifyingKey};
        let key = SigningKey::from_slice(&[7; 32]).expect("a key");
        let digest = [3; 32];
        let mut last = key
            .sign_prehash_recoverable(&digest)
            .expect("a digest can be signed");
        // The first is made above.
        for _ in 1..self.signed {
            last = key
                .sign_prehash_recoverable(&digest)
                .expect("a digest can be signed");
        }
        for _ in 0..self.recovered {
            let (signature, recovery) = &last;
            VerifyingKey::recover_from_prehash(&digest, signature, *recovery)
                .expect("our own signature");
        }
    }
}

/// A group that signs by frost-secp256k1-evm alone, without a word between its members.
pub(crate) struct BareGroup {
    members: BTreeMap<Identifier, KeyPackage>,
    public: PublicKeyPackage,
    threshold: usize,
}

impl BareGroup {
    /// 3f+1 members, f+1 of whom sign.
    pub(crate) fn deal(faulty: usize) -> Self {
        let (count, threshold) = (3 * faulty + 1, faulty + 1);
        let (shares, public) = generate_with_dealer(
            u16::try_from(count).expect("few"),
            u16::try_from(threshold).expect("few"),
            IdentifierList::Default,
            OsRng,
        )
        .expect("a group of that size");
        let open = |share| KeyPackage::try_from(share).expect("the dealer is honest");
        Self {
            members: shares.into_iter().map(|(id, it)| (id, open(it))).collect(),
            public,
            threshold,
        }
    }

    /// One signature: every member draws a nonce, f+1 sign, and their shares are put together.
    pub(crate) fn sign(&self, digest: &[u8]) -> Signature {
        let mut nonces = BTreeMap::new();
        let mut commitments = BTreeMap::new();
        for (id, key) in &self.members {
            let (secret, commitment) = round1::commit(key.signing_share(), &mut OsRng);
            if nonces.len() < self.threshold {
                nonces.insert(*id, secret);
                commitments.insert(*id, commitment);
            }
        }
        let package = SigningPackage::new(commitments, digest);
        let shares = nonces.iter().map(|(id, secret)| {
            let key = self.members.get(id).expect("a member");
            let share = round2::sign(&package, secret, key).expect("an honest member");
            (*id, share)
        });
        aggregate(&package, &shares.collect(), &self.public).expect("honest shares")
    }

    /// Checks it once for each member but the one who has put it together.
    pub(crate) fn verify(&self, digest: &[u8], signature: &Signature, times: usize) {
        for _ in 0..times {
            let key = self.public.verifying_key();
            key.verify(digest, signature).expect("our own signature");
        }
    }

    pub(crate) fn others(&self) -> usize {
        self.members.len() - 1
    }
}
