//! An outbox and a follower in a world of faults: forks, crashes at every journal write, nodes that lose, lag and lie.
//!
//! A machine carries intents of two EVM accounts and one on Solana out, and follows the EVM chain, while blocks are
//! reorganised up to the depth of finality, foreign transactions take nonces, mempools forget, fees rise, and the process
//! dies wherever it writes. In the end every intent must have been carried out exactly once, or called off and not at all,
//! none may be stuck, and the follower must have told every log once.

mod acts;
mod application;
mod callers;
mod dead_fork;
mod errands;
mod faults;
mod model;
mod nature;
mod node;
mod reached;
mod reader;
mod solana;
mod view;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_chain::evm::{EvmClient, EvmNetwork, EvmRpc, QuorumRpc};
use peaberry_chain::follow::{Change, FOLLOW, Follow, FollowCommand, FollowConfig, FollowEvent};
use peaberry_chain::outbox::{
    ChainRules, OUTBOX, Outbox, OutboxCommand, OutboxConfig, OutboxEvent, Performer,
};
use peaberry_chain::primitives::Address;
use peaberry_chain::{ChainId, LogFilter};
use peaberry_core::simulation::{Boot, BootError, FaultKind, FaultProfile, World};
use peaberry_core::{Channel, Handle, Node, PeerId, Storage};

use self::acts::{act, hand_over_again};
use self::application::{APPLICATION, Application, ApplicationEvent};
use self::callers::Callers;
use self::dead_fork::DeadFork;
use self::errands::run_for;
use self::faults::Faults;
use self::model::Model;
use self::nature::{Nature, Nodes};
use self::reader::Reader;
use self::solana::Cluster;
use super::{Mutant, Run, Target};

/// The target `chain`.
pub const TARGET: Target = Target {
    name: "chain",
    run,
    fault_kinds: || profile(true).kinds().collect(),
    mutants: &[
        Mutant::compiled("outbox_broadcasts_before_journal"),
        Mutant::compiled("outbox_resigns_after_restart"),
        Mutant::compiled("outbox_nonce_too_low_is_failure"),
        Mutant::compiled("outbox_nonce_not_read_after_reorg"),
        Mutant::compiled("outbox_gap_left_open"),
        Mutant::compiled("outbox_never_bumps"),
        Mutant::compiled("outbox_calls_off_for_any_refusal"),
        Mutant::compiled("outbox_displaces_beyond_receipts"),
        Mutant::compiled("outbox_reuses_forgotten_keys"),
        Mutant::compiled("follow_cursor_by_number_only"),
        Mutant::compiled("follow_final_change_unnoticed"),
        Mutant::compiled("follow_cursor_ignored"),
        Mutant::compiled("solana_resigned_before_expiry"),
        Mutant::compiled("solana_ignorance_taken_for_expiry"),
        Mutant::wrapper(SAFE_IS_FINAL),
    ],
};

const SAFE_IS_FINAL: &str = "safe_taken_for_final";
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ACTIONS: u64 = 70;
/// Blocks within which everything must be over once all is well, beside those that finality takes.
const CALM_BLOCKS: u64 = 160;

fn profile(on_files: bool) -> FaultProfile {
    let profile = FaultProfile::calm()
        .weight(FaultKind::Crash, 3)
        .weight(FaultKind::CrashBeforeCommit, 4)
        .weight(FaultKind::CrashAfterCommit, 6)
        .weight(FaultKind::Restart, 2)
        .weight(FaultKind::Pause, 2)
        .weight(FaultKind::FailedSync, 1)
        .weight(FaultKind::DiskFull, 1)
        .interval(Duration::from_millis(300), Duration::from_millis(2_500))
        .lasting(Duration::from_millis(1_500));
    if on_files {
        profile.on_files().weight(FaultKind::CrashWithinWrite, 8)
    } else {
        profile
    }
}

fn chain() -> ChainId {
    ChainId::evm(4242)
}

fn account(index: usize) -> Address {
    Address::repeat_byte(if index.is_multiple_of(2) { 0xa1 } else { 0xb2 })
}

