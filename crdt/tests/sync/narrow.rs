//! Links that carry small frames only, and hellos that lie.

use std::time::Duration;

use peaberry_crdt::sync::{AntiEntropy, ConfigError, Member, Membership, SyncError};
use peaberry_crdt::wire::{Bound, DecodeError};
use peaberry_crdt::{AddWinsSet, Causal, Lattice as _, Limits, ReplicaId, Writer};

use crate::link::{Link, Side, config, member};

type Tags = Causal<AddWinsSet<u64>>;

const FRAME_BYTES: usize = 200;

/// As random as ids are.
fn id(number: u64) -> ReplicaId {
    let high = u128::from(number + 1) << 64;
    ReplicaId::new(high.wrapping_mul(0x9e37_79b9_7f4a_7c15) + u128::from(number)).unwrap()
}

/// Vectors and the tables of hellos are of a hundred ids, of which no frame has room for more than a few.
#[test]
fn no_frame_is_longer_than_the_link_takes_however_many_ids_there_are() {
    let mut states = [(); 4].map(|()| Tags::bottom());
    for number in 0..100 {
        let mut writer = Writer::new(id(number), 0, 10);
        for tag in 0..3 {
            let add = |set: &AddWinsSet<u64>, mint| Ok(set.add(mint, 10 * number + tag));
            let of = usize::try_from(number % 3).unwrap();
            states[of].write(&mut writer, add).unwrap();
        }
    }
    let mut all = Tags::bottom();
    for state in &states {
        all.join(state);
    }
    let mut sides: Vec<AntiEntropy<Tags>> = (1..=4)
        .map(|number| {
            let mut config = config(number, 4, number);
            config.part_bytes = 130;
            AntiEntropy::new(config, Duration::ZERO).unwrap()
        })
        .collect();
    let mut longest = [0; 16];
    for now in (0..600).map(|tenth| Duration::from_millis(100) * tenth) {
        let mut is_silent = false;
        while !is_silent {
            is_silent = true;
            for from in 0..4 {
                let Some(sent) = sides[from].poll_transmit(now, &states[from]) else {
                    continue;
                };
                is_silent = false;
                let most = &mut longest[usize::from(sent.frame[0])];
                *most = sent.frame.len().max(*most);
                if sent.frame.len() > FRAME_BYTES {
                    continue;
                }
                let to = usize::try_from(sent.to.get() - 1).unwrap();
                let sender = member(from as u64 + 1);
                let _ = sides[to].handle(now, sender, &sent.frame, &mut states[to], &Limits::NONE);
            }
        }
    }
    assert!(
        longest.iter().all(|bytes| *bytes <= FRAME_BYTES),
        "{longest:?}"
    );
    for (side, state) in sides.iter_mut().zip(&states) {
        assert_eq!(*state, all);
        assert_eq!(side.stable(state), *all.vector(), "all have told all");
    }
}

#[test]
fn parts_for_which_no_frame_has_room_are_refused() {
    for (part_bytes, is_taken) in [(4_032, true), (4_033, false)] {
        let mut config = config(1, 2, 1);
        config.part_bytes = part_bytes;
        config.budget.bytes_max = 4_096;
        let refused = ConfigError::Parts {
            part_bytes,
            bytes_max: 4_096,
        };
        assert_eq!(config.check(), is_taken.then_some(()).ok_or(refused));
    }
}

fn hello(number: u64, membership: Membership) -> Vec<u8> {
    let mut config = config(number, 2, 9);
    config.membership = membership;
    let mut side = AntiEntropy::<Tags>::new(config, Duration::ZERO).unwrap();
    let sent = side.poll_transmit(Duration::ZERO, &Tags::bottom());
    sent.unwrap().frame
}

/// With another checksum at its end: hellos are of no session.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let content = frame.len() - 4;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[0; 16]);
    hasher.update(&frame[..content]);
    frame[content..].copy_from_slice(&hasher.finalize().to_be_bytes());
    frame
}

fn heard(frame: &[u8]) -> (Result<(), SyncError>, Membership) {
    let mut side = AntiEntropy::<Tags>::new(config(1, 2, 1), Duration::ZERO).unwrap();
    let mut state = Tags::bottom();
    let handled = side.handle(Duration::ZERO, member(2), frame, &mut state, &Limits::NONE);
    (handled.map(drop), side.membership().clone())
}

/// Who is none of the members that it speaks for decides nothing about them.
#[test]
fn a_membership_is_not_taken_from_one_who_is_none_of_it_by_its_own_word() {
    let later = Membership::new([1, 2].map(member)).with(member(3));
    let frame = hello(2, later.clone());
    assert_eq!(heard(&frame), (Ok(()), later));
    let mut forged = frame;
    // Behind kind, ids, version, schema, document, two sessions, a flag and a digest: the epoch in which it joined.
    assert_eq!(forged[48], 1);
    forged[48] = 7;
    let (refused, membership) = heard(&sealed(forged));
    assert!(
        matches!(refused, Err(SyncError::NotAMember { from, .. }) if from == Member::new(2).unwrap())
    );
    assert_eq!(membership, config(1, 2, 1).membership);
}

#[test]
fn a_hello_that_tells_more_ids_than_a_table_has_is_refused() {
    let whole = hello(2, config(1, 2, 1).membership);
    for (count, is_taken) in [(4_096, true), (4_097, false)] {
        // In place of none at all: the number as a varint, and each.
        let mut frame = whole[..whole.len() - 5].to_vec();
        frame.extend([u8::try_from(count % 128).unwrap() | 0x80, 0x20]);
        for number in 0..count {
            frame.extend_from_slice(&id(number).get().to_be_bytes());
        }
        frame.extend_from_slice(&[0; 4]);
        let (taken, _) = heard(&sealed(frame));
        let over = |error: &SyncError| {
            matches!(
                error,
                SyncError::Malformed {
                    source: DecodeError::OverBudget {
                        bound: Bound::Ids,
                        ..
                    },
                    ..
                }
            )
        };
        assert_eq!(taken.is_ok(), is_taken);
        assert_eq!(taken.as_ref().is_err_and(over), !is_taken);
    }
}

/// One whose store went back, and that says so in a vector of many frames, is sent what it lacks and not all that is in the
/// frames to come.
#[test]
fn what_replaces_a_vector_in_several_frames_is_waited_for_to_the_end() {
    let mut older = Tags::bottom();
    let add = |tags: &mut Tags, number: u64, minted| {
        let mut writer = Writer::new(id(number), minted, 10);
        let add = |set: &AddWinsSet<u64>, mint| Ok(set.add(mint, 10 * number + minted));
        tags.write(&mut writer, add).unwrap();
    };
    (0..100).for_each(|number| add(&mut older, number, 0));
    let mut state = older.clone();
    add(&mut state, 0, 1);
    let mut sides = [1, 2].map(|number| {
        let mut config = config(number, 2, number);
        config.part_bytes = 256;
        Side::new(config, Duration::ZERO, state.clone())
    });
    let mut link = Link::new(0);
    let level = |sides: &[Side<Tags>]| sides[0].state == sides[1].state;
    for _ in 0..100 {
        link.step(&mut sides);
    }
    assert_eq!(sides[0].deltas, 0);
    sides[1].state = older;
    add(&mut sides[0].state, 0, 2);
    sides[0].sync.changed();
    link.until(&mut sides, Duration::from_secs(60), level);
    // One for which it lacked what came before, and one with that. Whoever takes the first frame for all that is known sends
    // another in between.
    assert_eq!(sides[0].deltas, 2, "deltas for two events");
}
