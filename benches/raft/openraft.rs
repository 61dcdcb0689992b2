//! Three replicas of openraft in one process, as its own minimal benchmark sets them up, or tuned further.
//!
//! A message is a call of the other replica, with the entries handed over as they are; an append is complete at once; the
//! state machine adds up what it is told. Nothing is encoded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Debug};
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    Config, EntryPayload, LogState, OptionalSend, Raft, RaftLogReader, RaftNetworkFactory,
    RaftNetworkV2, RaftSnapshotBuilder, RaftTypeConfig,
};
use parking_lot::{Mutex, RwLock};

use super::Payload;

/// How the replicas keep and send their logs.
#[derive(Clone, Copy)]
pub(crate) enum Setup {
    /// As openraft's own minimal benchmark does: the log is a tree, and a follower gets one request at a time.
    OwnBenchmark,
    /// The log is a deque, and append streams go to a follower whole, so that requests are pipelined.
    Tuned,
}

/// Starts three replicas on the present runtime; answers the one that leads.
pub(crate) async fn start(setup: Setup) -> Replica {
    let config = Config {
        election_timeout_min: 200,
        election_timeout_max: 2000,
        purge_batch_size: 1024,
        max_payload_entries: 1024,
        ..Config::default()
    };
    let config = Arc::new(config.validate().expect("the values of its own benchmark"));
    let network = Network::new(setup);
    let ids = BTreeSet::from([0, 1, 2]);
    for &id in &ids {
        let replica = Raft::new(
            id,
            config.clone(),
            network.clone(),
            Log::new(setup),
            Machine::default(),
        );
        let replica = replica.await.expect("a fresh replica starts");
        network.replicas.lock().insert(id, replica);
    }
    let first = network.get(0);
    first.initialize(ids).await.expect("a fresh cluster");
    first
        .wait(Some(Duration::from_secs(30)))
        .current_leader(0, "the initialised replica leads")
        .await
        .expect("an election in time");
    Replica {
        leader: first,
        network,
    }
}

/// The leader.
#[derive(Clone)]
pub(crate) struct Replica {
    leader: Raft<Types, Machine>,
    network: Network,
}

impl Replica {
    /// Stops all three.
    pub(crate) async fn stop(self) {
        let replicas = std::mem::take(&mut *self.network.replicas.lock());
        for replica in replicas.into_values() {
            replica.shutdown().await.expect("no replica has panicked");
        }
    }