fn machine() -> PeerId {
    PeerId::new(1).expect("one is a number")
}

/// What the machine's process has handed out.
enum Said {
    Outbox(OutboxEvent),
    Follow(FollowEvent),
    Application(ApplicationEvent),
}

/// The process that runs now.
struct Life {
    number: u64,
    outbox: Handle<OutboxCommand>,
    follow: Handle<FollowCommand>,
    application: Option<Handle<Box<Change>>>,
}

/// All that the world's actions share.
struct Shared {
    nature: Nature,
    model: Arc<Mutex<Model>>,
    /// The fork on which a node has stayed.
    fork: Arc<Mutex<Option<DeadFork>>>,
    cluster: Arc<Mutex<Cluster>>,
    faults: Arc<Mutex<Faults>>,
    life: Mutex<Option<Life>>,
    said: Mutex<Vec<(u64, Said)>>,
    callers: Mutex<Callers>,
    reader: Mutex<Reader>,
    /// What the follower asks.
    client: EvmClient,
    performers: BTreeMap<ChainId, Arc<dyn Performer>>,
    /// Which nodes were said to contradict the others.
    named: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// Runs the world of one seed.
#[must_use]
pub fn run(seed: u64, mutant: Option<&str>) -> Run {
    let mut world = World::new(seed);
    let mut rng = world.fork_rng();
    let nature = Nature::of(seed);
    let safe_is_final = mutant == Some(SAFE_IS_FINAL);
    let shared = Arc::new(share(&mut world, nature, safe_is_final));
    add_machine(&mut world, &shared);
    world.run_for(Duration::from_millis(50));
    world.unleash(profile(nature.is_on_files));
    world.crash_at(machine(), nature.first_death());
    for _ in 0..ACTIONS {
        act(&world, &shared, &mut rng);
        let pause = Duration::from_millis(rng.u64(10..250));
        run_for(&mut world, &shared, &mut rng, pause);
    }
    world.heal();
    shared.faults.lock().is_storm = false;
    shared.cluster.lock().first_slot = 0;
    *shared.fork.lock() = None;
    {
        let mut model = shared.model.lock();
        model.base_fee = if nature.stays_dear { 5_000 } else { 100 };
        model.broke = None;
        model.is_full = false;
    }
    for block in 0..CALM_BLOCKS + 3 * nature.finality {
        shared.model.lock().mine();
        shared.cluster.lock().mine(|| true);
        if block % 16 == 0 {
            hand_over_again(&shared);
        }
        run_for(&mut world, &shared, &mut rng, LOOK_EVERY * 2);
        if shared.callers.lock().all_ended() {
            break;
        }
    }
    // Time to catch up with the last block.
    run_for(&mut world, &shared, &mut rng, LOOK_EVERY * 60);
    let mut run = conclude(&world, &shared);
    if nature.breaks_finality && run.violations.is_empty() {
        break_finality(&mut world, &shared, &mut rng);
        run.own_faults = shared.faults.lock().counts.clone();
        run.reached.mark(reached::ALARMED);
        run.violations = std::mem::take(&mut shared.reader.lock().violations);
    }
    run
}

/// The chain changes what was final: the follower must stop for good and say why, in this life and the next.
fn break_finality(world: &mut World, shared: &Arc<Shared>, rng: &mut fastrand::Rng) {
    {
        let mut model = shared.model.lock();
        let mut reader = shared.reader.lock();
        let followed = reader.final_number.unwrap_or(0);
        let depth = model.tip() + 1 - followed.max(1);
        model.reorganise(
            depth + rng.u64(0..3).min(followed.max(1) - 1),
            |_| false,
            || true,
        );
        shared.faults.lock().count(reached::FINAL_CHANGED);
        reader.expects_alarm = true;
    }
    for alarms in 1..=2 {
        for _ in 0..20 {
            shared.model.lock().mine();
            run_for(world, shared, rng, LOOK_EVERY * 2);
        }
        let mut reader = shared.reader.lock();
        if reader.alarms.len() != alarms {
            let complaint = format!(
                "a final block has changed, and there were {} alarms in {alarms} lives",
                reader.alarms.len()
            );
            reader.complain(complaint);
        }
        drop(reader);
        world.crash(machine());
        world.restart(machine());
    }
}

fn share(world: &mut World, nature: Nature, safe_is_final: bool) -> Shared {
    let model = Arc::new(Mutex::new(Model::new(nature.finality)));
    let faults = Arc::new(Mutex::new(Faults::new(world.fork_rng())));
    let cluster = Arc::new(Mutex::new(Cluster::default()));
    cluster.lock().mine(|| true);
    for _ in 0..3 {
        model.lock().mine();
    }
    let fork: Arc<Mutex<Option<DeadFork>>> = Arc::default();
    let named: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let node = || node::Node {
        model: model.clone(),
        faults: faults.clone(),
        fork: Arc::default(),
        is_mixed: false,
        is_liar: false,
        safe_is_final,
        forgets: nature.is_alone,
    };
    let quorum = |wanted: usize, nodes: Vec<(&str, node::Node)>| -> Arc<dyn EvmRpc> {
        let nodes = nodes.into_iter().map(|(name, node)| {
            let node: Arc<dyn EvmRpc> = Arc::new(node);
            (name.to_owned(), node)
        });
        let named = named.clone();
        let quorum = QuorumRpc::new(nodes.collect(), wanted).with_report(move |dissent| {
            *named.lock().entry(dissent.node.clone()).or_default() += 1;
        });
        Arc::new(quorum)
    };
    let liar = || node::Node {
        is_liar: true,
        ..node()
    };
    let stray = |is_mixed| node::Node {
        fork: fork.clone(),
        is_mixed,
        ..node()
    };
    // What the outbox asks, and what the follower does.
    let (acting, following) = match nature.nodes {
        Nodes::One => {
            let acting: Arc<dyn EvmRpc> = Arc::new(stray(false));
            let following: Arc<dyn EvmRpc> = Arc::new(stray(true));
            (acting, following)
        }
        Nodes::WithLiar => {
            let nodes = vec![("anna", node()), ("ben", node()), ("mallory", liar())];
            let quorum = quorum(2, nodes);
            (quorum.clone(), quorum)
        }
        Nodes::WithLiarAndStray => {
            let nodes = vec![
                ("anna", node()),
                ("ben", node()),
                ("carla", node()),
                (STRAY, stray(false)),
                ("mallory", liar()),
            ];
            let quorum = quorum(3, nodes);
            (quorum.clone(), quorum)
        }
    };
    let connect = |rpc| {
        let client = EvmClient::connect(rpc, EvmNetwork::generic(4242));
        at_once(client).expect("the model serves this chain")
    };
    let client = connect(following);
    let acting = node::Acting {
        client: connect(acting),
        faults: faults.clone(),
    };
    let on_solana = solana::Acting {
        cluster: cluster.clone(),
        faults: faults.clone(),
    };
    let performers: [Arc<dyn Performer>; 2] = [Arc::new(acting), Arc::new(on_solana)];
    Shared {
        nature,
        model,
        fork,
        cluster,
        faults,
        life: Mutex::new(None),
        said: Mutex::default(),
        callers: Mutex::new(Callers::new()),
        reader: Mutex::default(),
        client,
        performers: performers
            .into_iter()
            .map(|performer| (performer.chain_id(), performer))
            .collect(),
        named,
    }
}

/// Who may stay on a dead fork, and contradicts the others then without lying.
const STRAY: &str = "dora";

/// Nothing here ever waits: a model answers at once.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a model's answer is there at once"),
    }
}

