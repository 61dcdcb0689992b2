//! Raft under simulation: registers in a replicated state machine, and clients that check what they saw.
//!
//! Three or five replicas lose power, sectors, messages and time; four clients write, swap and read. Half of them stay
//! with one replica whatever happens, because a reader that moves on never notices a deposed leader. At the end all
//! trouble stops, and the group must answer again, agree, and have lost nothing.

mod clients;
mod machine;
mod mutants;
mod reached;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peaberry_consensus::{RaftCommand, RaftConfig, RaftEvent, RaftGroup, raft_message_kind};
use peaberry_core::simulation::linearizability::Verdict;
use peaberry_core::simulation::{Boot, BootError, FaultProfile, NetworkProfile, World};
use peaberry_core::{Handle, Instant, Layered, Node, PeerId, Report};

use self::clients::Clients;
use self::machine::Registers;
use super::{Mutant, Reached, Run, Target};

/// The target `raft`.
pub const TARGET: Target = Target {
    name: "raft",
    run,
    fault_kinds: || profile().kinds().collect(),
    dimensions: Vec::new,
    mutants: &[
        Mutant::compiled("send_before_persist"),
        Mutant::compiled("vote_forgotten"),
        Mutant::compiled("storage_retry_failed_sync"),
        Mutant::wrapper("wall_clock_in_apply"),
        Mutant::wrapper("local_read"),
    ],
};

/// How long faults strike.
const STORM: Duration = Duration::from_secs(15);

/// How long the group has to recover, at the longest: many election timeouts.
const CALM: Duration = Duration::from_secs(30);

fn profile() -> FaultProfile {
    FaultProfile::hard().on_files()
}

type Token = u64;
type Commands = Handle<RaftCommand<Token>>;

/// What the machines' sinks have collected.
struct Seen {
    handles: BTreeMap<PeerId, Commands>,
    events: Vec<(PeerId, RaftEvent<Token>)>,
    /// By replica: the term and leader it believes in.
    leaders: BTreeMap<PeerId, (u64, Option<PeerId>)>,
    /// Who was elected in each term.
    elected: BTreeMap<u64, PeerId>,
    violations: Vec<String>,
    reached: Reached,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            handles: BTreeMap::new(),
            events: Vec::new(),
            leaders: BTreeMap::new(),
            elected: BTreeMap::new(),
            violations: Vec::new(),
            reached: reached::none(),
        }
    }
}

impl Seen {
    /// The replica that believes itself leader in the highest term.
    fn leader(&self) -> Option<PeerId> {
        let own = self
            .leaders
            .iter()
            .filter(|(peer, (_, leader))| *leader == Some(**peer));
        own.max_by_key(|(_, (term, _))| *term)
            .map(|(&peer, _)| peer)
    }
}

