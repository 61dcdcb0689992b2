//! Every store of this crate keeps the promises of `Storage`.

use std::sync::Arc;

use peaberry_core::conformance::storage::{Subject, check};
use peaberry_core::files::Files;
use peaberry_core::simulation::files::SimulatedFiles;
use peaberry_core::{DiskOptions, DiskStorage, MemoryStorage, Storage};
use tempfile::TempDir;

struct Memory;

impl Subject for Memory {
    fn create(&mut self) -> Box<dyn Storage> {
        Box::new(MemoryStorage::new())
    }
}

#[test]
fn memory_storage_conforms() {
    check(&mut Memory, 0..100);
}

struct Folder(Option<TempDir>);

impl Folder {
    fn open(&self) -> Box<dyn Storage> {
        let folder = self.0.as_ref().expect("created before").path();
        let options = DiskOptions::owned_by("test")
            .segment_bytes(64 << 10)
            .checkpoint_bytes(64 << 10);
        Box::new(DiskStorage::open(folder, options).expect("opens"))
    }
}

impl Subject for Folder {
    fn create(&mut self) -> Box<dyn Storage> {
        self.0 = Some(tempfile::tempdir().expect("a folder is made"));
        self.open()
    }

    fn reopen(&mut self, storage: Box<dyn Storage>) -> Option<Box<dyn Storage>> {
        drop(storage);
        Some(self.open())
    }
}

#[test]
fn disk_storage_in_a_folder_conforms() {
    check(&mut Folder(None), 0..5);
}

struct Simulated {
    seed: u64,
    files: SimulatedFiles,
}

impl Simulated {
    fn open(&self) -> Box<dyn Storage> {
        let options = DiskOptions::owned_by("test")
            .segment_bytes(16 << 10)
            .checkpoint_bytes(32 << 10);
        let files: Arc<dyn Files> = Arc::new(self.files.clone());
        Box::new(DiskStorage::open_on(files, options).expect("opens"))
    }
}

impl Subject for Simulated {
    fn create(&mut self) -> Box<dyn Storage> {
        self.seed += 1;
        self.files = SimulatedFiles::new(self.seed);
        self.open()
    }

    fn reopen(&mut self, storage: Box<dyn Storage>) -> Option<Box<dyn Storage>> {
        drop(storage);
        Some(self.open())
    }

    fn crash(&mut self, storage: Box<dyn Storage>) -> Option<Box<dyn Storage>> {
        self.files.crash();
        drop(storage);
        Some(self.open())
    }
}

#[test]
fn disk_storage_on_simulated_files_conforms() {
    let mut subject = Simulated {
        seed: 0,
        files: SimulatedFiles::new(0),
    };
    check(&mut subject, 0..100);
}
