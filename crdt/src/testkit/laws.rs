use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Dice, Subject, check};
use crate::wire::{Budget, Message};
use crate::{ApplyError, Changed, Lattice, Limits, ReplicaId, Replicated, VersionVector, Writer};

const REPLICAS: u64 = 3;
const STEPS_MAX: usize = 40;

/// Checks, in a random history for each seed, what [`Replicated`] promises:
///
/// - the same vector means the same state, and the same bytes;
/// - what a delta brings does not depend on order, repetition, grouping or splitting, removals included;
/// - a delta that comes too early is refused as a gap, and nothing changes;
/// - a first part brings something, what lies behind it completes it, and forgetting what all know changes nothing;
/// - states and deltas come back from their bytes, and no cut-off prefix is taken for a whole.
///
/// `edit` writes to a state once, as it likes.
///
/// # Panics
///
/// When a law is broken; with the seed, the fewest steps that break it, and the law.
pub fn check_laws<R: Subject>(
    seeds: Range<u64>,
    initial: impl Fn() -> R,
    mut edit: impl FnMut(&mut R, &mut Writer, &mut Dice),
) {
    check(seeds, STEPS_MAX, |seed, steps| {
        let mut dice = Dice::new(seed);
        let mut replicas: Vec<(R, Writer)> = (1..=REPLICAS)
            .filter_map(|number| ReplicaId::new(u128::from(number)))
            .map(|id| (initial(), Writer::new(id, 0, u64::MAX)))
            .collect();
        for _ in 0..steps {
            let (at, from) = (dice.index(replicas.len()), dice.index(replicas.len()));
            let other = replicas.get(from).map(|(state, _)| state.clone());
            let (Some((state, writer)), Some(other)) = (replicas.get_mut(at), other) else {
                continue;
            };
            if dice.one_in(3) && at != from {
                join_lawfully(&initial(), state, &other, &mut dice)?;
            } else {
                edit(state, writer, &mut dice);
            }
            round_trip(state)?;
        }
        let states: Vec<R> = replicas.into_iter().map(|(state, _)| state).collect();
        all_agree(&initial(), &states)
    });
}

fn law(holds: bool, name: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(name.into()) }
}

/// Joins what `other` has over `state`, whole, in parts and repeated.
fn join_lawfully<R: Subject>(
    initial: &R,
    state: &mut R,
    other: &R,
    dice: &mut Dice,
) -> Result<(), String> {
    let before = state.clone();
    let delta = other.delta_since(before.vector());
    let mut both = before.vector().clone();
    both.join(other.vector());
    take(state, &delta)?;
    law(
        *state.vector() == both,
        "after a delta since its vector a state knows what both knew",
    )?;
    let again = state.apply_within(&delta, &Limits::NONE);
    law(again == Ok(Changed::No), "a repeated delta changes nothing")?;

    let mut in_parts = before.clone();
    let bytes_max = [1, 64, 1024]
        .get(dice.index(3))
        .copied()
        .unwrap_or_default();
    let parts = R::split(other.delta_since(before.vector()), bytes_max);
    if let Some(first) = other.first_part_since(before.vector(), bytes_max) {
        let mut begun = before.clone();
        take(&mut begun, &first)?;
        law(
            before.vector() == state.vector() || begun.vector() != before.vector(),
            "a first part brings something",
        )?;
        let rest = other.delta_since(begun.vector());
        take(&mut begun, &rest)?;
        law(
            begun == *state,
            "a state behind a first part is completed by a delta since its vector",
        )?;
    }
    for part in &parts {
        take(&mut in_parts, part)?;
        let mut completed = in_parts.clone();
        let rest = other.delta_since(completed.vector());
        take(&mut completed, &rest)?;
        law(
            completed == *state,
            "a state between two parts is completed by a delta since its vector",
        )?;
    }
    law(
        in_parts == *state,
        "the parts of a delta do what the delta does",
    )?;

    collected(&before, other, state)?;
    let mut other_way = other.clone();
    take(&mut other_way, &before.delta_since(other.vector()))?;
    law(
        other_way == *state,
        "a join is commutative: equal vectors mean equal states",
    )?;
    law(
        other_way.canonical_bytes() == state.canonical_bytes(),
        "equal states write equal bytes",
    )?;
    too_early(initial, &delta)
}

/// Both forget what both know; what one lacks of the other still comes to `joined`.
fn collected<R: Subject>(state: &R, other: &R, joined: &R) -> Result<(), String> {
    let stable = state.vector().meet(other.vector());
    let (mut mine, mut theirs) = (state.clone(), other.clone());
    mine.collect(&stable);
    theirs.collect(&stable);
    law(
        mine == *state && theirs == *other,
        "what is forgotten at stability changes no state",
    )?;
    take(&mut mine, &theirs.delta_since(state.vector()))?;
    law(
        mine == *joined && mine.canonical_bytes() == joined.canonical_bytes(),
        "a delta brings the same after what all know is forgotten",
    )
}

/// Applies a delta to a state that does not know what the delta starts from.
fn too_early<R: Subject>(initial: &R, delta: &R::Delta) -> Result<(), String> {
    if R::needs(delta).partial_le(initial.vector()) {
        return Ok(());
    }
    let mut behind = initial.clone();
    let refused = behind.apply_within(delta, &Limits::NONE);
    law(
        matches!(refused, Err(ApplyError::Gap { .. })),
        "a delta beyond a gap is refused",
    )?;
    law(behind == *initial, "a refused delta changes nothing")
}

fn take<R: Replicated>(state: &mut R, delta: &R::Delta) -> Result<(), String> {
    let applied = state.apply_within(delta, &Limits::NONE);
    applied
        .map(|_| ())
        .map_err(|error| format!("a delta since a state's vector is refused: {error}"))
}

fn round_trip<R: Subject>(state: &R) -> Result<(), String> {
    let bytes = state.to_bytes();
    let back = R::from_bytes(&bytes, Budget::default());
    law(
        back.as_ref() == Ok(state),
        "a state comes back from its bytes",
    )?;
    let delta = state.delta_since(&VersionVector::new());
    let bytes = delta.to_bytes();
    let back = R::Delta::from_bytes(&bytes, Budget::default());
    let back =
        back.map_err(|error| format!("a delta does not come back from its bytes: {error}"))?;
    law(back.to_bytes() == bytes, "a delta has one spelling")?;
    for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        let prefix = bytes.get(..cut).unwrap_or_default();
        law(
            R::Delta::from_bytes(prefix, Budget::default()).is_err(),
            "a prefix is not taken for a whole",
        )?;
    }
    Ok(())
}

/// Joins all states in two orders into one, pair by pair.
fn all_agree<R: Subject>(initial: &R, states: &[R]) -> Result<(), String> {
    let join_all = |order: &mut dyn Iterator<Item = &R>| {
        let mut all = initial.clone();
        for state in order {
            let delta = state.delta_since(all.vector());
            take(&mut all, &delta)?;
        }
        Ok::<R, String>(all)
    };
    let forward = join_all(&mut states.iter())?;
    let backward = join_all(&mut states.iter().rev())?;
    law(forward == backward, "a join is associative and commutative")?;
    law(
        forward.canonical_bytes() == backward.canonical_bytes(),
        "equal states write equal bytes",
    )
}
