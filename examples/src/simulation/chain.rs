//! An outbox and a follower in a world of faults: forks, crashes at every journal write, nodes that lose, lag and lie.
//!
//! A machine carries intents of two EVM accounts and one on Solana out, and follows the EVM chain, while blocks are
//! reorganised up to the depth of finality, foreign transactions take nonces, mempools forget, fees rise, and the process
//! dies wherever it writes. In the end every intent must have been carried out exactly once, or called off and not at all,
//! none may be stuck, and the follower must have told every log once.

mod acts;
mod callers;
mod errands;
mod faults;
mod model;
mod node;
mod reached;
mod reader;
mod solana;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use peaberry_chain::evm::{EvmClient, EvmNetwork, EvmRpc, QuorumRpc};
use peaberry_chain::follow::{FOLLOW, Follow, FollowCommand, FollowConfig, FollowEvent, Start};
use peaberry_chain::outbox::{
    ChainRules, OUTBOX, Outbox, OutboxCommand, OutboxConfig, OutboxEvent, Performer,
};
use peaberry_chain::primitives::Address;
use peaberry_chain::{ChainId, LogFilter};
use peaberry_core::simulation::{Boot, BootError, CrashPoint, FaultKind, FaultProfile, World};
use peaberry_core::{Channel, Handle, Node, PeerId};

use self::acts::{act, hand_over_again};
use self::callers::Callers;
use self::errands::run_for;
use self::faults::Faults;
use self::model::Model;
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
        Mutant::compiled("follow_cursor_by_number_only"),
        Mutant::compiled("follow_final_change_unnoticed"),
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
}

/// The process that runs now.
struct Life {
    number: u64,
    outbox: Handle<OutboxCommand>,
    follow: Handle<FollowCommand>,
}

