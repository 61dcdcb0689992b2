//! Under which ids a device writes its twin: another for each start.
//!
//! A store that goes back to a backup, or is replaced by an empty one, no longer knows which events were made on it. So no
//! start goes on under the id of an earlier one: it takes one that is above all ids of the device that it knows, salted, when
//! it writes for the first time. Events of ids that it has forgotten are history like anybody's.
//!
//! The device and its services keep the highest ids and give up the others, once what still holds of these has been
//! written anew under the highest.

use peaberry_core::mutant::is_planted;
use peaberry_crdt::{Delta, Edit, LwwRegister, ReplicaId, WriteError, Writer};

use super::value::{Section, TwinKey, TwinValue};
use super::{Document, Entries, Side, Twin, WHAT, date, not_written};
use crate::error::EdgeError;

/// So many ids of a device are kept, the present one included: those of the last starts that wrote something.
pub(super) const DEVICE_IDS_MAX: usize = 4;

/// The upper 32 bits of a device's id. Its number is in the next 40, its salt in the last 56.
const MARK: u128 = 0xde71_ce1d;
const NUMBER_MAX: u128 = (1 << 40) - 1;
const SALT_BITS: u32 = 56;

/// How far an id may lead those known of its device: there must always be a higher one.
const NUMBER_JUMP_MAX: u128 = 1 << 16;

/// Whether it is an id of a device.
pub(super) const fn is_device(id: ReplicaId) -> bool {
    id.get() >> 96 == MARK
}

const fn number(id: ReplicaId) -> u128 {
    (id.get() >> SALT_BITS) & NUMBER_MAX
}

/// The ids of the device that a document knows, in ascending order.
fn known(document: &Document) -> impl Iterator<Item = ReplicaId> + '_ {
    let ids = document.vector().iter().map(|(id, _)| id);
    ids.filter(|id| is_device(*id))
}

/// One above all that the document knows.
pub(super) fn next(document: &Document, salt: u64) -> ReplicaId {
    let last = known(document).last().map_or(0, number);
    let (number, salt) = match is_planted("edge_twin_id_kept") {
        true => (1, 0),
        false => (last + 1, u128::from(salt) & ((1 << SALT_BITS) - 1)),
    };
    let id = MARK << 96 | number.min(NUMBER_MAX) << SALT_BITS | salt;
    ReplicaId::new(id).expect("the mark is not zero")
}

/// Those that are to be given up, lest there be too many.
fn beyond(document: &Document, own: Option<ReplicaId>) -> Vec<ReplicaId> {
    let mut ids: Vec<_> = known(document).collect();
    ids.extend(own.filter(|own| !ids.contains(own)));
    ids.truncate(ids.len().saturating_sub(DEVICE_IDS_MAX));
    ids
}

/// Gives up what is too much.
pub(super) fn keep_highest(document: &mut Document) {
    for id in beyond(document, None) {
        document.disown(id);
    }
}

/// Whether it was given up.
pub(super) fn is_given_up(document: &Document, id: ReplicaId) -> bool {
    let is_low = known(document).next().is_some_and(|lowest| id < lowest);
    is_device(id) && is_low && known(document).count() >= DEVICE_IDS_MAX
}

/// Writes anew what still holds of the writers that are given up, with the stamps that it has.
fn write_anew(
    document: &mut Document,
    writer: &mut Writer,
    given_up: &[ReplicaId],
) -> Result<(), WriteError> {
    let is_theirs = |register: &LwwRegister<TwinValue>| {
        let mut stamps = register.stamps();
        stamps.any(|(dot, _)| given_up.contains(&dot.replica()))
    };
    let entries = document.value().iter();
    let theirs: Vec<_> = entries
        .filter(|(_, register)| is_theirs(register))
        .filter_map(|(key, register)| {
            let stamp = register.stamps().map(|(_, stamp)| stamp).max()?;
            Some((key.clone(), stamp, register.value()?.clone()))
        })
        .collect();
    for (key, stamp, value) in theirs {
        document.write(writer, |entries, _| Ok(entries.remove(&key)))?;
        document.write(writer, |entries, mint| {
            entries.update(key, |register| register.write(mint, stamp, value))
        })?;
    }
    Ok(())
}

