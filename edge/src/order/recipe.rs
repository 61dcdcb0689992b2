//! What an order is made by.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use peaberry_core::wire::{self, Reader, WireError};

use crate::error::EdgeError;
use crate::name::{NAME_BYTES_MAX, Name};

use super::state::flag;

/// How many steps a recipe may have.
pub const STEPS_MAX: usize = 64;

/// How many resources one step may use.
pub const NEEDS_MAX: usize = 16;

/// What to do, step by step. It is data: the crate knows nothing of what the steps do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What orders call it.
    pub name: Name,
    /// In their order; at least one, at most [`STEPS_MAX`].
    pub steps: Vec<Step>,
}

/// What can be ordered. Cheap to clone: the devices of one make share theirs, which makes four recipes of a machine cost 16
/// bytes instead of three kilobytes.
///
/// ```
/// use peaberry_edge::coffee;
/// use peaberry_edge::order::Recipes;
///
/// let recipes = Recipes::from(coffee::recipes());
/// let of_another_device = recipes.clone();
/// assert_eq!(of_another_device.get(&"latte".parse().unwrap()).unwrap().steps.len(), 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipes(Arc<[Recipe]>);

impl Recipes {
    /// The recipe called `name`.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Recipe> {
        self.0.iter().find(|recipe| recipe.name == *name)
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Recipe> {
        self.0.iter()
    }

    /// Checks each recipe.
    ///
    /// # Errors
    ///
    /// What [`Recipe::check`] says, or [`EdgeError::Malformed`] for two recipes of one name.
    pub fn check(&self) -> Result<(), EdgeError> {
        let mut names = BTreeSet::new();
        for recipe in self.iter() {
            recipe.check()?;
            if !names.insert(&recipe.name) {
                let reason = format!("{} is there twice", recipe.name);
                return Err(EdgeError::malformed("recipe", reason));
            }
        }
        Ok(())
    }
}

impl From<Vec<Recipe>> for Recipes {
    fn from(recipes: Vec<Recipe>) -> Self {
        Self(recipes.into())
    }
}

impl<const N: usize> From<[Recipe; N]> for Recipes {
    fn from(recipes: [Recipe; N]) -> Self {
        Self(recipes.into())
    }
}

impl FromIterator<Recipe> for Recipes {
    fn from_iter<I: IntoIterator<Item = Recipe>>(recipes: I) -> Self {
        Self(recipes.into_iter().collect())
    }
}

/// One step of a [`Recipe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is called in progress reports.
    pub name: Name,
    /// What the machine must be able to do.
    pub capability: Name,
    /// What it uses up, at most [`NEEDS_MAX`]; reserved with the order, used when the step begins.
    pub needs: Vec<Need>,
    /// When it has failed if it is not done by then; whole milliseconds, at least one.
    pub duration_max: Duration,
    /// What becomes of it when power was lost in it.
    pub after_crash: AfterCrash,
    /// Whether a cancellation ends it at once.
    pub interruption: Interruption,
}

/// An amount of a resource, in whatever unit the application counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which resource.
    pub resource: Name,
    /// How much.
    pub units: u64,
}

/// What becomes of a step in which power was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterCrash {
    /// It begins again: doing it twice is harmless.
    Repeat,
    /// It may have been done, or half done: the order is given up as
    /// [unknown](crate::payload::OrderPhase::Unknown).
    GiveUp,
}

/// When a cancellation takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interruption {
    /// At once: the step is aborted.
    AtOnce,
    /// When the step is done.
    AfterStep,
}

impl Recipe {
    /// Checks its limits.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Malformed`] for a recipe without steps or a step without time, [`EdgeError::TooLong`] for too many steps
    /// or needs.
    pub fn check(&self) -> Result<(), EdgeError> {
        let limit = |what, length: usize, length_max: usize| {
            if length <= length_max {
                return Ok(());
            }
            Err(EdgeError::TooLong {
                what,
                length: length as u64,
                length_max: length_max as u64,
            })
        };
        limit("steps of a recipe", self.steps.len(), STEPS_MAX)?;
        if self.steps.is_empty() {
            return Err(EdgeError::malformed("recipe", "it has no steps"));
        }
        for step in &self.steps {
            limit("needs of a step", step.needs.len(), NEEDS_MAX)?;
            if step.duration_max.as_millis() == 0 {
                let reason = format!("step {} has no time to be done in", step.name);
                return Err(EdgeError::malformed("recipe", reason));
            }
        }
        Ok(())
    }
}

pub(super) fn put_name(out: &mut Vec<u8>, name: &Name) {
    wire::put_bytes(out, name.as_str().as_bytes());
}

pub(super) fn read_name(reader: &mut Reader<'_>) -> Result<Name, WireError> {
    let bytes = reader.bytes(NAME_BYTES_MAX)?;
    let name = std::str::from_utf8(bytes).ok().map(Name::new);
    // Names are written by us alone: another is as good as cut off.
    name.and_then(Result::ok).ok_or(WireError::Truncated)
}

impl Step {
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        put_name(out, &self.name);
        put_name(out, &self.capability);
        wire::put_varint(out, self.needs.len() as u64);
        for need in &self.needs {
            put_name(out, &need.resource);
            wire::put_varint(out, need.units);
        }
        let duration = u64::try_from(self.duration_max.as_millis()).unwrap_or(u64::MAX);
        wire::put_varint(out, duration);
        out.push(u8::from(self.after_crash == AfterCrash::Repeat));
        out.push(u8::from(self.interruption == Interruption::AtOnce));
    }

    pub(super) fn decode_from(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let (name, capability) = (read_name(reader)?, read_name(reader)?);
        let count = reader.length(NEEDS_MAX)?;
        let need = |_| {
            Ok(Need {
                resource: read_name(reader)?,
                units: reader.varint()?,
            })
        };
        let needs = (0..count).map(need).collect::<Result<_, WireError>>()?;
        Ok(Self {
            name,
            capability,
            needs,
            duration_max: Duration::from_millis(reader.varint()?),
            after_crash: if flag(reader)? {
                AfterCrash::Repeat
            } else {
                AfterCrash::GiveUp
            },
            interruption: if flag(reader)? {
                Interruption::AtOnce
            } else {
                Interruption::AfterStep
            },
        })
    }
}
