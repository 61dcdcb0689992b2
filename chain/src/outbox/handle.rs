//! What an application holds, and what carries requests to the chains.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures_channel::{mpsc, oneshot};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use parking_lot::Mutex;
use peaberry_core::{Busy, Channel, Handle, Node, Storage};

use super::config::OutboxConfig;
use super::event::{OutboxCommand, OutboxEvent, Refusal, Stage, Submission, Taken};
use super::journal::OpenError;
use super::protocol::Outbox;
use super::record::{EntryId, Outcome};
use super::request::{Performer, Request};
use crate::{ChainError, ChainId};

/// Stages that wait to be read, for one reader; older ones make room, the end never does.
const STAGES_MAX: usize = 64;

/// Hands intents to an outbox, from any thread. Cheap to clone.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use peaberry_chain::evm::{EvmClient, EvmNetwork};
/// use peaberry_chain::outbox::{IdempotencyKey, OutboxConfig, OutboxHandle, Submission};
/// use peaberry_chain::{Address, Amount, Asset, Intent};
/// use peaberry_core::{MemoryStorage, Node, SystemClock};
///
/// # async fn example(client: EvmClient, from: Address, to: Address) -> Result<(), Box<dyn std::error::Error>> {
/// // A `DiskStorage` in earnest: what is in memory survives nothing.
/// let storage = Arc::new(MemoryStorage::new());
/// let mut node = Node::alone(storage.clone(), Arc::new(SystemClock::new()));
/// let network = EvmNetwork::polygon();
/// let config = OutboxConfig::new().evm(&network);
/// let (outbox, driver) = OutboxHandle::install(&mut node, 0, config, &*storage, [Arc::new(client) as _])?;
/// let node = node.spawn("outbox")?;
/// // On the runtime that the clients need:
/// // tokio::spawn(driver);
///
/// let intent = Intent::Transfer { from, to, asset: Asset::Native, amount: Amount::wei(1) };
/// let key = IdempotencyKey::new("order-17").unwrap();
/// let mut stages = outbox.submit(Submission::new(key, network.chain, intent)).await?;
/// println!("{:?}", stages.ended().await);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct OutboxHandle {
    commands: Handle<OutboxCommand>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    next_ticket: AtomicU64,
    readers: Mutex<Readers>,
}

/// What a caller waits for: whether the intent was taken, and then its life.
type Ticket = (Result<Taken, Refusal>, Stages);

#[derive(Default)]
struct Readers {
    tickets: BTreeMap<u64, oneshot::Sender<Ticket>>,
    entries: BTreeMap<EntryId, Vec<Arc<Mutex<Queue>>>>,
    is_closed: bool,
}

/// The stages of one reader.
#[derive(Default)]
struct Queue {
    stages: VecDeque<Stage>,
    waker: Option<Waker>,
    is_over: bool,
}

impl OutboxHandle {
    /// Hosts an outbox on `node` as group `group` of [`OUTBOX`](super::OUTBOX), with the journal in `storage`, which must
    /// be the node's own. The driver must run, on the runtime that the performers need: without it nothing happens.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing changed.
    pub fn install(
        node: &mut Node,
        group: u64,
        config: OutboxConfig,
        storage: &dyn Storage,
        performers: impl IntoIterator<Item = Arc<dyn Performer>>,
    ) -> Result<(Self, OutboxDriver), OpenError> {
        let channel = Channel::new(super::OUTBOX, group);
        let outbox = Outbox::open(channel, config, storage)?;
        let shared = Arc::new(Shared::default());
        let (sender, requests) = mpsc::unbounded();
        let sink = {
            let shared = shared.clone();
            move |events: &mut Vec<OutboxEvent>| {
                for event in events.drain(..) {
                    match event {
                        // The driver may be gone; then nobody acts, and the journal keeps everything.
                        OutboxEvent::Perform(request) => drop(sender.unbounded_send(request)),
                        other => shared.tell(other),
                    }
                }
            }
        };
        let commands = node.add(channel, outbox, sink)?;
        let performers = performers.into_iter();
        let driver = OutboxDriver {
            commands: commands.clone(),
            requests,
            performers: performers.map(|one| (one.chain_id(), one)).collect(),
            working: FuturesUnordered::new(),
            undelivered: None,
            shared: shared.clone(),
        };
        Ok((Self { commands, shared }, driver))
    }

