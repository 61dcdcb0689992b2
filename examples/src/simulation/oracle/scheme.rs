//! How the members of a world attest: each by its own key, or as a group.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_chain::primitives::B256;
use peaberry_core::PeerId;
use peaberry_oracle::{
    AttestError, Attestor, Config, EcdsaQuorum, FrostGroup, Gathered, GroupShare, Keyring, Misfit,
};
use rand_core::{CryptoRng, Error, RngCore};

use super::history::History;

/// What a part begins with that is made with a nonce: the nonce's commitment.
const COMMITMENT_BYTES: usize = 66;

/// The scheme of a world.
#[derive(Clone)]
pub(super) enum Scheme {
    Quorum,
    /// By number, the members' shares.
    Group(Arc<Vec<GroupShare>>),
}

impl Scheme {
    /// A group of 3f+1 with a key of its own.
    pub(super) fn group(faulty: usize, rng: fastrand::Rng) -> Self {
        let faulty = u8::try_from(faulty).expect("few");
        let shares = GroupShare::deal(3 * faulty + 1, faulty + 1, &mut Seeded(rng));
        Self::Group(Arc::new(shares.expect("a group of that size")))
    }

    /// The attestor of a member, with nonces of `seed`: another one in each of its lives.
    pub(super) fn attestor(
        &self,
        config: &Config,
        keyring: Arc<dyn Keyring>,
        peer: PeerId,
        seed: u64,
        history: &Arc<Mutex<History>>,
    ) -> WorldAttestor {
        let share = match self {
            Self::Quorum => None,
            Self::Group(shares) => {
                let member = config.member_of(peer).map(usize::from);
                member.and_then(|member| shares.get(member))
            }
        };
        let Some(share) = share else {
            return WorldAttestor::Quorum(EcdsaQuorum::new(config, keyring));
        };
        let mut rng = fastrand::Rng::with_seed(seed);
        WorldAttestor::Group(Box::new(Watched {
            lies: history.lock().is_liar(peer).then(|| rng.fork()),
            inner: FrostGroup::with_rng(share.clone(), Seeded(rng)),
            peer,
            history: history.clone(),
        }))
    }

    /// Somebody who can tell what the group has signed.
    pub(super) fn verifier(&self) -> Option<FrostGroup> {
        match self {
            Self::Quorum => None,
            Self::Group(shares) => shares.first().cloned().map(FrostGroup::new),
        }
    }
}

/// Either kind.
pub(super) enum WorldAttestor {
    Quorum(EcdsaQuorum),
    Group(Box<Watched>),
}

/// A member of the group; what the honest sign is written down, and what liars sign is now and then spoilt.
pub(super) struct Watched {
    inner: FrostGroup,
    peer: PeerId,
    lies: Option<fastrand::Rng>,
    history: Arc<Mutex<History>>,
}

impl Watched {
    fn contribute(&mut self, digest: &B256, request: Option<&[u8]>) -> Result<Bytes, AttestError> {
        let part = self.inner.contribute(digest, request)?;
        let Some(request) = request else {
            return Ok(part);
        };
        if let Some(rng) = &mut self.lies {
            if rng.bool() {
                return Ok(part);
            }
            // The last byte of the share.
            let mut spoilt = part.to_vec();
            if let Some(byte) = spoilt.get_mut(COMMITMENT_BYTES + 31) {
                *byte ^= 1;
            }
            return Ok(spoilt.into());
        }
        let nonce = part.get(..COMMITMENT_BYTES).unwrap_or_default();
        self.history.lock().use_nonce(self.peer, nonce, request);
        Ok(part)
    }
}

impl Attestor for WorldAttestor {
    fn fits(&self, config: &Config, member: u8) -> Result<(), Misfit> {
        match self {
            Self::Quorum(quorum) => quorum.fits(config, member),
            Self::Group(group) => group.inner.fits(config, member),
        }
    }

    fn contribute(&mut self, digest: &B256, request: Option<&[u8]>) -> Result<Bytes, AttestError> {
        match self {
            Self::Quorum(quorum) => quorum.contribute(digest, request),
            Self::Group(member) => member.contribute(digest, request),
        }
    }

    fn begin(&mut self, digest: &B256) {
        match self {
            Self::Quorum(quorum) => quorum.begin(digest),
            Self::Group(member) => member.inner.begin(digest),
        }
    }

    fn gather(&mut self, digest: &B256, member: u8, part: &[u8]) -> Result<Gathered, AttestError> {
        match self {
            Self::Quorum(quorum) => quorum.gather(digest, member, part),
            Self::Group(group) => group.inner.gather(digest, member, part),
        }
    }

    fn verify(&self, digest: &B256, attestation: &[u8]) -> Result<(), AttestError> {
        match self {
            Self::Quorum(quorum) => quorum.verify(digest, attestation),
            Self::Group(group) => group.inner.verify(digest, attestation),
        }
    }
}

/// The world's dice, where secrets would be drawn.
struct Seeded(fastrand::Rng);

impl CryptoRng for Seeded {}

impl RngCore for Seeded {
    fn next_u32(&mut self) -> u32 {
        self.0.u32(..)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        self.0.fill(to);
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        self.0.fill(to);
        Ok(())
    }
}
