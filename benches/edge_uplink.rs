//! What does our delivery cost beside raw rumqttc, on a real Mosquitto?
//!
//! - Milliseconds from opening a store with a million spooled records to the first that is handed to the uplink.
//! - Acknowledged messages per second, and CPU per message (of the client alone): ours makes each record durable on the disk
//!   first, in groups, and keeps it until the broker has acknowledged it; rumqttc publishes and waits for nothing but the
//!   broker.
//! - Readings per second, when a hundred travel in one record, against one message for each.
//! - Bytes and CPU of ten thousand devices that send a reading every 5 s and a heartbeat every 30 s: whole ones (a sensor that
//!   is smoothed and judged by a rule, the last hundred samples, orders, a twin, a spool) over 16 connections, and with one
//!   each, against ten thousand raw clients. Spools are in memory (`MemoryStorage`) and keep a record until the broker has
//!   acknowledged it (`AckLevel::Broker`): with a sink they hold some more, and on a disk less of it is in memory. Each side is a
//!   process of its own, beside the broker's. More bytes than the limit fail the run.
//!
//! Units stand in each line. Mosquitto is skipped by name where it is not installed.

#[path = "edge/broker.rs"]
mod broker;
#[path = "edge/child.rs"]
mod child;
#[path = "edge/clients.rs"]
mod clients;
#[path = "edge/devices.rs"]
mod devices;
#[path = "edge/rate.rs"]
mod rate;
#[path = "edge/recovery.rs"]
mod recovery;

use std::alloc::System;

use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use broker::Mosquitto;
use child::{HEARTBEAT, Task};
use rate::Run;

type Failure = Box<dyn std::error::Error>;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEVICES: usize = 10_000;

/// How many connections a site's gateways have.
const GATEWAYS: usize = 16;

/// 6.4 KiB.
const GATEWAY_DEVICE_BYTES_MAX: f64 = 6_553.0;

/// Of what a raw client takes, a device with a connection of its own.
const OWN_CONNECTION_SHARE_MAX: f64 = 1.15;

fn main() -> Result<(), Failure> {
    if let Some(outcome) = child::outcome() {
        return outcome;
    }
    let effort = Effort::from_environment();
    let mut measures = Vec::new();
    recover(effort, &mut measures)?;
    let Some(mosquitto) = Mosquitto::start()? else {
        println!("mosquitto is not installed: skipped");
        return Ok(write("edge_uplink", effort, &measures)?);
    };
    compare_rates(effort, &mosquitto, &mut measures);
    let is_within = compare_devices(effort, &mosquitto, &mut measures);
    write("edge_uplink", effort, &measures)?;
    is_within
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

/// A line of the result: name, unit, what is better, what is included, and how a run shows it.
struct Line<'a> {
    name: &'a str,
    unit: &'a str,
    better: Better,
    includes: &'a str,
    figure: fn(&Run) -> f64,
}

fn compare_rates(effort: Effort, mosquitto: &Mosquitto, measures: &mut Vec<Measure>) {
    let count = match effort {
        Effort::Check => 1_000,
        Effort::Quick => 30_000,
        _ => 60_000,
    };
    let includes = "ours: encoding, spool, group commit on the disk; peer: publishing";
    let one = [
        Line {
            name: "acknowledged messages/s, durable, 150 bytes",
            unit: "messages/s",
            better: Better::More,
            includes,
            figure: Run::rate,
        },
        Line {
            name: "client CPU a message, durable, 150 bytes",
            unit: "us",
            better: Better::Less,
            includes,
            figure: Run::cpu_us,
        },
    ];
    let batched = [Line {
        name: "readings/s, batches of 100",
        unit: "readings/s",
        better: Better::More,
        includes: "ours: columns of 100 readings, spool, group commit on the disk; peer: a message a reading",
        figure: Run::rate,
    }];
    let runs = (0..effort.pairs()).map(|pair| {
        let raw = || rate::raw(mosquitto, count);
        let ours = || {
            (
                rate::ours(mosquitto, count, 1),
                rate::ours(mosquitto, count / 3, 100),
            )
        };
        // Which side goes first alternates.
        if pair % 2 == 0 {
            let ours = ours();
            (ours, raw())
        } else {
            let raw = raw();
            (ours(), raw)
        }
    });
    let (ours, raw): (Vec<_>, Vec<_>) = runs.unzip();
    let (single, hundreds): (Vec<_>, Vec<_>) = ours.into_iter().unzip();
    compare(&one, &single, &raw, measures);
    compare(&batched, &hundreds, &raw, measures);
}

