//! Ours against a peer: interleaved runs, a median with its interval, and a file with the results.
//!
//! ```
//! use peaberry_benches::versus::{Better, Effort, Measure, interleave};
//!
//! // Nanoseconds, say: less is better, and ours takes half as many.
//! let comparison = interleave(Effort::Quick.pairs(), Better::Less, || 50.0, || 100.0);
//! assert_eq!(comparison.ratio, 2.0);
//!
//! let measure = Measure::new("sum of 1024 numbers", "ns", "std", "one thread, no I/O", &comparison);
//! assert_eq!((measure.ours, measure.peer), (50.0, 100.0));
//! ```

mod fastest;
mod interval;
mod output;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::fastest::fastest;
pub use self::interval::{Interval, median};
pub use self::output::{report, target_folder, write};

/// One line of `versus/QUESTION.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// What was measured, with the load in words: `committed proposals/s, 64 clients`.
    pub measure: String,
    /// The unit of `ours` and `peer`.
    pub unit: String,
    /// The median of our runs.
    pub ours: f64,
    /// The median of the peer's runs.
    pub peer: f64,
    /// The peer's crate or program.
    pub peer_name: String,
    /// The median over the pairs of runs of how many times better ours was.
    pub ratio: f64,
    /// What the work includes: sync, signatures, encoding.
    pub includes: String,
}

impl Measure {
    /// The line that says what `comparison` found.
    #[must_use]
    pub fn new(
        measure: &str,
        unit: &str,
        peer_name: &str,
        includes: &str,
        comparison: &Comparison,
    ) -> Self {
        Self {
            measure: measure.to_owned(),
            unit: unit.to_owned(),
            ours: comparison.ours,
            peer: comparison.peer,
            peer_name: peer_name.to_owned(),
            ratio: comparison.ratio,
            includes: includes.to_owned(),
        }
    }
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The larger, as of a rate.
    More,
    /// The smaller, as of a time or a size.
    Less,
}

/// What pairs of runs have shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The median of our figures.
    pub ours: f64,
    /// The median of the peer's figures.
    pub peer: f64,
    /// The median of the pairs' ratios; over 1, ours is better.
    pub ratio: f64,
    /// Where the true median of the ratios lies with 95 % confidence.
    pub interval: Interval,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ours,
            peer,
            ratio,
            interval,
        } = self;
        write!(
            f,
            "ours {ours:.0}, peer {peer:.0}, ratio {ratio:.3} ({interval})"
        )
    }
}

/// Runs `ours` and `peer` by turns, `pairs` times, each returning its figure.
///
/// A ratio is taken within each pair, so that what slows the machine down for a while slows both sides of it; which of
/// the two goes first alternates.
///
/// # Panics
///
/// When `pairs` is zero, or a figure is not a positive number.
pub fn interleave(
    pairs: usize,
    better: Better,
    mut ours: impl FnMut() -> f64,
    mut peer: impl FnMut() -> f64,
) -> Comparison {
    assert!(pairs > 0, "there is no median of no runs");
    let mut figures = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let (our_figure, peer_figure) = if pair % 2 == 0 {
            let our_figure = ours();
            (our_figure, peer())
        } else {
            let peer_figure = peer();
            (ours(), peer_figure)
        };
        for figure in [our_figure, peer_figure] {
            assert!(
                figure.is_finite() && figure > 0.0,
                "a run measured {figure}, which is no rate, time or size"
            );
        }
        figures.push((our_figure, peer_figure));
    }
    let ratios: Vec<_> = figures
        .iter()
        .map(|(ours, peer)| match better {
            Better::More => ours / peer,
            Better::Less => peer / ours,
        })
        .collect();
    Comparison {
        ours: median(figures.iter().map(|(ours, _)| *ours)),
        peer: median(figures.iter().map(|(_, peer)| *peer)),
        ratio: median(ratios.iter().copied()),
        interval: Interval::of_median(ratios),
    }
}

/// How long a bench runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// `--test`: one short pair, to see that the bench works. Nothing is written.
    Check,
    /// `--quick`, or `PEABERRY_BENCH=quick`: a shorter run still.
    Quick,
    /// Neither: what `cargo bench` does, a run of seconds for each measure.
    Normal,
    /// `PEABERRY_BENCH=full`.
    Full,
}

impl Effort {
    /// Reads the process's arguments and `PEABERRY_BENCH`. Arguments of other bench harnesses (`--bench`, filters) mean
    /// nothing here and are let pass.
    #[must_use]
    pub fn from_environment() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let setting = std::env::var("PEABERRY_BENCH").unwrap_or_default();
        Self::from_words(&arguments, &setting)
    }

    fn from_words(arguments: &[String], setting: &str) -> Self {
        let given = |flag| arguments.iter().any(|argument| argument == flag);
        if given("--test") {
            Self::Check
        } else if given("--quick") || setting == "quick" {
            Self::Quick
        } else if setting == "full" {
            Self::Full
        } else {
            Self::Normal
        }
    }

    /// How many pairs of runs to make; ten at least, except for a check.
    #[must_use]
    pub const fn pairs(self) -> usize {
        match self {
            Self::Check => 1,
            Self::Quick => 10,
            Self::Normal => 20,
            Self::Full => 40,
        }
    }

    /// How long one run should last.
    #[must_use]
    pub const fn run_time(self) -> Duration {
        Duration::from_millis(match self {
            Self::Check => 20,
            Self::Quick => 100,
            Self::Normal => 250,
            Self::Full => 1000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbance_that_meets_both_of_a_pair_leaves_the_ratio_alone() {
        let mut ours = [10.0, 1.0, 10.0].into_iter();
        let mut peer = [5.0, 0.5, 5.0].into_iter();
        let comparison = interleave(
            3,
            Better::More,
            || ours.next().unwrap(),
            || peer.next().unwrap(),
        );
        assert_eq!(comparison.ratio, 2.0);
        assert_eq!(
            (comparison.interval.low, comparison.interval.high),
            (2.0, 2.0)
        );
    }

    #[test]
    fn foreign_arguments_are_let_pass() {
        let words = |words: &[&str], setting| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            Effort::from_words(&words, setting)
        };
        assert_eq!(words(&["--bench", "round", "--noplot"], ""), Effort::Normal);
        assert_eq!(words(&["--bench", "--quick"], ""), Effort::Quick);
        assert_eq!(words(&["--test", "--quick"], "full"), Effort::Check);
        assert_eq!(words(&["--bench"], "full"), Effort::Full);
    }

    #[test]
    #[should_panic(expected = "no rate")]
    fn a_figure_of_zero_is_refused() {
        interleave(1, Better::More, || 1.0, || 0.0);
    }
}
