//! How the first order goes on, from step to step and to its end.

use peaberry_core::mutant::is_planted;
use peaberry_core::{Effects, Instant};

use crate::name::Name;
use crate::payload::{OrderPhase, OrderUpdate, Text};

use super::Orders;
use super::command::{OrderEvent, StepRun};
use super::recipe::{AfterCrash, Step};
use super::state::{Ended, Open, State, Stored};

impl Orders {
    /// Begins the next step of the first order, if none is under way. Orders whose step finds less than it was promised,
    /// because somebody measured less since, fail.
    pub(super) fn begin(&mut self, now: Instant, fx: &mut Effects<'_, OrderEvent>) {
        while let Some(&number) = self.open.front() {
            let Some((step, false)) = self.next_step(number) else {
                return;
            };
            let Some(resource) = self.stock.missing(&step) else {
                self.begin_step(number, step, now, fx);
                return;
            };
            let reason = Text::new(&format!("{resource} ran out before {}", step.name));
            self.end(number, OrderPhase::Failed, Some(reason), fx);
        }
    }

    /// The step of an open order that is next, and whether it has begun.
    fn next_step(&self, number: u64) -> Option<(Step, bool)> {
        let State::Open(open) = &self.orders.get(&number)?.state else {
            return None;
        };
        Some((open.step()?.clone(), open.attempt > 0))
    }

    fn begin_step(
        &mut self,
        number: u64,
        step: Step,
        now: Instant,
        fx: &mut Effects<'_, OrderEvent>,
    ) {
        self.stock.take(&step);
        for need in &step.needs {
            let held = self.stock.held(&need.resource);
            self.journal.put_stock(fx.batch(), &need.resource, held);
        }
        self.announce(number, step, now, fx);
    }

    /// Writes down that a step begins, and has it begin once that is durable.
    fn announce(
        &mut self,
        number: u64,
        step: Step,
        now: Instant,
        fx: &mut Effects<'_, OrderEvent>,
    ) {
        let Some(order) = self.orders.get_mut(&number) else {
            return;
        };
        let State::Open(open) = &mut order.state else {
            return;
        };
        open.attempt = open.attempt.saturating_add(1);
        let run = open.run(number);
        self.deadline = Some(now + step.duration_max);
        self.journal.put_order(fx.batch(), number, order);
        fx.emit_after_commit(OrderEvent::Update(order.standing()));
        let key = order.key.clone();
        let begin = OrderEvent::Begin { run, key, step };
        if is_planted("edge_step_before_journal") {
            fx.emit(begin);
        } else {
            fx.emit_after_commit(begin);
        }
    }

    /// What a crash left: ends that may not have been told, and a step that may be half done.
    pub(super) fn recover(&mut self, now: Instant, fx: &mut Effects<'_, OrderEvent>) {
        for order in self.orders.values() {
            if matches!(order.state, State::Ended(Ended { is_told: false, .. })) {
                fx.emit_after_commit(OrderEvent::Update(order.standing()));
            }
        }
        let Some(&number) = self.open.front() else {
            return;
        };
        let Some((step, true)) = self.next_step(number) else {
            return;
        };
        let (is_cancelled, is_last) = self.is_leaving(number);
        if is_cancelled && !is_last {
            // Done or not, no step follows.
            self.end(number, OrderPhase::Cancelled, None, fx);
        } else if step.after_crash == AfterCrash::Repeat || is_planted("edge_step_repeated") {
            // Also where a last step was cancelled: it may be done, and would have been finished without the crash.
            self.announce(number, step, now, fx);
        } else {
            let reason = Text::new(&format!("power was lost during {}", step.name));
            self.end(number, OrderPhase::Unknown, Some(reason), fx);
        }
    }

    /// Whether the order was cancelled, and whether its present step is the last.
    fn is_leaving(&self, number: u64) -> (bool, bool) {
        match self.orders.get(&number).map(|order| &order.state) {
            Some(State::Open(open)) => (open.is_cancelled, open.is_at_last()),
            _ => (false, false),
        }
    }

    /// The step of the order that is under way.
    pub(super) fn run_of(&self, number: u64) -> Option<StepRun> {
        match &self.orders.get(&number)?.state {
            State::Open(open) if open.attempt > 0 => Some(open.run(number)),
            _ => None,
        }
    }

