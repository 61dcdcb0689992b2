//! The orders of one machine, as a protocol.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use peaberry_core::mutant::is_planted;
use peaberry_core::{Effects, Input, Instant, Protocol, Storage, Subspace};

use crate::error::EdgeError;
use crate::name::Name;
use crate::payload::{OrderUpdate, Text};

use super::command::{OrderCommand, OrderEvent, OrdersSettings};
use super::journal::Journal;
use super::recipe::Recipes;
use super::remembered::Remembered;
use super::state::{State, Stored};
use super::stock::Stock;

/// The orders of one machine: one is carried out at a time, the others wait in the order in which they came.
///
/// An order is accepted only if its recipe is known, the machine can do each step, and what all steps need is there and not
/// promised to another; that much is then reserved for it. Rejected orders are not remembered: the same key may come again
/// when there is water. Ended orders are, [so many](OrdersSettings::remembered_max); a key that comes again is answered
/// with how its order stands, and one that comes with another recipe is rejected.
///
/// The quality of a completed order is that of its worst step.
///
/// # A crash amid an order
///
/// Acceptance, the beginning and end of each step, cancellation, the stop and the end are durable before anything acts on
/// them; what lies between two of these is lost with the power. So at the next start the journal says one of three things:
///
/// - The step had not begun. The machine was never told to begin it, and is told now.
/// - The step had begun. It may be half done or done: nobody can tell, since a report of its end that was not yet durable is
///   lost. A step that may be repeated ([`AfterCrash::Repeat`](super::AfterCrash::Repeat)) begins again, as another
///   attempt. Else the order is given up as [unknown](crate::payload::OrderPhase::Unknown): nothing is begun twice, and
///   nobody is told that it was done, or that it was not. Somebody must look.
/// - The order had ended. It is told again, until it is known to be [told](OrderCommand::Told).
///
/// What a step needs is booked as used when it begins, whatever becomes of it: better to count a portion that is still
/// there as gone than to promise one that is gone.
#[derive(Debug)]
pub struct Orders {
    pub(super) journal: Journal,
    pub(super) settings: OrdersSettings,
    pub(super) recipes: Recipes,
    /// Ascending.
    pub(super) capabilities: Box<[Name]>,
    pub(super) stock: Stock,
    pub(super) orders: BTreeMap<u64, Stored>,
    pub(super) numbers: BTreeMap<Name, u64>,
    /// Open orders in the order in which they came; the first is carried out.
    pub(super) open: VecDeque<u64>,
    pub(super) remembered: Remembered,
    pub(super) next_number: u64,
    pub(super) stop: Option<Text>,
    pub(super) deadline: Option<Instant>,
    has_begun: bool,
}

impl Orders {
    /// The orders stored in `space`, for a machine that can do `capabilities` and knows `recipes`.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Storage`], [`EdgeError::Stored`] or [`EdgeError::Version`] if they cannot be read; what
    /// [`Recipes::check`] says. Nothing changed.
    pub fn open(
        storage: &dyn Storage,
        space: &Subspace,
        recipes: impl Into<Recipes>,
        capabilities: impl IntoIterator<Item = Name>,
        settings: OrdersSettings,
    ) -> Result<Self, EdgeError> {
        let recipes = recipes.into();
        recipes.check()?;
        let journal = Journal::new(space);
        let mut this = Self {
            settings,
            recipes,
            capabilities: capabilities.into_iter().collect(),
            stock: Stock::default(),
            orders: BTreeMap::new(),
            numbers: BTreeMap::new(),
            open: VecDeque::new(),
            remembered: Remembered::default(),
            next_number: 1,
            stop: journal.stop(storage)?,
            deadline: None,
            has_begun: false,
            journal,
        };
        for (resource, units) in this.journal.stock(storage)? {
            this.stock.set(resource, units);
        }
        for (number, order) in this.journal.orders(storage)? {
            this.take_stored(number, order);
        }
        Ok(this)
    }

    /// What the machine can do, as it was said.
    #[must_use]
    pub fn capabilities(&self) -> &[Name] {
        &self.capabilities
    }

    /// How the order with this key stands; `None` if it is not known, or no longer.
    #[must_use]
    pub fn standing(&self, key: &Name) -> Option<OrderUpdate> {
        let order = self.orders.get(self.numbers.get(key)?)?;
        Some(order.standing())
    }

    /// How much there is of a resource that no order was promised.
    #[must_use]
    pub fn free(&self, resource: &Name) -> u64 {
        self.stock.free(resource)
    }

    /// Why the machine takes no orders, if it does not.
    #[must_use]
    pub const fn stopped(&self) -> Option<&Text> {
        self.stop.as_ref()
    }

    /// How many orders wait or are carried out.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    fn take_stored(&mut self, number: u64, order: Stored) {
        self.next_number = self.next_number.max(number.saturating_add(1));
        match &order.state {
            State::Open(open) if !open.was_begun() && is_planted("edge_open_order_forgotten") => {
                return;
            }
            State::Open(open) => {
                self.stock.promise(open.unbegun());
                self.open.push_back(number);
            }
            State::Ended(_) if is_planted("edge_order_key_forgotten") => return,
            State::Ended(ended) => self.remembered.push(number, ended.was_begun),
        }
        self.numbers.insert(order.key.clone(), number);
        self.orders.insert(number, order);
    }

    fn command(&mut self, command: OrderCommand, fx: &mut Effects<'_, OrderEvent>) {
        match command {
            OrderCommand::Place { key, recipe } => self.place(key, recipe, fx),
            OrderCommand::Cancel { key } => self.cancel(&key, fx),
            OrderCommand::SafeStop { reason } => self.safe_stop(reason, fx),
            OrderCommand::Resume => {
                self.stop = None;
                self.journal.put_stop(fx.batch(), None);
                fx.sync();
            }
            OrderCommand::Stock { resource, units } => {
                self.journal.put_stock(fx.batch(), &resource, units);
                self.stock.set(resource, units);
            }
            OrderCommand::Progress { run, permille } => self.progress(run, permille, fx),
            OrderCommand::Done {
                run,
                quality_permille,
            } => self.done(run, quality_permille, fx),
            OrderCommand::Failed { run, reason } => self.fail(run, reason, fx),
            OrderCommand::Told { key } => self.told(&key, fx),
        }
    }

    /// Before anything else of a start: an input must not meet what the crash left.
    fn recover_once(&mut self, now: Instant, fx: &mut Effects<'_, OrderEvent>) {
        if !self.has_begun {
            self.has_begun = true;
            self.recover(now, fx);
        }
    }
}

impl Protocol for Orders {
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = Infallible;

    fn step(
        &mut self,
        now: Instant,
        input: Input<OrderCommand>,
        fx: &mut Effects<'_, OrderEvent>,
    ) -> Result<(), Infallible> {
        self.recover_once(now, fx);
        match input {
            Input::Command(command) => self.command(command, fx),
            Input::Timeout if self.deadline.is_some_and(|deadline| deadline <= now) => {
                self.overdue(fx);
            }
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, now: Instant, fx: &mut Effects<'_, OrderEvent>) -> Result<(), Infallible> {
        self.recover_once(now, fx);
        self.begin(now, fx);
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
