//! Machines, their gateway, a broker that forgets and a collector, in virtual time: each may fall at any step.
//!
//! One to three devices on one gateway measure, obey rules, brew what a till orders through the broker, keep twins, and spool
//! what they have to say. Power fails at the gateway and at the collector, between turns, around commits and within writes,
//! and their files lose, tear and garble what was not synced; the broker dies and loses what it acknowledged; messages are
//! late, come twice, are retained and refused; links break; disks fill up; the calendar is set back ten years; a stranger sends
//! anything at all. In the end, when all is well, everything that a machine ever made durable is at the collector once, or a
//! gap record tells that it was dropped; every order that was accepted was brewed once, or given up, and its end is known; no
//! rule acted twice on one sample; both sides of each twin say the same; and all is at rest: spools are empty, no order is open,
//! no step under way.
//!
//! Where the broker's acknowledgement is enough, it is the broker that has everything. Where the machines' disk is replaced by
//! an empty one or goes back to a backup, what only it held is gone, orders that it had may be brewed again, and twins part;
//! but what is made from then on is lost only in starts that the sink's knowledge had overtaken, and these the device or the
//! collector has named.

mod audit;
mod controllers;
mod customers;
mod disk;
mod findings;
mod fog;
mod gateway;
mod ledger;
mod link;
mod network;
mod reached;
mod shop;
mod trace;
mod works;

use std::time::Duration;

use peaberry_core::Instant;
use peaberry_core::simulation::FaultKind;
use peaberry_edge::Name;

use self::shop::Shop;
use super::{Mutant, Run, Target};

/// The target `edge`.
pub const TARGET: Target = Target {
    name: "edge",
    run: |seed, _mutant| run(seed),
    fault_kinds: || {
        vec![
            FaultKind::Crash,
            FaultKind::CrashAll,
            FaultKind::CrashBeforeCommit,
            FaultKind::CrashAfterCommit,
            FaultKind::CrashWithinWrite,
            FaultKind::Restart,
            FaultKind::LostWrites,
            FaultKind::TornWrites,
            FaultKind::GarbledWrites,
            FaultKind::FailedSync,
            FaultKind::DiskFull,
            FaultKind::Pause,
            FaultKind::CalendarJump,
            FaultKind::Isolate,
            FaultKind::LossBurst,
            FaultKind::DuplicateBurst,
            FaultKind::DelayBurst,
        ]
    },
    dimensions: Vec::new,
    mutants: &[
        Mutant::compiled("edge_spool_cut_on_puback"),
        Mutant::compiled("edge_sink_no_longer_waited_for"),
        Mutant::compiled("edge_cursor_before_data"),
        Mutant::compiled("edge_ack_before_sync"),
        Mutant::compiled("edge_gap_forgotten"),
        Mutant::compiled("edge_boot_epoch_reused"),
        Mutant::compiled("edge_order_key_forgotten"),
        Mutant::compiled("edge_open_order_forgotten"),
        Mutant::compiled("edge_step_before_journal"),
        Mutant::compiled("edge_step_repeated"),
        Mutant::compiled("edge_step_on_full_disk"),
        Mutant::compiled("edge_backlog_refires"),
        Mutant::compiled("edge_any_ack_cuts"),
        Mutant::compiled("edge_boot_salt_ignored"),
        Mutant::compiled("edge_refused_stays"),
    ],
};

/// The time between two looks at the world.
const STEP: Duration = Duration::from_millis(200);
/// How many steps trouble lasts.
const STORM_STEPS: u32 = 240;
/// How many steps there are to bring everything home.
const CALM_STEPS_MAX: u32 = 3_000;
/// How many turns everybody takes then while no time passes, so that what is told in every step comes home before the next.
const TURNS_AT_ONCE: u32 = 3;

/// Where the machines stand.
const SITE: &str = "site";
const YEAR_MS: u64 = 365 * 86_400_000;

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
        for _ in 0..TURNS_AT_ONCE {
            shop.step(Duration::ZERO);
        }
        if shop.unrest().is_none() {
            break;
        }
        shop.resume();
    }
    shop.conclude()
}

fn name(text: &str) -> Name {
    Name::new(text).expect("the words here are names")
}

/// What calendars say in truth.
fn wall_ms(now: Instant) -> u64 {
    let since = now.since(Instant::default()).as_millis();
    56 * YEAR_MS + u64::try_from(since).unwrap_or(u64::MAX)
}
