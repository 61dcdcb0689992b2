//! Replicas of a document in a world of faults, checked against the history of all events ever written.
//!
//! Three or four members write, lose power, messages, bits and old stores; one may be evicted, go on writing, and come
//! back as another. At every look, what a replica shows must be what a naive reading of the events it knows says; in
//! the end all members must be equal, to the byte, and have lost nothing that was answered for. In every fourth world they have a
//! text and a stock beside the document, which must not fall below zero. In some a document may hold a few dots only: members
//! refuse each other's deltas then, until removals make room. Apart from all that a text and a list are written by three who
//! hear of each other late, and checked against what each writer saw.

mod beside;
mod calendar;
mod damage;
mod document;
mod history;
mod members;
mod passing;
mod reached;
mod sequences;

use std::time::Duration;

use peaberry_core::PeerId;
use peaberry_core::simulation::{FaultKind, FaultProfile, World};

use self::members::{Kind, Members};
use super::{Mutant, Run, Target};

/// The target `crdt`.
pub const TARGET: Target = Target {
    name: "crdt",
    run: |seed, _mutant| run(seed),
    fault_kinds: || profile(true).kinds().collect(),
    dimensions: Vec::new,
    mutants: &[
        Mutant::compiled("over_claiming_delta"),
        Mutant::compiled("removal_without_dot"),
        Mutant::compiled("list_removal_without_dot"),
        Mutant::compiled("dot_reuse_after_restart"),
        Mutant::compiled("gap_accepted"),
        Mutant::compiled("text_sibling_decided_early"),
        Mutant::compiled("text_edit_beyond_accepted"),
        Mutant::compiled("text_tie_by_arrival"),
        Mutant::compiled("text_fork_accepted"),
        Mutant::compiled("effect_before_cause"),
        Mutant::compiled("list_right_neighbour_ignored"),
        Mutant::compiled("gc_before_stability"),
        Mutant::compiled("map_order_in_bytes"),
        Mutant::compiled("lww_tie_by_arrival"),
        Mutant::compiled("piece_out_of_place"),
        Mutant::compiled("membership_said_once"),
    ],
};

/// How long faults strike.
const STORM: Duration = Duration::from_secs(12);
/// How long the members have to become equal once all is well: many ticks.
const CALM_MAX: Duration = Duration::from_secs(20);
/// The same where they have refused each other's deltas, and try again after a longer and longer while.
const BOUNDED_CALM_MAX: Duration = Duration::from_secs(120);
/// The pause between two writes, at most.
const PAUSE_MS_MAX: u64 = 300;

fn profile(on_files: bool) -> FaultProfile {
    // Clocks may run as they like: time decides which stamps are let in, and nothing of what is made of them.
    let profile = FaultProfile::generic().weight(FaultKind::Pause, 2);
    if on_files {
        profile.on_files()
    } else {
        profile
    }
}

/// Runs the world of one seed.
#[must_use]
pub fn run(seed: u64) -> Run {
    let mut world = World::new(seed);
    let mut rng = world.fork_rng();
    // The shipped store on files that tear, or, so that backups can be taken of it, one in memory.
    let on_files = seed.is_multiple_of(8);
    let count = if rng.bool() { 3 } else { 4 };
    // Peers that pass on each write's delta as they make it, beside the sync.
    let is_passed_on = seed % 4 == 1;
    // Documents that may hold a few dots only.
    let is_bounded = seed % 8 == 6;
    let kind = Kind {
        on_files,
        // A text and a stock beside the document, on the same nodes.
        has_sides: seed % 4 == 3 || seed % 16 == 8,
        is_passed_on,
        dots_max: is_bounded.then(|| dots_max(seed)),
    };
    let mut members = Members::new(&mut world, rng.fork(), count, kind);
    world.run_for(Duration::from_millis(500));
    world.unleash(profile(on_files));
    let end = world.now() + STORM;
    while world.now() < end {
        members.act(&mut world);
        world.run_for(Duration::from_millis(rng.u64(1..PAUSE_MS_MAX)));
        members.look();
    }
    world.heal();
    members.end_trouble(&mut world);
    let mut patience = world.now() + CALM_MAX;
    if is_bounded {
        patience = world.now() + BOUNDED_CALM_MAX;
        while !members.are_settled() && world.now() < patience {
            members.make_room(&world);
            world.run_for(Duration::from_millis(500));
            members.look();
        }
    }
    world.run_with(patience, |_| !members.are_settled());
    let mut run = members.conclude(&world);
    sequences::check(seed, &mut run);
    run
}

/// Less than members write apart, and more than is left of it when all have removed what can be removed: a price of each.
fn dots_max(seed: u64) -> usize {
    fastrand::Rng::with_seed(seed).usize(7..=10)
}

fn peer(id: u64) -> PeerId {
    PeerId::new(id).expect("peers here are numbered from one")
}
