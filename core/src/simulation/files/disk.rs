//! The state of a simulated folder: what is cached, what is durable, and what a power loss makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use fastrand::Rng;

use super::{FileFaults, SECTOR, power_lost};

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) rng: Rng,
    /// Handles of an earlier one are dead.
    pub(super) generation: u64,
    pub(super) files: BTreeMap<u64, Contents>,
    pub(super) next_file: u64,
    pub(super) names: BTreeMap<String, u64>,
    pub(super) durable_names: BTreeMap<String, u64>,
    pub(super) unsynced_names: Vec<NameChange>,
    pub(super) locked_by: Option<u64>,
    pub(super) bytes_max: Option<u64>,
    pub(super) sync_fails: bool,
    pub(super) read_fails: bool,
    pub(super) operations: u64,
    pub(super) power_fails_at: Option<u64>,
    pub(super) powered: bool,
    pub(super) faults: FileFaults,
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    /// What reads see.
    pub(super) cached: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors written since the last sync.
    pub(super) dirty: BTreeSet<usize>,
}

#[derive(Debug)]
pub(super) enum NameChange {
    Created { name: String, file: u64 },
    Renamed { from: String, to: String, file: u64 },
    Removed { name: String, file: u64 },
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            generation: 0,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            locked_by: None,
            bytes_max: None,
            sync_fails: false,
            read_fails: false,
            operations: 0,
            power_fails_at: None,
            powered: true,
            faults: FileFaults::default(),
        }
    }

    pub(super) fn check(&self, generation: u64) -> io::Result<()> {
        if self.generation != generation || !self.powered {
            return Err(power_lost());
        }
        Ok(())
    }

    pub(super) fn file_named(&self, name: &str) -> io::Result<u64> {
        let file = self.names.get(name).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn contents(&mut self, file: u64) -> io::Result<&mut Contents> {
        let contents = self.files.get_mut(&file);
        contents.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn add(&mut self, contents: Contents) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, contents);
        file
    }

    pub(super) fn create(&mut self, name: &str) -> u64 {
        if let Some(&file) = self.names.get(name) {
            if let Some(contents) = self.files.get_mut(&file) {
                contents.cached.clear();
                contents.dirty.clear();
            }
            return file;
        }
        let file = self.add(Contents::default());
        let name = name.to_owned();
        self.names.insert(name.clone(), file);
        self.unsynced_names.push(NameChange::Created { name, file });
        file
    }

    pub(super) fn bytes(&self) -> u64 {
        let named = self.names.values().filter_map(|file| self.files.get(file));
        named.map(|contents| contents.cached.len() as u64).sum()
    }

    /// How many of `count` bytes at `offset` there is room for.
    pub(super) fn fitting(&mut self, file: u64, offset: usize, count: usize) -> io::Result<usize> {
        let room = match self.bytes_max {
            Some(bytes_max) => bytes_max.saturating_sub(self.bytes()),
            None => u64::MAX,
        };
        let length = self.contents(file)?.cached.len() as u64;
        let end_max = length.saturating_add(room);
        let fitting = end_max.saturating_sub(offset as u64).min(count as u64);
        Ok(usize::try_from(fitting).unwrap_or(count))
    }

    pub(super) fn lose_some(&mut self, file: u64) -> io::Result<()> {
        let mut rng = self.rng.fork();
        let contents = self.contents(file)?;
        for sector in std::mem::take(&mut contents.dirty) {
            if rng.bool() {
                contents.keep(sector);
            }
        }
        Ok(())
    }

    pub(super) fn restart(&mut self) {
        self.generation += 1;
        self.powered = true;
        self.power_fails_at = None;
        self.locked_by = None;
        self.sync_fails = false;
        self.read_fails = false;
    }

    pub(super) fn crash(&mut self) {
        self.faults.crashes += 1;
        self.crash_names();
        let mut faults = self.faults;
        for contents in self.files.values_mut() {
            contents.crash(&mut self.rng, &mut faults);
        }
        self.faults = faults;
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
        self.restart();
    }

    pub(super) fn crash_names(&mut self) {
        let kept_percent = mood(&mut self.rng);
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.rng.u32(..100) >= kept_percent {
                self.faults.names_lost += 1;
                continue;
            }
            match change {
                NameChange::Created { name, file } => {
                    self.durable_names.insert(name, file);
                }
                NameChange::Renamed { from, to, file } => {
                    if self.durable_names.get(&from) == Some(&file) {
                        self.durable_names.remove(&from);
                    }
                    self.durable_names.insert(to, file);
                }
                NameChange::Removed { name, file } => {
                    if self.durable_names.get(&name) == Some(&file) {
                        self.durable_names.remove(&name);
                    }
                }
            }
        }
        self.names = self.durable_names.clone();
    }
}

/// How likely an unsynced change survives this crash, in percent: all, none and one in many must all come up.
fn mood(rng: &mut Rng) -> u32 {
    match rng.u32(..5) {
        0 => 0,
        1 => 100,
        2 => 95,
        3 => 20,
        _ => 50,
    }
}

impl Contents {
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.cached.len() {
            self.cached.resize(end, 0);
        }
        if let Some(place) = self.cached.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector);
        }
    }

    /// Makes a sector durable as it is cached, growing the file as far as needed.
    pub(super) fn keep(&mut self, sector: usize) {
        let new = sector_of(&self.cached, sector).to_vec();
        self.set_durable(sector, &new);
    }

    pub(super) fn set_durable(&mut self, sector: usize, bytes: &[u8]) {
        let from = sector * SECTOR;
        let end = from + bytes.len();
        if end > self.durable.len() {
            self.durable.resize(end, 0);
        }
        if let Some(place) = self.durable.get_mut(from..end) {
            place.copy_from_slice(bytes);
        }
    }

    pub(super) fn crash(&mut self, rng: &mut Rng, faults: &mut FileFaults) {
        let kept_percent = mood(rng);
        if rng.u32(..100) < kept_percent {
            self.durable.resize(self.cached.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            if rng.u32(..100) < kept_percent {
                self.keep(sector);
                continue;
            }
            let new = sector_of(&self.cached, sector).to_vec();
            match rng.u32(..10) {
                0 => {
                    faults.sectors_torn += 1;
                    let part = rng.usize(..=new.len());
                    self.set_durable(sector, new.get(..part).unwrap_or_default());
                }
                1 => {
                    faults.sectors_garbled += 1;
                    let garbage: Vec<u8> = new.iter().map(|_| rng.u8(..)).collect();
                    self.set_durable(sector, &garbage);
                }
                _ => faults.sectors_dropped += 1,
            }
        }
        self.cached = self.durable.clone();
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> &[u8] {
    let end = bytes.len().min((sector + 1) * SECTOR);
    bytes.get(sector * SECTOR..end).unwrap_or_default()
}
