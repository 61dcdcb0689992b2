//! Does your own type keep the laws? Two checks that run on thousands of random histories.
//!
//! [`check_laws`] holds deltas of your type to what [`Replicated`] promises. [`check_convergence`] lets replicas of it
//! talk through [`AntiEntropy`](crate::sync::AntiEntropy) on a network that loses, repeats, reorders and damages, while
//! they crash and come back.
//!
//! A history is drawn from a seed: a failing one is repeated by its seed, and is cut to the fewest steps that fail
//! before it is reported.
//!
//! ```
//! use peaberry_crdt::testkit::{Dice, check_convergence, check_laws};
//! use peaberry_crdt::{AddWinsSet, Causal, Lattice, Writer};
//!
//! type Tags = Causal<AddWinsSet<u64>>;
//! fn edit(tags: &mut Tags, writer: &mut Writer, dice: &mut Dice) {
//!     let tag = dice.below(4);
//!     let written = tags.write(writer, |tags, mint| {
//!         Ok(if dice.below(3) == 0 { tags.remove(&tag) } else { tags.add(mint, tag) })
//!     });
//!     written.unwrap();
//! }
//! check_laws(0..20, Tags::bottom, edit);
//! check_convergence(0..5, Tags::bottom, edit);
//! ```

mod decoder;
mod dice;
mod laws;
mod network;

use alloc::string::String;
use core::ops::Range;

pub use decoder::{check_apply, check_decoder};
pub use dice::Dice;
pub use laws::check_laws;
pub use network::check_convergence;

use crate::Replicated;
use crate::wire::Message;

/// What can be checked: states that can be copied, compared, shown, and written as bytes.
pub trait Subject: Replicated + Message + Clone + PartialEq + core::fmt::Debug {}

impl<R: Replicated + Message + Clone + PartialEq + core::fmt::Debug> Subject for R {}

/// Runs `history` with each seed and so many steps.
///
/// # Panics
///
/// When one fails; with its seed, the fewest steps that fail, and what it said.
fn check(
    seeds: Range<u64>,
    steps_max: usize,
    mut history: impl FnMut(u64, usize) -> Result<(), String>,
) {
    for seed in seeds {
        if history(seed, steps_max).is_err() {
            let shortest =
                (1..=steps_max).find_map(|steps| Some((steps, history(seed, steps).err()?)));
            let Some((steps, complaint)) = shortest else {
                panic!(
                    "seed {seed} fails once and not again: the type or its edits are not deterministic"
                );
            };
            panic!("seed {seed} fails after {steps} steps: {complaint}");
        }
    }
}
