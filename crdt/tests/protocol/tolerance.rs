//! A peer whose clock is wrong is refused by name, and keeps nobody else from talking.

use std::sync::Arc;
use std::time::Duration;

use peaberry_core::{Clock, MemoryNetwork, MemoryStorage};
use peaberry_crdt::protocol::{Mutation, ReplicaEvent, ReplicaOptions};
use peaberry_crdt::sync::{Refusal, SyncError};
use peaberry_crdt::{ApplyError, Causal, Hlc, LwwRegister, ResettableCounter, Tolerance};

use crate::machines::{Machine, boot, member, members, options, poll, run, town};

type Price = Causal<LwwRegister<u64>>;

type Count = Causal<ResettableCounter>;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Sets the price, at the time that the machine's own calendar shows.
fn set(machine: &Machine<Price>, price: u64) -> Mutation<bool> {
    let wall_ms = machine.clock.timestamp().as_unix_nanos() / 1_000_000;
    machine.handle.mutate(move |doc: &mut Price, writer| {
        let mut clock = Hlc::new(0);
        let held = doc.value().stamps();
        held.for_each(|(_, stamp)| clock.follow(stamp));
        let stamp = clock.now(wall_ms);
        doc.write(writer, |register, mint| register.write(mint, stamp, price))
            .is_ok()
    })
}

fn price(machine: &Machine<Price>) -> Option<u64> {
    machine.handle.read(|doc| doc.value().value().copied())
}

/// No option is set: that is what a replica does by itself.
#[test]
fn a_stamp_from_the_far_future_is_refused_by_name_and_the_others_go_on() {
    let network = MemoryNetwork::new();
    let mut town = town::<Price>(&network, 3, |_| {});
    let ahead = i64::try_from((30 * MINUTE).as_nanos()).unwrap();
    town[0].clock.jump_calendar(ahead);
    let done = set(&town[0], 1);
    run(&mut town, MINUTE);
    assert_eq!(poll(done), Some(Ok(true)));
    let done = set(&town[1], 2);
    run(&mut town, MINUTE);
    assert_eq!(poll(done), Some(Ok(true)));
    assert_eq!(
        town.iter().map(price).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(2)]
    );
    let bad = town[0].handle.replica();
    let named = |event: &ReplicaEvent| matches!(event, ReplicaEvent::Refused(SyncError::Refused { from, source: ApplyError::FarFuture(far) }) if *from == member(1) && far.replica == bad);
    // The first time it might be less that is refused. Then it is tried after at least 0.1, 0.2, 0.4 s ...: in two
    // minutes eleven times at most.
    for machine in &town[1..] {
        let refused: Vec<_> = machine.events().into_iter().filter(named).collect();
        assert!(
            (1..=12).contains(&refused.len()),
            "{} in two minutes",
            refused.len()
        );
        assert_eq!(machine.handle.read(|doc| doc.vector().get(bad)), 0);
    }
    for by in [2, 3] {
        let told = ReplicaEvent::RefusedBy {
            member: member(by),
            reason: Refusal::FarFuture,
        };
        assert!(town[0].events().contains(&told));
    }
    // The calendar catches up, as after the operator has set it.
    town.iter()
        .for_each(|machine| machine.clock.jump_calendar(ahead));
    run(&mut town, 10 * MINUTE);
    assert!(
        town.windows(2)
            .all(|pair| price(&pair[0]) == price(&pair[1]))
    );
}

