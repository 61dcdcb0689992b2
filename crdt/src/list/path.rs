//! Positions as bytes: the branches once, each before those that grow on it, then the elements.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::position::{Branch, POSITION_DEPTH_MAX, Position, Side};
use crate::Dot;
use crate::wire::{Bound, DecodeError, Decoder, Element, Encoder, unzigzag, zigzag};

impl Element for Position {
    fn describe(out: &mut String) {
        out.push_str("Position");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        Self::encode_column(&[self], out);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let position = Self::decode_column(1, input)?.pop();
        position.ok_or(DecodeError::Malformed("no position"))
    }

    fn encode_column(values: &[&Self], out: &mut Encoder<'_>) {
        if values.is_empty() {
            return;
        }
        let mut table = Table::default();
        let indices: Vec<usize> = values
            .iter()
            .map(|value| table.add(&value.branch))
            .collect();
        out.varint(table.branches.len() as u64);
        for (branch, parent) in &table.branches {
            put_branch(branch, *parent, out);
        }
        let mut nodes = Nodes::new(&table.branches);
        let (mut steps, mut counters) = (Vec::new(), Vec::new());
        for (value, index) in values.iter().zip(indices) {
            let (step, counter) = nodes.tell(index, value.counter);
            steps.push(step);
            counters.push(counter);
        }
        out.column(&steps);
        out.column(&counters);
    }

    fn decode_column(count: usize, input: &mut Decoder<'_>) -> Result<Vec<Self>, DecodeError> {
        let malformed = DecodeError::Malformed("positions of a list");
        let mut positions = Vec::new();
        if count == 0 {
            return Ok(positions);
        }
        let mut branches: Vec<(Arc<Branch>, usize)> = Vec::new();
        let mut known = BTreeSet::new();
        for at in 0..input.count()? {
            let branch = take_branch(at, &branches, input)?;
            if !known.insert(branch.0.path) {
                return Err(malformed);
            }
            branches.push(branch);
        }
        let steps = input.column(count)?;
        let counters = input.column(count)?;
        let mut nodes = Nodes::new(&branches);
        let mut used = 0;
        for (step, counter) in steps.into_iter().zip(counters) {
            let (index, counter) = nodes.hear(step, counter).ok_or(malformed)?;
            let (branch, _) = branches.get(index).ok_or(malformed)?;
            used = introduce(&branches, index, used).ok_or(malformed)?;
            positions.push(Self {
                branch: Arc::clone(branch),
                counter,
            });
        }
        if used < branches.len() {
            return Err(malformed);
        }
        Ok(positions)
    }
}

/// Branches in the order of their first use, each with the index of its parent plus one.
#[derive(Default)]
struct Table<'a> {
    branches: Vec<(&'a Arc<Branch>, usize)>,
    /// By their paths.
    index: BTreeMap<u128, usize>,
}

impl<'a> Table<'a> {
    fn add(&mut self, branch: &'a Arc<Branch>) -> usize {
        let mut above = Vec::new();
        let mut parent = 0;
        let mut next = Some(branch);
        while let Some(branch) = next {
            if let Some(index) = self.index.get(&branch.path) {
                parent = index + 1;
                break;
            }
            above.push(branch);
            next = branch.parent.as_ref().map(|parent| &parent.branch);
        }
        for branch in above.into_iter().rev() {
            self.index.insert(branch.path, self.branches.len());
            self.branches.push((branch, parent));
            parent = self.branches.len();
        }
        parent - 1
    }
}

/// How many branches have been used when an element of branch `index` follows. They must be used in their order, a
/// parent before what grows on it.
fn introduce(branches: &[(Arc<Branch>, usize)], index: usize, used: usize) -> Option<usize> {
    let mut at = index;
    while at >= used {
        let parent = branches.get(at)?.1;
        if at == used {
            return (parent <= used).then_some(index + 1);
        }
        // Those not used before follow one another.
        if parent != at {
            return None;
        }
        at -= 1;
    }
    Some(used)
}

/// Its parent and side, its first dot, and how far along its parent it grows.
fn put_branch(branch: &Branch, parent: usize, out: &mut Encoder<'_>) {
    let side = u64::from(branch.side == Side::Left);
    out.varint((parent as u64) << 1 | side);
    out.id(branch.first.replica());
    out.signed(
        branch
            .first
            .counter()
            .wrapping_sub(out.base().get(branch.first.replica()))
            .cast_signed(),
    );
    if let Some(parent) = &branch.parent {
        out.varint(parent.counter - parent.branch.first.counter());
    }
}

