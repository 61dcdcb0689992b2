//! Reports on their way to the contract, through an outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::Stream;
use futures_util::{FutureExt as _, StreamExt as _};
use peaberry_chain::outbox::{IdempotencyKey, OutboxHandle, Outcome, Refusal, Stage, Submission};
use peaberry_chain::{
    Address, Amount, BlockAt, CallRequest, ChainClient, ChainError, EvmAddress, Intent,
};
use peaberry_core::{Busy, Clock, Handle};

use crate::config::Config;
use crate::contract::{
    CallError, ContractState, contract_state, contract_state_call, transmit_call,
};
use crate::protocol::OracleCommand;
use crate::report::{AttestedReport, Report};
use crate::round_id::RoundId;

/// Why a report was not handed over. It may be handed over again: the outbox knows it by its digest and who pays, and the
/// contract takes it once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransmitError {
    /// No contract of this configuration takes it.
    #[error("the report fits no contract of this configuration")]
    Call(#[from] CallError),
    /// The chain could not be asked.
    #[error("the contract could not be asked")]
    Chain(#[from] ChainError),
    /// The outbox did not take it.
    #[error("the outbox did not take the report")]
    Outbox(#[from] Refusal),
    /// The contract is of an earlier generation, or not configured, or not there yet. The report may be taken later.
    #[error(
        "the contract does not hold generation {generation} yet: have it configured, or rotated"
    )]
    NotInstalled {
        /// Ours.
        generation: u64,
    },
    /// The outbox has given it up so often that it is not handed over again.
    #[error(
        "the outbox has given up the report of round {round} {ATTEMPTS_MAX} times: its journal says why"
    )]
    GivenUp {
        /// Of which round.
        round: RoundId,
    },
}

/// Puts reports on chain for one oracle when it is its turn, and tells it what has landed, whoever put it there.
///
/// Each report has an order of transmitters ([`slot_of`](crate::slot_of)). The first one transmits at once; the others wait
/// [`Timing::stage`](crate::Timing) each, and transmit only if nothing has landed by then. So a report is paid for once
/// where the first transmitter does its part within a stage, and a silent one costs one stage.
///
/// Hand it what [`OracleEvent::Transmit`](crate::OracleEvent) says; see `tests/on_chain.rs`.
pub struct Transmitter {
    config: Arc<Config>,
    client: Arc<dyn ChainClient>,
    outbox: OutboxHandle,
    from: EvmAddress,
}

impl fmt::Debug for Transmitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmitter")
            .field("from", &self.from)
            .field("contract", &self.config.form().contract)
            .finish_non_exhaustive()
    }
}

impl Transmitter {
    /// Pays from the account `from`, whose signer is the outbox's; asks the contract of `config` through `client`.
    #[must_use]
    pub const fn new(
        config: Arc<Config>,
        client: Arc<dyn ChainClient>,
        outbox: OutboxHandle,
        from: EvmAddress,
    ) -> Self {
        Self {
            config,
            client,
            outbox,
            from,
        }
    }

    /// The newest round of which the contract has an answer, or by which it has halted a feed, by the newest block: `None`
    /// before the first of this generation, and while the contract is of another one. A reorganisation may take it back;
    /// then the outbox of whoever put it there brings it again.
    ///
    /// # Errors
    ///
    /// [`ChainError`]: the contract could not be asked.
    pub async fn landed(&self) -> Result<Option<RoundId>, ChainError> {
        let state = self.state().await?;
        let state = state.filter(|state| self.is_ours(state));
        Ok(state.and_then(|state| state.newest_round()))
    }

    /// Rounds of another generation say nothing of ours: each begins anew.
    fn is_ours(&self, state: &ContractState) -> bool {
        state.generation == self.config.generation()
    }

    /// The feeds that the contract's own breaker has halted, by the newest block: they take no answer until they are reset
    /// ([`reset_call`](crate::reset_call), [`reset_by_quorum_call`](crate::reset_by_quorum_call)).
    ///
    /// # Errors
    ///
    /// [`ChainError`]: the contract could not be asked.
    pub async fn halted(&self) -> Result<BTreeSet<u8>, ChainError> {
        let feeds = self.state().await?.map(|state| state.feeds);
        let feeds = (0..=u8::MAX).zip(feeds.unwrap_or_default());
        let halted = feeds.filter(|(_, feed)| feed.is_halted);
        Ok(halted.map(|(number, _)| number).collect())
    }

    /// All at once, so that it is of one block; `None` where there is no contract.
    async fn state(&self) -> Result<Option<ContractState>, ChainError> {
        let request = CallRequest::new(self.config.form().contract, contract_state_call());
        let answer = self.client.call(&request, BlockAt::Latest).await?;
        Ok(contract_state(&answer))
    }

