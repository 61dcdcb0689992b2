use crate::error::EdgeError;
use crate::identity::{BootEpoch, Position};
use crate::name::Name;
use crate::topic::Stream;

use super::cbor::{Source, put_map, read_map, required};
use super::{TEXT_BYTES_MAX, Text, Wire};

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Level {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody must look at it now.
    Critical,
}

impl Level {
    const fn number(self) -> u64 {
        match self {
            Self::Info => 0,
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }

    fn read(what: &'static str, source: &mut Source<'_>) -> Result<Self, EdgeError> {
        let number = source.uint()?;
        [Self::Info, Self::Warning, Self::Critical]
            .into_iter()
            .find(|level| level.number() == number)
            .ok_or_else(|| EdgeError::malformed(what, format!("level {number} is unknown")))
    }
}

/// A rule fired, or fell silent again.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Alert {
    /// Which rule.
    pub rule: Name,
    /// On which metric.
    pub metric: Name,
    /// How much it matters.
    pub level: Level,
    /// Whether it fired; else it fell silent.
    pub is_raised: bool,
    /// The value that decided it.
    pub value: f64,
}

const ALERT: &str = "alert";

impl Wire for Alert {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.text(0, self.rule.as_str());
            fields.text(1, self.metric.as_str());
            fields.uint(2, self.level.number());
            fields.uint(3, u64::from(self.is_raised));
            fields.float(4, self.value);
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (mut rule, mut metric, mut level) = (None, None, None);
        let (mut is_raised, mut value) = (None, None);
        read_map(ALERT, bytes, |key, source| {
            match key {
                0 => rule = Some(source.name()?),
                1 => metric = Some(source.name()?),
                2 => level = Some(Level::read(ALERT, source)?),
                3 => is_raised = Some(source.uint()? != 0),
                4 => value = Some(source.float()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self {
            rule: required(ALERT, "a rule", rule)?,
            metric: required(ALERT, "a metric", metric)?,
            level: required(ALERT, "a level", level)?,
            is_raised: required(ALERT, "whether it is raised", is_raised)?,
            value: required(ALERT, "a value", value)?,
        })
    }
}

/// Something to tell a person.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Notification {
    /// How much it matters.
    pub level: Level,
    /// What to tell.
    pub text: Text,
    /// The key of the order it is about, if it is about one.
    pub order: Option<Name>,
}

const NOTIFICATION: &str = "notification";

impl Wire for Notification {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.uint(0, self.level.number());
            fields.text(1, self.text.as_str());
            fields.text_if(2, self.order.as_ref().map(Name::as_str));
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (mut level, mut text, mut order) = (None, None, None);
        read_map(NOTIFICATION, bytes, |key, source| {
            match key {
                0 => level = Some(Level::read(NOTIFICATION, source)?),
                1 => text = Some(Text::new(source.text(TEXT_BYTES_MAX)?)),
                2 => order = Some(source.name()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self {
            level: required(NOTIFICATION, "a level", level)?,
            text: required(NOTIFICATION, "a text", text)?,
            order,
        })
    }
}

/// Why records will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum GapReason {
    /// The spool was full and the oldest gave way.
    Dropped,
    /// The spool was full and kept a part of them.
    Decimated,
    /// The spool was full and did not take them.
    Rejected,
    /// Their bytes were damaged.
    Damaged,
    /// They were longer than what the broker takes.
    TooLong,
    /// The broker refused them for so long that they were given up.
    Refused,
    /// For a reason that this build does not know, of this number; passed on as it came.
    Unknown(u64),
}

impl GapReason {
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Dropped => 0,
            Self::Decimated => 1,
            Self::Rejected => 2,
            Self::Damaged => 3,
            Self::TooLong => 4,
            Self::Refused => 5,
            Self::Unknown(number) => number,
        }
    }

    pub(crate) fn from_number(number: u64) -> Self {
        [
            Self::Dropped,
            Self::Decimated,
            Self::Rejected,
            Self::Damaged,
            Self::TooLong,
            Self::Refused,
        ]
        .into_iter()
        .find(|reason| reason.number() == number)
        .unwrap_or(Self::Unknown(number))
    }
}

/// Records that will never come, so that a reader can tell loss from silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Gap {
    /// Of which stream.
    pub stream: Stream,
    /// The first of them.
    pub first: Position,
    /// The last; not before the first.
    pub last: Position,
    /// How many they are, at least one; less than the range when others between them were kept.
    pub count: u64,
    /// Why.
    pub reason: GapReason,
}

const GAP: &str = "gap record";

impl Wire for Gap {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_map(out, |fields| {
            fields.uint(0, u64::from(self.stream.number()));
            fields.uint(1, self.first.sequence);
            fields.uint(2, self.last.sequence);
            fields.uint(3, self.count);
            fields.uint(4, self.reason.number());
            fields.uint(5, self.first.boot.get());
            fields.count(6, self.last.boot.get() - self.first.boot.get());
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (mut stream, mut first, mut last) = (None, None, None);
        let (mut count, mut reason) = (None, None);
        let (mut boot, mut boots_later) = (None, 0);
        read_map(GAP, bytes, |key, source| {
            match key {
                0 => stream = Stream::from_number(source.uint()?),
                1 => first = Some(source.uint()?),
                2 => last = Some(source.uint()?),
                3 => count = Some(source.uint()?),
                4 => reason = Some(GapReason::from_number(source.uint()?)),
                5 => boot = BootEpoch::new(source.uint()?),
                6 => boots_later = source.uint()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let boot = required(GAP, "a boot epoch above zero", boot)?;
        let last_boot = boot.get().checked_add(boots_later).and_then(BootEpoch::new);
        let last_boot = required(GAP, "a boot epoch of 64 bits", last_boot)?;
        let first = required(GAP, "its first sequence", first)?;
        let last = required(GAP, "its last sequence", last)?;
        let gap = Self {
            stream: required(GAP, "a known stream", stream)?,
            first: Position::new(boot, first),
            last: Position::new(last_boot, last),
            count: required(GAP, "a count", count)?,
            reason: required(GAP, "a reason", reason)?,
        };
        if gap.is_consistent() {
            Ok(gap)
        } else {
            Err(EdgeError::malformed(GAP, "its range and count do not fit"))
        }
    }
}

impl Gap {
    fn is_consistent(&self) -> bool {
        let within_one_start = self.first.boot == self.last.boot;
        let fits = |range: u64| self.count - 1 <= range;
        self.first.sequence > 0
            && self.last.sequence > 0
            && self.count > 0
            && self.first <= self.last
            && (!within_one_start || fits(self.last.sequence - self.first.sequence))
    }

    /// Takes another gap of the same stream for the same reason into this one.
    pub(crate) fn widen(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count = self.count.saturating_add(other.count);
    }
}
