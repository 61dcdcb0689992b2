//! What a group says of storage that it cannot go on from.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod support;

use peaberry_consensus::{OpenError, RaftConfig, RaftEvent, RaftGroup};
use peaberry_core::{
    Batch, Durability, EffectsBuffer, Input, Instant, LogId, MemoryStorage, PeerId, Protocol,
    Storage, Subspace,
};
use support::Sum;

type Group = RaftGroup<Sum, u64>;

fn peer(id: u64) -> PeerId {
    PeerId::new(id).unwrap()
}

fn config(local: u64, voters: &[u64]) -> RaftConfig {
    RaftConfig::new(0, peer(local), voters.iter().copied().map(peer), 7)
}

/// What a replica alone in its group leaves behind: its founders, its term and vote, an entry.
fn founded() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let config = config(1, &[1]);
    let (channel, tick) = (config.channel(), config.tick);
    let mut group = Group::open(config, &storage, Sum::default()).unwrap();
    let mut buffer: EffectsBuffer<RaftEvent<u64>> = EffectsBuffer::new(channel);
    let mut now = Instant::default();
    for _ in 0..40 {
        group
            .step(now, Input::Timeout, &mut buffer.effects())
            .unwrap();
        group.settle(now, &mut buffer.effects()).unwrap();
        storage.commit(buffer.batch(), Durability::Synced).unwrap();
        let turn = buffer.next_turn();
        group
            .step(now, Input::Committed(turn), &mut buffer.effects())
            .unwrap();
        now += tick;
    }
    assert_eq!(storage.log_bounds(log()).unwrap(), 1..2);
    storage
}

fn log() -> LogId {
    LogId::new(config(1, &[1]).channel(), 0)
}

type Damage<'a> = &'a dyn Fn(&mut Batch, &Subspace);

/// Why the group does not open once `change` has been made to what it left behind.
fn refusal(change: impl FnOnce(&mut Batch, &Subspace)) -> OpenError {
    let storage = founded();
    let config = config(1, &[1]);
    let mut batch = Batch::new();
    change(&mut batch, &Subspace::of(config.channel()));
    storage.commit(&batch, Durability::Synced).unwrap();
    Group::open(config, &storage, Sum::default()).unwrap_err()
}

#[test]
fn another_replicas_storage_and_another_groups_are_refused_by_name() {
    let storage = founded();
    for (local, voters, expected) in [
        (2, [1, 2].as_slice(), "peer-2 of peer-1, peer-2"),
        (1, &[1, 2, 3], "peer-1 of peer-1, peer-2, peer-3"),
    ] {
        let outcome = Group::open(config(local, voters), &storage, Sum::default());
        let error = outcome.unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        let said = error.to_string();
        assert!(
            said.contains("as peer-1 of peer-1,") && said.contains(expected),
            "{said}"
        );
    }
    Group::open(config(1, &[1]), &storage, Sum::default()).unwrap();
}

#[test]
fn damaged_storage_is_an_error_and_not_a_panic() {
    let garbage = [7; 9];
    let damages: [Damage<'_>; 5] = [
        &|batch, space| space.put(batch, b"hard-state", &garbage),
        &|batch, space| space.put(batch, b"manifest", &garbage),
        // Committed up to 9, as the group says, and only one entry is there.
        &|batch, space| space.put(batch, b"hard-state", &[1, 1, 9]),
        &|batch, _| batch.discard(log(), 5),
        &|batch, _| {
            batch.truncate(log(), 1);
            batch.append(log(), 1, [garbage.as_slice()]);
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let error = refusal(damage);
        assert!(matches!(error, OpenError::Damaged(_)), "{number}: {error}");
    }
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let refused = |change: &dyn Fn(&mut RaftConfig)| {
        let mut config = config(1, &[1, 2, 3]);
        change(&mut config);
        let outcome = Group::open(config, &MemoryStorage::new(), Sum::default());
        matches!(outcome, Err(OpenError::Config(_)))
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|config| config.local = peer(4)));
    assert!(refused(&|config| config.command_bytes_max = 5 << 20));
    assert!(refused(&|config| config.election_ticks = 3));
    assert!(refused(&|config| config.tick = std::time::Duration::ZERO));
}
