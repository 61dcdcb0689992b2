//! Nothing that was answered for is lost, and no dot is minted twice.

use std::sync::Arc;
use std::time::Duration;

use peaberry_core::{
    Batch, Channel, Durability, MemoryNetwork, MemoryStorage, Next, Storage, Subspace,
};
use peaberry_crdt::protocol::{CRDT, Continuity, MutationError, OpenError};
use peaberry_crdt::wire::seal;
use peaberry_crdt::{BoundedCounter, Causal, LwwRegister, PnCounter, ReplicaId, Writer};

use crate::machines::{Machine, Tags, add, boot, member, members, options, poll, run, tags, town};

const SECOND: Duration = Duration::from_secs(1);

fn alone(storage: &Arc<MemoryStorage>, life: u64, continuity: Continuity) -> Machine<Tags> {
    let mut options = options(1, members(1), life);
    options.continuity = continuity;
    options.reservation = 8;
    boot(&MemoryNetwork::new(), storage.clone(), options).unwrap()
}

#[test]
fn what_was_answered_for_is_there_after_a_crash_under_a_fresh_id() {
    let storage = Arc::new(MemoryStorage::new());
    let mut machine = alone(&storage, 1, Continuity::Unproven);
    let mut pending = add(&machine, 5);
    assert_eq!(poll(&mut pending), None, "not before the commit");
    machine.turn();
    assert_eq!(poll(pending), Some(Ok(true)));
    let first = machine.handle.replica();
    drop(machine);
    // Whoever vouches for the store, not all reserved dots are accounted for.
    for (life, continuity) in [(2, Continuity::Unproven), (3, Continuity::Vouched)] {
        let machine = alone(&storage, life, continuity);
        assert_eq!(tags(&machine), [5]);
        assert_ne!(machine.handle.replica(), first);
    }
}

#[test]
fn after_an_orderly_close_the_id_is_kept_only_if_somebody_vouches() {
    let storage = Arc::new(MemoryStorage::new());
    let mut machine = alone(&storage, 1, Continuity::Unproven);
    let _done = add(&machine, 5);
    machine.turn();
    let closed = machine.handle.close();
    machine.turn();
    assert_eq!(poll(closed), Some(Ok(())));
    let late = add(&machine, 6);
    machine.turn();
    assert_eq!(poll(late), Some(Err(MutationError::Closed)));
    let first = machine.handle.replica();
    drop(machine);
    assert_ne!(
        alone(&storage, 2, Continuity::Unproven).handle.replica(),
        first
    );
    let mut kept = alone(&storage, 3, Continuity::Vouched);
    assert_eq!(kept.handle.replica(), first);
    let done = add(&kept, 7);
    kept.turn();
    assert_eq!(poll(done), Some(Ok(true)));
    assert_eq!(tags(&kept), [5, 7]);
    assert_eq!(
        kept.handle.read(|tags| tags.vector().get(first)),
        2,
        "it counts on"
    );
}

fn identity(storage: &MemoryStorage) -> Option<Vec<u8>> {
    let keys = Subspace::of(Channel::new(CRDT, 7));
    let stored = keys.get(storage, b"identity").unwrap()?;
    Some(stored.to_vec())
}

/// Far more writes than are reserved at once, handed over at once: each waits until its dot is reserved durably.
#[test]
fn no_dot_is_minted_beyond_what_was_reserved_before() {
    let storage = Arc::new(MemoryStorage::new());
    let mut machine = alone(&storage, 1, Continuity::Unproven);
    let pending: Vec<_> = (0..100).map(|tag| add(&machine, tag)).collect();
    let id = machine.handle.replica();
    let mut next = Next::Again;
    while next == Next::Again {
        // Behind the id and two bytes, as long as it is below 128.
        let reserved = identity(&storage).map_or(0, |identity| u64::from(identity[19]));
        next = machine.node.turn();
        let minted = machine.handle.read(|tags| tags.vector().get(id));
        assert!(minted <= reserved, "{minted} of {reserved}");
    }
    assert!(pending.into_iter().all(|done| poll(done) == Some(Ok(true))));
}

