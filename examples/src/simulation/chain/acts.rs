//! What befalls the chains, and what callers want.

use peaberry_chain::outbox::{OutboxCommand, Submission};
use peaberry_chain::primitives::Address;
use peaberry_chain::{BlockAt, CallRequest, LogFilter, LogRange};
use peaberry_core::simulation::World;

use super::dead_fork::DeadFork;
use super::model::{GAS_MIN, Model, TIP, Transaction};
use super::nature::Nodes;
use super::{Shared, account, at_once, machine, reached, solana};

/// Does one thing: to the chain, or for a caller.
pub(super) fn act(world: &World, shared: &Shared, rng: &mut fastrand::Rng) {
    let is_down = !world.is_running(machine());
    match rng.u8(..39) {
        0..12 => mine(shared, rng),
        12..19 => wish(shared, rng),
        19..21 => reorganise_anyhow(shared, rng, is_down),
        21 if shared.nature.is_alone => shared.model.lock().mine(),
        21 => foreign(shared, rng),
        22 => lose_from_pool(shared, rng),
        23 => {
            let mut model = shared.model.lock();
            let before = model.base_fee;
            model.set_base_fee(rng.u128(50..2_000));
            if model.base_fee > before {
                shared.faults.lock().count(reached::FEES_ROSE);
            }
        }
        24 => cancel(shared, rng),
        25 => hand_over_again(shared),
        26 => {
            shared.faults.lock().count(reached::SOLANA_REORG);
            shared.cluster.lock().abandon(rng.u64(1..solana::FINALITY));
        }
        27 => congest(shared, rng),
        32 => impoverish(shared, rng),
        33 => fill_pools(shared, rng),
        34 => rejoin(shared, rng),
        35 | 36 => ask_after_the_ended(shared, rng),
        37 | 38 => ask_values(shared, rng),
        // Time enough for many blocks, as when a process was down.
        28 => (0..rng.u64(1..90)).for_each(|_| shared.model.lock().mine()),
        _ => shared.cluster.lock().mine(|| rng.u8(..3) > 0),
    }
    take_out_far_off(shared);
}

/// Of many nodes behind one address one that is so far off is taken out: ranges of final blocks are read by number.
pub(super) fn take_out_far_off(shared: &Shared) {
    let mut fork = shared.fork.lock();
    let by_depth = shared.nature.is_final_by_depth;
    let is_far_off = |dead: &mut DeadFork| {
        let model = shared.model.lock();
        dead.is_far_off(&model) || (by_depth && dead.is_soon_final(&model))
    };
    if shared.nature.nodes == Nodes::One {
        fork.take_if(is_far_off);
    }
}

/// Another block, on the chain, and perhaps on the fork that was left.
pub(super) fn mine(shared: &Shared, rng: &mut fastrand::Rng) {
    let mut model = shared.model.lock();
    model.mine();
    // Who asks one node alone, and goes by depth, would take for final what lies so deep on its fork.
    let is_misled = shared.nature.is_final_by_depth && shared.nature.nodes == Nodes::One;
    if let Some(dead) = &mut *shared.fork.lock()
        && rng.bool()
        && !is_misled
    {
        dead.grow(&mut model);
    }
    drop(model);
    take_out_far_off(shared);
}

/// A node falls so far behind that it lacks the final block, where that may happen; now and then its newest block is an orphan.
pub(super) fn leave_behind(shared: &Shared, rng: &mut fastrand::Rng) {
    if shared.nature.has_laggard {
        let blocks = shared.nature.finality + rng.u64(4..=10);
        *shared.behind.lock() = blocks;
        if rng.bool() {
            let mut model = shared.model.lock();
            let number = model.tip().saturating_sub(blocks);
            *shared.orphan.lock() = DeadFork::orphaned(&mut model, number);
        }
    }
}

