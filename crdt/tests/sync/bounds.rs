//! Nobody has a state outgrow what a peer could be told whole.

use std::time::Duration;

use peaberry_crdt::sync::{Refusal, SyncError, SyncEvent};
use peaberry_crdt::wire::{Bound, Budget, DecodeError, Message as _};
use peaberry_crdt::{
    AddWinsSet, ApplyError, BoundedCounter, BoundedError, Bounds, Causal, Changed, Delta, GCounter,
    Lattice, Limits, List, Outgrown, PnCounter, ReplicaId, Replicated, ResettableCounter, Text,
    VersionVector, WriteError, Writer,
};

use crate::link::{Link, Side, config, member};

type Tags = Causal<AddWinsSet<u64>>;

const SMALL: Bounds = Bounds {
    ids_max: 3,
    dots_max: 4,
};

const WITHIN: Limits = Limits {
    bounds: SMALL,
    ..Limits::NONE
};

fn id(number: u128) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn writer(number: u128) -> Writer {
    Writer::new(id(number), 0, 1_000)
}

fn add(tags: &mut Tags, writer: &mut Writer, tag: u64) -> Result<(), WriteError> {
    tags.write(writer, |set, mint| Ok(set.add(mint, tag)))
        .map(drop)
}

fn remove(tags: &mut Tags, writer: &mut Writer, tag: u64) {
    tags.write(writer, |set, _| Ok(set.remove(&tag))).unwrap();
}

const fn over(bound: Bound, given: u64, max: u64) -> Outgrown {
    Outgrown { bound, given, max }
}

#[test]
fn a_write_that_would_outgrow_the_bounds_is_refused_and_what_makes_room_is_not() {
    let (mut tags, mut mine) = (Tags::bottom(), writer(1).within(SMALL));
    for tag in 0..4 {
        add(&mut tags, &mut mine, tag).unwrap();
    }
    let (before, full) = (tags.clone(), over(Bound::Dots, 5, 4));
    assert_eq!(
        add(&mut tags, &mut mine, 9),
        Err(WriteError::Outgrown(full))
    );
    assert_eq!((&tags, mine.remaining()), (&before, 996));
    // In place of an old dot a new one has room, and so it has after a removal.
    add(&mut tags, &mut mine, 3).unwrap();
    remove(&mut tags, &mut mine, 3);
    add(&mut tags, &mut mine, 9).unwrap();
    // One id more is one too many, whatever it writes.
    for number in [2, 3] {
        remove(
            &mut tags,
            &mut writer(number),
            u64::try_from(number).unwrap() - 2,
        );
    }
    let mut late = writer(4).within(SMALL);
    assert_eq!(
        add(&mut tags, &mut late, 9),
        Err(WriteError::Outgrown(over(Bound::Ids, 4, 3)))
    );
}

/// The whole state of `there` on top of `here`, told by the log and then by what is alive.
fn both_ways(here: &Tags, there: &Tags) -> Vec<(Result<Changed, ApplyError>, Tags)> {
    let mut cut = there.clone();
    cut.collect(there.vector());
    [there, &cut]
        .map(|there| {
            let mut here = here.clone();
            let delta = there.delta_since(here.vector());
            (here.apply_within(&delta, &WITHIN), here)
        })
        .into()
}

#[test]
fn a_delta_that_would_outgrow_the_bounds_is_refused_and_changes_nothing() {
    let (none, mut there, mut hers) = (Tags::bottom(), Tags::bottom(), writer(1));
    (0..4).for_each(|tag| add(&mut there, &mut hers, tag).unwrap());
    let here = there.clone();
    add(&mut there, &mut hers, 4).unwrap();
    let full = ApplyError::Outgrown(over(Bound::Dots, 5, 4));
    for (before, (refused, after)) in [&none, &here].into_iter().flat_map(|here| {
        both_ways(here, &there)
            .into_iter()
            .map(move |out| (here, out))
    }) {
        assert_eq!(refused, Err(full));
        assert_eq!(&after, before);
    }
    // It counts what the state would be: one goes where another comes.
    remove(&mut there, &mut hers, 2);
    for before in [&none, &here] {
        for (taken, after) in both_ways(before, &there) {
            assert_eq!((taken, &after), (Ok(Changed::Yes), &there));
        }
    }
    // Ids are told by a vector alone, also where nothing is left of what they wrote.
    for number in 11..14 {
        let (mut other, tag) = (writer(number), 100);
        remove(&mut there, &mut hers, 3);
        add(&mut there, &mut other, tag).unwrap();
        remove(&mut there, &mut other, tag);
        add(&mut there, &mut hers, 3).unwrap();
    }
    let crowd = ApplyError::Outgrown(over(Bound::Ids, 4, 3));
    for (refused, after) in both_ways(&here, &there) {
        assert_eq!((refused, &after), (Err(crowd), &here));
    }
}

