//! Random histories of writers apart, against Fugue's own tree, built node by node and walked whole.

use std::ops::Range;

use peaberry_crdt::{Lattice as _, ReplicaId, Text, VersionVector, Writer};
use proptest::prelude::*;

const REPLICAS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Insert {
        at: usize,
        place: prop::sample::Index,
        count: u8,
    },
    Delete {
        at: usize,
        place: prop::sample::Index,
        count: usize,
        backward: bool,
    },
    Sync {
        from: usize,
        to: usize,
    },
}

/// Few places, so that many write at one.
fn steps(counts: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let replica = || 0..REPLICAS;
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        5 => (replica(), index(), 1..4_u8).prop_map(|(at, place, count)| Step::Insert { at, place, count }),
        3 => (replica(), index(), 1..4_usize, any::<bool>())
            .prop_map(|(at, place, count, backward)| Step::Delete { at, place, count, backward }),
        3 => (replica(), replica()).prop_map(|(from, to)| Step::Sync { from, to }),
    ];
    prop::collection::vec(step, counts)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

#[derive(Clone)]
struct Node {
    replica: usize,
    letter: char,
    parent: Option<usize>,
    side: Side,
}

/// What one replica knows: which nodes, and which of them are removed. Nodes of all replicas lie in one table.
#[derive(Clone, Default)]
struct Known {
    nodes: Vec<bool>,
    removed: Vec<bool>,
}

#[derive(Default)]
struct World {
    table: Vec<Node>,
    known: Vec<Known>,
}

impl World {
    fn order(&self, at: usize) -> Vec<usize> {
        let mut order = Vec::new();
        self.visit(at, None, Side::Right, &mut order);
        order
    }

    fn visit(&self, at: usize, parent: Option<usize>, side: Side, order: &mut Vec<usize>) {
        let knows = &self.known[at].nodes;
        let mut children: Vec<usize> = (0..self.table.len())
            .filter(|node| knows.get(*node) == Some(&true))
            .filter(|node| self.table[*node].parent == parent && self.table[*node].side == side)
            .collect();
        children.sort_by_key(|node| self.table[*node].replica);
        for child in children {
            self.visit(at, Some(child), Side::Left, order);
            order.push(child);
            self.visit(at, Some(child), Side::Right, order);
        }
    }

    fn visible(&self, at: usize) -> Vec<usize> {
        let removed = &self.known[at].removed;
        let mut order = self.order(at);
        order.retain(|node| removed.get(*node) != Some(&true));
        order
    }

    fn text(&self, at: usize) -> String {
        self.visible(at)
            .into_iter()
            .map(|node| self.table[node].letter)
            .collect()
    }

    /// Algorithm 1 of the paper.
    fn insert(&mut self, at: usize, place: usize, letter: char) {
        let left = place.checked_sub(1).map(|left| self.visible(at)[left]);
        let order = self.order(at);
        let has_right = order
            .iter()
            .any(|node| self.table[*node].parent == left && self.table[*node].side == Side::Right);
        let (parent, side) = if has_right {
            let next = left.map_or(0, |left| {
                order.iter().position(|node| *node == left).unwrap() + 1
            });
            (Some(order[next]), Side::Left)
        } else {
            (left, Side::Right)
        };
        self.table.push(Node {
            replica: at,
            letter,
            parent,
            side,
        });
        let known = &mut self.known[at];
        known.nodes.resize(self.table.len(), false);
        known.nodes[self.table.len() - 1] = true;
    }

    fn remove(&mut self, at: usize, place: usize) {
        let node = self.visible(at)[place];
        let known = &mut self.known[at];
        known.removed.resize(self.table.len(), false);
        known.removed[node] = true;
    }

    fn sync(&mut self, from: usize, to: usize) {
        let other = self.known[from].clone();
        let known = &mut self.known[to];
        for (mine, theirs) in [
            (&mut known.nodes, other.nodes),
            (&mut known.removed, other.removed),
        ] {
            mine.resize(mine.len().max(theirs.len()), false);
            for (node, is) in theirs.into_iter().enumerate() {
                mine[node] |= is;
            }
        }
    }
}

fn check(steps: &[Step]) {
    let writer = |number| Writer::new(ReplicaId::new(number as u128 + 1).unwrap(), 0, 10_000);
    let mut writers: Vec<Writer> = (0..REPLICAS).map(writer).collect();
    let mut texts = vec![Text::bottom(); REPLICAS];
    let mut world = World {
        known: vec![Known::default(); REPLICAS],
        ..World::default()
    };
    let mut letters = ('a'..='z').chain('α'..='ω').cycle();
    for step in steps {
        match step {
            Step::Insert { at, place, count } => {
                let place = place.index(texts[*at].len_chars() + 1);
                let piece: String = letters.by_ref().take(usize::from(*count)).collect();
                for (more, letter) in piece.chars().enumerate() {
                    world.insert(*at, place + more, letter);
                }
                texts[*at].insert(&mut writers[*at], place, &piece).unwrap();
            }
            Step::Delete {
                at,
                place,
                count,
                backward,
            } => {
                for _ in 0..*count {
                    let len = texts[*at].len_chars();
                    if len == 0 {
                        break;
                    }
                    let mut place = place.index(len);
                    if *backward {
                        place = len - 1 - place.min(len - 1);
                    }
                    world.remove(*at, place);
                    texts[*at]
                        .delete(&mut writers[*at], place..place + 1)
                        .unwrap();
                }
            }
            Step::Sync { from, to } => {
                let delta = texts[*from].delta_since(texts[*to].vector());
                texts[*to].apply(&delta).unwrap();
                world.sync(*from, *to);
                assert_eq!(texts[*to].to_string(), world.text(*to));
            }
        }
    }
    let mut whole = Text::bottom();
    for (at, text) in texts.iter().enumerate() {
        assert_eq!(text.to_string(), world.text(at));
        let delta = text.delta_since(&VersionVector::new());
        whole.apply(&delta).unwrap();
    }
    for from in 1..REPLICAS {
        world.sync(from, 0);
    }
    assert_eq!(whole.to_string(), world.text(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn what_several_insert_at_one_place_is_in_the_order_of_a_naive_tree(steps in steps(0..50)) {
        check(&steps);
    }
}

// So many that what stands in order takes several of the tracker's blocks.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn what_several_insert_in_long_histories_is_in_the_order_of_a_naive_tree(steps in steps(300..301)) {
        check(&steps);
    }
}
