//! What does our delivery cost beside raw rumqttc, on a real Mosquitto?
//!
//! - Acknowledged messages per second, and CPU per message (of the client alone): ours makes each record durable on the disk
//!   first, in groups, and keeps it until the broker has acknowledged it; rumqttc publishes and waits for nothing but the
//!   broker.
//! - Readings per second, when a hundred travel in one record, against one message for each.
//! - Bytes and CPU of ten thousand devices that send a reading every 5 s and heartbeats: over 16 connections, and over one
//!   each, against ten thousand raw clients. Each side is a process of its own, beside the broker's.
//! - Milliseconds from opening a store with a million spooled records to the first that is handed to the uplink.
//!
//! Units stand in each line. Mosquitto is skipped by name where it is not installed.

#[path = "edge/broker.rs"]
mod broker;
#[path = "edge/fleet.rs"]
mod fleet;
#[path = "edge/rate.rs"]
mod rate;
#[path = "edge/recovery.rs"]
mod recovery;

use std::cell::RefCell;

use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};

use broker::Mosquitto;
use rate::Run;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    if let Some(outcome) = fleet::child() {
        return outcome;
    }
    let effort = Effort::from_environment();
    let mut measures = Vec::new();
    recover(effort, &mut measures)?;
    match Mosquitto::start()? {
        Some(mosquitto) => {
            compare_rates(effort, &mosquitto, &mut measures);
            compare_fleets(effort, &mosquitto, &mut measures);
        }
        None => println!("mosquitto is not installed: skipped"),
    }
    write("edge_uplink", effort, &measures)?;
    Ok(())
}

fn recover(effort: Effort, measures: &mut Vec<Measure>) -> Result<(), Failure> {
    let count = match effort {
        Effort::Check => 10_000,
        _ => 1_000_000,
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    recovery::fill(folder.path(), count)?;
    let mut failure = None;
    let mut open = || {
        recovery::open(folder.path()).unwrap_or_else(|error| {
            failure = Some(error);
            f64::MAX
        })
    };
    open();
    // The peer is the goal: no rival keeps anything.
    let comparison = interleave(effort.pairs().min(5), Better::Less, open, || 1_000.0);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let measure = Measure::new(
        &format!("recovery to the first publish, {count} spooled records"),
        "ms",
        "goal",
        "opening the store (every byte is checked) and the spool, taking the first record",
        &comparison,
    );
    report(&measure, &comparison);
    measures.push(measure);
    Ok(())
}

/// The line of a measure: name, unit, what is better, what is included, and how a run shows it.
type Line<'a> = (&'a str, &'a str, Better, &'a str, fn(&Run) -> f64);

fn compare_rates(effort: Effort, mosquitto: &Mosquitto, measures: &mut Vec<Measure>) {
    let count = match effort {
        Effort::Check => 1_000,
        Effort::Quick => 20_000,
        _ => 60_000,
    };
    let pairs = effort.pairs();
    let one = [
        (
            "acknowledged messages/s, durable, 150 bytes",
            "messages/s",
            Better::More,
            "ours: encoding, group commit on the disk, spool; peer: publishing",
            Run::rate as fn(&Run) -> f64,
        ),
        (
            "client CPU a message, durable, 150 bytes",
            "us",
            Better::Less,
            "ours: encoding, group commit on the disk, spool; peer: publishing",
            Run::cpu_us,
        ),
    ];
    let ours = || rate::ours(mosquitto, count, 1);
    compare(pairs, &one, ours, || rate::raw(mosquitto, count), measures);
    let batched = [(
        "readings/s, batches of 100",
        "readings/s",
        Better::More,
        "ours: columns of 100 readings encoded, group commit on the disk; peer: a message a reading",
        Run::rate as fn(&Run) -> f64,
    )];
    let ours = || rate::ours(mosquitto, count, 100);
    compare(
        pairs,
        &batched,
        ours,
        || rate::raw(mosquitto, count),
        measures,
    );
}

fn compare_fleets(effort: Effort, mosquitto: &Mosquitto, measures: &mut Vec<Measure>) {
    let devices = match effort {
        Effort::Check => 100,
        _ => fleet::DEVICES,
    };
    let pairs = effort.pairs().min(3);
    for (connections, words) in [
        (16, "over 16 connections"),
        (devices, "one connection each"),
    ] {
        let (bytes, cpu) = (
            format!("bytes a device, {devices} devices {words}"),
            format!("CPU of a core, {devices} devices {words}"),
        );
        let includes = "a reading in 5 s each and heartbeats, acknowledged; ours: spools in memory, identities, 100 samples";
        let lines: [Line<'_>; 2] = [
            (&bytes, "bytes", Better::Less, includes, Run::bytes),
            (&cpu, "%", Better::Less, includes, Run::cpu_percent),
        ];
        let ours = || fleet::run("ours", mosquitto.port, devices, connections);
        let raw = || fleet::run("raw", mosquitto.port, devices, devices);
        compare(pairs, &lines, ours, raw, measures);
    }
}

/// Runs both sides by turns once, and takes every line from the same runs.
fn compare(
    pairs: usize,
    lines: &[Line<'_>],
    ours: impl Fn() -> Run,
    peer: impl Fn() -> Run,
    measures: &mut Vec<Measure>,
) {
    let (our_runs, peer_runs) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let keep = |runs: &RefCell<Vec<Run>>, run| {
        runs.borrow_mut().push(run);
        1.0
    };
    interleave(
        pairs,
        Better::More,
        || keep(&our_runs, ours()),
        || keep(&peer_runs, peer()),
    );
    for &(name, unit, better, includes, figure) in lines {
        let (our_runs, peer_runs) = (our_runs.borrow(), peer_runs.borrow());
        let (mut one, mut other) = (our_runs.iter().map(figure), peer_runs.iter().map(figure));
        let comparison = interleave(
            pairs,
            better,
            || one.next().expect("a run for each pair"),
            || other.next().expect("a run for each pair"),
        );
        let measure = Measure::new(name, unit, "rumqttc", includes, &comparison);
        report(&measure, &comparison);
        measures.push(measure);
    }
}
