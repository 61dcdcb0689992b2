use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_channel::oneshot;
use parking_lot::Mutex;
use peaberry_core::{AddError, Clock, Handle, Node, PeerId};

use super::guard::Guard;
use super::lease::{Lease, Lost};
use super::protocol::{ClientCommand, ClientEvent, ClientProtocol};
use crate::error::LockError;
use crate::limits::TTL_MS_DEFAULT;
use crate::path::LockPath;
use crate::request::{Answer, Contention, Grant, Inspection, Query, Reentry, Refusal};
use crate::service::lockd_channel;

/// Where a client finds its service.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The number of the service's group.
    pub group: u64,
    /// The peers that have its replicas.
    pub servers: Vec<PeerId>,
    /// Random, and another one each time the process starts: from the operating system, say. A restarted client with
    /// the seed of the one before could be taken for it.
    pub seed: u64,
}

/// A client of the lock service, for async code on any runtime. Cheap to clone.
///
/// It lives on a node of the application, whose peer is not one of the service's: an application that runs on a
/// replica's machine gives its client a peer id and a node of their own.
#[derive(Clone)]
pub struct LockClient {
    shared: Arc<ClientShared>,
}

impl fmt::Debug for LockClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockClient").finish_non_exhaustive()
    }
}

struct ClientShared {
    commands: Handle<ClientCommand>,
    clock: Arc<dyn Clock>,
    last_id: AtomicU64,
    callers: Arc<Mutex<Callers>>,
}

/// Who waits for the protocol's events.
#[derive(Default)]
struct Callers {
    waiting: BTreeMap<u64, Caller>,
    leases: BTreeMap<u64, Arc<Lease>>,
    is_stopped: bool,
}

enum Caller {
    Unit(oneshot::Sender<Result<(), LockError>>),
    Grant(oneshot::Sender<Result<Grant, LockError>>),
    Answer(oneshot::Sender<Result<Answer, LockError>>),
}

/// Hands events to their callers; sends them away when the node is dropped.
struct Settler(Arc<Mutex<Callers>>);

impl Drop for Settler {
    fn drop(&mut self) {
        let mut callers = self.0.lock();
        callers.is_stopped = true;
        // A caller whose sender is dropped learns that the node has stopped.
        let waiting = std::mem::take(&mut callers.waiting);
        drop(callers);
        drop(waiting);
    }
}

impl Settler {
    fn settle(&self, events: &mut Vec<ClientEvent>) {
        let mut callers = self.0.lock();
        for event in events.drain(..) {
            callers.settle(event);
        }
    }
}

impl Callers {
    fn settle(&mut self, event: ClientEvent) {
        // A caller that has gone needs no answer: a failed send is nothing to report.
        match event {
            ClientEvent::Valid { session, until } => {
                if let Some(lease) = self.leases.get(&session) {
                    lease.extend(until);
                }
            }
            ClientEvent::Lost { session } => {
                if let Some(lease) = self.leases.remove(&session) {
                    lease.lose();
                }
                self.settle_unit(session, Err(LockError::SessionLost));
            }
            ClientEvent::Opened { session, outcome } => {
                if outcome.is_err() {
                    self.leases.remove(&session);
                }
                self.settle_unit(session, outcome);
            }
            // A session's id waits for its opening, and from its loss on for its closing.
            ClientEvent::Closed { session, outcome } => self.settle_unit(!session, outcome),
            ClientEvent::Released { claim, outcome } => self.settle_unit(claim, outcome),
            ClientEvent::Acquired { claim, outcome } => {
                if let Some(Caller::Grant(caller)) = self.waiting.remove(&claim) {
                    let _ = caller.send(outcome);
                }
            }
            ClientEvent::Answered { query, outcome } => {
                if let Some(Caller::Answer(caller)) = self.waiting.remove(&query) {
                    let _ = caller.send(outcome);
                }
            }
            ClientEvent::Misbehaved { .. } => {}
        }
    }

    fn settle_unit(&mut self, id: u64, outcome: Result<(), LockError>) {
        if let Some(Caller::Unit(caller)) = self.waiting.remove(&id) {
            let _ = caller.send(outcome);
        }
    }
}

impl ClientShared {
    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Submits a command and waits for what is sent to the caller registered under `id`.
    async fn call<T>(
        &self,
        id: u64,
        caller: impl FnOnce(oneshot::Sender<Result<T, LockError>>) -> Caller,
        command: ClientCommand,
    ) -> Result<T, LockError> {
        let (sender, outcome) = oneshot::channel();
        {
            let mut callers = self.callers.lock();
            if callers.is_stopped {
                return Err(LockError::Stopped);
            }
            callers.waiting.insert(id, caller(sender));
        }
        if let Err(refused) = self.commands.submit(command) {
            self.callers.lock().waiting.remove(&id);
            return Err(match refused {
                peaberry_core::Busy::Full(_) => LockError::Busy,
                peaberry_core::Busy::Closed(_) => LockError::Stopped,
            });
        }
        outcome.await.unwrap_or(Err(LockError::Stopped))
    }

