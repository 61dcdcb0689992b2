//! Fugue order as a key.

use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt;

use crate::{Dot, mutant};

/// How many branches deep a position may lie.
pub const POSITION_DEPTH_MAX: usize = 1 << 16;

/// Where an element of a list stands, for ever and at every replica.
///
/// Positions are ordered as the nodes of a Fugue tree are (Weidner, Kleppmann: "The Art of the Fugue", arXiv
/// 2305.00583): a node's left children, the node, its right children; children of one side by their dots. A position
/// is the path to its node, so two can be compared whatever else is known: a list keeps nothing of what was removed.
///
/// A path is told by its branches. A branch is what one replica put after one another, each the right child of the one
/// before, or before one another, each the left child; a node of it is told by its counter. So a path grows by a step
/// where another replica goes on, or where something is put between what was there, and not by each element.
#[derive(Clone)]
pub struct Position {
    pub(super) branch: Arc<Branch>,
    pub(super) counter: u64,
}

/// What one replica put in one direction from one place.
pub(super) struct Branch {
    /// On what node it grows; none for the root.
    pub(super) parent: Option<Position>,
    /// On which side of it, and in which direction.
    pub(super) side: Side,
    pub(super) first: Dot,
    /// How many branches lie above.
    pub(super) depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Left,
    Right,
}

impl Position {
    /// The event that put it there first.
    #[must_use]
    pub fn dot(&self) -> Dot {
        Dot::new(self.branch.first.replica(), self.counter).unwrap_or(self.branch.first)
    }

    /// A new place between two that follow one another; `None` is the start and the end.
    pub(crate) fn between(left: Option<&Self>, right: Option<&Self>, dot: Dot) -> Self {
        if let Some(origin) = right.and_then(|right| right.first_below(left))
            && !mutant::is_planted("list_right_neighbour_ignored")
        {
            return origin.child(Side::Left, dot);
        }
        left.map_or_else(|| Self::root(dot), |left| left.child(Side::Right, dot))
    }

    /// How many branches lie above.
    pub(crate) fn depth(&self) -> usize {
        self.branch.depth
    }

    fn root(dot: Dot) -> Self {
        Self::grow(None, Side::Right, dot)
    }

    fn child(&self, side: Side, dot: Dot) -> Self {
        if self.continues(side, dot) {
            return Self {
                branch: Arc::clone(&self.branch),
                counter: dot.counter(),
            };
        }
        Self::grow(Some(self.clone()), side, dot)
    }

    /// Whether a child is of the node's own branch.
    pub(super) fn continues(&self, side: Side, dot: Dot) -> bool {
        self.branch.side == side && self.branch.first.replica() == dot.replica()
    }

    pub(super) fn grow(parent: Option<Self>, side: Side, first: Dot) -> Self {
        let depth = parent.as_ref().map_or(0, |parent| parent.branch.depth + 1);
        Self {
            branch: Arc::new(Branch {
                parent,
                side,
                first,
                depth,
            }),
            counter: first.counter(),
        }
    }

    /// If this lies right below `left` (`None` is the root), the first node below it that is known: the way down from
    /// there goes right, or has arrived.
    fn first_below(&self, left: Option<&Self>) -> Option<&Self> {
        let (mut node, mut first) = (self, self);
        loop {
            if let Some(left) = left
                && left.branch.first == node.branch.first
            {
                let is_below = node.branch.side == Side::Right && left.counter < node.counter;
                return is_below.then_some(first);
            }
            let Some(parent) = &node.branch.parent else {
                return left.is_none().then_some(first);
            };
            if node.branch.side == Side::Right {
                if left.is_some_and(|left| left.dot() == parent.dot()) {
                    return Some(first);
                }
                first = parent;
            }
            node = parent;
        }
    }
}

impl Ord for Position {
    /// Up from both to the branch they share.
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut mine, mut theirs) = ((self, None), (other, None));
        loop {
            let (a, b) = (&mine.0.branch, &theirs.0.branch);
            if a.first == b.first {
                return a.order((mine.0.counter, mine.1), (theirs.0.counter, theirs.1));
            }
            let depths = a.depth.cmp(&b.depth);
            match (&a.parent, &b.parent) {
                (Some(parent), _) if depths.is_gt() => mine = (parent, Some(a)),
                (_, Some(parent)) if depths.is_lt() => theirs = (parent, Some(b)),
                (Some(mines), Some(other)) => {
                    (mine, theirs) = ((mines, Some(a)), (other, Some(b)));
                }
                _ => return a.first.cmp(&b.first),
            }
        }
    }
}

