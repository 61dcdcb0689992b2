//! The promises of [`Storage`], one check for each.
//!
//! Describe your store by a [`Subject`] and call [`check`]. Every failure panics with what was promised, and with the
//! seed where there is one.
//!
//! ```
//! use peaberry_core::conformance::storage::{Subject, check};
//! use peaberry_core::{MemoryStorage, Storage};
//!
//! struct Memory;
//!
//! impl Subject for Memory {
//!     fn create(&mut self) -> Box<dyn Storage> {
//!         Box::new(MemoryStorage::new())
//!     }
//! }
//!
//! check(&mut Memory, 0..5);
//! ```

mod model;

use std::ops::{Bound, Range};

use fastrand::Rng;

pub use self::model::{LOGS, Model, random_batch};
use crate::batch::Batch;
use crate::storage::{Durability, Order, ScanLimit, Storage, StorageError};

/// How to make, close and ill-treat the store under test.
pub trait Subject {
    /// An empty store, independent of those before.
    fn create(&mut self) -> Box<dyn Storage>;

    /// Closes `storage`, the last one made, in good order and opens it again; `None` for a store that keeps nothing.
    fn reopen(&mut self, storage: Box<dyn Storage>) -> Option<Box<dyn Storage>> {
        drop(storage);
        None
    }

    /// As [`reopen`](Self::reopen), after a power loss; `None` where that cannot be arranged.
    fn crash(&mut self, storage: Box<dyn Storage>) -> Option<Box<dyn Storage>> {
        drop(storage);
        None
    }
}

/// Runs every check; those with random batches once for each seed.
///
/// # Panics
///
/// When a promise is broken.
pub fn check(subject: &mut dyn Subject, seeds: Range<u64>) {
    check_order_within_a_batch(subject);
    check_pages(subject);
    check_log_indices(subject);
    check_refused_batches(subject);
    check_empty_synced_batch(subject);
    for seed in seeds {
        check_against_model(subject, seed);
        check_reopening(subject, seed);
        check_power_loss(subject, seed);
    }
}

/// A batch's operations take effect in their order, and reads see it as a whole.
///
/// # Panics
///
/// When a promise is broken.
pub fn check_order_within_a_batch(subject: &mut dyn Subject) {
    let storage = subject.create();
    let mut batch = Batch::new();
    batch.put(b"a", b"1");
    batch.delete_range(b"a", Some(b"c"));
    batch.put(b"b", b"2");
    batch.put(b"b", b"3");
    let [log, ..] = LOGS;
    batch.append(log, 1, [b"x".as_slice(), b"y", b"z"]);
    batch.truncate(log, 2);
    batch.append(log, 2, [b"Y".as_slice()]);
    batch.discard(log, 2);
    commit(&*storage, &batch, Durability::Buffered);

    let mut expected = Model::new();
    expected.apply(&batch);
    expected.check(&*storage, "operations take effect in their order");
    let read = storage.log_read(log, 0..9, 100).expect("a read succeeds");
    assert_eq!(read, ["Y"], "operations take effect in their order");
}

/// Pages hold what fits their limit, at least one key, in either order, within the bounds.
///
/// # Panics
///
/// When a promise is broken.
pub fn check_pages(subject: &mut dyn Subject) {
    let storage = subject.create();
    let mut batch = Batch::new();
    for key in [b"a", b"b", b"c", b"d"] {
        batch.put(key, b"0123456789");
    }
    commit(&*storage, &batch, Durability::Buffered);
    let page = |from, to, order, count, bytes| {
        let limit = ScanLimit { count, bytes };
        let page = storage.scan(from, to, order, limit);
        let keys = page
            .expect("a scan succeeds")
            .into_iter()
            .map(|(key, _)| key);
        keys.map(|key| String::from_utf8_lossy(&key).into_owned())
            .collect::<String>()
    };
    let all = (Bound::Unbounded, Bound::Unbounded);
    let (up, down) = (Order::Ascending, Order::Descending);
    let inner = (
        Bound::Excluded(b"a".as_slice()),
        Bound::Included(b"c".as_slice()),
    );
    let crossed = (
        Bound::Included(b"c".as_slice()),
        Bound::Excluded(b"a".as_slice()),
    );
    assert_eq!(page(all.0, all.1, up, 9, 1000), "abcd", "a scan ascends");
    assert_eq!(
        page(all.0, all.1, down, 2, 1000),
        "dc",
        "a page holds at most its count"
    );
    assert_eq!(
        page(all.0, all.1, up, 9, 25),
        "ab",
        "a page holds at most its bytes"
    );
    assert_eq!(
        page(all.0, all.1, up, 9, 0),
        "a",
        "a page holds at least one key"
    );
    assert_eq!(
        page(inner.0, inner.1, up, 9, 1000),
        "bc",
        "a scan keeps to its bounds"
    );
    assert_eq!(
        page(inner.0, inner.1, down, 1, 1000),
        "c",
        "a scan keeps to its bounds"
    );
    assert_eq!(
        page(crossed.0, crossed.1, up, 9, 1000),
        "",
        "crossed bounds are an empty page"
    );
    assert_eq!(
        storage.get(b"c").expect("a get succeeds").as_deref(),
        Some(b"0123456789".as_slice())
    );
    assert_eq!(
        storage.get(b"e").expect("a get succeeds"),
        None,
        "an absent key has no value"
    );
}