/// A clock that was ahead is set right: its stamp stays in the state, and what is written after waits behind it. What would
/// have to be stamped later still is refused to the one who writes it. When the others tolerate it, all of it arrives.
#[test]
fn who_was_ahead_is_told_so_until_its_stamp_is_tolerated() {
    let network = MemoryNetwork::new();
    let mut town = town::<Price>(&network, 3, |_| {});
    let ahead = i64::try_from((365 * 24 * 60 * MINUTE).as_nanos()).unwrap();
    town[0].clock.jump_calendar(ahead);
    for (back, number, is_written) in [(ahead, 1, true), (0, 2, false)] {
        let done = set(&town[0], number);
        run(&mut town, MINUTE / 6);
        assert_eq!(poll(done), Some(Ok(is_written)));
        town[0].clock.jump_calendar(-back);
    }
    run(&mut town, 10 * MINUTE);
    assert_eq!(
        town.iter().map(price).collect::<Vec<_>>(),
        [Some(1), None, None]
    );
    for machine in &town {
        machine.handle.tolerate(Tolerance::ANYTHING).unwrap();
    }
    run(&mut town, 20 * MINUTE);
    assert!(town.iter().all(|machine| price(machine) == Some(1)));
    // Others have it now: whoever writes over it is as late as they are.
    town[1].handle.tolerate(Tolerance::USUAL).unwrap();
    let done = set(&town[1], 3);
    run(&mut town, MINUTE);
    assert_eq!(poll(done), Some(Ok(true)));
    assert!(town.iter().all(|machine| price(machine) == Some(3)));
}

/// A machine whose clock was ahead is restarted when it is set right, under another id: its stamp is still nobody else's.
#[test]
fn an_own_stamp_that_nobody_took_stays_ones_own_through_a_restart() {
    let network = MemoryNetwork::new();
    let mut town = town::<Price>(&network, 3, |_| {});
    let ahead = i64::try_from((24 * 60 * MINUTE).as_nanos()).unwrap();
    town[0].clock.jump_calendar(ahead);
    let done = set(&town[0], 1);
    run(&mut town, MINUTE / 6);
    assert_eq!(poll(done), Some(Ok(true)));
    let (storage, former) = (town[0].storage.clone(), town[0].handle.replica());
    drop(town.remove(0));
    town.insert(
        0,
        boot(&network, storage, options(1, members(3), 2)).unwrap(),
    );
    assert_ne!(town[0].handle.replica(), former);
    run(&mut town, MINUTE / 6);
    let done = set(&town[0], 2);
    run(&mut town, MINUTE / 6);
    assert_eq!(poll(done), Some(Ok(false)));
    // One who takes it is enough to show that it goes.
    town[1].handle.tolerate(Tolerance::ANYTHING).unwrap();
    run(&mut town, 20 * MINUTE);
    let done = set(&town[0], 3);
    run(&mut town, 20 * MINUTE);
    assert_eq!(poll(done), Some(Ok(true)));
    assert_eq!(
        town.iter().map(price).collect::<Vec<_>>(),
        [Some(3), Some(3), None]
    );
}

#[test]
fn who_tolerates_anything_takes_anything() {
    let network = MemoryNetwork::new();
    let mut town = town::<Price>(&network, 3, |options| {
        options.tolerance = Tolerance::ANYTHING
    });
    town[2].handle.tolerate(Tolerance::USUAL).unwrap();
    town[0]
        .clock
        .jump_calendar(i64::try_from((90 * MINUTE).as_nanos()).unwrap());
    run(&mut town, MINUTE / 6);
    let done = set(&town[0], 1);
    run(&mut town, MINUTE);
    assert_eq!(poll(done), Some(Ok(true)));
    assert_eq!(
        town.iter().map(price).collect::<Vec<_>>(),
        [Some(1), Some(1), None]
    );
    town[2].handle.tolerate(Tolerance::ANYTHING).unwrap();
    run(&mut town, 5 * MINUTE);
    assert_eq!(price(&town[2]), Some(1));
}

fn count(machine: &Machine<Count>, amount: i64) -> Mutation<bool> {
    machine.handle.mutate(move |doc: &mut Count, writer| {
        doc.write(writer, |count, mint| count.add(mint, amount))
            .is_ok()
    })
}

fn value(machine: &Machine<Count>) -> i128 {
    machine.handle.read(|doc| doc.value().value())
}

