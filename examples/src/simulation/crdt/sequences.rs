//! Texts and lists of writers who are apart most of the time.
//!
//! Three replicas insert and remove, and hear of each other late. Whatever stood in order before a writer's eyes stands in
//! that order for everybody and for ever, nothing is there but what was inserted and not removed, and equal vectors are
//! equal sequences. A delta that edits beyond the text its receiver has is refused, and one in which a replica had not seen
//! what it wrote itself.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use peaberry_crdt::wire::{Budget, IdTable, Message as _};
use peaberry_crdt::{
    ApplyError, Causal, Delta, Dot, Lattice as _, List, ReplicaId, Text, TextDelta, VersionVector,
    WriteError, Writer,
};

use super::reached;
use crate::simulation::Run;

const REPLICAS: usize = 3;
const STEPS: usize = 60;
/// The first of so many letters of which no two are alike.
const LETTERS: u32 = 0x4e00;

/// What a replica writes and hears. Elements are numbers, and no two are alike.
trait Sequence {
    fn empty() -> Self;
    fn insert(&mut self, writer: &mut Writer, at: usize, element: u32);
    fn remove(&mut self, writer: &mut Writer, at: usize);
    fn shown(&self) -> Vec<u32>;
    fn vector(&self) -> &VersionVector;
    /// What it has over another, as bytes.
    fn tell(&self, known: &VersionVector) -> Vec<u8>;
    fn hear(&mut self, bytes: &[u8]) -> Result<(), String>;
}

/// Checks a random history of each.
pub(super) fn check(seed: u64, run: &mut Run) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let complaints = [
        World::<Text>::run(&mut rng.fork(), run),
        World::<Causal<List<u32>>>::run(&mut rng.fork(), run),
        refuse_what_lies_beyond(run),
        refuse_forks(&mut rng, run),
    ];
    let complaints = complaints.into_iter().filter_map(Result::err);
    run.violations.extend(complaints);
}

/// One element, as a naive reading has it.
struct Element {
    /// What stood in front of it and behind it when it was inserted.
    before: BTreeSet<u32>,
    behind: BTreeSet<u32>,
    inserted: Dot,
    removed: Vec<Dot>,
}

struct World<S> {
    replicas: Vec<(S, Writer)>,
    elements: Vec<Element>,
    shown: BTreeMap<Vec<(ReplicaId, u64)>, Vec<u32>>,
}

impl<S: Sequence> World<S> {
    fn run(rng: &mut fastrand::Rng, run: &mut Run) -> Result<(), String> {
        let replica = |number| (S::empty(), Writer::new(id(number), 0, u64::MAX));
        let mut world = Self {
            replicas: (1..=REPLICAS as u128).map(replica).collect(),
            elements: Vec::new(),
            shown: BTreeMap::new(),
        };
        for _ in 0..STEPS {
            let (at, from) = (rng.usize(..REPLICAS), rng.usize(..REPLICAS));
            match rng.u8(..7) {
                0 => world.hear(at, from, run)?,
                1 => world.remove(at, rng),
                _ => world.insert(at, rng),
            }
            world.look(at)?;
        }
        for (at, from) in (0..REPLICAS).flat_map(|at| (0..REPLICAS).map(move |from| (at, from))) {
            world.hear(at, from, run)?;
            world.look(at)?;
        }
        Ok(())
    }

    /// Few places, so that many write at one.
    fn insert(&mut self, at: usize, rng: &mut fastrand::Rng) {
        let Some((sequence, writer)) = self.replicas.get_mut(at) else {
            return;
        };
        let shown = sequence.shown();
        let place = match rng.u8(..4) {
            0 => 0,
            1 => shown.len(),
            _ => shown.len() / 2,
        };
        let element = u32::try_from(self.elements.len()).unwrap_or(u32::MAX);
        sequence.insert(writer, place, element);
        let (before, behind) = shown.split_at(place);
        self.elements.push(Element {
            before: before.iter().copied().collect(),
            behind: behind.iter().copied().collect(),
            inserted: last_event(sequence, writer),
            removed: Vec::new(),
        });
    }

