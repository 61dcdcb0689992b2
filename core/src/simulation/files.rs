//! Files in memory that treat unsynced bytes as badly as a real disk may.
//!
//! What may happen, and nothing more:
//! - **Power loss** ([`SimulatedFiles::crash`]): each sector of 512 bytes written since its file's last sync is kept,
//!   dropped, torn within or garbled; a changed length is kept or not; each creation, renaming and removal since the
//!   folder's last sync is kept or not. Synced bytes stay as they are.
//! - **Killed process** ([`SimulatedFiles::kill`]): nothing is lost, not even what was never synced.
//! - **Failed sync**: some of the unsynced sectors are written, the rest are lost, yet reads still show them and the
//!   next sync answers `Ok` (as Linux does: the pages are marked clean).
//! - **No room**, **failed reads**, **flipped bits** of synced bytes.

mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::disk::{Contents, Disk, NameChange};
use crate::files::{File, Files, FolderLock};

const SECTOR: usize = 512;

/// A simulated folder. Clones are handles to the same folder: keep one beyond a store's life to open it again.
///
/// ```
/// use std::sync::Arc;
/// use peaberry_core::simulation::files::SimulatedFiles;
/// use peaberry_core::{Batch, DiskOptions, DiskStorage, Durability, Storage};
///
/// let files = SimulatedFiles::new(7);
/// let open = || DiskStorage::open_on(Arc::new(files.clone()), DiskOptions::owned_by("test"));
/// let storage = open().unwrap();
/// let mut batch = Batch::new();
/// batch.put(b"key", b"value");
/// storage.commit(&batch, Durability::Synced).unwrap();
///
/// files.crash();
/// assert!(storage.commit(&batch, Durability::Synced).is_err());
/// assert_eq!(open().unwrap().get(b"key").unwrap().unwrap(), "value");
/// ```
#[derive(Clone, Debug)]
pub struct SimulatedFiles {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
}

/// How often each fault has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFaults {
    /// Power losses.
    pub crashes: u64,
    /// Processes killed with the system living on.
    pub kills: u64,
    /// Unsynced sectors that a crash undid.
    pub sectors_dropped: u64,
    /// Unsynced sectors of which a crash kept a part.
    pub sectors_torn: u64,
    /// Unsynced sectors that a crash filled with garbage.
    pub sectors_garbled: u64,
    /// Unsynced creations, renamings and removals that a crash undid.
    pub names_lost: u64,
    /// Syncs that failed.
    pub syncs_failed: u64,
    /// Writes without room.
    pub writes_refused: u64,
    /// Reads that failed.
    pub reads_failed: u64,
    /// Synced bytes changed behind the store's back.
    pub bytes_flipped: u64,
}

