//! Requests of one moment, carried as one (JSON-RPC 2.0, section 6).

mod answer;
mod size;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use alloy_primitives::Bytes;
use async_trait::async_trait;
use futures_util::future::{FutureExt as _, Shared, WeakShared, poll_fn};
use parking_lot::Mutex;
use serde::Deserialize;

pub use self::answer::read_any_batch;
use self::answer::{Answers, Said, read};
use self::size::Size;
use crate::http::RETRY_AFTER_DEFAULT;
use crate::{RpcTransport, TransportFailure};

/// Questions that go with others: what is answered shortly, and what asking twice does no harm.
const QUESTIONS: [&str; 10] = [
    "eth_blockNumber",
    "eth_chainId",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
];
const BROADCAST: &str = "eth_sendRawTransaction";

/// A transport that sends what is asked at the same time as one batch: questions with questions, transactions with
/// transactions.
///
/// Who asks lets others ask, too, before the batch goes, and waits for nothing else. Where a batch brings some no result,
/// questions are asked again, each by itself, unless the node cannot be reached or wants to be left alone; transactions are
/// only where the node says that it has looked at none. After a batch that went wrong those that follow are smaller.
#[derive(Clone)]
pub(crate) struct Batching {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn RpcTransport>,
    size: Size,
    questions: Mutex<Option<Open>>,
    broadcasts: Mutex<Option<Open>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Question,
    Broadcast,
}

/// The batch that others may still join.
struct Open {
    requests: Arc<Gathered>,
    carrying: WeakShared<Carrying>,
}

/// What was asked, by its id; `None` when the batch has left.
type Gathered = Mutex<Option<BTreeMap<u64, Bytes>>>;
type Carrying = Pin<Box<dyn Future<Output = Arc<Carried>> + Send>>;

/// What became of a batch.
enum Carried {
    Answered(Answers),
    /// The node has looked at none of its requests.
    Refused,
    /// It was one request alone, and this is its answer.
    Alone(Bytes),
    Failed(TransportFailure),
}

/// A place in a batch, given up when it is dropped before the batch has left.
struct Seat {
    id: u64,
    requests: Arc<Gathered>,
    carrying: Shared<Carrying>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(requests) = &mut *self.requests.lock() {
            requests.remove(&self.id);
        }
    }
}

