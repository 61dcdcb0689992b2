//! Which orders are taken, and how they are given up.

use peaberry_core::Effects;

use crate::name::Name;
use crate::payload::{Level, Notification, OrderPhase, OrderUpdate, Text};

use super::Orders;
use super::command::OrderEvent;
use super::recipe::{Interruption, Step};
use super::state::{Open, State, Stored};

impl Orders {
    pub(super) fn place(&mut self, key: Name, recipe: Name, fx: &mut Effects<'_, OrderEvent>) {
        if let Some(order) = self.numbers.get(&key).and_then(|n| self.orders.get(n)) {
            let update = if order.recipe == recipe {
                order.standing()
            } else {
                rejected(key, &format!("the key was used for {}", order.recipe))
            };
            // After the commit: what is answered may have been written in this turn.
            fx.emit_after_commit(OrderEvent::Update(update));
            return;
        }
        let steps = match self.admit(&recipe) {
            Ok(steps) => steps,
            Err(reason) => {
                fx.emit(OrderEvent::Update(rejected(key, &reason)));
                return;
            }
        };
        let number = self.next_number;
        self.next_number += 1;
        self.stock.promise(&steps);
        self.numbers.insert(key.clone(), number);
        self.open.push_back(number);
        let order = Stored {
            key: key.clone(),
            recipe,
            state: State::Open(Open::new(steps)),
        };
        self.journal.put_order(fx.batch(), number, &order);
        self.orders.insert(number, order);
        fx.emit_after_commit(OrderEvent::Update(OrderUpdate::new(
            key,
            OrderPhase::Accepted,
        )));
    }

    /// The steps of a recipe that can be carried out now, or why it cannot.
    fn admit(&self, recipe: &Name) -> Result<Vec<Step>, String> {
        if let Some(reason) = &self.stop {
            return Err(format!("the machine is stopped: {reason}"));
        }
        let Some(recipe) = self.recipes.get(recipe) else {
            return Err(format!("recipe {recipe} is unknown"));
        };
        let lacking = recipe
            .steps
            .iter()
            .find(|step| !self.capabilities.contains(&step.capability));
        if let Some(step) = lacking {
            return Err(format!("the machine cannot {}", step.capability));
        }
        if let Some(resource) = self.stock.lacks(&recipe.steps) {
            return Err(format!("not enough {resource}: refill it and order again"));
        }
        if self.open.len() >= self.settings.open_max {
            return Err(format!("{} orders wait already", self.open.len()));
        }
        Ok(recipe.steps.clone())
    }

    pub(super) fn cancel(&mut self, key: &Name, fx: &mut Effects<'_, OrderEvent>) {
        let Some(&number) = self.numbers.get(key) else {
            let reason = "there is no such order";
            fx.emit(OrderEvent::Update(rejected(key.clone(), reason)));
            return;
        };
        let run = self.run_of(number);
        let Some(order) = self.orders.get_mut(&number) else {
            return;
        };
        let State::Open(open) = &mut order.state else {
            fx.emit_after_commit(OrderEvent::Update(order.standing()));
            return;
        };
        let interruption = open.step().map(|step| step.interruption);
        if run.is_some() && interruption == Some(Interruption::AfterStep) {
            open.is_cancelled = true;
            self.journal.put_order(fx.batch(), number, order);
            // What was asked for must not be forgotten at the next loss of power.
            fx.sync();
            return;
        }
        if let Some(run) = run {
            fx.emit(OrderEvent::Abort { run });
        }
        self.end(number, OrderPhase::Cancelled, None, fx);
    }

    pub(super) fn safe_stop(&mut self, reason: Text, fx: &mut Effects<'_, OrderEvent>) {
        if let Some(run) = self.open.front().and_then(|&number| self.run_of(number)) {
            fx.emit(OrderEvent::Abort { run });
        }
        self.journal.put_stop(fx.batch(), Some(&reason));
        while let Some(&number) = self.open.front() {
            self.end(number, OrderPhase::Stopped, Some(reason.clone()), fx);
        }
        fx.emit_after_commit(OrderEvent::Notify(Notification {
            level: Level::Critical,
            text: Text::new(&format!("stopped: {reason}")),
            order: None,
        }));
        self.stop = Some(reason);
    }
}

fn rejected(key: Name, reason: &str) -> OrderUpdate {
    OrderUpdate {
        reason: Some(Text::new(reason)),
        ..OrderUpdate::new(key, OrderPhase::Rejected)
    }
}
