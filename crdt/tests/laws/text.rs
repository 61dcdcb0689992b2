//! Texts: the laws of a lattice and of deltas, and what is there at all. In what order concurrent insertions stand is
//! checked against a tree of Fugue in `tests/text/fugue.rs`.

use std::collections::BTreeSet;

use peaberry_crdt::wire::{Budget, Message as _};
use peaberry_crdt::{
    ApplyError, Dot, Lattice, ReplicaId, Replicated as _, Text, TextDelta, VersionVector, Writer,
};
use proptest::prelude::*;

use crate::check_lattice;
use crate::history::REPLICAS;

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, prop::sample::Index, usize),
    Delete(usize, prop::sample::Index, usize),
    Sync(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (replica, index) = (|| 0..REPLICAS, any::<prop::sample::Index>);
    let step = prop_oneof![
        3 => (replica(), index(), 1..4_usize).prop_map(|(at, place, count)| Step::Insert(at, place, count)),
        2 => (replica(), index(), 1..4_usize).prop_map(|(at, place, count)| Step::Delete(at, place, count)),
        2 => (replica(), replica()).prop_map(|(from, to)| Step::Sync(from, to)),
    ];
    prop::collection::vec(step, 0..30)
}

/// Each letter is another, so that a text says which are there.
struct World {
    texts: Vec<Text>,
    writers: Vec<Writer>,
    inserted: Vec<(Dot, char)>,
    removed: Vec<(Dot, char)>,
    deltas: Vec<TextDelta>,
}

impl World {
    fn run(steps: &[Step]) -> Self {
        let writer = |number| Writer::new(ReplicaId::new(number).unwrap(), 0, 1000);
        let mut world = Self {
            texts: vec![Text::bottom(); REPLICAS],
            writers: (1..=REPLICAS as u128).map(writer).collect(),
            inserted: Vec::new(),
            removed: Vec::new(),
            deltas: Vec::new(),
        };
        for step in steps {
            match step {
                Step::Insert(at, place, count) => world.insert(*at, place, *count),
                Step::Delete(at, place, count) => world.delete(*at, place, *count),
                Step::Sync(from, to) => {
                    let delta = world.texts[*from].delta_since(world.texts[*to].vector());
                    world.texts[*to].apply(&delta).unwrap();
                }
            }
        }
        world
    }

    fn insert(&mut self, at: usize, place: &prop::sample::Index, count: usize) {
        let (text, writer) = (&mut self.texts[at], &mut self.writers[at]);
        let before = text.vector().clone();
        let first = u32::from('一') + u32::try_from(self.inserted.len()).unwrap();
        let letters: Vec<char> = (first..first + u32::try_from(count).unwrap())
            .map(|letter| char::from_u32(letter).unwrap())
            .collect();
        let place = place.index(text.len_chars() + 1);
        text.insert(writer, place, &letters.iter().collect::<String>())
            .unwrap();
        let counters = before.get(writer.replica()) + 1..;
        for (counter, letter) in counters.zip(letters) {
            self.inserted
                .push((Dot::new(writer.replica(), counter).unwrap(), letter));
        }
        self.deltas.push(text.delta_since(&before));
    }

    fn delete(&mut self, at: usize, place: &prop::sample::Index, count: usize) {
        let (text, writer) = (&mut self.texts[at], &mut self.writers[at]);
        let before = text.vector().clone();
        let start = place.index(text.len_chars() + 1);
        let end = (start + count).min(text.len_chars());
        let letters: Vec<char> = text.to_string().chars().collect();
        text.delete(writer, start..end).unwrap();
        let counters = before.get(writer.replica()) + 1..;
        for (counter, letter) in counters.zip(&letters[start..end]) {
            self.removed
                .push((Dot::new(writer.replica(), counter).unwrap(), *letter));
        }
        self.deltas.push(text.delta_since(&before));
    }

    /// The letters that known events inserted, without those that known events removed.
    fn specified(&self, known: &VersionVector) -> BTreeSet<char> {
        let of = |events: &[(Dot, char)]| -> BTreeSet<char> {
            let known = events.iter().filter(|(dot, _)| known.covers(*dot));
            known.map(|(_, letter)| *letter).collect()
        };
        &of(&self.inserted) - &of(&self.removed)
    }

    fn check_shows(&self, text: &Text) {
        let shown = text.to_string();
        let letters: BTreeSet<char> = shown.chars().collect();
        assert_eq!(letters.len(), text.len_chars(), "{shown} shows one twice");
        assert_eq!(letters, self.specified(text.vector()));
    }
}

/// The delta law, equal vectors, equal bytes; parts; and what came too early changes nothing.
fn check_deltas(world: &World) {
    for x in &world.texts {
        for y in &world.texts {
            let mut joined = y.clone();
            joined.join(x);
            world.check_shows(&joined);
            let delta = x.delta_since(y.vector());
            let mut by_delta = y.clone();
            by_delta.apply(&delta).unwrap();
            assert_eq!(by_delta, joined);
            assert_eq!(by_delta.canonical_bytes(), joined.canonical_bytes());
            let mut in_parts = y.clone();
            for part in delta.split(60) {
                in_parts.apply(&part).unwrap();
                world.check_shows(&in_parts);
            }
            assert_eq!(in_parts, joined);
            assert_eq!(x == y, x.canonical_bytes() == y.canonical_bytes());
            assert!(
                x.vector() != y.vector() || x == y,
                "equal vectors, different texts"
            );
        }
        let again = Text::from_bytes(&x.to_bytes(), Budget::default());
        assert_eq!(again.as_ref(), Ok(x));
    }
}

/// Every write's own delta, in an order of no reason, each as soon as it fits.
fn check_any_order(world: &World) {
    let mut all = Text::bottom();
    let mut waiting: Vec<&TextDelta> = world.deltas.iter().rev().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|delta| {
            let unchanged = all.clone();
            match all.apply(delta) {
                Ok(_) => {
                    world.check_shows(&all);
                    false
                }
                Err(ApplyError::Gap { .. }) => {
                    assert_eq!(all, unchanged);
                    true
                }
                Err(error) => panic!("{error}"),
            }
        });
        assert!(waiting.len() < before, "a gap that nothing fills");
    }
    let mut joined = Text::bottom();
    world.texts.iter().for_each(|text| {
        joined.join(text);
    });
    assert_eq!(all, joined);
    world.check_shows(&joined);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn text(steps in steps()) {
        let world = World::run(&steps);
        check_lattice(&world.texts);
        check_deltas(&world);
        check_any_order(&world);
    }
}
