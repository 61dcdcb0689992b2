//! The simulated world, through its public door: it replays, it breaks what it says, and it catches a protocol that
//! breaks the one rule.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_core::simulation::{
    Boot, CrashPoint, Diagram, FaultCounts, FaultKind, FaultProfile, NetworkProfile, TraceKind,
    World, first_failure,
};
use peaberry_core::{
    Busy, Channel, DiskOptions, DiskStorage, Effects, Handle, Input, Instant, Node, PeerId,
    Protocol, ProtocolId, Storage, StorageError, Subspace,
};

const CHANNEL: Channel = Channel::new(ProtocolId(2000), 0);
const ROUND: Duration = Duration::from_millis(50);

/// A number that only grows, kept by every peer and told to all others.
struct MaxRegister {
    peers: Vec<PeerId>,
    value: u64,
    /// Tells others before the number is durable: the bug that the simulation is to find.
    tells_too_early: bool,
    next_round: Option<Instant>,
}

impl MaxRegister {
    fn open(storage: &dyn Storage, peers: Vec<PeerId>, tells_too_early: bool) -> Self {
        let stored = Subspace::of(CHANNEL).get(storage, b"value").unwrap();
        let value = stored.map_or(0, |bytes| number(&bytes).unwrap());
        Self {
            peers,
            value,
            tells_too_early,
            next_round: None,
        }
    }

    fn raise(&mut self, value: u64, fx: &mut Effects<'_, u64>) {
        if value <= self.value {
            return;
        }
        self.value = value;
        Subspace::of(CHANNEL).put(fx.batch(), b"value", &value.to_be_bytes());
        if self.tells_too_early {
            fx.emit(value);
        } else {
            fx.emit_after_commit(value);
        }
    }

    fn tell(&self, fx: &mut Effects<'_, u64>) {
        for &peer in &self.peers {
            let payload = Bytes::copy_from_slice(&self.value.to_be_bytes());
            if self.tells_too_early {
                fx.send(peer, payload);
            } else {
                fx.send_after_commit(peer, payload);
            }
        }
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

impl Protocol for MaxRegister {
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
            Input::Command(value) => self.raise(value, fx),
            Input::Message(message) => {
                if let Some(value) = number(&message.payload) {
                    self.raise(value, fx);
                }
            }
            Input::Timeout => {
                self.tell(fx);
                self.next_round = Some(now + ROUND);
            }
            Input::Committed(_) | Input::Read(..) | Input::Unreachable(_) => {}
        }
        Ok(())
    }

    fn settle(&mut self, now: Instant, _: &mut Effects<'_, u64>) -> Result<(), Infallible> {
        self.next_round.get_or_insert(now + ROUND);
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_round
    }
}

fn peer(id: u64) -> PeerId {
    PeerId::new(id).unwrap()
}

/// What the machines have told the outside.
#[derive(Default)]
struct Outside {
    handles: BTreeMap<PeerId, Handle<u64>>,
    /// The greatest number that each machine has announced.
    announced: BTreeMap<PeerId, u64>,
    /// What a machine held when it last booted.
    booted: BTreeMap<PeerId, u64>,
    /// A machine that forgot what it had announced.
    forgot: Option<PeerId>,
}

fn registers(seed: u64, count: u64, tells_too_early: bool) -> (World, Arc<Mutex<Outside>>) {
    registers_on(seed, count, tells_too_early, |boot| Ok(boot.storage()))
}

