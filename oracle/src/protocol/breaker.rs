use std::collections::{BTreeMap, BTreeSet};

use super::OracleEvent;
use crate::round_id::RoundId;

/// The feeds for which nothing is signed, and who has said that it may be again.
///
/// A word is about one jump: it names the round of the answer before it, and counts for jumps from that answer or an
/// earlier one. So it can be said for good, to whoever was away, and says nothing of a later jump.
#[derive(Debug)]
pub(super) struct Breaker {
    /// By feed.
    tripped: Vec<Option<Trip>>,
    /// By feed: the newest jump that our operator has believed, or those of enough others, by the round of the answer before
    /// it.
    own: BTreeMap<u8, RoundId>,
    /// By feed and member: the same of the others. Of each the newest word counts.
    heard: BTreeMap<(u8, u8), RoundId>,
}

/// A jump that was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trip {
    /// The round of the answer before it.
    pub(super) since: RoundId,
    /// That answer.
    pub(super) last: i128,
    /// The one behind the jump.
    pub(super) refused: i128,
}

impl Trip {
    /// What the application is told of it.
    pub(super) const fn told(self, feed: u8) -> OracleEvent {
        OracleEvent::Tripped {
            feed,
            last: self.last,
            refused: self.refused,
        }
    }
}

impl Breaker {
    pub(super) fn new(feeds: usize) -> Self {
        Self {
            tripped: vec![None; feeds],
            own: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// As it was: what is tripped, and our words.
    pub(super) fn restored(feeds: usize, tripped: &[(u8, Trip)], own: &[(u8, RoundId)]) -> Self {
        let mut breaker = Self::new(feeds);
        breaker.own = own.iter().copied().collect();
        for (feed, trip) in tripped {
            breaker.trip(*feed, *trip);
        }
        breaker
    }

    pub(super) fn is_tripped(&self, feed: usize) -> bool {
        self.tripped.get(feed).is_some_and(Option::is_some)
    }

    pub(super) fn tripped(&self) -> impl Iterator<Item = (u8, Trip)> {
        (0..=u8::MAX)
            .zip(&self.tripped)
            .filter_map(|(feed, trip)| Some((feed, (*trip)?)))
    }

    /// Our words, to be told to the others.
    pub(super) fn resets(&self) -> Vec<(u8, RoundId)> {
        self.own
            .iter()
            .map(|(feed, since)| (*feed, *since))
            .collect()
    }

    /// Trips; `false` where it is tripped already.
    pub(super) fn trip(&mut self, feed: u8, trip: Trip) -> bool {
        match self.tripped.get_mut(usize::from(feed)) {
            Some(place @ None) => {
                *place = Some(trip);
                true
            }
            _ => false,
        }
    }

    /// Our operator resets the feed. Answers the round before the jump, if it was tripped: the one that `since` makes of
    /// what it is about.
    pub(super) fn reset(
        &mut self,
        feed: u8,
        since: impl FnOnce(&Trip) -> RoundId,
    ) -> Option<RoundId> {
        let since = since(&self.close(feed)?);
        self.say(feed, since);
        Some(since)
    }

    /// Is told to the others from now on.
    fn say(&mut self, feed: u8, since: RoundId) {
        let word = self.own.entry(feed).or_insert(since);
        *word = since.max(*word);
    }

    /// Takes note of what another's operator has reset.
    pub(super) fn hear(&mut self, member: u8, resets: &[(u8, RoundId)]) {
        for (feed, since) in resets {
            if usize::from(*feed) < self.tripped.len() {
                let word = self.heard.entry((*feed, member)).or_insert(*since);
                *word = (*since).max(*word);
            }
        }
    }

    /// Closes every feed that the operators of `quorum` others have reset, and answers which, with the rounds before the
    /// jumps. Their words count if they are about a jump from the same answer, or from a later one that did not come here.
    ///
    /// What they have said becomes our word too: one of them at least is honest, so it rests on an operator as theirs does,
    /// and whoever is still away does not depend on the very members that said it first.
    pub(super) fn close_by_quorum(&mut self, quorum: usize) -> Vec<(u8, RoundId)> {
        let heard = &self.heard;
        let is_reset = |feed: u8, since: RoundId| {
            let voters: BTreeSet<_> = heard
                .range((feed, 0)..=(feed, u8::MAX))
                .filter(|(_, vote)| **vote >= since)
                .map(|((_, member), _)| member)
                .collect();
            voters.len() >= quorum
        };
        let closed: Vec<(u8, RoundId)> = self
            .tripped()
            .filter(|(feed, trip)| is_reset(*feed, trip.since))
            .map(|(feed, trip)| (feed, trip.since))
            .collect();
        for (feed, since) in &closed {
            self.close(*feed);
            self.say(*feed, *since);
        }
        closed
    }

    fn close(&mut self, feed: u8) -> Option<Trip> {
        let place = self.tripped.get_mut(usize::from(feed));
        place.and_then(Option::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(number: u32) -> RoundId {
        RoundId::new(1, number).unwrap()
    }

    fn trip(since: u32) -> Trip {
        Trip {
            since: round(since),
            last: 100,
            refused: 200,
        }
    }

    /// Who has missed the last answer before the jump is not left behind; what was said of an earlier jump resets nothing.
    #[test]
    fn words_about_this_jump_or_a_later_one_count_and_about_an_earlier_one_do_not() {
        for (earlier, is_closed) in [(4, false), (5, true), (6, true)] {
            let mut breaker = Breaker::restored(1, &[(0, trip(5))], &[]);
            breaker.hear(1, &[(0, round(6))]);
            assert!(breaker.close_by_quorum(2).is_empty(), "one is not enough");
            breaker.hear(2, &[(0, round(earlier))]);
            assert_eq!(!breaker.close_by_quorum(2).is_empty(), is_closed);
            assert_eq!(breaker.is_tripped(0), !is_closed);
        }
    }

    /// Words are repeated for good, and in any order: the newest of each member stands, and closes no later jump.
    #[test]
    fn an_old_word_that_comes_again_closes_no_later_jump_and_takes_no_newer_one_back() {
        let mut breaker = Breaker::restored(1, &[(0, trip(5))], &[(0, round(5))]);
        for member in [1, 2, 1, 2] {
            breaker.hear(member, &[(0, round(5))]);
        }
        assert_eq!(breaker.close_by_quorum(2), [(0, round(5))]);
        assert!(breaker.trip(0, trip(9)));
        breaker.hear(1, &[(0, round(9))]);
        breaker.hear(1, &[(0, round(5))]);
        assert!(breaker.close_by_quorum(2).is_empty(), "2 means the first");
        breaker.hear(2, &[(0, round(9))]);
        assert_eq!(breaker.close_by_quorum(2), [(0, round(9))]);
        assert_eq!(breaker.resets(), [(0, round(9))], "it is our word too");
    }
}
