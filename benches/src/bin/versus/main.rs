//! Gathers what the benches measured: one table, one picture for each question.

mod picture;
mod results;
mod table;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use peaberry_benches::versus::target_folder;

use crate::results::Question;

/// Shows how peaberry compares with its nearest alternatives.
///
/// Reads versus/*.json in the workspace's target folder, where each bench leaves its figures, prints them as one table
/// and draws a picture (SVG) beside each file. A ratio above 1 means that peaberry does better.
#[derive(Debug, Parser)]
#[command(name = "versus", version)]
struct Arguments {
    /// Run the benches first, with their quick settings
    #[arg(long)]
    run: bool,
    /// Run them first at full length (sets PEABERRY_BENCH=full)
    #[arg(long)]
    full: bool,
    /// Only these questions, by the name of their bench
    #[arg(value_name = "QUESTION")]
    questions: Vec<String>,
    /// Read the figures from this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["run", "full"])]
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match compare(&arguments) {
        Ok(failed) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("versus: these benches failed: {}", failed.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("versus: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Answers the benches that failed.
fn compare(arguments: &Arguments) -> Result<Vec<String>, Box<dyn Error>> {
    let failed = if arguments.run || arguments.full {
        run_benches(arguments)?
    } else {
        Vec::new()
    };
    let folder = arguments.folder.clone().unwrap_or_else(versus_folder);
    let questions = results::read_folder(&folder, &arguments.questions)?;
    if questions.is_empty() {
        return Err(format!(
            "no figures in {}: run the benches first, for example with --run",
            folder.display()
        )
        .into());
    }
    print(&format!("{}\n\n", table::of(&questions)))?;
    print(&format!(
        "What is included:\n\n{}\n",
        table::included(&questions)
    ))?;
    for question in &questions {
        let picture = draw(&folder, question)?;
        print(&format!("{}\n", picture.display()))?;
    }
    Ok(failed)
}

/// Standard output may be a pipe whose reader has gone: an error then, not a panic.
fn print(text: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(text.as_bytes())
}

fn draw(folder: &Path, question: &Question) -> Result<PathBuf, Box<dyn Error>> {
    let path = folder.join(format!("{}.svg", question.name));
    fs::write(&path, picture::of(question))
        .map_err(|error| format!("could not write {}: {error}", path.display()))?;
    Ok(path)
}

/// Runs each bench that was asked for; answers those that failed.
fn run_benches(arguments: &Arguments) -> Result<Vec<String>, Box<dyn Error>> {
    let present = benches(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let chosen = choose(present, &arguments.questions)?;
    let mut failed = Vec::new();
    for question in chosen {
        eprintln!("versus: running {question}");
        if !run_bench(&question, arguments.full)? {
            failed.push(question);
        }
    }
    Ok(failed)
}

/// The names of the bench files in `folder`: what there is, so that no list goes stale.
fn benches(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let entries = fs::read_dir(folder).map_err(|error| {
        format!(
            "could not list the benches in {}: {error}",
            folder.display()
        )
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn choose(present: Vec<String>, wanted: &[String]) -> Result<Vec<String>, String> {
    if let Some(unknown) = wanted.iter().find(|question| !present.contains(question)) {
        return Err(format!(
            "no bench is called {unknown}: there are {}",
            present.join(", ")
        ));
    }
    let is_wanted = |question: &String| wanted.is_empty() || wanted.contains(question);
    Ok(present.into_iter().filter(is_wanted).collect())
}

fn run_bench(question: &str, full: bool) -> std::io::Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["bench", "-p", "peaberry-benches", "--bench", question]);
    command.env("CARGO_TARGET_DIR", std::path::absolute(target_folder())?);
    if full {
        command.env("PEABERRY_BENCH", "full");
    }
    Ok(command.status()?.success())
}

fn versus_folder() -> PathBuf {
    target_folder().join("versus")
}

/// An error with its causes, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_question_that_is_no_bench_is_refused_by_name() {
        let present = vec!["raft_commit".to_owned(), "storage_commit".to_owned()];
        assert_eq!(choose(present.clone(), &[]).unwrap(), present);
        assert_eq!(
            choose(present.clone(), &["raft_commit".into()]).unwrap(),
            ["raft_commit"]
        );
        let refused = choose(present, &["raft".into()]).unwrap_err();
        assert!(refused.contains("raft_commit, storage_commit"), "{refused}");
    }

    #[test]
    fn benches_are_the_rust_files_of_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["mesh_round_trip.rs", "lock_acquire.rs", "notes.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(
            benches(folder.path()).unwrap(),
            ["lock_acquire", "mesh_round_trip"]
        );
    }
}
