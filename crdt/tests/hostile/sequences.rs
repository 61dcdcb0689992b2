//! Texts and lists from strangers: places, spans and depths that nobody can have meant.

use std::sync::PoisonError;

use peaberry_crdt::wire::{Bound, Budget, DecodeError, IdTable, Message};
use peaberry_crdt::{
    ApplyError, Causal, Delta, Lattice, List, POSITION_DEPTH_MAX, Text, TextDelta, Writer,
};
use stats_alloc::Region;

use super::samples::replica;
use super::{ALLOCATOR, ALONE, in_session, over};

const INSERT: u64 = 0;
const DELETE: u64 = 1;
const BACKSPACE: u64 = 2;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
    bytes
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The body of a delta with one run of the session's first replica, its first event, that had seen nothing.
fn one_run(kind: u64, len: u64, place: u64, text: &str) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0, 0];
    bytes.extend(varint(len << 3 | 4 | kind));
    bytes.extend(varint(zigzag(place.cast_signed())));
    // One run with parents: none of them.
    bytes.push(0);
    bytes.extend(varint(text.len() as u64));
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[test]
fn a_run_that_is_meant_is_taken() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let delta: TextDelta = in_session(&one_run(INSERT, 3, 0, "tea"), Budget::default()).unwrap();
    let mut text = Text::bottom();
    text.apply(&delta).unwrap();
    assert_eq!(text.to_string(), "tea");
}

#[test]
fn places_beyond_the_text_are_refused_by_replica_and_cost_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = Text::bottom();
    text.insert(&mut Writer::new(replica(7), 0, 10), 0, "tea")
        .unwrap();
    let before = text.clone();
    for place in [4, 1 << 32, 1 << 62, 1 << 63] {
        for (kind, len, inserted) in [(INSERT, 1, "x"), (DELETE, 1, ""), (BACKSPACE, 2, "")] {
            let bytes = one_run(kind, len, place, inserted);
            let region = Region::new(ALLOCATOR);
            let delta: TextDelta = in_session(&bytes, Budget::default()).unwrap();
            let refused = text.apply(&delta);
            assert_eq!(
                refused,
                Err(ApplyError::OutOfBounds {
                    replica: replica(1),
                    counter: 1
                })
            );
            assert!(in_session::<Text>(&bytes, Budget::default()).is_err());
            assert!(region.change().bytes_allocated < 50_000);
            assert_eq!(text, before);
            assert_eq!(text.to_bytes(), before.to_bytes());
        }
    }
    // Beyond what a place can be.
    let refused = in_session::<TextDelta>(&one_run(DELETE, 2, u64::MAX, ""), Budget::default());
    assert!(matches!(refused, Err(DecodeError::Malformed(_))));
    // In front of the start.
    let refused = in_session::<TextDelta>(&one_run(BACKSPACE, 3, 1, ""), Budget::default());
    assert!(matches!(refused, Err(DecodeError::Malformed(_))));
}

#[test]
fn spans_that_are_huge_are_refused_before_they_cost_anything() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for len in [(1 << 32) + 1, 1 << 40, (1 << 61) - 1] {
        let region = Region::new(ALLOCATOR);
        let removal = one_run(DELETE, len, 0, "");
        let refused = in_session::<TextDelta>(&removal, Budget::default());
        assert_eq!(over(refused.err()), Bound::Events);
        // Characters that are not there.
        let insertion = one_run(INSERT, len, 0, "tea");
        let refused = in_session::<TextDelta>(&insertion, Budget::default());
        assert!(matches!(refused, Err(DecodeError::Malformed(_))));
        assert!(region.change().bytes_allocated < 20_000);
    }
    // As long as a budget allows: a number, that the text does not have.
    let region = Region::new(ALLOCATOR);
    let removal = one_run(DELETE, 1 << 31, 0, "");
    let delta: TextDelta = in_session(&removal, Budget::default()).unwrap();
    assert!(Text::bottom().apply(&delta).is_err());
    assert!(region.change().bytes_allocated < 20_000);
    // No event at all, and one after the last that a replica can have.
    let beyond = [&[0, 1, 0][..], &varint(u64::MAX), &[0, 1 << 3 | 1, 0, 0]].concat();
    for bytes in [one_run(INSERT, 0, 0, ""), beyond] {
        assert!(in_session::<TextDelta>(&bytes, Budget::default()).is_err());
    }
}