impl SimulatedFiles {
    /// An empty folder whose faults follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            disk: Arc::new(Mutex::new(Disk::new(seed))),
            path: PathBuf::from("simulated"),
        }
    }

    /// Power is lost and comes back. Open handles are dead from now on; open the store again.
    pub fn crash(&self) {
        self.disk.lock().crash();
    }

    /// The process dies, the system lives on. Open handles are dead from now on; open the store again.
    pub fn kill(&self) {
        let mut disk = self.disk.lock();
        disk.faults.kills += 1;
        disk.restart();
    }

    /// Power is lost in the middle of the changing operation (write, change of length, sync, creation, renaming,
    /// removal) after `operations` more of them. Everything fails from then on until [`crash`](Self::crash).
    pub fn crash_after(&self, operations: u64) {
        let mut disk = self.disk.lock();
        disk.power_fails_at = Some(disk.operations + operations);
    }

    /// The changing operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk.lock().operations
    }

    /// Whether power was lost by [`crash_after`](Self::crash_after) and nobody has called [`crash`](Self::crash) yet.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.disk.lock().powered
    }

    /// The next sync of a file fails.
    pub fn fail_next_sync(&self) {
        self.disk.lock().sync_fails = true;
    }

    /// The next read fails.
    pub fn fail_next_read(&self) {
        self.disk.lock().read_fails = true;
    }

    /// From now on, files have room for this many bytes together; `None`: for any number.
    pub fn limit_bytes(&self, bytes_max: Option<u64>) {
        self.disk.lock().bytes_max = bytes_max;
    }

    /// The bytes of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.disk.lock().bytes()
    }

    /// The synced bytes of every file.
    #[must_use]
    pub fn image(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk.lock();
        let contents = |(name, file): (&String, &u64)| {
            let contents = disk.files.get(file)?;
            Some((name.clone(), contents.durable.clone()))
        };
        disk.durable_names.iter().filter_map(contents).collect()
    }

    /// A folder that holds `image`, all of it synced.
    #[must_use]
    pub fn from_image(seed: u64, image: &BTreeMap<String, Vec<u8>>) -> Self {
        let files = Self::new(seed);
        {
            let mut disk = files.disk.lock();
            for (name, bytes) in image {
                let file = disk.add(Contents {
                    cached: bytes.clone(),
                    durable: bytes.clone(),
                    dirty: BTreeSet::new(),
                });
                disk.names.insert(name.clone(), file);
            }
            disk.durable_names = disk.names.clone();
        }
        files
    }

    /// Changes the synced byte at `offset` of file `name` by XOR with `mask`. Whether there is such a byte.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) -> bool {
        let mut disk = self.disk.lock();
        let Some(&file) = disk.names.get(name) else {
            return false;
        };
        let Some(contents) = disk.files.get_mut(&file) else {
            return false;
        };
        let Some(durable) = contents.durable.get_mut(offset) else {
            return false;
        };
        *durable ^= mask;
        if !contents.dirty.contains(&(offset / SECTOR))
            && let Some(cached) = contents.cached.get_mut(offset)
        {
            *cached ^= mask;
        }
        disk.faults.bytes_flipped += 1;
        true
    }

    /// How often each fault has happened so far.
    #[must_use]
    pub fn faults(&self) -> FileFaults {
        self.disk.lock().faults
    }

    fn change<T>(
        &self,
        generation: u64,
        change: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.disk.lock();
        disk.check(generation)?;
        disk.operations += 1;
        if disk.power_fails_at.is_some_and(|at| disk.operations > at) {
            disk.powered = false;
            // The operation may have been under way: what it changed without a sync is up to the crash.
            let _ = change(&mut disk);
            return Err(power_lost());
        }
        change(&mut disk)
    }

    fn handle(&self, file: u64, generation: u64) -> Arc<dyn File> {
        Arc::new(SimulatedFile {
            files: self.clone(),
            file,
            generation,
        })
    }

    fn generation(&self) -> u64 {
        self.disk.lock().generation
    }
}

fn power_lost() -> io::Error {
    io::Error::other("power was lost")
}