/// Each machine's store is what `open` finds at its boot.
fn registers_on(
    seed: u64,
    count: u64,
    tells_too_early: bool,
    open: impl Fn(&Boot) -> Result<Arc<dyn Storage>, StorageError> + Copy + 'static,
) -> (World, Arc<Mutex<Outside>>) {
    let outside = Arc::new(Mutex::new(Outside::default()));
    let mut world = World::new(seed);
    for id in 1..=count {
        let outside = outside.clone();
        world.add(peer(id), move |boot| {
            let storage = open(boot)?;
            let node = Node::new(boot.transport(), storage.clone(), boot.clock());
            let mut node = match boot.seed() % 2 {
                0 => node,
                _ => boot.with_commit_thread(node),
            };
            let others = (1..=count).map(peer).filter(|&other| other != peer(id));
            let register = MaxRegister::open(storage.as_ref(), others.collect(), tells_too_early);
            let mut told = outside.lock();
            told.booted.insert(peer(id), register.value);
            if told.announced.get(&peer(id)) > Some(&register.value) {
                told.forgot = Some(peer(id));
            }
            let sink = {
                let outside = outside.clone();
                move |events: &mut Vec<u64>| {
                    if let Some(last) = events.pop() {
                        outside.lock().announced.insert(peer(id), last);
                    }
                }
            };
            let handle = node.add(CHANNEL, register, sink)?;
            told.handles.insert(peer(id), handle);
            Ok(node)
        });
    }
    (world, outside)
}

/// Raises the number at random machines all the while.
fn raise_all_along(world: &mut World, outside: &Arc<Mutex<Outside>>, duration: Duration) {
    let mut rng = world.fork_rng();
    let end = world.now() + duration;
    let mut next = 0;
    while world.now() < end {
        next += 1;
        let handles = outside.lock().handles.clone();
        if let Some(handle) = rng.choice(handles.values()) {
            match handle.submit(next) {
                Ok(()) | Err(Busy::Closed(_)) => {}
                Err(Busy::Full(_)) => panic!("a queue of 65,536 is full"),
            }
        }
        let pause = Duration::from_micros(rng.u64(100..30_000));
        world.run_for(pause);
    }
}

fn run_seed(seed: u64, tells_too_early: bool, faults: &Mutex<FaultCounts>) -> Result<(), String> {
    let (world, outside) = registers(seed, 3, tells_too_early);
    run_world(world, &outside, profile(), faults)
}

fn run_world(
    mut world: World,
    outside: &Arc<Mutex<Outside>>,
    profile: FaultProfile,
    faults: &Mutex<FaultCounts>,
) -> Result<(), String> {
    world.choose_sends(|_, _| true);
    world.set_important({
        let outside = outside.clone();
        move || outside.lock().announced.keys().next().copied()
    });
    world.unleash(profile);
    raise_all_along(&mut world, outside, Duration::from_secs(10));
    world.heal();
    world.run_for(Duration::from_secs(2));
    faults.lock().merge(&world.faults());
    let outside = outside.lock();
    if let Some(peer) = outside.forgot {
        return Err(format!("{peer} forgot what it had announced"));
    }
    let greatest = outside.announced.values().max().copied().unwrap_or(0);
    for (peer, &value) in &outside.announced {
        let value = value.max(outside.booted.get(peer).copied().unwrap_or(0));
        if value != greatest {
            return Err(format!(
                "{peer} is at {value} after healing, not {greatest}"
            ));
        }
    }
    Ok(())
}

fn profile() -> FaultProfile {
    FaultProfile::hard().chosen_per_mille(2)
}

#[test]
fn what_was_announced_survives_every_fault_and_all_agree_after_healing() {
    let faults = Mutex::default();
    let failure = first_failure(0..100, &|seed| run_seed(seed, false, &faults));
    assert_eq!(failure, None);
    let faults = faults.into_inner();
    assert_eq!(faults.missing(&profile()), [], "in {faults:?}");
}

#[test]
fn the_same_holds_on_the_durable_store_whose_files_lose_and_tear_what_was_not_synced() {
    let faults = Mutex::default();
    let failure = first_failure(0..100, &|seed| {
        let (world, outside) = registers_on(seed, 3, false, |boot| {
            let options = DiskOptions::owned_by("test").segment_bytes(1 << 15);
            let storage = DiskStorage::open_on(Arc::new(boot.files()), options)?;
            Ok(boot.watch(Arc::new(storage)))
        });
        run_world(world, &outside, profile().on_files(), &faults)
    });
    assert_eq!(failure, None);
    let faults = faults.into_inner();
    assert_eq!(faults.missing(&profile().on_files()), [], "in {faults:?}");
}