impl Branch {
    /// The order of two nodes of this branch, or of what lies below them on another.
    fn order(
        &self,
        (mine, below_mine): (u64, Option<&Arc<Self>>),
        (theirs, below_theirs): (u64, Option<&Arc<Self>>),
    ) -> Ordering {
        match mine.cmp(&theirs) {
            Ordering::Less => self.to_later(below_mine),
            Ordering::Greater => self.to_later(below_theirs).reverse(),
            Ordering::Equal => match (below_mine, below_theirs) {
                (None, None) => Ordering::Equal,
                (Some(below), None) => below.to_parent(),
                (None, Some(below)) => below.to_parent().reverse(),
                (Some(a), Some(b)) => (a.side, a.first).cmp(&(b.side, b.first)),
            },
        }
    }

    /// How a node, or a branch below it, stands to later nodes of the branch.
    fn to_later(&self, below: Option<&Arc<Self>>) -> Ordering {
        let node = self.to_parent().reverse();
        match below {
            // A sibling of the next node.
            Some(below) if below.side == self.side => {
                let replicas = (below.first.replica(), self.first.replica());
                replicas.0.cmp(&replicas.1).then(node)
            }
            _ => node,
        }
    }

    const fn to_parent(&self) -> Ordering {
        match self.side {
            Side::Left => Ordering::Less,
            Side::Right => Ordering::Greater,
        }
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Position {
    /// The whole paths, so that two meanings of one dot are seen.
    fn eq(&self, other: &Self) -> bool {
        let (mut mine, mut theirs) = (self, other);
        loop {
            let (a, b) = (&mine.branch, &theirs.branch);
            if mine.counter != theirs.counter || a.first != b.first || a.side != b.side {
                return false;
            }
            if Arc::ptr_eq(a, b) {
                return true;
            }
            match (&a.parent, &b.parent) {
                (Some(a), Some(b)) => (mine, theirs) = (a, b),
                (a, b) => return a.is_none() && b.is_none(),
            }
        }
    }
}

impl Eq for Position {}

/// Without recursion: a path may be long.
impl Drop for Branch {
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(parent) = next {
            next = Arc::into_inner(parent.branch).and_then(|mut branch| branch.parent.take());
        }
    }
}

impl fmt::Debug for Position {
    /// From the leaf up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut node = self;
        loop {
            write!(f, "{:?}", node.dot())?;
            let Some(parent) = &node.branch.parent else {
                return Ok(());
            };
            f.write_str(match node.branch.side {
                Side::Left => " left of ",
                Side::Right => " right of ",
            })?;
            node = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::Position;
    use crate::{Dot, ReplicaId};

    fn dot(replica: u128, counter: u64) -> Dot {
        Dot::new(ReplicaId::new(replica).unwrap(), counter).unwrap()
    }

    #[test]
    fn what_one_replica_appends_or_prepends_stays_on_a_branch() {
        let mut last = Position::between(None, None, dot(1, 1));
        let mut first = Position::between(None, Some(&last), dot(1, 2));
        for counter in (3..100).step_by(2) {
            // Events of other kinds come between.
            let next = Position::between(Some(&last), None, dot(1, counter));
            assert!(last < next);
            let before = Position::between(None, Some(&first), dot(1, counter + 1));
            assert!(before < first);
            (first, last) = (before, next);
        }
        assert_eq!((last.depth(), first.depth()), (0, 1));
    }

    #[test]
    fn a_long_path_is_compared_and_dropped_without_recursion() {
        let mut all = Vec::new();
        let mut last: Option<Position> = None;
        for counter in 1..50_000 {
            let next = Position::between(
                last.as_ref(),
                None,
                dot(u128::from(counter % 2 + 1), counter),
            );
            all.push(next.clone());
            last = Some(next);
        }
        assert_eq!(last.as_ref().map(Position::depth), Some(49_998));
        assert!(all.first() < all.last());
        drop(last);
        all.truncate(1);
        assert!(all.is_sorted());
    }
}