    /// Hands an intent over. When this answers, the intent is in the journal, and will be carried out once, or be
    /// [`Cancelled`](Outcome::Cancelled) or [`Rejected`](Outcome::Rejected). Dropping the future, or the stages, cancels
    /// nothing. A caller that does not know whether its intent was taken hands it over again under the same key.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]; nothing changed, except after [`Refusal::Stopped`], when the intent may be in the journal.
    pub async fn submit(&self, submission: Submission) -> Result<Stages, Refusal> {
        let ticket = self.shared.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut readers = self.shared.readers.lock();
            if readers.is_closed {
                return Err(Refusal::Stopped);
            }
            readers.tickets.insert(ticket, sender);
        }
        let command = OutboxCommand::Submit {
            ticket,
            submission: Box::new(submission),
        };
        if let Err(busy) = self.commands.submit(command) {
            self.shared.readers.lock().tickets.remove(&ticket);
            return Err(refusal_of(&busy));
        }
        match answer.await {
            Ok((Ok(_), stages)) => Ok(stages),
            Ok((Err(refusal), _)) => Err(refusal),
            Err(oneshot::Canceled) => Err(Refusal::Stopped),
        }
    }

    /// Calls an intent off where that is still possible: at once if nothing was signed for it; otherwise by a transfer of
    /// nothing with the same nonce and a higher fee, and the chain decides which of the two it includes. On Solana only
    /// what was never signed, or expires, can be called off. The end says what became of it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] and [`Refusal::Stopped`]: nothing was called off.
    pub fn cancel(&self, entry: EntryId) -> Result<(), Refusal> {
        let cancelling = self.commands.submit(OutboxCommand::Cancel(entry));
        cancelling.map_err(|busy| refusal_of(&busy))
    }

    /// Says that `chain` may have a new block, so that it is looked at now.
    pub fn wake(&self, chain: ChainId) {
        // Where many commands wait, a turn is near, and with it a look; a node that has stopped looks at nothing.
        drop(self.commands.submit(OutboxCommand::Wake(chain)));
    }
}

impl fmt::Debug for OutboxHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxHandle").finish_non_exhaustive()
    }
}

const fn refusal_of(busy: &Busy<OutboxCommand>) -> Refusal {
    match busy {
        Busy::Full(_) => Refusal::Busy,
        Busy::Closed(_) => Refusal::Stopped,
    }
}

impl Shared {
    fn tell(&self, event: OutboxEvent) {
        let mut readers = self.readers.lock();
        match event {
            OutboxEvent::Taken { ticket, result } => {
                let queue = Arc::<Mutex<Queue>>::default();
                let mut entry = EntryId(0);
                if let Ok(taken) = &result {
                    entry = taken.entry;
                    push(&queue, taken.stage.clone());
                    if !queue.lock().is_over {
                        readers
                            .entries
                            .entry(entry)
                            .or_default()
                            .push(queue.clone());
                    }
                }
                if let Some(sender) = readers.tickets.remove(&ticket) {
                    // Who dropped the future has no interest in the stages either.
                    drop(sender.send((result, Stages { entry, queue })));
                }
            }
            OutboxEvent::Moved(update) => {
                let Some(queues) = readers.entries.get_mut(&update.entry) else {
                    return;
                };
                // Readers that nobody holds any more.
                queues.retain(|queue| Arc::strong_count(queue) > 1);
                for queue in queues.iter() {
                    push(queue, update.stage.clone());
                }
                if matches!(update.stage, Stage::Ended(_)) || queues.is_empty() {
                    readers.entries.remove(&update.entry);
                }
            }
            OutboxEvent::Perform(_) => {}
        }
    }

