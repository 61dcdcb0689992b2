//! Places in a list that stay when others come and go.
//!
//! After Weidner and Kleppmann, *The Art of the Fugue: Minimizing Interleaving in Collaborative Text Editing* (2023), in
//! the form of self-contained positions, which leave no tombstone: a position is its whole path in Fugue's tree. Elements
//! that one replica inserts one after the other, forwards or backwards, share all of it but the last number.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::wire::{DecodeError, Decoder, Element, Encoder};
use crate::{Dot, ReplicaId};

/// A place in a list: the steps from the root of the tree to the element, at least one.
///
/// Left children come before their parent, right children after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    steps: Vec<Step>,
}

/// One element on the way: `at`, in the chain that `replica` began with its event `start`.
///
/// A chain to the right grows to the right, each element the right child of the one before; one to the left to the left.
/// Only the replica that began it grows it, by its event's own counter, so no place is ever used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    side: Side,
    replica: ReplicaId,
    start: u64,
    at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Left,
    Right,
}

impl Position {
    /// The place that `event` makes after `left` and before `right`, which are neighbours.
    pub(super) fn between(left: Option<&Self>, right: Option<&Self>, event: Dot) -> Self {
        let fits = |position: &Self| {
            left.is_none_or(|left| left < position) && right.is_none_or(|right| position < right)
        };
        if let Some(position) = left.and_then(|left| left.continued(Side::Right, event))
            && fits(&position)
        {
            return position;
        }
        if let Some(position) = right.and_then(|right| right.continued(Side::Left, event))
            && fits(&position)
        {
            return position;
        }
        match (left, right) {
            (None, None) => Self { steps: Vec::new() }.child(Side::Right, event),
            (None, Some(right)) => right.child(Side::Left, event),
            (Some(left), Some(right)) if right.steps.starts_with(&left.steps) => {
                right.child(Side::Left, event)
            }
            (Some(left), _) => left.child(Side::Right, event),
        }
    }

    /// The next place in the chain of this one, if it is the writer's own.
    fn continued(&self, side: Side, event: Dot) -> Option<Self> {
        let (last, before) = self.steps.split_last()?;
        if last.side != side || last.replica != event.replica() {
            return None;
        }
        let mut steps = Vec::with_capacity(self.steps.len());
        steps.extend_from_slice(before);
        steps.push(Step {
            at: event.counter(),
            ..*last
        });
        Some(Self { steps })
    }

    fn child(&self, side: Side, event: Dot) -> Self {
        let mut steps = Vec::with_capacity(self.steps.len() + 1);
        steps.extend_from_slice(&self.steps);
        steps.push(Step {
            side,
            replica: event.replica(),
            start: event.counter(),
            at: event.counter(),
        });
        Self { steps }
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        let common = self.steps.iter().zip(&other.steps);
        if let Some((mine, theirs)) = common.clone().find(|(mine, theirs)| mine != theirs) {
            return mine.cmp(theirs);
        }
        // One is the other's ancestor, or both are the same.
        let below = |steps: &[Step]| steps.get(common.len()).map(|step| step.side);
        match (below(&self.steps), below(&other.steps)) {
            (None, None) => Ordering::Equal,
            (Some(Side::Left), _) | (None, Some(Side::Right)) => Ordering::Less,
            (Some(Side::Right), _) | (None, Some(Side::Left)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Step {
    /// The order of two children of one parent, with all below them.
    fn cmp(&self, other: &Self) -> Ordering {
        let chain = |step: &Self| (step.side, step.replica, step.start);
        chain(self).cmp(&chain(other)).then(match self.side {
            Side::Left => other.at.cmp(&self.at),
            Side::Right => self.at.cmp(&other.at),
        })
    }
}

/// The number of steps less one; of each twice its start, plus one to the right, its replica, and how far it is from
/// its start.
impl Element for Position {
    fn describe(out: &mut String) {
        out.push_str("Position");
    }

    fn encode(&self, out: &mut Encoder<'_>) {
        out.varint(self.steps.len() as u64 - 1);
        for step in &self.steps {
            out.id(step.replica);
            out.u8(match step.side {
                Side::Left => 0,
                Side::Right => 1,
            });
            out.varint(step.start);
            out.varint(step.at - step.start);
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("position in a list");
        let more = input.count()?;
        let mut steps = Vec::new();
        for _ in 0..=more {
            let replica = input.id()?;
            let side = match input.u8()? {
                0 => Side::Left,
                1 => Side::Right,
                _ => return Err(malformed),
            };
            let start = input.varint()?;
            let at = start.checked_add(input.varint()?).ok_or(malformed)?;
            if start == 0 {
                return Err(malformed);
            }
            steps.push(Step {
                side,
                replica,
                start,
                at,
            });
        }
        Ok(Self { steps })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::Position;
    use crate::random::Random;
    use crate::{Dot, ReplicaId};

    fn insert(list: &mut Vec<Position>, index: usize, replica: u128, counter: u64) {
        let event = Dot::new(ReplicaId::new(replica).unwrap(), counter).unwrap();
        let left = index.checked_sub(1).map(|at| list[at].clone());
        let position = Position::between(left.as_ref(), list.get(index), event);
        list.insert(index, position);
        assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
    }

    #[test]
    fn a_new_place_lies_between_its_neighbours_whatever_was_removed() {
        let mut random = Random::new(3);
        for _ in 0..50 {
            let mut list = Vec::new();
            for counter in 1..80 {
                let index = usize::try_from(random.next() % (list.len() as u64 + 1)).unwrap();
                insert(&mut list, index, u128::from(random.next() % 3 + 1), counter);
                if random.next().is_multiple_of(4) {
                    let at = usize::try_from(random.next() % list.len() as u64).unwrap();
                    list.remove(at);
                }
            }
        }
    }

    #[test]
    fn inserting_in_order_forwards_or_backwards_takes_one_step() {
        let (mut forwards, mut backwards) = (Vec::new(), Vec::new());
        for counter in 1..1000 {
            let end = forwards.len();
            insert(&mut forwards, end, 1, counter);
            insert(&mut backwards, 0, 1, counter);
        }
        assert!(forwards.iter().all(|position| position.steps.len() == 1));
        assert!(backwards.iter().all(|position| position.steps.len() <= 2));
    }

    /// Two writers insert runs at one place, apart: forwards and backwards, no run is torn by the other.
    #[test]
    fn concurrent_runs_do_not_interleave() {
        for is_forwards in [true, false] {
            let mut base = Vec::new();
            insert(&mut base, 0, 3, 1);
            insert(&mut base, 1, 3, 2);
            let run = |replica: u128| {
                let mut list = base.clone();
                for counter in 1..6_u64 {
                    let index = if is_forwards {
                        usize::try_from(counter).unwrap()
                    } else {
                        1
                    };
                    insert(&mut list, index, replica, counter);
                }
                list
            };
            let mut merged = run(1);
            merged.extend(run(2));
            merged.sort();
            merged.dedup();
            let writers: Vec<_> = merged
                .iter()
                .filter_map(|position| position.steps.last())
                .map(|step| step.replica.get())
                .filter(|writer| *writer != 3)
                .collect();
            assert!(
                writers.is_sorted() || writers.iter().rev().is_sorted(),
                "{writers:?}"
            );
        }
    }
}
