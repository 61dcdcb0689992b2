//! What the benches leave behind.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The longest file that is read, in bytes: thousands of measures.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One bench's figures.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    /// The bench's name.
    pub(crate) name: String,
    pub(crate) measures: Vec<Measure>,
}

/// One comparison. Fields that this build does not know are passed over.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Measure {
    /// What was measured, with the load in words.
    pub(crate) measure: String,
    pub(crate) unit: String,
    pub(crate) ours: f64,
    /// Nothing where the peer is not installed.
    pub(crate) peer: Option<f64>,
    pub(crate) peer_name: String,
    /// Above 1 we do better, whatever the unit.
    pub(crate) ratio: Option<f64>,
    /// What the figure includes: sync, encryption, encoding.
    pub(crate) includes: String,
}

/// Why figures could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResultsError {
    #[error("could not read {}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is over the limit of {FILE_BYTES_MAX} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{} is not an array of measures", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{}: the figures of {measure:?} cannot be measurements", path.display())]
    Impossible { path: PathBuf, measure: String },
}

/// The questions in `folder`, by name; only those in `wanted`, unless that is empty. No folder, no questions.
pub(crate) fn read_folder(folder: &Path, wanted: &[String]) -> Result<Vec<Question>, ResultsError> {
    let failed = |source| ResultsError::Io {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut questions = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let Some(name) = path
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            continue;
        };
        if wanted.is_empty() || wanted.contains(&name) {
            let measures = read(&path)?;
            questions.push(Question { name, measures });
        }
    }
    questions.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(questions)
}

fn read(path: &Path) -> Result<Vec<Measure>, ResultsError> {
    let failed = |source| ResultsError::Io {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ResultsError::TooLong {
            path: path.to_owned(),
        });
    }
    let measures: Vec<Measure> =
        serde_json::from_slice(&text).map_err(|source| ResultsError::Json {
            path: path.to_owned(),
            source,
        })?;
    match measures.iter().find(|measure| !measure.is_possible()) {
        None => Ok(measures),
        Some(measure) => Err(ResultsError::Impossible {
            path: path.to_owned(),
            measure: measure.measure.clone(),
        }),
    }
}

impl Measure {
    /// Figures are finite and not below zero.
    fn is_possible(&self) -> bool {
        [Some(self.ours), self.peer, self.ratio]
            .into_iter()
            .flatten()
            .all(|figure| figure.is_finite() && figure >= 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURES: &str = r#"[
        {"measure": "committed proposals/s, 64 clients", "unit": "1/s", "ours": 900000.0, "peer": 300000.0,
         "peer_name": "openraft", "ratio": 3.0, "includes": "encoding; no disk", "interval": [2.9, 3.1]},
        {"measure": "durable proposals/s, 64 clients", "unit": "1/s", "ours": 76000, "peer": null,
         "peer_name": "etcd", "ratio": null, "includes": "one fdatasync for each commit"}
    ]"#;

    fn folder_with(name: &str, text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        folder
    }

    #[test]
    fn figures_are_read_and_unknown_fields_passed_over() {
        let folder = folder_with("raft_commit.json", FIGURES);
        fs::write(folder.path().join("raft_commit.svg"), "no figures").unwrap();
        let questions = read_folder(folder.path(), &[]).unwrap();
        assert_eq!(questions.len(), 1);
        assert_eq!(questions[0].name, "raft_commit");
        assert_eq!(questions[0].measures[0].ratio, Some(3.0));
        assert_eq!(questions[0].measures[1].peer, None, "a peer may be missing");
        assert_eq!(
            read_folder(folder.path(), &["mesh_round_trip".into()]).unwrap(),
            []
        );
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_figures() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_folder(&folder.path().join("none"), &[]).unwrap(), []);
    }

    #[test]
    fn what_is_not_figures_is_refused_by_file() {
        for (text, expected) in [
            ("{}", "is not an array of measures"),
            ("[", "is not an array of measures"),
            (r#"[{"measure": "m"}]"#, "is not an array of measures"),
            (&FIGURES.replace("900000.0", "-1"), "cannot be measurements"),
            (&" ".repeat(1 << 21), "over the limit"),
        ] {
            let folder = folder_with("broken.json", text);
            let error = read_folder(folder.path(), &[]).unwrap_err().to_string();
            assert!(
                error.contains("broken.json") && error.contains(expected),
                "{error}"
            );
        }
    }
}
