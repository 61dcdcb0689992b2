//! Simulation at length: runs a target with many seeds and counts what went wrong, on purpose and otherwise.
//!
//! ```sh
//! cargo run --release --example soak -- --target raft --seeds 1000
//! ```
//!
//! You will see a JSON object: how long the worlds ran, how often each kind of fault struck, how many operations clients
//! completed, and the violations, of which there must be none. Where worlds differ in several ways, such as where they crash
//! and what nodes lie about, it counts how many seeds had which, and which two together. Exits with 1 if there is a violation,
//! or if a kind of fault never came to pass, or a rare branch was never reached, although there were a hundred seeds for it,
//! or if two ways never met in five thousand, or if one of them never came in twenty thousand.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use parking_lot::Mutex;
use peaberry_core::simulation::FaultCounts;
use peaberry_examples::simulation::{
    Coverage, Reached, Run, TARGETS, Target, count_faults, target,
};
use serde::Serialize;

/// Seeds after which every kind of fault must have come to pass, and every rare branch must have been reached.
const SEEDS_FOR_EVERYTHING: u64 = 100;

/// Seeds after which all that worlds can differ in must have met all else.
const SEEDS_FOR_EVERY_PAIR: u64 = 5_000;

/// Seeds after which worlds must have had all that is counted, also what is not held against all else.
const SEEDS_FOR_EVERY_VALUE: u64 = 20_000;

/// Violations that are printed; the others are counted.
const VIOLATIONS_SHOWN_MAX: usize = 10;

/// Runs a target under simulation with many seeds.
#[derive(Parser)]
struct Arguments {
    /// What to simulate.
    #[arg(long, value_parser = parse_target)]
    target: &'static Target,
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Plants a bug by wrapping; one that is compiled in is named by `PEABERRY_MUTANT` instead.
    #[arg(long)]
    mutant: Option<String>,
    /// Stops at the first violation.
    #[arg(long)]
    stop_at_violation: bool,
    /// Prints the whole table of which two ways met in how many seeds, behind the report.
    #[arg(long)]
    table: bool,
    /// Prints each seed's digest of everything that happened, instead of the report.
    #[arg(long)]
    traces: bool,
}

fn parse_target(name: &str) -> Result<&'static Target, String> {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    target(name).ok_or_else(|| format!("there is no such target; there are {}", names.join(", ")))
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    target: &'static str,
    seeds: u64,
    virtual_seconds: u64,
    faults: BTreeMap<&'static str, u64>,
    reached: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    covered: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pairs: Vec<String>,
    operations: u64,
    violations: u64,
    unknown: u64,
    first_bad_seed: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shown: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults_missing: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    never_reached: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    never_met: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    never_had: Vec<String>,
}

/// What all seeds came to.
#[derive(Default)]
struct Total {
    virtual_nanos: u128,
    faults: FaultCounts,
    own_faults: Reached,
    reached: Reached,
    coverage: Coverage,
    operations: u64,
    violations: u64,
    unknown: u64,
    bad: BTreeMap<u64, Vec<String>>,
    traces: BTreeMap<u64, u64>,
    seeds: u64,
}

impl Total {
    fn of(target: &Target) -> Self {
        Self {
            coverage: Coverage::of((target.dimensions)()),
            ..Self::default()
        }
    }

    fn add(&mut self, seed: u64, run: Run) {
        self.seeds += 1;
        self.virtual_nanos += run.virtual_time.as_nanos();
        self.faults.merge(&run.faults);
        self.own_faults.merge(&run.own_faults);
        self.reached.merge(&run.reached);
        let covered = run.covered.iter();
        self.coverage
            .add(covered.map(|(dimension, value)| (*dimension, value.as_str())));
        self.operations += run.operations;
        self.violations += run.violations.len() as u64;
        self.unknown += run.unknown;
        self.traces.insert(seed, run.trace);
        if !run.violations.is_empty() {
            self.bad.insert(seed, run.violations);
        }
    }

