//! Who the oracles are, what they price, and what all of them must agree on before they can agree on a price.

mod digest;
mod error;

use std::time::Duration;

use peaberry_chain::EvmAddress;
use peaberry_chain::primitives::B256;
use peaberry_core::PeerId;

pub use self::error::ConfigError;
use crate::feed::Feed;

/// The most members: a set of them fits into 64 bits, and a proposal into one message.
pub const MEMBERS_MAX: usize = 64;
/// The most feeds in one report.
pub const FEEDS_MAX: usize = 64;
/// The most rounds in an epoch: what a contract has room for.
pub const ROUNDS_PER_EPOCH_MAX: u32 = (1 << 24) - 1;
/// The greatest generation: what a contract has room for.
pub const GENERATION_MAX: u64 = u16::MAX as u64;
/// The weight of a member without a record, and the largest there is.
pub const WEIGHT_MAX: u16 = 1_000;
/// The least weight: whoever is a member is heard.
pub const WEIGHT_MIN: u16 = 100;

/// One oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a form to fill in; a new field is a decision"
)]
pub struct Member {
    /// Under which name it speaks on the transport.
    pub peer: PeerId,
    /// The address of the key with which it signs observations and, in an ECDSA quorum, reports.
    pub signer: EvmAddress,
    /// How much its word counts in the weighted median: [`WEIGHT_MIN`] to [`WEIGHT_MAX`].
    pub weight: u16,
}

/// How long things take. All oracles have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a form to fill in; a new field is a decision"
)]
pub struct Timing {
    /// From the start of one round to the start of the next.
    pub round: Duration,
    /// How long a leader waits for the others when it has heard 2f+1 and waiting brings no feed an answer more; else until
    /// half of `progress` has passed since its question. Below `round`.
    pub grace: Duration,
    /// An epoch that has shown no progress for so long is given up; a report that lacks an answer which it could have is
    /// none. Above `round`.
    pub progress: Duration,
    /// How often an oracle says in which epoch it is.
    pub beat: Duration,
    /// How long after one transmitter the next one steps in.
    pub stage: Duration,
    /// Values that came so long ago are not observed any more.
    pub observation_age_max: Duration,
    /// An observation so many milliseconds older than its report counts as late entirely in its author's reputation.
    pub latency_max_ms: u64,
    /// After so many rounds the next epoch begins: at most [`ROUNDS_PER_EPOCH_MAX`].
    pub rounds_per_epoch: u32,
}

impl Default for Timing {
    /// A round every 2 s, for oracles on several continents.
    fn default() -> Self {
        Self {
            round: Duration::from_secs(2),
            grace: Duration::from_millis(300),
            progress: Duration::from_secs(8),
            beat: Duration::from_secs(2),
            stage: Duration::from_secs(10),
            observation_age_max: Duration::from_secs(30),
            latency_max_ms: 30_000,
            rounds_per_epoch: 100,
        }
    }
}

/// What a [`Config`] is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a form to fill in; a new field is a decision"
)]
pub struct ConfigForm {
    /// The EVM chain of the contract, as EIP-155 numbers it.
    pub chain_id: u64,
    /// The contract that stores the answers.
    pub contract: EvmAddress,
    /// Which configuration of this contract this is, from 1 to [`GENERATION_MAX`]: the contract counts its own, and reports
    /// name it. Weights and members change only with it.
    pub generation: u64,
    /// How many members may lie.
    pub faulty: usize,
    /// How many must sign a report.
    pub threshold: usize,
    /// All oracles: 3·`faulty` + 1. The order numbers them.
    pub members: Vec<Member>,
    /// All feeds. The order numbers them.
    pub feeds: Vec<Feed>,
    /// How long things take.
    pub timing: Timing,
}

/// A checked configuration, with its digest. Whatever is signed is bound to the digest, and so to every member, key,
/// **weight**, feed and time-out in it, to the chain and to the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    form: ConfigForm,
    digest: B256,
    domain: B256,
    weights_are_equal: bool,
}

