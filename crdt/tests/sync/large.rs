//! States that no frame has room for.

use std::time::Duration;

use peaberry_crdt::sync::{Refusal, SyncError, SyncEvent};
use peaberry_crdt::wire::{DecodeError, Message as _};
use peaberry_crdt::{
    AddWinsSet, Causal, Lattice, MvRegister, ObservedRemoveMap, ReplicaId, Replicated, Writer,
};

use crate::counted::Counted;
use crate::link::{Link, Side, config, member};

pub(crate) type Shelves = Causal<ObservedRemoveMap<u64, MvRegister<Vec<u8>>>>;

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn writer(number: u128) -> Writer {
    Writer::new(ReplicaId::new(number).unwrap(), 0, u64::MAX)
}

pub(crate) fn fill(shelves: &mut Shelves, writer: &mut Writer, shelf: u64, bytes: usize) {
    let byte = u8::try_from(shelf % 251).unwrap();
    let edit = |map: &ObservedRemoveMap<u64, MvRegister<Vec<u8>>>, mint| {
        map.update(shelf, |held: &MvRegister<Vec<u8>>| {
            Ok(held.write(mint, vec![byte; bytes]))
        })
    };
    shelves.write(writer, edit).unwrap();
}

fn clear(shelves: &mut Shelves, writer: &mut Writer, shelf: u64) {
    shelves
        .write(writer, |map, _| Ok(map.remove(&shelf)))
        .unwrap();
}

/// Two writers, removals all over, and nothing left that tells of them.
pub(crate) fn cut(shelves: u64, bytes: usize) -> (Shelves, [Writer; 2]) {
    let (mut all, mut writers) = (Shelves::bottom(), [writer(0xA), writer(0xB)]);
    for shelf in 0..shelves {
        let writer = &mut writers[usize::try_from(shelf % 2).unwrap()];
        fill(&mut all, writer, shelf, bytes);
        if shelf % 7 == 6 {
            clear(&mut all, writer, shelf / 2);
        }
    }
    let everything = all.vector().clone();
    all.collect(&everything);
    (all, writers)
}

fn equal(sides: &[Side<Shelves>]) -> bool {
    sides
        .windows(2)
        .all(|pair| pair[0].state.vector() == pair[1].state.vector())
}

/// A new peer is behind the log's cut, whatever it is told first; and no frame is larger than configured.
#[test]
fn a_new_peer_gets_a_state_of_16_mib_over_small_frames_with_loss() {
    let (state, _) = cut(5_000, 4_000);
    let whole = state.to_bytes().len();
    assert!(whole > 16 << 20, "{whole} bytes");
    let mut sides = [1, 2].map(|number| {
        let mut config = config(number, 2, number);
        config.part_bytes = 16 << 10;
        config.budget.bytes_max = 32 << 10;
        Side::new(config, Duration::ZERO, Shelves::bottom())
    });
    sides[0].state = state;
    let mut link = Link::new(10);
    link.until(&mut sides, 2 * HOUR, equal);
    assert_eq!(sides[0].state, sides[1].state);
    assert!(sides.iter().all(|side| side.errors.is_empty()));
    assert!(
        sides[0].longest <= (16 << 10) + 64,
        "{} bytes",
        sides[0].longest
    );
    // What was lost is sent again, and not all from the beginning.
    let sent = sides[0].sent;
    assert!(sent < 2 * whole as u64, "{sent} bytes for {whole}");
}

/// One that spans an element from its addition to its removal cannot be split either; nor can what came at once.
#[test]
fn what_cannot_be_split_comes_in_pieces_too() {
    let (mut state, mut writers) = (Shelves::bottom(), [writer(0xA), writer(0xB)]);
    for shelf in 0..200 {
        fill(
            &mut state,
            &mut writers[usize::try_from(shelf % 2).unwrap()],
            shelf,
            100,
        );
    }
    clear(&mut state, &mut writers[0], 0);
    // As after a restart: in which order it was written nobody knows.
    let read =
        Shelves::from_bytes(&state.to_bytes(), peaberry_crdt::wire::Budget::default()).unwrap();
    for state in [state, read] {
        let mut sides = [1, 2].map(|number| {
            let mut config = config(number, 2, number);
            config.part_bytes = 200;
            Side::new(config, Duration::ZERO, Shelves::bottom())
        });
        sides[0].state = state;
        Link::new(30).until(&mut sides, HOUR, equal);
        assert_eq!(sides[0].state, sides[1].state);
        assert!(sides[0].longest <= 264, "{} bytes", sides[0].longest);
    }
}