    async fn ask(&self, what: Query) -> Result<Answer, LockError> {
        let query = self.next_id();
        let mut abandon = Abandon::of(self, query);
        let command = ClientCommand::Query { query, what };
        let answer = self.call(query, Caller::Answer, command).await;
        abandon.disarm();
        answer
    }
}

/// Tells the protocol that a future was dropped before its answer came.
struct Abandon<'a> {
    shared: &'a ClientShared,
    id: u64,
    is_armed: bool,
}

impl<'a> Abandon<'a> {
    const fn of(shared: &'a ClientShared, id: u64) -> Self {
        Self {
            shared,
            id,
            is_armed: true,
        }
    }

    const fn disarm(&mut self) {
        self.is_armed = false;
    }
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.shared.callers.lock().waiting.remove(&self.id);
            // Unheard, it is undone by the end of the session's lease.
            let _ = self
                .shared
                .commands
                .submit(ClientCommand::Abandon { id: self.id });
        }
    }
}

/// How a session is opened.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    owner: Box<str>,
    ttl: Duration,
}

impl SessionOptions {
    /// A session with a lease of 30 s. `owner` is shown to people that look for who holds a lock: at most
    /// [`OWNER_BYTES_MAX`](crate::limits::OWNER_BYTES_MAX) bytes.
    #[must_use]
    pub fn new(owner: &str) -> Self {
        Self {
            owner: owner.into(),
            ttl: Duration::from_millis(TTL_MS_DEFAULT),
        }
    }

    /// The length of the lease: how soon others get the locks of a holder that has died.
    /// [`TTL_MS_MIN`](crate::limits::TTL_MS_MIN) to [`TTL_MS_MAX`](crate::limits::TTL_MS_MAX).
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }
}

/// How a lock is acquired.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcquireOptions {
    contention: Contention,
    reentry: Reentry,
}

impl AcquireOptions {
    /// Waits in line behind every other claim, those of the same session included.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            contention: Contention::Wait,
            reentry: Reentry::Exclude,
        }
    }

    /// Gives up at once when the lock is held: [`Refusal::Held`].
    #[must_use]
    pub const fn refuse_when_held(mut self) -> Self {
        self.contention = Contention::Refuse;
        self
    }

    /// Shares the hold, and the token, when this session holds the lock already: it is free when every guard is gone. Also
    /// renews the session's lease, which covers all its guards.
    #[must_use]
    pub const fn reentrant(mut self) -> Self {
        self.reentry = Reentry::Join;
        self
    }
}

