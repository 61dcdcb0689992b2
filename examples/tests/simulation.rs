//! Every target under a few seeds, and the promise that a seed means one history.
//!
//! The long runs are `soak`'s; here is what fits into a test.

use std::process::Command;

use parking_lot::Mutex;
use peaberry_core::simulation::{check_seeds, replayed_seed};
use peaberry_examples::simulation::{Coverage, TARGETS};

/// Seeds for each target.
const SEEDS: u64 = 60;

/// Further seeds are tried, so many at a time, until all that shall meet has met.
const MORE_SEEDS: u64 = 20;
const SEEDS_MAX: u64 = 400;

/// Of what worlds differ in these always meet each other, also in few of them.
const MEET_SOON: [&str; 5] = ["reorg", "reorg while down", "rpc", "lie", "lie on Solana"];

#[test]
fn no_seed_violates_anything_and_what_differs_meets_all_else() {
    for target in TARGETS {
        let coverage = Mutex::new(Coverage::of((target.dimensions)()));
        let run = |seed| {
            let run = (target.run)(seed, None);
            let covered = run.covered.iter();
            coverage
                .lock()
                .add(covered.map(|(dimension, value)| (*dimension, value.as_str())));
            if !run.violations.is_empty() {
                return Err(format!("{}: {}", target.name, run.violations.join("; ")));
            }
            if run.unknown > 0 {
                return Err(format!("{}: the search gave up", target.name));
            }
            Ok(())
        };
        check_seeds(0..SEEDS, run);
        if replayed_seed().is_some() {
            continue;
        }
        let mut tried = SEEDS;
        while !apart(&coverage.lock()).is_empty() {
            assert!(tried < SEEDS_MAX, "{:?}", apart(&coverage.lock()));
            check_seeds(tried..tried + MORE_SEEDS, run);
            tried += MORE_SEEDS;
        }
    }
}

/// What has not met yet, and should have.
fn apart(coverage: &Coverage) -> Vec<String> {
    let pairs = coverage.pairs();
    let wanted = pairs.into_iter().filter(|pairs| {
        let (one, other) = pairs.dimensions;
        let is_of_reorgs = one == "reorg" && other == "reorg while down";
        MEET_SOON.contains(&one) && MEET_SOON.contains(&other) && !is_of_reorgs
    });
    wanted.flat_map(|pairs| pairs.missing).collect()
}

#[test]
fn bugs_planted_from_outside_are_caught() {
    for target in TARGETS {
        for mutant in target.mutants.iter().filter(|mutant| mutant.is_wrapper) {
            let caught =
                (0..100).any(|seed| !(target.run)(seed, Some(mutant.name)).violations.is_empty());
            assert!(caught, "{} survived on {}", mutant.name, target.name);
        }
    }
}

/// Two other processes, and this one, see the same history for the same seed: every message, commit and fault of it.
#[test]
fn a_seed_is_one_history_in_every_process() {
    let own = std::env::current_exe().unwrap();
    let soak = own.ancestors().nth(2).unwrap().join("examples/soak");
    for target in TARGETS {
        let traces = || {
            let mut command = Command::new(&soak);
            let output = command
                .args(["--target", target.name, "--seeds", "6", "--traces"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let here: String = (0..6)
            .map(|seed| format!("{seed} {:016x}\n", (target.run)(seed, None).trace))
            .collect();
        assert_eq!(traces(), here, "{}", target.name);
        assert_eq!(traces(), here, "{}", target.name);
    }
}
