mod breaking;
mod engine;
mod nemesis;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::SimulatedClock;
use super::faults::{FaultCounts, FaultKind, Nemesis};
use super::files::SimulatedFiles;
use super::machine::{Boot, BootError, Machine};
use super::storage::SimulatedStorage;
use super::substrate::{Event, Substrate};
use super::trace::{Trace, TraceKind};
use crate::clock::Instant;
use crate::node::Node;
use crate::peer::PeerId;
use crate::transport::Envelope;

type Action = Box<dyn FnOnce(&mut World)>;
type Important = Box<dyn FnMut() -> Option<PeerId>>;

/// Machines, a network and time, all drawn from one seed: the same seed does the same in every process.
///
/// Each machine runs a [`Node`] that its boot function makes, turned by the code that turns it in production. Nothing
/// happens by itself: [`step`](Self::step), [`run_for`](Self::run_for) and [`run_until`](Self::run_until) move the world
/// on. Between them the harness looks at what the machines' sinks have collected, submits commands, and
/// breaks things; or it lets [`unleash`](Self::unleash) break them.
///
/// Nodes commit inline or by [`Boot::with_commit_thread`], never on a real thread, and protocols must keep to the rules of
/// [`Protocol`](crate::Protocol); else a seed does not replay.
///
/// # Example
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::Arc;
/// use std::time::Duration;
/// use bytes::Bytes;
/// use parking_lot::Mutex;
/// use peaberry_core::simulation::World;
/// use peaberry_core::{Channel, Effects, Input, Instant, PeerId, Protocol, ProtocolId};
///
/// /// Sends "ping" to its friend until told that it was heard.
/// struct Ping { friend: PeerId, retry: Option<Instant> }
/// impl Protocol for Ping {
///     type Command = ();
///     type Event = Bytes;
///     type Error = Infallible;
///     fn step(&mut self, now: Instant, input: Input<()>, fx: &mut Effects<'_, Bytes>) -> Result<(), Infallible> {
///         match input {
///             Input::Message(message) => {
///                 self.retry = None;
///                 fx.emit(message.payload);
///             }
///             _ => {
///                 fx.send(self.friend, Bytes::from_static(b"ping"));
///                 self.retry = Some(now + Duration::from_millis(100));
///             }
///         }
///         Ok(())
///     }
///     fn deadline(&self) -> Option<Instant> { self.retry }
/// }
///
/// let (anna, ben) = (PeerId::new(1).unwrap(), PeerId::new(2).unwrap());
/// let heard = Arc::new(Mutex::new(Vec::new()));
/// let mut world = World::new(7);
/// for (peer, friend) in [(anna, ben), (ben, anna)] {
///     let heard = heard.clone();
///     world.add(peer, move |boot| {
///         let mut node = boot.node();
///         let heard = heard.clone();
///         let retry = Some(boot.clock().now());
///         let sink = move |events: &mut Vec<Bytes>| heard.lock().append(events);
///         node.add(Channel::new(ProtocolId(2000), 0), Ping { friend, retry }, sink)?;
///         Ok(node)
///     });
/// }
/// world.cut(anna, ben);
/// world.cut(ben, anna);
/// world.run_for(Duration::from_secs(1));
/// assert!(heard.lock().is_empty());
/// world.heal();
/// world.run_for(Duration::from_secs(1));
/// assert!(!heard.lock().is_empty());
/// ```
pub struct World {
    seed: u64,
    substrate: Arc<Mutex<Substrate>>,
    machines: Vec<Machine>,
    rng: fastrand::Rng,
    actions: BTreeMap<u64, Action>,
    actions_count: u64,
    important: Option<Important>,
    nemesis: Option<Nemesis>,
    /// Counts the calls of `heal`, so that what was planned before means nothing behind it.
    healing: u64,
    scratch: Vec<Envelope>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &self.now())
            .field("machines", &self.machines)
            .finish_non_exhaustive()
    }
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            seed,
            substrate: Arc::new(Mutex::new(Substrate::new(rng.u64(..)))),
            machines: Vec::new(),
            rng,
            actions: BTreeMap::new(),
            actions_count: 0,
            important: None,
            nemesis: None,
            healing: 0,
            scratch: Vec::new(),
        }
    }

    /// Keeps the trace's events, not only their digest: to read them or to draw a [diagram](super::Diagram).
    #[must_use]
    pub fn keep_events(self) -> Self {
        self.substrate.lock().trace.keep_events();
        self
    }

    /// Adds a machine. `boot` makes its node, now and at every restart, from what it finds; in between, all that the
    /// machine knows is in its storage.
    ///
    /// # Panics
    ///
    /// When the world has a machine of that name.
    pub fn add(
        &mut self,
        peer: PeerId,
        boot: impl FnMut(&mut Boot) -> Result<Node, BootError> + 'static,
    ) {
        let mut substrate = self.substrate.lock();
        assert!(
            !substrate.machines.contains_key(&peer),
            "{peer} is in this world already"
        );
        let at = substrate.add(peer);
        let world = substrate.world.clone();
        drop(substrate);
        let clock = SimulatedClock::of_world(world, 0);
        let files = SimulatedFiles::new(self.rng.u64(..));
        self.machines.push(Machine {
            peer,
            boot: Some(Box::new(boot)),
            node: None,
            signal: Arc::default(),
            committer: None,
            clock,
            storage: Arc::new(SimulatedStorage::new()),
            files,
            rng: self.rng.fork(),
            wake: None,
            busy_until: 0,
            paused_until: 0,
            pauses: 0,
        });
        self.start(at);
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The world's own time, which no machine sees.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.now_nanos())
    }

    /// Randomness for the harness; forked, so that its draws change nothing in the world.
    pub fn fork_rng(&mut self) -> fastrand::Rng {
        self.rng.fork()
    }

    /// Every machine, in the order in which they were added.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.machines.iter().map(|machine| machine.peer)
    }

    /// Whether the machine is up. A paused one is.
    ///
    /// # Panics
    ///
    /// As everywhere here, when the world has no machine of that name.
    #[must_use]
    pub fn is_running(&self, peer: PeerId) -> bool {
        let at = self.find(peer);
        self.machines
            .get(at)
            .is_some_and(|machine| machine.node.is_some())
    }

    /// The machine's store, to make it fail or to look at what it holds.
    ///
    /// # Panics
    ///
    /// When the world has no machine of that name.
    #[must_use]
    pub fn storage(&self, peer: PeerId) -> Arc<SimulatedStorage> {
        let at = self.find(peer);
        let machine = self.machines.get(at);
        machine.expect("found above").storage.clone()
    }

    /// The machine's folder, to make it fail or to look at what it holds.
    ///
    /// # Panics
    ///
    /// When the world has no machine of that name.
    #[must_use]
    pub fn files(&self, peer: PeerId) -> SimulatedFiles {
        let at = self.find(peer);
        let machine = self.machines.get(at);
        machine.expect("found above").files.clone()
    }

    /// The machine's clock.
    ///
    /// # Panics
    ///
    /// When the world has no machine of that name.
    #[must_use]
    pub fn clock(&self, peer: PeerId) -> SimulatedClock {
        let at = self.find(peer);
        let machine = self.machines.get(at);
        machine.expect("found above").clock.clone()
    }

    /// What has happened so far.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.substrate.lock().trace.clone()
    }

    /// Writes the harness's own words into the trace, about `peer` or about the world.
    pub fn note(&mut self, peer: Option<PeerId>, text: impl Into<String>) {
        let text = text.into();
        self.record(TraceKind::Note { peer, text });
    }

    /// What has gone wrong so far.
    #[must_use]
    pub fn faults(&self) -> FaultCounts {
        let mut counts = self.substrate.lock().counts.clone();
        for machine in &self.machines {
            let storage = machine.storage.counts();
            counts.add_many(FaultKind::LostWrites, storage.lost);
            counts.add_many(FaultKind::FailedSync, storage.failed_syncs);
            counts.add_many(FaultKind::DiskFull, storage.full);
            let files = machine.files.faults();
            counts.add_many(
                FaultKind::LostWrites,
                files.sectors_dropped + files.names_lost,
            );
            counts.add_many(FaultKind::TornWrites, files.sectors_torn);
            counts.add_many(FaultKind::GarbledWrites, files.sectors_garbled);
            counts.add_many(FaultKind::FailedSync, files.syncs_failed);
            counts.add_many(FaultKind::DiskFull, files.writes_refused);
        }
        counts
    }

    /// Does the next thing there is to do, and moves time there. `false`: there is nothing.
    pub fn step(&mut self) -> bool {
        self.notice();
        let next = self.substrate.lock().queue.pop();
        let Some((at, event)) = next else {
            return false;
        };
        self.advance(at);
        self.happen(event);
        true
    }

    /// Runs to the time `deadline` of the world and no further.
    pub fn run_until(&mut self, deadline: Instant) {
        self.run_with(deadline, |_| true);
    }

    /// Runs for so long.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now() + duration);
    }

    /// Runs to `deadline`, or until `harness`, called behind every step, answers `false`: where clients look for answers
    /// and ask the next question. Answers whether the deadline was reached.
    pub fn run_with(
        &mut self,
        deadline: Instant,
        mut harness: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        loop {
            self.notice();
            let next_at = self.substrate.lock().queue.next_at();
            if next_at.is_none_or(|at| at > deadline.as_nanos()) {
                self.advance(deadline.as_nanos());
                return true;
            }
            self.step();
            if !harness(self) {
                return false;
            }
        }
    }

    /// Does `action` at the time `at`, or next if that has passed.
    pub fn at(&mut self, at: Instant, action: impl FnOnce(&mut Self) + 'static) {
        self.actions_count += 1;
        self.actions.insert(self.actions_count, Box::new(action));
        let at = at.as_nanos().max(self.now_nanos());
        self.push(at, Event::Action(self.actions_count));
    }

    /// Does `action` after so long.
    pub fn after(&mut self, delay: Duration, action: impl FnOnce(&mut Self) + 'static) {
        self.at(self.now() + delay, action);
    }
}

impl World {
    fn find(&self, peer: PeerId) -> usize {
        let found = self.substrate.lock().machines.get(&peer).copied();
        found.unwrap_or_else(|| panic!("{peer} is not in this world"))
    }

    fn machine(&mut self, at: usize) -> &mut Machine {
        self.machines
            .get_mut(at)
            .expect("machines are numbered as they are added")
    }

    fn now_nanos(&self) -> u64 {
        self.substrate.lock().now_nanos()
    }

    fn record(&self, kind: TraceKind) {
        self.substrate.lock().record(kind);
    }

    fn push(&self, at: u64, event: Event) {
        self.substrate.lock().queue.push(at, event);
    }
}