/// The sender's next life goes on where the last one stopped: the bytes are the same, and so is their name.
#[test]
fn what_has_arrived_is_not_sent_again_by_the_senders_next_life() {
    let (state, _) = cut(400, 100);
    let whole = state.to_bytes().len();
    let with = |number: u64, seed| {
        let mut config = config(number, 2, seed);
        config.part_bytes = 256;
        config
    };
    let mut sides = [
        Side::new(with(1, 1), Duration::ZERO, state.clone()),
        Side::new(with(2, 2), Duration::ZERO, Shelves::bottom()),
    ];
    let mut link = Link::new(0);
    // Not at once, so that there is a middle.
    link.lost_percent = 20;
    while sides[0].sent < whole as u64 / 2 {
        link.step(&mut sides);
    }
    let sent = sides[0].sent;
    assert!(!equal(&sides));
    sides[0] = Side::new(with(1, 3), link.now, state);
    link.until(&mut sides, HOUR, equal);
    assert_eq!(sides[0].state, sides[1].state);
    let all = sent + sides[0].sent;
    assert!(all < 2 * whole as u64, "{all} bytes for {whole}");
}

/// Three who could all serve the new one: it lays one delta together, and the others find that it has all.
#[test]
fn a_new_peer_among_many_is_served_by_one_of_them_and_by_another_if_that_one_dies() {
    let (state, _) = cut(400, 100);
    let mut sides: Vec<Side<Shelves>> = (1..=4)
        .map(|number| {
            let mut config = config(number, 4, number);
            config.part_bytes = 256;
            let state = if number == 4 {
                Shelves::bottom()
            } else {
                state.clone()
            };
            Side::new(config, Duration::ZERO, state)
        })
        .collect();
    let mut link = Link::new(20);
    for _ in 0..20 {
        link.step(&mut sides);
    }
    assert!(!equal(&sides));
    // Whoever has sent the most is gone.
    let busiest = (0..3).max_by_key(|at| sides[*at].sent).unwrap();
    sides.remove(busiest);
    link.until(&mut sides, HOUR, equal);
    assert!(sides.windows(2).all(|pair| pair[0].state == pair[1].state));
}

/// Writing goes on while it is under way, at both ends and behind the newcomer's back.
#[test]
fn writes_while_a_large_state_is_under_way_are_neither_lost_nor_undone() {
    let (state, mut writers) = cut(300, 100);
    let mut sides: Vec<Side<Shelves>> = (1..=3)
        .map(|number| {
            let mut config = config(number, 3, number);
            config.part_bytes = 256;
            let state = if number == 3 {
                Shelves::bottom()
            } else {
                state.clone()
            };
            Side::new(config, Duration::ZERO, state)
        })
        .collect();
    let (mut link, mut newcomer) = (Link::new(30), writer(0xC));
    for round in 0..30 {
        let shelf = 200 + round;
        clear(&mut sides[0].state, &mut writers[0], shelf);
        fill(&mut sides[1].state, &mut writers[1], 1_000 + round, 50);
        fill(&mut sides[2].state, &mut newcomer, 2_000 + round, 50);
        sides.iter_mut().for_each(|side| side.sync.changed());
        link.step(&mut sides);
    }
    link.until(&mut sides, HOUR, equal);
    assert!(sides.windows(2).all(|pair| pair[0].state == pair[1].state));
    let shown = sides[2].state.value();
    assert!(
        (200..230).all(|shelf| shown.get(&shelf).is_none()),
        "nothing comes back"
    );
    assert!(
        (1_000..1_030)
            .chain(2_000..2_030)
            .all(|shelf| shown.get(&shelf).is_some())
    );
}

/// Too large for the receiver: it says so by name, the sender hears of it, and it is not sent over and over.
#[test]
fn a_delta_over_the_bound_is_refused_by_name_before_it_is_sent() {
    let (state, _) = cut(400, 100);
    let mut sides = [1, 2].map(|number| {
        let mut config = config(number, 2, number);
        config.part_bytes = 256;
        config.transfer_bytes_max = 10_000;
        Side::new(config, Duration::ZERO, Shelves::bottom())
    });
    sides[0].state = state;
    let mut link = Link::new(0);
    while link.now < HOUR {
        link.step(&mut sides);
    }
    let is_told = |error: &SyncError| matches!(error, SyncError::Malformed { from, source: DecodeError::OverBudget { max: 10_000, .. } } if *from == member(1));
    assert!(!sides[1].errors.is_empty() && sides[1].errors.iter().all(is_told));
    let refused = SyncEvent::RefusedBy {
        member: member(2),
        reason: Refusal::Malformed,
    };
    assert!(!sides[0].events.is_empty() && sides[0].events.iter().all(|event| *event == refused));
    assert!(sides[0].deltas <= 12, "{} in an hour", sides[0].deltas);
    assert_eq!(sides[1].state, Shelves::bottom());
}

