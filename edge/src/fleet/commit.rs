//! What a fleet makes durable, and what it does where there is no room.

use std::collections::BTreeMap;
use std::task::Context;

use peaberry_core::mutant::is_planted;
use peaberry_core::{Input, Instant, Operation};

use crate::courier::Committed;
use crate::error::EdgeError;
use crate::order::OrderCommand;
use crate::payload::Payload;
use crate::topic::Stream;
use crate::uplink::Uplink;

use super::{Fleet, FleetEvent};

/// So many events, which have been passed on, are kept with what waits.
const EVENTS_KEPT: usize = 1024;

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Makes durable what spools, orders and twins have written, and lets out what waited for it; not while a sync lasts.
    pub(super) fn commit(
        &mut self,
        cx: &Context<'_>,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        if self.courier.is_syncing() {
            self.compact_state();
            return Ok(());
        }
        let has_state = !self.state.batch().is_empty();
        if has_state || self.courier.has_to_commit(now) {
            self.tell_ends(now, events)?;
            let (storage, state) = (self.storage.as_ref(), self.state.batch());
            let committed = self.courier.commit(now, storage, state)?;
            if committed != Committed::All {
                let records = committed.lost_records();
                if records > 0 {
                    events.push(FleetEvent::Lost { records });
                }
                self.untold.extend(self.held.telling.drain(..));
            }
            match committed {
                Committed::Nothing { .. } => self.wait_for_room(),
                _ => self.committed(),
            }
        }
        if self.is_stuck && !is_planted("edge_step_on_full_disk") {
            // What asked for nothing durable waits for nothing, and an acknowledgement that could not cut comes again.
            self.courier.acknowledge_heard();
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        if self.courier.is_syncing() {
            self.courier.hold_heard();
            self.syncing = held;
            return self.take_synced(cx, events);
        }
        self.courier.acknowledge_heard();
        self.release(held, events);
        Ok(())
    }

    /// Lets out what waited for a sync, if that has ended.
    pub(super) fn take_synced(
        &mut self,
        cx: &Context<'_>,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        if self.courier.take_synced(cx)? {
            let held = std::mem::take(&mut self.syncing);
            self.release(held, events);
        }
        Ok(())
    }

    /// Ends of orders whose records are durable need not be told again after a restart; those whose records were given up
    /// are told again as soon as there is room. Both go with what is committed anyway.
    fn tell_ends(
        &mut self,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        for (at, key) in std::mem::take(&mut self.told) {
            let told = Input::Command(OrderCommand::Told { key });
            self.step_orders(at, now, Some(told), events)?;
        }
        self.spool_told(events)?;
        if self.is_full {
            return Ok(());
        }
        for (at, key) in std::mem::take(&mut self.untold) {
            let (Some(hosted), Some(spool)) = (self.hosted.get(at), self.courier.spool(at)) else {
                continue;
            };
            if !spool.has_room(Stream::Orders) {
                self.untold.insert((at, key));
                continue;
            }
            let end = hosted.device.orders().and_then(|it| it.standing(&key));
            let Some(end) = end else {
                let device = hosted.device.id().to_string();
                let order = key.to_string();
                self.refuse(at, EdgeError::EndForgotten { device, order }, events)?;
                continue;
            };
            if self.append(at, now, Payload::Order(end), events)? {
                self.held.telling.push((at, key));
            } else {
                self.untold.insert((at, key));
            }
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.state.next_turn();
        self.state_bytes_max = 0;
        (self.is_full, self.is_stuck) = (false, false);
    }

    /// What orders and twins wrote goes with the next commit that succeeds, and what waits for it waits on.
    fn wait_for_room(&mut self) {
        self.is_full = true;
        self.is_stuck = !self.state.batch().is_empty();
        self.compact_state();
    }

    /// Of what waits for room or a sync only the last write of each key is kept, so that it does not grow with the time it
    /// waits.
    fn compact_state(&mut self) {
        let events = self.state.events().len() + self.state.events_after_commit().len();
        if self.state.batch().bytes() <= self.state_bytes_max && events < EVENTS_KEPT {
            return;
        }
        let mut last: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for operation in self.state.batch().operations() {
            match operation {
                Operation::Put { key, value } => last.insert(key.to_vec(), Some(value.to_vec())),
                Operation::Delete { key } => last.insert(key.to_vec(), None),
                other => unreachable!("orders and twins put and delete, not {other:?}"),
            };
        }
        self.state.next_turn();
        let mut effects = self.state.effects();
        for (key, value) in last {
            match value {
                Some(value) => effects.batch().put(&key, &value),
                None => effects.batch().delete(&key),
            }
        }
        // Not with each turn again.
        self.state_bytes_max = 2 * self.state.batch().bytes();
    }
}