/// As when its bounds were lowered, or it was made by an older version.
#[test]
fn a_state_that_has_outgrown_its_bounds_may_shrink_and_not_grow() {
    let (mut tags, mut mine) = (Tags::bottom(), writer(1));
    (0..8).for_each(|tag| add(&mut tags, &mut mine, tag).unwrap());
    let mut mine = mine.within(SMALL);
    for tag in 0..4 {
        assert!(add(&mut tags, &mut mine, 9).is_err());
        remove(&mut tags, &mut mine, tag);
        add(&mut tags, &mut mine, 7).unwrap();
    }
    remove(&mut tags, &mut mine, 4);
    add(&mut tags, &mut mine, 9).unwrap();
    assert_eq!(tags.value().len(), 4);
}

#[test]
fn counters_take_so_many_ids_and_no_more() {
    let ids: Vec<Writer> = (1..=4).map(|number| writer(number).within(SMALL)).collect();
    let crowd = over(Bound::Ids, 4, 3);
    let (mut ups, mut both) = (GCounter::bottom(), PnCounter::bottom());
    let mut rights = BoundedCounter::default();
    for mine in &ids[..3] {
        ups.add(mine, 2).unwrap();
        both.add(mine, -2).unwrap();
        rights.add(mine, 2).unwrap();
    }
    let refused = Err(WriteError::Outgrown(crowd));
    assert_eq!(ups.add(&ids[3], 1).map(drop), refused);
    assert_eq!(both.add(&ids[3], 1).map(drop), refused);
    for passed in [
        rights.add(&ids[3], 1),
        rights.pass(&ids[0], ids[3].replica(), 1),
    ] {
        assert!(
            matches!(passed, Err(BoundedError::Write(WriteError::Outgrown(error))) if error == crowd)
        );
    }
    assert_eq!((ups.value(), both.value(), rights.value()), (6, -6, 6));
    let (mut late, mut heir) = (GCounter::bottom(), rights.clone());
    late.add(&writer(4), 1).unwrap();
    heir.pass(&writer(1), id(4), 1).unwrap();
    let refused = Err(ApplyError::Outgrown(crowd));
    assert_eq!(ups.apply_within(&late, &WITHIN), refused);
    assert_eq!(rights.apply_within(&heir, &WITHIN), refused);
    // Those that are there go on.
    ups.add(&ids[0], 1).unwrap();
    rights.pass(&ids[0], ids[1].replica(), 1).unwrap();
    rights.take(&ids[1], 3).unwrap();
    assert_eq!((ups.value(), rights.value()), (7, 3));
}

/// As many grants as dots, and those that are there may grow.
#[test]
fn a_bounded_counter_takes_so_many_grants_and_no_more() {
    let bounds = Bounds {
        ids_max: 10,
        dots_max: 2,
    };
    let mine = writer(1).within(bounds);
    let mut rights = BoundedCounter::default();
    rights.add(&mine, 9).unwrap();
    rights.pass(&mine, id(2), 1).unwrap();
    let (before, full) = (rights.clone(), over(Bound::Dots, 3, 2));
    let refused = rights.pass(&mine, id(3), 1);
    assert!(
        matches!(refused, Err(BoundedError::Write(WriteError::Outgrown(error))) if error == full)
    );
    let mut heir = rights.clone();
    heir.pass(&writer(2), id(3), 1).unwrap();
    let limits = Limits { bounds, ..WITHIN };
    let refused = rights.apply_within(&heir, &limits);
    assert_eq!(refused, Err(ApplyError::Outgrown(full)));
    assert_eq!(rights, before);
    rights.pass(&mine, id(2), 2).unwrap();
    rights.add(&mine, 1).unwrap();
    rights.take(&writer(2).within(bounds), 3).unwrap();
    assert_eq!(rights.value(), 7);
    // Who may read so many dots takes it, and no one else.
    let read = |dots_max| {
        let budget = Budget {
            dots_max,
            ..Budget::default()
        };
        BoundedCounter::from_bytes(&rights.to_bytes(), budget)
    };
    assert_eq!(read(2).as_ref(), Ok(&rights));
    assert!(matches!(
        read(1),
        Err(DecodeError::OverBudget {
            bound: Bound::Dots,
            ..
        })
    ));
}

