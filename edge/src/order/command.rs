//! What orders are told, and what they want done.

use crate::name::Name;
use crate::payload::{Action, Notification, OrderUpdate, Text};

use super::recipe::Step;

/// What bounds the orders of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrdersSettings {
    /// How many orders may wait or be carried out; further ones are rejected. 16 by default.
    pub open_max: usize,
    /// How many orders of which a step had begun are remembered by their keys when they have ended, at least 1; of those that
    /// were given up before, an eighth as many besides. Where they are too many, the oldest whose end is told is forgotten
    /// first. A retry that comes after as many others have ended is taken for a new order, so who places orders must give up
    /// retrying before. 4096 by default, a few weeks of a busy machine; about 150 bytes each.
    pub remembered_max: usize,
}

impl Default for OrdersSettings {
    fn default() -> Self {
        Self {
            open_max: 16,
            remembered_max: 4096,
        }
    }
}

/// One beginning of one step of one order, unique for the life of the machine. Reports about another than the present one are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepRun {
    /// The order's number on this machine.
    pub order: u64,
    /// The step, counted from 0.
    pub step: u16,
    /// Which beginning of it, from 1; more than 1 only after a crash.
    pub attempt: u32,
}

/// What [`Orders`](crate::order::Orders) is asked for or told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrderCommand {
    /// Carry out a recipe once, however often this comes with the key.
    Place {
        /// Names the order for ever.
        key: Name,
        /// What to make.
        recipe: Name,
    },
    /// Give up an order.
    Cancel {
        /// Its key.
        key: Name,
    },
    /// Stop everything now, and take no orders until [`Resume`](Self::Resume), also after a restart.
    SafeStop {
        /// Why.
        reason: Text,
    },
    /// Take orders again.
    Resume,
    /// There is so much of a resource, promised units included: somebody refilled or measured it.
    Stock {
        /// Which.
        resource: Name,
        /// How much.
        units: u64,
    },
    /// The machine: the step goes on.
    Progress {
        /// Which.
        run: StepRun,
        /// Thousandths done.
        permille: u16,
    },
    /// The machine: the step is done.
    Done {
        /// Which.
        run: StepRun,
        /// How well, in thousandths.
        quality_permille: u16,
    },
    /// The machine: the step failed.
    Failed {
        /// Which.
        run: StepRun,
        /// Why.
        reason: Text,
    },
    /// The end of this order is known to whoever must know it (its record is in the spool): it need not be told again after
    /// a restart.
    Told {
        /// Its key.
        key: Name,
    },
}

/// What [`Orders`](crate::order::Orders) wants done or told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrderEvent {
    /// The machine is to begin this step. That it begins is durable.
    Begin {
        /// To be named in reports.
        run: StepRun,
        /// The order.
        key: Name,
        /// What to do.
        step: Step,
    },
    /// The machine is to end this step now and be safe. Comes at once, before anything is durable.
    Abort {
        /// Which.
        run: StepRun,
    },
    /// An order went on or ended. An end is told again after a restart, unless it was [told](OrderCommand::Told).
    Update(OrderUpdate),
    /// Something to tell a person.
    Notify(Notification),
}

impl OrderCommand {
    /// What a [`Command`](crate::payload::Command)'s action asks of the orders; `None` if it is not about them.
    #[must_use]
    pub fn from_action(action: Action) -> Option<Self> {
        match action {
            Action::PlaceOrder { key, recipe } => Some(Self::Place { key, recipe }),
            Action::CancelOrder { key } => Some(Self::Cancel { key }),
            Action::SafeStop { reason } => Some(Self::SafeStop { reason }),
            Action::Resume => Some(Self::Resume),
            Action::Ping | Action::Custom { .. } => None,
        }
    }
}
