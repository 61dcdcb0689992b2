use std::collections::BTreeMap;

/// How often a run reached branches that are rare, and that its checks are there for.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    counts: BTreeMap<&'static str, u64>,
}

impl Reached {
    /// Counts by `names`, all of them zero.
    #[must_use]
    pub fn of(names: &[&'static str]) -> Self {
        let counts = names.iter().map(|&name| (name, 0)).collect();
        Self { counts }
    }

    /// Counts one more.
    ///
    /// # Panics
    ///
    /// When `name` is not among the names it was made of: a count that is never zero proves nothing.
    pub fn mark(&mut self, name: &str) {
        let count = self.counts.get_mut(name);
        *count.unwrap_or_else(|| panic!("{name} is not counted here")) += 1;
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (&name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    /// The counts by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(&name, &count)| (name, count))
    }
}