impl LockClient {
    /// Adds a client to `node`.
    ///
    /// # Errors
    ///
    /// See [`AddError`].
    pub fn add_to(node: &mut Node, config: ClientConfig) -> Result<Self, AddError> {
        let callers: Arc<Mutex<Callers>> = Arc::default();
        let settler = Settler(callers.clone());
        let protocol = ClientProtocol::new(config.servers, config.seed);
        let commands = node.add(lockd_channel(config.group), protocol, move |events| {
            settler.settle(events);
        })?;
        let shared = ClientShared {
            commands,
            clock: node.clock().clone(),
            last_id: AtomicU64::new(0),
            callers,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Opens a session, and keeps its lease until it is closed or dropped.
    ///
    /// # Errors
    ///
    /// [`LockError`]; no session is open. It does not give up while no server answers: dropping the future does.
    pub async fn open_session(&self, options: SessionOptions) -> Result<Session, LockError> {
        let id = self.shared.next_id();
        let lease = Arc::new(Lease::new(self.shared.clock.clone(), options.ttl));
        self.shared.callers.lock().leases.insert(id, lease.clone());
        // Whatever ends this future early closes the session.
        let session = Arc::new(SessionShared {
            client: self.shared.clone(),
            id,
            lease,
        });
        let command = ClientCommand::Open {
            session: id,
            ttl: options.ttl,
            owner: options.owner,
        };
        self.shared.call(id, Caller::Unit, command).await?;
        Ok(Session { shared: session })
    }

    /// Who holds the lock at `path`, by a linearizable read; `None`: nobody.
    ///
    /// # Errors
    ///
    /// [`LockError`]; nothing changed.
    pub async fn inspect(&self, path: &LockPath) -> Result<Option<Inspection>, LockError> {
        let path = path.clone();
        match self.shared.ask(Query::Inspect { path }).await? {
            Answer::Inspection(inspection) => Ok(inspection),
            _ => Err(LockError::Refused(Refusal::Malformed)),
        }
    }

    /// A page of the held locks and their tokens, in the order of their paths and above `after`: at most
    /// [`PAGE_LOCKS_MAX`](crate::limits::PAGE_LOCKS_MAX).
    ///
    /// # Errors
    ///
    /// [`LockError`]; nothing changed.
    pub async fn list(
        &self,
        after: Option<LockPath>,
    ) -> Result<Vec<(LockPath, crate::fence::Token)>, LockError> {
        match self.shared.ask(Query::List { after }).await? {
            Answer::Locks(locks) => Ok(locks),
            _ => Err(LockError::Refused(Refusal::Malformed)),
        }
    }
}

/// A session with a lease that its client renews. Dropping it, and every guard of it, closes it.
///
/// All tasks of a process may share one: a lease costs the service the same whatever it covers. But a session lost is
/// lost for all of them.
#[derive(Debug)]
pub struct Session {
    shared: Arc<SessionShared>,
}

pub(super) struct SessionShared {
    client: Arc<ClientShared>,
    id: u64,
    pub(super) lease: Arc<Lease>,
}

impl fmt::Debug for SessionShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SessionShared {
    pub(super) async fn release(&self, claim: u64) -> Result<(), LockError> {
        let command = ClientCommand::Release { claim };
        self.client.call(claim, Caller::Unit, command).await
    }

    /// For what nobody waits for. Unheard, the end of the lease does it.
    pub(super) fn submit_quietly(&self, command: ClientCommand) {
        let _ = self.client.commands.submit(command);
    }
}

impl Drop for SessionShared {
    fn drop(&mut self) {
        self.submit_quietly(ClientCommand::Abandon { id: self.id });
        self.client.callers.lock().leases.remove(&self.id);
    }
}

impl Session {
    /// Waits for the lock at `path`, behind whoever waits already. Dropping the future leaves the queue.
    ///
    /// Claims of one session exclude each other as strangers' do; see [`AcquireOptions::reentrant`].
    ///
    /// # Errors
    ///
    /// [`LockError`]; the lock is not held.
    pub async fn acquire(&self, path: &LockPath) -> Result<Guard, LockError> {
        self.acquire_with(path, AcquireOptions::new()).await
    }

    /// The lock at `path` if nobody holds it, else `None`.
    ///
    /// # Errors
    ///
    /// [`LockError`]; the lock is not held.
    pub async fn try_acquire(&self, path: &LockPath) -> Result<Option<Guard>, LockError> {
        let options = AcquireOptions::new().refuse_when_held();
        match self.acquire_with(path, options).await {
            Ok(guard) => Ok(Some(guard)),
            Err(LockError::Refused(Refusal::Held)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`acquire`](Self::acquire), in the way that `options` say.
    ///
    /// # Errors
    ///
    /// [`LockError`]; the lock is not held.
    pub async fn acquire_with(
        &self,
        path: &LockPath,
        options: AcquireOptions,
    ) -> Result<Guard, LockError> {
        let client = &self.shared.client;
        let claim = client.next_id();
        let mut abandon = Abandon::of(client, claim);
        let command = ClientCommand::Acquire {
            claim,
            session: self.shared.id,
            path: path.clone(),
            contention: options.contention,
            reentry: options.reentry,
        };
        let granted = client.call(claim, Caller::Grant, command).await;
        abandon.disarm();
        Ok(Guard::new(self.shared.clone(), claim, granted?))
    }

    /// How long the session's locks are still held for certain; see [`Guard::valid_for`].
    #[must_use]
    pub fn valid_for(&self) -> Duration {
        self.shared.lease.valid_for()
    }

    /// Completes when the session, and every lock it holds, is lost.
    #[must_use = "a future does nothing unless polled"]
    pub fn lost(&self) -> Lost {
        Lost::new(self.shared.lease.clone())
    }

    /// Ends the session and waits until the service has passed its locks on. Its guards are lost at once.
    ///
    /// # Errors
    ///
    /// [`LockError::Unconfirmed`]: nothing was heard from the service for the length of a lease.
    pub async fn close(self) -> Result<(), LockError> {
        let session = self.shared.id;
        let command = ClientCommand::Close { session };
        // Under another id than its opening: its loss, which comes first, answers that one.
        self.shared
            .client
            .call(!session, Caller::Unit, command)
            .await
    }
}
