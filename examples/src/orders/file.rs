use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::columns::{COLUMNS, Wrong, parse, split};
use super::lines::{LINE_BYTES_MAX, Line, Lines};
use super::{Order, PaidBy};

/// How many orders a file may hold.
pub const ORDERS_MAX: usize = 1 << 20;

/// How many problems are kept in words; all are counted.
pub const PROBLEMS_MAX: usize = 100;

/// The byte order mark that some programs write first.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file of orders, read to its end.
///
/// Its first line names the columns `date,datetime,cash_type,card,money,coffee_name`. Every other line is an order, a
/// problem, or empty: nothing is lost without a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFile {
    /// The orders of the lines that are well formed, in the file's order, numbered from 1.
    pub orders: Vec<Order>,
    /// What is wrong with the others: the first [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// How many lines have a problem.
    pub problem_count: u64,
}

/// A line that is not an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1 upwards; the header is line 1.
    pub line: u64,
    /// The column at fault, unless it is the whole line.
    pub column: Option<&'static str>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "line {}, {column}: {}", self.line, self.reason),
            None => write!(f, "line {}: {}", self.line, self.reason),
        }
    }
}

/// Why a file could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrdersError {
    /// The file could not be opened.
    #[error("could not open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file could not be read on.
    #[error("could not read the orders behind line {line}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The first line does not name the columns.
    #[error("the first line is {found:?}: expected {expected}", expected = COLUMNS.join(","))]
    Header {
        /// What it says, or as much as may be shown.
        found: String,
    },
    /// More than [`ORDERS_MAX`] lines: split the file.
    #[error("more than {ORDERS_MAX} orders: split the file")]
    TooMany,
}

/// A file that has problems.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{problem_count} malformed lines, the first of them: {}",
    Listed(problems)
)]
pub struct MalformedOrders {
    /// The first of them; see [`OrderFile::problems`].
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problem_count: u64,
}

/// The first few problems, for an error message.
struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().take(3).enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl OrderFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// See [`OrdersError`]. A malformed line is no error here but one of the [`problems`](Self::problems).
    pub fn open(path: &Path) -> Result<Self, OrdersError> {
        let file = File::open(path).map_err(|source| OrdersError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::read(BufReader::new(file))
    }

    /// Reads `source` to its end, one line at a time.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn read(source: impl BufRead) -> Result<Self, OrdersError> {
        let mut lines = Lines::new(source);
        let mut file = Self::default();
        let mut last = 0;
        let mut seen = BTreeMap::new();
        loop {
            let next = lines
                .next()
                .map_err(|source| OrdersError::Read { line: last, source })?;
            let Some((number, line)) = next else {
                break;
            };
            last = number;
            if number == 1 {
                check_header(&line)?;
            } else if line != Line::Text(b"") {
                file.take(number, &line, &mut seen)?;
            }
        }
        if last == 0 {
            return Err(OrdersError::Header {
                found: String::new(),
            });
        }
        Ok(file)
    }

    /// The orders, if every line was one.
    ///
    /// # Errors
    ///
    /// [`MalformedOrders`] names the lines that are not.
    pub fn into_orders(self) -> Result<Vec<Order>, MalformedOrders> {
        if self.problem_count == 0 {
            Ok(self.orders)
        } else {
            Err(MalformedOrders {
                problems: self.problems,
                problem_count: self.problem_count,
            })
        }
    }

    fn take(&mut self, number: u64, line: &Line<'_>, seen: &mut Seen) -> Result<(), OrdersError> {
        let order = match line {
            Line::Text(text) => parse(self.orders.len() as u64 + 1, text),
            Line::TooLong { bytes } => Err(Wrong {
                column: None,
                reason: format!("{bytes} bytes are over the limit of {LINE_BYTES_MAX}"),
            }),
        };
        match order.and_then(|order| check_repeated(order, number, seen)) {
            Ok(_) if self.orders.len() >= ORDERS_MAX => return Err(OrdersError::TooMany),
            Ok(order) => self.orders.push(order),
            Err(wrong) => self.report(number, wrong),
        }
        Ok(())
    }

    fn report(&mut self, line: u64, wrong: Wrong) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                line,
                column: wrong.column,
                reason: wrong.reason,
            });
        }
    }
}

/// The line on which each sale stands, by what tells sales apart.
type Seen = BTreeMap<(u64, String, PaidBy), u64>;

/// One machine does not sell the same drink to the same customer twice in one millisecond: the line stands there twice.
fn check_repeated(order: Order, line: u64, seen: &mut Seen) -> Result<Order, Wrong> {
    let sale = (
        order.time.as_unix_nanos(),
        order.drink.clone(),
        order.paid_by.clone(),
    );
    if let Some(&earlier) = seen.get(&sale) {
        return Err(Wrong {
            column: None,
            reason: format!("the same sale stands on line {earlier}"),
        });
    }
    seen.insert(sale, line);
    Ok(order)
}