fn take_branch(
    at: usize,
    branches: &[(Arc<Branch>, usize)],
    input: &mut Decoder<'_>,
) -> Result<(Arc<Branch>, usize), DecodeError> {
    let malformed = DecodeError::Malformed("branch of a list");
    let tag = input.varint()?;
    let side = if tag & 1 == 0 {
        Side::Right
    } else {
        Side::Left
    };
    let index = usize::try_from(tag >> 1).ok().filter(|index| *index <= at);
    let index = index.ok_or(malformed)?;
    let replica = input.id()?;
    let base = input.base().get(replica);
    let counter = base.wrapping_add(input.signed()?.cast_unsigned());
    let first = Dot::new(replica, counter).ok_or(malformed)?;
    let parent = match index.checked_sub(1) {
        None if side == Side::Left => return Err(malformed),
        None => None,
        Some(above) => {
            let (branch, _) = branches.get(above).ok_or(malformed)?;
            let counter = branch.first.counter().checked_add(input.varint()?);
            let parent = Position {
                branch: Arc::clone(branch),
                counter: counter.ok_or(malformed)?,
            };
            if parent.continues(side, first) {
                return Err(malformed);
            }
            Some(parent)
        }
    };
    let grown = Position::grow(parent, side, first);
    if grown.depth() > POSITION_DEPTH_MAX {
        return Err(DecodeError::OverBudget {
            bound: Bound::Depth,
            given: grown.depth() as u64,
            max: POSITION_DEPTH_MAX as u64,
        });
    }
    Ok((Arc::clone(&grown.branch), index))
}

/// The element to expect next: on the branch of the one before, and one further along it.
struct Nodes {
    index: usize,
    /// Of each branch, the counter to expect next.
    expected: Vec<(u64, u64)>,
}

impl Nodes {
    fn new<B: AsRef<Branch>>(branches: &[(B, usize)]) -> Self {
        let first = |branch: &Branch| branch.first.counter();
        Self {
            index: 0,
            expected: branches
                .iter()
                .map(|(branch, _)| (first(branch.as_ref()), first(branch.as_ref())))
                .collect(),
        }
    }

    fn tell(&mut self, index: usize, counter: u64) -> (u64, u64) {
        let step = (index as u64).wrapping_sub(self.index as u64);
        self.index = index;
        let mut told = 0;
        if let Some((_, expected)) = self.expected.get_mut(index) {
            told = counter.wrapping_sub(*expected);
            *expected = counter.wrapping_add(1);
        }
        (zigzag(step.cast_signed()), zigzag(told.cast_signed()))
    }

    fn hear(&mut self, step: u64, told: u64) -> Option<(usize, u64)> {
        let index = (self.index as u64).wrapping_add(unzigzag(step).cast_unsigned());
        self.index = usize::try_from(index).ok()?;
        let (first, expected) = self.expected.get_mut(self.index)?;
        let counter = expected.wrapping_add(unzigzag(told).cast_unsigned());
        *expected = counter.wrapping_add(1);
        (counter >= *first).then_some((self.index, counter))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{Position, Side};
    use crate::testkit::Dice;
    use crate::wire::{Budget, Decoder, Element as _, Encoder, IdTable};
    use crate::{Dot, ReplicaId};

    /// Places that a forger made up: a replica's later event may have a lower counter than the one that it stands beside.
    #[test]
    fn whatever_counters_a_path_has_it_is_read_as_it_was_written() {
        let mut dice = Dice::new(7);
        let mut all: Vec<Position> = Vec::new();
        for _ in 0..200 {
            let replica = ReplicaId::new(u128::from(dice.below(3)) + 1).unwrap();
            let dot = Dot::new(replica, dice.below(20) + 1).unwrap();
            let side = [Side::Left, Side::Right][dice.index(2)];
            let position = match all.get(dice.index(all.len() + 1)) {
                Some(parent) => parent.child(side, dot),
                None => Position::root(dot),
            };
            let (branch, counter) = (&position.branch, position.counter);
            assert!(branch.first.counter() <= counter);
            all.push(position);
        }
        all.sort();
        all.dedup();
        let table = IdTable::new();
        let mut out = Encoder::new(&table);
        let places: Vec<&Position> = all.iter().collect();
        Position::encode_column(&places, &mut out);
        let mut bytes = Vec::new();
        out.finish(&mut bytes);
        let mut input = Decoder::new(&bytes, &table, Budget::default()).unwrap();
        let read = Position::decode_column(all.len(), &mut input).unwrap();
        input.finish().unwrap();
        assert!(read == all);
    }
}
