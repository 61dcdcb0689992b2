//! An outbox and a follower in a world of faults: forks, crashes at every journal write, nodes that lose, lag and lie.
//!
//! A machine carries intents of two EVM accounts and one on Solana out, and follows the EVM chain, while blocks are
//! reorganised up to the depth of finality, foreign transactions take nonces, mempools forget, fees rise, and the process
//! dies wherever it writes. In the end every intent must have been carried out exactly once, or called off and not at all,
//! none may be stuck, and the follower must have told every log once.

mod acting;
mod acts;
mod application;
mod callers;
mod coverage;
mod dead_fork;
mod deaths;
mod errands;
mod faults;
mod lies;
mod model;
mod nature;
mod node;
mod plight;
mod plot;
mod reached;
mod reader;
mod serving;
mod solana;
mod solana_acting;
mod solana_node;
mod solana_shapes;
mod tags;
mod view;
mod witness;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_chain::evm::EvmClient;
use peaberry_chain::follow::{Change, FOLLOW, Follow, FollowCommand, FollowConfig, FollowEvent};
use peaberry_chain::outbox::{
    ChainRules, OUTBOX, Outbox, OutboxCommand, OutboxConfig, OutboxEvent, Performer,
};
use peaberry_chain::primitives::Address;
use peaberry_chain::{ChainId, LogFilter};
use peaberry_core::simulation::{Boot, BootError, FaultKind, FaultProfile, World};
use peaberry_core::{Channel, Handle, Layered, Node, PeerId, Storage};

use self::acts::{
    act, hand_over_again, leave_behind, mine, reorganise, take_out_far_off, wish_on_evm,
};
use self::application::{APPLICATION, Application, ApplicationEvent};
use self::callers::Callers;
use self::dead_fork::DeadFork;
use self::deaths::{Deaths, Journal};
use self::errands::run_for;
use self::faults::Faults;
use self::model::Model;
use self::nature::{Nature, Reorg};
use self::plot::{Plot, Story};
use self::reader::Reader;
use self::serving::{LAGGARD, LIARS, STRAY, Served};
use self::solana::Cluster;
use self::solana_acting::OnSolana;
use super::{Mutant, Run, Target};

/// The target `chain`.
pub const TARGET: Target = Target {
    name: "chain",
    run,
    fault_kinds: || profile(true).kinds().collect(),
    dimensions: coverage::dimensions,
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
        Mutant::compiled("solana_refusal_ends_what_silent_node_may_have"),
        Mutant::compiled("solana_unreachable_node_hides_silent_one"),
        Mutant::compiled("evm_safe_taken_for_final"),
        Mutant::compiled("evm_ignorance_taken_for_no_receipt"),
        Mutant::compiled("evm_forgetful_node_has_a_vote"),
        Mutant::compiled("evm_final_block_of_who_is_behind"),
        Mutant::compiled("evm_final_block_by_two_questions"),
        Mutant::compiled("evm_logs_by_two_questions"),
        Mutant::compiled("follow_alarm_by_number"),
    ],
};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const ACTIONS: u64 = 70;
/// Blocks for which nodes stay on dead forks and mempools full where nothing else goes wrong any more.
const AFTERMATH_BLOCKS: u64 = 40;
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
    /// By how much the node is behind that may be far behind.
    behind: Arc<Mutex<u64>>,
    /// The fork of one block on which that node is, if it is on one.
    orphan: Arc<Mutex<Option<DeadFork>>>,
    /// What the liars hold to now.
    plot: Arc<Mutex<Option<Plot>>>,
    cluster: Arc<Mutex<Cluster>>,
    faults: Arc<Mutex<Faults>>,
    life: Mutex<Option<Life>>,
    said: Mutex<Vec<(u64, Said)>>,
    callers: Mutex<Callers>,
    reader: Mutex<Reader>,
    deaths: Arc<Mutex<Deaths>>,
    /// What clients were told and is not so.
    complaints: Arc<Mutex<Vec<String>>>,
    /// What the follower asks.
    client: EvmClient,
    performers: BTreeMap<ChainId, Arc<dyn Performer>>,
    /// Which nodes were said to contradict the others.
    named: Arc<Mutex<BTreeMap<String, &'static str>>>,
}

