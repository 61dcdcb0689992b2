//! Reports on their way to the contract, through an outbox.

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::Stream;
use peaberry_chain::outbox::{IdempotencyKey, OutboxHandle, Refusal, Submission};
use peaberry_chain::primitives::Bytes as EvmBytes;
use peaberry_chain::{
    Address, Amount, BlockAt, CallRequest, ChainClient, ChainError, EvmAddress, Intent,
};
use peaberry_core::{Busy, Clock, Handle};

use crate::config::Config;
use crate::contract::{
    CallError, halted, halted_call, latest_round, latest_round_call, transmit_call,
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

    /// The newest round of which the contract has an answer, by the newest block: `None` before the first of this
    /// generation. A reorganisation may take it back; then the outbox of whoever put it there brings it again.
    ///
    /// # Errors
    ///
    /// [`ChainError`]: the contract could not be asked.
    pub async fn landed(&self) -> Result<Option<RoundId>, ChainError> {
        let mut newest = None;
        for (feed, _) in (0..=u8::MAX).zip(self.config.feeds()) {
            newest = newest.max(self.latest_round(feed).await?);
        }
        Ok(newest)
    }

    /// The feeds that the contract's own breaker has halted, by the newest block: they take no answer until they are reset
    /// ([`reset_call`](crate::reset_call), [`reset_by_quorum_call`](crate::reset_by_quorum_call)).
    ///
    /// # Errors
    ///
    /// [`ChainError`]: the contract could not be asked.
    pub async fn halted(&self) -> Result<BTreeSet<u8>, ChainError> {
        let mut feeds = BTreeSet::new();
        for (number, _) in (0..=u8::MAX).zip(self.config.feeds()) {
            // One without a breaker may still be halted from an earlier configuration.
            if self.is_halted(number).await? {
                feeds.insert(number);
            }
        }
        Ok(feeds)
    }

    async fn is_halted(&self, feed: u8) -> Result<bool, ChainError> {
        let answer = self.ask(halted_call(feed)).await?;
        Ok(halted(&answer).unwrap_or(false))
    }

    async fn latest_round(&self, feed: u8) -> Result<Option<RoundId>, ChainError> {
        let answer = self.ask(latest_round_call(feed)).await?;
        Ok(latest_round(&answer))
    }

    async fn ask(&self, data: Bytes) -> Result<EvmBytes, ChainError> {
        let request = CallRequest::new(self.config.form().contract, data);
        self.client.call(&request, BlockAt::Latest).await
    }

    /// Whether the contract would store an answer of this report: one of a later round than its feed has, for a feed that
    /// is not halted.
    async fn is_wanted(&self, report: &Report) -> Result<bool, ChainError> {
        for answer in &report.answers {
            let is_later = self.latest_round(answer.feed).await? < Some(report.round);
            if is_later && !self.is_halted(answer.feed).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Hands a report to the outbox, unless each of its feeds has an answer of this round or a later one, or is halted: it
    /// would be refused, and all of us would pay for that. Answers whether it was handed over: then
    /// it is in the outbox's journal, and a crash loses it no more.
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
        if !self.is_wanted(&report.report).await? {
            return Ok(false);
        }
        // By whom as well: an outbox may serve several oracles, each of which pays for itself.
        let digest = report.report.digest(&self.config);
        let key = IdempotencyKey::new([digest.as_slice(), self.from.as_slice()].concat());
        let key = key.expect("52 bytes can name an entry");
        let intent = Intent::Call {
            from: Address::Evm(self.from),
            to: Address::Evm(self.config.form().contract),
            value: Amount::wei(0),
            data: data.into(),
        };
        let chain = self.client.chain_id();
        self.outbox
            .submit(Submission::new(key, chain, intent))
            .await?;
        Ok(true)
    }

    /// Transmits what comes from `reports`, and every `look_every` tells `oracle` what has landed, and which halted feed
    /// takes answers again; ends with `reports`, or when the oracle's node stops. What goes wrong is told to `complain` and
    /// tried again. A look is two reads for each feed.
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
        let mut waiting: Vec<AttestedReport> = Vec::new();
        let mut seen = Seen::default();
        let mut due = clock.now();
        loop {
            match select(reports.next(), Box::pin(clock.sleep_until(due))).await {
                Either::Left((None, _)) => return,
                Either::Left((Some(report), _)) => waiting.push(report),
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
            self.try_all(&mut waiting, &mut complain).await;
        }
    }

    /// What the oracle is to be told of what has changed on chain.
    async fn look(&self, seen: &mut Seen) -> Result<Vec<OracleCommand>, ChainError> {
        let (landed, halted) = (self.landed().await?, self.halted().await?);
        let mut news = Vec::new();
        if let Some(round) = landed.filter(|_| landed > seen.landed) {
            news.push(OracleCommand::Landed(round));
        }
        for feed in seen.halted.difference(&halted) {
            news.push(OracleCommand::Resumed { feed: *feed });
        }
        *seen = Seen {
            landed: landed.max(seen.landed),
            halted,
        };
        Ok(news)
    }

    /// Keeps what could not be handed over for lack of a chain or of room.
    async fn try_all(
        &self,
        waiting: &mut Vec<AttestedReport>,
        complain: &mut impl FnMut(TransmitError),
    ) {
        let mut rest = Vec::new();
        let mut seen = BTreeSet::new();
        // The newest first: it makes the others needless.
        while let Some(report) = waiting.pop() {
            if !seen.insert(report.report.round) {
                continue;
            }
            match self.transmit(&report).await {
                Ok(_) => {}
                Err(error @ TransmitError::Call(_)) => complain(error),
                Err(error) => {
                    complain(error);
                    rest.push(report);
                }
            }
        }
        // The newest are kept.
        rest.truncate(WAITING_MAX);
        rest.reverse();
        *waiting = rest;
    }
}

/// What the last look at the contract has seen.
#[derive(Debug, Default)]
struct Seen {
    landed: Option<RoundId>,
    halted: BTreeSet<u8>,
}

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