    /// Hands a report to the outbox, unless the contract would store none of its answers, because each of its feeds has one
    /// of this round or a later one, is halted, or was reset after the report was observed, or because a later generation
    /// holds: it would be refused, and all of us would pay for that. Answers whether it was handed over: then it is in the
    /// outbox's journal, and a crash loses it no more.
    ///
    /// A report that the outbox gave up, or that was undone on chain, and that the contract would store by now, is handed
    /// over anew; one that was called off there is not.
    ///
    /// # Errors
    ///
    /// [`TransmitError`]; nothing was sent.
    ///
    /// # Panics
    ///
    /// Never: a digest can name an entry.
    pub async fn transmit(&self, report: &AttestedReport) -> Result<bool, TransmitError> {
        let data = transmit_call(&self.config, report)?;
        let ours = self.config.generation();
        let state = self.state().await?;
        let state = state.filter(|state| state.generation >= ours);
        let state = state.ok_or(TransmitError::NotInstalled { generation: ours })?;
        if state.generation > ours || !state.takes(&report.report) {
            return Ok(false);
        }
        let intent = Intent::Call {
            from: Address::Evm(self.from),
            to: Address::Evm(self.config.form().contract),
            value: Amount::wei(0),
            data: data.into(),
        };
        for attempt in 0..ATTEMPTS_MAX {
            let key = self.key(&report.report, attempt);
            match self.hand_over(key, intent.clone()).await? {
                HandedOver::Yes => return Ok(true),
                HandedOver::CalledOff => return Ok(false),
                HandedOver::InVain => {}
            }
        }
        Err(TransmitError::GivenUp {
            round: report.report.round,
        })
    }

    /// What the outbox knows an attempt by: the report and, since an outbox may serve several oracles, each of which pays
    /// for itself, who pays.
    fn key(&self, report: &Report, attempt: u8) -> IdempotencyKey {
        let mut key = report.digest(&self.config).to_vec();
        key.extend_from_slice(self.from.as_slice());
        // The first one is named as it always was.
        key.extend((attempt > 0).then_some(attempt));
        IdempotencyKey::new(key).expect("53 bytes can name an entry")
    }

    async fn hand_over(
        &self,
        key: IdempotencyKey,
        intent: Intent,
    ) -> Result<HandedOver, TransmitError> {
        let submission = Submission::new(key, self.client.chain_id(), intent);
        let mut stages = match self.outbox.submit(submission).await {
            Ok(stages) => stages,
            // It ended long ago, and the contract says that nothing came of it.
            Err(Refusal::Forgotten { .. }) => return Ok(HandedOver::InVain),
            Err(refusal) => return Err(refusal.into()),
        };
        // The first stage is where it stands now: an entry that the journal knew may have ended.
        Ok(match stages.next().now_or_never().flatten() {
            Some(Stage::Ended(Outcome::Cancelled)) => HandedOver::CalledOff,
            Some(Stage::Ended(Outcome::Rejected { .. })) => HandedOver::InVain,
            Some(Stage::Ended(Outcome::Final(inclusion))) if !inclusion.is_success => {
                HandedOver::InVain
            }
            _ => HandedOver::Yes,
        })
    }

    /// Transmits what comes from `reports`, and every `look_every` tells `oracle` what has landed, and which feed that was
    /// halted takes answers again; ends with `reports`, or when the oracle's node stops. What goes wrong is told to
    /// `complain` and tried again. A look is one read.
    ///
    /// `look_every` should be well below a stage: an oracle that has not heard that a report landed pays for it again.
    pub async fn run(
        self,
        clock: Arc<dyn Clock>,
        look_every: Duration,
        mut reports: impl Stream<Item = AttestedReport> + Unpin,
        oracle: Handle<OracleCommand>,
        mut complain: impl FnMut(TransmitError),
    ) {
        let mut desk = Desk::default();
        let mut seen = Seen::default();
        let mut due = clock.now();
        loop {
            match select(reports.next(), Box::pin(clock.sleep_until(due))).await {
                Either::Left((None, _)) => return,
                Either::Left((Some(report), _)) => desk.waiting.push(report),
                Either::Right(_) => {
                    due = clock.now() + look_every;
                    match self.look(&mut seen).await {
                        Ok(news) => {
                            for command in news {
                                if !tell(&oracle, command).await {
                                    return;
                                }
                            }
                        }
                        Err(error) => complain(error.into()),
                    }
                }
            }
            self.try_all(&mut desk, &mut complain).await;
        }
    }