    /// Nobody will tell anything any more.
    fn close(&self) {
        let mut readers = self.readers.lock();
        readers.is_closed = true;
        readers.tickets.clear();
        for queue in std::mem::take(&mut readers.entries).into_values().flatten() {
            let mut queue = queue.lock();
            queue.is_over = true;
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
        }
    }
}

fn push(queue: &Mutex<Queue>, stage: Stage) {
    let mut queue = queue.lock();
    if queue.stages.len() >= STAGES_MAX {
        queue.stages.pop_front();
    }
    queue.is_over = matches!(stage, Stage::Ended(_));
    queue.stages.push_back(stage);
    if let Some(waker) = queue.waker.take() {
        waker.wake();
    }
}

/// The life of one intent, stage by stage: a stream that ends behind [`Stage::Ended`], or when the outbox stops.
///
/// Of a slow reader only the newest 64 stages are kept.
pub struct Stages {
    entry: EntryId,
    queue: Arc<Mutex<Queue>>,
}

impl Stages {
    /// The intent's entry, to cancel it by.
    #[must_use]
    pub const fn entry(&self) -> EntryId {
        self.entry
    }

    /// Waits for the end; `None` if the outbox stops before: open it again and hand the intent over under the same key.
    pub async fn ended(&mut self) -> Option<Outcome> {
        while let Some(stage) = self.next().await {
            if let Stage::Ended(outcome) = stage {
                return Some(outcome);
            }
        }
        None
    }
}

impl Stream for Stages {
    type Item = Stage;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Stage>> {
        let mut queue = self.queue.lock();
        if let Some(stage) = queue.stages.pop_front() {
            return Poll::Ready(Some(stage));
        }
        if queue.is_over {
            return Poll::Ready(None);
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages")
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}

type Working = Pin<Box<dyn Future<Output = (u64, Result<super::Found, ChainError>)> + Send>>;

/// Carries requests to the chains and answers back: a future that ends with its node. Dropping it leaves the journal whole
/// and the intents waiting.
pub struct OutboxDriver {
    commands: Handle<OutboxCommand>,
    requests: mpsc::UnboundedReceiver<Request>,
    performers: BTreeMap<ChainId, Arc<dyn Performer>>,
    working: FuturesUnordered<Working>,
    /// An answer for which the node's queue has had no place.
    undelivered: Option<OutboxCommand>,
    shared: Arc<Shared>,
}

impl OutboxDriver {
    /// Hands answers to the node, those first that have waited. Ready when it has stopped.
    fn deliver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.undelivered.is_some() && self.commands.poll_room(cx).is_pending() {
                return Poll::Pending;
            }
            let command = match self.undelivered.take() {
                Some(command) => command,
                None => match self.working.poll_next_unpin(cx) {
                    Poll::Ready(Some((number, result))) => OutboxCommand::Answer {
                        number,
                        result: Box::new(result),
                    },
                    _ => return Poll::Pending,
                },
            };
            match self.commands.submit(command) {
                Ok(()) => {}
                Err(Busy::Closed(_)) => return Poll::Ready(()),
                Err(Busy::Full(command)) => self.undelivered = Some(command),
            }
        }
    }

    fn start(&self, request: Request) {
        let performer = self.performers.get(&request.chain).cloned();
        let Request { number, chain, ask } = request;
        self.working.push(Box::pin(async move {
            let result = match performer {
                Some(performer) => performer.perform(ask).await,
                None => Err(ChainError::UnknownChain { chain }),
            };
            (number, result)
        }));
    }
}

impl Future for OutboxDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.requests.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => self.start(request),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.deliver(cx)
    }
}

impl Drop for OutboxDriver {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for OutboxDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxDriver")
            .field("chains", &self.performers.keys())
            .field("working", &self.working.len())
            .finish_non_exhaustive()
    }
}