/// The node that has stayed on a dead fork comes to where the others are, and one that was far behind; or it falls behind.
fn rejoin(shared: &Shared, rng: &mut fastrand::Rng) {
    if rng.u8(..3) > 0 {
        return;
    }
    if shared.nature.has_laggard {
        *shared.orphan.lock() = None;
        let was_behind = std::mem::take(&mut *shared.behind.lock()) > 0;
        if !was_behind {
            leave_behind(shared, rng);
        }
    }
    if let Some(dead) = shared.fork.lock().take()
        && dead.is_long(&shared.model.lock())
    {
        let mut callers = shared.callers.lock();
        callers.branches.mark(reached::LONG_ASTRAY);
    }
}

/// An application that does not know that an intent is over hands it over once more.
fn ask_after_the_ended(shared: &Shared, rng: &mut fastrand::Rng) {
    let ended = shared.callers.lock().ended_before(rng.u64(..));
    if let Some((ticket, submission)) = ended {
        submit(shared, ticket, submission);
    }
}

/// Asks what neither the outbox nor the follower ever does; whether the answers are right, the witness knows.
fn ask_values(shared: &Shared, rng: &mut fastrand::Rng) {
    let rpc = shared.client.rpc();
    let of = account(rng.usize(..2));
    let (hash, seen, undone) = {
        let model = shared.model.lock();
        let sealed = rng.choice(&model.chain).expect("there is a first block");
        let mut seen = model.was_included.iter();
        let undone = seen.clone().find(|(_, one)| one.is_undone());
        let seen = seen.next().map(|(hash, _)| *hash).unwrap_or_default();
        let undone = undone.map_or(seen, |(hash, _)| *hash);
        (sealed.block.hash, seen, undone)
    };
    let at = BlockAt::Hash(hash);
    let request = CallRequest::new(of, []);
    // Whoever cannot be asked now is asked another time.
    drop(at_once(rpc.chain_id()));
    drop(at_once(rpc.balance(of, at)));
    drop(at_once(rpc.balance(of, BlockAt::Latest)));
    drop(at_once(rpc.nonce(of, at)));
    drop(at_once(rpc.code(of, at)));
    drop(at_once(rpc.call(&request, at)));
    drop(at_once(rpc.block(at)));
    drop(at_once(rpc.transaction(seen)));
    drop(at_once(rpc.revert_reason(undone)));
    drop(at_once(
        rpc.logs(&LogFilter::default(), &LogRange::Block(hash)),
    ));
}

/// Solana's leaders lose a transaction, or have no room for any, so long that all of them expire; or the account cannot pay.
fn congest(shared: &Shared, rng: &mut fastrand::Rng) {
    let mut cluster = shared.cluster.lock();
    match rng.u8(..5) {
        3 | 4 => {
            shared.faults.lock().count(reached::SOLANA_POOR);
            cluster.poor = (cluster.height(), cluster.height() + rng.u64(1..8));
            drop(cluster);
            // What is tried now is refused by nodes that are not late.
            let (ticket, submission) = shared.callers.lock().wish(0, true);
            submit(shared, ticket, submission);
        }
        0 => cluster.forget(),
        1 => {
            shared.faults.lock().count(reached::SOLANA_CONGESTED);
            cluster.congest();
        }
        _ => {
            shared.faults.lock().count(reached::SOLANA_SNAPSHOT);
            cluster.begin_anew();
        }
    }
}

/// Mempools take nothing, from nobody, until they do again.
fn fill_pools(shared: &Shared, rng: &mut fastrand::Rng) {
    let is_full = rng.bool() || shared.nature.stays_full;
    shared.model.lock().is_full = is_full;
    if is_full {
        shared.faults.lock().count(reached::POOL_FULL);
    }
}

/// An account cannot pay, until it can again.
fn impoverish(shared: &Shared, rng: &mut fastrand::Rng) {
    let broke = rng.bool().then(|| account(rng.usize(..2)));
    shared.model.lock().broke = broke;
    if broke.is_some() {
        shared.faults.lock().count(reached::BROKE);
    }
}

fn wish(shared: &Shared, rng: &mut fastrand::Rng) {
    let on_solana = rng.u8(..4) == 0;
    for _ in 0..rng.u64(1..4) {
        let (ticket, submission) = shared.callers.lock().wish(rng.usize(..2), on_solana);
        submit(shared, ticket, submission);
    }
}