/// What was put beside something speaks of who put that, and a reset of whose totals it saw, though nothing of it is left:
/// of nobody whom the vector does not tell. So a reader who takes as many ids as the state's bounds allow is told all of it.
#[test]
fn a_state_speaks_of_no_replica_that_its_vector_does_not_tell() {
    let mut list: Causal<List<u8>> = Causal::bottom();
    let mut count: Causal<ResettableCounter> = Causal::bottom();
    for number in 1..=6 {
        let mut hers = writer(number);
        list.write(&mut hers, |list, mint| list.insert(mint, 0, 1))
            .unwrap();
        list.write(&mut hers, |list, mint| list.push(mint, 1))
            .unwrap();
        count
            .write(&mut writer(number), |count, mint| count.add(mint, 2))
            .unwrap();
    }
    let mut last = writer(7);
    let insertion = list
        .write(&mut last, |list, mint| list.insert(mint, 3, 9))
        .unwrap();
    for index in (0..list.value().len()).rev().filter(|index| *index != 3) {
        list.write(&mut last, |list, _| list.remove(index)).unwrap();
    }
    let reset = count
        .write(&mut writer(7), |count, mint| Ok(count.reset(mint)))
        .unwrap();
    let budget = Budget {
        ids_max: 7,
        ..Budget::default()
    };
    list.collect(&list.vector().clone());
    count.collect(&count.vector().clone());
    let again = Causal::<List<u8>>::from_bytes(&list.to_bytes(), budget);
    assert_eq!(again.as_ref(), Ok(&list));
    let again = Causal::<ResettableCounter>::from_bytes(&count.to_bytes(), budget);
    assert_eq!(again.as_ref(), Ok(&count));
    let whole = list.delta_since(&VersionVector::new());
    let again = Delta::<List<u8>>::from_bytes(&whole.to_bytes(), budget);
    assert_eq!(again.as_ref(), Ok(&whole));
    // Alone, neither is taken where those replicas are not known.
    let mut none: Causal<List<u8>> = Causal::bottom();
    let refused = none.apply(&insertion);
    assert!(
        matches!(refused, Err(ApplyError::Gap { .. })),
        "{refused:?}"
    );
    assert!(insertion.from().iter().len() > 1);
    let mut none: Causal<ResettableCounter> = Causal::bottom();
    assert!(matches!(none.apply(&reset), Err(ApplyError::Gap { .. })));
}

/// A text keeps its history: it is the runs ever made that count.
#[test]
fn a_text_takes_so_many_runs_and_no_more() {
    let bounds = Bounds {
        dots_max: 8,
        ..SMALL
    };
    let (mut text, mut mine) = (Text::bottom(), writer(1).within(bounds));
    text.insert(&mut mine, 0, "decaf, tea, oats").unwrap();
    text.insert(&mut mine, 16, "; more").unwrap();
    let mut there = text.clone();
    let mut refused = Ok(());
    while refused.is_ok() {
        refused = text.insert(&mut mine, 0, "x");
    }
    assert!(matches!(
        refused,
        Err(WriteError::Outgrown(Outgrown {
            bound: Bound::Dots,
            max: 8,
            ..
        }))
    ));
    let (length, left) = (text.len_chars(), mine.remaining());
    assert!((24..40).contains(&length), "{length}");
    assert_eq!(left, 1_000 - length as u64);
    // What goes on where the last run ended takes nothing.
    text.insert(&mut mine, 1, "y").unwrap();

    let limits = Limits { bounds, ..WITHIN };
    let mut theirs = writer(2);
    for at in [3, 1, 6, 2, 9, 4, 7] {
        there.insert(&mut theirs, at, "z").unwrap();
    }
    let before = text.to_string();
    let delta = there.delta_since(text.vector());
    let refused = text.apply_within(&delta, &limits);
    assert!(matches!(
        refused,
        Err(ApplyError::Outgrown(Outgrown {
            bound: Bound::Dots,
            max: 8,
            ..
        }))
    ));
    assert_eq!((text.to_string(), text.vector().get(id(2))), (before, 0));
    text.apply(&delta).unwrap();
    there.apply(&text.delta_since(there.vector())).unwrap();
    assert_eq!(text, there);

    let mut crowded = Text::bottom();
    for number in 1..=3 {
        crowded.insert(&mut writer(number), 0, "a").unwrap();
    }
    let refused = crowded.insert(&mut writer(4).within(SMALL), 0, "a");
    assert_eq!(refused, Err(WriteError::Outgrown(over(Bound::Ids, 4, 3))));
}

