//! Which epoch it is.
//!
//! After the pacemaker of OCR (Breidenbach et al., "Chainlink Off-chain Reporting Protocol", 2021, algorithm 1): an oracle
//! that sees no progress asks for the next epoch; it joins a wish that f+1 have, since one of them is honest; it enters an
//! epoch that 2f+1 wish for. Wishes are repeated, so who was away catches up. f liars alone move nobody.

use std::time::Duration;

use peaberry_core::Instant;

#[derive(Debug)]
pub(super) struct Pacemaker {
    own: usize,
    faulty: usize,
    /// The epoch we are in; zero before the first.
    epoch: u32,
    /// The newest epoch each member has wished for, us included.
    wishes: Vec<u32>,
    /// `None` until started.
    pub(super) progress_due: Option<Instant>,
    pub(super) beat_due: Option<Instant>,
}

impl Pacemaker {
    /// Goes on where the last life of this oracle was.
    pub(super) fn new(own: u8, members: usize, faulty: usize, epoch: u32, wish: u32) -> Self {
        let own = usize::from(own);
        let mut wishes = vec![0; members];
        if let Some(mine) = wishes.get_mut(own) {
            *mine = wish.max(epoch).max(1);
        }
        Self {
            own,
            faulty,
            epoch,
            wishes,
            progress_due: None,
            beat_due: None,
        }
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The epoch we wish for.
    pub(super) fn wish(&self) -> u32 {
        self.wishes.get(self.own).copied().unwrap_or(1)
    }

    pub(super) fn progress(&mut self, now: Instant, patience: Duration) {
        self.progress_due = Some(now + patience);
    }

    /// Wishes for the epoch behind this one. Answers whether that is news.
    pub(super) fn give_up(&mut self) -> bool {
        self.raise(self.epoch.saturating_add(1))
    }

    /// Takes note of a member's wish. What it wished for before is the least it wishes for now.
    pub(super) fn hear(&mut self, member: u8, wish: u32) {
        if usize::from(member) == self.own {
            return;
        }
        if let Some(known) = self.wishes.get_mut(usize::from(member)) {
            *known = (*known).max(wish);
        }
    }

    /// Joins the wish of f+1, and enters the epoch that 2f+1 wish for.
    pub(super) fn advance(&mut self) -> Advance {
        let joined = self.wished_by(self.faulty + 1);
        let wish_is_new = self.raise(joined);
        let entered = self.wished_by(2 * self.faulty + 1);
        let epoch_is_new = entered > self.epoch;
        if epoch_is_new {
            self.epoch = entered;
        }
        Advance {
            wish_is_new,
            epoch_is_new,
        }
    }

    fn raise(&mut self, wish: u32) -> bool {
        match self.wishes.get_mut(self.own) {
            Some(mine) if *mine < wish => {
                *mine = wish;
                true
            }
            _ => false,
        }
    }

    /// The newest epoch that `count` members wish for, or one behind it.
    fn wished_by(&self, count: usize) -> u32 {
        let mut wishes = self.wishes.clone();
        wishes.sort_unstable_by(|a, b| b.cmp(a));
        wishes.get(count - 1).copied().unwrap_or(0)
    }
}

/// What the wishes have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advance {
    pub(super) wish_is_new: bool,
    pub(super) epoch_is_new: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Advance = Advance {
        wish_is_new: false,
        epoch_is_new: false,
    };

    #[test]
    fn f_liars_move_nobody_and_one_honest_member_with_them_moves_no_further_than_he_wishes() {
        // n = 7, f = 2; we are member 0 in epoch 5.
        let mut pacemaker = Pacemaker::new(0, 7, 2, 5, 5);
        pacemaker.hear(1, u32::MAX);
        pacemaker.hear(2, 900);
        assert_eq!(pacemaker.advance(), NOTHING);
        pacemaker.hear(3, 6);
        assert_eq!(
            pacemaker.advance(),
            Advance {
                wish_is_new: true,
                epoch_is_new: false
            }
        );
        assert_eq!(pacemaker.wish(), 6);
        // Five wish for 6: us, two liars, 3 and now 4.
        pacemaker.hear(4, 6);
        assert_eq!(
            pacemaker.advance(),
            Advance {
                wish_is_new: false,
                epoch_is_new: true
            }
        );
        assert_eq!(pacemaker.epoch(), 6);
    }

    #[test]
    fn who_was_away_enters_the_epoch_of_the_others_at_once() {
        let mut pacemaker = Pacemaker::new(3, 4, 1, 2, 2);
        for member in 0..3 {
            pacemaker.hear(member, 40);
        }
        assert_eq!(
            pacemaker.advance(),
            Advance {
                wish_is_new: true,
                epoch_is_new: true
            }
        );
        assert_eq!((pacemaker.epoch(), pacemaker.wish()), (40, 40));
    }

    #[test]
    fn an_old_wish_takes_nothing_back() {
        let mut pacemaker = Pacemaker::new(0, 4, 1, 1, 1);
        pacemaker.hear(1, 3);
        pacemaker.hear(1, 1);
        pacemaker.hear(2, 3);
        assert!(
            pacemaker.advance().epoch_is_new,
            "3 is wished for by 1, 2 and, joining, us"
        );
        assert_eq!(pacemaker.epoch(), 3);
    }
}
