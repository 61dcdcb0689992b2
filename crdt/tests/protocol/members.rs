//! Who takes part, across restarts.

use std::sync::Arc;
use std::time::Duration;

use peaberry_core::{MemoryNetwork, MemoryStorage, PeerId};
use peaberry_crdt::protocol::{MutationError, OpenError, ReplicaEvent};
use peaberry_crdt::sync::SyncError;

use crate::machines::{Tags, add, boot, member, members, options, poll, run, tags, town};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_membership_spreads_is_kept_and_evicts() {
    let network = MemoryNetwork::new();
    let mut town = town::<Tags>(&network, 3, |_| {});
    let done = add(&town[0], 1);
    run(&mut town, 5 * SECOND);
    assert_eq!(poll(done), Some(Ok(true)));
    assert!(town.iter().all(|machine| tags(machine) == [1]));

    let without = members(3).without(member(3));
    town[0].handle.reconfigure(without.clone()).unwrap();
    run(&mut town, 5 * SECOND);
    let spread = ReplicaEvent::Membership(without.clone());
    assert!(
        town[..2]
            .iter()
            .all(|machine| machine.events().contains(&spread))
    );
    assert!(
        town[2]
            .events()
            .contains(&ReplicaEvent::Evicted { epoch: 2 })
    );
    let refused = add(&town[2], 9);
    run(&mut town, SECOND);
    assert_eq!(poll(refused), Some(Err(MutationError::Closed)));

    // Restarted with the old configuration, a member goes by what its store has; the evicted stays out.
    for number in [2, 3] {
        let at = town
            .iter()
            .position(|machine| machine.number == number)
            .unwrap();
        let storage = town.remove(at).storage.clone();
        town.push(boot(&network, storage, options(number, members(3), 2)).unwrap());
    }
    let done = add(&town[0], 2);
    run(&mut town, 5 * SECOND);
    assert_eq!(poll(done), Some(Ok(true)));
    assert_eq!((tags(&town[1]), tags(&town[2])), (vec![1, 2], vec![1]));

    // Made a member again, it starts empty on its old store, and gets everything.
    let again = without.with(member(3));
    town[0].handle.reconfigure(again.clone()).unwrap();
    let storage = town.pop().unwrap().storage;
    town.push(boot(&network, storage, options(3, again, 3)).unwrap());
    assert_eq!(tags(&town[2]), [0; 0]);
    run(&mut town, 10 * SECOND);
    assert!(town.iter().all(|machine| tags(machine) == [1, 2]));
}

#[test]
fn two_memberships_of_one_epoch_are_told_apart_when_opened_and_when_heard() {
    let storage = Arc::new(MemoryStorage::new());
    let network = MemoryNetwork::new();
    let mut machine = boot::<Tags>(&network, storage.clone(), options(1, members(2), 1)).unwrap();
    machine.turn();
    drop(machine);
    let other = boot::<Tags>(&network, storage, options(1, members(3), 2));
    assert!(matches!(
        other.err(),
        Some(OpenError::TwoMemberships { epoch: 1 })
    ));

    let mut town = [(1, 2), (2, 3)].map(|(number, count)| {
        boot::<Tags>(
            &network,
            Arc::new(MemoryStorage::new()),
            options(number, members(count), 1),
        )
        .unwrap()
    });
    run(&mut town, 5 * SECOND);
    let named = |event: &ReplicaEvent| matches!(event, ReplicaEvent::Refused(SyncError::TwoMemberships { from, epoch: 1 }) if *from == member(2));
    assert!(town[0].events().iter().any(named));
}

/// What one writes while cut off reaches the others when the line is mended, and nobody waited for it.
#[test]
fn who_was_cut_off_catches_up() {
    let network = MemoryNetwork::new();
    let mut town = town::<Tags>(&network, 3, |options| options.sync.part_bytes = 64);
    let cut = PeerId::new(2).unwrap();
    network.cut(cut);
    let mut done = Vec::new();
    for tag in 0..60 {
        done.push(add(&town[usize::try_from(tag % 3).unwrap()], tag));
        run(&mut town, SECOND / 5);
    }
    assert!(done.into_iter().all(|done| poll(done) == Some(Ok(true))));
    assert_eq!(tags(&town[0]), tags(&town[2]));
    assert_eq!((tags(&town[0]).len(), tags(&town[1]).len()), (40, 20));
    network.mend(cut);
    run(&mut town, 30 * SECOND);
    assert!(
        town.iter()
            .all(|machine| tags(machine) == (0..60).collect::<Vec<_>>())
    );
}
