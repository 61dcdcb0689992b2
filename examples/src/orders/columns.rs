//! One line's columns, each checked on its own.

use peaberry_core::Timestamp;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{Date, PrimitiveDateTime};

use super::lines::LINE_BYTES_MAX;
use super::{Order, PaidBy};

/// The columns in their order: the file's first line.
pub(super) const COLUMNS: [&str; 6] = [
    "date",
    "datetime",
    "cash_type",
    "card",
    "money",
    "coffee_name",
];

/// The longest name of a drink or pseudonym of a card, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The highest price, in hundredths: what costs more is a misprint.
const PRICE_CENTS_MAX: u32 = 1_000_000;

/// How much of a wrong value an error shows.
const SHOWN_CHARS_MAX: usize = 40;

const DATE: StaticFormatDescription = format_description!("[year]-[month]-[day]");
const DATETIME: StaticFormatDescription =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");

/// What is wrong with a line, and in which column if it is one column's fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) column: Option<&'static str>,
    pub(super) reason: String,
}

impl Wrong {
    fn whole(reason: impl Into<String>) -> Self {
        Self {
            column: None,
            reason: reason.into(),
        }
    }

    fn at(column: &'static str, reason: impl Into<String>) -> Self {
        Self {
            column: Some(column),
            reason: reason.into(),
        }
    }

    fn value(column: &'static str, value: &str, expected: &str) -> Self {
        let shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
        let more = if shown.len() < value.len() { "…" } else { "" };
        Self::at(column, format!("{shown:?}{more} is not {expected}"))
    }
}

