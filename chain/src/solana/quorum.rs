//! Reads that carry value: several Solana nodes asked, and believed where enough of them agree.

mod rule;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Bytes;
use async_trait::async_trait;
use futures_util::future::join_all;
use peaberry_core::{Clock, SystemClock};
use serde_json::{Value, json};

use self::rule::{Counted, Rule};
use super::ANSWER_BYTES_MAX;
use crate::deadline::within;
use crate::evm::Dissent;
use crate::{RpcTransport, TransportFailure};

/// One node of several must answer sooner than whoever asks them all gives up.
const NODE_WITHIN: Duration = Duration::from_secs(5);

/// Several nodes of one Solana cluster as one transport: an answer counts when `m` of them give it.
///
/// - Balances, accounts, blocks: equal in `m` answers, whatever the slot as of which each node says so; the answer's slot is
///   the lowest of theirs.
/// - What became of a signature: its slot and its failure are equal in `m` answers, and its commitment is one that `m` nodes
///   find reached. That nobody knows of it counts only where `m` nodes know nothing.
/// - Heights and block hashes are no facts on which nodes agree: of those the highest is taken that not only liars can have
///   named. Of ledgers' first slots it is the highest: whoever claims to know least is believed, and what depends on the past
///   waits.
/// - Simulations: equal verdicts; the units are the highest that one of those names, which may be a liar.
/// - Transactions are given to all nodes; so many must take one that not all of them can be liars.
/// - Who says otherwise than the quorum is named to [`with_report`](Self::with_report). A node that knows nothing, or fails, is
///   not accused: it may just be behind.
///
/// Of `k` nodes `m > k / 2` must agree, so that there are no two quorums.
///
/// ```
/// use std::sync::Arc;
///
/// use peaberry_chain::solana::{SolanaQuorum, SolanaRpc};
/// use peaberry_chain::{HttpEndpoint, HttpOptions, RpcTransport};
///
/// let node = |url| -> Arc<dyn RpcTransport> {
///     Arc::new(HttpEndpoint::new(url, HttpOptions::default()).unwrap())
/// };
/// let nodes = ["http://one.example", "http://two.example", "http://three.example"];
/// let nodes = nodes.map(|url| (url.to_owned(), node(url))).into();
/// let rpc = SolanaRpc::new(Arc::new(SolanaQuorum::new(nodes, 2)));
/// ```
pub struct SolanaQuorum {
    nodes: Vec<(String, Arc<dyn RpcTransport>)>,
    wanted: usize,
    clock: Arc<dyn Clock>,
    answer_within: Duration,
    report: Arc<dyn Fn(&Dissent) + Send + Sync>,
}

impl SolanaQuorum {
    /// The nodes, by the names under which they are to be reported; `wanted` of them must agree.
    ///
    /// # Panics
    ///
    /// `wanted` is not more than half of the nodes, or more than all.
    #[must_use]
    pub fn new(nodes: Vec<(String, Arc<dyn RpcTransport>)>, wanted: usize) -> Self {
        assert!(
            wanted * 2 > nodes.len() && wanted <= nodes.len(),
            "{wanted} of {} is no majority",
            nodes.len()
        );
        Self {
            nodes,
            wanted,
            clock: Arc::new(SystemClock::new()),
            answer_within: NODE_WITHIN,
            report: Arc::new(|_| {}),
        }
    }

    /// Tells `report` of every node that contradicts the others.
    #[must_use]
    pub fn with_report(mut self, report: impl Fn(&Dissent) + Send + Sync + 'static) -> Self {
        self.report = Arc::new(report);
        self
    }

    /// Each node has this long; 5 s by default. Less than [`SolanaRpc`](super::SolanaRpc) gives all of them together.
    #[must_use]
    pub const fn with_answer_within(mut self, answer_within: Duration) -> Self {
        self.answer_within = answer_within;
        self
    }

    /// Time comes from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn ask(
        &self,
        node: &dyn RpcTransport,
        request: Bytes,
    ) -> Result<Value, TransportFailure> {
        let exchange = within(&*self.clock, self.answer_within, node.exchange(request));
        let answer = match exchange.await {
            Some(Ok(answer)) => answer,
            // Some gateways give JSON-RPC's errors another status than 200.
            Some(Err(TransportFailure::Status { status, body })) => {
                let answer = serde_json::from_slice(&body).ok();
                let answer = answer.filter(|answer: &Value| answer.get("error").is_some());
                return answer.ok_or(TransportFailure::Status { status, body });
            }
            Some(Err(failure)) => return Err(failure),
            None => return Err(TransportFailure::Broken(Arc::new(Silent))),
        };
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(TransportFailure::TooLarge(ANSWER_BYTES_MAX));
        }
        serde_json::from_slice(&answer).map_err(|error| TransportFailure::Broken(Arc::new(error)))
    }

    fn tell(&self, counted: &Counted, doing: &'static str) {
        for at in &counted.dissenting {
            if let Some((name, _)) = self.nodes.get(*at) {
                (self.report)(&Dissent {
                    node: name.clone(),
                    doing,
                });
            }
        }
    }

    /// Nobody has an answer that counts: what is the matter with them?
    fn failure(
        &self,
        agreed: usize,
        answers: &[Result<Value, TransportFailure>],
    ) -> TransportFailure {
        // Whether a node may have got it weighs more than why another has not.
        let open = failures(answers).find(|failure| is_open(failure));
        match open.or_else(|| failures(answers).next()).cloned() {
            Some(failure) if agreed == 0 => failure,
            _ => TransportFailure::NoQuorum {
                agreed,
                asked: self.nodes.len(),
                wanted: self.wanted,
            },
        }
    }
}

#[async_trait]
impl RpcTransport for SolanaQuorum {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let asked: Value = serde_json::from_slice(&request)
            .map_err(|error| TransportFailure::Connect(Arc::new(error)))?;
        let rule = Rule::of(
            asked
                .get("method")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        );
        let answers = self
            .nodes
            .iter()
            .map(|(_, node)| self.ask(&**node, request.clone()));
        let answers = join_all(answers).await;
        let heard: Vec<Option<&Value>> = answers.iter().map(|one| one.as_ref().ok()).collect();
        match rule.count(&heard, self.wanted) {
            Ok(counted) => {
                // As long as one that is silent may have taken it, refusals by the others are no end.
                if rule.is_sending()
                    && counted.is_refusal()
                    && let Some(open) = failures(&answers).find(|failure| is_open(failure))
                {
                    return Err(open.clone());
                }
                self.tell(&counted, rule.doing);
                let answer =
                    json!({"jsonrpc": "2.0", "id": asked.get("id"), counted.part: counted.value});
                Ok(answer.to_string().into_bytes().into())
            }
            Err(agreed) => Err(self.failure(agreed, &answers)),
        }
    }
}

fn failures(
    answers: &[Result<Value, TransportFailure>],
) -> impl Iterator<Item = &TransportFailure> {
    answers.iter().filter_map(|answer| answer.as_ref().err())
}

/// Whether the node may have got the request.
const fn is_open(failure: &TransportFailure) -> bool {
    !matches!(
        failure,
        TransportFailure::Connect(_) | TransportFailure::RateLimited(_)
    )
}

/// A node has not answered in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer in time")]
struct Silent;

impl fmt::Debug for SolanaQuorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.nodes.iter().map(|(name, _)| name);
        f.debug_struct("SolanaQuorum")
            .field("wanted", &self.wanted)
            .field("nodes", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
