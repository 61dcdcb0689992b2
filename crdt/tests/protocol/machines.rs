//! Nodes in one process that are turned by hand, on clocks that stand still until they are moved.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use peaberry_core::simulation::SimulatedClock;
use peaberry_core::{MemoryNetwork, MemoryStorage, Next, Node, PeerId};
use peaberry_crdt::protocol::{
    Mutation, OpenError, Replica, ReplicaEvent, ReplicaHandle, ReplicaOptions,
};
use peaberry_crdt::sync::{Member, Membership, SyncConfig};
use peaberry_crdt::wire::Message;
use peaberry_crdt::{AddWinsSet, Causal, Lattice, ReplicaId, Replicated};

pub(crate) type Tags = Causal<AddWinsSet<u32>>;

pub(crate) fn member(number: u64) -> Member {
    Member::new(number).unwrap()
}

pub(crate) fn members(count: u64) -> Membership {
    Membership::new((1..=count).map(member))
}

/// Options of a life that is told apart by `life`.
pub(crate) fn options(number: u64, membership: Membership, life: u64) -> ReplicaOptions {
    let seed = number * 1_000 + life;
    let config = SyncConfig::new(member(number), 7, membership, seed);
    ReplicaOptions::new(config, ReplicaId::new(u128::from(seed)).unwrap())
}

pub(crate) struct Machine<D> {
    pub(crate) number: u64,
    pub(crate) node: Node,
    pub(crate) handle: ReplicaHandle<D>,
    pub(crate) storage: Arc<MemoryStorage>,
    pub(crate) clock: SimulatedClock,
    pub(crate) events: Arc<Mutex<Vec<ReplicaEvent>>>,
}

/// Boots a machine on what its store holds.
pub(crate) fn boot<D>(
    network: &MemoryNetwork,
    storage: Arc<MemoryStorage>,
    options: ReplicaOptions,
) -> Result<Machine<D>, OpenError>
where
    D: Replicated + Message + Lattice + Send + 'static,
    D::Delta: Send,
{
    let number = options.sync.local.get();
    let replica = Replica::open(storage.as_ref(), options, D::bottom())?;
    let clock = SimulatedClock::new();
    let transport = Arc::new(network.join(PeerId::new(number).unwrap()));
    let mut node = Node::new(transport, storage.clone(), Arc::new(clock.clone()));
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let handle = replica
        .add_to(&mut node, move |event| heard.lock().unwrap().push(event))
        .unwrap();
    Ok(Machine {
        number,
        node,
        handle,
        storage,
        clock,
        events,
    })
}

/// Machines 1 to `count`, each empty.
pub(crate) fn town<D>(
    network: &MemoryNetwork,
    count: u64,
    adjust: impl Fn(&mut ReplicaOptions),
) -> Vec<Machine<D>>
where
    D: Replicated + Message + Lattice + Send + 'static,
    D::Delta: Send,
{
    let machine = |number| {
        let mut options = options(number, members(count), 1);
        adjust(&mut options);
        boot(network, Arc::new(MemoryStorage::new()), options).unwrap()
    };
    (1..=count).map(machine).collect()
}

impl<D> Machine<D> {
    pub(crate) fn events(&self) -> Vec<ReplicaEvent> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn turn(&mut self) {
        while self.node.turn() == Next::Again {}
    }
}

/// Turns all machines, 100 ms apart, for so long.
pub(crate) fn run<D>(machines: &mut [Machine<D>], time: Duration) {
    const STEP: Duration = Duration::from_millis(100);
    for _ in 0..time.as_millis() / STEP.as_millis() {
        // A message arrives within the step in which it was sent, and so does its answer.
        for _ in 0..4 {
            machines.iter_mut().for_each(Machine::turn);
        }
        for machine in machines.iter() {
            machine.clock.advance(STEP);
        }
    }
}

/// What a future has come to.
pub(crate) fn poll<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

pub(crate) fn add(machine: &Machine<Tags>, tag: u32) -> Mutation<bool> {
    machine.handle.mutate(move |tags: &mut Tags, writer| {
        tags.write(writer, |set, mint| Ok(set.add(mint, tag)))
            .is_ok()
    })
}

pub(crate) fn tags(machine: &Machine<Tags>) -> Vec<u32> {
    machine
        .handle
        .read(|tags| tags.value().iter().copied().collect())
}
