use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use time::PrimitiveDateTime;
use time::macros::format_description;

use super::{Quote, Source, SourceError};
use crate::fixed_point::parse_price;

/// More rows are not held in memory: ten years of minutes.
const ROWS_MAX: usize = 5_300_000;

/// A file of prices, replayed: the first column is the time (`2023-03-11 07:30:00`, UTC, ascending), every other one a
/// market's price. An empty field is a time at which the market was silent.
///
/// # Example
///
/// ```
/// use peaberry_oracle::source::{CsvReplay, Source};
///
/// let table = "time_utc,a,b\n2023-03-11 07:30:00,21000.5,\n2023-03-11 07:31:00,,20990\n";
/// let replay = CsvReplay::read(table.as_bytes()).unwrap();
/// let source = replay.source("a", "USD").unwrap();
/// replay.set_time_ms(replay.times_ms()[1]);
/// let quote = futures_util::FutureExt::now_or_never(source.quote(2)).unwrap().unwrap();
/// assert_eq!(quote.value, 2_100_050);
/// assert_eq!(quote.observed_at_ms, replay.times_ms()[0], "a minute old, and it says so");
/// ```
#[derive(Clone, Debug)]
pub struct CsvReplay {
    table: Arc<Table>,
    now_ms: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Table {
    times_ms: Vec<u64>,
    markets: Vec<(String, Vec<String>)>,
}

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsvError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not CSV.
    #[error("cannot read it as CSV")]
    Csv(#[from] ::csv::Error),
    /// A row's time is none, or is not after the one before.
    #[error(
        "line {line}: {text:?} is no time of the form 2023-03-11 07:30:00 after the one before"
    )]
    Time {
        /// The line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// More rows than are held.
    #[error("over {ROWS_MAX} rows: cut the file")]
    TooLong,
    /// There is no such column.
    #[error("there is no market {name}; there are {known}")]
    NoSuchMarket {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl CsvReplay {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// [`CsvError`].
    pub fn open(path: &Path) -> Result<Self, CsvError> {
        let file = File::open(path).map_err(|source| CsvError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::read(std::io::BufReader::new(file))
    }

    /// Reads a table.
    ///
    /// # Errors
    ///
    /// [`CsvError`].
    pub fn read(table: impl std::io::Read) -> Result<Self, CsvError> {
        let mut reader = ::csv::Reader::from_reader(table);
        let names = reader.headers()?.iter().skip(1).map(str::to_owned);
        let mut markets: Vec<_> = names.map(|name| (name, Vec::new())).collect();
        let mut times_ms = Vec::new();
        for (row, record) in reader.records().enumerate() {
            let record = record?;
            if row >= ROWS_MAX {
                return Err(CsvError::TooLong);
            }
            let text = record.get(0).unwrap_or_default();
            let time_ms =
                parse_time_ms(text).filter(|it| times_ms.last().is_none_or(|last| last < it));
            times_ms.push(time_ms.ok_or_else(|| CsvError::Time {
                line: row + 2,
                text: text.chars().take(40).collect(),
            })?);
            for (column, (_, prices)) in markets.iter_mut().enumerate() {
                prices.push(record.get(column + 1).unwrap_or_default().to_owned());
            }
        }
        Ok(Self {
            table: Arc::new(Table { times_ms, markets }),
            now_ms: Arc::default(),
        })
    }

    /// The times of the rows, in milliseconds since 1970-01-01 UTC, ascending.
    #[must_use]
    pub fn times_ms(&self) -> &[u64] {
        &self.table.times_ms
    }

    /// The names of the markets.
    pub fn markets(&self) -> impl Iterator<Item = &str> {
        self.table.markets.iter().map(|(name, _)| name.as_str())
    }

    /// Makes it so late, for all sources of this file.
    pub fn set_time_ms(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// The market `name` as a source that quotes in `unit`.
    ///
    /// # Errors
    ///
    /// [`CsvError::NoSuchMarket`].
    pub fn source(&self, name: &str, unit: impl Into<String>) -> Result<CsvSource, CsvError> {
        let column = self.markets().position(|it| it == name);
        let column = column.ok_or_else(|| CsvError::NoSuchMarket {
            name: name.to_owned(),
            known: self.markets().collect::<Vec<_>>().join(", "),
        })?;
        Ok(CsvSource {
            replay: self.clone(),
            column,
            name: name.to_owned(),
            unit: unit.into(),
        })
    }
}

fn parse_time_ms(text: &str) -> Option<u64> {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let time = PrimitiveDateTime::parse(text, format).ok()?;
    u64::try_from(time.assume_utc().unix_timestamp() * 1_000).ok()
}

/// One market of a [`CsvReplay`]: it says the newest price that is not after the replay's time.
#[derive(Clone, Debug)]
pub struct CsvSource {
    replay: CsvReplay,
    column: usize,
    name: String,
    unit: String,
}

#[async_trait]
impl Source for CsvSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> &str {
        &self.unit
    }

    async fn quote(&self, decimals: u8) -> Result<Quote, SourceError> {
        let table = &self.replay.table;
        let now_ms = self.replay.now_ms.load(Ordering::Relaxed);
        let rows = table.times_ms.partition_point(|it| *it <= now_ms);
        let prices = table
            .markets
            .get(self.column)
            .map(|(_, prices)| prices.as_slice());
        let passed = prices
            .unwrap_or_default()
            .iter()
            .zip(&table.times_ms)
            .take(rows);
        let newest = passed.rev().find(|(text, _)| !text.is_empty());
        let (text, at) = newest.ok_or(SourceError::NoValue)?;
        Ok(Quote {
            value: parse_price(text, decimals)?,
            observed_at_ms: *at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_table_is_refused_with_its_line() {
        let line = |table: &str| match CsvReplay::read(table.as_bytes()) {
            Err(CsvError::Time { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line("t,a\nyesterday,1\n"), 2);
        assert_eq!(
            line("t,a\n2023-03-11 07:30:00,1\n2023-03-11 07:30:00,1\n"),
            3
        );
        assert!(matches!(
            CsvReplay::read("t,a\n2023-03-11 07:30:00\n".as_bytes()),
            Err(CsvError::Csv(_))
        ));
        let replay = CsvReplay::read("t,a\n".as_bytes()).unwrap();
        assert!(matches!(
            replay.source("b", "USD"),
            Err(CsvError::NoSuchMarket { .. })
        ));
    }

    #[tokio::test]
    async fn what_is_in_the_file_and_no_price_is_an_error_and_not_a_zero() {
        let table = "t,a\n2023-03-11 07:30:00,NaN\n2023-03-11 07:31:00,-3\n";
        let replay = CsvReplay::read(table.as_bytes()).unwrap();
        let source = replay.source("a", "USD").unwrap();
        assert!(matches!(source.quote(2).await, Err(SourceError::NoValue)));
        for at in replay.times_ms() {
            replay.set_time_ms(*at);
            assert!(matches!(
                source.quote(2).await,
                Err(SourceError::NotAPrice(_))
            ));
        }
    }
}