/// Runs the world of one seed.
#[must_use]
pub fn run(seed: u64, _mutant: Option<&str>) -> Run {
    let mut world = World::new(seed);
    let mut rng = world.fork_rng();
    let nature = Nature::draw(&mut world.fork_rng(), ACTIONS);
    let shared = Arc::new(share(&mut world, nature));
    add_machine(&mut world, &shared);
    shared.deaths.lock().memory = Some(world.storage(machine()));
    leave_behind(&shared, &mut rng);
    world.run_for(Duration::from_millis(50));
    world.unleash(profile(nature.is_on_files));
    world.crash_at(machine(), nature.first_death);
    for action in 0..ACTIONS {
        for reorg in nature.reorgs {
            if reorg.action == action {
                strike(&mut world, &shared, &mut rng, reorg);
            }
        }
        begin_plots(&mut world, &shared, &mut rng, action);
        act(&world, &shared, &mut rng);
        let pause = Duration::from_millis(rng.u64(10..250));
        run_for(&mut world, &shared, &mut rng, pause);
    }
    calm_down(&mut world, &shared, &mut rng);
    for block in 0..AFTERMATH_BLOCKS + CALM_BLOCKS + 3 * nature.finality {
        mine(&shared, &mut rng);
        if block == AFTERMATH_BLOCKS {
            end_aftermath(&shared);
        }
        (0..3).for_each(|_| shared.cluster.lock().mine(|| true));
        if block % 16 == 0 {
            hand_over_again(&shared);
        }
        run_for(&mut world, &shared, &mut rng, LOOK_EVERY * 2);
        if shared.callers.lock().all_settled(&shared.model.lock()) {
            break;
        }
    }
    end_aftermath(&shared);
    // Time to catch up with the last block.
    run_for(&mut world, &shared, &mut rng, LOOK_EVERY * 60);
    let mut run = conclude(&world, &shared);
    if nature.breaks_finality && run.violations.is_empty() {
        break_finality(&mut world, &shared, &mut rng);
        run.own_faults = shared.faults.lock().counts.clone();
        run.reached.mark(reached::ALARMED);
        run.violations = std::mem::take(&mut shared.reader.lock().violations);
    }
    let covered = shared.deaths.lock().covered.clone();
    run.covered = covered.conclude(&nature, &shared.faults.lock());
    run
}

/// What lasts begins, where this is its time.
fn begin_plots(world: &mut World, shared: &Arc<Shared>, rng: &mut fastrand::Rng, action: u64) {
    let is_due = |from: u64| from == action;
    if let Some(plight) = shared.nature.plight.filter(|plight| is_due(plight.from)) {
        // What was on its way when the process died is thrown away before it comes back.
        let is_down = plight.pruned.is_some();
        if is_down {
            die_under_way(world, shared, rng);
        }
        plight::befall(shared, plight, rng);
        if is_down {
            world.restart(machine());
        }
    }
    if let Some(telling) = shared.nature.telling.filter(|telling| is_due(telling.from)) {
        *shared.plot.lock() = Some(Plot::new(telling));
    }
    let needs_orphan = matches!(&*shared.plot.lock(), Some(plot) if plot.story == Story::OnOrphan);
    let mut orphan = shared.orphan.lock();
    if needs_orphan && orphan.is_none() {
        let mut model = shared.model.lock();
        let number = model.tip().saturating_sub(rng.u64(..=model.finality));
        *orphan = DeadFork::orphaned(&mut model, number);
    }
}

/// The machine dies with something in the mempool, of which it does not hear any more what becomes of it.
fn die_under_way(world: &mut World, shared: &Arc<Shared>, rng: &mut fastrand::Rng) {
    world.restart(machine());
    let was_full = {
        let mut model = shared.model.lock();
        model.broke = None;
        model.set_base_fee(100);
        std::mem::take(&mut model.is_full)
    };
    let waiting = || shared.model.lock().pool.clone();
    let before = waiting();
    wish_on_evm(shared);
    for _ in 0..40 {
        run_for(world, shared, rng, LOOK_EVERY / 4);
        if waiting()
            .iter()
            .any(|(place, _)| !before.contains_key(place))
        {
            break;
        }
    }
    world.crash(machine());
    shared.model.lock().is_full = was_full;
}

/// A reorganisation that was certain to come.
fn strike(world: &mut World, shared: &Arc<Shared>, rng: &mut fastrand::Rng, reorg: Reorg) {
    if reorg.is_down {
        world.crash(machine());
    } else {
        world.restart(machine());
    }
    reorganise(shared, rng, reorg.depth, reorg.is_down);
    take_out_far_off(shared);
    let pause = Duration::from_millis(rng.u64(1..100));
    run_for(world, shared, rng, pause);
    world.restart(machine());
}

/// No more faults; whoever lies lies on, and what lasts does so for a while: a process that lives on shall see it, too.
fn calm_down(world: &mut World, shared: &Shared, rng: &mut fastrand::Rng) {
    world.heal();
    shared.deaths.lock().allow(0);
    shared.faults.lock().is_storm = false;
    shared.faults.lock().is_forgetful = shared.nature.plight.is_some();
    let mut cluster = shared.cluster.lock();
    (cluster.first_slot, cluster.poor) = (0, (0, 0));
    drop(cluster);
    if shared.nature.has_dead_forks && shared.fork.lock().is_none() {
        reorganise(shared, rng, shared.nature.finality - 2, false);
    }
    leave_behind(shared, rng);
    let mut model = shared.model.lock();
    let dear = shared.nature.stays_dear;
    model.set_base_fee(if dear { 5_000 } else { 100 });
    model.broke = None;
    model.is_full = shared.nature.stays_full;
}