impl Batching {
    /// At most `requests_max` requests go over `transport` as one.
    pub(crate) fn new(transport: Arc<dyn RpcTransport>, requests_max: usize) -> Self {
        let inner = Inner {
            transport,
            size: Size::new(requests_max),
            questions: Mutex::new(None),
            broadcasts: Mutex::new(None),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A place in the batch that is open, or in a new one; `None` where the request must go by itself.
    fn seat(&self, kind: Kind, id: u64, request: &Bytes) -> Option<Seat> {
        let requests_max = self.inner.size.now();
        if requests_max < 2 {
            return None;
        }
        let mut open = match kind {
            Kind::Question => self.inner.questions.lock(),
            Kind::Broadcast => self.inner.broadcasts.lock(),
        };
        if let Some(batch) = &*open
            && let Some(carrying) = batch.carrying.upgrade()
            && let Some(requests) = &mut *batch.requests.lock()
            && requests.len() < requests_max
        {
            // Two of one id could not be told apart.
            if requests.contains_key(&id) {
                return None;
            }
            requests.insert(id, request.clone());
            return Some(Seat {
                id,
                requests: batch.requests.clone(),
                carrying,
            });
        }
        let first = BTreeMap::from([(id, request.clone())]);
        let requests = Arc::new(Mutex::new(Some(first)));
        let carrying = carry(self.inner.clone(), kind, requests.clone());
        let carrying = (Box::pin(carrying) as Carrying).shared();
        *open = carrying.downgrade().map(|carrying| Open {
            requests: requests.clone(),
            carrying,
        });
        Some(Seat {
            id,
            requests,
            carrying,
        })
    }

    async fn alone(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        self.inner.transport.exchange(request).await
    }
}

#[async_trait]
impl RpcTransport for Batching {
    async fn exchange(&self, request: Bytes) -> Result<Bytes, TransportFailure> {
        let Some((kind, id)) = kind_of(&request) else {
            return self.alone(request).await;
        };
        let Some(mut seat) = self.seat(kind, id, &request) else {
            let answer = self.alone(request).await;
            if answer.is_ok() && self.inner.size.now() < 2 {
                self.inner.size.went_well();
            }
            return answer;
        };
        others_turn().await;
        let carried = (&mut seat.carrying).await;
        match &*carried {
            Carried::Alone(answer) => Ok(answer.clone()),
            Carried::Failed(failure) => Err(failure.clone()),
            Carried::Refused => self.alone(request).await,
            Carried::Answered(answers) => match (answers.by_id.get(&id), kind) {
                (Some(answer), _) => Ok(answer.clone()),
                (None, Kind::Broadcast) => Err(unanswered()),
                (None, Kind::Question) if answers.is_limited => {
                    Err(TransportFailure::RateLimited(RETRY_AFTER_DEFAULT))
                }
                (None, Kind::Question) => self.alone(request).await,
            },
        }
    }
}

/// Leaves with what was gathered until whoever waits for it looks again.
async fn carry(inner: Arc<Inner>, kind: Kind, requests: Arc<Gathered>) -> Arc<Carried> {
    let requests = requests.lock().take().unwrap_or_default();
    if requests.len() > 1 {
        return Arc::new(inner.exchange(kind, &requests).await);
    }
    // Who looks has a seat: there is one.
    let sole = requests.into_values().next().unwrap_or_default();
    let answer = inner.transport.exchange(sole).await;
    Arc::new(answer.map_or_else(Carried::Failed, Carried::Alone))
}

impl Inner {
    async fn exchange(&self, kind: Kind, requests: &BTreeMap<u64, Bytes>) -> Carried {
        // It goes wrong, too, if everybody loses patience.
        let trial = self.size.trial(requests.len());
        let answer = self.transport.exchange(written(requests)).await;
        let none = || Carried::Answered(Answers::default());
        let (said, otherwise) = match answer {
            Ok(answer) => (read(&answer, kind, requests), none()),
            Err(TransportFailure::Status { status, body }) => {
                let said = read(&body, kind, requests);
                let otherwise = match is_of_batches(status) {
                    true => none(),
                    false => Carried::Failed(TransportFailure::Status { status, body }),
                };
                (said, otherwise)
            }
            // Together answers may be too large where each by itself is not.
            Err(TransportFailure::TooLarge(_)) => return none(),
            // Some may have been taken before it was too many.
            Err(limited @ TransportFailure::RateLimited(_)) if kind == Kind::Broadcast => {
                return Carried::Failed(TransportFailure::Broken(Arc::new(limited)));
            }
            Err(failure) => return Carried::Failed(failure),
        };
        match said {
            Said::Each(answers) => {
                // The same error for all may be the batch's own.
                if answers.by_id.len() == requests.len() && answers.results > 0 {
                    trial.went_well();
                }
                Carried::Answered(answers)
            }
            Said::Refused => Carried::Refused,
            Said::Nothing => otherwise,
        }
    }
}

/// Whether by this status a node, or what stands before it, may refuse a batch for being one, or for its size.
const fn is_of_batches(status: u16) -> bool {
    match status {
        401 | 429 => false,
        500 | 501 => true,
        _ => status >= 400 && status < 500,
    }
}

/// Lets whatever else is ready be polled, as far as it is by the same executor.
async fn others_turn() {
    let mut has_come = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_come, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Kind and id of a request that may go with others.
fn kind_of(request: &[u8]) -> Option<(Kind, u64)> {
    #[derive(Deserialize)]
    struct Request<'a> {
        id: u64,
        #[serde(borrow)]
        method: Cow<'a, str>,
    }
    let Request { id, method } = serde_json::from_slice(request).ok()?;
    if *method == *BROADCAST {
        return Some((Kind::Broadcast, id));
    }
    let is_question = QUESTIONS.contains(&&*method);
    is_question.then_some((Kind::Question, id))
}

fn written(requests: &BTreeMap<u64, Bytes>) -> Bytes {
    let length: usize = requests.values().map(|request| request.len() + 1).sum();
    let mut batch = Vec::with_capacity(length + 1);
    for request in requests.values() {
        batch.push(if batch.is_empty() { b'[' } else { b',' });
        batch.extend_from_slice(request);
    }
    batch.push(b']');
    batch.into()
}

fn unanswered() -> TransportFailure {
    let what = "a batch came back without an answer to this transaction";
    TransportFailure::Broken(Arc::from(Box::from(what)))
}
