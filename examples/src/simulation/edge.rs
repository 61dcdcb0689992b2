//! Machines, their gateway, a broker that forgets and a collector, in virtual time: each may fall at any step.
//!
//! Two coffee machines on one gateway measure, obey rules, brew what a till orders through the broker, and spool what they
//! have to say. Power fails at the gateway and at the collector, between turns and around commits; the broker dies and loses
//! what it acknowledged; links break; disks fill. In the end, when all is well, everything that a machine ever made durable is
//! at the collector once, or a gap record tells that it was dropped; nothing was brewed twice; no rule acted twice.

mod disk;
mod reached;
mod shop;

use std::time::Duration;

use peaberry_core::simulation::FaultKind;

use self::shop::Shop;
use super::{Mutant, Run, Target};

/// The target `edge`.
pub const TARGET: Target = Target {
    name: "edge",
    run: |seed, _mutant| run(seed),
    fault_kinds: || {
        vec![
            FaultKind::Crash,
            FaultKind::CrashBeforeCommit,
            FaultKind::CrashAfterCommit,
            FaultKind::Restart,
            FaultKind::DiskFull,
            FaultKind::Isolate,
        ]
    },
    mutants: &[
        Mutant::compiled("edge_spool_cut_on_puback"),
        Mutant::compiled("edge_cursor_before_data"),
        Mutant::compiled("edge_ack_before_sync"),
        Mutant::compiled("edge_gap_forgotten"),
        Mutant::compiled("edge_boot_epoch_reused"),
        Mutant::compiled("edge_order_key_forgotten"),
        Mutant::compiled("edge_backlog_refires"),
    ],
};

/// The time between two looks at the world.
const STEP: Duration = Duration::from_millis(200);
/// How many steps trouble lasts.
const STORM_STEPS: u32 = 200;
/// How many steps there are to bring everything home.
const CALM_STEPS_MAX: u32 = 3_000;

/// Runs the world of one seed.
#[must_use]
pub fn run(seed: u64) -> Run {
    let mut shop = Shop::new(seed);
    for _ in 0..STORM_STEPS {
        shop.make_trouble();
        shop.step(STEP);
    }
    shop.end_trouble();
    for _ in 0..CALM_STEPS_MAX {
        shop.step(STEP);
        if shop.is_quiet() {
            break;
        }
    }
    shop.conclude()
}

#[cfg(test)]
mod tests {
    use peaberry_core::simulation::check_seeds;

    use super::*;

    #[test]
    fn what_was_durable_arrives_once_or_is_told_as_dropped() {
        check_seeds(0..40, |seed| match run(seed).violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        });
    }

    #[test]
    fn one_seed_tells_one_story() {
        let (one, other) = (run(5), run(5));
        assert_eq!((one.trace, one.operations), (other.trace, other.operations));
    }
}