/// An intent of each EVM account.
pub(super) fn wish_on_evm(shared: &Shared) {
    for nth in 0..2 {
        let (ticket, submission) = shared.callers.lock().wish(nth, false);
        submit(shared, ticket, submission);
    }
}

fn submit(shared: &Shared, ticket: u64, submission: Submission) {
    if let Some(life) = &*shared.life.lock() {
        let submission = Box::new(submission);
        // To a process that is down it is handed over again later.
        drop(
            life.outbox
                .submit(OutboxCommand::Submit { ticket, submission }),
        );
    }
}

pub(super) fn hand_over_again(shared: &Shared) {
    let again = shared.callers.lock().again();
    for (ticket, submission) in again {
        submit(shared, ticket, submission);
    }
}

fn cancel(shared: &Shared, rng: &mut fastrand::Rng) {
    let entry = shared.callers.lock().cancel(rng.u64(..));
    if let (Some(entry), Some(life)) = (entry, &*shared.life.lock()) {
        drop(life.outbox.submit(OutboxCommand::Cancel(entry)));
    }
}

fn reorganise_anyhow(shared: &Shared, rng: &mut fastrand::Rng, is_down: bool) {
    let depth_max = shared.model.lock().depth_max();
    if depth_max == 0 {
        return;
    }
    // Now and then as deep as it goes.
    let depth = match rng.u8(..8) {
        0 => depth_max,
        _ => rng.u64(1..=depth_max),
    };
    reorganise(shared, rng, depth, is_down);
}

/// Undoes `depth` blocks; makes them first where there are too few that are not final.
pub(super) fn reorganise(shared: &Shared, rng: &mut fastrand::Rng, depth: u64, is_down: bool) {
    let mut model = shared.model.lock();
    while model.depth_max() < depth {
        model.mine();
    }
    let keeps = rng.u8(..4);
    let mut fork = shared.fork.lock();
    if shared.nature.has_dead_forks && fork.is_none() && rng.bool() {
        *fork = Some(DeadFork::of(&model));
        shared.faults.lock().count(reached::LEFT_BEHIND);
    }
    drop(fork);
    let mut dice = rng.fork();
    model.reorganise(depth, |_| keeps > 0 && dice.u8(..4) < keeps, || rng.bool());
    shared.deaths.lock().covered.reorg(depth, is_down);
    let mut faults = shared.faults.lock();
    faults.count(reached::REORG);
    if depth >= 32 {
        faults.count(reached::REORG_DEEP);
    }
    if depth >= 64 {
        faults.count(reached::REORG_DEEPEST);
    }
    if is_down {
        faults.count(reached::REORG_WHILE_DOWN);
        if depth >= 32 {
            faults.count(reached::REORG_DEEP_WHILE_DOWN);
        }
    }
}

/// Another wallet with the same key: a block holds its transactions, whatever waits.
fn foreign(shared: &Shared, rng: &mut fastrand::Rng) {
    let (from, count) = (account(rng.usize(..2)), rng.u64(1..3));
    use_nonces(shared, &mut shared.model.lock(), from, count);
}

/// A block of another wallet's transactions, with the next nonces of the account.
pub(super) fn use_nonces(shared: &Shared, model: &mut Model, from: Address, count: u64) {
    let next = model.nonce(from);
    let theirs = (next..next + count).map(|nonce| {
        let salt = u64::MAX - shared.faults.lock().salt();
        let raw = Transaction::encode(from, nonce, (u128::MAX, TIP), GAS_MIN, 0, salt);
        Transaction::decode(&raw).expect("just encoded")
    });
    let theirs = theirs.collect();
    model.seal(theirs);
    let mut faults = shared.faults.lock();
    faults.count(reached::FOREIGN);
    if shared.nature.forgets {
        faults.count(reached::FOREIGN_FORGOTTEN);
    }
}

fn lose_from_pool(shared: &Shared, rng: &mut fastrand::Rng) {
    let mut model = shared.model.lock();
    let before = model.pool.len();
    model.pool.retain(|_, _| rng.bool());
    if model.pool.len() < before {
        shared.faults.lock().count(reached::POOL_LOST);
    }
}