impl Config {
    /// Checks `form`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says which field cannot be, and what would do.
    ///
    /// # Example
    ///
    /// ```
    /// use peaberry_chain::EvmAddress;
    /// use peaberry_core::PeerId;
    /// use peaberry_oracle::{Config, ConfigError, ConfigForm, Feed, Member, Timing, WEIGHT_MAX};
    ///
    /// let member = |id: u8| Member {
    ///     peer: PeerId::new(id.into()).unwrap(),
    ///     signer: EvmAddress::repeat_byte(id),
    ///     weight: WEIGHT_MAX,
    /// };
    /// let form = ConfigForm {
    ///     chain_id: 1,
    ///     contract: EvmAddress::repeat_byte(0xcc),
    ///     generation: 1,
    ///     faulty: 1,
    ///     threshold: 2,
    ///     members: (1..=4).map(member).collect(),
    ///     feeds: vec![Feed {
    ///         name: "BTC/USD".into(), decimals: 8, min: 1, max: 10_i128.pow(16),
    ///         deviation_bps: 50, heartbeat_ms: 3_600_000, breaker_bps: Some(3_000),
    ///     }],
    ///     timing: Timing::default(),
    /// };
    /// let config = Config::new(form.clone()).unwrap();
    /// assert_eq!((config.members().len(), config.quorum()), (4, 3));
    ///
    /// let mut wrong = form;
    /// wrong.faulty = 2;
    /// assert!(matches!(Config::new(wrong), Err(ConfigError::Members { .. })));
    /// ```
    pub fn new(form: ConfigForm) -> Result<Self, ConfigError> {
        error::check(&form)?;
        let first = form.members.first().map(|member| member.weight);
        let weights_are_equal = form.members.iter().all(|it| Some(it.weight) == first);
        Ok(Self {
            digest: digest::of_config(&form),
            domain: digest::domain(form.chain_id, form.contract),
            form,
            weights_are_equal,
        })
    }

    /// The next generation: the same with other weights, such as [`agreed_weights`](crate::agreed_weights) gives.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: not one weight for each member, or one out of its bounds.
    pub fn succeed(&self, weights: &[u16]) -> Result<Self, ConfigError> {
        let mut form = self.form.clone();
        if weights.len() != form.members.len() {
            return Err(ConfigError::Weights {
                count: weights.len(),
                members: form.members.len(),
            });
        }
        form.generation = form.generation.saturating_add(1);
        for (member, weight) in form.members.iter_mut().zip(weights) {
            member.weight = *weight;
        }
        Self::new(form)
    }

    /// What it was made of.
    #[must_use]
    pub const fn form(&self) -> &ConfigForm {
        &self.form
    }

    /// Keccak-256 of all of it.
    #[must_use]
    pub const fn digest(&self) -> B256 {
        self.digest
    }

    /// Which configuration of its contract this is.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.form.generation
    }

    /// The domain separator of EIP-712: the contract on its chain.
    #[must_use]
    pub const fn domain(&self) -> B256 {
        self.domain
    }

    /// How many members may lie: f.
    #[must_use]
    pub const fn faulty(&self) -> usize {
        self.form.faulty
    }

    /// 2f+1: any two such sets of members share an honest one.
    #[must_use]
    pub const fn quorum(&self) -> usize {
        2 * self.form.faulty + 1
    }

    /// f+1: so many signatures contain an honest one.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.form.threshold
    }

    /// All oracles, by number.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.form.members
    }

    /// All feeds, by number.
    #[must_use]
    pub fn feeds(&self) -> &[Feed] {
        &self.form.feeds
    }

    /// How long things take.
    #[must_use]
    pub const fn timing(&self) -> &Timing {
        &self.form.timing
    }

    /// The number of the member that is `peer`.
    #[must_use]
    pub fn member_of(&self, peer: PeerId) -> Option<u8> {
        let at = self.form.members.iter().position(|it| it.peer == peer)?;
        u8::try_from(at).ok()
    }

    /// The member numbered `number`.
    #[must_use]
    pub fn member(&self, number: u8) -> Option<&Member> {
        self.form.members.get(usize::from(number))
    }

    /// Whether all members weigh the same, so that the weighted median is the plain one.
    #[must_use]
    pub const fn weights_are_equal(&self) -> bool {
        self.weights_are_equal
    }
}
