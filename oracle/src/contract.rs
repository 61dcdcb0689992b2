//! What the contract `PriceOracle` is called with, and what it answers.

use alloy_sol_types::{SolCall, SolValue, sol};
use bytes::Bytes;
use peaberry_chain::primitives::aliases::{U24, U136};
use peaberry_chain::primitives::{B256, U256, keccak256};

use crate::config::Config;
use crate::observation::typed_data_digest;
use crate::report::{AttestedReport, Report};
use crate::round_id::RoundId;

sol! {
    struct FeedParameters {
        string description;
        uint8 decimals;
        uint32 breakerBps;
        uint128 least;
        uint128 greatest;
    }

    struct Configuration {
        bytes32 digest;
        uint8 scheme;
        uint8 threshold;
        bytes keys;
        uint8 members;
        uint24 reportAgeMax;
        FeedParameters[] feeds;
    }

    struct StoredState {
        uint32 epoch;
        uint32 round;
        bool isHalted;
        uint64 opensAt;
    }

    function configure(Configuration next);
    function rotate(Configuration next, bytes32[] attestation);
    function transmit(uint136 head, bytes32 observations, bytes32[] words);
    function reset(uint256 feed);
    function resetByQuorum(uint256 feed, bytes32[] attestation);
    function isHalted(uint256 feed) returns (bool);
    function latestRound(uint256 feed) returns (uint32 epoch, uint32 round);
    function latestRoundDataOf(uint256 feed)
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    function feedStates() returns (uint32 generation, StoredState[] states);
}

/// The oldest report that a contract can be told to take, in seconds: about three days.
pub const REPORT_AGE_MAX_S: u32 = (1 << 18) - 1;
const WORD_BYTES: usize = 32;

/// Why there is no such call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The report is of another configuration.
    #[error("the report is of configuration {0}, which is not this one")]
    OtherConfiguration(B256),
    /// A round that no contract has room for: no oracle reaches it.
    #[error("round {0} is beyond what a contract has room for")]
    Round(RoundId),
    /// Not whole words.
    #[error("an attestation of {0} bytes, which are no whole words of 32")]
    Attestation(usize),
    /// An age that no contract has room for, or zero.
    #[error("reports of up to {0} s: choose 1 to {REPORT_AGE_MAX_S}")]
    Age(u32),
}

/// What a contract needs to know beside the [`Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContractTerms {
    /// The group's key, if it signs as one; else each member signs by its own.
    pub group_key: Option<[u8; 33]>,
    /// Reports that were observed longer ago are refused, in seconds: 1 to [`REPORT_AGE_MAX_S`]. So long a liar may keep back
    /// a report that was signed under its lead, until an honest one lands: some stages and the time that a transaction may
    /// take are enough.
    pub report_age_max_s: u32,
}

impl ContractTerms {
    /// A signature of each of f+1 members.
    #[must_use]
    pub const fn quorum(report_age_max_s: u32) -> Self {
        Self {
            group_key: None,
            report_age_max_s,
        }
    }

    /// One signature of the group with this key ([`GroupShare::group_key`](crate::GroupShare::group_key)).
    #[must_use]
    pub const fn group(group_key: [u8; 33], report_age_max_s: u32) -> Self {
        Self {
            group_key: Some(group_key),
            report_age_max_s,
        }
    }

    fn configuration(&self, config: &Config) -> Result<Configuration, CallError> {
        let age = self.report_age_max_s;
        if age == 0 || age > REPORT_AGE_MAX_S {
            return Err(CallError::Age(age));
        }
        let signers = config.members().iter().flat_map(|it| it.signer.0.0);
        let feeds = config.feeds().iter().map(|feed| FeedParameters {
            description: feed.name.clone(),
            decimals: feed.decimals,
            breakerBps: feed.breaker_bps.unwrap_or(0),
            // Both are above zero: the configuration was checked.
            least: feed.min.unsigned_abs(),
            greatest: feed.max.unsigned_abs(),
        });
        let keys = self
            .group_key
            .map_or_else(|| signers.collect(), |key| key.to_vec());
        Ok(Configuration {
            digest: config.digest(),
            scheme: if self.group_key.is_some() { 2 } else { 1 },
            threshold: u8::try_from(config.threshold()).unwrap_or(u8::MAX),
            keys: keys.into(),
            members: u8::try_from(config.members().len()).unwrap_or(u8::MAX),
            reportAgeMax: U24::from(age),
            feeds: feeds.collect(),
        })
    }
}

