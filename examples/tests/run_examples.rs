//! Runs the examples whose header says how.
//!
//! A line ``//! Tested as: `cargo run --example NAME -- ARGUMENTS` `` in an example's header is documentation and test
//! in one: the program that `cargo test` has just built is run with those arguments and must succeed. A story asserts
//! its own point, so success means something.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MARK: &str = "//! Tested as: `";

/// An example's name and the arguments to run it with.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    name: String,
    arguments: Vec<String>,
}

/// How the header of `source` says that its example is tested: once for each line that says so.
fn stories_of(name: &str, source: &str) -> Result<Vec<Story>, String> {
    let header = source.lines().take_while(|line| line.starts_with("//!"));
    let commands = header.filter_map(|line| line.strip_prefix(MARK));
    commands.map(|command| story(name, command)).collect()
}

fn story(name: &str, command: &str) -> Result<Story, String> {
    let words: Vec<_> = command
        .trim_end()
        .trim_end_matches('`')
        .split_whitespace()
        .collect();
    let (cargo, arguments) = match words.iter().position(|&word| word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (&words[..], &[][..]),
    };
    if cargo.first_chunk() != Some(&["cargo", "run"]) || !cargo.ends_with(&["--example", name]) {
        return Err(format!(
            "the header of {name}.rs says `{command}`, which does not run {name}"
        ));
    }
    let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    Ok(Story {
        name: name.to_owned(),
        arguments,
    })
}

/// The stories in `folder` with their sources: `NAME.rs`, or `NAME/main.rs` for a longer one.
fn stories(folder: &Path) -> Vec<(Story, PathBuf)> {
    let mut stories = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let source = if path.is_dir() {
            path.join("main.rs")
        } else {
            path.clone()
        };
        if source.extension() == Some(OsStr::new("rs")) && source.exists() {
            let found = stories_of(name, &fs::read_to_string(&source).unwrap()).unwrap();
            stories.extend(found.into_iter().map(|story| (story, source.clone())));
        }
    }
    stories.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    stories
}

/// Where cargo puts examples: beside the folder of this test's own program.
fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("examples")
}

fn run(story: &Story, source: &Path) {
    let program = programs().join(format!("{}{}", story.name, std::env::consts::EXE_SUFFIX));
    let built = fs::metadata(&program).and_then(|metadata| metadata.modified());
    let written = fs::metadata(source)
        .and_then(|metadata| metadata.modified())
        .unwrap();
    assert!(
        built.is_ok_and(|built| built >= written),
        "{} is missing or older than its source: `cargo test` without `--test` builds it first",
        program.display()
    );
    let output = Command::new(&program)
        .args(&story.arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{} {:?}: {}\n{}{}",
        story.name,
        story.arguments,
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_story_that_says_it_is_tested_runs_and_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stories = stories(folder);
    assert!(
        !stories.is_empty(),
        "no example in {} says how it is tested",
        folder.display()
    );
    for (story, source) in &stories {
        run(story, source);
        println!("ran {} {:?}", story.name, story.arguments);
    }
}

#[test]
fn a_header_names_its_commands_or_is_wrong() {
    let tested = |lines: &str| {
        stories_of(
            "soak",
            &format!("//! A story.\n{lines}\n\nfn main() {{}}\n"),
        )
    };
    let run_with = |arguments: &[&str]| Story {
        name: "soak".into(),
        arguments: arguments.iter().map(|&it| it.to_owned()).collect(),
    };
    assert_eq!(tested("//! More words."), Ok(vec![]));
    let first = "//! Tested as: `cargo run --release --example soak -- --seeds 2`";
    assert_eq!(tested(first), Ok(vec![run_with(&["--seeds", "2"])]));
    let second = "//! Tested as: `cargo run --example soak`";
    assert_eq!(tested(second), Ok(vec![run_with(&[])]));
    assert_eq!(
        tested(&format!("{first}\n//!\n{second}")),
        Ok(vec![run_with(&["--seeds", "2"]), run_with(&[])])
    );
    assert!(tested("//! Tested as: `cargo run --example soap`").is_err());
    let behind = "fn main() {}\n//! Tested as: `cargo run --example soak`";
    assert_eq!(stories_of("soak", behind), Ok(vec![]));
}
