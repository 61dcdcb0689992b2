//! Bugs planted by wrapping.

use std::sync::Arc;

use bytes::Bytes;
use peaberry_consensus::{Apply, Restore, RestoreError, StateMachine};
use peaberry_core::Clock;
use peaberry_core::simulation::Boot;

/// A state machine that looks at the calendar while it applies, if that bug is planted.
pub(super) struct Mutable<S> {
    machine: S,
    calendar: Option<Arc<dyn Clock>>,
}

impl<S> Mutable<S> {
    pub(super) fn new(machine: S, boot: &Boot, mutant: Option<&str>) -> Self {
        let calendar = (mutant == Some("wall_clock_in_apply")).then(|| boot.clock());
        Self { machine, calendar }
    }
}

impl<S: StateMachine> StateMachine for Mutable<S> {
    type Snapshot = S::Snapshot;
    type Restore = Mutable<S::Restore>;

    fn apply(&mut self, apply: &mut Apply<'_>) -> Bytes {
        let second = self
            .calendar
            .as_ref()
            .map(|clock| clock.timestamp().as_unix_nanos() / 1_000_000_000);
        if second.is_some_and(|second| second % 2 == 1) {
            // "Too late": replicas disagree about which commands are.
            return self
                .machine
                .query(apply.command.get(..1).unwrap_or_default());
        }
        self.machine.apply(apply)
    }

    fn query(&self, query: &[u8]) -> Bytes {
        self.machine.query(query)
    }

    fn snapshot(&self) -> Self::Snapshot {
        self.machine.snapshot()
    }

    fn begin_restore(&self) -> Self::Restore {
        Mutable {
            machine: self.machine.begin_restore(),
            calendar: self.calendar.clone(),
        }
    }
}

impl<R: Restore> Restore for Mutable<R> {
    type Machine = Mutable<R::Machine>;

    fn chunk(&mut self, chunk: &[u8]) -> Result<(), RestoreError> {
        self.machine.chunk(chunk)
    }

    fn finish(self) -> Result<Mutable<R::Machine>, RestoreError> {
        Ok(Mutable {
            machine: self.machine.finish()?,
            calendar: self.calendar,
        })
    }
}
