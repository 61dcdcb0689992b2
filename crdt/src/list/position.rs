//! Fugue order as a key.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt;
use core::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

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
///
/// Two are equal if their whole paths are, and only then neither comes before the other. So what a forger says of an
/// event's place, if others know another path to it, is another place, and the same one at every replica. To compare
/// two takes steps by the logarithm of their depth.
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
    /// Which path leads here: SipHash-2-4-128 of it with a key of zeros.
    pub(super) path: u128,
    /// A branch further above than the parent's, or that; none for a root. How far depends on the depth alone, by
    /// skew-binary numbers (Myers: "An applicative random-access stack", 1983), so that any branch above is reached in
    /// steps by the logarithm of the depth.
    jump: Option<Arc<Self>>,
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

    /// Calls `visit` with the dots on the way here, but for branches that are `seen`: those that others share.
    pub(super) fn for_each_named(&self, seen: &mut BTreeSet<u128>, visit: &mut dyn FnMut(Dot)) {
        let mut node = self;
        visit(node.dot());
        while seen.insert(node.branch.path)
            && let Some(parent) = &node.branch.parent
        {
            visit(parent.dot());
            node = parent;
        }
    }

    pub(super) fn root(dot: Dot) -> Self {
        Self::grow(None, Side::Right, dot)
    }

    pub(super) fn child(&self, side: Side, dot: Dot) -> Self {
        if self.continues(side, dot) {
            return Self {
                branch: Arc::clone(&self.branch),
                counter: dot.counter(),
            };
        }
        Self::grow(Some(self.clone()), side, dot)
    }

    /// Whether a child is of the node's own branch. A replica's later event has the higher counter, and a branch is in
    /// the order of its counters; below a place that was forged, with a counter its replica has not reached, another
    /// branch grows.
    pub(super) fn continues(&self, side: Side, dot: Dot) -> bool {
        self.branch.side == side
            && self.branch.first.replica() == dot.replica()
            && self.counter < dot.counter()
    }

    pub(super) fn grow(parent: Option<Self>, side: Side, first: Dot) -> Self {
        Self {
            branch: Arc::new(Branch::new(parent, side, first)),
            counter: first.counter(),
        }
    }

    /// If this lies right below `left` (`None` is the root), the first node below it that is known: the way down from
    /// there goes right, or has arrived.
    fn first_below(&self, left: Option<&Self>) -> Option<&Self> {
        let (mut node, mut first) = (self, self);
        loop {
            if let Some(left) = left
                && left.branch.path == node.branch.path
            {
                let is_below = node.branch.side == Side::Right && left.counter < node.counter;
                return is_below.then_some(first);
            }
            let Some(parent) = &node.branch.parent else {
                return left.is_none().then_some(first);
            };
            if node.branch.side == Side::Right {
                if left == Some(parent) {
                    return Some(first);
                }
                first = parent;
            }
            node = parent;
        }
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order_to(other, &mut || ())
    }
}

impl Position {
    /// Up from both to the branch they share; calls `step` for each branch on the way.
    fn order_to(&self, other: &Self, step: &mut impl FnMut()) -> Ordering {
        let depth = self.branch.depth.min(other.branch.depth);
        let (mut a, mine) = self.at_depth(depth, step);
        let (mut b, theirs) = other.at_depth(depth, step);
        if a.path == b.path {
            return a.order(mine, theirs);
        }
        loop {
            step();
            let (Some(mine), Some(theirs)) = (&a.parent, &b.parent) else {
                return a.first.cmp(&b.first);
            };
            if mine.branch.path == theirs.branch.path {
                return mine
                    .branch
                    .order((mine.counter, Some(a)), (theirs.counter, Some(b)));
            }
            (a, b) = match (&a.jump, &b.jump) {
                (Some(mine), Some(theirs)) if mine.path != theirs.path => (mine, theirs),
                _ => (&mine.branch, &theirs.branch),
            };
        }
    }

    /// The branch above that lies so deep, and where on it the way goes down here.
    fn at_depth(&self, depth: usize, step: &mut impl FnMut()) -> (&Branch, Way<'_>) {
        let (mut node, mut below) = (self, None);
        while node.branch.depth > depth {
            step();
            let mut last: &Branch = &node.branch;
            while let Some(jump) = last.jump.as_ref().filter(|jump| jump.depth > depth) {
                step();
                last = jump;
            }
            let Some(parent) = &last.parent else {
                break;
            };
            (node, below) = (parent, Some(last));
        }
        (&node.branch, (node.counter, below))
    }
}

/// A node's counter, and the branch on which the way goes down from it, if it does.
type Way<'a> = (u64, Option<&'a Branch>);

impl Branch {
    fn new(parent: Option<Position>, side: Side, first: Dot) -> Self {
        let mut hasher = SipHasher24::new();
        if let Some(parent) = &parent {
            hasher.write(&parent.branch.path.to_be_bytes());
            hasher.write(&parent.counter.to_be_bytes());
        }
        hasher.write(&[side as u8]);
        hasher.write(&first.replica().get().to_be_bytes());
        hasher.write(&first.counter().to_be_bytes());
        let above = parent.as_ref().map(|parent| &parent.branch);
        Self {
            depth: above.map_or(0, |above| above.depth + 1),
            path: u128::from_be_bytes(hasher.finish128().as_bytes()),
            jump: above.map(|above| Arc::clone(Self::far_above(above))),
            parent,
            side,
            first,
        }
    }