/// Runs one seed.
fn run(seed: u64, mutant: Option<&str>) -> Run {
    let mut world = World::new(seed);
    let mut rng = world.fork_rng();
    let replicas = if rng.bool() { 3 } else { 5 };
    let peers: Vec<PeerId> = (1..=replicas).filter_map(PeerId::new).collect();
    // In half of the worlds many elections collide and many of their messages dawdle: what a voter forgets in a crash
    // shows only when a rival asks it for the same term.
    let contested = rng.bool();
    if contested {
        world.set_network(NetworkProfile {
            delay_long_max: Duration::from_millis(400),
            long_per_million: 300_000,
            ..NetworkProfile::default()
        });
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    for &peer in &peers {
        let (seen, peers) = (seen.clone(), peers.clone());
        let mutant = mutant.map(str::to_owned);
        world.add(peer, move |boot| {
            let node = self::boot(boot, &peers, &seen, mutant.as_deref(), contested);
            node.inspect_err(|error| seen.lock().violations.extend(super::damage(error)))
        });
    }
    let important = seen.clone();
    world.set_important(move || important.lock().leader());
    world.choose_sends(|_, message| {
        raft_message_kind(&message.payload) == Some("MsgRequestVoteResponse")
    });

    let mut clients = Clients::new(rng, peers.clone(), mutant == Some("local_read"));
    let faults = profile();
    world.unleash(if contested {
        faults.chosen_per_mille(700)
    } else {
        faults
    });
    let storm_end = Instant::default() + STORM;
    world.run_with(storm_end, |world| {
        clients.act(world.now(), &seen);
        true
    });
    world.heal();
    clients.end_storm();
    let recovered = !world.run_with(storm_end + CALM, |world| {
        clients.act(world.now(), &seen);
        !clients.has_finished()
    });

    let mut violations = std::mem::take(&mut seen.lock().violations);
    if !recovered {
        violations.push(format!(
            "no recovery within {CALM:?} of calm: {}",
            clients.progress()
        ));
    }
    let verdict = clients.check();
    if let Verdict::Violation(violation) = &verdict {
        violations.push(violation.to_string());
    }
    Run {
        virtual_time: world.now().since(Instant::default()),
        faults: world.faults(),
        own_faults: Reached::default(),
        reached: std::mem::take(&mut seen.lock().reached),
        covered: Vec::new(),
        operations: clients.completed(),
        violations,
        unknown: u64::from(verdict == Verdict::Unknown),
        trace: world.trace().digest(),
    }
}

/// Makes a replica's node from what its disk holds.
fn boot(
    boot: &mut Boot,
    peers: &[PeerId],
    seen: &Arc<Mutex<Seen>>,
    mutant: Option<&str>,
    contested: bool,
) -> Result<Node, BootError> {
    let storage = super::disk_of(boot)?;
    let mut config = RaftConfig::new(1, boot.peer(), peers.iter().copied(), boot.seed());
    // Small, so that snapshots, transfers and reads of old entries happen all the time.
    config.snapshot_log_bytes = 6 << 10;
    config.log_cache_bytes = 2 << 10;
    if contested {
        config.election_ticks = 4;
    }
    let channel = config.channel();
    let machine = mutants::Mutable::new(Registers::default(), boot, mutant);
    let group = RaftGroup::open(config, storage.as_ref(), machine)?;
    let storage = Arc::new(Layered::new(reached::CountedReads {
        inner: storage,
        seen: seen.clone(),
    }));
    let reports = seen.clone();
    let node = Node::new(boot.transport(), storage, boot.clock());
    let mut node = super::commit_either_way(boot, node).with_report(move |report| {
        // A disk may fail to be read; raft's own state may not fall apart.
        if let Report::ProtocolFailed { error, .. } = &report
            && error.to_string().starts_with("the raft core stopped")
        {
            reports.lock().violations.push(format!("{report:?}"));
        }
    });
    let (peer, sink) = (boot.peer(), seen.clone());
    let commands = node.add(channel, group, move |events: &mut Vec<RaftEvent<Token>>| {
        let mut seen = sink.lock();
        for event in events.drain(..) {
            seen.take(peer, event);
        }
    })?;
    let mut seen = seen.lock();
    seen.leaders.remove(&peer);
    seen.handles.insert(peer, commands);
    Ok(node)
}

impl Seen {
    fn take(&mut self, peer: PeerId, event: RaftEvent<Token>) {
        reached::mark(&mut self.reached, &event);
        match event {
            RaftEvent::Leader { term, leader } => {
                self.leaders.insert(peer, (term, leader));
                self.check_election(term, leader);
            }
            RaftEvent::Misbehaved {
                peer: accused,
                reason,
            } => {
                self.violations.push(format!(
                    "{peer} accuses {accused}, a correct replica: {reason}"
                ));
            }
            event => self.events.push((peer, event)),
        }
    }

    /// Election safety (Raft, figure 3): a term has at most one leader, whoever says so.
    fn check_election(&mut self, term: u64, leader: Option<PeerId>) {
        let Some(leader) = leader else {
            return;
        };
        let elected = *self.elected.entry(term).or_insert(leader);
        if elected != leader {
            let complaint = format!("term {term} has two leaders, {elected} and {leader}");
            self.violations.push(complaint);
        }
    }
}

/// The number that a state machine's answer or query spells.
fn word(bytes: &Bytes) -> u64 {
    bytes
        .as_ref()
        .try_into()
        .map_or(u64::MAX, u64::from_be_bytes)
}
