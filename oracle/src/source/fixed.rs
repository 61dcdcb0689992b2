use async_trait::async_trait;

use super::{Quote, Source, SourceError};
use crate::fixed_point::parse_price;

/// A source that says what it was told to say: for tests, and for what never changes.
///
/// ```
/// use peaberry_oracle::source::{FixedSource, Source};
///
/// let source = FixedSource::new("desk", "USD", "1.00", 1_678_492_800_000);
/// let quote = futures_util::FutureExt::now_or_never(source.quote(8)).unwrap().unwrap();
/// assert_eq!(quote.value, 100_000_000);
/// ```
#[derive(Clone, Debug)]
pub struct FixedSource {
    name: String,
    unit: String,
    text: String,
    observed_at_ms: u64,
}

impl FixedSource {
    /// Says `text`, a decimal number, as seen at `observed_at_ms`.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        unit: impl Into<String>,
        text: impl Into<String>,
        observed_at_ms: u64,
    ) -> Self {
        Self {
            name: name.into(),
            unit: unit.into(),
            text: text.into(),
            observed_at_ms,
        }
    }
}

#[async_trait]
impl Source for FixedSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> &str {
        &self.unit
    }

    async fn quote(&self, decimals: u8) -> Result<Quote, SourceError> {
        Ok(Quote {
            value: parse_price(&self.text, decimals)?,
            observed_at_ms: self.observed_at_ms,
        })
    }
}
