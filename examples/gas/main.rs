//! What each contract call that matters costs, measured on a development chain.
//!
//! The token's mint and transfer stand beside those of OpenZeppelin 5.7 with the same roles, cap and permit
//! (`chain/contracts/comparison`), measured in the same run on the same chain. Nothing is compiled here: both are artefacts
//! that are checked in, and the program refuses to compare them unless both name the same compiler and settings. That they
//! are what that compiler makes of the sources `npm run check` proves. The program fails if ours cost more than theirs, or if
//! a payment or a price report costs more than its limit, which is a figure of our own.
//!
//! ```text
//! cargo run --release --example gas             # a table
//! cargo run --release --example gas -- --json   # one object, name → gas
//! ```
//!
//! Tested as: `cargo run --example gas -- --json`
#![expect(clippy::print_stdout, reason = "an example tells its story on stdout")]

mod ground;
mod price_oracle;
mod token;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use comfy_table::Table;
use serde_json::{Map, Value};

#[derive(Parser)]
#[command(about = "What each contract call that matters costs, in gas")]
struct Arguments {
    /// Print one JSON object, name → gas, and nothing else.
    #[arg(long)]
    json: bool,
}

/// One call's gas.
struct Entry {
    name: &'static str,
    gas: u64,
    /// The most it may cost, and whose measure that is.
    limit: Option<(u64, &'static str)>,
}

impl Entry {
    const fn new(name: &'static str, gas: u64) -> Self {
        Self {
            name,
            gas,
            limit: None,
        }
    }

    /// At most this much.
    const fn within(mut self, gas: u64, whose: &'static str) -> Self {
        self.limit = Some((gas, whose));
        self
    }

    fn is_over(&self) -> bool {
        self.limit.is_some_and(|(limit, _)| self.gas > limit)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    // One line for each file of entries.
    let entries = [token::entries().await?, price_oracle::entries().await?];
    let entries: Vec<Entry> = entries.into_iter().flatten().collect();
    if arguments.json {
        let gas = entries
            .iter()
            .map(|entry| (entry.name.to_owned(), Value::from(entry.gas)));
        println!("{}", Value::Object(gas.collect::<Map<_, _>>()));
    } else {
        println!("{}", table(&entries));
    }
    let over: Vec<&Entry> = entries.iter().filter(|entry| entry.is_over()).collect();
    for entry in &over {
        eprintln_over(entry);
    }
    Ok(if over.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stderr, reason = "the reason for the exit code")]
fn eprintln_over(entry: &Entry) {
    if let Some((limit, whose)) = entry.limit {
        eprintln!(
            "{} takes {} gas, over {limit} ({whose})",
            entry.name, entry.gas
        );
    }
}

fn table(entries: &[Entry]) -> Table {
    let mut table = Table::new();
    table.set_header(["call", "gas", "at most"]);
    for entry in entries {
        let limit = entry
            .limit
            .map(|(limit, whose)| format!("{limit} ({whose})"));
        table.add_row([
            entry.name.to_owned(),
            entry.gas.to_string(),
            limit.unwrap_or_default(),
        ]);
    }
    table
}