fn check_header(line: &Line<'_>) -> Result<(), OrdersError> {
    let text = match line {
        Line::Text(text) => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
        Line::TooLong { .. } => b"a line over the limit",
    };
    let names_the_columns =
        split(text).is_ok_and(|record| record.iter().eq(COLUMNS.map(str::as_bytes)));
    if names_the_columns {
        return Ok(());
    }
    Err(OrdersError::Header {
        found: String::from_utf8_lossy(text).chars().take(100).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::*;

    const HEADER: &str = "date,datetime,cash_type,card,money,coffee_name";
    const GOOD: &str = "2024-03-01,2024-03-01 10:15:50.520,card,ANON-1,38.7,Latte";
    const ALSO_GOOD: &str = "2024-03-01,2024-03-01 12:19:22.539,cash,,40.0,Hot Chocolate";

    fn read(text: impl AsRef<[u8]>) -> Result<OrderFile, OrdersError> {
        OrderFile::read(text.as_ref())
    }

    #[test]
    fn good_lines_are_orders_numbered_from_one() {
        for end in ["\n", "\r\n"] {
            let file = read(format!("{HEADER}{end}{GOOD}{end}{end}{ALSO_GOOD}{end}")).unwrap();
            assert_eq!(file.problems, []);
            let numbers: Vec<_> = file.orders.iter().map(|order| order.number).collect();
            assert_eq!(numbers, [1, 2]);
            assert_eq!(file.orders[1].paid_by, PaidBy::Cash);
            assert_eq!(file.into_orders().unwrap().len(), 2);
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_header() {
        let file = read(format!("\u{feff}{HEADER}\n{GOOD}\n")).unwrap();
        assert_eq!(file.orders.len(), 1);
    }

    #[test]
    fn a_wrong_header_is_refused_before_any_order() {
        for header in [
            "",
            "date,datetime,cash_type,card,money",
            "datetime,date,cash_type,card,money,coffee_name",
            "date,datetime,cash_type,card,money,coffee_name,extra",
            GOOD,
        ] {
            let error = read(format!("{header}\n{GOOD}\n")).unwrap_err();
            assert!(
                matches!(error, OrdersError::Header { .. }),
                "{header}: {error}"
            );
        }
        assert!(matches!(read(""), Err(OrdersError::Header { .. })));
    }

    #[test]
    fn a_bad_line_is_reported_and_its_neighbours_are_read() {
        let huge = "x".repeat(LINE_BYTES_MAX + 1);
        let open_quote = GOOD.replace("Latte", "\"Latte");
        let file = read(format!(
            "{HEADER}\n{open_quote}\n{huge}\n{GOOD}\nno order\n{ALSO_GOOD}"
        ))
        .unwrap();
        assert_eq!(file.orders.len(), 2);
        assert_eq!(file.orders[1].number, 2);
        let lines: Vec<_> = file.problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 5]);
        let error = file.into_orders().unwrap_err();
        assert_eq!(error.problem_count, 3);
        assert!(error.to_string().contains("line 2: a quote"), "{error}");
    }

    #[test]
    fn a_line_that_stands_there_twice_is_reported() {
        let file = read(format!("{HEADER}\n{GOOD}\n{ALSO_GOOD}\n{GOOD}\n")).unwrap();
        assert_eq!(file.orders.len(), 2);
        assert_eq!(
            file.problems[0].to_string(),
            "line 4: the same sale stands on line 2"
        );
    }

    #[test]
    fn all_problems_are_counted_and_some_are_kept() {
        let text = format!("{HEADER}\n{}", "bad\n".repeat(PROBLEMS_MAX + 50));
        let file = read(text).unwrap();
        assert_eq!(file.problems.len(), PROBLEMS_MAX);
        assert_eq!(file.problem_count, PROBLEMS_MAX as u64 + 50);
    }

    #[test]
    fn invalid_utf_8_names_line_and_column() {
        let mut text = format!("{HEADER}\n{GOOD}\n").into_bytes();
        let length = text.len();
        text[length - 2] = 0xff;
        let file = read(text).unwrap();
        assert_eq!(
            (file.problems[0].line, file.problems[0].column),
            (2, Some("coffee_name"))
        );
    }

    #[test]
    fn a_source_that_fails_half_way_is_an_error_and_not_a_short_file() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("cable pulled"))
            }
        }
        let text = format!("{HEADER}\n{GOOD}\n");
        let error = OrderFile::read(BufReader::new(text.as_bytes().chain(Failing))).unwrap_err();
        assert!(
            matches!(error, OrdersError::Read { line: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = OrderFile::open(Path::new("no/such/orders.csv")).unwrap_err();
        assert_eq!(error.to_string(), "could not open no/such/orders.csv");
    }

    #[test]
    fn the_real_file_is_read_whole() {
        let Some(data) = std::env::var_os("PEABERRY_DATA") else {
            println!("skipped: PEABERRY_DATA does not name a folder with orders/coffee_sales.csv");
            return;
        };
        let file = OrderFile::open(&Path::new(&data).join("orders/coffee_sales.csv")).unwrap();
        assert_eq!(file.problems, []);
        assert_eq!(file.orders.len(), 1133);
        let in_cash = file
            .orders
            .iter()
            .filter(|order| order.paid_by == PaidBy::Cash);
        assert_eq!(in_cash.count(), 89);
        assert!(file.orders.is_sorted_by_key(|order| order.time));
    }
}