    /// Where a branch jumps to that grows on this one: as far as two equal jumps from here, or only here.
    fn far_above(self: &Arc<Self>) -> &Arc<Self> {
        let Some(once) = &self.jump else {
            return self;
        };
        let twice = once.jump.as_ref().unwrap_or(once);
        if self.depth - once.depth == once.depth - twice.depth {
            twice
        } else {
            self
        }
    }

    /// The order of two nodes of this branch, or of what lies below them on another.
    fn order(&self, (mine, below_mine): Way<'_>, (theirs, below_theirs): Way<'_>) -> Ordering {
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
    fn to_later(&self, below: Option<&Self>) -> Ordering {
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
        self.counter == other.counter && self.branch.path == other.branch.path
    }
}

impl Eq for Position {}

/// Without recursion: a path may be long.
impl Drop for Branch {
    fn drop(&mut self) {
        // Never the last that holds it: the way up does, too.
        self.jump = None;
        let mut next = self.parent.take();
        while let Some(parent) = next {
            next = Arc::into_inner(parent.branch).and_then(|mut branch| {
                branch.jump = None;
                branch.parent.take()
            });
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
    use core::cmp::Ordering;

    use super::{POSITION_DEPTH_MAX, Position, Side};
    use crate::testkit::Dice;
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

    /// Two replicas by turns, each behind the other's last.
    fn grown(mut from: Position, depth: usize) -> Position {
        while from.depth() < depth {
            let next = from.depth() as u64 + 1;
            let replica = 3 - from.branch.first.replica().get();
            from = from.child(Side::Right, dot(replica, next));
        }
        from
    }

    /// One frame can bring millions of elements of the deepest branch, each of which is compared with others.
    #[test]
    fn the_deepest_positions_are_compared_in_a_few_steps() {
        let root = Position::root(dot(1, 1));
        let middle = grown(root.clone(), POSITION_DEPTH_MAX / 2);
        let deepest = grown(middle.clone(), POSITION_DEPTH_MAX);
        let aside = middle.child(Side::Left, dot(2, 7));
        let others = [
            root.child(Side::Left, dot(1, 9)),
            grown(root.child(Side::Left, dot(1, 9)), POSITION_DEPTH_MAX),
            grown(aside.clone(), POSITION_DEPTH_MAX - 3),
            grown(Position::root(dot(2, 1)), POSITION_DEPTH_MAX),
            // The same once more, with nothing in common but what it says.
            grown(Position::root(dot(1, 1)), POSITION_DEPTH_MAX),
            root,
            middle,
            aside,
        ];
        for other in &others {
            let mut steps = 0;
            let order = deepest.order_to(other, &mut || steps += 1);
            assert!(steps <= 4 * 16, "{steps} steps");
            assert_eq!(order.is_eq(), deepest == *other);
        }
        assert!(deepest == others[4]);
    }

    /// What the order means: up from both, branch by branch.
    fn plain_order(one: &Position, other: &Position) -> Ordering {
        let up = |position: &Position| {
            let mut path = Vec::from([(position.clone(), None)]);
            let mut below = position.branch.clone();
            while let Some(parent) = below.parent.clone() {
                let above = parent.branch.clone();
                path.push((parent, Some(below)));
                below = above;
            }
            path.reverse();
            path
        };
        let (mine, theirs) = (up(one), up(other));
        let is_shared = |at: &usize| {
            let (a, b) = (&mine[*at].0.branch, &theirs[*at].0.branch);
            a.path == b.path
        };
        let shared = (0..mine.len().min(theirs.len())).take_while(is_shared);
        let Some(last) = shared.last() else {
            return mine[0].0.branch.first.cmp(&theirs[0].0.branch.first);
        };
        let way = |path: &[(Position, Option<alloc::sync::Arc<super::Branch>>)]| {
            (path[last].0.counter, path[last].1.clone())
        };
        let ((a, below_a), (b, below_b)) = (way(&mine), way(&theirs));
        let branch = &mine[last].0.branch;
        branch.order((a, below_a.as_deref()), (b, below_b.as_deref()))
    }

    /// Forged paths among them, that give one dot several places.
    #[test]
    fn the_order_is_total_and_goes_with_equality() {
        let mut dice = Dice::new(5);
        let mut all: Vec<Position> = Vec::new();
        for _ in 0..300 {
            let replica = u128::from(dice.below(3)) + 1;
            let dot = dot(replica, dice.below(20) + 1);
            let side = if dice.below(2) == 0 {
                Side::Left
            } else {
                Side::Right
            };
            let at = usize::try_from(dice.below(all.len() as u64 + 1)).unwrap();
            all.push(match all.get(at) {
                Some(parent) => parent.child(side, dot),
                None => Position::root(dot),
            });
        }
        for one in &all {
            for other in &all {
                assert_eq!(one.cmp(other), plain_order(one, other));
                assert_eq!(one.cmp(other).is_eq(), one == other);
                assert_eq!(one.cmp(other), other.cmp(one).reverse());
            }
        }
        let mut sorted = all.clone();
        sorted.sort();
        for (at, one) in sorted.iter().enumerate() {
            assert!(sorted[at..].iter().all(|later| one <= later));
        }
        assert!(all.iter().any(|position| position.depth() > 5));
    }
}
