//! What there is, and what of it is promised.

use std::collections::BTreeMap;

use crate::name::Name;

use super::recipe::{Need, Step};

/// There are few resources, and many machines: a map would have room for eleven.
#[derive(Debug, Default)]
pub(super) struct Stock {
    /// Ascending by name.
    resources: Vec<Units>,
}

#[derive(Debug)]
struct Units {
    resource: Name,
    held: u64,
    promised: u64,
}

impl Stock {
    pub(super) fn set(&mut self, resource: Name, units: u64) {
        self.entry(&resource).held = units;
    }

    pub(super) fn held(&self, resource: &Name) -> u64 {
        self.get(resource).map_or(0, |units| units.held)
    }

    /// What there is and nobody has been promised.
    pub(super) fn free(&self, resource: &Name) -> u64 {
        self.get(resource)
            .map_or(0, |units| units.held.saturating_sub(units.promised))
    }

    fn find(&self, resource: &Name) -> Result<usize, usize> {
        self.resources
            .binary_search_by(|units| units.resource.cmp(resource))
    }

    fn get(&self, resource: &Name) -> Option<&Units> {
        self.resources.get(self.find(resource).ok()?)
    }

    fn get_mut(&mut self, resource: &Name) -> Option<&mut Units> {
        let at = self.find(resource).ok()?;
        self.resources.get_mut(at)
    }

    fn entry(&mut self, resource: &Name) -> &mut Units {
        let at = self.find(resource).unwrap_or_else(|at| {
            let units = Units {
                resource: resource.clone(),
                held: 0,
                promised: 0,
            };
            self.resources.reserve_exact(1);
            self.resources.insert(at, units);
            at
        });
        self.resources
            .get_mut(at)
            .expect("a resource is where it was put")
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
            let held = self.entry(resource);
            held.promised = held.promised.saturating_add(units);
        }
    }

    pub(super) fn release(&mut self, steps: &[Step]) {
        for (resource, units) in sum(steps) {
            if let Some(held) = self.get_mut(resource) {
                held.promised = held.promised.saturating_sub(units);
            }
        }
    }

    /// Takes what was promised.
    pub(super) fn take(&mut self, step: &Step) {
        for Need { resource, units } in &step.needs {
            if let Some(held) = self.get_mut(resource) {
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
