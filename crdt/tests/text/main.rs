//! Texts: against a naive Fugue tree, on real traces, and what is refused.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod cursors;
mod fugue;
mod traces;

use peaberry_crdt::testkit::{Dice, check_convergence, check_laws};
use peaberry_crdt::wire::{Budget, DecodeError, Message as _};
use peaberry_crdt::{
    ApplyError, CursorSide, Lattice, Offset, ReplicaId, Text, TextDelta, VersionVector, WriteError,
    Writer,
};

fn writer(number: u128) -> Writer {
    Writer::new(ReplicaId::new(number).unwrap(), 0, 1_000_000)
}

fn edit(text: &mut Text, writer: &mut Writer, dice: &mut Dice) {
    let at = dice.index(text.len_chars() + 1);
    if dice.one_in(3) {
        let end = (at + dice.index(4)).min(text.len_chars());
        text.delete(writer, at..end).unwrap();
    } else {
        let piece = ["a", "bc", "é", "🌱z", "word "][dice.index(5)];
        text.insert(writer, at, piece).unwrap();
    }
}

#[test]
fn a_text_keeps_the_laws() {
    check_laws(0..300, Text::bottom, edit);
}

#[test]
fn a_text_converges_on_a_bad_network() {
    check_convergence(0..40, Text::bottom, edit);
}

#[test]
fn places_are_counted_in_every_unit() {
    let (mut text, mut writer) = (Text::bottom(), writer(1));
    text.insert(&mut writer, 0, "a🌱é").unwrap();
    text.insert(&mut writer, Offset::Utf16(3), "b").unwrap();
    text.insert(&mut writer, Offset::Bytes(1), "c").unwrap();
    assert_eq!(text.to_string(), "ac🌱bé");
    assert_eq!(
        (text.len_chars(), text.len_bytes(), text.len_utf16()),
        (5, 9, 6)
    );
    assert_eq!(text.utf16_before(Offset::Bytes(6)), Some(4));
    assert_eq!(
        text.chars_before(Offset::Utf16(3)),
        None,
        "within a character"
    );
    let before = text.clone();
    for at in [
        Offset::Bytes(3),
        Offset::Utf16(3),
        Offset::Chars(6),
        Offset::Bytes(10),
    ] {
        let refused = text.insert(&mut writer, at, "x");
        assert!(matches!(refused, Err(WriteError::OutOfBounds { .. })));
    }
    assert_eq!(text, before);
    text.delete(&mut writer, Offset::Utf16(2)..Offset::Utf16(4))
        .unwrap();
    assert_eq!(text.to_string(), "acbé");
}

/// A cursor keeps to its character through merges, and to its place when that is removed.
#[test]
fn cursors_stay_where_they_were_put() {
    let (mut here, mut mine, mut theirs) = (Text::bottom(), writer(1), writer(2));
    here.insert(&mut mine, 0, "0123456789").unwrap();
    let mut there = here.clone();
    let left = here.cursor(5, CursorSide::Left).unwrap();
    let right = here.cursor(5, CursorSide::Right).unwrap();
    let end = here.cursor(10, CursorSide::Right).unwrap();
    here.insert(&mut mine, 5, "ab").unwrap();
    there.insert(&mut theirs, 0, "xyz").unwrap();
    there.delete(&mut theirs, 7..9).unwrap();
    there.insert(&mut theirs, 2, "--").unwrap();
    here.join(&there);
    there.join(&here);
    assert_eq!(here.to_string(), "xy--z0123ab6789");
    for text in [
        &here,
        &there,
        &Text::from_bytes(&here.to_bytes(), Budget::default()).unwrap(),
    ] {
        assert_eq!(text.locate(left), Some(9), "4 is gone");
        assert_eq!(text.locate(right), Some(11), "5 is gone");
        assert_eq!(text.locate(end), Some(15));
        for at in 0..15 {
            for side in [CursorSide::Left, CursorSide::Right] {
                assert_eq!(here.locate(text.cursor(at, side).unwrap()), Some(at));
            }
        }
    }
    assert_eq!(Text::bottom().locate(left), None);
}