    /// Proposes `payload` and waits until it is applied.
    pub(crate) async fn propose(&self, payload: Payload) {
        self.leader
            .client_write(Command(payload))
            .await
            .expect("nothing fails in memory");
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
struct Types;

impl RaftTypeConfig for Types {
    type D = Command;
    type R = u64;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Command, u64, ()>;
    type Entry = openraft::impls::Entry<
        <Self::LeaderId as openraft::vote::RaftLeaderId>::Committed,
        Self::Payload,
    >;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

#[derive(Clone, Copy, Debug)]
struct Command(Payload);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The log, shared by its writer and its readers.
#[derive(Clone)]
struct Log(Arc<RwLock<LogInner>>);

impl Log {
    fn new(setup: Setup) -> Self {
        Self(Arc::new(RwLock::new(LogInner {
            vote: None,
            purged: None,
            entries: match setup {
                Setup::OwnBenchmark => Entries::Tree(BTreeMap::new()),
                Setup::Tuned => Entries::Deque(VecDeque::new()),
            },
        })))
    }
}

struct LogInner {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    entries: Entries,
}

enum Entries {
    Tree(BTreeMap<u64, EntryOf<Types>>),
    /// Without gaps.
    Deque(VecDeque<EntryOf<Types>>),
}

impl Entries {
    fn last(&self) -> Option<&EntryOf<Types>> {
        match self {
            Self::Tree(tree) => tree.last_key_value().map(|(_, entry)| entry),
            Self::Deque(deque) => deque.back(),
        }
    }

    fn extend(&mut self, entries: impl IntoIterator<Item = EntryOf<Types>>) {
        match self {
            Self::Tree(tree) => {
                tree.extend(entries.into_iter().map(|entry| (entry.index(), entry)))
            }
            Self::Deque(deque) => deque.extend(entries),
        }
    }

    fn range(&self, from: u64, to: u64) -> Vec<EntryOf<Types>> {
        match self {
            Self::Tree(tree) => tree
                .range(from..to.max(from))
                .map(|(_, entry)| entry.clone())
                .collect(),
            Self::Deque(deque) => {
                let (from, to) = (place(deque, from), place(deque, to));
                deque.range(from..to.max(from)).cloned().collect()
            }
        }
    }

    /// Drops the entries from `index` on.
    fn truncate(&mut self, index: u64) {
        match self {
            Self::Tree(tree) => drop(tree.split_off(&index)),
            Self::Deque(deque) => deque.truncate(place(deque, index)),
        }
    }

    /// Drops the entries before `index`.
    fn discard(&mut self, index: u64) {
        match self {
            Self::Tree(tree) => *tree = tree.split_off(&index),
            Self::Deque(deque) => drop(deque.drain(..place(deque, index))),
        }
    }
}

/// Where in `deque` the entry of `index` is, or would be.
fn place(deque: &VecDeque<EntryOf<Types>>, index: u64) -> usize {
    let first = deque.front().map_or(index, RaftEntry::index);
    let place = usize::try_from(index.saturating_sub(first));
    place.unwrap_or(usize::MAX).min(deque.len())
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let from = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => index + 1,
            Bound::Excluded(&index) => index,
            Bound::Unbounded => u64::MAX,
        };
        Ok(self.0.read().entries.range(from, to))
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.0.read().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let log = self.0.read();
        Ok(LogState {
            last_purged_log_id: log.purged,
            last_log_id: log.entries.last().map(RaftEntry::log_id).or(log.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.0.write().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.0.write().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let kept = last.map_or(0, |last| last.index() + 1);
        self.0.write().entries.truncate(kept);
        Ok(())
    }

    async fn purge(&mut self, last: LogIdOf<Types>) -> io::Result<()> {
        let mut log = self.0.write();
        log.entries.discard(last.index() + 1);
        log.purged = Some(last);
        Ok(())
    }
}

/// Adds up the lengths of the commands.
#[derive(Clone, Default)]
struct Machine {
    state: State,
    snapshot: Arc<Mutex<Option<SnapshotOf<Types, State>>>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    sum: u64,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = State;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.state.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => self.state.sum += command.0.len() as u64,
                EntryPayload::Membership(membership) => {
                    self.state.membership =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(self.state.sum);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: State,
    ) -> io::Result<()> {
        self.state = snapshot.clone();
        let meta = meta.clone();
        *self.snapshot.lock() = Some(SnapshotOf::<Types, State> { meta, snapshot });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, State>>> {
        Ok(self.snapshot.lock().clone())
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = State;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, State>> {
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: self.state.applied,
            last_membership: self.state.membership.clone(),
        };
        let snapshot = self.state.clone();
        let snapshot = SnapshotOf::<Types, State> { meta, snapshot };
        *self.snapshot.lock() = Some(snapshot.clone());
        Ok(snapshot)
    }
}

/// Every replica, by its id.
#[derive(Clone)]
struct Network {
    setup: Setup,
    replicas: Arc<Mutex<BTreeMap<u64, Raft<Types, Machine>>>>,
}

impl Network {
    fn new(setup: Setup) -> Self {
        Self {
            setup,
            replicas: Arc::default(),
        }
    }

    fn get(&self, id: u64) -> Raft<Types, Machine> {
        let replicas = self.replicas.lock();
        replicas.get(&id).expect("all replicas are started").clone()
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, (): &()) -> Connection {
        Connection {
            setup: self.setup,
            target: self.get(target),
        }
    }
}

/// Calls of one replica.
struct Connection {
    setup: Setup,
    target: Raft<Types, Machine>,
}

impl RaftNetworkV2<Types> for Connection {
    type SnapshotData = State;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = self.target.append_entries(request).await;
        answer.map_err(|error| Unreachable::new(&error).into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendAnswers<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if let Setup::OwnBenchmark = self.setup {
            return stream_append_sequential(self, requests, option);
        }
        let answers = self.target.stream_append(requests);
        let answers = answers.map_err(|error| Unreachable::new(&error).into());
        Box::pin(async move { Ok(answers.boxed()) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.target.vote(request).await;
        answer.map_err(|error| Unreachable::new(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, State>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let answer = self.target.install_full_snapshot(vote, snapshot).await;
        answer.map_err(|error| Unreachable::new(&error).into())
    }
}

type AppendAnswers<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;
