//! Which day is told of: one out of a file, or one that is made up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use peaberry_oracle::source::CsvReplay;

use crate::{Failure, replayed::Markets};

/// The lines of one day of the file, with the heading: the one that is named, or the one on which the median of all markets
/// is furthest from the dollar's. Answers the day's name too.
pub(crate) fn one_day(path: &Path, day: Option<&str>) -> Result<(String, String), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let heading = lines.next().ok_or("the file is empty")?;
    let mut days: BTreeMap<&str, String> = BTreeMap::new();
    for line in lines {
        let day = line.get(..10).unwrap_or(line);
        let table = days.entry(day).or_insert_with(|| format!("{heading}\n"));
        let _ = writeln!(table, "{line}");
    }
    let found = match day {
        Some(day) => days.remove_entry(day),
        None => {
            let mut worst = None;
            for (day, table) in &days {
                let off = worst_of(table)?;
                if worst.is_none_or(|(before, _)| off > before) {
                    worst = Some((off, *day));
                }
            }
            worst.and_then(|(_, day)| days.remove_entry(day))
        }
    };
    let named = day.unwrap_or("any day");
    let (day, table) =
        found.ok_or_else(|| format!("{} has no minute of {named}", path.display()))?;
    Ok((day.to_owned(), table))
}

/// How far the median of all markets is from the dollar's at worst, in hundredths of a percent.
fn worst_of(table: &str) -> Result<i128, Failure> {
    let markets = Markets::of(CsvReplay::read(table.as_bytes())?)?;
    let mut worst = 0;
    for now_ms in markets.times_ms() {
        let minute = markets.at(now_ms)?;
        if let (Some(dollar), Some(all)) = (minute.dollar, minute.median_of_all()) {
            worst = worst.max(crate::off(dollar, all));
        }
    }
    Ok(worst)
}

/// A day of minutes on which one coin falls to 87 cents and comes back half-way.
pub(crate) fn made_up(seed: u64) -> String {
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