impl Files for SimulatedFiles {
    fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> io::Result<Option<FolderLock>> {
        let mut disk = self.disk.lock();
        let generation = disk.generation;
        disk.check(generation)?;
        if disk.locked_by == Some(generation) {
            return Ok(None);
        }
        disk.locked_by = Some(generation);
        Ok(Some(FolderLock::held_by(Unlock {
            disk: self.disk.clone(),
            generation,
        })))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.disk.lock();
        disk.check(disk.generation)?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let disk = self.disk.lock();
        disk.check(disk.generation)?;
        let (file, generation) = (disk.file_named(name)?, disk.generation);
        drop(disk);
        Ok(self.handle(file, generation))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let generation = self.generation();
        let file = self.change(generation, |disk| Ok(disk.create(name)))?;
        Ok(self.handle(file, generation))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(self.generation(), |disk| {
            let file = disk.file_named(from)?;
            disk.names.remove(from);
            disk.names.insert(to.into(), file);
            disk.unsynced_names.push(NameChange::Renamed {
                from: from.into(),
                to: to.into(),
                file,
            });
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(self.generation(), |disk| {
            let file = disk.file_named(name)?;
            disk.names.remove(name);
            disk.unsynced_names.push(NameChange::Removed {
                name: name.into(),
                file,
            });
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.change(self.generation(), |disk| {
            if disk.powered {
                disk.durable_names = disk.names.clone();
                disk.unsynced_names.clear();
            }
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Unlock {
    disk: Arc<Mutex<Disk>>,
    generation: u64,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        let mut disk = self.disk.lock();
        if disk.locked_by == Some(self.generation) {
            disk.locked_by = None;
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    files: SimulatedFiles,
    file: u64,
    generation: u64,
}

impl File for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.files.disk.lock();
        disk.check(self.generation)?;
        if std::mem::take(&mut disk.read_fails) {
            disk.faults.reads_failed += 1;
            return Err(io::Error::other("read failed"));
        }
        let contents = disk.contents(self.file)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = contents.cached.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, byte) in buffer.iter_mut().zip(rest) {
            *to = *byte;
        }
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.files.change(self.generation, |disk| {
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            let fitting = disk.fitting(self.file, offset, bytes.len())?;
            let written = bytes.get(..fitting).unwrap_or_default();
            disk.contents(self.file)?.write(written, offset);
            if fitting < bytes.len() {
                disk.faults.writes_refused += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        let mut disk = self.files.disk.lock();
        disk.check(self.generation)?;
        Ok(disk.contents(self.file)?.cached.len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.files.change(self.generation, |disk| {
            let length = usize::try_from(bytes).map_err(io::Error::other)?;
            disk.contents(self.file)?.cached.resize(length, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.files.change(self.generation, |disk| {
            if !disk.powered {
                return Ok(());
            }
            if std::mem::take(&mut disk.sync_fails) {
                disk.faults.syncs_failed += 1;
                disk.lose_some(self.file)?;
                return Err(io::Error::other("sync failed"));
            }
            disk.contents(self.file)?.sync();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_only_some_of_the_rest() {
        let mut lost = 0;
        for seed in 0..50 {
            let files = SimulatedFiles::new(seed);
            let file = files.create("a").unwrap();
            file.write_all_at(&[1; 1024], 0).unwrap();
            file.sync_data().unwrap();
            files.sync().unwrap();
            file.write_all_at(&[2; 1024], 1024).unwrap();
            files.crash();
            assert!(file.write_all_at(b"late", 0).is_err());
            let bytes = files.image().remove("a").unwrap();
            assert_eq!(bytes[..1024], [1; 1024]);
            lost += usize::from(bytes[1024..] != [2; 1024]);
        }
        assert!((10..50).contains(&lost), "{lost} of 50");
    }

    #[test]
    fn a_failed_sync_is_seen_by_reads_and_lost_by_a_crash() {
        let mut lost = 0;
        for seed in 0..20 {
            let files = SimulatedFiles::new(seed);
            let file = files.create("a").unwrap();
            files.sync().unwrap();
            file.write_all_at(&[1; 512], 0).unwrap();
            files.fail_next_sync();
            file.sync_data().unwrap_err();
            file.sync_data().expect("the page is marked clean");
            let mut byte = [0];
            file.read_at(&mut byte, 0).unwrap();
            assert_eq!(byte, [1]);
            files.crash();
            lost += usize::from(files.image()["a"] != [1; 512]);
        }
        assert!((1..20).contains(&lost), "{lost} of 20");
    }

    #[test]
    fn a_name_is_lost_unless_the_folder_was_synced() {
        let mut lost = 0;
        for seed in 0..50 {
            let files = SimulatedFiles::new(seed);
            files.create("a").unwrap();
            files.sync().unwrap();
            files.rename("a", "b").unwrap();
            files.crash();
            lost += usize::from(files.list().unwrap() == ["a"]);
        }
        assert!((5..45).contains(&lost), "{lost} of 50");
    }

    #[test]
    fn a_full_disk_refuses_growth_and_takes_overwrites() {
        let files = SimulatedFiles::new(1);
        let file = files.create("a").unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        files.limit_bytes(Some(120));
        let error = file.write_all_at(&[1; 100], 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        file.write_all_at(&[2; 100], 0).unwrap();
        assert_eq!(files.faults().writes_refused, 1);
    }
}