fn add_machine(world: &mut World, shared: &Arc<Shared>) {
    let shared = shared.clone();
    world.add(machine(), move |boot| {
        let node = boot_machine(boot, &shared);
        node.inspect_err(|error| {
            if let Some(damage) = super::damage(error) {
                shared.reader.lock().complain(damage);
            }
        })
    });
}

fn boot_machine(boot: &mut Boot, shared: &Arc<Shared>) -> Result<Node, BootError> {
    let nature = shared.nature;
    let storage = if nature.is_on_files {
        super::disk_of(boot)?
    } else {
        boot.storage()
    };
    let rules = ChainRules {
        look_every: LOOK_EVERY,
        fees_fresh_for: LOOK_EVERY * 3,
        retry_after: LOOK_EVERY,
        fee_cap: 100_000,
        in_flight_max: 4,
        ..ChainRules::every(LOOK_EVERY)
    };
    // Where nodes never forget, what is displaced gets another nonce however late that is seen.
    let rules = ChainRules {
        receipts_kept: if nature.is_alone {
            node::RECEIPTS_KEPT
        } else {
            rules.receipts_kept
        },
        ..rules
    };
    let mut config = OutboxConfig::new()
        .chain(chain(), rules)
        .chain(ChainId::SOLANA, rules);
    config.ended_kept = nature.ended_kept;
    let outbox = Outbox::open(Channel::new(OUTBOX, 0), config, &*storage)?;
    let config = FollowConfig {
        chain: chain(),
        filter: LogFilter::default(),
        start: nature.start,
        poll_every: LOOK_EVERY,
        ring_max: nature.ring_max,
        unacknowledged_max: 48,
        range_max: 40,
        stalled_after: rules.stalled_after,
    };
    let follow = Follow::open(Channel::new(FOLLOW, 0), config, &*storage)?;
    let node = Node::new(boot.transport(), storage.clone(), boot.clock());
    let mut node = super::commit_either_way(boot, node);
    let number = boot.incarnation();
    let told = shared.clone();
    let outbox = node.add(Channel::new(OUTBOX, 0), outbox, move |events| {
        let events = events.drain(..).map(|event| (number, Said::Outbox(event)));
        told.said.lock().extend(events);
    })?;
    let told = shared.clone();
    let follow = node.add(Channel::new(FOLLOW, 0), follow, move |events| {
        let events = events.drain(..).map(|event| (number, Said::Follow(event)));
        told.said.lock().extend(events);
    })?;
    let application = if nature.has_application {
        Some(add_application(&mut node, shared, &*storage, number)?)
    } else {
        None
    };
    *shared.life.lock() = Some(Life {
        number,
        outbox,
        follow,
        application,
    });
    Ok(node)
}

