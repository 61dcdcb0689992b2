use std::collections::{BTreeMap, BTreeSet};

use crate::round_id::RoundId;

/// The feeds for which nothing is signed, and who has said that it may be again.
#[derive(Debug)]
pub(super) struct Breaker {
    /// By feed: the round of the answer before the jump.
    tripped: Vec<Option<RoundId>>,
    /// By feed: what our operator has reset, by the same round.
    own: BTreeMap<u8, RoundId>,
    /// Who of the others has reset which feed, by the same round. Of each member the newest word counts.
    heard: BTreeMap<(u8, u8), RoundId>,
}

impl Breaker {
    pub(super) fn new(feeds: usize) -> Self {
        Self {
            tripped: vec![None; feeds],
            own: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// As it was: what is tripped, and what our operator has reset.
    pub(super) fn restored(
        feeds: usize,
        tripped: &[(u8, RoundId)],
        own: Vec<(u8, RoundId)>,
    ) -> Self {
        let mut breaker = Self::new(feeds);
        breaker.own = own.into_iter().collect();
        for (feed, since) in tripped {
            if let Some(place) = breaker.tripped.get_mut(usize::from(*feed)) {
                *place = Some(*since);
            }
        }
        breaker
    }

    pub(super) fn is_tripped(&self, feed: usize) -> bool {
        self.tripped.get(feed).is_some_and(Option::is_some)
    }

    pub(super) fn tripped(&self) -> impl Iterator<Item = (u8, RoundId)> {
        (0..=u8::MAX)
            .zip(&self.tripped)
            .filter_map(|(feed, since)| Some((feed, (*since)?)))
    }

    /// Our operator's words, to be told to the others.
    pub(super) fn resets(&self) -> Vec<(u8, RoundId)> {
        self.own
            .iter()
            .map(|(feed, since)| (*feed, *since))
            .collect()
    }

    /// Trips; `false` where it is tripped already.
    pub(super) fn trip(&mut self, feed: u8, since: RoundId) -> bool {
        match self.tripped.get_mut(usize::from(feed)) {
            Some(place @ None) => {
                *place = Some(since);
                true
            }
            _ => false,
        }
    }

    /// Our operator resets the feed. Answers whether it was tripped.
    pub(super) fn reset(&mut self, feed: u8) -> bool {
        let tripped = self
            .tripped
            .get_mut(usize::from(feed))
            .and_then(Option::take);
        if let Some(since) = tripped {
            self.own.insert(feed, since);
        }
        tripped.is_some()
    }

    /// Takes note of what another's operator has reset.
    pub(super) fn hear(&mut self, member: u8, resets: &[(u8, RoundId)]) {
        for (feed, since) in resets {
            if usize::from(*feed) < self.tripped.len() {
                self.heard.insert((*feed, member), *since);
            }
        }
    }

    /// Closes every feed that the operators of `quorum` others have reset, and answers which. Their words count if they are
    /// about a jump from the same answer, or from a later one that did not come here.
    pub(super) fn close_by_quorum(&mut self, quorum: usize) -> Vec<u8> {
        let heard = &self.heard;
        let is_reset = |feed: u8, since: RoundId| {
            let voters: BTreeSet<_> = heard
                .range((feed, 0)..=(feed, u8::MAX))
                .filter(|(_, vote)| **vote >= since)
                .map(|((_, member), _)| member)
                .collect();
            voters.len() >= quorum
        };
        let closed: Vec<u8> = self
            .tripped()
            .filter(|(feed, since)| is_reset(*feed, *since))
            .map(|it| it.0)
            .collect();
        for feed in &closed {
            if let Some(place) = self.tripped.get_mut(usize::from(*feed)) {
                *place = None;
            }
        }
        closed
    }

    /// A quorum has signed a new answer for the feed: earlier words mean nothing any more. Answers whether our operator's
    /// was among them.
    pub(super) fn forget(&mut self, feed: u8) -> bool {
        self.heard.retain(|(of, _), _| *of != feed);
        self.own.remove(&feed).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(number: u32) -> RoundId {
        RoundId::new(1, number).unwrap()
    }

    /// Who has missed the last answer before the jump is not left behind; what was said of an earlier jump resets nothing.
    #[test]
    fn words_about_this_jump_or_a_later_one_count_and_about_an_earlier_one_do_not() {
        for (earlier, is_closed) in [(4, false), (5, true), (6, true)] {
            let mut breaker = Breaker::restored(1, &[(0, round(5))], Vec::new());
            breaker.hear(1, &[(0, round(6))]);
            assert!(breaker.close_by_quorum(2).is_empty(), "one is not enough");
            breaker.hear(2, &[(0, round(earlier))]);
            assert_eq!(!breaker.close_by_quorum(2).is_empty(), is_closed);
            assert_eq!(breaker.is_tripped(0), !is_closed);
        }
    }
}
