use std::fmt::{self, Write as _};

/// One way in which worlds differ, and everything that it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Its name.
    pub name: &'static str,
    /// All its values, by name.
    pub values: Vec<String>,
    /// Dimensions in which it decides what may come: with these it is not paired.
    pub decides: &'static [&'static str],
    /// It has so many values that only each for itself is counted: it is not paired at all.
    pub is_alone: bool,
}

impl Dimension {
    /// A dimension of these values.
    #[must_use]
    pub fn new<T: Into<String>>(name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self {
            name,
            values,
            decides: &[],
            is_alone: false,
        }
    }

    /// Its values are counted each for itself: another dimension says in fewer words what they shall meet.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// It decides what may come in these others, as whether there is a liar decides about lies.
    #[must_use]
    pub const fn deciding(mut self, others: &'static [&'static str]) -> Self {
        self.decides = others;
        self
    }

    fn is_apart_from(&self, other: &Self) -> bool {
        let decides = |one: &Self, other: &Self| one.decides.contains(&other.name);
        self.is_alone || other.is_alone || decides(self, other) || decides(other, self)
    }
}

/// How many seeds had which value of each dimension, and which two values together.
///
/// What came to pass is counted, not what was planned: a crash that never struck covers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    dimensions: Vec<Dimension>,
    /// Seeds by two values, each by its place among all; the diagonal counts single ones.
    seeds: Vec<u64>,
    count: usize,
}

/// A dimension, and the place of its first value among all.
type Placed<'a> = (&'a Dimension, usize);

/// Two dimensions, and how well their pairs are covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// Their names.
    pub dimensions: (&'static str, &'static str),
    /// How many pairs of values there are.
    pub count: usize,
    /// The pairs that no seed has had.
    pub missing: Vec<String>,
    /// The pair that the fewest seeds have had, and how many.
    pub rarest: Option<(String, u64)>,
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (one, other) = self.dimensions;
        let met = self.count - self.missing.len();
        write!(f, "{one} × {other}: {met} of {} met", self.count)?;
        match &self.rarest {
            Some((pair, seeds)) => write!(f, ", the rarest in {seeds} seeds: {pair}"),
            None => Ok(()),
        }
    }
}

impl Coverage {
    /// Of no seed yet.
    #[must_use]
    pub fn of(dimensions: Vec<Dimension>) -> Self {
        let count = dimensions.iter().map(|one| one.values.len()).sum();
        Self {
            dimensions,
            seeds: vec![0; count * count],
            count,
        }
    }