#[test]
fn what_comes_too_early_or_twice_with_two_meanings_is_refused() {
    let (mut here, mut mine) = (Text::bottom(), writer(1));
    here.insert(&mut mine, 0, "one").unwrap();
    let known = here.vector().clone();
    here.insert(&mut mine, 3, " two").unwrap();
    let mut there = Text::bottom();
    let later = here.delta_since(&known);
    assert!(matches!(
        there.apply(&later),
        Err(ApplyError::Gap {
            from: 3,
            known: 0,
            ..
        })
    ));
    assert_eq!(there, Text::bottom());

    // Two writers with one id.
    let (mut forged, mut forger) = (Text::bottom(), writer(1));
    forged.insert(&mut forger, 0, "ona").unwrap();
    let before = here.clone();
    let refused = here.apply(&forged.delta_since(&VersionVector::new()));
    let replica = ReplicaId::new(1).unwrap();
    assert_eq!(
        refused,
        Err(ApplyError::Conflict {
            replica,
            counter: 1
        })
    );
    assert_eq!(here, before);
    assert_eq!(here.to_bytes(), before.to_bytes());
}

/// An edit beyond the text its writer saw is refused whole, also behind edits that could be made.
#[test]
fn edits_beyond_the_text_are_refused_and_nothing_changes() {
    let (mut long, mut author) = (Text::bottom(), writer(1));
    long.insert(&mut author, 0, "a long text").unwrap();
    let mut reader = long.clone();
    // The same dots for a shorter text: what is built on one does not fit the other.
    let (mut short, mut other_author) = (Text::bottom(), writer(1));
    short.insert(&mut other_author, 0, "short").unwrap();
    short.delete(&mut other_author, 0..5).unwrap();
    short.insert(&mut other_author, 0, "t").unwrap();
    assert_eq!(short.vector(), long.vector());
    let mut third = writer(3);
    reader.insert(&mut third, 0, "ok").unwrap();
    reader.delete(&mut third, 5..9).unwrap();
    let delta = reader.delta_since(long.vector());
    for concurrent in [false, true] {
        let mut receiver = short.clone();
        if concurrent {
            receiver.insert(&mut writer(4), 1, "!").unwrap();
        }
        let before = receiver.clone();
        let refused = receiver.apply(&delta);
        let replica = ReplicaId::new(3).unwrap();
        assert_eq!(
            refused,
            Err(ApplyError::OutOfBounds {
                replica,
                counter: 3
            })
        );
        assert_eq!(receiver, before);
        assert_eq!(receiver.to_bytes(), before.to_bytes());
        receiver.insert(&mut writer(5), 0, "goes on").unwrap();
    }
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused() {
    let (mut here, mut mine, mut theirs) = (Text::bottom(), writer(1), writer(2));
    here.insert(&mut mine, 0, "shared ✓").unwrap();
    let mut there = here.clone();
    here.insert(&mut mine, 3, "x").unwrap();
    there.delete(&mut theirs, 2..4).unwrap();
    here.join(&there);
    let bytes = here.to_bytes();
    for cut in 0..bytes.len() {
        assert!(Text::from_bytes(&bytes[..cut], Budget::default()).is_err());
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Text::from_bytes(&damaged, Budget::default()).is_err());
    }
    let small = Budget {
        dots_max: 2,
        ..Budget::default()
    };
    let refused = TextDelta::from_bytes(&here.delta_since(&VersionVector::new()).to_bytes(), small);
    assert!(matches!(refused, Err(DecodeError::OverBudget { .. })));
}

/// A peer may claim to know any event at all: it is told what else there is, and nothing overflows.
#[test]
fn a_vector_of_events_that_do_not_exist_is_answered_like_one_of_all_that_do() {
    let (mut text, mut mine, mut theirs) = (Text::bottom(), writer(1), writer(2));
    text.insert(&mut mine, 0, "tea").unwrap();
    text.insert(&mut theirs, 3, " and oats").unwrap();
    let (mut forged, mut honest) = (VersionVector::new(), VersionVector::new());
    forged.raise(mine.replica(), u64::MAX);
    honest.raise(mine.replica(), 3);
    let delta = text.delta_since(&forged);
    assert_eq!(delta, text.delta_since(&honest));
    assert!(!delta.is_empty());
    forged.raise(theirs.replica(), u64::MAX);
    assert!(text.delta_since(&forged).is_empty());
    assert!(text.delta_between(&forged, &forged).is_empty());
}
