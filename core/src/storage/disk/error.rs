//! What went wrong, on which file.

use std::io;
use std::sync::Arc;

use crate::storage::StorageError;
use crate::storage::files::Files;

/// The system failed at a point where the store cannot go on.
pub(super) fn failed(
    files: &dyn Files,
    name: &str,
    doing: &'static str,
) -> impl FnOnce(io::Error) -> StorageError {
    let path = files.path().join(name);
    move |source| StorageError::Io {
        doing,
        path,
        source: Arc::new(source),
    }
}

/// As [`failed`], at a point where nothing has changed yet: no room is then only that.
pub(super) fn full_or_failed(
    files: &dyn Files,
    name: &str,
    doing: &'static str,
) -> impl FnOnce(io::Error) -> StorageError {
    let path = files.path().to_path_buf();
    let failed = failed(files, name, doing);
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full { path },
        _ => failed(error),
    }
}

pub(super) fn corrupt(
    files: &dyn Files,
    name: &str,
    offset: u64,
    reason: impl Into<String>,
) -> StorageError {
    StorageError::Corrupt {
        path: files.path().join(name),
        offset,
        reason: reason.into(),
    }
}