/// The call by which the contract's configurer installs `config`. The contract counts its generations itself: it must be
/// the one that `config` names.
///
/// # Errors
///
/// [`CallError::Age`].
pub fn configure_call(config: &Config, terms: &ContractTerms) -> Result<Bytes, CallError> {
    let next = terms.configuration(config)?;
    Ok(configureCall { next }.abi_encode().into())
}

/// What 2f+1 members of `config`, or its group, sign to hand over to `next`: then [`rotate_call`] needs no configurer.
///
/// # Errors
///
/// [`CallError::Age`].
pub fn rotation_digest(
    config: &Config,
    next: &Config,
    terms: &ContractTerms,
) -> Result<B256, CallError> {
    let fields = [
        keccak256("Rotation(bytes32 from,uint32 generation,bytes32 to)"),
        config.digest(),
        U256::from(next.generation()).into(),
        keccak256(terms.configuration(next)?.abi_encode()),
    ];
    Ok(typed_data_digest(
        config.domain(),
        keccak256(fields.concat()),
    ))
}

/// The call that hands over to `next` with an attestation of its [`rotation_digest`].
///
/// # Errors
///
/// [`CallError::Age`] and [`CallError::Attestation`].
pub fn rotate_call(
    next: &Config,
    terms: &ContractTerms,
    attestation: &[u8],
) -> Result<Bytes, CallError> {
    let call = rotateCall {
        next: terms.configuration(next)?,
        attestation: words_of(attestation)?,
    };
    Ok(call.abi_encode().into())
}

/// The call that brings a report.
///
/// # Errors
///
/// [`CallError`]: the report or its attestation is none that a contract with this configuration takes.
///
/// # Example
///
/// `examples/oracle_price.rs` and `tests/on_chain.rs` transmit reports of the round protocol.
pub fn transmit_call(config: &Config, attested: &AttestedReport) -> Result<Bytes, CallError> {
    let report = &attested.report;
    if report.config != config.digest() {
        return Err(CallError::OtherConfiguration(report.config));
    }
    let (epoch, round) = (report.round.epoch(), report.round.round());
    if round >= 1 << 24 {
        return Err(CallError::Round(report.round));
    }
    let head = (U136::from(config.generation()) << 120)
        | (U136::from(epoch) << 88)
        | (U136::from(round) << 64)
        | U136::from(report.observed_at_ms);
    let answers = report.answers.iter().map(|answer| B256::new(answer.word()));
    let mut words: Vec<B256> = answers.collect();
    words.extend(words_of(&attested.attestation)?);
    let call = transmitCall {
        head,
        observations: report.observations,
        words,
    };
    Ok(call.abi_encode().into())
}

/// What the contract would take, of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContractState {
    /// The generation that holds; zero before the first.
    pub generation: u64,
    /// In the order of their numbers.
    pub feeds: Vec<FeedState>,
}

/// What a feed of the contract would take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedState {
    /// The round of its last answer, or of the one that halted it: later ones are taken. `None` before the first of this
    /// generation.
    pub round: Option<RoundId>,
    /// Its breaker has tripped: it keeps its last answer and takes no other until it is reset.
    pub is_halted: bool,
    /// It was reset and has had no answer since: only what was observed in this second or later is taken, in seconds since
    /// 1970-01-01 UTC.
    pub opens_at_s: Option<u64>,
}

impl ContractState {
    /// Whether an answer of `report` would be stored.
    #[must_use]
    pub fn takes(&self, report: &Report) -> bool {
        report.answers.iter().any(|answer| {
            let feed = self.feeds.get(usize::from(answer.feed));
            feed.is_some_and(|feed| feed.takes(report))
        })
    }

    /// The newest round of which a feed has an answer.
    #[must_use]
    pub fn newest_round(&self) -> Option<RoundId> {
        self.feeds.iter().filter_map(|feed| feed.round).max()
    }
}

impl FeedState {
    /// Whether an answer of `report` for this feed would be stored, if it lies within the feed's bounds.
    #[must_use]
    pub fn takes(&self, report: &Report) -> bool {
        let is_open = self
            .opens_at_s
            .is_none_or(|at| report.observed_at_ms / 1000 >= at);
        !self.is_halted && is_open && self.round < Some(report.round)
    }
}

/// The call that asks what the contract would take: one question about all feeds.
#[must_use]
pub fn contract_state_call() -> Bytes {
    feedStatesCall {}.abi_encode().into()
}

/// What was answered; `None` for bytes that are no answer, as where there is no contract.
#[must_use]
pub fn contract_state(answer: &[u8]) -> Option<ContractState> {
    let state = feedStatesCall::abi_decode_returns_validate(answer).ok()?;
    let feeds = state.states.into_iter().map(|feed| FeedState {
        round: RoundId::new(feed.epoch, feed.round),
        is_halted: feed.isHalted,
        opens_at_s: Some(feed.opensAt).filter(|at| *at > 0),
    });
    Some(ContractState {
        generation: state.generation.into(),
        feeds: feeds.collect(),
    })
}

