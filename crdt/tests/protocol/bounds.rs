//! What was answered for opens again, however large it has become; and it becomes no larger than peers take.

use std::sync::Arc;
use std::time::Duration;

use peaberry_core::{MemoryNetwork, MemoryStorage};
use peaberry_crdt::protocol::Continuity;
use peaberry_crdt::sync::MEMBERS_MAX;
use peaberry_crdt::wire::{Bound, Budget};
use peaberry_crdt::{GCounter, Outgrown, ReplicaId, Text, WriteError, Writer};

use crate::machines::{Machine, Tags, add, boot, member, members, options, poll, run, tags, town};

const SECOND: Duration = Duration::from_secs(1);

/// One life on a store, that may have so many ids and dots.
fn life(storage: &Arc<MemoryStorage>, life: u64, ids_max: usize, dots_max: usize) -> Machine<Tags> {
    let mut options = options(1, members(1), life);
    options.sync.budget.ids_max = ids_max;
    options.sync.budget.dots_max = dots_max;
    boot(&MemoryNetwork::new(), storage.clone(), options).unwrap()
}

fn outgrown(machine: &mut Machine<Tags>, tag: u32) -> Option<Outgrown> {
    let done = machine.handle.mutate(move |tags: &mut Tags, writer| {
        tags.write(writer, |set, mint| Ok(set.add(mint, tag)))
            .map(drop)
    });
    machine.turn();
    match poll(done).unwrap().unwrap() {
        Ok(()) => None,
        Err(WriteError::Outgrown(outgrown)) => Some(outgrown),
        Err(other) => panic!("{other}"),
    }
}

/// Every life takes an id, and keeps it.
#[test]
fn ids_and_dots_are_refused_beyond_their_bounds_and_the_store_opens_always() {
    let storage = Arc::new(MemoryStorage::new());
    for number in 1..=3 {
        let mut machine = life(&storage, number, 3, 100);
        assert_eq!(outgrown(&mut machine, u32::try_from(number).unwrap()), None);
    }
    let mut crowded = life(&storage, 4, 3, 100);
    let (bound, given, max) = (Bound::Ids, 4, 3);
    assert_eq!(
        outgrown(&mut crowded, 4),
        Some(Outgrown { bound, given, max })
    );
    drop(crowded);
    let mut full = life(&storage, 5, 100, 4);
    assert_eq!(outgrown(&mut full, 4), None);
    let (bound, given, max) = (Bound::Dots, 5, 4);
    assert_eq!(outgrown(&mut full, 5), Some(Outgrown { bound, given, max }));
    drop(full);
    // With bounds far below what it has it is there all the same.
    let mut small = life(&storage, 6, 1, 1);
    assert_eq!(tags(&small), [1, 2, 3, 4]);
    assert!(outgrown(&mut small, 6).is_some());
}

/// More than any peer would be let tell, and than a message was ever let have.
#[test]
fn a_state_with_more_ids_than_a_message_may_tell_opens_again() {
    let storage = Arc::new(MemoryStorage::new());
    let ids = Budget::default().ids_max as u64 + 10;
    let count = |life| {
        let options = options(1, members(1), life);
        boot::<GCounter>(&MemoryNetwork::new(), storage.clone(), options).unwrap()
    };
    let mut machine = count(1);
    let done = machine.handle.mutate(move |count: &mut GCounter, _| {
        for number in 1..=ids {
            let id = ReplicaId::new(u128::from(number) << 64).unwrap();
            count.add(&Writer::new(id, 0, 0), 1).unwrap();
        }
    });
    machine.turn();
    assert_eq!(poll(done), Some(Ok(())));
    drop(machine);
    let again = count(2);
    assert_eq!(again.handle.read(GCounter::value), i128::from(ids));
}

/// Nobody wakes it, and nobody has to acknowledge anything.
#[test]
fn a_lone_replica_forgets_what_was_removed() {
    let storage = Arc::new(MemoryStorage::new());
    let mut machine = life(&storage, 1, 100, 100);
    for tag in 0..50 {
        let _done = add(&machine, tag);
        machine.turn();
        let _done = machine.handle.mutate(move |tags: &mut Tags, writer| {
            tags.write(writer, |set, _| Ok(set.remove(&tag))).is_ok()
        });
        machine.turn();
    }
    assert_eq!(machine.handle.read(Tags::log_bytes), 0);
}

/// A text takes a dot for each character: longer than what is reserved at once is asked for, and still durable first.
#[test]
fn a_long_text_is_inserted_at_once_when_its_dots_are_reserved() {
    let network = MemoryNetwork::new();
    let mut town = town::<Text>(&network, 2, |options| {
        options.reservation = 64;
        options.continuity = Continuity::Vouched;
    });
    let long = "Two cups, please. ".repeat(1_000);
    let length = long.len() as u64;
    let insert = |machine: &Machine<Text>, dots, text: String| {
        let insert = move |doc: &mut Text, writer: &mut Writer| doc.insert(writer, 0, &text);
        machine.handle.mutate_reserving(dots, insert)
    };
    let [short, enough, after] = [
        insert(&town[0], 0, long.clone()),
        insert(&town[0], length, long.clone()),
        insert(&town[0], 0, "Anna: ".into()),
    ];
    run(&mut town, 5 * SECOND);
    let refused = poll(short).unwrap().unwrap();
    assert!(matches!(
        refused,
        Err(WriteError::ReservationExhausted { .. })
    ));
    assert_eq!(poll(enough), Some(Ok(Ok(()))));
    assert_eq!(poll(after), Some(Ok(Ok(()))));
    for machine in &town {
        assert_eq!(
            machine.handle.read(Text::to_string),
            format!("Anna: {long}")
        );
    }
}

#[test]
fn a_membership_that_nobody_would_take_is_refused_where_it_is_given() {
    let network = MemoryNetwork::new();
    let town = town::<Tags>(&network, 1, |_| {});
    let crowd = members(MEMBERS_MAX as u64 + 1).with(member(1));
    assert!(town[0].handle.reconfigure(crowd).is_err());
    assert_eq!(town[0].handle.membership(), members(1));
}
