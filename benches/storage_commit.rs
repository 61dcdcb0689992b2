//! How many entries of 256 bytes does one writer make durable in a second, in batches of 1, 16 and 256?
//!
//! Unit: synced entries per second, wall time, because waiting for the disk is the point. Every batch is appended to one
//! log and synced before the next. Ours discards all but the last 10000 entries as it goes, as a group does that takes
//! snapshots, so that its segments are used again; it checkpoints and reclaims within the measured time. The peers only
//! add: redb and fjall put each entry under its index as the key. `raw-segment` is no store but the floor: 256 bytes
//! for each entry, written to a file filled with zeros before, and `fdatasync`.

use std::time::Instant as Stopwatch;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use peaberry_benches::versus::{Better, Effort, Measure, interleave, report, write};
use peaberry_core::files::{File, Files, SystemFiles};
use peaberry_core::{
    Batch, Channel, DiskOptions, DiskStorage, Durability, LogId, ProtocolId, Storage,
};
use redb::TableDefinition;

type Failure = Box<dyn std::error::Error>;

const ENTRY: [u8; 256] = [0x5a; 256];
const KEPT: u64 = 10_000;
const LOG: LogId = LogId::new(Channel::new(ProtocolId(2000), 1), 0);
const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const RAW_BYTES: u64 = 64 << 20;

fn main() -> Result<(), Failure> {
    let effort = Effort::from_environment();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut ours = Ours::open(folder.path())?;
    let mut raw = Raw::open(folder.path())?;
    let mut redb = Redb::open(folder.path())?;
    let mut fjall = Fjall::open(folder.path())?;
    let peers: [(&str, &str, &mut dyn Store); 3] = [
        (
            "raw-segment",
            "one write and fdatasync a batch; ours also framing, parity, checksums, index, discarding and reclaim",
            &mut raw,
        ),
        (
            "redb",
            "one durable transaction a batch; ours also discarding and reclaim",
            &mut redb,
        ),
        (
            "fjall",
            "one batch and SyncData; ours also discarding and reclaim",
            &mut fjall,
        ),
    ];
    warm_up(&mut ours)?;
    let mut measures = Vec::new();
    for (peer_name, includes, peer) in peers {
        for count in [1, 16, 256] {
            let comparison = interleave(
                effort.pairs(),
                Better::More,
                || rate(effort, count, &mut ours),
                || rate(effort, count, peer),
            );
            let words = format!("synced entries/s, batches of {count}");
            let measure = Measure::new(&words, "entries/s", peer_name, includes, &comparison);
            report(&measure, &comparison);
            measures.push(measure);
        }
    }
    write("storage_commit", effort, &measures)?;
    Ok(())
}

trait Store {
    /// Appends `count` entries and makes them durable.
    fn append(&mut self, count: u64) -> Result<(), Failure>;
}

/// Until segments are used again rather than made.
fn warm_up(ours: &mut Ours) -> Result<(), Failure> {
    for _ in 0..2000 {
        ours.append(256)?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
fn rate(effort: Effort, count: u64, store: &mut dyn Store) -> f64 {
    let watch = Stopwatch::now();
    let mut appended = 0;
    while watch.elapsed() < effort.run_time() {
        store.append(count).expect("the store works");
        appended += count;
    }
    appended as f64 / watch.elapsed().as_secs_f64()
}

struct Ours {
    storage: DiskStorage,
    batch: Batch,
    next: u64,
}

impl Ours {
    fn open(folder: &std::path::Path) -> Result<Self, Failure> {
        let options = DiskOptions::owned_by("bench");
        Ok(Self {
            storage: DiskStorage::open(folder.join("peaberry"), options)?,
            batch: Batch::new(),
            next: 1,
        })
    }
}

impl Store for Ours {
    fn append(&mut self, count: u64) -> Result<(), Failure> {
        self.batch.clear();
        let entries = (0..count).map(|_| ENTRY.as_slice());
        self.batch.append(LOG, self.next, entries);
        self.next += count;
        if self.next % KEPT < count {
            self.batch.discard(LOG, self.next.saturating_sub(KEPT));
        }
        Ok(self.storage.commit(&self.batch, Durability::Synced)?)
    }
}

struct Raw {
    file: std::sync::Arc<dyn File>,
    buffer: Vec<u8>,
    offset: u64,
}

impl Raw {
    fn open(folder: &std::path::Path) -> Result<Self, Failure> {
        let file = SystemFiles::open(folder.join("raw"))?.create("segment")?;
        file.write_all_at(&vec![0; usize::try_from(RAW_BYTES)?], 0)?;
        file.sync_data()?;
        Ok(Self {
            file,
            buffer: Vec::new(),
            offset: 0,
        })
    }
}

impl Store for Raw {
    fn append(&mut self, count: u64) -> Result<(), Failure> {
        self.buffer.clear();
        for _ in 0..count {
            self.buffer.extend_from_slice(&ENTRY);
        }
        if self.offset + self.buffer.len() as u64 > RAW_BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.file.sync_data()?;
        self.offset += self.buffer.len() as u64;
        Ok(())
    }
}

struct Redb {
    database: redb::Database,
    next: u64,
}

impl Redb {
    fn open(folder: &std::path::Path) -> Result<Self, Failure> {
        Ok(Self {
            database: redb::Database::create(folder.join("redb"))?,
            next: 1,
        })
    }
}

impl Store for Redb {
    fn append(&mut self, count: u64) -> Result<(), Failure> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for index in self.next..self.next + count {
                table.insert(index, ENTRY.as_slice())?;
            }
        }
        transaction.commit()?;
        self.next += count;
        Ok(())
    }
}

struct Fjall {
    database: Database,
    log: fjall::Keyspace,
    next: u64,
}

impl Fjall {
    fn open(folder: &std::path::Path) -> Result<Self, Failure> {
        let database = Database::builder(folder.join("fjall")).open()?;
        let log = database.keyspace("log", KeyspaceCreateOptions::default)?;
        Ok(Self {
            database,
            log,
            next: 1,
        })
    }
}

impl Store for Fjall {
    fn append(&mut self, count: u64) -> Result<(), Failure> {
        let mut batch = self.database.batch();
        for index in self.next..self.next + count {
            batch.insert(&self.log, index.to_be_bytes(), ENTRY);
        }
        batch.commit()?;
        self.database.persist(PersistMode::SyncData)?;
        self.next += count;
        Ok(())
    }
}
