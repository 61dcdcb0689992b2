//! The stamps of a twin, and what becomes of those that nobody could judge.

use bytes::Bytes;
use peaberry_core::Batch;
use peaberry_crdt::wire::Message;
use peaberry_crdt::{Hlc, Limits};

use super::value::TwinKey;
use super::{DRIFT_MS_MAX, Twin, not_written, observe};
use crate::error::EdgeError;

/// No stamp is later, whoever wrote it: the year 2200, in milliseconds since 1970. Whoever does not know the time takes
/// everything up to here. (Nothing is ever near the end of what a stamp can say, where the next one could not exceed it.)
pub const WALL_MS_MAX: u64 = 7_258_118_400_000;

/// What is taken from others at this time, or at no known time.
pub(super) fn limits(wall_ms: Option<u64>) -> Limits {
    let latest_ms = wall_ms.map_or(WALL_MS_MAX, |wall_ms| wall_ms.saturating_add(DRIFT_MS_MAX));
    Limits {
        wall_ms: latest_ms.min(WALL_MS_MAX),
        drift_ms_max: 0,
        ..Limits::NONE
    }
}

/// The time that a write of one's own is given: without one, it is later than all that was seen, and no more.
pub(super) fn own(wall_ms: Option<u64>) -> u64 {
    wall_ms.unwrap_or(0).min(WALL_MS_MAX)
}

impl Twin {
    /// The wall time has been learned, or corrected: entries that were taken while nobody could judge, and lie further in the
    /// future than [`DRIFT_MS_MAX`], keep their values and are dated anew. Returns the message for the other side, `None`
    /// if there were none; send it once `batch` is durable.
    ///
    /// Until then the other side, which knows the time, refuses what this one passes on; and whoever desires something of
    /// such an entry would lose to it until clocks catch up.
    ///
    /// # Errors
    ///
    /// [`EdgeError::TwinWrite`] if all of this side's events are used up. What was dated before is staged.
    pub fn learn_time(
        &mut self,
        wall_ms: u64,
        batch: &mut Batch,
    ) -> Result<Option<Bytes>, EdgeError> {
        let latest_ms = limits(Some(wall_ms)).wall_ms;
        let document = self.document.get();
        let entries = document.value().iter();
        let future: Vec<TwinKey> = entries
            .filter(|(_, register)| register.stamps().any(|(_, at)| at.wall_ms > latest_ms))
            .map(|(key, _)| key.clone())
            .collect();
        if future.is_empty() {
            return Ok(None);
        }
        let before = document.vector().clone();
        self.clock = Hlc::new(DRIFT_MS_MAX);
        for (key, register) in self.document.get().value().iter() {
            if future.binary_search(key).is_err() {
                observe(&mut self.clock, register);
            }
        }
        for key in future {
            let dated = self.date(key, wall_ms);
            self.save(batch);
            dated?;
        }
        let delta = self.document.get().delta_since(&before);
        Ok(Some(delta.to_bytes().into()))
    }

    /// An entry is taken out and put in again: a register forgets its stamps only so.
    fn date(&mut self, key: TwinKey, wall_ms: u64) -> Result<(), EdgeError> {
        let Some(value) = self.document.get().value().get(&key) else {
            return Ok(());
        };
        let value = value.value().cloned();
        let document = self.document.get_mut();
        document
            .write(&mut self.writer, |entries, _| Ok(entries.remove(&key)))
            .map_err(not_written)?;
        let Some(value) = value else { return Ok(()) };
        let stamp = self.clock.now(own(Some(wall_ms)));
        document
            .write(&mut self.writer, |entries, mint| {
                entries.update(key, |register| register.write(mint, stamp, value))
            })
            .map_err(not_written)?;
        Ok(())
    }
}
