//! What `DiskStorage` has synced survives power losses at any moment, and damage to it does not stay unseen.

use std::collections::BTreeMap;
use std::sync::Arc;

use peaberry_core::conformance::storage::{LOGS, Model, random_batch};
use peaberry_core::files::Files;
use peaberry_core::simulation::files::SimulatedFiles;
use peaberry_core::{Batch, DiskOptions, DiskStorage, Durability, Storage, StorageError};
use proptest::prelude::*;

const SEGMENT_BYTES: u64 = DiskOptions::SEGMENT_BYTES_MIN;

fn open(files: &SimulatedFiles) -> Result<DiskStorage, StorageError> {
    let options = DiskOptions::owned_by("test")
        .segment_bytes(SEGMENT_BYTES)
        .checkpoint_bytes(24 << 10);
    DiskStorage::open_on(Arc::new(files.clone()), options)
}

/// A store, and the states that a power loss now may leave.
struct Run {
    files: SimulatedFiles,
    rng: fastrand::Rng,
    model: Model,
    /// From the last one that is synced to the present one.
    allowed: Vec<Model>,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            files: SimulatedFiles::new(seed),
            rng: fastrand::Rng::with_seed(seed ^ 0x5eed),
            model: Model::new(),
            allowed: vec![Model::new()],
        }
    }

    /// Opens and commits random batches until there were `commits` or something fails.
    fn live(&mut self, commits: usize) -> Result<DiskStorage, StorageError> {
        let storage = open(&self.files)?;
        self.settle(&storage);
        for _ in 0..commits {
            let batch = random_batch(&mut self.rng, &self.model);
            let durability = if self.rng.bool() {
                Durability::Synced
            } else {
                Durability::Buffered
            };
            let mut next = self.model.clone();
            next.apply(&batch);
            // A commit that fails may be there after a restart, so it is allowed before it is tried.
            self.allowed.push(next.clone());
            storage.commit(&batch, durability)?;
            self.model = next;
            if durability == Durability::Synced {
                self.allowed = vec![self.model.clone()];
            }
        }
        Ok(storage)
    }

    /// Checks that `storage` holds one of the allowed states, and goes on from it.
    fn settle(&mut self, storage: &DiskStorage) {
        let found = Model::read(storage);
        assert!(
            self.allowed.contains(&found),
            "{} states allowed, found {found:?}\nsynced {:?}",
            self.allowed.len(),
            self.allowed.first()
        );
        self.allowed = vec![found.clone()];
        self.model = found;
    }

    fn crash_and_check(&mut self) {
        self.files.crash();
        let storage = open(&self.files).expect("a store opens after a power loss");
        self.settle(&storage);
    }
}

// Enumerates the crash points of a run that rotates, checkpoints, moves entries and frees segments.
#[test]
fn power_may_fail_at_every_operation() {
    for seed in 0..4 {
        let mut whole = Run::new(seed);
        drop(whole.live(150).expect("nothing fails"));
        for operation in 0..whole.files.operations() {
            let mut run = Run::new(seed);
            run.files.crash_after(operation);
            // The last commit may have stood before its maintenance met the power loss.
            let _ = run.live(150);
            assert!(run.files.is_off(), "power fails at {operation}");
            run.crash_and_check();
            // What was found has been promised by opening: it must be there after another loss.
            run.crash_and_check();
        }
    }
}

// Lives of random length, power failing while opening, too.
#[test]
fn many_lives_keep_what_was_synced() {
    for seed in 0..300 {
        let mut run = Run::new(seed);
        for _ in 0..6 {
            let operations = run.rng.u64(0..200);
            run.files.crash_after(operations);
            let _ = run.live(60);
            run.files.crash();
        }
        run.crash_and_check();
    }
}