/// # Errors
///
/// A device takes more bytes than it may.
fn compare_devices(
    effort: Effort,
    mosquitto: &Mosquitto,
    measures: &mut Vec<Measure>,
) -> Result<(), Failure> {
    // So long that each device has one heartbeat in it.
    let (devices, pairs, periods) = match effort {
        Effort::Check => (100, 1, 1),
        Effort::Quick => (DEVICES, 3, HEARTBEAT),
        Effort::Normal | Effort::Full => (DEVICES, 10, HEARTBEAT),
    };
    let task = |is_ours, connections| Task {
        is_ours,
        port: mosquitto.port,
        devices,
        connections,
        periods,
    };
    let (mut shared, mut own, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Which side goes first alternates, for both of ours.
        let is_shared_first = pair % 2 == 0;
        if is_shared_first {
            shared.push(task(true, GATEWAYS).run());
        } else {
            own.push(task(true, devices).run());
        }
        raw.push(task(false, devices).run());
        if is_shared_first {
            own.push(task(true, devices).run());
        } else {
            shared.push(task(true, GATEWAYS).run());
        }
    }
    let gateways = format!("{devices} devices over {GATEWAYS} connections");
    let gateways = compare_sides(&gateways, &shared, &raw, measures);
    let each = format!("{devices} devices, one connection each");
    let each = compare_sides(&each, &own, &raw, measures);
    if effort > Effort::Check && gateways.ours > GATEWAY_DEVICE_BYTES_MAX {
        let message = format!(
            "{} bytes a device are over {GATEWAY_DEVICE_BYTES_MAX}",
            gateways.ours
        );
        return Err(message.into());
    }
    if effort > Effort::Check && each.ours > OWN_CONNECTION_SHARE_MAX * each.peer {
        let message = format!(
            "{} bytes a device are over {OWN_CONNECTION_SHARE_MAX} times {}",
            each.ours, each.peer
        );
        return Err(message.into());
    }
    Ok(())
}

/// Answers the line of resident bytes.
fn compare_sides(words: &str, ours: &[Run], raw: &[Run], measures: &mut Vec<Measure>) -> Measure {
    let includes = "a reading in 5 s and a heartbeat in 30 s, accepted; ours: whole devices with orders, twin and 100 samples, spools in MemoryStorage with AckLevel::Broker; peer: a client each";
    let names = [
        format!("resident bytes a device, {words}"),
        format!("heap bytes a device, {words}"),
        format!("CPU, {words}"),
    ];
    let [resident, heap, cpu] = &names;
    let line = |name, unit, figure| Line {
        name,
        unit,
        better: Better::Less,
        includes,
        figure,
    };
    let lines = [
        line(resident, "bytes", Run::resident_bytes),
        line(heap, "bytes", Run::heap_bytes),
        line(cpu, "% of a core", Run::cpu_percent),
    ];
    let at = measures.len();
    compare(&lines, ours, raw, measures);
    measures.get(at).expect("there is a line").clone()
}

/// Takes every line from the same runs.
fn compare(lines: &[Line<'_>], ours: &[Run], raw: &[Run], measures: &mut Vec<Measure>) {
    for line in lines {
        let mut our_runs = ours.iter().map(line.figure);
        let mut raw_runs = raw.iter().map(line.figure);
        let comparison = interleave(
            ours.len(),
            line.better,
            || our_runs.next().expect("a run for each pair"),
            || raw_runs.next().expect("a run for each pair"),
        );
        let measure = Measure::new(line.name, line.unit, "rumqttc", line.includes, &comparison);
        report(&measure, &comparison);
        measures.push(measure);
    }
}
