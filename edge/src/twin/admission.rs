//! What a side takes from others, and what nobody may write to it.

use peaberry_crdt::{Delta, Interval};

use super::value::Section;
use super::{Document, Entries, Side, TWIN_ENTRIES_MAX, Twin, WHAT, device_replica};
use crate::error::EdgeError;

impl Twin {
    /// Whether the delta keeps to who may write what, and how much.
    pub(super) fn check(&self, delta: &Delta<Entries>) -> Result<(), EdgeError> {
        let own = self.writer.replica();
        let claimed = delta.events().filter(|run| run.replica() == own);
        self.check_own(claimed.map(Interval::last).max().unwrap_or(0))?;
        let device = device_replica();
        for (key, register) in delta.store().iter() {
            let foreign = register.stamps().find(|(dot, _)| dot.replica() != device);
            if let (Section::Reported, Some((dot, _))) = (key.section, foreign) {
                let writer = dot.replica();
                let reason = format!("{writer} reports {}, which only the device may", key.name);
                return Err(EdgeError::malformed(WHAT, reason));
            }
        }
        let held = self.document.get().value();
        let added = delta
            .store()
            .iter()
            .filter(|(key, _)| held.get(key).is_none());
        check_count(held.iter().len() + added.count())
    }

    /// Only this side makes its events, and it commits them before they leave: another that knows more has invented some, or
    /// this side was restored from a backup. Taken, they would end this side's own writing.
    pub(super) fn check_own(&self, claimed: u64) -> Result<(), EdgeError> {
        let own = self.writer.replica();
        let made = self.document.get().vector().get(own);
        if claimed <= made {
            return Ok(());
        }
        let whose = match self.side {
            Side::Device => "this device",
            Side::Service(_) => "this service",
        };
        let reason = format!(
            "it claims event {claimed} of replica {own}, which is {whose}, and made {made}"
        );
        Err(EdgeError::malformed(WHAT, reason))
    }

    /// What the device has reported it reports for good: nobody takes that back.
    pub(super) fn check_reports(&self, after: &Document) -> Result<(), EdgeError> {
        let mut held = self.document.get().value().iter();
        let gone = held
            .find(|(key, _)| key.section == Section::Reported && after.value().get(key).is_none());
        match gone {
            None => Ok(()),
            Some((key, _)) => {
                let reason = format!("it unsays {}, which the device reports", key.name);
                Err(EdgeError::malformed(WHAT, reason))
            }
        }
    }
}

pub(super) fn check_count(count: usize) -> Result<(), EdgeError> {
    if count <= TWIN_ENTRIES_MAX {
        return Ok(());
    }
    Err(EdgeError::TooLong {
        what: "twin entries",
        length: count as u64,
        length_max: TWIN_ENTRIES_MAX as u64,
    })
}