// A killed process loses nothing; what its successor was shown must then survive a power loss, even where the sync
// of it had failed and the system calls its pages clean.
#[test]
fn a_failed_sync_poisons_and_what_is_seen_after_a_restart_is_durable() {
    for seed in 0..200 {
        let mut run = Run::new(seed);
        let storage = run.live(20).expect("nothing fails");
        let mut batch = Batch::new();
        batch.put(b"key", b"value");
        run.files.fail_next_sync();
        let outcome = storage.commit(&batch, Durability::Synced);
        assert!(
            matches!(outcome, Err(StorageError::Io { .. })),
            "{outcome:?}"
        );
        for durability in [Durability::Buffered, Durability::Synced] {
            let outcome = storage.commit(&batch, durability);
            assert!(
                matches!(outcome, Err(StorageError::Poisoned)),
                "{outcome:?}"
            );
        }
        assert_eq!(Model::read(&storage), run.model, "reads go on");
        let mut next = run.model.clone();
        next.apply(&batch);
        run.allowed.push(next);
        drop(storage);
        if run.rng.bool() {
            run.files.kill();
            let storage = open(&run.files).expect("opens");
            run.settle(&storage);
        }
        run.crash_and_check();
    }
}

/// A folder with several segments, a checkpoint, moved entries, cut logs and a last synced batch; and what it holds.
fn rich_folder() -> (SimulatedFiles, Model) {
    let mut run = Run::new(11);
    drop(run.live(60).expect("nothing fails"));
    let storage = run.live(15).expect("nothing fails");
    let commit = |batch: &Batch| {
        let outcome = storage.commit(batch, Durability::Synced);
        outcome.expect("nothing fails");
    };
    commit(&Batch::new());
    let mut batch = Batch::new();
    let [log, ..] = LOGS;
    batch.truncate(log, run.model.log_bounds(log).end.saturating_sub(1));
    batch.put(b"last", &[7; 700]);
    commit(&batch);
    run.model.apply(&batch);
    drop(storage);
    (run.files, run.model)
}

/// Whether the folder opens with all of `model`; `false` if what is wrong with it is reported.
fn opens_whole(files: &SimulatedFiles, model: &Model) -> bool {
    let storage = match open(files) {
        Ok(storage) => storage,
        Err(StorageError::Corrupt { .. }) => return false,
        Err(error) => panic!("damage is reported as such, not as {error:?}"),
    };
    model.check(&storage, "damage is reported or mended");
    true
}

fn live_files(image: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    image.iter().filter(|(name, _)| !name.starts_with("spare"))
}

#[test]
fn every_flipped_byte_is_reported_or_mended() {
    let (files, model) = rich_folder();
    let image = files.image();
    let segments = image
        .keys()
        .filter(|name| name.starts_with("segment"))
        .count();
    assert!(
        segments >= 3 && image.len() >= segments + 2,
        "{:?}",
        image.keys()
    );
    let (mut reported, mut whole) = (0, 0);
    for (name, bytes) in live_files(&image) {
        for offset in (0..bytes.len()).filter(|&offset| is_worth_flipping(bytes, offset)) {
            let damaged = SimulatedFiles::from_image(1, &image);
            damaged.flip(name, offset, 1 << (offset % 8));
            let opened = opens_whole(&damaged, &model);
            *(if opened { &mut whole } else { &mut reported }) += 1;
        }
    }
    assert!(
        reported > 0 && whole > 0,
        "{reported} reported, {whole} whole"
    );
}

/// Every byte, but one of many in sectors that nothing was written to.
fn is_worth_flipping(bytes: &[u8], offset: usize) -> bool {
    let sector = offset / 512;
    let end = bytes.len().min((sector + 1) * 512);
    let sector = bytes.get(sector * 512..end).unwrap_or_default();
    offset.is_multiple_of(509) || sector.iter().any(|&byte| byte != 0)
}

// A whole sector gone, as a failing disk or a misdirected write leaves it.
#[test]
fn every_lost_sector_is_reported_or_mended() {
    let (files, model) = rich_folder();
    let image = files.image();
    for (name, bytes) in live_files(&image) {
        for sector in 0..bytes.len().div_ceil(512) {
            for fill in [0, 0xa5] {
                let mut damaged = image.clone();
                let bytes = damaged.get_mut(name).unwrap();
                let end = bytes.len().min((sector + 1) * 512);
                bytes[sector * 512..end].fill(fill);
                opens_whole(&SimulatedFiles::from_image(1, &damaged), &model);
            }
        }
    }
}

