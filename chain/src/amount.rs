//! How much.

use std::fmt;

use alloy_primitives::U256;

use crate::ChainError;
use crate::chain_id::excerpt;

/// A quantity of an asset in its smallest unit, and how many decimals people write it with.
///
/// Nothing is ever rounded: what does not fit is an error. Two amounts add up only when their decimals agree, which
/// keeps wei from being added to lamports; amounts of two assets with the same decimals are the caller's to tell apart.
///
/// ```
/// use peaberry_chain::{Amount, ChainError};
///
/// let price = Amount::parse("1.25", 18)?;
/// let tip = Amount::parse("0.25", 18)?;
/// assert_eq!(price.checked_add(tip)?.to_string(), "1.5");
/// assert!(matches!(Amount::parse("0.1234567", 6), Err(ChainError::InvalidAmount { .. })));
/// assert_eq!(price.to_u64()?, 1_250_000_000_000_000_000);
/// # Ok::<(), ChainError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount {
    units: U256,
    decimals: u8,
}

impl Amount {
    /// `units` of the smallest unit.
    #[must_use]
    pub const fn new(units: U256, decimals: u8) -> Self {
        Self { units, decimals }
    }

    /// `wei` of an EVM chain's own coin: 18 decimals.
    #[must_use]
    pub fn wei(wei: u128) -> Self {
        Self::new(U256::from(wei), 18)
    }

    /// `lamports` of SOL: 9 decimals.
    #[must_use]
    pub fn lamports(lamports: u64) -> Self {
        Self::new(U256::from(lamports), 9)
    }

