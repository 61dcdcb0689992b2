//! Reads that carry value: several Solana nodes asked, and believed where enough of them agree.

mod rule;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Bytes;
use async_trait::async_trait;
use futures_util::future::join_all;
use peaberry_core::{Clock, SystemClock, mutant};
use serde_json::{Value, json};

use self::rule::{Counted, Ignorance, Rule};
use super::ANSWER_BYTES_MAX;
use crate::deadline::within;
use crate::evm::Dissent;
use crate::{RpcTransport, TransportFailure};

/// Where the answer about an unknown signature says for what that counts, in its context: pairs of a slot as of which it is so
/// and of the first slot of the ledgers in which that was looked up. What nodes have there themselves is not handed on.
const KNOWN_SINCE: &str = "peaberryKnownSince";

/// One node of several must answer sooner than whoever asks them all gives up.
const NODE_WITHIN: Duration = Duration::from_secs(5);

/// Several nodes of one Solana cluster as one transport: an answer counts when `m` of them give it. It is made anew of what
/// they agree on: fields and words that one node alone has written are not handed on, and an answer of another shape than its
/// method's is none.
///
/// - Balances, accounts, blocks: equal in `m` answers, whatever the slot as of which each node says so; the answer's slot is
///   the newest that `m` of these have reached.
/// - What became of a signature (one a question): its slot and its failure are equal in `m` answers, and its commitment is one
///   that `m` nodes find reached. That nobody knows of it counts only where `m` nodes know nothing; and the answer says as of
///   which slot and since which `m` of these, the same for both, have everything: a node whose ledger begins later or which
///   is behind is no witness, and one that lies about that holds nothing up.
/// - The newest height, and the newest block's hash with the height up to which it is valid: equal in `m` answers, or else those
///   of the newest block that `m` nodes have reached, which is asked for by its slot. A liar cannot join one block's hash with
///   another's height: what is dated by it would be valid when it seems to have expired.
/// - Of ledgers' first slots, asked for by themselves, the lowest since which `m` of them have everything.
/// - Simulations: equal verdicts; of the units the most that not only liars can have named, and no less than not only liars
///   have named; no answer where these are more than twice apart.
/// - Refusals: equal codes and reasons; their words where `m` nodes use the same.
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
                // What else is in it is one node's, and for nobody to read.
                let body = Bytes::new();
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
        let hides = mutant::is_planted("solana_unreachable_node_hides_silent_one");
        let open = failures(answers).find(|failure| is_open(failure) && !hides);
        // None of them makes the caller wait for longer than any other does.
        let soonest = || failures(answers).min_by_key(|failure| pause_of(failure));
        match open.or_else(soonest).cloned() {
            Some(failure) if agreed == 0 => failure,
            _ => self.no_quorum(agreed),
        }
    }
}

#[async_trait]
impl RpcTransport for SolanaQuorum {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let asked: Value = serde_json::from_slice(&request)
            .map_err(|error| TransportFailure::Connect(Arc::new(error)))?;
        let method = asked.get("method").and_then(Value::as_str);
        let rule = Rule::of(method.unwrap_or_default());
        let answers = self.ask_all(&request).await;
        let heard = heard(&answers);
        let counted = match rule.count(&asked, &heard, self.wanted) {
            Ok(counted) => counted,
            Err(agreed) => match rule.slot_reached(&heard, self.wanted) {
                Some(slot) if rule.is_head() => self.head(rule, &asked, slot).await?,
                _ => return Err(self.failure(agreed, &answers)),
            },
        };
        // As long as one that is silent may have taken it, refusals by the others are no end.
        if rule.is_sending()
            && counted.is_refusal()
            && !mutant::is_planted("solana_refusal_ends_what_silent_node_may_have")
            && let Some(open) = failures(&answers).find(|failure| is_open(failure))
        {
            return Err(open.clone());
        }
        self.tell(&counted, rule.doing);
        let is_unknown = rule.is_status() && counted.is_unknown();
        let mut value = counted.value;
        if is_unknown && let Some(context) = value.pointer_mut("/context") {
            let known = self.ignorance(&asked, &heard).await;
            let known = known.into_iter().map(|one| json!([one.as_of, one.since]));
            context[KNOWN_SINCE] = known.collect();
        }
        let answer = json!({"jsonrpc": "2.0", "id": asked.get("id"), counted.part: value});
        Ok(answer.to_string().into_bytes().into())
    }
}

impl SolanaQuorum {
    async fn ask_all(&self, request: &Bytes) -> Vec<Result<Value, TransportFailure>> {
        let nodes = self.nodes.iter();
        let answers = nodes.map(|(_, node)| self.ask(&**node, request.clone()));
        join_all(answers).await
    }

    /// What nodes that are not equally far say of the newest block: of that of `slot`, which enough of them have reached, they
    /// all say the same.
    async fn head(
        &self,
        rule: Rule,
        asked: &Value,
        slot: u64,
    ) -> Result<Counted, TransportFailure> {
        let commitment = asked.pointer("/params/0/commitment");
        let options = json!({
            "commitment": commitment.and_then(Value::as_str).unwrap_or("finalized"),
            "transactionDetails": "none", "rewards": false, "encoding": "base64",
            "maxSupportedTransactionVersion": 0,
        });
        let request = json!({
            "jsonrpc": "2.0", "id": asked.get("id"), "method": Rule::DATED.doing, "params": [slot, options],
        });
        let blocks = self.ask_all(&request.to_string().into_bytes().into()).await;
        let block = Rule::DATED.count(&request, &heard(&blocks), self.wanted);
        let block = block.map_err(|agreed| self.failure(agreed, &blocks))?;
        self.tell(&block, Rule::DATED.doing);
        // That enough of them have no such block is an answer, but none about the newest.
        let answer = Some(&block.value).filter(|_| block.is_result());
        let answer = answer.and_then(|block| rule.answer_of(slot, block));
        answer.map(Counted::result).ok_or_else(|| self.no_quorum(1))
    }

    /// What the ignorance of those that know nothing of a transaction proves. Their ledgers are asked about behind the
    /// statuses: what a node throws away meanwhile makes it younger.
    async fn ignorance(&self, asked: &Value, statuses: &[Option<&Value>]) -> Vec<Ignorance> {
        let request = json!({
            "jsonrpc": "2.0", "id": asked.get("id"), "method": "getFirstAvailableBlock", "params": [],
        });
        let ledgers = self.ask_all(&request.to_string().into_bytes().into()).await;
        rule::ignorance(statuses, &heard(&ledgers), self.wanted)
    }

    const fn no_quorum(&self, agreed: usize) -> TransportFailure {
        TransportFailure::NoQuorum {
            agreed,
            asked: self.nodes.len(),
            wanted: self.wanted,
        }
    }
}

fn heard(answers: &[Result<Value, TransportFailure>]) -> Vec<Option<&Value>> {
    answers.iter().map(|one| one.as_ref().ok()).collect()
}

fn failures(
    answers: &[Result<Value, TransportFailure>],
) -> impl Iterator<Item = &TransportFailure> {
    answers.iter().filter_map(|answer| answer.as_ref().err())
}

const fn pause_of(failure: &TransportFailure) -> Duration {
    match failure {
        TransportFailure::RateLimited(pause) => *pause,
        _ => Duration::ZERO,
    }
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

#[cfg(test)]
mod tests;
