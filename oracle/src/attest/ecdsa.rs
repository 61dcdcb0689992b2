use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::B256;
use peaberry_core::mutant::is_planted;

use super::{AttestError, Attestor, Gathered, Misfit};
use crate::config::Config;
use crate::signature::{Keyring, SIGNATURE_BYTES, Signature};

/// A signature of each of f+1 members.
///
/// The attestation is a word of 32 bytes with a set of members, bit `i` for member `i`; then two words for each of them in
/// ascending order, by EIP-2098: `r`, and `s` with the parity above it. Who signed is known for ever, whoever it was.
///
/// ```
/// # use std::sync::Arc;
/// # use peaberry_chain::{EvmAddress, primitives::B256};
/// # use peaberry_core::PeerId;
/// # use peaberry_oracle::{Attestor, Config, ConfigForm, EcdsaKey, EcdsaQuorum, Feed, Gathered, Keyring, Member, Timing};
/// # let keys: Vec<_> = (1..=4).map(|it| Arc::new(EcdsaKey::from_bytes(&[it; 32]).unwrap())).collect();
/// # let members = keys.iter().zip(1..).map(|(key, id)| Member { peer: PeerId::new(id).unwrap(), signer: key.address(), weight: 1000 });
/// # let feed = Feed { name: "BTC/USD".into(), decimals: 2, min: 1, max: 100, deviation_bps: 1, heartbeat_ms: 1, breaker_bps: None };
/// # let config = Config::new(ConfigForm { chain_id: 1, contract: EvmAddress::repeat_byte(1), generation: 1, faulty: 1,
/// #     threshold: 2, members: members.collect(), feeds: vec![feed], timing: Timing::default() }).unwrap();
/// let digest = B256::repeat_byte(7);
/// let mut anna = EcdsaQuorum::new(&config, keys[0].clone());
/// let mut ben = EcdsaQuorum::new(&config, keys[1].clone());
///
/// anna.begin(&digest);
/// let own = anna.contribute(&digest, None).unwrap();
/// assert_eq!(anna.gather(&digest, 0, &own), Ok(Gathered::More));
/// assert_eq!(anna.gather(&digest, 0, &own), Ok(Gathered::More), "one signer is one signer");
/// let part = ben.contribute(&digest, None).unwrap();
/// let Ok(Gathered::Done(attestation)) = anna.gather(&digest, 1, &part) else { panic!() };
/// assert_eq!(ben.verify(&digest, &attestation), Ok(()));
/// assert!(ben.verify(&B256::ZERO, &attestation).is_err());
/// ```
pub struct EcdsaQuorum {
    keyring: Arc<dyn Keyring>,
    signers: Vec<EvmAddress>,
    threshold: usize,
    gathering: Option<B256>,
    parts: BTreeMap<u8, Signature>,
}

impl std::fmt::Debug for EcdsaQuorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EcdsaQuorum")
            .field("own", &self.keyring.address())
            .field("threshold", &self.threshold)
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

impl EcdsaQuorum {
    /// Signs with `keyring` among the members of `config`.
    #[must_use]
    pub fn new(config: &Config, keyring: Arc<dyn Keyring>) -> Self {
        Self {
            keyring,
            signers: config
                .members()
                .iter()
                .map(|member| member.signer)
                .collect(),
            threshold: config.threshold(),
            gathering: None,
            parts: BTreeMap::new(),
        }
    }

    fn check(&self, digest: &B256, member: u8, signature: &Signature) -> Result<(), AttestError> {
        let signer = self.signers.get(usize::from(member));
        let signer = signer.ok_or(AttestError::NoSuchMember(member))?;
        if self.keyring.recover(digest, signature) == Some(*signer) {
            Ok(())
        } else {
            Err(AttestError::Signature(member))
        }
    }
}

impl Attestor for EcdsaQuorum {
    fn fits(&self, config: &Config, member: u8) -> Result<(), Misfit> {
        let signers = config.members().iter().map(|it| it.signer);
        if !signers.eq(self.signers.iter().copied()) {
            let members = config.members().len();
            return Err(Misfit::Members { members });
        }
        let threshold = config.threshold();
        if self.threshold != threshold {
            let own = self.threshold;
            return Err(Misfit::Threshold { own, threshold });
        }
        let own = self.keyring.address();
        match config.member(member).map(|it| it.signer) {
            Some(signer) if signer != own => Err(Misfit::Key {
                member,
                own,
                signer,
            }),
            Some(_) => Ok(()),
            None => Err(Misfit::Members {
                members: config.members().len(),
            }),
        }
    }