// More than parity can mend; but the batch behind says that it was synced.
#[test]
fn two_lost_sectors_of_any_batch_but_the_last_are_reported() {
    let files = SimulatedFiles::new(2);
    let storage = open(&files).unwrap();
    let mut model = Model::new();
    for key in 0..6 {
        let mut batch = Batch::new();
        batch.put(&[key], &[7; 1000]);
        storage.commit(&batch, Durability::Synced).unwrap();
        model.apply(&batch);
    }
    drop(storage);
    let image = files.image();
    let (name, bytes) = image
        .iter()
        .rfind(|(name, _)| name.starts_with("segment"))
        .unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() / 512 + 1;
    // A body of three sectors, its parity, the copy of its head.
    let (header_sectors, frame_sectors) = (2, 5);
    assert_eq!(used, header_sectors + 6 * frame_sectors);
    let mut reported = 0;
    for sector in header_sectors..used - frame_sectors - 1 {
        let mut damaged = image.clone();
        damaged.get_mut(name).unwrap()[sector * 512..(sector + 2) * 512].fill(0xa5);
        let whole = opens_whole(&SimulatedFiles::from_image(1, &damaged), &model);
        reported += usize::from(!whole);
    }
    assert!(reported >= 10, "{reported} reported");
}

#[test]
fn missing_and_shortened_files_are_reported() {
    let (files, model) = rich_folder();
    let image = files.image();
    for (name, bytes) in live_files(&image) {
        let mut damaged = image.clone();
        damaged.remove(name);
        assert!(
            !opens_whole(&SimulatedFiles::from_image(1, &damaged), &model),
            "no {name}"
        );
        for length in (0..bytes.len()).step_by(511) {
            let mut damaged = image.clone();
            damaged.get_mut(name).unwrap().truncate(length);
            opens_whole(&SimulatedFiles::from_image(1, &damaged), &model);
        }
    }
}