#[test]
fn telling_before_the_commit_is_caught() {
    let faults = Mutex::default();
    let caught = first_failure(0..300, &|seed| run_seed(seed, true, &faults));
    assert!(caught.is_some());
}

fn trace_of(seed: u64) -> String {
    let (world, outside) = registers(seed, 4, false);
    let mut world = world.keep_events();
    world.choose_sends(|from, _| from == peer(2));
    world.unleash(FaultProfile::hard().chosen_per_mille(5));
    raise_all_along(&mut world, &outside, Duration::from_secs(5));
    world.heal();
    world.run_for(Duration::from_secs(1));
    world.trace().to_string()
}

const TRACE_FILE: &str = "PEABERRY_TEST_TRACE_FILE";

#[test]
fn a_seed_leaves_the_same_trace_in_two_processes() {
    let trace: String = (0..5).map(trace_of).collect();
    if let Ok(path) = std::env::var(TRACE_FILE) {
        std::fs::write(path, trace).unwrap();
        return;
    }
    assert!(trace.lines().count() > 5_000, "too little happened");
    let folder = tempfile::tempdir().unwrap();
    for child in ["one", "two"] {
        let path = folder.path().join(child);
        let name = "a_seed_leaves_the_same_trace_in_two_processes";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(TRACE_FILE, &path)
            .status()
            .unwrap();
        assert!(status.success());
        assert!(std::fs::read_to_string(&path).unwrap() == trace, "{child}");
    }
    assert!(!trace.contains(&trace_of(5)), "another seed does otherwise");
}

#[test]
fn keeping_events_changes_nothing() {
    let digest = |keep: bool| {
        let (mut world, outside) = registers(9, 3, false);
        if keep {
            world = world.keep_events();
        }
        world.unleash(FaultProfile::generic());
        raise_all_along(&mut world, &outside, Duration::from_secs(2));
        world.trace().digest()
    };
    assert_eq!(digest(true), digest(false));
}

/// Whether machine 1 announced 7, and whether it held 7 after its restart, when it dies at `point`.
fn die_at(point: CrashPoint) -> (bool, bool) {
    let (mut world, outside) = registers(3, 2, false);
    world.run_for(Duration::from_millis(1));
    world.crash_at(peer(1), point);
    outside.lock().handles[&peer(1)].submit(7).unwrap();
    world.run_for(Duration::from_millis(5));
    assert!(!world.is_running(peer(1)));
    let announced = outside.lock().announced.contains_key(&peer(1));
    world.run_for(Duration::from_secs(2));
    assert!(world.is_running(peer(1)));
    (announced, outside.lock().booted[&peer(1)] == 7)
}

#[test]
fn a_crash_before_the_commit_takes_both_the_bytes_and_the_word() {
    assert_eq!(die_at(CrashPoint::BeforeCommit(1)), (false, false));
}

#[test]
fn a_crash_behind_the_commit_takes_the_word_and_leaves_the_bytes() {
    assert_eq!(die_at(CrashPoint::AfterCommit(1)), (false, true));
}

#[test]
fn messages_pass_a_one_way_cut_in_the_other_direction_only() {
    let (mut world, outside) = registers(4, 2, false);
    world.cut(peer(1), peer(2));
    outside.lock().handles[&peer(1)].submit(5).unwrap();
    world.run_for(Duration::from_secs(1));
    assert_eq!(outside.lock().announced.get(&peer(2)), None);
    outside.lock().handles[&peer(2)].submit(9).unwrap();
    world.run_for(Duration::from_secs(1));
    assert_eq!(outside.lock().announced[&peer(1)], 9);
    world.mend(peer(1), peer(2));
    outside.lock().handles[&peer(1)].submit(11).unwrap();
    world.run_for(Duration::from_secs(1));
    assert_eq!(outside.lock().announced[&peer(2)], 11);
}

