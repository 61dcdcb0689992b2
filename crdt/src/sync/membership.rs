use alloc::collections::BTreeMap;
use core::fmt;
use core::num::NonZeroU64;

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

/// Which members hold the document, in one epoch.
///
/// Decided by an operator, or by agreement elsewhere; never by a clock. The sync spreads it: a higher epoch replaces a
/// lower one wherever it is heard. Two different memberships of one epoch are an error that names who said so.
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
        next.epoch += 1;
        next.members.entry(member).or_insert(next.epoch);
        next
    }

    /// The next epoch, in which `member` does not take part.
    #[must_use]
    pub fn without(&self, member: Member) -> Self {
        let mut next = self.clone();
        next.epoch += 1;
        next.members.remove(&member);
        next
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
        for _ in 0..input.count()? {
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
        let is_sound = epoch > 0 && members.values().all(|joined| (1..=epoch).contains(joined));
        is_sound.then_some(Self { epoch, members })
    }
}