/// All that the world's actions share.
struct Shared {
    model: Arc<Mutex<Model>>,
    cluster: Arc<Mutex<Cluster>>,
    faults: Arc<Mutex<Faults>>,
    life: Mutex<Option<Life>>,
    said: Mutex<Vec<(u64, Said)>>,
    callers: Mutex<Callers>,
    reader: Mutex<Reader>,
    client: EvmClient,
    performers: BTreeMap<ChainId, Arc<dyn Performer>>,
    /// No other wallet has the accounts' keys: a nonce that is used was used by the outbox, whatever nodes remember.
    is_alone: bool,
    /// Which nodes were said to contradict the others.
    named: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// Runs the world of one seed.
#[must_use]
pub fn run(seed: u64, mutant: Option<&str>) -> Run {
    let mut world = World::new(seed);
    let mut rng = world.fork_rng();
    // Deep forks are dear, as every one of their blocks is made: in a part of the worlds only.
    let finality = match seed % 8 {
        0 => 65,
        1 | 2 => 24,
        _ => 7,
    };
    let safe_is_final = mutant == Some(SAFE_IS_FINAL);
    let with_liar = seed % 4 == 3;
    // Where nodes forget receipts nothing displaces: else nobody could tell, and what is displaced would wait for ever.
    let is_alone = seed % 8 == 6;
    let nodes = Nodes {
        safe_is_final,
        with_liar,
        is_alone,
    };
    let shared = Arc::new(share(&mut world, finality, nodes));
    add_machine(&mut world, &shared, seed);
    world.run_for(Duration::from_millis(50));
    world.unleash(profile(is_on_files(seed)));
    // Each world begins with a death at another write of the journal.
    let nth = u32::try_from(seed / 2 % 64 + 1).unwrap_or(1);
    let point = if seed.is_multiple_of(2) {
        CrashPoint::AfterCommit(nth)
    } else {
        CrashPoint::BeforeCommit(nth)
    };
    world.crash_at(machine(), point);
    for _ in 0..ACTIONS {
        act(&world, &shared, &mut rng);
        let pause = Duration::from_millis(rng.u64(10..250));
        run_for(&mut world, &shared, &mut rng, pause);
    }
    world.heal();
    shared.faults.lock().is_storm = false;
    shared.cluster.lock().first_slot = 0;
    {
        let mut model = shared.model.lock();
        // In a part of the worlds the market stays above all that was offered so far.
        model.base_fee = if seed % 8 == 2 { 5_000 } else { 100 };
        model.broke = None;
        model.is_full = false;
    }
    for block in 0..CALM_BLOCKS + 3 * finality {
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
    if seed % 8 == 4 && run.violations.is_empty() {
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

/// What the world's nodes are like.
#[derive(Clone, Copy)]
struct Nodes {
    safe_is_final: bool,
    with_liar: bool,
    is_alone: bool,
}

fn share(world: &mut World, finality: u64, nodes: Nodes) -> Shared {
    let Nodes {
        safe_is_final,
        with_liar,
        is_alone,
    } = nodes;
    let model = Arc::new(Mutex::new(Model::new(finality)));
    let faults = Arc::new(Mutex::new(Faults::new(world.fork_rng())));
    let cluster = Arc::new(Mutex::new(Cluster::default()));
    cluster.lock().mine(|| true);
    for _ in 0..3 {
        model.lock().mine();
    }
    let node = |is_liar| -> Arc<dyn EvmRpc> {
        Arc::new(node::Node {
            model: model.clone(),
            faults: faults.clone(),
            is_liar,
            safe_is_final,
            forgets: is_alone,
        })
    };
    let named: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let rpc: Arc<dyn EvmRpc> = if with_liar {
        let nodes = vec![
            ("anna".to_owned(), node(false)),
            ("ben".to_owned(), node(false)),
            ("mallory".to_owned(), node(true)),
        ];
        let named = named.clone();
        Arc::new(QuorumRpc::new(nodes, 2).with_report(move |dissent| {
            *named.lock().entry(dissent.node.clone()).or_default() += 1;
        }))
    } else {
        node(false)
    };
    let network = EvmNetwork::generic(4242);
    let client = EvmClient::connect(rpc, network);
    let client = at_once(client).expect("the model serves this chain");
    let acting = node::Acting {
        client: client.clone(),
        faults: faults.clone(),
    };
    let on_solana = solana::Acting {
        cluster: cluster.clone(),
        faults: faults.clone(),
    };
    let performers: [Arc<dyn Performer>; 2] = [Arc::new(acting), Arc::new(on_solana)];
    Shared {
        model,
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
        is_alone,
        named,
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

/// Whether the machine has the shipped store, on files that lose and tear.
const fn is_on_files(seed: u64) -> bool {
    seed % 8 == 5
}

fn add_machine(world: &mut World, shared: &Arc<Shared>, seed: u64) {
    let shared = shared.clone();
    let on_files = is_on_files(seed);
    world.add(machine(), move |boot| {
        let node = boot_machine(boot, &shared, on_files);
        node.inspect_err(|error| {
            if let Some(damage) = super::damage(error) {
                shared.reader.lock().complain(damage);
            }
        })
    });
}

fn boot_machine(boot: &mut Boot, shared: &Arc<Shared>, on_files: bool) -> Result<Node, BootError> {
    let storage = if on_files {
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
        receipts_kept: if shared.is_alone {
            node::RECEIPTS_KEPT
        } else {
            rules.receipts_kept
        },
        ..rules
    };
    let config = OutboxConfig::new()
        .chain(chain(), rules)
        .chain(ChainId::SOLANA, rules);
    let outbox = Outbox::open(Channel::new(OUTBOX, 0), config, &*storage)?;
    let config = FollowConfig {
        chain: chain(),
        filter: LogFilter::default(),
        start: Start::At(1),
        poll_every: LOOK_EVERY,
        ring_max: 1024,
        unacknowledged_max: 48,
        range_max: 40,
    };
    let follow = Follow::open(Channel::new(FOLLOW, 0), config, &*storage)?;
    let node = Node::new(boot.transport(), storage, boot.clock());
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
    *shared.life.lock() = Some(Life {
        number,
        outbox,
        follow,
    });
    Ok(node)
}

fn conclude(world: &World, shared: &Shared) -> Run {
    let (model, cluster) = (shared.model.lock(), shared.cluster.lock());
    let mut callers = shared.callers.lock();
    let mut reader = shared.reader.lock();
    callers.conclude(&model, &cluster);
    reader.conclude(&model);
    let mut violations = std::mem::take(&mut callers.violations);
    violations.append(&mut reader.violations);
    for name in shared.named.lock().keys() {
        if name == "mallory" {
            callers.branches.mark(reached::LIAR_NAMED);
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
