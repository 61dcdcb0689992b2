//! How a quorum vouches for a report.

mod ecdsa;
#[cfg(feature = "frost")]
mod frost;

use bytes::Bytes;
use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::B256;

use crate::config::Config;

pub use self::ecdsa::{EcdsaAttestation, EcdsaQuorum};
#[cfg(feature = "frost")]
pub use self::frost::{FrostGroup, GroupShare, GroupShareError, PublicGroup};

/// The longest part or request of an attestation, in bytes: room for the commitments of all members.
pub const PART_BYTES_MAX: usize = 8 << 10;

/// Makes one attestation out of the parts of f+1 members, and checks those that others made.
///
/// One oracle gathers: the round's leader. It calls [`begin`](Self::begin), then [`gather`](Self::gather) with each part
/// that arrives, its own among them, until it is [`Gathered::Done`]. The others call [`contribute`](Self::contribute) once
/// the report's digest is theirs too, at first without a request; a scheme of more steps has the gatherer ask again
/// ([`Gathered::Ask`]), and then `contribute` is called with what was asked.
///
/// An implementer promises:
/// - **Its own**: `fits` accepts one member of one configuration, the one that it signs for; one that signs nothing may
///   accept each.
/// - **For contracts**: an attestation is whole words of 32 bytes, as `PriceOracle` takes them.
/// - **No forgery**: what `verify` accepts holds the parts of at least f+1 distinct members, each for this digest.
/// - **Accountable**: a part that cannot be used is an error that blames its sender, and harms no other part.
/// - **Robust**: the parts of any f+1 honest members who can sign suffice, whatever the others send, and whether or not they do.
/// - **Bounded**: parts and requests are at most [`PART_BYTES_MAX`] bytes; bytes from others never panic; what is kept for
///   a digest is dropped by `begin` of another one.
/// - **Fresh secrets**: a nonce that a step needs lives in memory, is used once, and is gone after a restart. A part may
///   therefore be refused after one; a deterministic signature may be given again.
pub trait Attestor: Send + 'static {
    /// Whether this is the attestor of `member` under `config`: [`Oracle::open`](crate::Oracle::open) refuses others.
    ///
    /// # Errors
    ///
    /// [`Misfit`] says what is another's.
    fn fits(&self, config: &Config, member: u8) -> Result<(), Misfit>;

    /// Our part for the report of this digest: the first, or the answer to a gatherer's request.
    ///
    /// # Errors
    ///
    /// [`AttestError`]: not with this request, or not any more. Nothing was given away.
    fn contribute(&mut self, digest: &B256, request: Option<&[u8]>) -> Result<Bytes, AttestError>;

    /// Begins to gather parts for this digest, and forgets what was gathered for another.
    fn begin(&mut self, digest: &B256);

    /// Takes a member's part.
    ///
    /// # Errors
    ///
    /// [`AttestError`] blames the member; the part is as if it had not come.
    fn gather(&mut self, digest: &B256, member: u8, part: &[u8]) -> Result<Gathered, AttestError>;

    /// Whether f+1 members vouch for the report of this digest.
    ///
    /// # Errors
    ///
    /// [`AttestError`] says why they do not.
    fn verify(&self, digest: &B256, attestation: &[u8]) -> Result<(), AttestError>;
}

/// Why an attestor is none for a member of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// It signs as somebody else.
    #[error(
        "it signs as member {own}, and this is member {member}: each oracle has a share or key of its own"
    )]
    Member {
        /// Whose it is.
        own: u8,
        /// Whose it should be.
        member: u8,
    },
    /// It signs with a key that is not the member's.
    #[error("it signs as {own}, and member {member} as {signer}: give it the member's key")]
    Key {
        /// The number of the member.
        member: u8,
        /// Whose key it has.
        own: EvmAddress,
        /// Whose it should be.
        signer: EvmAddress,
    },
    /// Another number of signers.
    #[error(
        "{own} sign in it, and {threshold} under the configuration: generate a key for {threshold}"
    )]
    Threshold {
        /// How many sign in it.
        own: usize,
        /// How many the configuration wants.
        threshold: usize,
    },
    /// Other members, or fewer than 2f+1 of these.
    #[error(
        "its members are not among the {members} of the configuration, or too few of them: generate a key for them"
    )]
    Members {
        /// How many the configuration has.
        members: usize,
    },
}

/// What a part has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever gathers handles every case"
)]
pub enum Gathered {
    /// Wait for more.
    More,
    /// Send each member what stands beside its number, and it will contribute to that.
    Ask(Vec<(u8, Bytes)>),
    /// The attestation. Parts that come later are not needed.
    Done(Bytes),
}

/// Why a part or an attestation is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// Not in the scheme's layout.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Nobody of that number is a member.
    #[error("there is no member {0}")]
    NoSuchMember(u8),
    /// A signature or a share that is not the member's for this digest.
    #[error("the signature of member {0} is not its own")]
    Signature(u8),
    /// The scheme asks for nothing of this kind, or not at this point.
    #[error("nothing of this kind is asked for at this point")]
    Unexpected,
    /// The nonce that the request was made for is not here: it was used, or went with a restart. Nobody's fault.
    #[error("the nonce of this request was used, or is gone with a restart")]
    NonceGone,
    /// There is no share of the group's key here: an observer signs nothing.
    #[error("there is no share of the group's key here")]
    NoShare,
    /// A signature that is not the group's for this digest.
    #[error("the signature is not the group's")]
    GroupSignature,
    /// Not as many signers as needed.
    #[error("{count} signers: exactly {threshold} are needed")]
    Signers {
        /// How many there are.
        count: usize,
        /// f+1.
        threshold: usize,
    },
}
