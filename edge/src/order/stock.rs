//! What there is, and what of it is promised.

use std::collections::BTreeMap;

use crate::name::Name;

use super::recipe::{Need, Step};

#[derive(Debug, Default)]
pub(super) struct Stock {
    resources: BTreeMap<Name, Units>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Units {
    held: u64,
    promised: u64,
}

impl Stock {
    pub(super) fn set(&mut self, resource: Name, units: u64) {
        self.resources.entry(resource).or_default().held = units;
    }

    pub(super) fn held(&self, resource: &Name) -> u64 {
        self.resources.get(resource).map_or(0, |units| units.held)
    }

    /// What there is and nobody has been promised.
    pub(super) fn free(&self, resource: &Name) -> u64 {
        let units = self.resources.get(resource).copied().unwrap_or_default();
        units.held.saturating_sub(units.promised)
    }

    /// The first resource of which there is not enough for all `steps`.
    pub(super) fn lacks(&self, steps: &[Step]) -> Option<Name> {
        sum(steps)
            .into_iter()
            .find(|(resource, units)| self.free(resource) < *units)
            .map(|(resource, _)| resource.clone())
    }

    /// The first resource of which there is less than the step needs, promised or not.
    pub(super) fn missing(&self, step: &Step) -> Option<Name> {
        let needs = sum(std::slice::from_ref(step)).into_iter();
        let mut missing = needs.filter(|(resource, units)| self.held(resource) < *units);
        missing.next().map(|(resource, _)| resource.clone())
    }

    pub(super) fn promise(&mut self, steps: &[Step]) {
        for (resource, units) in sum(steps) {
            let held = self.resources.entry(resource.clone()).or_default();
            held.promised = held.promised.saturating_add(units);
        }
    }

    pub(super) fn release(&mut self, steps: &[Step]) {
        for (resource, units) in sum(steps) {
            if let Some(held) = self.resources.get_mut(resource) {
                held.promised = held.promised.saturating_sub(units);
            }
        }
    }

    /// Takes what was promised.
    pub(super) fn take(&mut self, step: &Step) {
        for Need { resource, units } in &step.needs {
            if let Some(held) = self.resources.get_mut(resource) {
                held.promised = held.promised.saturating_sub(*units);
                held.held = held.held.saturating_sub(*units);
            }
        }
    }
}

fn sum(steps: &[Step]) -> BTreeMap<&Name, u64> {
    let mut sums = BTreeMap::new();
    for need in steps.iter().flat_map(|step| &step.needs) {
        let sum: &mut u64 = sums.entry(&need.resource).or_default();
        *sum = sum.saturating_add(need.units);
    }
    sums
}