#[test]
fn a_paused_machine_does_nothing_and_then_sees_a_jump() {
    let (mut world, outside) = registers(5, 2, false);
    world.run_for(Duration::from_millis(10));
    let clock = world.clock(peer(1));
    let before = peaberry_core::Clock::now(&clock);
    world.pause(peer(1), Duration::from_secs(3));
    outside.lock().handles[&peer(1)].submit(5).unwrap();
    world.run_for(Duration::from_secs(2));
    assert_eq!(outside.lock().announced.get(&peer(1)), None);
    world.run_for(Duration::from_secs(2));
    assert_eq!(outside.lock().announced[&peer(1)], 5);
    let passed = peaberry_core::Clock::now(&clock).since(before);
    assert_eq!(passed, Duration::from_secs(4));
}

#[test]
fn a_lossless_network_delivers_all_and_a_lossy_one_some() {
    let delivered = |loss_per_million| {
        let (world, _) = registers(6, 2, false);
        let mut world = world.keep_events();
        world.set_network(NetworkProfile {
            loss_per_million,
            duplicate_per_million: 0,
            ..NetworkProfile::default()
        });
        world.run_for(Duration::from_secs(20));
        let trace = world.trace();
        let count =
            |want: fn(&TraceKind) -> bool| trace.events().filter(|event| want(&event.kind)).count();
        let sent = count(|kind| matches!(kind, TraceKind::Sent { .. }));
        let received = count(|kind| matches!(kind, TraceKind::Delivered { .. }));
        (sent, received)
    };
    let (sent, received) = delivered(0);
    // Those of the last moment are on their way.
    assert!(sent > 700 && received + 2 >= sent, "{received} of {sent}");
    let (sent, received) = delivered(500_000);
    assert!(
        received > sent / 4 && received < sent * 3 / 4,
        "{received} of {sent}"
    );
}

#[test]
fn a_store_that_fails_stops_its_machine_which_comes_back() {
    let (mut world, outside) = registers(8, 2, false);
    world.run_for(Duration::from_millis(1));
    world.storage(peer(1)).fail_next_sync();
    outside.lock().handles[&peer(1)].submit(5).unwrap();
    world.run_for(Duration::from_millis(5));
    assert!(!world.is_running(peer(1)));
    assert_eq!(outside.lock().announced.get(&peer(1)), None);
    assert_eq!(world.faults().get(FaultKind::FailedSync), 1);
    world.run_for(Duration::from_secs(2));
    assert!(world.is_running(peer(1)));
}

#[test]
fn actions_happen_at_their_time_in_order() {
    let mut world = World::new(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for millis in [30, 10, 20] {
        let seen = seen.clone();
        world.after(Duration::from_millis(millis), move |world| {
            seen.lock().push((millis, world.now().as_nanos()));
        });
    }
    world.run_for(Duration::from_millis(25));
    assert_eq!(*seen.lock(), [(10, 10_000_000), (20, 20_000_000)]);
}

#[test]
fn a_diagram_shows_machines_messages_and_faults_within_its_window() {
    let (world, outside) = registers(11, 3, false);
    let mut world = world.keep_events();
    world.set_network(NetworkProfile {
        loss_per_million: 200_000,
        ..NetworkProfile::default()
    });
    world.run_for(Duration::from_millis(100));
    let from = world.now();
    world.note(None, "the storm begins <here>");
    world.isolate(peer(3));
    outside.lock().handles[&peer(1)].submit(4).unwrap();
    world.run_for(Duration::from_millis(60));
    world.crash(peer(2));
    world.run_for(Duration::from_millis(30));
    world.restart(peer(2));
    world.heal();
    world.run_for(Duration::from_millis(60));
    let to = world.now();
    world.note(None, "much later");
    let svg = Diagram::new()
        .title("storm")
        .window(from, to)
        .label(|_, payload| format!("max {}", number(payload).unwrap()))
        .draw(&world.trace());
    if let Ok(path) = std::env::var("PEABERRY_TEST_DIAGRAM") {
        std::fs::write(path, &svg).unwrap();
    }
    for words in [
        "peer-3",
        "max 4",
        "link cut",
        "crash",
        "starts, life 2",
        "mended",
        "begins &lt;here&gt;",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    assert!(!svg.contains("starts, life 1"), "outside of the window");
    let short = Diagram::new().events_max(5).draw(&world.trace());
    assert!(short.contains("earlier events)"));
}
