use std::fmt;

use peaberry_chain::primitives::B256;
use peaberry_core::PeerId;

use super::evidence::Evidence;
use crate::aggregate::SetError;
use crate::attest::AttestError;
use crate::observation::{ObservationError, SignedObservation};
use crate::report::AttestedReport;
use crate::round_id::RoundId;
use crate::wire::DecodeError;

/// What an application tells its [`Oracle`](super::Oracle).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "an application chooses among all of them"
)]
pub enum OracleCommand {
    /// What the sources say now. It is observed in every round until the next one, or until it is older than
    /// [`Timing::observation_age_max`](crate::Timing).
    Observe {
        /// By the number of the feed; `None` where there is no value worth signing. Values out of their feed's bounds are
        /// taken for none.
        values: Vec<Option<i128>>,
        /// When they were seen, in milliseconds since 1970-01-01 UTC by the oracle's own clock.
        observed_at_ms: u64,
    },
    /// The newest answer that the contract has of a feed, or by which it halted it, is of this round: nobody need transmit
    /// it any more for this feed, nor an earlier one. Where no report of that round or a later one has come here, somebody has
    /// kept one back and brought it at a time of his choice: the feed's next answer is due at once. What is older than what
    /// was said before changes nothing.
    Landed {
        /// The number of the feed.
        feed: u8,
        /// Of which round its newest answer is.
        round: RoundId,
    },
    /// The contract had halted this feed by its own breaker, and takes answers again: one is due as soon as it is observed
    /// late enough. Saying it again changes nothing.
    Resumed {
        /// The number of the feed.
        feed: u8,
        /// Only what is observed at this time or later is taken, in milliseconds since 1970-01-01 UTC.
        from_ms: u64,
    },
    /// The operator has looked at the jump that tripped this feed's circuit breaker, and believes it. Nothing happens where
    /// it is not tripped here. The others are told for good, also those who come back later; it says nothing of a later
    /// jump.
    Reset {
        /// The number of the feed.
        feed: u8,
    },
}

/// What an [`Oracle`](super::Oracle) tells its application. Everything here waits for its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OracleEvent {
    /// A new epoch has begun here.
    Epoch {
        /// Its number.
        epoch: u32,
        /// The number of its leader.
        leader: u8,
    },
    /// We have signed this observation, and no other for its round.
    Observed(SignedObservation),
    /// A quorum has signed a report, of a later round than every one before.
    Agreed {
        /// The report with its attestation.
        report: AttestedReport,
        /// What it was made of: the evidence behind its `observations` hash. `None` where the proposal did not come here.
        observations: Option<Vec<SignedObservation>>,
    },
    /// It is our turn to put this report on chain: hand it to the outbox. Comes again after a restart, until
    /// [`Landed`](OracleCommand::Landed) is heard; the contract stores it once.
    Transmit {
        /// How many were to transmit it before us.
        slot: u32,
        /// What to send.
        report: AttestedReport,
    },
    /// A circuit breaker has tripped: nothing is signed for the feed until [`Reset`](OracleCommand::Reset), here or by f+1
    /// operators. Comes again at each start while it is tripped.
    Tripped {
        /// The number of the feed.
        feed: u8,
        /// The last answer.
        last: i128,
        /// The answer that was not believed.
        refused: i128,
    },
    /// A circuit breaker is closed again.
    Reset {
        /// The number of the feed.
        feed: u8,
        /// Whose word it was.
        by: ResetBy,
    },
    /// Proof that a member broke the rules, now in the store.
    Evidence {
        /// The number of the offender.
        offender: u8,
        /// The proof.
        evidence: Evidence,
    },
    /// A peer did what no correct oracle does. Its message was dropped; nothing else changed.
    Misbehaviour {
        /// Who.
        peer: PeerId,
        /// What.
        what: Misbehaviour,
    },
    /// A member runs under another configuration: one of the two must be updated.
    OtherConfiguration {
        /// Who.
        peer: PeerId,
        /// The digest of its configuration.
        digest: B256,
    },
}

/// Whose word closed a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are two doors")]
pub enum ResetBy {
    /// The operator here.
    Operator,
    /// The operators of f+1 other members, one of whom is honest.
    Quorum,
}

/// What no correct oracle does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// Bytes that no oracle writes.
    Malformed(DecodeError),
    /// It speaks here and is no member.
    Stranger,
    /// It leads an epoch that is another's.
    NotLeader(RoundId),
    /// A round beyond the epoch's last.
    NoSuchRound(RoundId),
    /// An observation in another's name.
    NotItsAuthor(u8),
    /// An observation that counts for nothing.
    Observation(ObservationError),
    /// A proposal that no honest leader makes.
    Proposal(SetError),
    /// Two proposals for one round.
    TwoProposals(RoundId),
    /// A part of an attestation that is none, or a request for one that cannot be met.
    Part(AttestError),
    /// A report that no quorum has signed.
    Attestation(AttestError),
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "malformed bytes: {error}"),
            Self::Stranger => f.write_str("no member"),
            Self::NotLeader(round) => write!(f, "leads round {round} without being its leader"),
            Self::NoSuchRound(round) => write!(f, "round {round} is beyond its epoch"),
            Self::NotItsAuthor(member) => {
                write!(f, "an observation in the name of member {member}")
            }
            Self::Observation(error) => write!(f, "an observation that does not count: {error}"),
            Self::Proposal(error) => write!(f, "a proposal that no honest leader makes: {error}"),
            Self::TwoProposals(round) => write!(f, "two proposals for round {round}"),
            Self::Part(error) => write!(f, "a part that is none: {error}"),
            Self::Attestation(error) => write!(f, "a report that no quorum has signed: {error}"),
        }
    }
}
