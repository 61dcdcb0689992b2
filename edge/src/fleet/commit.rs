//! What a fleet makes durable, and what it does where there is no room.

use std::collections::BTreeMap;

use peaberry_core::mutant::is_planted;
use peaberry_core::{Input, Instant, Operation};

use crate::courier::Committed;
use crate::error::EdgeError;
use crate::order::OrderCommand;
use crate::payload::Payload;
use crate::topic::Stream;
use crate::uplink::Uplink;

use super::{Fleet, FleetEvent};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    /// Makes durable what spools, orders and twins have written, and lets out what waited for it.
    pub(super) fn commit(
        &mut self,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
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
                self.untold.extend(self.telling.drain(..));
            }
            match committed {
                Committed::Nothing { .. } => self.wait_for_room(events),
                _ => self.committed(),
            }
        }
        if self.is_stuck && !is_planted("edge_step_on_full_disk") {
            return Ok(());
        }
        events.append(&mut self.held);
        self.courier.acknowledge_heard();
        for (uplink, token) in self.tokens.drain(..) {
            self.courier.acknowledge(uplink, token);
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
                self.telling.push((at, key));
            } else {
                self.untold.insert((at, key));
            }
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.state.next_turn();
        (self.is_full, self.is_stuck) = (false, false);
        self.told.append(&mut self.telling);
    }

    /// What orders and twins wrote goes with the next commit that succeeds, and what waits for it waits on.
    fn wait_for_room(&mut self, events: &mut Vec<FleetEvent<A>>) {
        self.is_full = true;
        self.is_stuck = !self.state.batch().is_empty();
        if self.is_stuck {
            self.compact_state();
            let held = std::mem::take(&mut self.held);
            let (waits, others) = held.into_iter().partition(waits_for_state);
            self.held = waits;
            events.extend::<Vec<_>>(others);
        }
    }

    /// Of what waits for room only the last write of each key is kept, so that it does not grow with the time it waits.
    fn compact_state(&mut self) {
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
    }
}

const fn waits_for_state<A>(event: &FleetEvent<A>) -> bool {
    matches!(event, FleetEvent::Order { .. } | FleetEvent::Delta { .. })
}