    /// The order of `run`, if that is what is under way.
    fn present(&self, run: StepRun) -> Option<(&Stored, &Open)> {
        if self.run_of(run.order) != Some(run) {
            return None;
        }
        let order = self.orders.get(&run.order)?;
        match &order.state {
            State::Open(open) => Some((order, open)),
            State::Ended(_) => None,
        }
    }

    pub(super) fn progress(&self, run: StepRun, permille: u16, fx: &mut Effects<'_, OrderEvent>) {
        if let Some((order, open)) = self.present(run) {
            let update = OrderUpdate {
                permille: Some(permille.min(1000)),
                ..order.at_step(open, OrderPhase::Progress)
            };
            fx.emit(OrderEvent::Update(update));
        }
    }

    pub(super) fn done(
        &mut self,
        run: StepRun,
        quality_permille: u16,
        fx: &mut Effects<'_, OrderEvent>,
    ) {
        let Some((order, open)) = self.present(run) else {
            return;
        };
        let quality_permille = quality_permille.min(1000);
        let update = OrderUpdate {
            quality_permille: Some(quality_permille),
            ..order.at_step(open, OrderPhase::Done)
        };
        fx.emit_after_commit(OrderEvent::Update(update));
        self.deadline = None;
        let Some(order) = self.orders.get_mut(&run.order) else {
            return;
        };
        let State::Open(open) = &mut order.state else {
            return;
        };
        open.quality_permille = open.quality_permille.min(quality_permille);
        if open.is_at_last() {
            self.end(run.order, OrderPhase::Completed, None, fx);
            return;
        }
        open.attempt = 0;
        open.index += 1;
        if open.is_cancelled {
            self.end(run.order, OrderPhase::Cancelled, None, fx);
        } else {
            self.journal.put_order(fx.batch(), run.order, order);
        }
    }

    pub(super) fn fail(&mut self, run: StepRun, reason: Text, fx: &mut Effects<'_, OrderEvent>) {
        if self.present(run).is_some() {
            self.end(run.order, OrderPhase::Failed, Some(reason), fx);
        }
    }

    /// The step under way has had its time.
    pub(super) fn overdue(&mut self, fx: &mut Effects<'_, OrderEvent>) {
        let run = self.open.front().and_then(|&number| self.run_of(number));
        if let Some(run) = run {
            fx.emit(OrderEvent::Abort { run });
            self.fail(run, Text::new("the step took too long"), fx);
        }
    }

    pub(super) fn told(&mut self, key: &Name, fx: &mut Effects<'_, OrderEvent>) {
        let Some(&number) = self.numbers.get(key) else {
            return;
        };
        if let Some(order) = self.orders.get_mut(&number)
            && let State::Ended(ended) = &mut order.state
            && !ended.is_told
        {
            ended.is_told = true;
            self.journal.put_order(fx.batch(), number, order);
        }
    }

    /// Ends an order: releases what it has not used, and remembers it.
    pub(super) fn end(
        &mut self,
        number: u64,
        phase: OrderPhase,
        reason: Option<Text>,
        fx: &mut Effects<'_, OrderEvent>,
    ) {
        let Some(order) = self.orders.get_mut(&number) else {
            return;
        };
        let State::Open(open) = &order.state else {
            return;
        };
        self.stock.release(open.unbegun());
        if self.open.front() == Some(&number) {
            self.deadline = None;
        }
        self.open.retain(|open| *open != number);
        let quality_permille = (phase == OrderPhase::Completed).then_some(open.quality_permille);
        let was_begun = open.was_begun();
        order.state = State::Ended(Ended {
            phase,
            was_begun,
            quality_permille,
            reason,
            is_told: false,
        });
        self.journal.put_order(fx.batch(), number, order);
        let notification = order.notification(phase);
        fx.emit_after_commit(OrderEvent::Update(order.standing()));
        fx.emit_after_commit(OrderEvent::Notify(notification));
        self.remembered.push(number, was_begun);
        self.forget_surplus(fx);
    }

    fn forget_surplus(&mut self, fx: &mut Effects<'_, OrderEvent>) {
        let highest = self.next_number - 1;
        loop {
            let is_told = |number: u64| {
                let state = self.orders.get(&number).map(|order| &order.state);
                matches!(state, Some(State::Ended(Ended { is_told: true, .. })))
            };
            let surplus = self
                .remembered
                .pop_surplus(&self.settings, highest, is_told);
            let Some(number) = surplus else {
                return;
            };
            self.journal.forget_order(fx.batch(), number);
            if let Some(order) = self.orders.remove(&number) {
                self.numbers.remove(&order.key);
            }
        }
    }
}