/// Logs start, jump, are cut at both ends and read as [`Operation`](crate::Operation) says.
///
/// # Panics
///
/// When a promise is broken.
pub fn check_log_indices(subject: &mut dyn Subject) {
    let storage = subject.create();
    let [log, other, ..] = LOGS;
    let step = |write: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        write(&mut batch);
        commit(&*storage, &batch, Durability::Buffered);
        storage.log_bounds(log).expect("bounds are read")
    };
    assert_eq!(step(&|_| {}), 0..0, "a log never written has bounds 0..0");
    let three = [b"five".as_slice(), b"six", b"seven"];
    assert_eq!(
        step(&|batch| batch.append(log, 5, three)),
        5..8,
        "an empty log may jump ahead"
    );
    assert_eq!(
        step(&|batch| batch.truncate(log, 9)),
        5..8,
        "truncating past the end does nothing"
    );
    assert_eq!(
        step(&|batch| batch.discard(log, 3)),
        5..8,
        "discarding before the start does nothing"
    );

    let read = |range, bytes| {
        storage
            .log_read(log, range, bytes)
            .expect("a read succeeds")
    };
    assert_eq!(
        read(0..99, 99),
        ["five", "six", "seven"],
        "indices outside are passed over"
    );
    assert_eq!(read(6..7, 99), ["six"], "a read keeps to its range");
    assert_eq!(
        read(5..8, 7),
        ["five", "six"],
        "a read holds at most its bytes"
    );
    assert_eq!(read(5..8, 0), ["five"], "a read holds at least one entry");
    let crossed = Range { start: 8, end: 5 };
    assert!(read(crossed, 99).is_empty(), "a crossed range is empty");
    assert!(read(8..9, 99).is_empty(), "nothing lies past the end");

    assert_eq!(
        step(&|batch| batch.discard(log, 6)),
        6..8,
        "discarding moves the start"
    );
    assert_eq!(
        step(&|batch| batch.truncate(log, 2)),
        6..6,
        "truncating before the start empties"
    );
    assert_eq!(
        step(&|batch| batch.append(log, 6, three)),
        6..9,
        "an emptied log goes on"
    );
    assert_eq!(
        step(&|batch| batch.discard(log, 20)),
        20..20,
        "discarding past the end moves the end"
    );
    assert_eq!(
        step(&|batch| batch.append(log, 20, three)),
        20..23,
        "and the log goes on there"
    );
    assert_eq!(
        storage.log_bounds(other).expect("bounds are read"),
        0..0,
        "logs are apart"
    );
}

