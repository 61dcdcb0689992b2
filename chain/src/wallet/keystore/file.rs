//! Files that are there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use alloy_primitives::hex;

/// Writes a file that only its owner may read (where the system knows such things) and syncs it. It is written under
/// another name and gets its own when it is whole: a crash leaves no half of it there.
///
/// # Errors
///
/// There is a file already, which is left alone, or it could not be written.
pub(super) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let written_as = path.with_file_name(format!(".{}.tmp", hex::encode(random)));
    let written = write(&written_as, text).and_then(|()| name_it(&written_as, path));
    // Whatever became of it, it is not wanted by this name.
    let removed = std::fs::remove_file(&written_as);
    written?;
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_folder(path),
    }
}

/// What is in a file, as far as `bytes_max` and one byte more.
pub(super) fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = bytes_max as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Gives what is written its name, unless another has it.
fn name_it(written_as: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(written_as, path) {
        // On a medium that has no links whoever comes between these two is overwritten.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.try_exists()? => {
            std::fs::rename(written_as, path)
        }
        linked => linked,
    }
}

/// The name must last, too.
fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let opened = File::open(folder.unwrap_or_else(|| Path::new(".")));
    match opened.and_then(|folder| folder.sync_all()) {
        // The file is there: one may write into folders that one may not open, and not every medium syncs them.
        Err(error) if is_no_failure(&error) => Ok(()),
        outcome => outcome,
    }
}

fn is_no_failure(of_sync: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(
        of_sync.kind(),
        InvalidInput | PermissionDenied | Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn what_cannot_be_finished_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        write_new(&path, "first").unwrap();
        assert_eq!(names(folder.path()), ["key.json"]);
        let taken = write_new(&path, "second").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path, 5).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["key.json"]);
        assert!(write_new(&folder.path().join("gone").join("key.json"), "third").is_err());
    }

    /// Until a file is whole its name is not there: whoever is stopped in between can begin again.
    #[test]
    fn a_name_is_given_to_what_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let written_as = folder.path().join("key.json.tmp-7");
        write(&written_as, "whole").unwrap();
        assert!(!path.exists());
        name_it(&written_as, &path).unwrap();
        assert_eq!(read(&path, 9).unwrap(), b"whole");
        // What another was stopped at is in nobody's way.
        std::fs::remove_file(&path).unwrap();
        write_new(&path, "again").unwrap();
        assert_eq!(read(&path, 9).unwrap(), b"again");
    }
}
