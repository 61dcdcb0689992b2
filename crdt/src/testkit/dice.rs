use crate::random::Random;

/// Chance, drawn from a history's seed.
#[derive(Clone, Debug)]
pub struct Dice(Random);

impl Dice {
    /// The dice of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// A number from 0 to `bound - 1`; 0 if `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A position in something of length `len`.
    #[expect(clippy::cast_possible_truncation, reason = "it is below a usize")]
    pub const fn index(&mut self, len: usize) -> usize {
        self.0.below(len as u64) as usize
    }

    /// True for one in `n`.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.0.below(n) == 0
    }

    /// Any 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0.next()
    }
}
