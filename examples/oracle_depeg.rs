//! The morning on which a dollar was not a dollar: an oracle that asks what its sources quote in.
//!
//! Four markets price Bitcoin, one in dollars and three in coins that promise to be worth one. Then one of the coins loses
//! its peg, and Bitcoin costs more of them. The median of all markets follows the broken coin; four oracles that check
//! the peg do not. One of them has switched the check off: the others outvote it, and its reputation falls until the next
//! generation of weights hears less of it.
//!
//! `--prices FILE` replays real minutes (a CSV of times and markets whose names end in their unit); without it a depeg is
//! made up from a seed. You will see the worst minute with and without the check, the oracles' weights, and a picture of
//! sources, answers and reputation.
//!
//! Tested as: `cargo run --release --example oracle_depeg -- --seed 1`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use peaberry_chain::EvmAddress;
use peaberry_core::PeerId;
use peaberry_oracle::source::{
    CsvReplay, CsvSource, PanelPolicy, PegCheck, Quote, Source, SourceError, judge,
};
use peaberry_oracle::{
    Config, ConfigForm, EcdsaKey, Feed, Keyring, Member, Observation, Price, Reputation, RoundId,
    SignedObservation, Timing, WEIGHT_MAX, aggregate, agreed_weights, verify_set,
};

const DECIMALS: u8 = 2;
const ORACLES: u8 = 4;
/// The oracle that does not check.
const CARELESS: usize = 3;
/// After so many rounds the weights follow the record.
const ROUNDS_PER_GENERATION: u32 = 360;
/// What the peg check must keep the price within, and what goes wrong without it, in hundredths of a percent.
const WITH_CHECK_BPS: i128 = 100;
const WITHOUT_CHECK_BPS: i128 = 500;

/// A depeg with and without a peg check.
#[derive(Parser)]
struct Arguments {
    /// Minutes of real markets: `time_utc,exchange_btc_usd,exchange_btc_usdc,…`.
    #[arg(long)]
    prices: Option<PathBuf>,
    /// Which day of the file.
    #[arg(long, default_value = "2023-03-11")]
    day: String,
    /// What the made-up depeg is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the picture goes; by default into the folder that this program was built in.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// What happened in one minute.
struct Minute {
    sources: Vec<Option<i128>>,
    dollar: i128,
    answer: i128,
    unchecked: i128,
    penalties: Vec<u32>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let table = match &arguments.prices {
        Some(path) => one_day(path, &arguments.day)?,
        None => made_up(arguments.seed),
    };
    let replay = CsvReplay::read(table.as_bytes())?;
    let names: Vec<String> = replay.markets().map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (minutes, weights) = runtime.block_on(run(&replay, arguments.seed))?;

    let off = |minute: &Minute, value: i128| (value - minute.dollar).abs() * 10_000 / minute.dollar;
    let worst = |pick: fn(&Minute) -> i128| {
        minutes
            .iter()
            .map(|it| off(it, pick(it)))
            .max()
            .unwrap_or(0)
    };
    let (with, without) = (worst(|it| it.answer), worst(|it| it.unchecked));
    println!("{} minutes of {}", minutes.len(), names.join(", "));
    if let Some(minute) = minutes.iter().max_by_key(|it| off(it, it.unchecked)) {
        println!(
            "worst minute: the dollar market says {}, all markets' median {}, the oracles {}",
            price(minute.dollar),
            price(minute.unchecked),
            price(minute.answer)
        );
    }
    println!(
        "at worst off the dollar market: {} without the check, {} with it",
        percent(without),
        percent(with)
    );
    println!("weights of the next generation: {weights:?}, the last one's oracle does not check");

    let path = arguments.svg.unwrap_or_else(picture_path);
    std::fs::write(&path, picture(&names, &minutes))?;
    println!("picture: {}", path.display());