    fn contribute(&mut self, digest: &B256, request: Option<&[u8]>) -> Result<Bytes, AttestError> {
        match request {
            None => Ok(Bytes::copy_from_slice(&self.keyring.sign(digest).0)),
            Some(_) => Err(AttestError::Unexpected),
        }
    }

    fn begin(&mut self, digest: &B256) {
        self.gathering = Some(*digest);
        self.parts.clear();
    }

    fn gather(&mut self, digest: &B256, member: u8, part: &[u8]) -> Result<Gathered, AttestError> {
        if self.gathering.as_ref() != Some(digest) {
            return Err(AttestError::Unexpected);
        }
        let signature = part.try_into().map(Signature);
        let signature =
            signature.map_err(|_other_length| AttestError::Malformed("not 65 bytes"))?;
        if !self.parts.contains_key(&member) {
            self.check(digest, member, &signature)?;
            self.parts.insert(member, signature);
        }
        if self.parts.len() < self.threshold {
            return Ok(Gathered::More);
        }
        let signatures = self.parts.iter().take(self.threshold);
        let attestation = EcdsaAttestation {
            signatures: signatures
                .map(|(member, signature)| (*member, *signature))
                .collect(),
        };
        Ok(Gathered::Done(attestation.to_bytes().into()))
    }

    fn verify(&self, digest: &B256, attestation: &[u8]) -> Result<(), AttestError> {
        let attestation = EcdsaAttestation::from_bytes(attestation)?;
        let (count, threshold) = (attestation.signatures.len(), self.threshold);
        if count != threshold {
            return Err(AttestError::Signers { count, threshold });
        }
        attestation
            .signatures
            .iter()
            .try_for_each(|(member, signature)| self.check_counted(digest, *member, signature))
    }
}

impl EcdsaQuorum {
    fn check_counted(
        &self,
        digest: &B256,
        member: u8,
        signature: &Signature,
    ) -> Result<(), AttestError> {
        if is_planted("duplicate_signer_counted") {
            // Any known signer will do, for any place in the set.
            let signer = self.keyring.recover(digest, signature);
            return if signer.is_some_and(|it| self.signers.contains(&it)) {
                Ok(())
            } else {
                Err(AttestError::Signature(member))
            };
        }
        self.check(digest, member, signature)
    }
}

/// An ECDSA quorum's attestation, taken apart: what a contract is given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "one field that stays")]
pub struct EcdsaAttestation {
    /// The signers' numbers, ascending, each once, below 64, and their signatures.
    pub signatures: Vec<(u8, Signature)>,
}

impl EcdsaAttestation {
    /// The set of signers and their signatures, as contracts take them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0; WORD_BYTES - 8];
        out.reserve_exact(8 + self.signatures.len() * COMPACT_BYTES);
        out.extend_from_slice(&self.signers().to_be_bytes());
        for (_, signature) in &self.signatures {
            out.extend_from_slice(&compact(signature));
        }
        out
    }

    /// The signers as a set: bit `i` for member `i`.
    #[must_use]
    pub fn signers(&self) -> u64 {
        let bits = self
            .signatures
            .iter()
            .map(|(member, _)| 1_u64.checked_shl(u32::from(*member)));
        bits.flatten().fold(0, |set, bit| set | bit)
    }

    /// What [`to_bytes`](Self::to_bytes) wrote. A signer cannot be in it twice.
    ///
    /// # Errors
    ///
    /// [`AttestError::Malformed`]: not one signature for each member of the set.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AttestError> {
        let (signers, signatures) = bytes
            .split_first_chunk::<WORD_BYTES>()
            .ok_or(AttestError::Malformed("no set of signers"))?;
        let (none, signers) = signers.split_at(WORD_BYTES - 8);
        if none.iter().any(|byte| *byte != 0) {
            return Err(AttestError::Malformed("a signer beyond the greatest"));
        }
        let signers = signers
            .iter()
            .fold(0, |set, byte| set << 8 | u64::from(*byte));
        let (signatures, rest) = signatures.as_chunks::<COMPACT_BYTES>();
        if !rest.is_empty() || signatures.len() != signers.count_ones() as usize {
            return Err(AttestError::Malformed("not one signature for each signer"));
        }
        let members = (0..64_u8).filter(|member| signers >> member & 1 == 1);
        let signatures = members
            .zip(signatures)
            .map(|(member, bytes)| (member, expanded(*bytes)));
        Ok(Self {
            signatures: signatures.collect(),
        })
    }
}