    fn report(&self, target: &'static Target) -> Report {
        let kinds = (target.fault_kinds)();
        let mut faults = count_faults(&self.faults, &kinds);
        faults.extend(self.own_faults.iter());
        let is_enough = self.seeds >= SEEDS_FOR_EVERYTHING;
        let reached: BTreeMap<_, _> = self.reached.iter().collect();
        let never = |counts: &BTreeMap<&'static str, u64>| -> Vec<_> {
            let zero = counts.iter().filter(|(_, count)| is_enough && **count == 0);
            zero.map(|(name, _)| *name).collect()
        };
        let pairs = self.coverage.pairs();
        let is_enough = self.seeds >= SEEDS_FOR_EVERY_PAIR;
        let missing = pairs.iter().flat_map(|pairs| pairs.missing.iter());
        let never_met = missing.filter(|_| is_enough).cloned().collect();
        let is_enough = self.seeds >= SEEDS_FOR_EVERY_VALUE;
        let never_had = if is_enough {
            self.coverage.missing()
        } else {
            Vec::new()
        };
        Report {
            covered: self.covered(),
            pairs: pairs.iter().map(ToString::to_string).collect(),
            never_met,
            never_had,
            target: target.name,
            seeds: self.seeds,
            virtual_seconds: u64::try_from(self.virtual_nanos / 1_000_000_000).unwrap_or(u64::MAX),
            operations: self.operations,
            violations: self.violations,
            unknown: self.unknown,
            first_bad_seed: self.bad.keys().next().copied(),
            shown: self.shown(),
            faults_missing: never(&faults),
            never_reached: never(&reached),
            faults,
            reached,
        }
    }

    /// How many seeds had each value of each dimension.
    fn covered(&self) -> BTreeMap<&'static str, String> {
        let text = |values: Vec<(&str, u64)>| -> String {
            let values = values
                .iter()
                .map(|(value, seeds)| format!("{value}: {seeds}"));
            values.collect::<Vec<_>>().join("; ")
        };
        self.coverage
            .singles()
            .map(|(name, values)| (name, text(values)))
            .collect()
    }

    fn shown(&self) -> Vec<String> {
        let all = self.bad.iter().flat_map(|(seed, violations)| {
            violations
                .iter()
                .map(move |violation| format!("seed {seed}: {violation}"))
        });
        all.take(VIOLATIONS_SHOWN_MAX).collect()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let total = run_all(&arguments);
    if arguments.traces {
        for (seed, trace) in &total.traces {
            println!("{seed} {trace:016x}");
        }
        return ExitCode::SUCCESS;
    }
    let report = total.report(arguments.target);
    let is_good = report.violations == 0
        && report.faults_missing.is_empty()
        && report.never_reached.is_empty()
        && report.never_met.is_empty()
        && report.never_had.is_empty();
    println!(
        "{}",
        serde_json::to_string_pretty(&report).expect("a report is plain data")
    );
    if arguments.table {
        eprint!("{}", total.coverage.table());
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the seeds on all processors. Which processor runs which seed changes nothing.
fn run_all(arguments: &Arguments) -> Total {
    let end = arguments.first_seed + arguments.seeds;
    let next = AtomicU64::new(arguments.first_seed);
    let stop = AtomicU64::new(end);
    let total = Mutex::new(Total::of(arguments.target));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= stop.load(Ordering::SeqCst) {
                return;
            }
            let run = (arguments.target.run)(seed, arguments.mutant.as_deref());
            if arguments.stop_at_violation && !run.violations.is_empty() {
                stop.fetch_min(seed + 1, Ordering::SeqCst);
            }
            let mut total = total.lock();
            total.add(seed, run);
            if total.seeds.is_multiple_of(100) {
                eprintln!("{} of {} seeds", total.seeds, arguments.seeds);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
        work();
    });
    total.into_inner()
}