/// Two that vanish while a large state is on its way to them do not keep it from a third.
#[test]
fn who_vanishes_in_the_middle_holds_up_nobody_else() {
    let (state, _) = cut(400, 100);
    let whole = state.to_bytes().len() as u64;
    let side = |number: u64, now, state: &Shelves| {
        let mut config = config(number, 4, number);
        config.part_bytes = 256;
        Side::new(config, now, state.clone())
    };
    let mut sides: Vec<Side<Shelves>> = (1..=3)
        .map(|number| match number {
            1 => side(1, Duration::ZERO, &state),
            _ => side(number, Duration::ZERO, &Shelves::bottom()),
        })
        .collect();
    let mut link = Link::new(20);
    while sides[0].sent < whole {
        link.step(&mut sides);
    }
    assert!(
        sides[1..]
            .iter()
            .all(|side| side.state == Shelves::bottom())
    );
    sides.truncate(1);
    sides.push(side(4, link.now, &Shelves::bottom()));
    link.until(&mut sides, HOUR, equal);
    assert_eq!(sides[0].state, sides[1].state);
}

/// A frame that is longer than its receiver takes is answered for, and not sent over and over.
#[test]
fn a_frame_over_the_budget_is_refused_to_its_sender() {
    let (state, _) = cut(400, 100);
    let mut sides = [1, 2].map(|number| {
        let mut config = config(number, 2, number);
        if number == 2 {
            config.budget.bytes_max = 4 << 10;
            config.part_bytes = 1 << 10;
        }
        Side::new(config, Duration::ZERO, Shelves::bottom())
    });
    sides[0].state = state;
    let mut link = Link::new(0);
    while link.now < HOUR {
        link.step(&mut sides);
    }
    let refused = SyncEvent::RefusedBy {
        member: member(2),
        reason: Refusal::Malformed,
    };
    assert!(!sides[0].events.is_empty() && sides[0].events.iter().all(|event| *event == refused));
    assert!(sides[0].deltas <= 12, "{} in an hour", sides[0].deltas);
}

/// Three newcomers at once, of which two are served: what the third is to have is made now and then, and not each time
/// that somebody says a word. Both where it cannot be divided, and where it can.
#[test]
fn who_waits_for_a_place_costs_no_walks_over_the_state() {
    let (cut, _) = cut(400, 100);
    let (mut whole, mut writer) = (Shelves::bottom(), writer(0xF));
    (0..400).for_each(|shelf| fill(&mut whole, &mut writer, shelf, 100));
    for state in [cut, whole] {
        let mut sides: Vec<Side<Counted<Shelves>>> = (1..=4)
            .map(|number| {
                let mut config = config(number, 4, number);
                config.part_bytes = 256;
                let state = match number {
                    1 => state.clone(),
                    _ => Shelves::bottom(),
                };
                Side::new(config, Duration::ZERO, Counted::new(state))
            })
            .collect();
        let mut link = Link::new(50);
        let is_served = |side: &Side<Counted<Shelves>>| side.state.vector() == state.vector();
        link.until(&mut sides, HOUR, |sides| sides[1..].iter().any(is_served));
        let (made, seconds) = (sides[0].state.made.get(), link.now.as_secs());
        assert!(seconds > 40, "{seconds} s are soon over");
        assert!(made <= 10 + seconds / 5, "{made} times in {seconds} s");
        link.until(&mut sides, HOUR, |sides| sides.iter().all(is_served));
    }
}

/// Two thousand events behind one that a peer has no room for: what it is sent again and again is made without them.
#[test]
fn what_is_refused_over_and_over_is_made_without_what_lies_behind() {
    let (mut state, mut writer) = (Shelves::bottom(), writer(0xF));
    (0..2_000).for_each(|shelf| fill(&mut state, &mut writer, shelf, 10));
    let mut sides: Vec<Side<Counted<Shelves>>> = (1..=2)
        .map(|number| {
            let mut config = config(number, 2, number);
            config.part_bytes = 1_000;
            let mut held = Shelves::bottom();
            if number == 1 {
                held = state.clone();
            } else {
                config.budget.dots_max = 100;
            }
            Side::new(config, Duration::ZERO, Counted::new(held))
        })
        .collect();
    let mut link = Link::new(0);
    link.step = Duration::from_millis(200);
    let end = Duration::from_secs(600);
    while link.now < end {
        link.step(&mut sides);
    }
    let known = sides[1].state.vector().get(writer.replica());
    assert_eq!(known, 100);
    let (made, wholes) = (sides[0].state.made.get(), sides[0].state.wholes.get());
    assert!(made >= 20 && wholes <= 3, "{wholes} of {made} are of all");
}