/// All nodes are where the others are, and have room.
fn end_aftermath(shared: &Shared) {
    *shared.fork.lock() = None;
    *shared.behind.lock() = 0;
    *shared.orphan.lock() = None;
    if shared
        .nature
        .telling
        .is_some_and(|telling| !telling.is_endless)
    {
        *shared.plot.lock() = None;
    }
    shared.faults.lock().is_forgetful = false;
    shared.model.lock().is_full = false;
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
    shared.deaths.lock().allow(1);
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

fn share(world: &mut World, nature: Nature) -> Shared {
    let model = Arc::new(Mutex::new(Model::new(nature.finality)));
    let faults = Arc::new(Mutex::new(Faults::new(world.fork_rng())));
    let deaths = Arc::new(Mutex::new(Deaths::new(world.fork_rng())));
    let cluster = Arc::new(Mutex::new(Cluster::default()));
    cluster.lock().mine(|| true);
    for _ in 0..3 {
        model.lock().mine();
    }
    let served = Served {
        nature,
        model: model.clone(),
        faults: faults.clone(),
        fork: Arc::default(),
        behind: Arc::default(),
        orphan: Arc::default(),
        plot: Arc::default(),
        named: Arc::default(),
        complaints: Arc::default(),
    };
    // What the outbox asks, and what the follower does.
    let (acting, following) = served.clients();
    let acting = acting::Acting {
        client: acting,
        faults: faults.clone(),
    };
    let wiring = solana_acting::Wiring {
        cluster: cluster.clone(),
        faults: faults.clone(),
        named: served.named.clone(),
        complaints: served.complaints.clone(),
    };
    let on_solana = OnSolana::new(nature.solana_nodes, wiring);
    let performers: [Arc<dyn Performer>; 2] = [Arc::new(acting), Arc::new(on_solana)];
    Shared {
        nature,
        model,
        fork: served.fork,
        behind: served.behind,
        orphan: served.orphan,
        plot: served.plot,
        cluster,
        faults,
        life: Mutex::new(None),
        said: Mutex::default(),
        callers: Mutex::new(Callers::new()),
        reader: Mutex::default(),
        deaths,
        complaints: served.complaints,
        client: following,
        performers: performers
            .into_iter()
            .map(|performer| (performer.chain_id(), performer))
            .collect(),
        named: served.named,
    }
}

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
    let storage: Arc<dyn Storage> = Arc::new(Layered::new(Journal {
        inner: storage,
        files: nature.is_on_files.then(|| boot.files()),
        deaths: shared.deaths.clone(),
    }));
    let rules = ChainRules {
        look_every: LOOK_EVERY,
        fees_fresh_for: LOOK_EVERY * 3,
        retry_after: LOOK_EVERY,
        fee_cap: 100_000,
        in_flight_max: 4,
        ..ChainRules::every(LOOK_EVERY)
    };
    // Where nodes never forget, what is displaced gets another nonce however late that is seen; and where they do, only in time.
    let rules = ChainRules {
        receipts_kept: if nature.forgets {
            node::receipts_kept(nature.finality)
        } else {
            rules.receipts_kept
        },
        ..rules
    };
    let on_solana = ChainRules {
        look_every: LOOK_EVERY * 3,
        ..rules
    };
    let mut config = OutboxConfig::new()
        .chain(chain(), rules)
        .chain(ChainId::SOLANA, on_solana);
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
    shared.callers.lock().forget_deferrals();
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
    violations.append(&mut shared.complaints.lock());
    violations.extend(std::mem::take(&mut shared.deaths.lock().nameless));
    let own_faults = shared.faults.lock().counts.clone();
    let was_orphaned = own_faults
        .iter()
        .any(|(name, count)| name == reached::ORPHANED && count > 0);
    for (name, doing) in shared.named.lock().iter() {
        if LIARS.contains(&name.as_str()) {
            callers.branches.mark(reached::LIAR_NAMED);
        } else if name == STRAY || (name == LAGGARD && was_orphaned) {
            callers.branches.mark(reached::STRAY_NAMED);
        } else {
            violations.push(format!(
                "{name} was called a liar about {doing} and is none"
            ));
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
        own_faults,
        reached: callers.branches.clone(),
        operations: callers.ended(),
        violations,
        unknown: 0,
        covered: Vec::new(),
        trace: world.trace().digest(),
    }
}
