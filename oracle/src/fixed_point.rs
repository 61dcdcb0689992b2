//! Decimal text and integers, exactly.

use std::fmt;

/// The most decimals a feed may have: those of an amount in wei.
pub const DECIMALS_MAX: u8 = 18;
/// The largest magnitude of a value, in its smallest unit. A millionth share of it still fits 128 bits when multiplied
/// by a million, so that no comparison overflows.
pub const VALUE_MAX: i128 = 10_i128.pow(30);
/// Longer text is no price.
const TEXT_BYTES_MAX: usize = 64;

/// Why text is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FixedPointError {
    /// Not a decimal number: words, `NaN`, an infinity, nothing, or over 64 bytes.
    #[error("not a decimal number")]
    NotANumber,
    /// Below zero.
    #[error("below zero")]
    Negative,
    /// Zero, or so small that it rounds to zero.
    #[error("zero")]
    Zero,
    /// Over [`VALUE_MAX`] units.
    #[error("over the largest value of 10^30 units")]
    TooLarge,
}

/// The value written as `text`, in units of `10^-decimals`; what lies beyond the last decimal is rounded half up.
///
/// Reads what JSON calls a number, exactly: no float is in between. At most [`DECIMALS_MAX`] decimals are meant.
///
/// # Errors
///
/// [`FixedPointError`]: no number above zero.
///
/// ```
/// use peaberry_oracle::{FixedPointError, parse_price};
///
/// assert_eq!(parse_price("21712.51", 8), Ok(2_171_251_000_000));
/// assert_eq!(parse_price("2.171251e4", 2), Ok(2_171_251));
/// assert_eq!(parse_price("NaN", 8), Err(FixedPointError::NotANumber));
/// assert_eq!(parse_price("-1", 8), Err(FixedPointError::Negative));
/// assert_eq!(parse_price("1e300", 8), Err(FixedPointError::TooLarge));
/// ```
pub fn parse_price(text: &str, decimals: u8) -> Result<i128, FixedPointError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(FixedPointError::NotANumber);
    }
    let (is_negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let has_point = mantissa.contains('.');
    if whole.is_empty()
        || (has_point && fraction.is_empty())
        || !digits().all(|it| it.is_ascii_digit())
    {
        return Err(FixedPointError::NotANumber);
    }
    let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let shift = exponent + i64::from(decimals) - fraction_digits;
    let value = scaled(digits(), shift)?;
    match (is_negative, value) {
        (_, 0) => Err(FixedPointError::Zero),
        (true, _) => Err(FixedPointError::Negative),
        (false, value) => Ok(value),
    }
}

fn parse_exponent(text: &str) -> Result<i64, FixedPointError> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.is_empty() || unsigned.len() > 4 || !unsigned.bytes().all(|it| it.is_ascii_digit())
    {
        return Err(FixedPointError::NotANumber);
    }
    let magnitude: i64 = unsigned
        .parse()
        .map_err(|_not_digits| FixedPointError::NotANumber)?;
    Ok(if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

/// The digits as an integer, times `10^shift`, rounded half up.
fn scaled(digits: impl Iterator<Item = u8>, shift: i64) -> Result<i128, FixedPointError> {
    let digits: Vec<i128> = digits.map(|digit| i128::from(digit - b'0')).collect();
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let kept = usize::try_from(count + shift.min(0)).unwrap_or(0);
    let mut value = 0_i128;
    for digit in digits.iter().take(kept) {
        value = checked(value * 10 + digit)?;
    }
    let rounds_up =
        shift < 0 && count + shift >= 0 && digits.get(kept).is_some_and(|&digit| digit >= 5);
    value += i128::from(rounds_up);
    if value == 0 {
        return Ok(0);
    }
    for _ in 0..shift.max(0) {
        value = checked(value * 10)?;
    }
    checked(value)
}

const fn checked(value: i128) -> Result<i128, FixedPointError> {
    if value > VALUE_MAX {
        Err(FixedPointError::TooLarge)
    } else {
        Ok(value)
    }
}

/// A value with its decimals, to be printed.
///
/// ```
/// assert_eq!(peaberry_oracle::Price { value: 2_171_251, decimals: 2 }.to_string(), "21712.51");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a pair, written where it is printed"
)]
pub struct Price {
    /// In units of `10^-decimals`.
    pub value: i128,
    /// At most [`DECIMALS_MAX`].
    pub decimals: u8,
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.decimals.min(DECIMALS_MAX);
        let unit = 10_u128.pow(u32::from(decimals));
        let magnitude = self.value.unsigned_abs();
        let sign = if self.value < 0 { "-" } else { "" };
        write!(f, "{sign}{}", magnitude / unit)?;
        if decimals > 0 {
            write!(
                f,
                ".{:0width$}",
                magnitude % unit,
                width = usize::from(decimals)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_price_is_refused_with_its_kind() {
        for text in [
            "", "abc", "1.", ".5", "1,5", "inf", "1e", "0x10", "1e99999", "--1", "1.2.3", " 1",
        ] {
            assert_eq!(
                parse_price(text, 8),
                Err(FixedPointError::NotANumber),
                "{text}"
            );
        }
        assert_eq!(
            parse_price(&"1".repeat(65), 8),
            Err(FixedPointError::NotANumber)
        );
        assert_eq!(
            parse_price(&"9".repeat(64), 8),
            Err(FixedPointError::TooLarge)
        );
        assert_eq!(parse_price("1e-9999", 8), Err(FixedPointError::Zero));
        assert_eq!(parse_price("0.000", 8), Err(FixedPointError::Zero));
        assert_eq!(parse_price("-0", 8), Err(FixedPointError::Zero));
    }

    #[test]
    fn rounding_is_half_up_at_the_last_decimal() {
        assert_eq!(parse_price("0.125", 2), Ok(13));
        assert_eq!(parse_price("0.124", 2), Ok(12));
        assert_eq!(parse_price("0.005", 2), Ok(1));
        assert_eq!(parse_price("0.0049", 2), Err(FixedPointError::Zero));
        assert_eq!(parse_price("123456789e-9", 2), Ok(12));
    }

    proptest! {
        #[test]
        fn a_printed_price_is_read_back(value in 1..=VALUE_MAX, decimals in 0..=DECIMALS_MAX) {
            let text = Price { value, decimals }.to_string();
            prop_assert_eq!(parse_price(&text, decimals), Ok(value));
        }

        #[test]
        fn no_text_panics(text in ".{0,80}", decimals in 0..=DECIMALS_MAX) {
            let _ = parse_price(&text, decimals);
        }
    }
}