/// Two totals that have risen for long come to one who knows nothing, in two parts; then what jumps is refused again.
#[test]
fn a_new_member_takes_totals_as_they_are_until_it_has_caught_up() {
    let network = MemoryNetwork::new();
    let limit = |options: &mut ReplicaOptions| {
        options.tolerance.advance_max = 100;
        options.sync.part_bytes = 64;
    };
    let mut town = town::<Count>(&network, 3, limit);
    let late = town.pop().unwrap();
    drop(late);
    for _ in 0..5 {
        let _done = [count(&town[0], 90), count(&town[1], 90)];
        run(&mut town, 2 * SECOND);
    }
    let mut options = options(3, members(3), 2);
    limit(&mut options);
    town.push(boot(&network, Arc::new(MemoryStorage::new()), options).unwrap());
    // Before it has heard of anything.
    let _done = count(&town[2], 1);
    run(&mut town, 10 * SECOND);
    assert_eq!(town.iter().map(value).collect::<Vec<_>>(), [901; 3]);
    let _done = count(&town[0], 101);
    run(&mut town, 5 * SECOND);
    assert_eq!(
        town.iter().map(value).collect::<Vec<_>>(),
        [1_002, 901, 901]
    );
}

/// Two new members meet one another before they meet the rest, and one of them starts again then: both take the totals of
/// the others as they are, and measure what comes after.
#[test]
fn a_new_member_has_not_caught_up_with_the_group_when_it_has_with_another_new_one() {
    let network = MemoryNetwork::new();
    let limit = |options: &mut ReplicaOptions| options.tolerance.advance_max = 100;
    let mut town = town::<Count>(&network, 4, limit);
    town.truncate(2);
    for _ in 0..5 {
        let _done = [count(&town[0], 90), count(&town[1], 90)];
        run(&mut town, 2 * SECOND);
    }
    let limited = |number, life| {
        let mut options = options(number, members(4), life);
        limit(&mut options);
        options
    };
    for number in [3, 4] {
        let storage = Arc::new(MemoryStorage::new());
        town.push(boot(&network, storage, limited(number, 2)).unwrap());
    }
    let _done = count(&town[3], 1);
    // The others are away.
    run(&mut town[2..], 10 * SECOND);
    assert_eq!(town.iter().map(value).collect::<Vec<_>>(), [900, 900, 1, 1]);
    let storage = town[3].storage.clone();
    drop(town.pop());
    town.push(boot(&network, storage, limited(4, 3)).unwrap());
    run(&mut town, 30 * SECOND);
    assert_eq!(town.iter().map(value).collect::<Vec<_>>(), [901; 4]);
    let _done = count(&town[0], 101);
    run(&mut town, 5 * SECOND);
    assert_eq!(
        town.iter().map(value).collect::<Vec<_>>(),
        [1_002, 901, 901, 901]
    );
}

/// A founder had nobody to catch up with: what the first who joins it tells is measured, also when it was opened anew before,
/// or had others whom it outlived.
#[test]
fn a_founder_who_was_alone_measures_what_the_first_to_join_it_tells() {
    for (others_before, is_opened_anew) in [(0, false), (0, true), (1, false)] {
        let network = MemoryNetwork::new();
        let limited = |number, membership, life| {
            let mut options = options(number, membership, life);
            options.tolerance.advance_max = 100;
            options
        };
        let storage = Arc::new(MemoryStorage::new());
        let mut membership = members(1 + others_before);
        let founder = limited(1, membership.clone(), 1);
        let mut town = vec![boot::<Count>(&network, storage.clone(), founder).unwrap()];
        run(&mut town, SECOND);
        if others_before > 0 {
            membership = membership.without(member(2));
            town[0].handle.reconfigure(membership.clone()).unwrap();
        }
        membership = membership.with(member(3));
        if is_opened_anew {
            drop(town.pop());
            let again = limited(1, membership.clone(), 2);
            town.push(boot(&network, storage, again).unwrap());
        } else {
            town[0].handle.reconfigure(membership.clone()).unwrap();
        }
        let storage = Arc::new(MemoryStorage::new());
        town.push(boot(&network, storage, limited(3, membership, 1)).unwrap());
        let _done = count(&town[1], 101);
        run(&mut town, 5 * SECOND);
        assert_eq!(town.iter().map(value).collect::<Vec<_>>(), [0, 101]);
        let jump = |event: &ReplicaEvent| matches!(event, ReplicaEvent::Refused(SyncError::Refused { from, source: ApplyError::Jump(_) }) if *from == member(3));
        assert!(town[0].events().iter().any(jump));
    }
}
