//! Who signs: a quorum with a key each, or a group that shares one.

use std::collections::BTreeMap;

use frost_secp256k1_evm::keys::{IdentifierList, KeyPackage, PublicKeyPackage};
use frost_secp256k1_evm::rand_core::{CryptoRng, Error, RngCore};
use frost_secp256k1_evm::{Identifier, SigningPackage, round1, round2};
use k256::EncodedPoint;
use k256::ecdsa::SigningKey;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::{B256, U256, keccak256};

#[derive(Clone)]
pub(crate) enum Members {
    Quorum(Vec<SigningKey>),
    Group {
        count: u8,
        shares: BTreeMap<Identifier, KeyPackage>,
        public: Box<PublicKeyPackage>,
    },
}

impl Members {
    /// `count` keys made of `seed`.
    pub(crate) fn quorum(count: u8, seed: u8) -> Self {
        let key = |member: u8| SigningKey::from_slice(&*keccak256([seed, member])).unwrap();
        Self::Quorum((0..count).map(key).collect())
    }

    /// A key shared among `count`, f+1 of whom can sign.
    pub(crate) fn group(count: u8, seed: u8) -> Self {
        let mut rng = Seeded::new(&[seed]);
        let identifiers = IdentifierList::Default;
        let threshold = (count / 3 + 1).into();
        let (shares, public) = frost_secp256k1_evm::keys::generate_with_dealer(
            count.into(),
            threshold,
            identifiers,
            &mut rng,
        )
        .unwrap();
        let packages = shares
            .into_iter()
            .map(|(id, share)| (id, KeyPackage::try_from(share).unwrap()));
        Self::Group {
            count,
            shares: packages.collect(),
            public: Box::new(public),
        }
    }

    pub(crate) const fn scheme(&self) -> u8 {
        match self {
            Self::Quorum(_) => 1,
            Self::Group { .. } => 2,
        }
    }

    pub(crate) fn count(&self) -> u8 {
        match self {
            Self::Quorum(keys) => keys.len().try_into().unwrap(),
            Self::Group { count, .. } => *count,
        }
    }

    pub(crate) fn threshold(&self) -> u8 {
        self.count() / 3 + 1
    }

    /// The keys as a configuration holds them.
    pub(crate) fn keys(&self) -> Vec<u8> {
        match self {
            Self::Quorum(keys) => keys.iter().flat_map(|key| address(key).0).collect(),
            Self::Group { public, .. } => public.verifying_key().serialize().unwrap(),
        }
    }

    /// By f+1 members, none of the first ones among them where there are others.
    pub(crate) fn attest(&self, digest: B256) -> Vec<B256> {
        match self {
            Self::Quorum(_) => {
                let first = self.count() - self.threshold();
                self.by(&(first..self.count()).collect::<Vec<_>>(), digest)
            }
            Self::Group { shares, public, .. } => {
                let signers: BTreeMap<_, _> = shares.iter().take(self.threshold().into()).collect();
                group_signature(&signers, public, digest)
            }
        }
    }

    /// By 2f+1 members, or the group.
    pub(crate) fn attest_by_majority(&self, digest: B256) -> Vec<B256> {
        match self {
            Self::Quorum(_) => {
                let majority = 2 * self.threshold() - 1;
                self.by(&(0..majority).collect::<Vec<_>>(), digest)
            }
            Self::Group { .. } => self.attest(digest),
        }
    }

    /// By these members of a quorum.
    pub(crate) fn by(&self, signers: &[u8], digest: B256) -> Vec<B256> {
        let set = signers.iter().fold(0_u64, |set, member| set | 1 << member);
        let signatures = signers.iter().map(|member| self.signature(*member, digest));
        attestation(set, signatures)
    }

    /// One member's r, and s with the parity above it (EIP-2098).
    pub(crate) fn signature(&self, member: u8, digest: B256) -> [B256; 2] {
        let Self::Quorum(keys) = self else {
            panic!("a group's members have no signatures of their own")
        };
        let (signature, recovery) = keys[usize::from(member)]
            .sign_prehash_recoverable(digest.as_slice())
            .unwrap();
        let (r, mut s) = (signature.r().to_bytes(), signature.s().to_bytes());
        s[0] |= recovery.to_byte() << 7;
        [B256::from_slice(&r), B256::from_slice(&s)]
    }
}

/// A set of members and signatures, whether or not they belong together.
pub(crate) fn attestation(set: u64, signatures: impl IntoIterator<Item = [B256; 2]>) -> Vec<B256> {
    let set = B256::from(U256::from(set));
    [set]
        .into_iter()
        .chain(signatures.into_iter().flatten())
        .collect()
}

fn address(key: &SigningKey) -> EvmAddress {
    let point = key.verifying_key().to_encoded_point(false);
    EvmAddress::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

/// Both rounds of FROST, and R uncompressed.
fn group_signature(
    signers: &BTreeMap<&Identifier, &KeyPackage>,
    public: &PublicKeyPackage,
    digest: B256,
) -> Vec<B256> {
    let mut rng = Seeded::new(digest.as_slice());
    let (mut nonces, mut commitments) = (BTreeMap::new(), BTreeMap::new());
    for (id, package) in signers {
        let (nonce, commitment) = round1::commit(package.signing_share(), &mut rng);
        nonces.insert(**id, nonce);
        commitments.insert(**id, commitment);
    }
    let package = SigningPackage::new(commitments, digest.as_slice());
    let shares = signers.iter().map(|(id, key)| {
        let share = round2::sign(&package, &nonces[*id], key).unwrap();
        (**id, share)
    });
    let signature = frost_secp256k1_evm::aggregate(&package, &shares.collect(), public).unwrap();
    let compressed = signature.serialize().unwrap();
    let (nonce, scalar) = compressed.split_at(33);
    let nonce = EncodedPoint::from_bytes(nonce).unwrap();
    let nonce = k256::PublicKey::try_from(&nonce).unwrap();
    let nonce = nonce.to_encoded_point(false);
    let bytes = [&nonce.as_bytes()[1..], scalar].concat();
    bytes.chunks(32).map(B256::from_slice).collect()
}

/// Keccak-256 of a seed and a counter: a test's nonces are no secrets.
struct Seeded {
    seed: B256,
    drawn: u64,
}

impl Seeded {
    fn new(seed: &[u8]) -> Self {
        Self {
            seed: keccak256(seed),
            drawn: 0,
        }
    }
}

impl CryptoRng for Seeded {}

impl RngCore for Seeded {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        for piece in to.chunks_mut(32) {
            self.drawn += 1;
            let drawn = keccak256([self.seed.as_slice(), &self.drawn.to_be_bytes()].concat());
            piece.copy_from_slice(&drawn[..piece.len()]);
        }
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(to);
        Ok(())
    }
}
