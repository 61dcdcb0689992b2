//! A device that starts with a full spool.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant as Stopwatch;

use peaberry_core::{Batch, Channel, DiskOptions, DiskStorage, Durability, Instant, Storage};
use peaberry_edge::payload::Payload;
use peaberry_edge::spool::{SPOOL, Spool, SpoolSettings};

use crate::Failure;
use crate::rate::name;

fn store(folder: &Path, batch: &mut Batch) -> Result<(DiskStorage, Spool), Failure> {
    let disk = DiskStorage::open(folder, DiskOptions::owned_by("bench"))?;
    let settings = Arc::new(SpoolSettings {
        bytes_max: 1 << 30,
        ..SpoolSettings::default()
    });
    let owner = Channel::new(SPOOL, 0);
    let spool = Spool::open(&disk, owner, name("site"), name("m"), settings, batch)?;
    Ok((disk, spool))
}

pub(crate) fn fill(folder: &Path, count: u64) -> Result<(), Failure> {
    let mut batch = Batch::new();
    let (disk, mut spool) = store(folder, &mut batch)?;
    for number in 1..=count {
        let payload = Payload::Custom {
            name: name("c"),
            bytes: vec![7; 100].into(),
        };
        spool.append(&disk, &mut batch, number, payload)?;
        if number % 1_000 == 0 || number == count {
            disk.commit(&batch, Durability::Synced)?;
            spool.committed();
            batch.clear();
        }
    }
    Ok(())
}

/// Milliseconds from opening the folder to the first record to be sent.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) fn open(folder: &Path) -> Result<f64, Failure> {
    let began = Stopwatch::now();
    let mut batch = Batch::new();
    let (disk, mut spool) = store(folder, &mut batch)?;
    disk.commit(&batch, Durability::Synced)?;
    spool.committed();
    spool.up(Instant::default(), false);
    let first = spool.next(Instant::default(), &disk)?;
    let elapsed = began.elapsed().as_secs_f64() * 1e3;
    first.ok_or("nothing was recovered")?;
    Ok(elapsed)
}