    /// Whether there are no dimensions.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts one seed, which had these values: names of a dimension and of one of its values.
    ///
    /// # Panics
    ///
    /// When a name is none of the dimensions'.
    pub fn add<'a>(&mut self, had: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut places: Vec<usize> = had.into_iter().map(|one| self.place(one)).collect();
        places.sort_unstable();
        places.dedup();
        for (nth, &one) in places.iter().enumerate() {
            for &other in places.iter().skip(nth) {
                *self.at(one, other) += 1;
            }
        }
    }

    /// Adds what other seeds had.
    ///
    /// # Panics
    ///
    /// When they differ in other ways.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        assert_eq!(self.dimensions, other.dimensions, "one target, one table");
        for (own, theirs) in self.seeds.iter_mut().zip(&other.seeds) {
            *own += theirs;
        }
    }

    /// Every dimension with how many seeds had each of its values.
    pub fn singles(&self) -> impl Iterator<Item = (&'static str, Vec<(&str, u64)>)> {
        self.with_places().map(|(dimension, first)| {
            let values = dimension.values.iter().enumerate();
            let counted =
                values.map(|(nth, value)| (value.as_str(), self.get(first + nth, first + nth)));
            (dimension.name, counted.collect())
        })
    }

    /// The values that no seed has had, each with its dimension.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let all = self.singles().flat_map(|(dimension, values)| {
            let missing = values.into_iter().filter(|(_, seeds)| *seeds == 0);
            missing.map(move |(value, _)| format!("{dimension}: {value}"))
        });
        all.collect()
    }

    /// Every two dimensions of which neither decides over the other.
    #[must_use]
    pub fn pairs(&self) -> Vec<Pairs> {
        let both = self.both();
        both.map(|(one, other)| self.pairs_of(one, other)).collect()
    }

    /// The table of all pairs as text: a row for each value of one dimension, a column for each of another.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        for ((one, first), (other, second)) in self.both() {
            let columns = other.values.join(", ");
            let _ = writeln!(text, "\n{} × {}: {columns}", one.name, other.name);
            for (row, value) in one.values.iter().enumerate() {
                let _ = write!(text, "{value:>32}");
                for column in 0..other.values.len() {
                    let seeds = self.get(first + row, second + column);
                    let _ = write!(text, " {seeds:>6}");
                }
                text.push('\n');
            }
        }
        text
    }

    fn both(&self) -> impl Iterator<Item = (Placed<'_>, Placed<'_>)> {
        self.with_places().enumerate().flat_map(|(nth, one)| {
            let others = self.with_places().skip(nth + 1);
            let others = others.filter(move |other| !one.0.is_apart_from(other.0));
            others.map(move |other| (one, other))
        })
    }

    fn pairs_of(&self, one: Placed<'_>, other: Placed<'_>) -> Pairs {
        let mut pairs = Pairs {
            dimensions: (one.0.name, other.0.name),
            count: one.0.values.len() * other.0.values.len(),
            missing: Vec::new(),
            rarest: None,
        };
        for (row, value) in one.0.values.iter().enumerate() {
            for (column, beside) in other.0.values.iter().enumerate() {
                let seeds = self.get(one.1 + row, other.1 + column);
                let name = || format!("{value} beside {beside}");
                if seeds == 0 {
                    pairs.missing.push(name());
                }
                if pairs
                    .rarest
                    .as_ref()
                    .is_none_or(|(_, least)| seeds < *least)
                {
                    pairs.rarest = Some((name(), seeds));
                }
            }
        }
        pairs
    }

    /// The dimensions, each with the place of its first value.
    fn with_places(&self) -> impl Iterator<Item = Placed<'_>> {
        self.dimensions.iter().scan(0, |next, dimension| {
            let first = *next;
            *next += dimension.values.len();
            Some((dimension, first))
        })
    }

    fn place(&self, (name, value): (&str, &str)) -> usize {
        let found = self.with_places().find(|(one, _)| one.name == name);
        let place = found.and_then(|(dimension, first)| {
            let at = dimension.values.iter().position(|one| one == value)?;
            Some(first + at)
        });
        place.unwrap_or_else(|| panic!("{name} {value} is not in the table"))
    }

    fn at(&mut self, one: usize, other: usize) -> &mut u64 {
        let count = self.count;
        let seeds = self.seeds.get_mut(one * count + other);
        seeds.expect("places are within the table")
    }

    fn get(&self, one: usize, other: usize) -> u64 {
        let at = one.min(other) * self.count + one.max(other);
        self.seeds.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_count_the_seeds_that_had_both() {
        let dimensions = vec![
            Dimension::new("depth", ["1", "64"]),
            Dimension::new("node", ["honest", "liar"]),
        ];
        let mut coverage = Coverage::of(dimensions.clone());
        coverage.add([("depth", "64"), ("node", "liar"), ("node", "liar")]);
        let mut other = Coverage::of(dimensions);
        other.add([("node", "honest"), ("depth", "1"), ("depth", "64")]);
        coverage.merge(&other);
        let depths = coverage.singles().next().unwrap();
        assert_eq!(depths, ("depth", vec![("1", 1), ("64", 2)]));
        let [pairs] = coverage.pairs().try_into().unwrap();
        assert_eq!(pairs.missing, ["1 beside liar"]);
        assert_eq!(pairs.count, 4);
        assert!(coverage.table().contains("depth × node"));
    }

    #[test]
    fn what_is_counted_alone_meets_nobody_and_may_be_missing() {
        let dimensions = vec![
            Dimension::new("node", ["honest", "liar"]),
            Dimension::new("blocks", ["1", "2", "3"]).alone(),
            Dimension::new("store", ["memory", "files"]),
        ];
        let mut coverage = Coverage::of(dimensions);
        coverage.add([("node", "liar"), ("blocks", "2"), ("store", "files")]);
        let [pairs] = coverage.pairs().try_into().unwrap();
        assert_eq!(pairs.dimensions, ("node", "store"));
        let missing = ["node: honest", "blocks: 1", "blocks: 3", "store: memory"];
        assert_eq!(coverage.missing(), missing);
        coverage.add([("blocks", "1"), ("blocks", "3")]);
        assert_eq!(coverage.missing(), ["node: honest", "store: memory"]);
    }
}
