//! Saying that a chain cannot be asked: silence would look like patience.

use std::time::Duration;

use peaberry_core::Instant;

use super::event::Stage;
use super::lane::LaneKey;
use super::protocol::{Fx, Outbox};
use super::record::{EntryId, cut};
use crate::{Address, ChainError, ChainId};

/// Since when everything that was asked about something has failed, until when, and how it failed last. What was asked once and
/// never again has not failed for long, however long ago that is.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<Failures>);

#[derive(Debug)]
struct Failures {
    first: Instant,
    last: Instant,
    why: String,
}

impl Trouble {
    pub(super) fn failed(&mut self, error: &ChainError, now: Instant) {
        self.0 = Some(Failures {
            first: self.0.as_ref().map_or(now, |failures| failures.first),
            last: now,
            why: cut(&error.to_string()).to_owned(),
        });
    }

    pub(super) fn is_over(&mut self) {
        self.0 = None;
    }

    const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// How long and why, if for `after` or longer.
    fn lasting(&self, after: Duration) -> Option<(Duration, String)> {
        let failures = self.0.as_ref()?;
        let lasts = failures.last.since(failures.first);
        (lasts >= after).then(|| (lasts, failures.why.clone()))
    }
}

impl Outbox {
    /// Tells all of a lane, once, that nothing can be found out about it, and once that this is over.
    pub(super) fn tell_trouble(&mut self, key: LaneKey, fx: Fx<'_, '_>) {
        let after = self.rules(key.0).stalled_after;
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        // What is included waits for no price.
        let price = self.prices.get(&key.0).filter(|_| lane.needs_price());
        let of_price = price.and_then(|price| price.trouble.lasting(after));
        let stalled = lane.trouble.lasting(after).or(of_price);
        let was_stalled = lane.stalled.is_some();
        lane.stalled = stalled;
        if lane.stalled.is_some() == was_stalled {
            return;
        }
        for id in lane.entries() {
            self.tell_stalled(id, fx);
        }
    }

    /// Nobody asks for the price of a chain on which nothing waits for it: how it was before says nothing of now.
    pub(super) fn forget_trouble_of_the_idle(&mut self, chain: ChainId) {
        let price = self.prices.get_mut(&chain);
        let Some(price) = price.filter(|price| price.trouble.is_there()) else {
            return;
        };
        let first = (chain, Address::Evm(alloy_primitives::Address::ZERO));
        let lanes = self.lanes.range(first..);
        let mut lanes = lanes.take_while(|((of, _), _)| *of == chain);
        if !lanes.any(|(_, lane)| lane.needs_price()) {
            price.trouble.is_over();
        }
    }

    /// What has failed about this entry alone does not matter any more, and nobody will ask it again. Where it stood is told
    /// before what has become of it.
    pub(super) fn end_trouble_of(&mut self, id: EntryId, fx: Fx<'_, '_>) {
        if let Some(entry) = self.open.get_mut(&id) {
            entry.trouble.is_over();
            entry.sight_trouble.is_over();
            self.tell_stalled(id, fx);
        }
    }

    /// Tells whether this entry stands still because nobody answers, where that has changed.
    pub(super) fn tell_stalled(&mut self, id: EntryId, fx: Fx<'_, '_>) {
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
        let stalled = of_lane
            .or_else(|| entry.trouble.lasting(after))
            .or_else(|| entry.sight_trouble.lasting(after));
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
