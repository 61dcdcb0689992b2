//! Plants each known bug and shows which seed catches it: checks that find nothing prove nothing.
//!
//! ```sh
//! cargo run --release --example mutants -- --target raft
//! ```
//!
//! You will see a JSON array that names, for each bug, the first seed whose run violates a rule. Exits with 1 if a bug
//! survives all its seeds. Bugs that cannot be planted from outside are compiled in with `--cfg peaberry_mutant`, for the
//! crates of the workspace alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use peaberry_examples::simulation::{Mutant, TARGETS, Target, target};
use serde::Serialize;

/// Plants each known bug and shows which seed catches it.
#[derive(Parser)]
struct Arguments {
    /// Only this target's bugs.
    #[arg(long, value_parser = parse_target)]
    target: Option<&'static Target>,
    /// A bug that survives so many seeds has survived.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
}

fn parse_target(name: &str) -> Result<&'static Target, String> {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    target(name).ok_or_else(|| format!("there is no such target; there are {}", names.join(", ")))
}

/// What became of one bug.
#[derive(Serialize)]
struct Caught {
    target: &'static str,
    mutant: &'static str,
    /// How many seeds were tried.
    seeds: u64,
    /// `null`: it survived.
    caught_by_seed: Option<u64>,
}

/// Set where this program stands before the compiler.
const WRAPS: &str = "PEABERRY_MUTANTS_WRAPS";

fn main() -> ExitCode {
    if std::env::var_os(WRAPS).is_some() {
        return compile_with_bugs();
    }
    let arguments = Arguments::parse();
    let targets = TARGETS
        .iter()
        .filter(|it| arguments.target.is_none_or(|only| only.name == it.name));
    let planted: Vec<_> = targets
        .flat_map(|target| target.mutants.iter().map(move |mutant| (target, mutant)))
        .collect();
    let needs_build = planted.iter().any(|(_, mutant)| !mutant.is_wrapper);
    let soak = needs_build.then(build_with_bugs);
    let caught: Vec<_> = planted
        .iter()
        .map(|(target, mutant)| catch(target, mutant, arguments.seeds, soak.as_deref()))
        .collect();
    println!(
        "{}",
        serde_json::to_string_pretty(&caught).expect("plain data")
    );
    if caught.iter().all(|one| one.caught_by_seed.is_some()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Looks for a seed that catches the bug.
fn catch(
    target: &'static Target,
    mutant: &'static Mutant,
    seeds: u64,
    soak: Option<&Path>,
) -> Caught {
    eprintln!("{}: {}", target.name, mutant.name);
    let caught_by_seed = match soak {
        Some(soak) if !mutant.is_wrapper => first_bad_seed_of(soak, target, mutant, seeds),
        _ => (0..seeds).find(|&seed| !(target.run)(seed, Some(mutant.name)).violations.is_empty()),
    };
    let tried = caught_by_seed.map_or(seeds, |seed| seed + 1);
    Caught {
        target: target.name,
        mutant: mutant.name,
        seeds: tried,
        caught_by_seed,
    }
}

/// Builds `soak` with every compiled-in bug, asleep, in the profile and beside what this program was built of: of all that,
/// the workspace alone is compiled once more.
fn build_with_bugs() -> PathBuf {
    eprintln!("building with the bugs compiled in");
    let program = own_program();
    let folder = |above: usize| {
        program
            .ancestors()
            .nth(above)
            .expect("an example lies deep")
    };
    let (profile, target) = (folder(2), folder(3));
    let name = profile.file_name().and_then(OsStr::to_str);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (variable, _) in std::env::vars_os() {
        // What `cargo run` says of this package, which build scripts would take for news.
        let word = variable.to_string_lossy();
        if word.starts_with("CARGO_PKG_") || word.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&variable);
        }
    }
    let status = cargo
        // What is built with the whole workspace's features is there already.
        .args(["build", "--quiet", "--workspace", "--example", "soak"])
        .arg("--profile")
        .arg(name.filter(|&name| name != "debug").unwrap_or("dev"))
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .env("RUSTC_WORKSPACE_WRAPPER", &program)
        .env(WRAPS, "1")
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "the build with bugs failed");
    // Where it lies now `soak` itself will lie again.
    let soak = target.join("soak-with-bugs");
    std::fs::copy(profile.join("examples/soak"), &soak).expect("it was built just now");
    soak
}

/// As cargo calls it with [`WRAPS`]: the compiler and its arguments, for a crate of the workspace.
fn compile_with_bugs() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let compiler = arguments.next().expect("cargo names the compiler");
    let status = Command::new(compiler)
        .args(arguments)
        .args(["--cfg", "peaberry_mutant"])
        .status();
    let is_done = status.expect("the compiler can be run").success();
    if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn own_program() -> PathBuf {
    std::env::current_exe().expect("a program knows where it lies")
}

fn first_bad_seed_of(soak: &Path, target: &Target, mutant: &Mutant, seeds: u64) -> Option<u64> {
    let output = Command::new(soak)
        .args([
            "--target",
            target.name,
            "--seeds",
            &seeds.to_string(),
            "--stop-at-violation",
        ])
        .env("PEABERRY_MUTANT", mutant.name)
        .output()
        .expect("soak was built just now");
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("soak prints its report, whatever it finds");
    report
        .get("first_bad_seed")
        .and_then(serde_json::Value::as_u64)
}