impl Twin {
    /// Carries out an edit under the id of this start, and answers what the other side is to be sent: what the edit says or,
    /// where ids were given up, all that is new.
    pub(super) fn edit(
        &mut self,
        edit: impl FnOnce(&mut Document, &mut Writer) -> Result<Delta<Entries>, WriteError>,
    ) -> Result<Delta<Entries>, EdgeError> {
        self.claim_id();
        let document = self.document.get();
        let before = document.vector().clone();
        let given_up = match self.side {
            Side::Device(_) => beyond(document, Some(self.writer.replica())),
            Side::Service(_) => Vec::new(),
        };
        let document = self.document.get_mut();
        write_anew(document, &mut self.writer, &given_up).map_err(not_written)?;
        let delta = edit(document, &mut self.writer).map_err(not_written)?;
        if given_up.is_empty() {
            return Ok(delta);
        }
        for id in given_up {
            document.disown(id);
        }
        Ok(document.delta_since(&before))
    }

    /// No id of the device is above the one that it writes under.
    fn claim_id(&mut self) {
        let Side::Device(salt) = self.side else {
            return;
        };
        let document = self.document.get();
        let own = self.writer.replica();
        if known(document).last().is_some_and(|highest| highest > own) {
            let next = next(document, salt);
            let minted = document.vector().get(next);
            self.writer = Writer::new(next, minted, u64::MAX);
        }
    }

    /// Whether a delta tells of events of the device that are not known here, under an id that is none of this side's.
    pub(super) fn has_news_of_device(&self, delta: &Delta<Entries>) -> bool {
        let known = self.document.get().vector();
        let mut events = delta.events();
        events.any(|run| is_device(run.replica()) && run.last() > known.get(run.replica()))
    }

    /// Whether the ids of the device in a delta are such as a device may have by now.
    pub(super) fn check_ids(&self, delta: &Delta<Entries>) -> Result<(), EdgeError> {
        let highest = known(self.document.get()).last().map_or(0, number);
        let mut ids = delta.events().map(|run| run.replica());
        let far = ids.find(|id| is_device(*id) && number(*id) > highest + NUMBER_JUMP_MAX);
        let Some(id) = far else {
            return Ok(());
        };
        let reason = format!("{id} is too far ahead of the ids that its device is known by");
        Err(EdgeError::malformed(WHAT, reason))
    }

    /// The device has heard of events of its own that it does not remember: it stands by what it reports, and by nothing else.
    /// What is desired it takes. Answers what the other side lacks then.
    pub(super) fn stand_by(
        &mut self,
        before: &Document,
        wall_ms: Option<u64>,
    ) -> Result<Option<Delta<Entries>>, EdgeError> {
        let known = self.document.get().vector().clone();
        let reported = |document: &Document| -> Vec<TwinKey> {
            let keys = document.value().iter().map(|(key, _)| key);
            let keys = keys.filter(|key| key.section == Section::Reported);
            keys.cloned().collect()
        };
        let mut keys = reported(before);
        keys.extend(reported(self.document.get()));
        keys.sort_unstable();
        keys.dedup();
        let value = |document: &Document, key: &TwinKey| {
            let register = document.value().get(key);
            register.and_then(LwwRegister::value).cloned()
        };
        for key in keys {
            let own = value(before, &key);
            if own == value(self.document.get(), &key) {
                continue;
            }
            let stamp = self.clock.now(date::own(wall_ms));
            self.edit(|document, writer| match own {
                Some(own) => document.write(writer, |entries, mint| {
                    entries.update(key, |register| register.write(mint, stamp, own))
                }),
                None => document.write(writer, |entries, _| Ok(entries.remove(&key))),
            })?;
        }
        let given_up = beyond(self.document.get(), None);
        if !given_up.is_empty() {
            // A write of any kind gives them up.
            self.edit(|document, writer| document.write(writer, |_, _| Ok(Edit::nothing())))?;
        }
        let document = self.document.get();
        let lacking = document.delta_since(&known);
        Ok((!lacking.is_empty()).then_some(lacking))
    }
}