    let careless = weights.get(CARELESS).copied().unwrap_or(0);
    let others = weights.iter().take(CARELESS).copied().min().unwrap_or(0);
    assert!(
        without >= WITHOUT_CHECK_BPS,
        "without the check the price follows the broken coin"
    );
    assert!(
        with <= WITH_CHECK_BPS,
        "with the check the price follows the dollar"
    );
    assert!(careless < others, "who does not check loses weight");
    Ok(())
}

/// Every minute one round, by the functions that the round protocol itself calls.
async fn run(
    replay: &CsvReplay,
    seed: u64,
) -> Result<(Vec<Minute>, Vec<u16>), Box<dyn std::error::Error>> {
    let sources: Vec<CsvSource> = replay
        .markets()
        .map(|name| replay.source(name, unit_of(name)))
        .collect::<Result<_, _>>()?;
    let keys: Vec<_> = (1..=ORACLES)
        .filter_map(|id| EcdsaKey::from_bytes(&[id; 32]))
        .map(Arc::new)
        .collect();
    let mut config = config(&keys)?;
    let mut reputation = Reputation::new(keys.len());
    let mut last_set: Vec<SignedObservation> = Vec::new();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut minutes = Vec::new();
    for (number, &now_ms) in (1..).zip(replay.times_ms()) {
        replay.set_time_ms(now_ms);
        let mut quotes = Vec::new();
        for source in &sources {
            quotes.push(source.quote(DECIMALS).await);
        }
        let round = RoundId::new(1, number).ok_or("rounds count from one")?;
        let mut set = Vec::new();
        for (member, key) in (0..ORACLES).zip(&keys) {
            // An oracle does not reach every market in every minute.
            let missed = rng.usize(..sources.len() * 4);
            let said = said(&sources, &quotes, missed);
            let value = judge(&policy(usize::from(member) != CARELESS), now_ms, said)
                .value
                .ok();
            let observation = Observation {
                config: config.digest(),
                round,
                observed_at_ms: now_ms,
                values: vec![value],
                standing: reputation.weights(),
            };
            set.push(observation.sign(&config, member, key.as_ref()));
        }
        if number % 60 == 1 {
            verify_set(
                &config,
                keys.first().ok_or("there are oracles")?.as_ref(),
                round,
                &set,
            )?;
        }
        let report = aggregate(&config, round, &set);
        let dollar = sources
            .iter()
            .zip(&quotes)
            .find(|(source, _)| source.unit() == "USD");
        let dollar = dollar
            .and_then(|(_, quote)| quote.as_ref().ok())
            .map(|quote| quote.value);
        let unchecked = judge(&policy(false), now_ms, said(&sources, &quotes, usize::MAX)).value;
        let answer = report.answers.first().map(|it| it.value);
        // Before every market has traded once there is nothing to compare.
        if let (Some(dollar), Some(answer), Ok(unchecked)) = (dollar, answer, unchecked)
            && quotes.iter().all(Result::is_ok)
        {
            reputation.record(&config, &report, &set);
            minutes.push(Minute {
                sources: quotes
                    .iter()
                    .map(|it| it.as_ref().ok().map(|quote| quote.value))
                    .collect(),
                dollar,
                answer,
                unchecked,
                penalties: reputation.penalties(),
            });
        }
        last_set = set;
        if number % ROUNDS_PER_GENERATION == 0
            && let Some(weights) = agreed_weights(&config, &last_set)
        {
            config = config.succeed(&weights)?;
        }
    }
    let weights = agreed_weights(&config, &last_set).ok_or("too few opinions")?;
    Ok((minutes, weights))
}

type Said<'a> = Vec<(&'a str, &'a str, Result<Quote, SourceError>)>;

fn said<'a>(
    sources: &'a [CsvSource],
    quotes: &[Result<Quote, SourceError>],
    missed: usize,
) -> Said<'a> {
    let pairs = sources.iter().zip(quotes).enumerate();
    pairs
        .map(|(at, (source, quote))| {
            let quote = if at == missed {
                Err(SourceError::NoValue)
            } else {
                quote.clone()
            };
            (source.name(), source.unit(), quote)
        })
        .collect()
}

fn policy(checks: bool) -> PanelPolicy {
    PanelPolicy {
        sources_min: 1,
        // A market may be silent for some minutes.
        age_max_ms: 15 * 60_000,
        peg: if checks {
            PegCheck::Band { bps: 100 }
        } else {
            PegCheck::Off
        },
        ..PanelPolicy::new("USD")
    }
}

fn unit_of(market: &str) -> String {
    market.rsplit('_').next().unwrap_or_default().to_uppercase()
}

fn config(keys: &[Arc<EcdsaKey>]) -> Result<Config, Box<dyn std::error::Error>> {
    let members = keys.iter().zip(1..).map(|(key, id)| Member {
        peer: PeerId::new(id).expect("not zero"),
        signer: key.address(),
        weight: WEIGHT_MAX,
    });
    let feed = Feed {
        name: "BTC/USD".into(),
        decimals: DECIMALS,
        min: 1,
        max: 100_000_000_000,
        deviation_bps: 50,
        heartbeat_ms: 3_600_000,
        breaker_bps: None,
    };
    Ok(Config::new(ConfigForm {
        chain_id: 31_337,
        contract: EvmAddress::repeat_byte(0xcc),
        generation: 1,
        faulty: 1,
        threshold: 2,
        members: members.collect(),
        feeds: vec![feed],
        timing: Timing::default(),
    })?)
}

/// The lines of one day, with the heading.
fn one_day(path: &Path, day: &str) -> Result<String, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let heading = text.lines().take(1);
    let rows: Vec<&str> = heading
        .chain(text.lines().skip(1).filter(|line| line.starts_with(day)))
        .collect();
    if rows.len() < 2 {
        return Err(format!("{} has no minute of {day}", path.display()).into());
    }
    Ok(rows.join("\n") + "\n")
}

