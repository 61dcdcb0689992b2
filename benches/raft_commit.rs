//! How many proposals does a group of three replicas in one process commit?
//!
//! Unit: proposals per second of wall time, as the clients see them: each waits until its proposal is applied on the
//! leader before it makes the next. Ours against openraft, both with stores and a network in memory, payloads of 16
//! bytes, and the same two runtimes: one worker for the clients, two for the replicas. openraft is set up as in its own
//! minimal benchmark and, a second time, tuned further. Ours encodes and decodes every message and copies every command
//! into its store, and its nodes linger for 50 µs before they sleep; openraft hands its entries over as they are.

#[path = "raft/memory.rs"]
mod memory;
#[path = "raft/openraft.rs"]
mod openraft;
#[path = "raft/sum.rs"]
mod sum;

use std::time::Duration;

use peaberry_benches::clients::closed_loop;
use peaberry_benches::versus::{Better, Comparison, Effort, Measure, interleave, report, write};
use tokio::runtime::{Builder, Runtime};

use self::openraft::Setup;

/// What is proposed.
type Payload = [u8; 16];

const PAYLOAD: Payload = [7; 16];

const INCLUDES: &str = "three replicas, 16-byte payloads, applied on the leader, wall time; ours also encodes and decodes every message and copies every command, and lingers 50 µs before it sleeps; openraft serialises nothing";

const PEERS: [(Setup, &str); 2] = [
    (Setup::OwnBenchmark, "openraft"),
    (Setup::Tuned, "openraft, tuned"),
];

const LOADS: [(usize, &str); 4] = [
    (1, "committed proposals/s, 1 client"),
    (64, "committed proposals/s, 64 clients"),
    (1024, "committed proposals/s, 1024 clients"),
    (4096, "committed proposals/s, 4096 clients"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let effort = Effort::from_environment();
    let (servers, clients) = (runtime("servers", 2)?, runtime("clients", 1)?);
    let ours = servers.block_on(memory::start(servers.handle(), clients.handle()));
    let mut measures = Vec::new();
    for (setup, name) in PEERS {
        let peer = servers.block_on(openraft::start(setup));
        for (count, words) in LOADS {
            let run = Run {
                clients: &clients,
                count,
                time: effort.run_time(),
            };
            let comparison = compare(effort.pairs(), &run, &ours, &peer);
            let measure = Measure::new(words, "1/s", name, INCLUDES, &comparison);
            report(&measure, &comparison);
            measures.push(measure);
        }
        servers.block_on(peer.stop());
    }
    write("raft_commit", effort, &measures)?;
    Ok(())
}

/// How the clients ask.
struct Run<'a> {
    clients: &'a Runtime,
    count: usize,
    time: Duration,
}

fn compare(
    pairs: usize,
    run: &Run<'_>,
    ours: &memory::Replica,
    peer: &openraft::Replica,
) -> Comparison {
    let run_ours = || {
        let ours = ours.clone();
        let propose = move || {
            let ours = ours.clone();
            async move { ours.propose(PAYLOAD).await }
        };
        run.clients
            .block_on(closed_loop(run.count, run.time, propose))
    };
    let run_peer = || {
        let peer = peer.clone();
        let propose = move || {
            let peer = peer.clone();
            async move { peer.propose(PAYLOAD).await }
        };
        run.clients
            .block_on(closed_loop(run.count, run.time, propose))
    };
    // What the first run of a load allocates is not its price.
    run_ours();
    run_peer();
    interleave(pairs, Better::More, run_ours, run_peer)
}

fn runtime(name: &str, workers: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(name)
        .enable_all()
        .build()
}
