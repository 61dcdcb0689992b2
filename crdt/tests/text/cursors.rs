//! Cursors, against a reading in which every character is another.

use std::collections::BTreeMap;

use peaberry_crdt::{Cursor, CursorSide, Lattice as _, Text, Writer};
use proptest::prelude::*;

use crate::writer;

const REPLICAS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, prop::sample::Index, usize),
    Delete(usize, prop::sample::Index, usize),
    Join(usize, usize),
    /// Puts a cursor, on either side.
    Put(usize, prop::sample::Index, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (replica, place) = (0..REPLICAS, any::<prop::sample::Index>());
    prop::collection::vec(
        prop_oneof![
            4 => (replica.clone(), place.clone(), 1..5_usize).prop_map(|(at, place, count)| Step::Insert(at, place, count)),
            3 => (replica.clone(), place.clone(), 1..5_usize).prop_map(|(at, place, count)| Step::Delete(at, place, count)),
            2 => (replica.clone(), replica.clone()).prop_map(|(to, from)| Step::Join(to, from)),
            3 => (replica, place, any::<bool>()).prop_map(|(at, place, is_left)| Step::Put(at, place, is_left)),
        ],
        0..60,
    )
}

/// A cursor and what its text was when it was put.
struct Put {
    /// Where it was put.
    replica: usize,
    cursor: Cursor,
    side: CursorSide,
    at: usize,
    text: Vec<char>,
}

impl Put {
    /// The character it keeps to.
    fn beside(&self) -> Option<char> {
        match self.side {
            CursorSide::Left => self.at.checked_sub(1).and_then(|at| self.text.get(at)),
            CursorSide::Right => self.text.get(self.at),
        }
        .copied()
    }

    /// Beside its character wherever that is; where it is gone, behind all that was in front of it and is still there,
    /// and in front of all that was behind; at the start or end if it keeps to that. To another replica some of these may
    /// have come only after the character had gone, and then it cannot know on which side they lay.
    fn check(&self, replica: usize, located: Option<usize>, text: &[char]) {
        let places: BTreeMap<char, usize> = text.iter().copied().zip(0..).collect();
        let Some(beside) = self.beside() else {
            let end = match self.side {
                CursorSide::Left => 0,
                CursorSide::Right => text.len(),
            };
            assert_eq!(located, Some(end));
            return;
        };
        // Who has not heard of the character knows of no place; who has, knows one.
        let Some(located) = located else {
            assert!(!places.contains_key(&beside));
            return;
        };
        if let Some(place) = places.get(&beside) {
            assert_eq!(located, place + usize::from(self.side == CursorSide::Left));
            return;
        }
        assert!(located <= text.len());
        let seen = if replica == self.replica {
            &self.text[..]
        } else {
            &[]
        };
        for (at, char) in seen.iter().enumerate() {
            if let Some(place) = places.get(char) {
                assert_eq!(
                    at < self.at,
                    *place < located,
                    "{char:?} is on the wrong side"
                );
            }
        }
    }
}

fn run(steps: &[Step], letters: usize) {
    let mut texts = vec![Text::bottom(); REPLICAS];
    let mut writers: Vec<Writer> = (1..=3).map(writer).collect();
    let (mut next, mut puts) = (0x4e00_u32, Vec::<Put>::new());
    for step in steps {
        match step {
            Step::Insert(at, place, count) => {
                let fresh: String = (next..)
                    .filter_map(char::from_u32)
                    .take(count * letters)
                    .collect();
                next += u32::try_from(count * letters).unwrap();
                let place = place.index(texts[*at].len_chars() + 1);
                texts[*at].insert(&mut writers[*at], place, &fresh).unwrap();
            }
            Step::Delete(at, place, count) => {
                let length = texts[*at].len_chars();
                let start = place.index(length + 1);
                let end = (start + count * letters).min(length);
                texts[*at].delete(&mut writers[*at], start..end).unwrap();
            }
            Step::Join(to, from) => {
                let other = texts[*from].clone();
                texts[*to].join(&other);
            }
            Step::Put(at, place, is_left) => {
                let text = &texts[*at];
                let place = place.index(text.len_chars() + 1);
                let side = if *is_left {
                    CursorSide::Left
                } else {
                    CursorSide::Right
                };
                let cursor = text.cursor(place, side).unwrap();
                assert_eq!(text.locate(cursor), Some(place));
                puts.push(Put {
                    replica: *at,
                    cursor,
                    side,
                    at: place,
                    text: text.to_string().chars().collect(),
                });
            }
        }
        for (replica, text) in texts.iter().enumerate() {
            let shown: Vec<char> = text.to_string().chars().collect();
            puts.iter()
                .for_each(|put| put.check(replica, text.locate(put.cursor), &shown));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn cursors_keep_to_their_characters(steps in steps()) {
        run(&steps, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    /// Far more events than are looked at first.
    #[test]
    fn cursors_find_what_was_written_long_ago(steps in steps()) {
        run(&steps, 150);
    }
}
