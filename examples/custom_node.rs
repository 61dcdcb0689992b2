//! A protocol of your own: live on threads, then through a hundred simulated disasters.
//!
//! You will learn how to write a `Protocol`, host it on `Node`s, run the same code in a seeded `World` with crashes and
//! partitions, and what the simulation says when the protocol breaks the one rule: what depends on bytes must not leave
//! before they are durable.
//!
//! Tested as: `cargo run --example custom_node`
//!
//! You will see the mark that three live machines keep, the faults that a hundred seeds survived, the seed that catches
//! the broken protocol, and the path of a picture of that seed's last moments.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::simulation::{Diagram, FaultCounts, FaultProfile, World, first_failure};
use peaberry_core::{
    Busy, Channel, Effects, Handle, Input, Instant, MemoryNetwork, MemoryStorage, Node, PeerId,
    Protocol, ProtocolId, Storage, StorageError, Subspace, SystemClock,
};

// --- the protocol ---

const CHANNEL: Channel = Channel::new(ProtocolId(2000), 0);
const KEEP: u8 = 0;
const KEPT: u8 = 1;

/// A high-water mark that a majority of three machines keeps: it rises, and once announced it never falls.
struct HighWater {
    others: [PeerId; 2],
    mark: u64,
    announced: u64,
    next_round: Option<Instant>,
    /// The planted bug: answers "kept" before it is.
    is_hasty: bool,
}

impl HighWater {
    fn open(storage: &dyn Storage, others: [PeerId; 2]) -> Result<Self, StorageError> {
        let mark = stored_mark(storage)?;
        Ok(Self {
            others,
            mark,
            announced: 0,
            next_round: None,
            is_hasty: false,
        })
    }

    fn raise(&mut self, mark: u64, fx: &mut Effects<'_, u64>) {
        if mark > self.mark {
            self.mark = mark;
            Subspace::of(CHANNEL).put(fx.batch(), b"mark", &mark.to_be_bytes());
        }
    }
}

