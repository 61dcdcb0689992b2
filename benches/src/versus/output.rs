use std::io;
use std::path::{Path, PathBuf};

use super::{Comparison, Effort, Measure};

/// Prints what a measure has shown.
pub fn report(measure: &Measure, comparison: &Comparison) {
    let Measure {
        measure,
        unit,
        peer_name,
        ..
    } = measure;
    println!("{measure} [{unit}] against {peer_name}: {comparison}");
}

/// Writes `versus/QUESTION.json` in the target folder and says where; after a mere check it writes nothing.
///
/// # Errors
///
/// The file could not be written.
pub fn write(question: &str, effort: Effort, measures: &[Measure]) -> io::Result<()> {
    if effort == Effort::Check {
        return Ok(());
    }
    let folder = target_folder().join("versus");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(question).with_extension("json");
    std::fs::write(&path, serde_json::to_vec_pretty(measures)?)?;
    println!("written to {}", path.display());
    Ok(())
}

/// Cargo's target folder: where `CARGO_TARGET_DIR` says, or the one that the running program lies in, or the
/// workspace's `target`.
#[must_use]
pub fn target_folder() -> PathBuf {
    let said = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    // Cargo runs a bench in its package's folder, so a relative path no longer says where it started.
    let said = said.filter(|folder| folder.is_absolute());
    said.or_else(|| marked_ancestor(&std::env::current_exe().ok()?))
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

/// The nearest folder around `program` that Cargo has marked as a target folder.
fn marked_ancestor(program: &Path) -> Option<PathBuf> {
    let mut folders = program.ancestors();
    let marked = folders.find(|folder| folder.join("CACHEDIR.TAG").is_file())?;
    Some(marked.to_owned())
}
