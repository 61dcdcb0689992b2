//! How many proposals of 256 bytes does a durable group of three replicas on this machine complete?
//!
//! Unit: proposals per second of wall time, because waiting for the disk is the point, as the clients see them: each
//! waits until its proposal is durable on a majority and applied on the leader before it makes the next. Ours: three
//! nodes on threads, meshes with mutual TLS on loopback, and stores whose every commit is synced; the clients share the
//! leader's process. The peer: three members of etcd on loopback without TLS, syncing as always, heartbeats every 500
//! ms; the clients put values of 256 bytes to the leader over gRPC on 16 connections. All data lies on one disk. etcd is
//! skipped where it is not installed.
//!
//! Beside it: how long one client waits for ours, and what no such proposal can undercut, one synced write and one
//! round trip over mutual TLS.

#[path = "raft/durable.rs"]
mod durable;
#[path = "raft/etcd.rs"]
mod etcd;
#[path = "raft/floor.rs"]
mod floor;
#[path = "raft/sum.rs"]
mod sum;

use std::path::Path;
use std::time::Duration;

use peaberry_benches::clients::{closed_loop, latencies};
use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use tokio::runtime::{Builder, Runtime};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const VALUE_BYTES: usize = 256;

const INCLUDES: &str = "three replicas, 256-byte values, synced on a majority, wall time; ours also mutual TLS between the replicas, with clients in the leader's process; etcd also gRPC from its clients and an index of every version";

const LOADS: [(usize, &str); 3] = [
    (1, "durable proposals/s, 1 client"),
    (64, "durable proposals/s, 64 clients"),
    (256, "durable proposals/s, 256 clients"),
];

fn main() -> Result<(), Failure> {
    let effort = Effort::from_environment();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (servers, clients) = (runtime("servers", 2)?, runtime("clients", 1)?);
    let ours = servers.block_on(durable::Cluster::start(&folder.path().join("ours")))?;
    print_latencies(effort, folder.path(), &clients, &ours)?;

    let Some(etcd) = servers.block_on(etcd::Cluster::start(&folder.path().join("etcd")))? else {
        println!("etcd is skipped: it is not installed (no `etcd` on PATH), so there is no ratio");
        for (count, words) in LOADS {
            println!(
                "{words}: ours {:.0}",
                run_ours(effort, count, &clients, &ours)
            );
        }
        return Ok(());
    };
    let mut measures = Vec::new();
    for (count, words) in LOADS {
        // What the first run of a load allocates is not its price.
        run_ours(effort, count, &clients, &ours);
        run_etcd(effort, count, &clients, &etcd);
        let comparison = interleave(
            effort.pairs(),
            Better::More,
            || run_ours(effort, count, &clients, &ours),
            || run_etcd(effort, count, &clients, &etcd),
        );
        let measure = Measure::new(words, "1/s", "etcd", INCLUDES, &comparison);
        report(&measure, &comparison);
        measures.push(measure);
    }
    write("raft_durable", effort, &measures)?;
    Ok(())
}

fn runtime(name: &str, workers: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(name)
        .enable_all()
        .build()
}

fn run_ours(effort: Effort, count: usize, clients: &Runtime, ours: &durable::Cluster) -> f64 {
    let leader = ours.leader();
    let propose = move || {
        let leader = leader.clone();
        async move { leader.propose().await }
    };
    clients.block_on(closed_loop(count, effort.run_time(), propose))
}

fn run_etcd(effort: Effort, count: usize, clients: &Runtime, etcd: &etcd::Cluster) -> f64 {
    let leader = etcd.leader();
    let put = move || {
        let leader = leader.clone();
        async move { leader.put().await }
    };
    clients.block_on(closed_loop(count, effort.run_time(), put))
}

/// Prints the floor, and what one client waits for ours.
fn print_latencies(
    effort: Effort,
    folder: &Path,
    clients: &Runtime,
    ours: &durable::Cluster,
) -> Result<(), Failure> {
    let write = percentile(floor::synced_writes(folder)?, 50);
    let trip = percentile(floor::round_trips()?, 50);
    let leader = ours.leader();
    let waits = clients.block_on(latencies(effort.run_time() * 4, move || {
        let leader = leader.clone();
        async move { leader.propose().await }
    }));
    let (p50, p99) = (percentile(waits.clone(), 50), percentile(waits, 99));
    let floor = write + trip;
    println!(
        "1 client: p50 {p50:.0?}, p99 {p99:.0?}; floor {floor:.0?} (synced write p50 {write:.0?}, TLS round trip p50 {trip:.0?}); p50 over floor {:.2}",
        p50.as_secs_f64() / floor.as_secs_f64()
    );
    Ok(())
}

/// The value that so many percent of `times` do not exceed.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    *times.get(place).expect("there are times")
}
