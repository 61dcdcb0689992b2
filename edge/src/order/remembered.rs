//! Which orders that have ended are remembered.

use std::collections::VecDeque;

use super::command::OrdersSettings;

/// Of orders that ended before any of their steps began so many are remembered for each such part of the others: whoever
/// places and cancels pushes out nothing that was made.
const UNBEGUN_PART: usize = 8;

/// The numbers of ended orders in the order in which they ended or, after a restart, came.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// A step of theirs had begun: placed anew, they would be made twice.
    begun: VecDeque<u64>,
    unbegun: VecDeque<u64>,
}

impl Remembered {
    pub(super) fn push(&mut self, number: u64, was_begun: bool) {
        if was_begun {
            self.begun.push_back(number);
        } else {
            self.unbegun.push_back(number);
        }
    }

    /// Takes out an order that is one too many: the oldest of those whose ends are told, else the oldest. Not the `highest`:
    /// it says which number is next.
    pub(super) fn pop_surplus(
        &mut self,
        settings: &OrdersSettings,
        highest: u64,
        is_told: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let begun_max = settings.remembered_max.max(1);
        let unbegun_max = begun_max.div_ceil(UNBEGUN_PART);
        let bounded = [
            (&mut self.begun, begun_max),
            (&mut self.unbegun, unbegun_max),
        ];
        for (numbers, count_max) in bounded {
            if numbers.len() <= count_max {
                continue;
            }
            let told = |&number: &u64| number != highest && is_told(number);
            let oldest = |&number: &u64| number != highest;
            let at = numbers.iter().position(told);
            let at = at.or_else(|| numbers.iter().position(oldest));
            return at.and_then(|at| numbers.remove(at));
        }
        None
    }
}
