//! The small seam between durable storage and a file system.
//!
//! [`DiskStorage`](crate::DiskStorage) does everything through [`Files`], so that a simulation can lose power between
//! any two operations. [`SystemFiles`] is the real folder.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of files: flat, its names chosen by the caller. Callable from any thread.
///
/// An implementer promises what POSIX does and no more: a file's bytes survive a power loss once
/// [`File::sync_data`] returned `Ok`, its *name* once [`sync`](Self::sync) did; [`rename`](Self::rename) is atomic.
pub trait Files: Debug + Send + Sync {
    /// The folder, for messages.
    fn path(&self) -> &Path;

    /// Keeps other processes out until the guard is dropped. `None`: somebody else holds it.
    ///
    /// # Errors
    ///
    /// The lock could not be attempted.
    fn lock(&self) -> io::Result<Option<FolderLock>>;

    /// The names of the folder's files, sorted.
    ///
    /// # Errors
    ///
    /// The folder could not be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists, for reading and writing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`], or the system's answer.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Makes an empty file, in place of one that may exist, and opens it for reading and writing.
    ///
    /// # Errors
    ///
    /// The system's answer; [`io::ErrorKind::StorageFull`] without room.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Gives `from` the name `to`, replacing a file of that name. Open handles stay valid.
    ///
    /// # Errors
    ///
    /// The system's answer. Nothing was renamed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles stay valid.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every creation, renaming and removal so far durable.
    ///
    /// # Errors
    ///
    /// The system's answer; what is durable is then unknown.
    fn sync(&self) -> io::Result<()>;
}

/// One open file of a [`Files`] folder. Callable from any thread; overlapping writes are the caller's mistake.
pub trait File: Debug + Send + Sync {
    /// Reads into `buffer` from `offset`; fewer bytes only at the end of the file.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file where needed.
    ///
    /// # Errors
    ///
    /// The system's answer; any part of `bytes` may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file, or grows it with zeros for which no room is reserved.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn set_length(&self, bytes: u64) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    ///
    /// The system's answer. What was written since the last sync may be gone, though reads still show it, and syncing
    /// again may answer `Ok` without having written it.
    fn sync_data(&self) -> io::Result<()>;
}

/// Holds a folder's lock; see [`Files::lock`].
#[derive(Debug)]
pub struct FolderLock {
    _holder: Box<dyn Held>,
}

impl FolderLock {
    /// A lock that lasts until `holder` is dropped.
    pub fn held_by(holder: impl Debug + Send + Sync + 'static) -> Self {
        Self {
            _holder: Box::new(holder),
        }
    }
}

trait Held: Debug + Send + Sync {}
impl<T: Debug + Send + Sync> Held for T {}

/// A real folder of the operating system.
#[derive(Debug)]
pub struct SystemFiles {
    folder: PathBuf,
}

/// The file whose lock guards the folder.
const LOCK_NAME: &str = "lock";

impl SystemFiles {
    /// The folder at `path`, made with its parents where missing.
    ///
    /// # Errors
    ///
    /// It could not be made.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = path.into();
        if !folder.is_dir() {
            std::fs::create_dir_all(&folder)?;
            // Else a power loss could take the whole folder with everything synced inside.
            if let Some(parent) = folder.parent() {
                sync_folder(parent)?;
            }
        }
        Ok(Self { folder })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Files for SystemFiles {
    fn path(&self) -> &Path {
        &self.folder
    }

    fn lock(&self) -> io::Result<Option<FolderLock>> {
        let file = options().create(true).open(self.at(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock::held_by(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK_NAME
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SystemFile(options().open(self.at(name))?)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = options().create(true).truncate(true).open(self.at(name))?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.at(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }
}

fn options() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true);
    options
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    std::fs::File::open(path)?.sync_all()
}

/// Windows has no handle to sync a folder by: NTFS journals its names in order.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[derive(Debug)]
struct SystemFile(std::fs::File);

impl File for SystemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..)
            && !rest.is_empty()
        {
            match read_once(&self.0, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        write_all(&self.0, bytes, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(unix)]
fn read_once(file: &std::fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn write_all(file: &std::fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_once(file: &std::fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
fn write_all(file: &std::fs::File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let files = SystemFiles::open(folder.path().join("new/folder")).unwrap();
        let other = SystemFiles::open(files.path()).unwrap();
        let held = files.lock().unwrap().unwrap();
        assert!(other.lock().unwrap().is_none());
        drop(held);
        assert!(other.lock().unwrap().is_some());
        assert!(files.list().unwrap().is_empty());
    }

    #[test]
    fn reads_stop_at_the_end_and_writes_grow() {
        let folder = tempfile::tempdir().unwrap();
        let files = SystemFiles::open(folder.path()).unwrap();
        let file = files.create("a").unwrap();
        file.write_all_at(b"abc", 2).unwrap();
        let mut buffer = [9; 8];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 5);
        assert_eq!(&buffer[..5], b"\0\0abc");
        files.rename("a", "b").unwrap();
        files.sync().unwrap();
        assert_eq!(files.list().unwrap(), ["b"]);
        assert_eq!(file.length().unwrap(), 5);
    }
}