/// As `FORMAT.md` has it, byte by byte.
#[test]
fn an_identity_is_written_as_it_always_was() {
    let storage = Arc::new(MemoryStorage::new());
    let mut options = options(3, members(3).without(member(2)).with(member(2)), 1);
    options.fresh = ReplicaId::new(0xA11CE).unwrap();
    let mut machine = boot::<Tags>(&MemoryNetwork::new(), storage.clone(), options).unwrap();
    machine.turn();
    let mut expected = [
        &[1][..],                                                   // one id is told
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0A, 0x11, 0xCE], // it
        &[1],                                                       // the epoch in which it joined
        &[0],                                                       // its id
        &[0x80, 0x20],                                              // 4,096 dots are reserved
        &[3, 3],                                                    // epoch 3, three members
        &[1, 1, 2, 3, 3, 1],                                        // each, and when it joined
        &[1], // it began empty; nothing is here once it has caught up
    ]
    .concat();
    seal(&mut expected, 0);
    assert_eq!(identity(&storage), Some(expected));
}

#[test]
fn changes_are_told_once_they_are_there_and_many_are_one() {
    let storage = Arc::new(MemoryStorage::new());
    let mut machine = alone(&storage, 1, Continuity::Unproven);
    machine.turn();
    let mut changes = machine.handle.changes();
    assert_eq!(poll(changes.next()), None);
    let _done = [add(&machine, 1), add(&machine, 2)];
    machine.turn();
    assert_eq!(poll(changes.next()), Some(()));
    assert_eq!(poll(changes.next()), None);
}

#[test]
fn a_damaged_store_and_one_of_another_type_are_refused() {
    let storage = Arc::new(MemoryStorage::new());
    let mut machine = alone(&storage, 1, Continuity::Unproven);
    let _done = add(&machine, 5);
    machine.turn();
    drop(machine);
    let network = MemoryNetwork::new();
    let other =
        boot::<Causal<LwwRegister<u8>>>(&network, storage.clone(), options(1, members(1), 2));
    assert!(matches!(other.err(), Some(OpenError::Damaged(_))));
    let keys = Subspace::of(Channel::new(CRDT, 7));
    let mut identity = keys
        .get(storage.as_ref(), b"identity")
        .unwrap()
        .unwrap()
        .to_vec();
    identity[3] ^= 1;
    let mut batch = Batch::new();
    keys.put(&mut batch, b"identity", &identity);
    storage.commit(&batch, Durability::Synced).unwrap();
    let damaged = boot::<Tags>(&network, storage, options(1, members(1), 3));
    assert!(matches!(damaged.err(), Some(OpenError::Damaged(_))));
}

/// It is a hint: nothing is lost without it.
#[test]
fn a_damaged_order_of_events_is_ignored() {
    let storage = Arc::new(MemoryStorage::new());
    let mut machine = alone(&storage, 1, Continuity::Unproven);
    let _done = add(&machine, 5);
    machine.turn();
    drop(machine);
    let keys = Subspace::of(Channel::new(CRDT, 7));
    assert!(keys.get(storage.as_ref(), b"state").unwrap().is_some());
    let mut batch = Batch::new();
    keys.put(&mut batch, b"order", &[1, 2, 3, 4, 5, 6]);
    storage.commit(&batch, Durability::Synced).unwrap();
    let again = alone(&storage, 2, Continuity::Unproven);
    assert_eq!(tags(&again), [5]);
}