    /// Reads what people write: digits, and at most `decimals` of them behind a point.
    ///
    /// # Errors
    ///
    /// [`InvalidAmount`](ChainError::InvalidAmount): signs, exponents, spaces, or digits too fine for the asset.
    /// [`AmountOverflow`](ChainError::AmountOverflow): more than 256 bits.
    pub fn parse(text: &str, decimals: u8) -> Result<Self, ChainError> {
        let invalid = || ChainError::InvalidAmount {
            text: excerpt(text),
            decimals,
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let is_valid = !whole.is_empty()
            && !text.ends_with('.')
            && is_digits(whole)
            && is_digits(fraction)
            && fraction.len() <= usize::from(decimals);
        if !is_valid {
            return Err(invalid());
        }
        let padding = usize::from(decimals).saturating_sub(fraction.len());
        let digits = whole
            .bytes()
            .chain(fraction.bytes())
            .chain(std::iter::repeat_n(b'0', padding));
        let mut units = U256::ZERO;
        for digit in digits {
            units = units
                .checked_mul(U256::from(10))
                .and_then(|units| units.checked_add(U256::from(digit.wrapping_sub(b'0'))))
                .ok_or(ChainError::AmountOverflow { bits: 256 })?;
        }
        Ok(Self::new(units, decimals))
    }

    /// How many of the smallest unit.
    #[must_use]
    pub const fn units(&self) -> U256 {
        self.units
    }

    /// How many digits people write behind the point.
    #[must_use]
    pub const fn decimals(&self) -> u8 {
        self.decimals
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.units.is_zero()
    }

    /// The units as 64 bits, which is all that Solana takes.
    ///
    /// # Errors
    ///
    /// [`ChainError::AmountOverflow`]: they do not fit.
    pub fn to_u64(&self) -> Result<u64, ChainError> {
        u64::try_from(self.units).map_err(|_too_large| ChainError::AmountOverflow { bits: 64 })
    }

    /// The units as 128 bits.
    ///
    /// # Errors
    ///
    /// [`ChainError::AmountOverflow`]: they do not fit.
    pub fn to_u128(&self) -> Result<u128, ChainError> {
        u128::try_from(self.units).map_err(|_too_large| ChainError::AmountOverflow { bits: 128 })
    }

    /// The sum.
    ///
    /// # Errors
    ///
    /// [`ChainError::AmountOverflow`]: over 256 bits. [`ChainError::DecimalsDiffer`]: two kinds of asset.
    pub fn checked_add(self, other: Self) -> Result<Self, ChainError> {
        self.expect_same_decimals(other)?;
        let units = self.units.checked_add(other.units);
        let units = units.ok_or(ChainError::AmountOverflow { bits: 256 })?;
        Ok(Self { units, ..self })
    }

    /// The difference.
    ///
    /// # Errors
    ///
    /// [`ChainError::AmountOverflow`]: `other` is more. [`ChainError::DecimalsDiffer`]: two kinds of asset.
    pub fn checked_sub(self, other: Self) -> Result<Self, ChainError> {
        self.expect_same_decimals(other)?;
        let units = self.units.checked_sub(other.units);
        let units = units.ok_or(ChainError::AmountOverflow { bits: 256 })?;
        Ok(Self { units, ..self })
    }

    /// The same quantity of an asset with other decimals, such as a token's twin on another chain.
    ///
    /// # Errors
    ///
    /// [`ChainError::InvalidAmount`]: digits would be lost. [`ChainError::AmountOverflow`]: over 256 bits.
    pub fn rescale(self, decimals: u8) -> Result<Self, ChainError> {
        let steps = U256::from(self.decimals.abs_diff(decimals));
        let factor = U256::from(10)
            .checked_pow(steps)
            .ok_or(ChainError::AmountOverflow { bits: 256 })?;
        let units = if decimals >= self.decimals {
            let units = self.units.checked_mul(factor);
            units.ok_or(ChainError::AmountOverflow { bits: 256 })?
        } else if (self.units % factor).is_zero() {
            self.units / factor
        } else {
            return Err(ChainError::InvalidAmount {
                text: self.to_string(),
                decimals,
            });
        };
        Ok(Self { units, decimals })
    }

    const fn expect_same_decimals(self, other: Self) -> Result<(), ChainError> {
        if self.decimals == other.decimals {
            Ok(())
        } else {
            Err(ChainError::DecimalsDiffer {
                left: self.decimals,
                right: other.decimals,
            })
        }
    }
}

impl fmt::Display for Amount {
    /// As people write it, without zeros at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.decimals);
        let digits = format!("{:0>width$}", self.units.to_string(), width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        match fraction.trim_end_matches('0') {
            "" => f.pad(whole),
            fraction => f.pad(&format!("{whole}.{fraction}")),
        }
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({} units)", self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for (text, decimals) in [
            ("0", 0),
            ("0", 18),
            ("1.5", 18),
            ("0.000001", 6),
            ("123456789", 9),
        ] {
            assert_eq!(Amount::parse(text, decimals).unwrap().to_string(), text);
        }
        let most = Amount::new(U256::MAX, 18);
        assert_eq!(Amount::parse(&most.to_string(), 18).unwrap(), most);
    }

    #[test]
    fn nothing_is_rounded_wrapped_or_guessed() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            " 1",
            "1,5",
            "1.2.3",
            "0.0000000000000000001",
            "\u{661}",
        ] {
            assert!(
                matches!(
                    Amount::parse(text, 18),
                    Err(ChainError::InvalidAmount { .. })
                ),
                "{text}"
            );
        }
        let over = format!("{}0", U256::MAX);
        assert!(matches!(
            Amount::parse(&over, 0),
            Err(ChainError::AmountOverflow { bits: 256 })
        ));
        assert!(
            Amount::new(U256::MAX, 18)
                .checked_add(Amount::wei(1))
                .is_err()
        );
        assert!(
            Amount::lamports(0)
                .checked_sub(Amount::lamports(1))
                .is_err()
        );
        assert!(Amount::lamports(1).checked_add(Amount::wei(1)).is_err());
        assert!(Amount::new(U256::from(1) << 64, 9).to_u64().is_err());
        assert_eq!(Amount::lamports(u64::MAX).to_u64().unwrap(), u64::MAX);
    }

    #[test]
    fn rescaling_loses_nothing() {
        let usdc = Amount::parse("2.5", 6).unwrap();
        let wide = usdc.rescale(18).unwrap();
        assert_eq!(wide.rescale(6).unwrap(), usdc);
        assert!(wide.rescale(0).is_err());
        assert!(usdc.rescale(u8::MAX).is_err());
    }
}
