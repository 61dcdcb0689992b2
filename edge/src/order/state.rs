//! An order as it is held and stored.

use peaberry_core::wire::{self, Reader, WireError};

use crate::name::Name;
use crate::payload::{Level, Notification, OrderPhase, OrderUpdate, TEXT_BYTES_MAX, Text};

use super::command::StepRun;
use super::recipe::{STEPS_MAX, Step, put_name, read_name};

/// An order, under its number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) key: Name,
    pub(super) recipe: Name,
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Open(Open),
    Ended(Ended),
}

/// An order that is not at its end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Open {
    /// The recipe's steps when the order was placed: a changed recipe changes no order.
    pub(super) steps: Vec<Step>,
    /// The step that is next or has begun.
    pub(super) index: u16,
    /// How often that step has begun; 0 if it has not.
    pub(super) attempt: u32,
    pub(super) is_cancelled: bool,
    /// The worst of the steps done.
    pub(super) quality_permille: u16,
}

/// An order at its end, kept so that its key is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) phase: OrderPhase,
    pub(super) quality_permille: Option<u16>,
    pub(super) reason: Option<Text>,
    /// Whether any of its steps had begun.
    pub(super) was_begun: bool,
    /// Whether the application has said that it knows.
    pub(super) is_told: bool,
}

impl Open {
    pub(super) const fn new(steps: Vec<Step>) -> Self {
        Self {
            steps,
            index: 0,
            attempt: 0,
            is_cancelled: false,
            quality_permille: 1000,
        }
    }

    pub(super) fn step(&self) -> Option<&Step> {
        self.steps.get(usize::from(self.index))
    }

    /// The steps that have used nothing yet.
    pub(super) fn unbegun(&self) -> &[Step] {
        let from = usize::from(self.index) + usize::from(self.attempt > 0);
        self.steps.get(from..).unwrap_or_default()
    }

    /// Whether any step has begun.
    pub(super) const fn was_begun(&self) -> bool {
        self.index > 0 || self.attempt > 0
    }

    pub(super) const fn is_at_last(&self) -> bool {
        self.index as usize + 1 == self.steps.len()
    }

    pub(super) const fn run(&self, order: u64) -> StepRun {
        StepRun {
            order,
            step: self.index,
            attempt: self.attempt,
        }
    }
}

impl Stored {
    pub(super) fn standing(&self) -> OrderUpdate {
        match &self.state {
            State::Open(open) if open.attempt > 0 => self.at_step(open, OrderPhase::Began),
            State::Open(open) if open.index > 0 => self.at_step(open, OrderPhase::Accepted),
            State::Open(_) => OrderUpdate::new(self.key.clone(), OrderPhase::Accepted),
            State::Ended(ended) => OrderUpdate {
                quality_permille: ended.quality_permille,
                reason: ended.reason.clone(),
                ..OrderUpdate::new(self.key.clone(), ended.phase)
            },
        }
    }

    pub(super) fn at_step(&self, open: &Open, phase: OrderPhase) -> OrderUpdate {
        OrderUpdate {
            step: open.step().map(|step| (open.index, step.name.clone())),
            ..OrderUpdate::new(self.key.clone(), phase)
        }
    }

    pub(super) fn notification(&self, phase: OrderPhase) -> Notification {
        let (level, word) = match phase {
            OrderPhase::Completed => (Level::Info, "is ready"),
            OrderPhase::Cancelled => (Level::Info, "was cancelled"),
            OrderPhase::Stopped => (Level::Warning, "was stopped"),
            OrderPhase::Unknown => (Level::Warning, "may or may not be done: have a look"),
            _ => (Level::Warning, "failed"),
        };
        Notification {
            level,
            text: Text::new(&format!("{} {word}", self.recipe)),
            order: Some(self.key.clone()),
        }
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        put_name(out, &self.key);
        put_name(out, &self.recipe);
        match &self.state {
            State::Open(open) => {
                out.push(0);
                open.encode_into(out);
            }
            State::Ended(ended) => {
                out.push(1);
                ended.encode_into(out);
            }
        }
    }

    pub(super) fn decode_from(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            key: read_name(reader)?,
            recipe: read_name(reader)?,
            state: if flag(reader)? {
                State::Ended(Ended::decode_from(reader)?)
            } else {
                State::Open(Open::decode_from(reader)?)
            },
        })
    }
}

impl Open {
    fn encode_into(&self, out: &mut Vec<u8>) {
        wire::put_varint(out, u64::from(self.index));
        wire::put_varint(out, u64::from(self.attempt));
        out.push(u8::from(self.is_cancelled));
        wire::put_varint(out, u64::from(self.quality_permille));
        wire::put_varint(out, self.steps.len() as u64);
        for step in &self.steps {
            step.encode_into(out);
        }
    }

    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let index = small(reader)?;
        let attempt = small(reader)?;
        let is_cancelled = flag(reader)?;
        let quality_permille = permille(reader)?;
        let count = reader.length(STEPS_MAX)?;
        let steps: Vec<_> = (0..count)
            .map(|_| Step::decode_from(reader))
            .collect::<Result<_, _>>()?;
        if usize::from(index) >= steps.len() {
            return Err(WireError::Truncated);
        }
        Ok(Self {
            steps,
            index,
            attempt,
            is_cancelled,
            quality_permille,
        })
    }
}

impl Ended {
    fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.phase.number());
        out.push(u8::from(self.is_told) | u8::from(!self.was_begun) << 1);
        put_optional(out, self.quality_permille, |out, quality| {
            wire::put_varint(out, u64::from(quality));
        });
        put_optional(out, self.reason.as_ref(), |out, reason| {
            wire::put_bytes(out, reason.as_str().as_bytes());
        });
    }

    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let phase = OrderPhase::from_number(u64::from(reader.u8()?));
        let phase = phase.filter(|phase| phase.is_final());
        let marks = reader.u8()?;
        if marks > 3 {
            return Err(WireError::Varint);
        }
        Ok(Self {
            phase: phase.ok_or(WireError::Varint)?,
            is_told: marks & 1 > 0,
            was_begun: marks & 2 == 0,
            quality_permille: optional(reader, permille)?,
            reason: optional(reader, |reader| {
                let bytes = reader.bytes(TEXT_BYTES_MAX)?;
                let text = std::str::from_utf8(bytes).map_err(|_not_text| WireError::Truncated)?;
                Ok(Text::new(text))
            })?,
        })
    }
}

/// Written by us alone: any byte but these two is damage.
pub(super) fn flag(reader: &mut Reader<'_>) -> Result<bool, WireError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Varint),
    }
}

fn permille(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    Some(small(reader)?)
        .filter(|part| *part <= 1000)
        .ok_or(WireError::Varint)
}

fn small<T: TryFrom<u64>>(reader: &mut Reader<'_>) -> Result<T, WireError> {
    let value = reader.varint()?;
    T::try_from(value).ok().ok_or(WireError::Varint)
}

fn put_optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn optional<T>(
    reader: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    if flag(reader)? {
        read(reader).map(Some)
    } else {
        Ok(None)
    }
}
