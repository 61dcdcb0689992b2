//! Saying that a chain cannot be asked: silence would look like patience.

use std::time::Duration;

use peaberry_core::Instant;

use super::event::Stage;
use super::lane::LaneKey;
use super::protocol::{Fx, Outbox};
use super::record::{EntryId, cut};
use crate::{Address, ChainError, ChainId};

/// Since when everything that was asked about something has failed, and how it failed last.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<(Instant, String)>);

impl Trouble {
    pub(super) fn failed(&mut self, error: &ChainError, now: Instant) {
        let since = self.0.as_ref().map_or(now, |(since, _)| *since);
        self.0 = Some((since, cut(&error.to_string()).to_owned()));
    }

    pub(super) fn is_over(&mut self) {
        self.0 = None;
    }

    /// How long and why, if for `after` or longer.
    fn lasting(&self, now: Instant, after: Duration) -> Option<(Duration, String)> {
        let (since, why) = self.0.as_ref()?;
        let lasts = now.since(*since);
        (lasts >= after).then(|| (lasts, why.clone()))
    }
}

impl Outbox {
    /// Tells all of a lane, once, that nothing can be found out about it, and once that this is over.
    pub(super) fn tell_trouble(&mut self, key: LaneKey, now: Instant, fx: Fx<'_, '_>) {
        let after = self.rules(key.0).stalled_after;
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        let price = self.prices.get(&key.0);
        let of_price = price.and_then(|price| price.trouble.lasting(now, after));
        let stalled = lane.trouble.lasting(now, after).or(of_price);
        let was_stalled = lane.stalled.is_some();
        lane.stalled = stalled;
        if lane.stalled.is_some() == was_stalled {
            return;
        }
        for id in lane.entries() {
            self.tell_stalled(id, now, fx);
        }
    }

    /// Nobody asks for the price of an idle chain: how it was before says nothing of now.
    pub(super) fn forget_trouble_of_the_idle(&mut self, chain: ChainId) {
        let first = (chain, Address::Evm(alloy_primitives::Address::ZERO));
        let next = self.lanes.range(first..).next();
        let is_idle = next.is_none_or(|((of, _), _)| *of != chain);
        if let Some(price) = self.prices.get_mut(&chain).filter(|_| is_idle) {
            price.trouble.is_over();
        }
    }

    /// Tells whether this entry stands still because nobody answers, where that has changed.
    pub(super) fn tell_stalled(&mut self, id: EntryId, now: Instant, fx: Fx<'_, '_>) {
        let Some((key, after)) = self.open.get(&id).map(|entry| {
            let key = (entry.record.chain, entry.record.account);
            (key, self.rules(key.0).stalled_after)
        }) else {
            return;
        };
        let of_lane = self.lanes.get(&key).and_then(|lane| lane.stalled.clone());
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let stalled = of_lane.or_else(|| entry.trouble.lasting(now, after));
        match (stalled, entry.is_stalled) {
            (Some((lasts, why)), false) => {
                entry.is_stalled = true;
                self.tell_of(id, Stage::Stalled { lasts, why }, fx);
            }
            (None, true) => {
                entry.is_stalled = false;
                self.tell(id, fx);
            }
            _ => {}
        }
    }
}