/// A peer that lays another's delta together says nothing to ours, and speaks of other things all the time.
#[test]
fn a_piece_that_is_not_answered_is_sent_ever_more_rarely() {
    let (state, _) = cut(400, 100);
    let mut sides = [1, 2].map(|number| {
        let mut config = config(number, 2, number);
        config.part_bytes = 256;
        Side::new(config, Duration::ZERO, Shelves::bottom())
    });
    sides[0].state = state;
    let mut link = Link::new(0);
    link.without_pieces = vec![member(2)];
    while link.now < Duration::from_secs(120) {
        link.step(&mut sides);
    }
    let sent = sides[0].deltas;
    assert!((8..=50).contains(&sent), "{sent} in two minutes");
}

/// Two that talk and take no piece do not keep the places from a third.
#[test]
fn who_takes_no_piece_gives_up_its_place() {
    let (state, _) = cut(400, 100);
    let side = |number: u64, now, state: &Shelves| {
        let mut config = config(number, 4, number);
        config.part_bytes = 256;
        Side::new(config, now, state.clone())
    };
    let mut sides = vec![side(1, Duration::ZERO, &state)];
    sides.extend([2, 3].map(|number| side(number, Duration::ZERO, &Shelves::bottom())));
    let mut link = Link::new(0);
    link.without_pieces = vec![member(2), member(3)];
    while link.now < Duration::from_secs(5) {
        link.step(&mut sides);
    }
    sides.push(side(4, link.now, &Shelves::bottom()));
    link.until(&mut sides, Duration::from_secs(300), |sides| {
        sides[3].state == sides[0].state
    });
}

/// Beyond the ids that a session's table holds, a write by a fresh id is told inside its frames: no new session is begun
/// for it, whose table would be the same.
#[test]
fn ids_beyond_the_table_begin_no_session_over_and_over() {
    type Tags = Causal<AddWinsSet<u32>>;
    let mut tags = Tags::bottom();
    let write = |tags: &mut Tags, id: u32| {
        let mut writer = Writer::new(ReplicaId::new(id.into()).unwrap(), 0, 1);
        tags.write(&mut writer, |set, mint| Ok(set.add(mint, id)))
            .unwrap();
    };
    (1..=4_100).for_each(|id| write(&mut tags, id));
    let mut sides: Vec<_> = (1..=2)
        .map(|number| Side::new(config(number, 2, number), Duration::ZERO, tags.clone()))
        .collect();
    let mut link = Link::new(0);
    let end = link.now + Duration::from_secs(60);
    while link.now < end {
        link.step(&mut sides);
    }
    let before: u64 = sides.iter().map(|side| side.sent).sum();
    for id in 5_001..5_049 {
        write(&mut sides[0].state, id);
        sides[0].sync.changed();
        link.until(&mut sides, Duration::from_secs(10), |sides| {
            sides[0].state.vector() == sides[1].state.vector()
        });
    }
    let sent = sides.iter().map(|side| side.sent).sum::<u64>() - before;
    assert!(sent < 64 << 10, "{sent} bytes for 48 writes");
}

/// Three members add and remove, and forget what all have acknowledged, told by nothing but the sync.
#[test]
fn emptied_and_acknowledged_by_three_a_set_takes_64_bytes() {
    type Tags = Causal<AddWinsSet<u32>>;
    let mut sides: Vec<_> = (1..=3)
        .map(|number| Side::new(config(number, 3, number), Duration::ZERO, Tags::bottom()))
        .collect();
    let mut link = Link::new(0);
    let mut writer = Writer::new(ReplicaId::new(9).unwrap(), 0, 20_000);
    let are_equal = |sides: &[Side<Tags>]| {
        let first = sides[0].state.vector();
        sides.iter().all(|side| side.state.vector() == first)
    };
    for removes in [false, true] {
        for element in 0..10_000 {
            let edited = sides[0].state.write(&mut writer, |set, mint| {
                Ok(if removes {
                    set.remove(&(element * 7_919 % 10_000))
                } else {
                    set.add(mint, element)
                })
            });
            edited.unwrap();
        }
        sides[0].sync.changed();
        link.until(&mut sides, Duration::from_secs(60), are_equal);
    }
    assert!(sides[0].state.log_bytes() > 64);
    let end = link.now + Duration::from_secs(60);
    while link.now < end {
        link.step(&mut sides);
    }
    for side in &mut sides {
        let stable = side.sync.stable(&side.state);
        side.state.collect(&stable);
        assert!(side.state.value().is_empty());
        assert_eq!(side.state.log_bytes(), 0);
        let bytes = side.state.to_bytes().len();
        assert!(bytes <= 64, "{bytes} bytes");
    }
}
