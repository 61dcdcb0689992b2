use peaberry_core::simulation::{FaultCounts, FaultKind};

use super::reached;
use super::trace::Trace;
use crate::simulation::Reached;

/// Violations that are kept of one run.
const VIOLATIONS_MAX: usize = 8;

/// What a run has come to so far.
pub(super) struct Findings {
    pub(super) faults: FaultCounts,
    pub(super) reached: Reached,
    pub(super) violations: Vec<String>,
    trace: Trace,
}

impl Findings {
    pub(super) fn new(trace: Trace) -> Self {
        Self {
            faults: FaultCounts::default(),
            reached: reached::none(),
            violations: Vec::new(),
            trace,
        }
    }

    pub(super) fn complain(&mut self, violation: String) {
        if self.violations.len() < VIOLATIONS_MAX && !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    pub(super) fn reach(&mut self, branch: &str) {
        self.trace.add(branch);
        self.reached.mark(branch);
    }

    pub(super) fn count(&mut self, kind: FaultKind) {
        self.trace.add(kind.name());
        self.faults.add_many(kind, 1);
    }
}
