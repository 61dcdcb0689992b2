//! Lists against a Fugue tree that is built node by node and walked whole.

use peaberry_crdt::{Dot, Edit, List, Mint, VersionVector, WriteError};

use crate::history::{Event, Subject};

#[derive(Clone, Debug)]
pub(crate) enum ListOp {
    Insert(usize, u8),
    Remove(usize),
    Clear,
}

pub(crate) struct Lists;

impl Subject for Lists {
    type Store = List<u8>;
    type Op = ListOp;
    type View = Vec<u8>;

    fn op(list: &Self::Store, choice: u8, detail: u8) -> ListOp {
        let index = usize::from(detail) % (list.len() + 1);
        match choice % 16 {
            0..4 if index < list.len() => ListOp::Remove(index),
            4 => ListOp::Clear,
            // Runs, and all at one place.
            5..9 => ListOp::Insert(list.len(), detail),
            9..11 => ListOp::Insert(0, detail),
            _ => ListOp::Insert(index, detail),
        }
    }

    fn edit(list: &Self::Store, mint: Mint, op: &ListOp) -> Result<Edit<Self::Store>, WriteError> {
        match op {
            ListOp::Insert(index, value) => list.insert(mint, *index, *value),
            ListOp::Remove(index) => list.remove(*index),
            ListOp::Clear => Ok(list.clear()),
        }
    }

    fn view(list: &Self::Store) -> Vec<u8> {
        let all: Vec<u8> = list.iter().copied().collect();
        assert_eq!(all.len(), list.len());
        for (index, value) in all.iter().enumerate() {
            assert_eq!(list.get(index), Some(value));
            let position = list.position(index).unwrap();
            assert_eq!(list.index_of(position), Ok(index));
        }
        assert_eq!(list.get(all.len()), None);
        all
    }

    fn specification(events: &[Event<ListOp>]) -> Vec<u8> {
        // In the order in which they were written, which none has seen a later one in.
        let mut tree = Tree::default();
        for event in events {
            tree.take(event);
        }
        let all = tree.visible(|_| true);
        all.into_iter().map(|at| tree.nodes[at].value).collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

struct Node {
    dot: Dot,
    value: u8,
    /// None: the root.
    parent: Option<usize>,
    side: Side,
    /// The events that removed it.
    removed_by: Vec<Dot>,
}

#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    fn take(&mut self, event: &Event<ListOp>) {
        let seen = |seen: &VersionVector| {
            let seen = seen.clone();
            move |dot: Dot| seen.covers(dot)
        };
        let visible = self.visible(seen(&event.seen));
        match event.op {
            ListOp::Insert(index, value) => {
                let left = index.checked_sub(1).map(|left| visible[left]);
                let (parent, side) = match visible
                    .get(index)
                    .and_then(|right| self.origin_below(left, *right))
                {
                    Some(origin) => (Some(origin), Side::Left),
                    None => (left, Side::Right),
                };
                let parent = parent.map(|parent| self.end_of_own_run(parent, side, event.dot));
                self.nodes.push(Node {
                    dot: event.dot,
                    value,
                    parent,
                    side,
                    removed_by: Vec::new(),
                });
            }
            ListOp::Remove(index) => self.nodes[visible[index]].removed_by.push(event.dot),
            ListOp::Clear => {
                for at in visible {
                    self.nodes[at].removed_by.push(event.dot);
                }
            }
        }
    }

    /// What a writer sees, in order: depth first, children of a side by dot.
    fn visible(&self, knows: impl Fn(Dot) -> bool) -> Vec<usize> {
        let mut order = Vec::new();
        self.visit(None, Side::Right, &mut order);
        order.retain(|at| {
            let node = &self.nodes[*at];
            knows(node.dot) && !node.removed_by.iter().any(|removal| knows(*removal))
        });
        order
    }

    fn visit(&self, parent: Option<usize>, side: Side, order: &mut Vec<usize>) {
        let is_child =
            |at: &usize| self.nodes[*at].parent == parent && self.nodes[*at].side == side;
        let mut children: Vec<usize> = (0..self.nodes.len()).filter(is_child).collect();
        children.sort_by_key(|at| self.nodes[*at].dot);
        for child in children {
            self.visit(Some(child), Side::Left, order);
            order.push(child);
            self.visit(Some(child), Side::Right, order);
        }
    }

    /// Fugue's right origin, if it lies below `left`: the first node there whose way down to `right` does not go left.
    /// Nothing is known of removed nodes, but where the way branches off a replica's run.
    fn origin_below(&self, left: Option<usize>, right: usize) -> Option<usize> {
        let (mut node, mut origin) = (right, right);
        loop {
            let (parent, side) = (self.nodes[node].parent, self.nodes[node].side);
            if parent == left {
                return (side == Side::Right).then_some(origin);
            }
            let parent = parent?;
            if side == Side::Right && !self.continues_run(node) {
                origin = parent;
            }
            node = parent;
        }
    }

    fn continues_run(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.parent.is_some_and(|parent| {
            let parent = &self.nodes[parent];
            parent.side == node.side && parent.dot.replica() == node.dot.replica()
        })
    }

    /// A replica goes on where its own run ended, also if the end is removed.
    fn end_of_own_run(&self, parent: usize, side: Side, dot: Dot) -> usize {
        let mut end = parent;
        if self.nodes[end].side == side && self.nodes[end].dot.replica() == dot.replica() {
            while let Some(next) = (0..self.nodes.len())
                .find(|at| self.nodes[*at].parent == Some(end) && self.continues_run(*at))
            {
                end = next;
            }
        }
        end
    }
}