const WORD_BYTES: usize = 32;
/// A signature by EIP-2098.
const COMPACT_BYTES: usize = 64;

/// A signature with the parity in the uppermost bit of `s`, which no low `s` has.
fn compact(signature: &Signature) -> [u8; COMPACT_BYTES] {
    let [scalars @ .., parity] = signature.0;
    let mut bytes = scalars;
    bytes[32] = bytes[32] & 0x7f | u8::from(parity == 28) << 7;
    bytes
}

fn expanded(bytes: [u8; COMPACT_BYTES]) -> Signature {
    let mut signature = [27 + (bytes[32] >> 7); SIGNATURE_BYTES];
    signature[..COMPACT_BYTES].copy_from_slice(&bytes);
    signature[32] &= 0x7f;
    Signature(signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, key};

    fn attested(signers: &[u8], digest: &B256) -> EcdsaAttestation {
        EcdsaAttestation {
            signatures: signers
                .iter()
                .map(|it| (*it, key(*it).sign(digest)))
                .collect(),
        }
    }

    #[test]
    fn only_f_plus_one_distinct_members_make_an_attestation() {
        let quorum = EcdsaQuorum::new(&config(1), key(0));
        let digest = B256::repeat_byte(1);
        let verify =
            |attestation: &EcdsaAttestation| quorum.verify(&digest, &attestation.to_bytes());
        assert_eq!(verify(&attested(&[1, 3], &digest)), Ok(()));
        assert_eq!(
            verify(&attested(&[1], &digest)),
            Err(AttestError::Signers {
                count: 1,
                threshold: 2
            })
        );
        assert_eq!(
            verify(&attested(&[1, 2, 3], &digest)),
            Err(AttestError::Signers {
                count: 3,
                threshold: 2
            })
        );
        assert_eq!(
            verify(&attested(&[1, 9], &digest)),
            Err(AttestError::NoSuchMember(9))
        );
        assert_eq!(
            verify(&attested(&[1, 3], &B256::ZERO)),
            Err(AttestError::Signature(1))
        );

        // One signature under two names.
        let mut twice = attested(&[1, 3], &digest);
        twice.signatures[1].1 = twice.signatures[0].1;
        assert_eq!(verify(&twice), Err(AttestError::Signature(3)));
        // A set that says two where there is one.
        let mut bytes = attested(&[1], &digest).to_bytes();
        bytes.extend_from_within(WORD_BYTES..);
        assert!(matches!(
            quorum.verify(&digest, &bytes),
            Err(AttestError::Malformed(_))
        ));
    }

    #[test]
    fn an_attestation_is_read_back_and_every_flipped_bit_of_it_is_noticed() {
        let digest = B256::repeat_byte(1);
        let quorum = EcdsaQuorum::new(&config(1), key(0));
        // Of many digests, so that both parities are there.
        for salt in 0..8 {
            let digest = B256::repeat_byte(salt);
            let attestation = attested(&[0, 2], &digest);
            let bytes = attestation.to_bytes();
            assert_eq!(EcdsaAttestation::from_bytes(&bytes), Ok(attestation));
        }
        let bytes = attested(&[1, 3], &digest).to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(quorum.verify(&digest, &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_bad_part_blames_its_sender_and_harms_no_other() {
        let digest = B256::repeat_byte(1);
        let mut gatherer = EcdsaQuorum::new(&config(1), key(0));
        gatherer.begin(&digest);
        let part = |member: u8| key(member).sign(&digest).0;
        assert_eq!(
            gatherer.gather(&digest, 2, &part(1)),
            Err(AttestError::Signature(2))
        );
        assert_eq!(
            gatherer.gather(&digest, 2, b"junk"),
            Err(AttestError::Malformed("not 65 bytes"))
        );
        assert_eq!(
            gatherer.gather(&digest, 9, &part(1)),
            Err(AttestError::NoSuchMember(9))
        );
        assert_eq!(
            gatherer.gather(&B256::ZERO, 1, &part(1)),
            Err(AttestError::Unexpected)
        );
        assert_eq!(gatherer.gather(&digest, 1, &part(1)), Ok(Gathered::More));
        let done = gatherer.gather(&digest, 2, &part(2)).unwrap();
        let Gathered::Done(attestation) = done else {
            panic!("{done:?}")
        };
        assert_eq!(gatherer.verify(&digest, &attestation), Ok(()));
    }
}