/// Splits a line into its columns. Each line stands alone, so that an open quote spoils no other.
pub(super) fn split(line: &[u8]) -> Result<csv::ByteRecord, Wrong> {
    if line.iter().filter(|&&byte| byte == b'"').count() % 2 != 0 {
        return Err(Wrong::whole("a quote is opened and not closed"));
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(LINE_BYTES_MAX)
        .from_reader(line);
    let mut record = csv::ByteRecord::new();
    reader
        .read_byte_record(&mut record)
        .map_err(|error| Wrong::whole(error.to_string()))?;
    Ok(record)
}

/// The order on `line`.
pub(super) fn parse(number: u64, line: &[u8]) -> Result<Order, Wrong> {
    let record = split(line)?;
    if record.len() != COLUMNS.len() {
        return Err(Wrong::whole(format!(
            "{} columns instead of {}",
            record.len(),
            COLUMNS.len()
        )));
    }
    let mut values = [""; COLUMNS.len()];
    for ((value, bytes), column) in values.iter_mut().zip(&record).zip(COLUMNS) {
        *value =
            std::str::from_utf8(bytes).map_err(|error| Wrong::at(column, error.to_string()))?;
    }
    let [date, datetime, cash_type, card, money, coffee_name] = values;
    Ok(Order {
        number,
        time: parse_time(date, datetime)?,
        paid_by: parse_payment(cash_type, card)?,
        price_cents: parse_price(money)?,
        drink: parse_name("coffee_name", coffee_name)?,
    })
}

fn parse_time(date: &str, datetime: &str) -> Result<Timestamp, Wrong> {
    let day = Date::parse(date, DATE)
        .map_err(|_unparsed| Wrong::value("date", date, "a day such as 2024-03-01"))?;
    let time = PrimitiveDateTime::parse(datetime, DATETIME).map_err(|_unparsed| {
        Wrong::value(
            "datetime",
            datetime,
            "a time such as 2024-03-01 10:15:50.520",
        )
    })?;
    if time.date() != day {
        let reason = format!("{datetime:?} is not on the line's date, {date}");
        return Err(Wrong::at("datetime", reason));
    }
    u64::try_from(time.assume_utc().unix_timestamp_nanos())
        .map(Timestamp::from_unix_nanos)
        .map_err(|_out_of_range| Wrong::value("datetime", datetime, "between 1970 and 2554"))
}

fn parse_payment(cash_type: &str, card: &str) -> Result<PaidBy, Wrong> {
    match (cash_type, card) {
        ("cash", "") => Ok(PaidBy::Cash),
        ("cash", _) => Err(Wrong::value(
            "card",
            card,
            "empty, though it was paid in cash",
        )),
        ("card", _) => Ok(PaidBy::Card(parse_name("card", card)?)),
        _ => Err(Wrong::value("cash_type", cash_type, "\"cash\" or \"card\"")),
    }
}

/// Reads hundredths exactly: a float would not.
fn parse_price(money: &str) -> Result<u32, Wrong> {
    let wrong = || Wrong::value("money", money, "an amount such as 38.7");
    let (whole, fraction) = money.split_once('.').unwrap_or((money, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 2 {
        return Err(wrong());
    }
    let cents = format!("{whole}{fraction:0<2}")
        .parse::<u64>()
        .map_err(|_too_large| wrong())?;
    match u32::try_from(cents) {
        Ok(0) => Err(Wrong::value("money", money, "more than nothing")),
        Ok(cents) if cents <= PRICE_CENTS_MAX => Ok(cents),
        _ => Err(Wrong::value(
            "money",
            money,
            &format!("at most {}", PRICE_CENTS_MAX / 100),
        )),
    }
}

fn parse_name(column: &'static str, name: &str) -> Result<String, Wrong> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let expected = format!("a name of 1 to {NAME_BYTES_MAX} printable bytes");
        return Err(Wrong::value(column, name, &expected));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(line: &str) -> Option<&'static str> {
        parse(1, line.as_bytes()).unwrap_err().column
    }

    #[test]
    fn a_line_becomes_an_order() {
        let line = "2024-03-01,2024-03-01 10:15:50.520,card,ANON-0000-0000-0001,38.7,Latte";
        assert_eq!(
            parse(9, line.as_bytes()).unwrap(),
            Order {
                number: 9,
                time: Timestamp::from_unix_nanos(1_709_288_150_520_000_000),
                drink: "Latte".into(),
                price_cents: 3870,
                paid_by: PaidBy::Card("ANON-0000-0000-0001".into()),
            }
        );
    }

    #[test]
    fn prices_are_exact_hundredths() {
        for (money, cents) in [
            ("38.7", 3870),
            ("27.92", 2792),
            ("40.0", 4000),
            ("5", 500),
            ("0.01", 1),
            ("10000", 1_000_000),
        ] {
            assert_eq!(parse_price(money), Ok(cents), "{money}");
        }
    }

    #[test]
    fn what_is_not_a_price_is_refused() {
        for money in [
            "",
            "-5",
            "+5",
            "1e3",
            "NaN",
            "inf",
            ".5",
            "5.",
            "1.234",
            "1,5",
            " 5",
            "0",
            "0.00",
            "10000.01",
            "99999999999999999999999",
            "४",
            "0x10",
        ] {
            let wrong = parse_price(money).unwrap_err();
            assert_eq!(wrong.column, Some("money"), "{money}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_column() {
        for (line, expected) in [
            (
                "2024-02-30,2024-02-30 10:15:50.520,card,A,38.7,Latte",
                "date",
            ),
            (
                "2024-03-01,2024-03-01 25:15:50.520,card,A,38.7,Latte",
                "datetime",
            ),
            ("2024-03-01,2024-03-01 10:15,card,A,38.7,Latte", "datetime"),
            (
                "2024-03-01,2024-03-02 10:15:50.520,card,A,38.7,Latte",
                "datetime",
            ),
            (
                "1969-12-31,1969-12-31 10:15:50.520,card,A,38.7,Latte",
                "datetime",
            ),
            (
                "2024-03-01,2024-03-01 10:15:50.520,barter,A,38.7,Latte",
                "cash_type",
            ),
            (
                "2024-03-01,2024-03-01 10:15:50.520,card,,38.7,Latte",
                "card",
            ),
            (
                "2024-03-01,2024-03-01 10:15:50.520,cash,A,38.7,Latte",
                "card",
            ),
            (
                "2024-03-01,2024-03-01 10:15:50.520,card,A,cheap,Latte",
                "money",
            ),
            (
                "2024-03-01,2024-03-01 10:15:50.520,card,A,38.7,",
                "coffee_name",
            ),
            (
                "2024-03-01,2024-03-01 10:15:50.520,card,A,38.7,La\tte",
                "coffee_name",
            ),
        ] {
            assert_eq!(column(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn missing_columns_and_open_quotes_are_the_whole_line_s_fault() {
        for line in [
            "2024-03-01,2024-03-01 10:15:50.520,card,A,38.7",
            "2024-03-01,2024-03-01 10:15:50.520,card,A,38.7,Latte,extra",
            "2024-03-01,2024-03-01 10:15:50.520,card,A,38.7,\"Latte",
            "just words",
        ] {
            assert_eq!(column(line), None, "{line}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_name_their_column() {
        let line = b"2024-03-01,2024-03-01 10:15:50.520,card,A\xff,38.7,Latte";
        assert_eq!(parse(1, line).unwrap_err().column, Some("card"));
    }

    #[test]
    fn a_quoted_name_may_hold_a_comma() {
        let line = "2024-03-01,2024-03-01 10:15:50.520,cash,,38.7,\"Latte, large\"";
        assert_eq!(parse(1, line.as_bytes()).unwrap().drink, "Latte, large");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(1, &line);
        }

        #[test]
        fn almost_right_lines_do_not_panic_and_errors_stay_short(
            at in 0_usize..70, byte in any::<u8>(),
        ) {
            let mut line = b"2024-03-01,2024-03-01 10:15:50.520,card,ANON-0000-0000-0001,38.7,Latte".to_vec();
            line[at] = byte;
            if let Err(wrong) = parse(1, &line) {
                prop_assert!(wrong.reason.len() < 400);
            }
        }
    }
}
