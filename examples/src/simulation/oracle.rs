//! Oracles in a world of faults, f of them liars, and a model of the contract that stores what they agree on.
//!
//! Four or seven oracles observe two prices that wander. Up to f of them lie, say that they have no values, equivocate,
//! withhold, replay, forge, shut out and grind, each seed in its own way. Every answer that an honest oracle or the contract takes must lie within the range
//! that the honest observed in its round, at most one answer for each round and feed is stored, and nobody honest may ever
//! be blamed. When the trouble ends, in half of the worlds without a restart, the first answer of every feed must be of one of
//! the next 2f+1 epochs, be they of 8 rounds or of 100, although the liars go on. In the end, what was signed twice must be found in the honest ones' stores.

mod cheap_key;
mod contract;
mod history;
mod liar;
mod market;
mod oracles;
mod reached;
mod scheme;
mod witness;

use std::time::Duration;

use peaberry_core::simulation::{FaultKind, FaultProfile, World};

pub use self::liar::{Liar, Tactics};
use self::oracles::Oracles;
use super::{Mutant, Run, Target};

/// The target `oracle`.
pub const TARGET: Target = Target {
    name: "oracle",
    run: |seed, _mutant| run(seed),
    fault_kinds: || profile(true).kinds().collect(),
    dimensions: Vec::new,
    mutants: &[
        Mutant::compiled("duplicate_signer_counted"),
        Mutant::compiled("own_observation_twice"),
        Mutant::compiled("weights_not_in_digest"),
        Mutant::compiled("epoch_replay"),
        Mutant::compiled("unsigned_observation_accepted"),
        Mutant::compiled("float_in_the_median"),
        Mutant::compiled("stale_round_accepted"),
        Mutant::compiled("waits_for_a_heavier_set"),
        Mutant::compiled("frost_nonce_used_again"),
        Mutant::compiled("frost_bad_share_accepted"),
        Mutant::compiled("evidence_not_kept"),
        Mutant::compiled("missing_answers_are_progress"),
        Mutant::compiled("contract_takes_a_round_twice"),
    ],
};

/// How long faults strike.
const STORM: Duration = Duration::from_secs(10);
/// How long the oracles have for an answer once all is well; the bound that counts is in epochs.
const CALM_MAX: Duration = Duration::from_secs(40);
/// The pause between two looks at the market, at most.
const PAUSE_MS_MAX: u64 = 250;

fn profile(on_files: bool) -> FaultProfile {
    // Clocks may run as they like: nothing that is agreed on is decided by time.
    let profile = FaultProfile::generic().weight(FaultKind::IsolateImportant, 3);
    if on_files {
        // An oracle writes little: power must fail often to fail within it.
        profile.on_files().weight(FaultKind::CrashWithinWrite, 16)
    } else {
        profile
    }
}

/// Runs the world of one seed.
#[must_use]
pub fn run(seed: u64) -> Run {
    let mut world = World::new(seed);
    let on_files = seed % 4 == 3;
    let mut rng = world.fork_rng();
    let mut oracles = Oracles::new(&mut world, rng.fork(), on_files);
    for _ in 0..4 {
        oracles.look_at_the_market(&world);
        world.run_for(Duration::from_millis(200));
    }
    world.unleash(profile(on_files));
    let end = world.now() + STORM;
    while world.now() < end {
        oracles.act(&mut world);
        world.run_for(Duration::from_millis(rng.u64(50..PAUSE_MS_MAX)));
    }
    world.heal();
    oracles.end_trouble(&mut world);
    let patience = world.now() + CALM_MAX;
    while world.now() < patience && !oracles.are_served() {
        oracles.wait_for_the_fallen(&world);
        oracles.reset_all(&world);
        oracles.look_at_the_market(&world);
        world.run_for(Duration::from_millis(100));
    }
    oracles.look_into_the_stores(&mut world);
    oracles.conclude(&world)
}