fn add_application(
    node: &mut Node,
    shared: &Arc<Shared>,
    storage: &dyn Storage,
    number: u64,
) -> Result<Handle<Box<Change>>, BootError> {
    let told = shared.clone();
    let application = Application::open(storage)?;
    let handle = node.add(APPLICATION, application, move |events| {
        let events = events.drain(..);
        told.said
            .lock()
            .extend(events.map(|event| (number, Said::Application(event))));
    })?;
    Ok(handle)
}

fn conclude(world: &World, shared: &Shared) -> Run {
    let (model, cluster) = (shared.model.lock(), shared.cluster.lock());
    let mut callers = shared.callers.lock();
    let mut reader = shared.reader.lock();
    callers.conclude(&model, &cluster);
    reader.conclude(&model, shared.nature.has_application);
    let mut violations = std::mem::take(&mut callers.violations);
    violations.append(&mut reader.violations);
    for name in shared.named.lock().keys() {
        if name == "mallory" {
            callers.branches.mark(reached::LIAR_NAMED);
        } else if name == STRAY {
            callers.branches.mark(reached::STRAY_NAMED);
        } else {
            violations.push(format!("{name} was called a liar and is none"));
        }
    }
    if reader.retold > 0 {
        callers.branches.mark(reached::RETOLD);
    }
    if reader.removed > 0 {
        callers.branches.mark(reached::REMOVED);
    }
    if reader.applied.number > 0 {
        callers.branches.mark(reached::APPLIED);
    }
    Run {
        virtual_time: world.now().since(peaberry_core::Instant::default()),
        faults: world.faults(),
        own_faults: shared.faults.lock().counts.clone(),
        reached: callers.branches.clone(),
        operations: callers.ended(),
        violations,
        unknown: 0,
        trace: world.trace().digest(),
    }
}
