use crate::error::EdgeError;
use crate::name::Name;

use super::cbor::{put_map, read_map, required};
use super::{TEXT_BYTES_MAX, Text, Wire};

const WHAT: &str = "order update";

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum OrderPhase {
    /// What it needs is reserved; it waits for its turn.
    Accepted,
    /// A step has begun.
    Began,
    /// A step goes on.
    Progress,
    /// A step is done.
    Done,
    /// The whole order is done.
    Completed,
    /// It was not accepted; nothing was used.
    Rejected,
    /// It was cancelled by whoever placed it.
    Cancelled,
    /// A step failed.
    Failed,
    /// The machine was stopped for safety.
    Stopped,
    /// The machine lost power in a step that must not be begun twice: nobody can tell whether it was done.
    Unknown,
}

impl OrderPhase {
    const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Began,
        Self::Progress,
        Self::Done,
        Self::Completed,
        Self::Rejected,
        Self::Cancelled,
        Self::Failed,
        Self::Stopped,
        Self::Unknown,
    ];

    /// Its number on the wire and on disk; it never changes.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Began => 1,
            Self::Progress => 2,
            Self::Done => 3,
            Self::Completed => 4,
            Self::Rejected => 5,
            Self::Cancelled => 6,
            Self::Failed => 7,
            Self::Stopped => 8,
            Self::Unknown => 9,
        }
    }

    /// The phase with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|phase| u64::from(phase.number()) == number)
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Accepted | Self::Began | Self::Progress | Self::Done
        )
    }
}

/// An order went on, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct OrderUpdate {
    /// The order's idempotency key.
    pub key: Name,
    /// How far it is.
    pub phase: OrderPhase,
    /// The step concerned, counted from 0, and its name in the recipe.
    pub step: Option<(u16, Name)>,
    /// How much of the step is done, in thousandths.
    pub permille: Option<u16>,
    /// How well it came out, in thousandths; of a completed order.
    pub quality_permille: Option<u16>,
    /// Why it did not come to a good end.
    pub reason: Option<Text>,
}

impl OrderUpdate {
    /// An update that says no more than the phase.
    #[must_use]
    pub const fn new(key: Name, phase: OrderPhase) -> Self {
        Self {
            key,
            phase,
            step: None,
            permille: None,
            quality_permille: None,
            reason: None,
        }
    }
}

impl Wire for OrderUpdate {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.text(0, self.key.as_str());
            fields.uint(1, u64::from(self.phase.number()));
            if let Some((index, name)) = &self.step {
                fields.uint(2, u64::from(*index));
                fields.text(3, name.as_str());
            }
            fields.uint_if(4, self.permille.map(u64::from));
            fields.uint_if(5, self.quality_permille.map(u64::from));
            fields.text_if(6, self.reason.as_ref().map(Text::as_str));
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (mut key, mut phase, mut index, mut name) = (None, None, None, None);
        let (mut permille, mut quality_permille, mut reason) = (None, None, None);
        read_map(WHAT, bytes, |field, source| {
            match field {
                0 => key = Some(source.name()?),
                1 => phase = OrderPhase::from_number(source.uint()?),
                2 => index = Some(source.small::<u16>()?),
                3 => name = Some(source.name()?),
                4 => permille = Some(source.small::<u16>()?),
                5 => quality_permille = Some(source.small::<u16>()?),
                6 => reason = Some(Text::new(source.text(TEXT_BYTES_MAX)?)),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let thousandths = [permille, quality_permille];
        if thousandths.iter().flatten().any(|&part| part > 1000) {
            return Err(EdgeError::malformed(WHAT, "more than 1000 thousandths"));
        }
        Ok(Self {
            key: required(WHAT, "a key", key)?,
            phase: required(WHAT, "a known phase", phase)?,
            step: index.zip(name),
            permille,
            quality_permille,
            reason,
        })
    }
}
