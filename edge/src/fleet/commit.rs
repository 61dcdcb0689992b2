//! What a fleet makes durable, and what it does where there is no room.

use std::collections::{BTreeMap, BTreeSet};

use peaberry_core::mutant::is_planted;
use peaberry_core::{Durability, Input, Instant, Operation, StorageError};

use crate::error::EdgeError;
use crate::order::OrderCommand;
use crate::payload::Payload;
use crate::topic::Stream;
use crate::uplink::Uplink;

use super::{Fleet, FleetEvent};

impl<U: Uplink, A: Clone> Fleet<U, A> {
    pub(super) fn commit(
        &mut self,
        now: Instant,
        events: &mut Vec<FleetEvent<A>>,
    ) -> Result<(), EdgeError> {
        if !self.staged.is_empty() {
            self.tell_ends(now, events)?;
            match self.try_commit() {
                Ok(()) => self.committed(),
                Err(StorageError::Full { .. }) => self.make_room(events)?,
                Err(source) => return Err(not_committed(source)),
            }
        }
        if self.is_stuck && !is_planted("edge_step_on_full_disk") {
            return Ok(());
        }
        events.append(&mut self.held);
        for token in self.tokens.drain(..) {
            self.uplink.acknowledge(token);
        }
        Ok(())
    }

    fn try_commit(&mut self) -> Result<(), StorageError> {
        let has_state = !self.state.batch().is_empty();
        let must_sync = |at: &usize| self.hosted.get(*at).is_some_and(|it| it.spool.must_sync());
        let durability = if has_state || self.state.is_synced() || self.staged.iter().any(must_sync)
        {
            Durability::Synced
        } else {
            Durability::Buffered
        };
        for operation in self.state.batch().operations() {
            match written(operation) {
                (key, Some(value)) => self.records.put(key, value),
                (key, None) => self.records.delete(key),
            }
        }
        let outcome = self.storage.commit(&self.records, durability);
        self.records.clear();
        outcome
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
            let Some(hosted) = self.hosted.get(at) else {
                continue;
            };
            if !hosted.spool.has_room(Stream::Orders) {
                self.untold.insert((at, key));
                continue;
            }
            let end = hosted.device.orders().and_then(|it| it.standing(&key));
            if let Some(end) = end {
                if self.append(at, now, Payload::Order(end), events)? {
                    self.telling.push((at, key));
                } else {
                    self.untold.insert((at, key));
                }
            }
        }
        Ok(())
    }

    fn committed(&mut self) {
        self.state.next_turn();
        (self.is_full, self.is_stuck) = (false, false);
        self.told.append(&mut self.telling);
        for at in std::mem::take(&mut self.staged) {
            if let Some(hosted) = self.hosted.get_mut(at) {
                hosted.spool.committed();
            }
            self.touched(at);
        }
    }

    /// The disk is full: see the module.
    fn make_room(&mut self, events: &mut Vec<FleetEvent<A>>) -> Result<(), EdgeError> {
        let losers = self.staged.clone();
        let records = self.give_up();
        events.push(FleetEvent::Lost { records });
        self.relieve(losers)?;
        match self.try_commit() {
            Ok(()) => {
                self.committed();
                Ok(())
            }
            Err(StorageError::Full { .. }) => {
                self.give_up();
                self.wait_for_room(events);
                Ok(())
            }
            Err(source) => Err(not_committed(source)),
        }
    }

    /// Nothing that spools have staged is kept. Answers how many records that were.
    fn give_up(&mut self) -> u64 {
        self.untold.extend(self.telling.drain(..));
        let mut lost = 0;
        for at in std::mem::take(&mut self.staged) {
            if let Some(hosted) = self.hosted.get_mut(at) {
                lost += hosted.spool.aborted();
            }
            self.schedule(at);
        }
        lost
    }

    /// Spools give up old records: those of devices that have just lost new ones or, where these have none, the fullest.
    fn relieve(&mut self, losers: BTreeSet<usize>) -> Result<(), EdgeError> {
        let storage = self.storage.as_ref();
        for at in losers {
            if let Some(hosted) = self.hosted.get_mut(at)
                && hosted.spool.relieve(storage, &mut self.records)?
            {
                self.staged.insert(at);
            }
        }
        if self.staged.is_empty() {
            let hosted = self.hosted.iter_mut().enumerate();
            let fullest = hosted
                .filter(|(_, it)| it.spool.can_give_up())
                .max_by_key(|(_, it)| it.spool.status().bytes);
            if let Some((at, hosted)) = fullest {
                hosted.spool.relieve(storage, &mut self.records)?;
                self.staged.insert(at);
            }
        }
        Ok(())
    }

    /// What orders and twins wrote goes with the next commit that succeeds, and what waits for it waits on.
    fn wait_for_room(&mut self, events: &mut Vec<FleetEvent<A>>) {
        self.is_full = true;
        self.is_stuck = !self.state.batch().is_empty();
        if self.is_stuck {
            self.staged.extend(self.hosted.first().map(|_| 0));
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
            let (key, value) = written(operation);
            last.insert(key.to_vec(), value.map(<[u8]>::to_vec));
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

/// A key and its new value, `None` if it goes.
fn written(operation: Operation<'_>) -> (&[u8], Option<&[u8]>) {
    match operation {
        Operation::Put { key, value } => (key, Some(value)),
        Operation::Delete { key } => (key, None),
        other => unreachable!("orders and twins put and delete, not {other:?}"),
    }
}

const fn waits_for_state<A>(event: &FleetEvent<A>) -> bool {
    matches!(event, FleetEvent::Order { .. } | FleetEvent::Delta { .. })
}

const fn not_committed(source: StorageError) -> EdgeError {
    EdgeError::Storage {
        doing: "make what the devices said durable",
        source,
    }
}