/// A day of minutes on which one coin falls to 87 cents and comes back half-way.
fn made_up(seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut table = "time_utc,east_btc_usd,east_btc_usdt,east_btc_usdc,west_btc_usdc\n".to_owned();
    let (mut dollars, mut coin) = (2_000_000_i64, 10_000_i64);
    for minute in 0..1_440_i64 {
        dollars += dollars * rng.i64(-10..=10) / 10_000;
        let peg = match minute {
            ..420 => 10_000,
            420..600 => 10_000 - (minute - 420) * 1_300 / 180,
            600..900 => 8_700,
            _ => 8_700 + (minute - 900) * 600 / 540,
        };
        coin += (peg - coin) / 2;
        let mut market = |cents: i64| {
            let cents = cents + cents * rng.i64(-5..=5) / 10_000;
            // Nobody trades in one minute of twenty.
            if rng.u8(..20) == 0 {
                String::new()
            } else {
                format!("{}.{:02}", cents / 100, cents % 100)
            }
        };
        let row = [
            market(dollars),
            market(dollars),
            market(dollars * 10_000 / coin),
            market(dollars * 10_000 / coin),
        ];
        let (hour, minute) = (minute / 60, minute % 60);
        let _ = writeln!(
            table,
            "2023-03-11 {hour:02}:{minute:02}:00,{}",
            row.join(",")
        );
    }
    table
}

fn price(value: i128) -> String {
    Price {
        value,
        decimals: DECIMALS,
    }
    .to_string()
}

fn percent(bps: i128) -> String {
    format!("{}.{:02} %", bps / 100, bps % 100)
}

fn picture_path() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name("oracle_depeg.svg")
}

const WIDTH: usize = 1_000;
const CHART_HEIGHT: usize = 360;
const COLOURS: [&str; 6] = [
    "#1f77b4", "#2ca02c", "#bbbbbb", "#999999", "#9467bd", "#8c564b",
];

/// Sources, both answers, and below them what the record holds against each oracle.
fn picture(names: &[String], minutes: &[Minute]) -> String {
    let mut curves: Vec<(String, &str, Vec<Option<i128>>)> = names
        .iter()
        .zip(COLOURS)
        .enumerate()
        .map(|(at, (name, colour))| {
            let values = minutes
                .iter()
                .map(|it| it.sources.get(at).copied().flatten())
                .collect();
            (name.clone(), colour, values)
        })
        .collect();
    let line = |pick: fn(&Minute) -> i128| minutes.iter().map(|it| Some(pick(it))).collect();
    curves.push((
        "median of all markets, no check".into(),
        "#d62728",
        line(|it| it.unchecked),
    ));
    curves.push((
        "agreed, with the peg check".into(),
        "#000000",
        line(|it| it.answer),
    ));
    let records: Vec<_> = (0..usize::from(ORACLES))
        .zip(COLOURS)
        .map(|(oracle, colour)| {
            let values = minutes
                .iter()
                .map(|it| it.penalties.get(oracle).map(|it| i128::from(*it)))
                .collect();
            let name = if oracle == CARELESS {
                "oracle 4, does not check"
            } else {
                "oracle that checks"
            };
            (
                name.to_owned(),
                if oracle == CARELESS {
                    "#d62728"
                } else {
                    colour
                },
                values,
            )
        })
        .collect();
    let height = 2 * CHART_HEIGHT + 120;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    chart(
        &mut svg,
        30,
        "BTC/USD: what the markets say, and what is made of it",
        &curves,
    );
    chart(
        &mut svg,
        CHART_HEIGHT + 90,
        "Reputation: average penalty of each oracle, in millionths (less is better)",
        &records,
    );
    svg.push_str("</svg>\n");
    svg
}

fn chart(svg: &mut String, top: usize, title: &str, curves: &[(String, &str, Vec<Option<i128>>)]) {
    let values = || {
        curves
            .iter()
            .flat_map(|(_, _, values)| values.iter().flatten())
    };
    let (low, high) = (*values().min().unwrap_or(&0), *values().max().unwrap_or(&1));
    let span = (high - low).max(1);
    let _ = writeln!(
        svg,
        "<text x=\"10\" y=\"{}\" font-size=\"16\">{title}</text>",
        top - 8
    );
    for (at, (name, colour, values)) in curves.iter().enumerate() {
        let mut points = String::new();
        for (x, value) in values.iter().enumerate() {
            if let Some(value) = value {
                let x = x * (WIDTH - 20) / values.len().max(1) + 10;
                let drop =
                    usize::try_from((high - value) * CHART_HEIGHT as i128 / span).unwrap_or(0);
                let _ = write!(points, "{x},{} ", top + drop);
            }
        }
        let width = if *colour == "#000000" { 2 } else { 1 };
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            top + 20 + 16 * at
        );
    }
}