/// By name, on both sides, and not over and over; what the other knows is understood all the same, though it is more than
/// one's own state may know.
#[test]
fn a_peer_that_has_outgrown_our_bounds_is_refused_by_name() {
    let mut sides: Vec<_> = (1..=2)
        .map(|number| {
            let mut config = config(number, 2, number);
            if number == 2 {
                config.budget.ids_max = 3;
            }
            Side::new(config, Duration::ZERO, Tags::bottom())
        })
        .collect();
    let mut link = Link::new(0);
    link.step = Duration::from_millis(200);
    for number in 1..=8_u32 {
        let written = add(
            &mut sides[0].state,
            &mut writer(number.into()),
            number.into(),
        );
        written.unwrap();
        sides[0].sync.changed();
        let end = link.now + Duration::from_secs(60);
        while link.now < end {
            link.step(&mut sides);
        }
    }
    let (held, known) = (sides[1].state.value(), sides[1].state.vector().iter().len());
    assert_eq!((held.len(), known), (3, 3));
    let crowd = |error: &SyncError| matches!(error, SyncError::Refused { from, source: ApplyError::Outgrown(Outgrown { bound: Bound::Ids, max: 3, .. }) } if *from == member(1));
    // Some deltas alone tell more ids than a message may.
    let told = |error: &SyncError| {
        matches!(
            error,
            SyncError::Malformed {
                source: DecodeError::OverBudget {
                    bound: Bound::Ids,
                    max: 3,
                    ..
                },
                ..
            }
        )
    };
    let errors = &sides[1].errors;
    assert!(errors.iter().any(crowd), "{errors:?}");
    assert!(errors.iter().all(|error| crowd(error) || told(error)));
    assert!((1..=60).contains(&errors.len()), "{}", errors.len());
    let told = SyncEvent::RefusedBy {
        member: member(2),
        reason: Refusal::Malformed,
    };
    assert!(sides[0].events.contains(&told));
    assert!(sides[0].errors.is_empty(), "{:?}", sides[0].errors);
}

/// Apart each member adds one, for which the other has no room by itself; then both have removed enough. What they add
/// and what makes room for it arrive together.
#[test]
fn what_makes_room_arrives_with_what_had_none() {
    let mut writers = [writer(1), writer(2)];
    let mut both = Tags::bottom();
    (0..3).for_each(|tag| add(&mut both, &mut writers[0], tag).unwrap());
    let mut sides: Vec<_> = (1..=2)
        .map(|number| {
            let mut config = config(number, 2, number);
            config.budget.dots_max = 4;
            Side::new(config, Duration::ZERO, both.clone())
        })
        .collect();
    let mut link = Link::new(0);
    link.step = Duration::from_millis(200);
    let minute = Duration::from_secs(60);
    for (side, tag) in [(0, 10), (1, 11)] {
        add(&mut sides[side].state, &mut writers[side], tag).unwrap();
        sides[side].sync.changed();
    }
    let end = link.now + minute;
    while link.now < end {
        link.step(&mut sides);
    }
    for side in &sides {
        assert_eq!(side.state.value().len(), 4);
        let full = |error: &SyncError| {
            matches!(
                error,
                SyncError::Refused {
                    source: ApplyError::Outgrown(Outgrown {
                        bound: Bound::Dots,
                        given: 5,
                        max: 4
                    }),
                    ..
                }
            )
        };
        assert!(!side.errors.is_empty() && side.errors.iter().all(full));
    }
    for tag in 0..2 {
        remove(&mut sides[0].state, &mut writers[0], tag);
        sides[0].sync.changed();
    }
    link.until(&mut sides, 120 * minute, |sides| {
        sides[0].state == sides[1].state
    });
    let held: Vec<u64> = sides[1].state.value().iter().copied().collect();
    assert_eq!(held, [2, 10, 11]);
}
