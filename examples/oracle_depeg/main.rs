//! The morning on which a dollar was not a dollar: an oracle that asks what its sources quote in.
//!
//! Four markets price Bitcoin, some in dollars and some in coins that promise to be worth one. Then one of the coins loses
//! its peg, and Bitcoin costs more of it. Four oracles that check no peg agree on a price that follows the broken coin; four
//! that check do not. Among the latter one has switched the check off: the others outvote it, and its reputation falls
//! until the next generation of weights hears less of it.
//!
//! `--prices FILE` replays real minutes (a CSV of times and markets whose names end in their unit) of the file's worst day,
//! or of the one that `--day` names; without it a depeg is made up from a seed. You will see the worst minute with and
//! without the check, the oracles' weights, and a picture of sources, answer and reputation in both runs.
//!
//! Tested as: `cargo run --release --example oracle_depeg -- --seed 1`

mod days;
mod picture;
mod replayed;

use std::path::PathBuf;

use clap::Parser;
use peaberry_oracle::Price;
use peaberry_oracle::source::CsvReplay;

use self::replayed::{Markets, Round, Run, run};

type Failure = Box<dyn std::error::Error>;

const DECIMALS: u8 = 2;
const ORACLES: u8 = 4;
/// The oracle that does not check.
const CARELESS: usize = 3;
/// The day on which USDC lost its peg: what happened on it is known.
const KNOWN_DAY: &str = "2023-03-11";
/// What the peg check must keep the price of such a day within, and what goes wrong without it, in hundredths of a percent.
const WITH_CHECK_BPS: i128 = 100;
const WITHOUT_CHECK_BPS: i128 = 500;

/// A depeg with and without a peg check.
#[derive(Parser)]
struct Arguments {
    /// Minutes of real markets: `time_utc,exchange_btc_usd,exchange_btc_usdc,…`.
    #[arg(long)]
    prices: Option<PathBuf>,
    /// Which day of the file, such as 2023-03-11; by default the one on which the markets are furthest apart.
    #[arg(long)]
    day: Option<String>,
    /// What the made-up depeg, and which market an oracle misses, are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the picture goes; by default into the folder that this program was built in.
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let (day, table) = match &arguments.prices {
        Some(path) => days::one_day(path, arguments.day.as_deref())?,
        None => ("a day made up".to_owned(), days::made_up(arguments.seed)),
    };
    let markets = Markets::of(CsvReplay::read(table.as_bytes())?)?;
    let with = run(&markets, true, arguments.seed)?;
    let without = run(&markets, false, arguments.seed)?;

    let names = markets.names();
    println!(
        "{day}: {} minutes of {}",
        with.rounds.len(),
        names.join(", ")
    );
    tell_of("the median of all markets", &with, |it| it.median);
    tell_of("oracles without the check", &without, |it| it.answer);
    tell_of("oracles with it", &with, |it| it.answer);
    println!(
        "weights of the next generation: {:?} with the check, of which the last one's oracle makes none; {:?} without",
        with.weights, without.weights
    );
    let path = arguments.svg.unwrap_or_else(picture_path);
    std::fs::write(&path, picture::picture(&names, &without, &with))?;
    println!("picture: {}", path.display());

    // What must have happened is known of these days alone.
    if arguments.prices.is_none() || day == KNOWN_DAY {
        for off in [
            worst(&with, |it| it.median),
            worst(&without, |it| it.answer),
        ] {
            assert!(
                off >= WITHOUT_CHECK_BPS,
                "without the check the price follows the broken coin"
            );
        }
        assert!(
            worst(&with, |it| it.answer) <= WITH_CHECK_BPS,
            "with the check the price follows the dollar"
        );
        let careless = with.weights.get(CARELESS).copied().unwrap_or(0);
        let others = with.weights.iter().take(CARELESS).copied().min();
        assert!(Some(careless) < others, "who does not check loses weight");
    }
    Ok(())
}

fn tell_of(who: &str, run: &Run, says: fn(&Round) -> i128) {
    let worst = run.rounds.iter().max_by_key(|it| off(it.dollar, says(it)));
    if let Some(round) = worst {
        let bps = off(round.dollar, says(round));
        println!(
            "{who}: at worst {}.{:02} % off the dollar market, {} where that says {}",
            bps / 100,
            bps % 100,
            price(says(round)),
            price(round.dollar)
        );
    }
}

fn worst(run: &Run, says: fn(&Round) -> i128) -> i128 {
    let off = run.rounds.iter().map(|it| off(it.dollar, says(it)));
    off.max().unwrap_or(0)
}

/// How far `value` is from `dollar`, in hundredths of a percent.
fn off(dollar: i128, value: i128) -> i128 {
    (value - dollar).abs() * 10_000 / dollar
}

fn price(value: i128) -> String {
    Price {
        value,
        decimals: DECIMALS,
    }
    .to_string()
}

fn picture_path() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name("oracle_depeg.svg")
}
