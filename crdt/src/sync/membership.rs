use alloc::collections::BTreeMap;
use core::fmt;
use core::num::NonZeroU64;

use thiserror::Error;

use crate::wire::{DecodeError, Decoder, Encoder};

/// Who takes part in a sync: a machine, whatever replica ids it writes under over time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(NonZeroU64);

impl Member {
    /// The member of this number, or `None` for zero.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

/// How many members there may be. Each of them says all of them to each other when they change.
pub const MEMBERS_MAX: usize = 1024;

/// The highest epoch that is taken from anybody: behind it there is always one more.
const EPOCH_MAX: u64 = u64::MAX - 1;

/// A membership that nobody would take. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// More than [`MEMBERS_MAX`] members. Let the others be served by members, each of which has a document's replica.
    #[error("{given} members are over the limit of {MEMBERS_MAX}")]
    TooMany {
        /// How many.
        given: usize,
    },
    /// Epochs are used up: a member must have lied about one. Begin a new document.
    #[error("there is no epoch behind {EPOCH_MAX}; begin a new document")]
    NoMoreEpochs,
}

/// Which members hold the document, in one epoch.
///
/// Decided by an operator, or by agreement elsewhere; never by a clock. The sync spreads it: a higher epoch replaces a
/// lower one wherever a member of the lower one says so. Two different memberships of one epoch are an error that names
/// who said so.
///
/// So tell a change to one who was a member before it and still is. Who was away while everybody whom it knew was
/// replaced believes nobody any more, and must be told by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    epoch: u64,
    /// Each with the epoch in which it joined: a member that was evicted and joined again starts with an empty state.
    members: BTreeMap<Member, u64>,
}

impl Membership {
    /// The first epoch.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        let members = members.into_iter().map(|member| (member, 1)).collect();
        Self { epoch: 1, members }
    }

    /// The next epoch, in which `member` takes part. One that does already stays who it is.
    #[must_use]
    pub fn with(&self, member: Member) -> Self {
        let mut next = self.clone();
        next.epoch = next.epoch.saturating_add(1);
        next.members.entry(member).or_insert(next.epoch);
        next
    }

    /// The next epoch, in which `member` does not take part.
    #[must_use]
    pub fn without(&self, member: Member) -> Self {
        let mut next = self.clone();
        next.epoch = next.epoch.saturating_add(1);
        next.members.remove(&member);
        next
    }

    /// Whether others take it: whoever is given one looks.
    ///
    /// # Errors
    ///
    /// [`MembershipError`].
    pub fn check(&self) -> Result<(), MembershipError> {
        if self.members.len() > MEMBERS_MAX {
            let given = self.members.len();
            return Err(MembershipError::TooMany { given });
        }
        if self.epoch > EPOCH_MAX {
            return Err(MembershipError::NoMoreEpochs);
        }
        Ok(())
    }

    /// Counts changes, from 1.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The epoch in which `member` joined, or `None` if it does not take part.
    #[must_use]
    pub fn joined(&self, member: Member) -> Option<u64> {
        self.members.get(&member).copied()
    }

    /// Each member with the epoch in which it joined, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Member, u64)> + '_ {
        self.members
            .iter()
            .map(|(member, joined)| (*member, *joined))
    }

    /// Its epoch, how many members there are, and each with the epoch in which it joined, in ascending order.
    pub(crate) fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.epoch);
        out.varint(self.members.len() as u64);
        for (member, joined) in self.iter() {
            out.varint(member.get());
            out.varint(joined);
        }
    }

    pub(crate) fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("membership");
        let epoch = input.varint()?;
        let mut members = BTreeMap::new();
        let count = input.count()?;
        if count > MEMBERS_MAX {
            return Err(DecodeError::Malformed("more members than there may be"));
        }
        for _ in 0..count {
            let member = Member::new(input.varint()?).ok_or(malformed)?;
            let is_next = members
                .last_key_value()
                .is_none_or(|(last, _)| *last < member);
            members.insert(member, input.varint()?);
            if !is_next {
                return Err(malformed);
            }
        }
        Self::from_parts(epoch, members).ok_or(malformed)
    }

    /// `None` for one that no sequence of changes leads to.
    fn from_parts(epoch: u64, members: BTreeMap<Member, u64>) -> Option<Self> {
        let is_sound = (1..=EPOCH_MAX).contains(&epoch)
            && members.values().all(|joined| (1..=epoch).contains(joined));
        is_sound.then_some(Self { epoch, members })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{EPOCH_MAX, MEMBERS_MAX, Member, Membership, MembershipError};
    use crate::wire::{Budget, Decoder, Encoder, IdTable};

    fn of(epoch: u64, count: u64) -> Membership {
        let members = (1..=count).filter_map(Member::new);
        Membership {
            epoch,
            ..Membership::new(members)
        }
    }

    fn reads(membership: &Membership) -> bool {
        let (table, mut bytes) = (IdTable::new(), Vec::new());
        let mut out = Encoder::new(&table);
        membership.encode(&mut out);
        out.finish(&mut bytes);
        let mut input = Decoder::new(&bytes, &table, Budget::default()).unwrap();
        Membership::decode(&mut input).is_ok_and(|read| read == *membership)
    }

    /// Whoever says that there are more, or that it is the last of all epochs, is not believed, nor is it configured.
    #[test]
    fn members_and_epochs_have_an_end_and_nothing_is_stored_that_is_not_read_again() {
        let most = MEMBERS_MAX as u64;
        for good in [of(1, 0), of(1, most), of(EPOCH_MAX, 3)] {
            assert_eq!((good.check(), reads(&good)), (Ok(()), true));
        }
        for bad in [of(1, most + 1), of(EPOCH_MAX + 1, 3)] {
            assert_eq!((bad.check().is_err(), reads(&bad)), (true, false));
        }
        let mut last = of(EPOCH_MAX, 3);
        for _ in 0..2 {
            last = last.without(Member::new(1).unwrap());
            assert_eq!(last.check(), Err(MembershipError::NoMoreEpochs));
        }
    }
}