/// A batch refused as invalid has changed nothing, and the store goes on.
///
/// # Panics
///
/// When a promise is broken.
pub fn check_refused_batches(subject: &mut dyn Subject) {
    let storage = subject.create();
    let [log, ..] = LOGS;
    let mut batch = Batch::new();
    batch.put(b"key", b"before");
    batch.append(log, 1, [b"one".as_slice()]);
    commit(&*storage, &batch, Durability::Synced);
    let mut expected = Model::new();
    expected.apply(&batch);

    for first in [0, 1, 3, u64::MAX] {
        let mut refused = Batch::new();
        refused.put(b"key", b"after");
        refused.delete_range(b"", None);
        refused.append(log, first, [b"gap".as_slice()]);
        refused.put(b"other", b"after");
        let outcome = storage.commit(&refused, Durability::Synced);
        assert!(
            matches!(outcome, Err(StorageError::InvalidBatch { .. })),
            "an append at {first} to a log that ends at 2 is invalid: {outcome:?}"
        );
        expected.check(&*storage, "a refused batch changes nothing");
    }
    let mut batch = Batch::new();
    batch.append(log, 2, [b"two".as_slice()]);
    commit(&*storage, &batch, Durability::Synced);
    expected.apply(&batch);
    expected.check(&*storage, "the store goes on after a refused batch");
}

/// An empty batch with `Synced` makes everything before it durable.
///
/// # Panics
///
/// When a promise is broken.
pub fn check_empty_synced_batch(subject: &mut dyn Subject) {
    let storage = subject.create();
    let mut expected = Model::new();
    for key in [b"a", b"b", b"c"] {
        let mut batch = Batch::new();
        batch.put(key, b"buffered");
        commit(&*storage, &batch, Durability::Buffered);
        expected.apply(&batch);
    }
    commit(&*storage, &Batch::new(), Durability::Synced);
    if let Some(storage) = subject.crash(storage) {
        expected.check(
            &*storage,
            "an empty synced batch makes the ones before durable",
        );
    }
}

/// Random batches leave what the naive model has.
///
/// # Panics
///
/// When a promise is broken.
pub fn check_against_model(subject: &mut dyn Subject, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let storage = subject.create();
    let mut model = Model::new();
    for step in 0..60 {
        let batch = random_batch(&mut rng, &model);
        commit(&*storage, &batch, durability(&mut rng));
        model.apply(&batch);
        if step % 6 == 0 {
            model.check(
                &*storage,
                &format!("reads see every batch (seed {seed}, step {step})"),
            );
            model.check_parts(&*storage, &mut rng);
        }
    }
    model.check(&*storage, &format!("reads see every batch (seed {seed})"));
}

/// A store closed in good order opens with everything that was synced.
///
/// # Panics
///
/// When a promise is broken.
pub fn check_reopening(subject: &mut dyn Subject, seed: u64) {
    survive(subject, seed, "reopening", |subject, storage| {
        subject.reopen(storage)
    });
}

/// After a power loss there is every synced batch, and of the buffered ones behind it a prefix.
///
/// # Panics
///
/// When a promise is broken.
pub fn check_power_loss(subject: &mut dyn Subject, seed: u64) {
    survive(subject, seed, "a power loss", |subject, storage| {
        subject.crash(storage)
    });
}

type Restart = fn(&mut dyn Subject, Box<dyn Storage>) -> Option<Box<dyn Storage>>;

fn survive(subject: &mut dyn Subject, seed: u64, what: &str, restart: Restart) {
    let mut rng = Rng::with_seed(seed);
    let mut storage = subject.create();
    let mut model = Model::new();
    for life in 0..4 {
        // The states that a restart may find, oldest first.
        let mut allowed = vec![model.clone()];
        for _ in 0..rng.usize(0..25) {
            let batch = random_batch(&mut rng, &model);
            let durability = durability(&mut rng);
            commit(&*storage, &batch, durability);
            model.apply(&batch);
            if durability == Durability::Synced {
                allowed.clear();
            }
            allowed.push(model.clone());
        }
        let Some(reopened) = restart(subject, storage) else {
            return;
        };
        storage = reopened;
        let found = Model::read(&*storage);
        let place = allowed.iter().rposition(|state| *state == found);
        assert!(
            place.is_some(),
            "{what} keeps every synced batch and a prefix of the rest (seed {seed}, life {life}):\n\
             found {found:?}\nsynced {:?}",
            allowed.first()
        );
        model = found;
    }
}

fn durability(rng: &mut Rng) -> Durability {
    if rng.u8(..3) == 0 {
        Durability::Synced
    } else {
        Durability::Buffered
    }
}

fn commit(storage: &dyn Storage, batch: &Batch, durability: Durability) {
    if let Err(error) = storage.commit(batch, durability) {
        panic!("a valid batch is committed: {error}: {batch:?}");
    }
}