#[test]
fn damage_after_opening_is_reported_by_the_read() {
    let (files, _) = rich_folder();
    let storage = open(&files).unwrap();
    let log = LOGS
        .into_iter()
        .find(|&log| !storage.log_bounds(log).unwrap().is_empty())
        .expect("some log has entries");
    let bounds = storage.log_bounds(log).unwrap();
    let entries = storage.log_read(log, bounds.clone(), usize::MAX).unwrap();
    let entry = entries.iter().max_by_key(|entry| entry.len()).unwrap();
    // The entry may lie at an older place, too: flip it wherever it is.
    for (name, bytes) in files.image() {
        let found = bytes.windows(entry.len()).enumerate();
        for (at, _) in found.filter(|(_, window)| window == entry) {
            files.flip(&name, at, 1);
        }
    }
    let outcome = storage.log_read(log, bounds, usize::MAX);
    assert!(
        matches!(outcome, Err(StorageError::Corrupt { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_failed_read_is_an_answer_and_poisons_nothing() {
    let files = SimulatedFiles::new(1);
    let storage = open(&files).unwrap();
    let [log, ..] = LOGS;
    let mut batch = Batch::new();
    batch.append(log, 1, [b"entry".as_slice()]);
    storage.commit(&batch, Durability::Synced).unwrap();
    files.fail_next_read();
    let outcome = storage.log_read(log, 1..2, 100);
    assert!(
        matches!(outcome, Err(StorageError::Io { .. })),
        "{outcome:?}"
    );
    assert_eq!(storage.log_read(log, 1..2, 100).unwrap(), ["entry"]);
    storage.commit(&Batch::new(), Durability::Synced).unwrap();
}

#[test]
fn a_full_disk_changes_nothing_and_the_store_goes_on() {
    for seed in 0..30 {
        let mut run = Run::new(seed);
        let storage = run.live(10).expect("nothing fails");
        let room = run.rng.u64(..4 * SEGMENT_BYTES);
        run.files.limit_bytes(Some(run.files.bytes() + room));
        let [log, ..] = LOGS;
        let append = |model: &Model| {
            let mut batch = Batch::new();
            batch.append(log, model.log_bounds(log).end, [[5; 900].as_slice()]);
            batch
        };
        let refused = (0..1000).find_map(|_| {
            let batch = append(&run.model);
            let outcome = storage.commit(&batch, Durability::Synced);
            if outcome.is_ok() {
                run.model.apply(&batch);
            }
            outcome.err()
        });
        assert!(
            matches!(refused, Some(StorageError::Full { .. })),
            "{refused:?}"
        );
        run.model.check(&storage, "a full disk changes nothing");

        // A restart needs no more room than there was.
        drop(storage);
        run.allowed = vec![run.model.clone()];
        run.crash_and_check();

        run.files.limit_bytes(None);
        let storage = open(&run.files).expect("opens");
        let batch = append(&run.model);
        storage
            .commit(&batch, Durability::Synced)
            .expect("there is room again");
        run.model.apply(&batch);
        run.allowed = vec![run.model.clone()];
        drop(storage);
        run.crash_and_check();
    }
}

#[test]
fn a_store_without_room_goes_on_when_there_is_some() {
    let files = SimulatedFiles::new(3);
    let storage = open(&files).unwrap();
    files.limit_bytes(Some(files.bytes()));
    let mut batch = Batch::new();
    batch.put(b"large", &[1; 4 << 14]);
    for _ in 0..3 {
        let outcome = storage.commit(&batch, Durability::Synced);
        assert!(
            matches!(outcome, Err(StorageError::Full { .. })),
            "{outcome:?}"
        );
        assert!(storage.get(b"large").unwrap().is_none());
    }
    files.limit_bytes(None);
    storage.commit(&batch, Durability::Synced).unwrap();
    files.crash();
    assert!(open(&files).unwrap().get(b"large").unwrap().is_some());
}

// One log is written and discarded for ever while another keeps a few old entries.
#[test]
fn a_lagging_log_does_not_make_the_folder_grow() {
    let files = SimulatedFiles::new(5);
    let storage = open(&files).unwrap();
    let [busy, idle, ..] = LOGS;
    let mut most = 0;
    for round in 0..2000 {
        let mut batch = Batch::new();
        if round < 200 && round % 10 == 0 {
            batch.append(idle, 1 + round / 10, [[9; 100].as_slice()]);
        }
        batch.append(busy, 1 + round, [[4; 1000].as_slice()]);
        batch.discard(busy, round.saturating_sub(3));
        storage.commit(&batch, Durability::Buffered).unwrap();
        most = most.max(files.bytes());
    }
    // Three times the live bytes are less than a segment; four segments, two spares, a checkpoint's distance.
    let bound = 9 * SEGMENT_BYTES + (24 << 10);
    assert!(most <= bound, "{most} bytes, at most {bound}");
    storage.commit(&Batch::new(), Durability::Synced).unwrap();
    files.crash();
    let storage = open(&files).unwrap();
    assert_eq!(storage.log_bounds(idle).unwrap(), 1..21);
    let entries = storage.log_read(idle, 1..21, usize::MAX).unwrap();
    assert!(entries.iter().all(|entry| entry[..] == [9; 100]));
}

#[test]
fn opening_again_and_again_does_not_make_the_folder_grow() {
    let files = SimulatedFiles::new(6);
    let mut most = 0;
    for _ in 0..40 {
        drop(open(&files).unwrap());
        files.crash();
        most = most.max(files.bytes());
    }
    assert!(most <= 8 * SEGMENT_BYTES, "{most} bytes");
}

#[test]
fn a_foreign_folder_and_a_folder_in_use_are_refused() {
    let files = SimulatedFiles::new(1);
    let storage = open(&files).unwrap();
    assert!(matches!(open(&files), Err(StorageError::InUse { .. })));
    drop(storage);
    let before = files.image();
    let stranger = DiskOptions::owned_by("somebody else");
    let outcome = DiskStorage::open_on(Arc::new(files.clone()), stranger);
    let Err(StorageError::ForeignFolder {
        found, expected, ..
    }) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (found.as_str(), expected.as_str()),
        ("test", "somebody else")
    );
    assert_eq!(files.image(), before, "nothing changed");
    assert!(files.list().unwrap().contains(&"manifest".to_owned()));
    open(&files).unwrap();
}

#[test]
fn the_same_calls_make_the_same_files() {
    let image = || {
        let mut run = Run::new(9);
        drop(run.live(120).expect("nothing fails"));
        (run.files.image(), run.files.operations())
    };
    assert_eq!(image(), image());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lives_of_any_length_keep_what_was_synced(
        seed in any::<u64>(),
        lives in proptest::collection::vec((0_u64..400, 0_usize..100, any::<bool>()), 1..6),
    ) {
        let mut run = Run::new(seed);
        for (operations, commits, killed) in lives {
            if killed {
                let _ = run.live(commits);
                run.files.kill();
            } else {
                run.files.crash_after(operations);
                let _ = run.live(commits);
                run.files.crash();
            }
        }
        run.crash_and_check();
    }
}