/// The call that asks for the newest round that a feed has an answer of, or that halted it.
#[must_use]
pub fn latest_round_call(feed: u8) -> Bytes {
    let feed = U256::from(feed);
    latestRoundCall { feed }.abi_encode().into()
}

/// What was answered: `None` before the first answer under a configuration, and for bytes that are no answer.
#[must_use]
pub fn latest_round(answer: &[u8]) -> Option<RoundId> {
    let round = latestRoundCall::abi_decode_returns_validate(answer).ok()?;
    RoundId::new(round.epoch, round.round)
}

/// The call that asks whether the contract's breaker has halted a feed: it keeps its last answer and takes no other.
#[must_use]
pub fn halted_call(feed: u8) -> Bytes {
    let feed = U256::from(feed);
    isHaltedCall { feed }.abi_encode().into()
}

/// What was answered; `None` for bytes that are no answer.
#[must_use]
pub fn halted(answer: &[u8]) -> Option<bool> {
    isHaltedCall::abi_decode_returns_validate(answer).ok()
}

/// The call that asks for the newest answer of a feed, over all configurations. It reverts before the first one.
#[must_use]
pub fn stored_answer_call(feed: u8) -> Bytes {
    let feed = U256::from(feed);
    latestRoundDataOfCall { feed }.abi_encode().into()
}

/// An answer as the contract gives it (`AggregatorV3Interface`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredAnswer {
    /// How many answers the feed has stored, this one included: its `roundId`.
    pub count: u32,
    /// In units of 10^-decimals.
    pub value: i128,
    /// When the oracles observed it, in seconds since 1970-01-01 UTC.
    pub observed_at_s: u64,
    /// When it was stored, in seconds since 1970-01-01 UTC.
    pub stored_at_s: u64,
}

/// What was answered; `None` for bytes that are no answer.
#[must_use]
pub fn stored_answer(answer: &[u8]) -> Option<StoredAnswer> {
    let data = latestRoundDataOfCall::abi_decode_returns_validate(answer).ok()?;
    Some(StoredAnswer {
        count: data.roundId.try_into().ok()?,
        value: data.answer.try_into().ok()?,
        observed_at_s: data.startedAt.try_into().ok()?,
        stored_at_s: data.updatedAt.try_into().ok()?,
    })
}

/// The call by which a resetter, an account with that role, lets a halted feed take answers again. The next one may be
/// anything within the feed's bounds, if it was observed in a later second than that of the reset's block, by the oracles' clocks: what was
/// signed before, by whomever it is brought, is never taken, but for the last seconds where a quorum's clocks are ahead by as
/// many. So reset when the sources have been right for a while.
#[must_use]
pub fn reset_call(feed: u8) -> Bytes {
    let feed = U256::from(feed);
    resetCall { feed }.abi_encode().into()
}

/// What 2f+1 members of `config`, or its group, sign to let a halted feed take answers again without a resetter. `count`
/// is the [count](StoredAnswer::count) of the answer that the feed was halted at: the signatures reset no later halt.
///
/// Each member signs it with its key; [`EcdsaAttestation::to_bytes`](crate::EcdsaAttestation::to_bytes) is the attestation.
/// A group signs it as it signs a report's digest.
#[must_use]
pub fn reset_digest(config: &Config, feed: u8, count: u32) -> B256 {
    let fields = [
        keccak256("Reset(bytes32 configDigest,uint256 feed,uint32 count)"),
        config.digest(),
        U256::from(feed).into(),
        U256::from(count).into(),
    ];
    typed_data_digest(config.domain(), keccak256(fields.concat()))
}

/// The call that resets a halted feed with an attestation of its [`reset_digest`]. Whoever has it may send it.
///
/// # Errors
///
/// [`CallError::Attestation`].
pub fn reset_by_quorum_call(feed: u8, attestation: &[u8]) -> Result<Bytes, CallError> {
    let call = resetByQuorumCall {
        feed: U256::from(feed),
        attestation: words_of(attestation)?,
    };
    Ok(call.abi_encode().into())
}

fn words_of(attestation: &[u8]) -> Result<Vec<B256>, CallError> {
    let (words, rest) = attestation.as_chunks::<WORD_BYTES>();
    if !rest.is_empty() {
        return Err(CallError::Attestation(attestation.len()));
    }
    Ok(words.iter().map(|word| B256::new(*word)).collect())
}