impl Protocol for HighWater {
    type Command = u64;
    type Event = u64;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<u64>,
        fx: &mut Effects<'_, u64>,
    ) -> Result<(), Infallible> {
        match input {
            Input::Command(mark) => self.raise(mark, fx),
            Input::Timeout => self.next_round = Some(now + Duration::from_millis(50)),
            Input::Message(message) => match parse(&message.payload) {
                Some((KEEP, mark)) => {
                    self.raise(mark, fx);
                    let answer = say(KEPT, mark);
                    if self.is_hasty {
                        fx.send(message.from, answer);
                    } else {
                        fx.send_after_commit(message.from, answer);
                    }
                }
                // With ours, which was durable before we asked, that is a majority.
                Some((KEPT, mark)) if mark > self.announced => {
                    self.announced = mark;
                    fx.emit(mark);
                }
                // A stranger's bytes, or old news.
                _ => {}
            },
            Input::Committed(_) | Input::Read(..) | Input::Unreachable(_) => {}
        }
        Ok(())
    }

    /// Asks the others to keep what is not announced yet: whenever something happened, and in every round.
    fn settle(&mut self, now: Instant, fx: &mut Effects<'_, u64>) -> Result<(), Infallible> {
        self.next_round
            .get_or_insert(now + Duration::from_millis(50));
        if self.mark > self.announced {
            for other in self.others {
                fx.send_after_commit(other, say(KEEP, self.mark));
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_round
    }
}

fn stored_mark(storage: &dyn Storage) -> Result<u64, StorageError> {
    let stored = Subspace::of(CHANNEL).get(storage, b"mark")?;
    Ok(stored
        .and_then(|bytes| bytes.as_ref().try_into().ok())
        .map_or(0, u64::from_be_bytes))
}

fn say(what: u8, mark: u64) -> Bytes {
    std::iter::once(what).chain(mark.to_be_bytes()).collect()
}

fn parse(payload: &[u8]) -> Option<(u8, u64)> {
    let (&what, mark) = payload.split_first()?;
    Some((what, u64::from_be_bytes(mark.try_into().ok()?)))
}

fn in_words(payload: &[u8]) -> String {
    match parse(payload) {
        Some((KEEP, mark)) => format!("keep {mark}"),
        Some((_, mark)) => format!("kept {mark}"),
        None => "noise".to_owned(),
    }
}

// --- live ---

fn peers() -> [PeerId; 3] {
    [1, 2, 3].map(|id| PeerId::new(id).expect("not zero"))
}

fn others(peer: PeerId) -> [PeerId; 2] {
    let [a, b, c] = peers();
    match peer {
        _ if peer == a => [b, c],
        _ if peer == b => [a, c],
        _ => [a, b],
    }
}

fn run_live() -> Result<(), Box<dyn Error>> {
    let network = MemoryNetwork::new();
    let (announce, announced) = mpsc::channel();
    let mut threads = Vec::new();
    let mut handles = Vec::new();
    for peer in peers() {
        let storage = Arc::new(MemoryStorage::new());
        let protocol = HighWater::open(storage.as_ref(), others(peer))?;
        let mut node = Node::new(
            Arc::new(network.join(peer)),
            storage,
            Arc::new(SystemClock::new()),
        );
        let announce = announce.clone();
        let sink = move |marks: &mut Vec<u64>| {
            for mark in marks.drain(..) {
                // Nobody listens any more when the story is over.
                let _ = announce.send((peer, mark));
            }
        };
        handles.push(node.add(CHANNEL, protocol, sink)?);
        threads.push(node.spawn(&peer.to_string())?);
    }
    for (handle, mark) in handles.iter().zip([7, 11, 42]) {
        handle.submit(mark)?;
    }
    let (peer, mark) = announced
        .iter()
        .find(|&(_, mark)| mark == 42)
        .expect("a majority is up");
    println!("live: {peer} announced {mark}, so two of three machines hold it");
    Ok(())
}

// --- simulated ---

/// Everything that the outside knows: how to reach the machines, and the highest mark announced.
#[derive(Default)]
struct Outside {
    handles: BTreeMap<PeerId, Handle<u64>>,
    announced: u64,
}

fn world(seed: u64, is_hasty: bool) -> (World, Arc<Mutex<Outside>>) {
    let outside = Arc::new(Mutex::new(Outside::default()));
    let mut world = World::new(seed).keep_events();
    for peer in peers() {
        let outside = outside.clone();
        world.add(peer, move |boot| {
            let protocol = HighWater::open(boot.storage().as_ref(), others(peer))?;
            let mut node = boot.node();
            let announced = outside.clone();
            let sink = move |marks: &mut Vec<u64>| {
                for mark in marks.drain(..) {
                    let mut outside = announced.lock();
                    outside.announced = outside.announced.max(mark);
                }
            };
            let handle = node.add(
                CHANNEL,
                HighWater {
                    is_hasty,
                    ..protocol
                },
                sink,
            )?;
            outside.lock().handles.insert(peer, handle);
            Ok(node)
        });
    }
    (world, outside)
}

/// An announced mark is on two of three disks, at every moment.
fn check(world: &World, announced: u64) -> Result<(), String> {
    let keeps = |peer: &PeerId| {
        stored_mark(world.storage(*peer).as_ref()).is_ok_and(|mark| mark >= announced)
    };
    let keepers = peers().iter().filter(|peer| keeps(peer)).count();
    if keepers >= 2 {
        return Ok(());
    }
    Err(format!(
        "{announced} was announced and only {keepers} machine keeps it"
    ))
}

/// Ten virtual seconds of rising marks and faults; then everything heals, and the last mark must come through.
fn simulate(world: &mut World, outside: &Mutex<Outside>) -> Result<(), String> {
    let mut rng = world.fork_rng();
    world.unleash(FaultProfile::generic());
    for mark in 1..=200 {
        let handle = rng.choice(outside.lock().handles.values()).cloned();
        if let Some(Err(Busy::Full(_))) = handle.map(|handle| handle.submit(mark)) {
            return Err("65,536 marks wait".to_owned());
        }
        let mut outcome = Ok(());
        let pause = Duration::from_millis(rng.u64(1..100));
        world.run_with(world.now() + pause, |world| {
            outcome = check(world, outside.lock().announced);
            outcome.is_ok()
        });
        outcome?;
    }
    world.heal();
    world.run_for(Duration::from_millis(100));
    let handle = outside.lock().handles.values().next().cloned();
    handle
        .ok_or("no machine")?
        .submit(1_000)
        .map_err(|busy| busy.to_string())?;
    world.run_for(Duration::from_secs(2));
    check(world, 1_000)
}

fn main() -> Result<(), Box<dyn Error>> {
    run_live()?;

    let faults = Mutex::new(FaultCounts::default());
    let failure = first_failure(0..100, &|seed| {
        let (mut world, outside) = world(seed, false);
        let outcome = simulate(&mut world, &outside);
        faults.lock().merge(&world.faults());
        outcome
    });
    assert_eq!(failure, None, "the protocol keeps what it announces");
    let faults = faults.into_inner();
    assert!(
        faults.missing(&FaultProfile::generic()).is_empty(),
        "every kind of fault has happened"
    );
    println!("simulated: 100 seeds keep every announced mark through");
    for (fault, times) in faults.by_name(&FaultProfile::generic()) {
        println!("  {times:>6} {fault}");
    }

    let run_hasty = |seed| {
        let (mut world, outside) = world(seed, true);
        simulate(&mut world, &outside)
    };
    let (seed, complaint) =
        first_failure(0..1_000, &run_hasty).expect("a hasty answer is found out");
    println!("broken on purpose: seed {seed} says: {complaint}");

    let (mut world, outside) = world(seed, true);
    assert_eq!(
        simulate(&mut world, &outside),
        Err(complaint.clone()),
        "a seed replays"
    );
    let svg = Diagram::new()
        .title(format!("seed {seed}: {complaint}"))
        .events_max(40)
        .label(|_, payload| in_words(payload))
        .draw(&world.trace());
    let path = std::env::temp_dir().join("peaberry_custom_node.svg");
    std::fs::write(&path, svg)?;
    println!("its last moments are drawn in {}", path.display());
    Ok(())
}