    fn remove(&mut self, at: usize, rng: &mut fastrand::Rng) {
        let Some((sequence, writer)) = self.replicas.get_mut(at) else {
            return;
        };
        let shown = sequence.shown();
        let Some(place) = rng.choice(0..shown.len()) else {
            return;
        };
        let before = sequence.vector().clone();
        sequence.remove(writer, place);
        // One of which no event tells is none that anybody could hear of.
        let event = (*sequence.vector() != before).then(|| last_event(sequence, writer));
        let element = shown
            .get(place)
            .and_then(|element| usize::try_from(*element).ok());
        if let Some(element) = element.and_then(|element| self.elements.get_mut(element)) {
            element.removed.extend(event);
        }
    }

    fn hear(&mut self, at: usize, from: usize, run: &mut Run) -> Result<(), String> {
        let [Some((ours, _)), Some((theirs, _))] = [at, from].map(|at| self.replicas.get(at))
        else {
            return Ok(());
        };
        let (known, told) = (ours.vector(), theirs.vector());
        if !known.partial_le(told) && !told.partial_le(known) {
            run.reached.mark(reached::WRITTEN_APART);
        }
        let bytes = theirs.tell(known);
        match self.replicas.get_mut(at) {
            Some((ours, _)) => ours.hear(&bytes),
            None => Ok(()),
        }
    }

    fn look(&mut self, at: usize) -> Result<(), String> {
        let Some((sequence, _)) = self.replicas.get(at) else {
            return Ok(());
        };
        let (shown, vector) = (sequence.shown(), sequence.vector());
        let is_there = |element: &Element| {
            vector.covers(element.inserted)
                && !element
                    .removed
                    .iter()
                    .any(|removal| vector.covers(*removal))
        };
        let known = (0..).zip(&self.elements);
        let expected: BTreeSet<u32> = known
            .filter(|(_, element)| is_there(element))
            .map(|(number, _)| number)
            .collect();
        if shown.len() != expected.len() || !shown.iter().all(|element| expected.contains(element))
        {
            return Err(format!(
                "divergence: a sequence shows {shown:?}, not {expected:?}"
            ));
        }
        for (place, number) in shown.iter().enumerate() {
            let element = usize::try_from(*number)
                .ok()
                .and_then(|at| self.elements.get(at));
            let (front, back) = shown.split_at(place);
            let is_moved = element.is_some_and(|element| {
                front.iter().any(|other| element.behind.contains(other))
                    || back.iter().any(|other| element.before.contains(other))
            });
            if is_moved {
                return Err(format!(
                    "divergence: {number} is not where it was put: {shown:?}"
                ));
            }
        }
        let before = self
            .shown
            .entry(vector.iter().collect())
            .or_insert_with(|| shown.clone());
        if *before != shown {
            return Err(format!(
                "divergence: {shown:?} and {before:?} for an equal vector"
            ));
        }
        Ok(())
    }
}

fn last_event<S: Sequence>(sequence: &S, writer: &Writer) -> Dot {
    let counter = sequence.vector().get(writer.replica());
    Dot::new(writer.replica(), counter).expect("it has written")
}

fn id(number: u128) -> ReplicaId {
    ReplicaId::new(number).expect("replicas are numbered from one")
}

impl Sequence for Text {
    fn empty() -> Self {
        Self::bottom()
    }

    fn insert(&mut self, writer: &mut Writer, at: usize, element: u32) {
        let letter = char::from_u32(LETTERS + element).expect("a few");
        Self::insert(self, writer, at, &String::from(letter)).expect("the place is there");
    }

    fn remove(&mut self, writer: &mut Writer, at: usize) {
        self.delete(writer, at..at + 1).expect("the place is there");
    }

    fn shown(&self) -> Vec<u32> {
        let letters = self.chunks().flat_map(str::chars);
        letters.map(|letter| u32::from(letter) - LETTERS).collect()
    }

    fn vector(&self) -> &VersionVector {
        self.vector()
    }

    fn tell(&self, known: &VersionVector) -> Vec<u8> {
        self.delta_since(known).to_bytes()
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        let delta = TextDelta::from_bytes(bytes, Budget::default());
        let delta = delta.map_err(|error| format!("a text's delta is refused: {error}"))?;
        let applied = self.apply(&delta);
        applied
            .map(drop)
            .map_err(|error| format!("a text's delta is refused: {error}"))
    }
}

impl Sequence for Causal<List<u32>> {
    fn empty() -> Self {
        Self::bottom()
    }

