//! What becomes of a state by deltas that somebody has tampered with: refused or taken, it stays one.

use std::sync::PoisonError;

use peaberry_crdt::document::{Document, Leaf};
use peaberry_crdt::testkit::{Dice as Choices, check_apply};
use peaberry_crdt::wire::{IdTable, Message};
use peaberry_crdt::{
    Causal, DotList, EnableWinsFlag, Lattice, List, Replicated, Text, Writer, path,
};

use super::samples::replica;
use super::{ALONE, Dice, mutated, rounds};

/// Three writers, each of whom has seen what the one before has written, and then go apart: what all of it makes, and the
/// deltas of the last writes.
fn check<R>(bottom: impl Fn() -> R, edit: impl Fn(&mut R, &mut Writer, &mut Choices))
where
    R: Replicated + Message + Clone + PartialEq + std::fmt::Debug,
{
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut choices, mut dice) = (Choices::new(3), Dice(3));
    let mut writers = [1, 2, 3].map(|number| Writer::new(replica(number), 0, u64::MAX));
    let mut base = bottom();
    for writer in &mut writers {
        (0..6).for_each(|_| edit(&mut base, writer, &mut choices));
    }
    let table: IdTable = base.vector().iter().map(|(id, _)| id).collect();
    let mut deltas = Vec::new();
    for writer in &mut writers {
        let mut apart = base.clone();
        for _ in 0..4 {
            edit(&mut apart, writer, &mut choices);
            let mut bytes = Vec::new();
            let delta = apart.delta_since(base.vector());
            delta.to_session_bytes(&table, &mut bytes);
            check_apply(&base, &bytes);
            deltas.push(bytes);
        }
    }
    for _ in 0..rounds() * 40 {
        let [one, other] = [(); 2].map(|()| &deltas[dice.below(deltas.len())]);
        check_apply(&base, &mutated(one, other, &mut dice));
    }
}

#[test]
fn a_text_stays_one_whatever_is_applied() {
    check(Text::bottom, |text, writer, choices| {
        let at = choices.index(text.len_chars() + 1);
        if choices.one_in(3) && at < text.len_chars() {
            text.delete(writer, at..at + 1).unwrap();
        } else {
            text.insert(writer, at, "o\u{e9}").unwrap();
        }
    });
}

#[test]
fn a_list_stays_one_whatever_is_applied() {
    check(Causal::<List<u8>>::bottom, |list, writer, choices| {
        let at = choices.index(list.value().len() + 1);
        let remove = choices.one_in(3) && at < list.value().len();
        let written = list.write(writer, |list, mint| {
            if remove {
                list.remove(at)
            } else {
                list.insert(mint, at, 7)
            }
        });
        written.unwrap();
    });
}

#[test]
fn a_list_of_flags_stays_one_whatever_is_applied() {
    check(
        Causal::<DotList<EnableWinsFlag>>::bottom,
        |list, writer, choices| {
            let at = choices.index(list.value().len() + 1);
            let update = choices.one_in(3) && at < list.value().len();
            let written = list.write(writer, |list, mint| {
                if update {
                    list.update(at, |flag| Ok(flag.enable(mint)))
                } else {
                    list.insert(mint, at, EnableWinsFlag::default().enable(mint))
                }
            });
            written.unwrap();
        },
    );
}

#[test]
fn a_document_stays_one_whatever_is_applied() {
    check(Causal::<Document>::bottom, |doc, writer, choices| {
        let number = i64::from(choices.one_in(2));
        let what = choices.below(6);
        let written = doc.write(writer, |doc, mint| match what {
            0 => doc.set(mint, path!["name"], number),
            1 => doc.set(mint, path!["sold"], Leaf::Counter(2)),
            2 => doc.set(mint, path!["list"], Leaf::List),
            3 => doc.insert(mint, path!["list"], 0, number),
            4 => doc.set(mint, path!["map", "key"], "value"),
            _ => doc.remove(path!["map"]),
        });
        // What is not there is not removed, and that is all.
        let _ = written;
    });
}