/// Events of two replicas, the first of which had seen the other's.
#[test]
fn events_that_have_seen_each_other_are_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let table = IdTable::from_iter([replica(1), replica(2)]);
    let mut bytes = vec![0, 2, 0, 0, 0, 1, 0, 0];
    let insert = 1 << 3 | 4;
    // A column of two literals.
    bytes.extend([3, insert, insert]);
    bytes.extend([3, 0, 0]);
    // One parent each: the other's first event.
    bytes.extend([3, 1, 1]);
    bytes.extend([3, 1, 0]);
    bytes.extend([3, 0, 0]);
    bytes.extend([2, b'a', b'b']);
    let refused = TextDelta::from_session_bytes(&bytes, &table, Budget::default());
    assert_eq!(
        refused,
        Err(DecodeError::Malformed(
            "events of a text have seen each other"
        ))
    );
}

/// A path of the deepest list is four bytes for each level; one level more is refused.
#[test]
fn positions_that_are_too_deep_are_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let table = IdTable::from_iter([replica(1), replica(2)]);
    let of_depth = |depth: usize| {
        // No ids told, no log, a vector of nothing, one element.
        let mut bytes = vec![0, 1, 0, 1];
        bytes.extend(varint(depth as u64 + 1));
        for level in 0..=depth {
            bytes.extend(varint((level as u64) << 1));
            bytes.push(u8::try_from(level % 2).unwrap());
            bytes.extend(varint(zigzag(level as i64 / 2 + 1)));
            if level > 0 {
                bytes.push(0);
            }
        }
        // The element: the last branch's first, with nothing of interest behind it.
        bytes.extend(varint(zigzag(depth as i64)));
        bytes.push(0);
        bytes
    };
    let bytes = of_depth(POSITION_DEPTH_MAX + 1);
    let region = Region::new(ALLOCATOR);
    let refused = Causal::<List<u8>>::from_session_bytes(&bytes, &table, Budget::default());
    assert_eq!(over(refused.err()), Bound::Depth);
    assert!(region.change().bytes_allocated < 20_000 + 200 * bytes.len());
    // The deepest goes further, and fails for what is not behind it.
    let bytes = of_depth(POSITION_DEPTH_MAX);
    let refused = Causal::<List<u8>>::from_session_bytes(&bytes, &table, Budget::default());
    assert_eq!(refused, Err(DecodeError::Truncated));
}

/// One element, on a branch that grows on another replica's: its delta asks for that one's event, or is refused.
#[test]
fn an_element_beside_what_its_delta_does_not_ask_for_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let table = IdTable::from_iter([replica(1), replica(2)]);
    // Two branches, the second of the other replica; the element at the first place of it; its dot and its value.
    let element = |first| [1, 2, 0, 0, first, 2, 1, 2, 0, 2, 0, 1, 1, 0, 7];
    let alone = [&[0, 1, 1, 0, 0][..], &element(2)].concat();
    let asking = [&[0, 0, 1, 1, 0, 0, 1, 0, 1][..], &element(0)].concat();
    let read =
        |bytes: &[u8]| Delta::<List<u8>>::from_session_bytes(bytes, &table, Budget::default());
    let unclaimed = DecodeError::Unclaimed {
        replica: replica(1),
        counter: 1,
    };
    assert_eq!(read(&alone).err(), Some(unclaimed));
    let delta = read(&asking);
    assert_eq!(delta.map(|delta| delta.from().get(replica(1))), Ok(1));
}

/// Counters at the end of their range, in branches and in what grows on them.
#[test]
fn positions_that_are_huge_are_refused_and_cost_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let huge = varint(u64::MAX);
    let element = [&[0, 1, 0, 1][..], &[1, 0, 0], &huge, &[0, 0, 0]].concat();
    let far_along = [&[0, 1, 0, 1][..], &[2, 0, 0, 2, 2, 0, 4], &huge, &[0, 0, 0]].concat();
    let many_branches = [&[0, 1, 0, 1][..], &huge].concat();
    let no_such_parent = [0, 1, 0, 1, 1, 4, 0, 2, 0, 0, 0];
    for bytes in [
        &element,
        &far_along,
        &many_branches,
        &no_such_parent.to_vec(),
    ] {
        let region = Region::new(ALLOCATOR);
        assert!(in_session::<Causal<List<u8>>>(bytes, Budget::default()).is_err());
        assert!(in_session::<Delta<List<u8>>>(bytes, Budget::default()).is_err());
        assert!(region.change().bytes_allocated < 20_000);
    }
}