    fn insert(&mut self, writer: &mut Writer, at: usize, element: u32) {
        let inserted = self.write(writer, |list, mint| list.insert(mint, at, element));
        inserted.expect("the place is there");
    }

    fn remove(&mut self, writer: &mut Writer, at: usize) {
        let removed = self.write(writer, |list, _| list.remove(at));
        removed.expect("the place is there");
    }

    fn shown(&self) -> Vec<u32> {
        self.value().iter().copied().collect()
    }

    fn vector(&self) -> &VersionVector {
        self.vector()
    }

    fn tell(&self, known: &VersionVector) -> Vec<u8> {
        self.delta_since(known).to_bytes()
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        let delta = Delta::from_bytes(bytes, Budget::default());
        let delta = delta.map_err(|error| format!("a list's delta is refused: {error}"))?;
        let applied = self.apply(&delta);
        applied
            .map(drop)
            .map_err(|error| format!("a list's delta is refused: {error}"))
    }
}

/// Two who write under one id, as nobody may: what is built on the longer text does not fit the shorter.
fn refuse_what_lies_beyond(run: &mut Run) -> Result<(), String> {
    let fail = |error: WriteError| format!("a text is not written: {error}");
    let (mut long, mut short) = (Text::bottom(), Text::bottom());
    let one_id = || Writer::new(id(1), 0, u64::MAX);
    long.insert(&mut one_id(), 0, "a long text").map_err(fail)?;
    let mut other = one_id();
    short.insert(&mut other, 0, "short").map_err(fail)?;
    short.delete(&mut other, 0..5).map_err(fail)?;
    short.insert(&mut other, 0, "t").map_err(fail)?;
    let known = long.vector().clone();
    long.delete(&mut Writer::new(id(3), 0, u64::MAX), 5..9)
        .map_err(fail)?;
    let delta = long.delta_since(&known);
    for is_apart in [false, true] {
        let mut receiver = short.clone();
        if is_apart {
            let mut writer = Writer::new(id(4), 0, u64::MAX);
            receiver.insert(&mut writer, 1, "!").map_err(fail)?;
        }
        let before = receiver.clone();
        // Whoever takes it may well panic.
        match catch_unwind(AssertUnwindSafe(|| receiver.apply(&delta))) {
            Ok(Err(ApplyError::OutOfBounds { .. })) if receiver == before => {
                run.reached.mark(reached::EDIT_BEYOND);
            }
            _ => return Err("divergence: an edit beyond a text is not refused".into()),
        }
    }
    Ok(())
}

/// A forger's own id: two of its events, the second of which had not seen the first, but nothing, or what others wrote.
fn refuse_forks(rng: &mut fastrand::Rng, run: &mut Run) -> Result<(), String> {
    let mut receiver = Text::bottom();
    let mut honest = Writer::new(id(1), 0, u64::MAX);
    for _ in 0..rng.usize(1..5) {
        receiver
            .insert(&mut honest, 0, "tea")
            .map_err(|error| format!("a text is not written: {error}"))?;
    }
    let last = u8::try_from(receiver.vector().get(id(1))).unwrap_or(u8::MAX);
    let table = IdTable::from_iter([id(1), id(9)]);
    // A column of two, as they are, and what follows is one.
    let two = |first, second| [3, first, second];
    let insert = 1 << 3 | 1 << 2;
    let head = [&[0, 1, 1, 0, 1][..], &two(insert, insert), &two(0, 1)].concat();
    let had_seen_nothing = [&head[..], &two(0, 0), b"\x02ab"].concat();
    let had_seen_another = [&head[..], &two(0, 1), &[0, (last - 1) << 1], b"\x02ab"].concat();
    for bytes in [had_seen_nothing, had_seen_another] {
        let delta = TextDelta::from_session_bytes(&bytes, &table, Budget::default())
            .map_err(|error| format!("a forged delta is not what it should be: {error}"))?;
        let before = receiver.clone();
        match receiver.apply(&delta) {
            Err(ApplyError::Forked {
                replica,
                counter: 2,
            }) if replica == id(9) => {
                run.reached.mark(reached::FORKED);
            }
            other => return Err(format!("divergence: a fork is not refused: {other:?}")),
        }
        if receiver != before || receiver.to_bytes() != before.to_bytes() {
            return Err("divergence: a refused fork has left something behind".into());
        }
    }
    Ok(())
}