    /// What the oracle is to be told of what has changed on chain.
    async fn look(&self, seen: &mut Seen) -> Result<Vec<OracleCommand>, ChainError> {
        let Some(state) = self.state().await? else {
            return Ok(Vec::new());
        };
        let mut news = Vec::new();
        if self.is_ours(&state) {
            for (feed, stored) in (0..=u8::MAX).zip(&state.feeds) {
                if let Some(round) = stored.round.filter(|it| seen.landed.get(&feed) < Some(it)) {
                    seen.landed.insert(feed, round);
                    news.push(OracleCommand::Landed { feed, round });
                }
            }
        }
        let opening: BTreeMap<u8, u64> = (0..=u8::MAX)
            .zip(&state.feeds)
            .filter_map(|(number, feed)| Some((number, feed.opens_at_s?)))
            .collect();
        for (feed, at_s) in &opening {
            // As the contract remembers it, a reset that nobody of us saw is noticed too.
            if seen.opening.get(feed) != Some(at_s) {
                let from_ms = at_s.saturating_mul(1000);
                news.push(OracleCommand::Resumed {
                    feed: *feed,
                    from_ms,
                });
            }
        }
        seen.opening = opening;
        Ok(news)
    }

    /// Keeps what could not be handed over for lack of a chain, of a contract that is ready, or of room.
    async fn try_all(&self, desk: &mut Desk, complain: &mut impl FnMut(TransmitError)) {
        let mut waiting = std::mem::take(&mut desk.waiting);
        waiting.sort_unstable_by_key(|it| it.report.round);
        // The newest first: it makes those needless of which it has every feed.
        while let Some(report) = waiting.pop() {
            if desk.is_needless(&report.report) {
                continue;
            }
            match self.transmit(&report).await {
                Ok(true) => desk.hand_over(&report.report),
                Ok(false) => {}
                Err(error @ (TransmitError::Call(_) | TransmitError::GivenUp { .. })) => {
                    complain(error);
                }
                // The outbox would say the same for ever.
                Err(
                    error @ TransmitError::Outbox(Refusal::KeyTaken { .. } | Refusal::Invalid(_)),
                ) => complain(error),
                // What stands in the way of this one may be gone by the time an older one is tried, which would then be paid
                // for although it is needless. So the older ones wait behind it.
                Err(error) => {
                    complain(error);
                    desk.waiting.push(report);
                    desk.waiting.extend(waiting.into_iter().rev());
                    break;
                }
            }
        }
        // The newest are kept.
        desk.waiting.truncate(WAITING_MAX);
    }
}

/// What has become of handing a report over under one key.
enum HandedOver {
    /// It is in the journal, and something will come of it, or has.
    Yes,
    /// The outbox's operator has called it off.
    CalledOff,
    /// It has ended, and nothing came of it.
    InVain,
}

/// What there is to transmit, and what the outbox has.
#[derive(Debug, Default)]
struct Desk {
    waiting: Vec<AttestedReport>,
    /// The newest round that was handed over with an answer for each feed. The contract does not show it before it is in a
    /// block, and what is handed over behind it would be undone, and paid for.
    handed: BTreeMap<u8, RoundId>,
}

impl Desk {
    fn hand_over(&mut self, report: &Report) {
        for answer in &report.answers {
            let newest = self.handed.entry(answer.feed).or_insert(report.round);
            *newest = report.round.max(*newest);
        }
    }

    /// Whether newer answers for each of its feeds were handed over.
    fn is_needless(&self, report: &Report) -> bool {
        let mut answers = report.answers.iter();
        answers.all(|answer| self.handed.get(&answer.feed) > Some(&report.round))
    }
}

/// What the last looks at the contract have seen.
#[derive(Debug, Default)]
struct Seen {
    /// By feed, the newest round.
    landed: BTreeMap<u8, RoundId>,
    /// Feeds that were reset and await an answer, and from when on, in seconds.
    opening: BTreeMap<u8, u64>,
}

/// How often a report is handed over that the outbox has given up before.
const ATTEMPTS_MAX: u8 = 16;
/// How many reports may wait for a chain that does not answer.
const WAITING_MAX: usize = 8;

/// Tells an oracle, as soon as its node has room; whether there is a node still.
async fn tell(oracle: &Handle<OracleCommand>, mut command: OracleCommand) -> bool {
    loop {
        match oracle.submit(command) {
            Ok(()) => return true,
            Err(Busy::Closed(_)) => return false,
            Err(Busy::Full(back)) => command = back,
        }
        poll_fn(|cx| oracle.poll_room(cx)).await;
    }
}
