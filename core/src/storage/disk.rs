//! Being built.

/// Options.
#[derive(Debug)]
pub struct DiskOptions;
/// Disk.
#[derive(Debug)]
pub struct DiskStorage;