/// A counter is a document like any other: synced and durable. It mints no dots, so its store says all that anybody has seen
/// of it: vouched for, it goes on under its id.
#[test]
fn plain_counters_are_synced_and_kept() {
    let network = MemoryNetwork::new();
    let mut shops = town::<PnCounter>(&network, 3, |options| options.reservation = 8);
    let count = |machine: &Machine<PnCounter>, amount: i64| {
        let counted =
            move |count: &mut PnCounter, writer: &mut Writer| count.add(writer, amount).is_ok();
        machine.handle.mutate(counted)
    };
    let done: Vec<_> = [50, -3, 7]
        .iter()
        .zip(&shops)
        .map(|(amount, shop)| count(shop, *amount))
        .collect();
    run(&mut shops, 5 * SECOND);
    assert!(done.into_iter().all(|done| poll(done) == Some(Ok(true))));
    assert!(
        shops
            .iter()
            .all(|shop| shop.handle.read(PnCounter::value) == 54)
    );
    let dead = shops.remove(1);
    let (storage, before) = (dead.storage.clone(), dead.handle.replica());
    drop(dead);
    let mut options = options(2, members(3), 2);
    options.continuity = Continuity::Vouched;
    shops.push(boot(&network, storage, options).unwrap());
    assert_eq!(shops[2].handle.replica(), before);
    let done = count(&shops[2], -4);
    run(&mut shops, 5 * SECOND);
    assert_eq!(poll(done), Some(Ok(true)));
    assert!(
        shops
            .iter()
            .all(|shop| shop.handle.read(PnCounter::value) == 50)
    );
}

/// The rights to a stock are owned by ids: a crash must not strand them.
#[test]
fn a_stock_keeps_its_rights_through_a_crash_if_somebody_vouches() {
    let network = MemoryNetwork::new();
    let mut shops = town::<BoundedCounter>(&network, 2, |_| {});
    let done = shops[0]
        .handle
        .mutate(|stock: &mut BoundedCounter, writer| {
            stock.add(writer, 10).is_ok() && stock.take(writer, 3).is_ok()
        });
    run(&mut shops, 5 * SECOND);
    assert_eq!(poll(done), Some(Ok(true)));
    for (life, continuity, is_left) in [
        (2, Continuity::Vouched, true),
        (3, Continuity::Unproven, false),
    ] {
        let dead = shops.remove(0);
        let storage = dead.storage.clone();
        drop(dead);
        let mut options = options(1, members(2), life);
        options.continuity = continuity;
        shops.insert(0, boot(&network, storage, options).unwrap());
        let done = shops[0]
            .handle
            .mutate(|stock: &mut BoundedCounter, writer| stock.take(writer, 1).is_ok());
        run(&mut shops, 5 * SECOND);
        assert_eq!(poll(done), Some(Ok(is_left)));
        for shop in &shops {
            assert_eq!(shop.handle.read(BoundedCounter::value), 6);
        }
    }
}

/// Two wrote by turns, and one of them is started anew: a newcomer gets what it lacks part by part, and not as one whole, for
/// the order of events is kept beside the checkpoint.
#[test]
fn after_a_restart_a_newcomer_is_still_served_in_parts() {
    const EACH: u32 = 300;
    let network = MemoryNetwork::new();
    let small = |number, life| {
        let mut options = options(number, members(3), life);
        options.sync.part_bytes = 256;
        options
    };
    let storages = [1, 2].map(|_| Arc::new(MemoryStorage::new()));
    let mut town: Vec<_> = (1..)
        .zip(&storages)
        .map(|(number, storage)| boot::<Tags>(&network, storage.clone(), small(number, 1)).unwrap())
        .collect();
    for tag in 0..EACH {
        let _done = [add(&town[0], 2 * tag), add(&town[1], 2 * tag + 1)];
        run(&mut town, Duration::from_millis(100));
    }
    run(&mut town, Duration::from_secs(5));
    town.clear();
    town.push(boot(&network, storages[0].clone(), small(1, 2)).unwrap());
    let all = tags(&town[0]);
    assert_eq!(all.len(), 2 * EACH as usize);
    town.push(boot(&network, Arc::new(MemoryStorage::new()), small(3, 1)).unwrap());
    let (mut seen, mut steps) = (0, 0);
    for _ in 0..2_000 {
        town.iter_mut().for_each(Machine::turn);
        town.iter()
            .for_each(|machine| machine.clock.advance(Duration::from_millis(20)));
        let held = tags(&town[1]).len();
        assert!(held <= seen + 200, "{held} after {seen}");
        steps += u32::from(held > seen);
        seen = held;
    }
    assert_eq!(tags(&town[1]), all);
    assert!(steps >= 3, "{steps} steps");
}
