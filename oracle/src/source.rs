//! Where values come from, and what one oracle makes of several.

#[cfg(feature = "csv")]
mod csv;
mod fixed;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod json;
#[cfg(feature = "http")]
mod names;
mod on_chain;
mod panel;
#[cfg(feature = "http")]
mod private_address;

use std::time::Duration;

use async_trait::async_trait;
use peaberry_chain::ChainError;

#[cfg(feature = "csv")]
pub use self::csv::{CsvError, CsvReplay, CsvSource};
pub use self::fixed::FixedSource;
#[cfg(feature = "http")]
pub use self::http::{HttpJsonSource, HttpSourceError, HttpSourceForm, TimePointer, TimeUnit};
pub use self::on_chain::OnChainSource;
pub use self::panel::{
    Panel, PanelError, PanelFormError, PanelPolicy, PegCheck, Rejection, Summary, Verdict, judge,
};
#[cfg(feature = "http")]
pub use self::private_address::is_private_address;
use crate::fixed_point::FixedPointError;

/// Any bytes at all as an HTTP source's answer with a pointer in front, as a price, and as a file of prices: for fuzzing.
#[cfg(all(feature = "http", feature = "csv"))]
#[doc(hidden)]
pub fn decode_any_source_bytes(bytes: &[u8]) {
    let (pointer, body) =
        bytes.split_at(bytes.len().min(usize::from(*bytes.first().unwrap_or(&0))));
    let found = std::str::from_utf8(pointer).map(|pointer| json::text_at(body, pointer));
    if let Ok(Ok(text)) = found {
        assert!(
            text.len() <= body.len(),
            "an answer holds what was found in it"
        );
    }
    for decimals in [0, crate::DECIMALS_MAX, u8::MAX] {
        if let Ok(Ok(price)) = std::str::from_utf8(bytes).map(|it| crate::parse_price(it, decimals))
        {
            assert!(
                (1..=crate::VALUE_MAX).contains(&price),
                "a price is within its bounds"
            );
        }
    }
    if let Ok(replay) = CsvReplay::read(bytes) {
        assert!(replay.times_ms().is_sorted(), "times ascend");
    }
}

/// Something that says what a thing is worth. Callable from any task, many times at once.
///
/// An implementer promises:
/// - `quote` answers within a bound of its own; what hangs becomes [`SourceError::TimedOut`];
/// - what comes from outside is bounded before memory is taken for it, and never panics;
/// - a value is above zero and at most [`VALUE_MAX`](crate::VALUE_MAX), in units of `10^-decimals` as asked for; whatever
///   else the outside says is a typed error;
/// - a dropped future leaves the source usable.
#[async_trait]
pub trait Source: Send + Sync {
    /// What people call it: unique in its panel.
    fn name(&self) -> &str;

    /// What it quotes in: `USD`, `USDC`. A source of another unit than the feed's is worth something only while the two
    /// units are: see [`PegCheck`].
    fn unit(&self) -> &str;

    /// What it says now.
    ///
    /// # Errors
    ///
    /// [`SourceError`]: it has no value worth anything. Ask again later.
    async fn quote(&self, decimals: u8) -> Result<Quote, SourceError>;
}

/// What a source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a pair, made by every source")]
pub struct Quote {
    /// In the smallest unit asked for.
    pub value: i128,
    /// When that was so, in milliseconds since 1970-01-01 UTC: the source's own time where it says one, else the time of
    /// the answer.
    pub observed_at_ms: u64,
}

/// Why a source has no value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// What it says is no price: not a number, negative, zero, or absurdly large.
    #[error("no price: {0}")]
    NotAPrice(#[from] FixedPointError),
    /// Where it should say of when its price is, it says something else.
    #[error("no time: {0}")]
    NotATime(#[source] FixedPointError),
    /// It answers, but not with JSON: a page for people, or noise.
    #[error("no JSON; it begins with {beginning:?}")]
    NotJson {
        /// The first characters.
        beginning: String,
    },
    /// Its JSON has nothing at the place where the price should be.
    #[error("there is nothing at {pointer} in its JSON: has its layout changed?")]
    NothingThere {
        /// The JSON pointer.
        pointer: String,
    },
    /// Its answer is larger than it may be. It was not read to its end.
    #[error("its answer is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It did not answer in time.
    #[error("no answer within {within:?}")]
    TimedOut {
        /// How long it had.
        within: Duration,
    },
    /// It refuses.
    #[error("it answers with status {0}")]
    Status(u16),
    /// It sends us to an address that is none of the internet's. Nothing was asked there.
    #[error(
        "it redirects to {host}, which is a private address: allow that only for a source within your own network"
    )]
    PrivateAddress {
        /// Where to.
        host: String,
    },
    /// It sends us on and on, or to what cannot be followed.
    #[error("its redirect cannot be followed: {0}")]
    Redirect(&'static str),
    /// It could not be reached, or broke off.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The chain could not be asked.
    #[error("the chain cannot be asked")]
    Chain(#[from] ChainError),
    /// It has nothing to say at this time.
    #[error("it has no value at this time")]
    NoValue,
}
