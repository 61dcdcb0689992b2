//! Replicas and clients in one thread, on a clock that jumps to the next deadline, over a network that may lose,
//! repeat and overtake. The group is a stand-in: one shared table, applied in order, whose leader a test appoints.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_consensus::{
    Apply, Outcome, RaftCommand, RaftEvent, ReadError, Rejection, StateMachine,
};
use peaberry_core::{
    Batch, Channel, Clock, Effects, Input, Instant, MemoryNetwork, MemoryStorage, MemoryTransport,
    Next, Node, Outgoing, PeerId, Protocol, ProtocolId, Sleep, Tapped, Timestamp, Transport,
};

use crate::{ClientConfig, LockClient, LockTable, Replica, ReplicaConfig};

pub(crate) fn peer(number: u64) -> PeerId {
    PeerId::new(number).unwrap()
}

#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::default()
    }

    /// Needs polling to notice: the cluster polls everything all the time.
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let clock = self.clone();
        Sleep::new(std::future::poll_fn(move |_| {
            if clock.now() >= deadline {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }
}

/// What the replicas have agreed on.
pub(crate) struct Agreed {
    pub(crate) table: LockTable,
    index: u64,
    term: u64,
    leader: Option<PeerId>,
    pub(crate) notices_are_lost: bool,
    pub(crate) entries: u64,
}

struct StandIn {
    local: PeerId,
    agreed: Arc<Mutex<Agreed>>,
    seen_term: u64,
    look_at: Instant,
}

impl Protocol for StandIn {
    type Command = RaftCommand<u64>;
    type Event = RaftEvent<u64>;
    type Error = Infallible;

    fn step(
        &mut self,
        _now: Instant,
        input: Input<RaftCommand<u64>>,
        fx: &mut Effects<'_, RaftEvent<u64>>,
    ) -> Result<(), Infallible> {
        let mut agreed = self.agreed.lock();
        let leads = agreed.leader == Some(self.local);
        match input {
            Input::Command(RaftCommand::Propose { command, token }) => {
                let outcome = if leads {
                    let (mut notices, mut batch) = (Vec::new(), Batch::new());
                    agreed.index += 1;
                    agreed.entries += 1;
                    let index = agreed.index;
                    let mut apply = Apply::new(index, &command, &mut notices, &mut batch);
                    let response = agreed.table.apply(&mut apply);
                    if !agreed.notices_are_lost {
                        for notice in notices {
                            fx.emit(RaftEvent::Notice { index, notice });
                        }
                    }
                    Outcome::Committed { index, response }
                } else {
                    let leader = agreed.leader;
                    Outcome::Rejected(Rejection::NotLeader { leader })
                };
                fx.emit(RaftEvent::Completed { token, outcome });
            }
            Input::Command(RaftCommand::Read { query, token }) => {
                let answer = if leads {
                    Ok(agreed.table.query(&query))
                } else {
                    Err(ReadError::Unavailable)
                };
                fx.emit(RaftEvent::Answered { token, answer });
            }
            _ => {}
        }
        Ok(())
    }

    fn settle(
        &mut self,
        now: Instant,
        fx: &mut Effects<'_, RaftEvent<u64>>,
    ) -> Result<(), Infallible> {
        let agreed = self.agreed.lock();
        if agreed.term > self.seen_term {
            self.seen_term = agreed.term;
            let (term, leader) = (agreed.term, agreed.leader);
            fx.emit(RaftEvent::Leader { term, leader });
        }
        self.look_at = now + Duration::from_millis(20);
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.look_at)
    }
}

pub(crate) struct Faults {
    rng: fastrand::Rng,
    /// Of a hundred messages, how many meet each fault.
    pub(crate) percent: u8,
}

/// Loses, repeats and delays messages past later ones.
fn lossy(inner: MemoryTransport, faults: Arc<Mutex<Faults>>) -> impl Transport {
    let held_back = Mutex::new(Vec::new());
    Tapped::new(Arc::new(inner), move |batch: &mut Vec<Outgoing>| {
        let mut faults = faults.lock();
        let mut late = std::mem::take(&mut *held_back.lock());
        for message in std::mem::take(batch) {
            let percent = faults.percent;
            match faults.rng.u8(..100) {
                dice if dice < percent => {}
                dice if dice < 2 * percent => {
                    batch.push(message.clone());
                    held_back.lock().push(message);
                }
                dice if dice < 3 * percent => held_back.lock().push(message),
                _ => batch.push(message),
            }
        }
        batch.append(&mut late);
    })
}

pub(crate) struct Cluster {
    pub(crate) clock: TestClock,
    network: MemoryNetwork,
    pub(crate) agreed: Arc<Mutex<Agreed>>,
    pub(crate) faults: Arc<Mutex<Faults>>,
    nodes: Vec<(PeerId, Node, Next)>,
    pub(crate) paused: BTreeSet<PeerId>,
    servers: Vec<PeerId>,
}

type Task<'a> = Pin<&'a mut dyn Future<Output = ()>>;

impl Cluster {
    /// Replicas on peers 1 to `replicas`, led by the first.
    pub(crate) fn new(replicas: u64, seed: u64) -> Self {
        let agreed = Agreed {
            table: LockTable::new(),
            index: 0,
            term: 1,
            leader: Some(peer(1)),
            notices_are_lost: false,
            entries: 0,
        };
        let faults = Faults {
            rng: fastrand::Rng::with_seed(seed),
            percent: 0,
        };
        let mut cluster = Self {
            clock: TestClock(Arc::new(AtomicU64::new(1_000_000_000))),
            network: MemoryNetwork::new(),
            agreed: Arc::new(Mutex::new(agreed)),
            faults: Arc::new(Mutex::new(faults)),
            nodes: Vec::new(),
            paused: BTreeSet::new(),
            servers: (1..=replicas).map(peer).collect(),
        };
        for local in cluster.servers.clone() {
            let group = StandIn {
                local,
                agreed: cluster.agreed.clone(),
                seen_term: 0,
                look_at: Instant::default(),
            };
            let config = ReplicaConfig {
                local,
                group: Channel::new(ProtocolId(10), 1),
            };
            let mut node = cluster.node(local);
            let _ = Replica::add_to(&mut node, config, group, |_| {}).unwrap();
            cluster.nodes.push((local, node, Next::Again));
        }
        cluster
    }

    fn node(&self, local: PeerId) -> Node {
        let transport = lossy(self.network.join(local), self.faults.clone());
        let (storage, clock) = (Arc::new(MemoryStorage::new()), Arc::new(self.clock.clone()));
        Node::new(Arc::new(transport), storage, clock)
    }

    pub(crate) fn client(&mut self, local: PeerId, seed: u64) -> LockClient {
        let mut node = self.node(local);
        let config = ClientConfig {
            group: 1,
            servers: self.servers.clone(),
            seed,
        };
        let client = LockClient::add_to(&mut node, config).unwrap();
        self.nodes.push((local, node, Next::Again));
        client
    }

    /// Ends the process on `local`: what is on its way to it reaches the next one there.
    pub(crate) fn end(&mut self, local: PeerId) {
        self.nodes.retain(|(peer, ..)| *peer != local);
    }

    pub(crate) fn appoint(&self, leader: Option<PeerId>) {
        let mut agreed = self.agreed.lock();
        agreed.term += 1;
        agreed.leader = leader;
    }

    /// Turns every node that is not paused until none has anything to do now.
    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for (local, node, next) in &mut self.nodes {
                if !self.paused.contains(local) {
                    *next = node.turn();
                    busy |= *next == Next::Again;
                }
            }
            if !busy && self.is_quiet() {
                return;
            }
        }
    }

    /// Whether another round of turns would find nothing: no deadline has come and no message is on its way.
    fn is_quiet(&mut self) -> bool {
        // Messages and commands arrive within a turn of another node: one more round shows whether there are any.
        let mut busy = false;
        for (local, node, next) in &mut self.nodes {
            if !self.paused.contains(local) {
                *next = node.turn();
                busy |= *next == Next::Again;
            }
        }
        !busy
    }

    /// Moves time to the next deadline, at most to `limit`.
    fn jump(&self, limit: Instant) {
        let awake = self.nodes.iter().filter(|(p, ..)| !self.paused.contains(p));
        let deadlines = awake.filter_map(|(_, _, next)| match next {
            Next::Sleep(deadline) => *deadline,
            _ => None,
        });
        let at = deadlines.min().map_or(limit, |at| at.min(limit));
        let soonest = self.clock.now() + Duration::from_millis(1);
        self.clock
            .0
            .store(at.max(soonest).as_nanos(), Ordering::SeqCst);
    }

    /// Lets `duration` pass.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.clock.now() + duration;
        while self.clock.now() < end {
            self.settle();
            self.jump(end);
        }
        self.settle();
    }

    /// Polls `future` once, with all nodes settled before and after.
    pub(crate) fn poll<T>(
        &mut self,
        future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>,
    ) -> Poll<T> {
        self.settle();
        let mut cx = Context::from_waker(Waker::noop());
        let polled = future.as_mut().poll(&mut cx);
        self.settle();
        polled
    }

    /// Runs `future` to its end, at most ten minutes of the cluster's time.
    pub(crate) fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = Box::pin(future);
        let limit = self.clock.now() + Duration::from_secs(600);
        while self.clock.now() < limit {
            if let Poll::Ready(output) = self.poll(&mut future) {
                return output;
            }
            // What the poll asked for may have been answered while the nodes settled.
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            self.jump(limit);
        }
        panic!("it did not end in ten minutes");
    }

    /// Polls every task, moves time on, and calls `meanwhile`, again and again until `end`.
    pub(crate) fn run_tasks(
        &mut self,
        tasks: &mut Vec<Task<'_>>,
        end: Instant,
        mut meanwhile: impl FnMut(&mut Self),
    ) {
        while self.clock.now() < end && !tasks.is_empty() {
            self.settle();
            let mut cx = Context::from_waker(Waker::noop());
            tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
            self.settle();
            meanwhile(self);
            self.jump(self.clock.now() + Duration::from_millis(10));
        }
    }
}
