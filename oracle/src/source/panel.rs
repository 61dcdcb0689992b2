use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use peaberry_core::Clock;

use super::{Quote, Source, SourceError};
use crate::feed::{Edge, is_apart};

/// What a source of another unit must fulfil to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one looks or one does not")]
pub enum PegCheck {
    /// Its unit's implied rate, its value over the median of the feed's own-unit sources, is at most so many hundredths of
    /// a percent away from one. Without a source of the feed's own unit nothing can be implied, and it does not count. Where
    /// half of the own-unit sources are further than that from the other half, nobody can tell which half is right, and the
    /// panel has no value.
    Band {
        /// How far.
        bps: u32,
    },
    /// Every unit is taken for the feed's. A unit that loses its peg drags the price along.
    Off,
}

/// How one oracle makes one value out of several sources.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a form to fill in; a new field is a decision"
)]
pub struct PanelPolicy {
    /// The feed's unit.
    pub unit: String,
    /// Fewer sources than this make no value.
    pub sources_min: usize,
    /// What is older than so many milliseconds does not count; nor does what is newer than now by more.
    pub age_max_ms: u64,
    /// For sources of other units.
    pub peg: PegCheck,
    /// A source further from the median than so many times the median deviation (MAD) is an outlier. 3 to 5 are usual.
    pub outlier_mads: u32,
    /// What is within so many hundredths of a percent of the median is no outlier, however close the others are.
    pub outlier_floor_bps: u32,
}

impl PanelPolicy {
    /// At least two sources, a minute old at most, pegged within 1 %, outliers from five MADs and 0.5 % on.
    #[must_use]
    pub fn new(unit: impl Into<String>) -> Self {
        Self {
            unit: unit.into(),
            sources_min: 2,
            age_max_ms: 60_000,
            peg: PegCheck::Band { bps: 100 },
            outlier_mads: 5,
            outlier_floor_bps: 50,
        }
    }
}

/// Why a source does not count.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// It has no value.
    Failed(SourceError),
    /// Its value is too old.
    Stale {
        /// How old.
        age_ms: u64,
    },
    /// Its value is from the future.
    Early {
        /// How far.
        ahead_ms: u64,
    },
    /// Its unit has lost its peg.
    OffPeg {
        /// What its unit is worth by this source, in millionths of the feed's: below a million when the unit is worth less.
        rate_ppm: u64,
    },
    /// Nothing tells what its unit is worth.
    NoAnchor,
    /// It is too far from the others.
    Outlier {
        /// The others' median.
        median: i128,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::Stale { age_ms } => write!(f, "{age_ms} ms old"),
            Self::Early { ahead_ms } => write!(f, "{ahead_ms} ms in the future"),
            Self::OffPeg { rate_ppm } => {
                write!(f, "its unit is worth {rate_ppm} millionths of the feed's")
            }
            Self::NoAnchor => {
                f.write_str("no source in the feed's own unit tells what its unit is worth")
            }
            Self::Outlier { median } => write!(f, "too far from the median of {median}"),
        }
    }
}

/// What became of one source.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "three fields that stay")]
pub struct Verdict {
    /// The source's name.
    pub source: String,
    /// What it said, if it said anything.
    pub quote: Option<Quote>,
    /// Why it does not count; `None`: it does.
    pub rejection: Option<Rejection>,
}

/// What a panel came to.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "two fields that stay")]
pub struct Summary {
    /// The value to observe, or why there is none.
    pub value: Result<i128, PanelError>,
    /// About each source, in the order in which they were given.
    pub verdicts: Vec<Verdict>,
}

/// Why a panel has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PanelError {
    /// Too few sources are left.
    #[error("{count} sources count: {needed} are needed")]
    TooFew {
        /// How many.
        count: usize,
        /// How many must be.
        needed: usize,
    },
    /// Sources of other units are to be measured by those of the feed's own, half of which contradict the other half.
    #[error(
        "half of the sources in the feed's own unit say {low} or less, the others {high} or more: nothing tells what other \
         units are worth"
    )]
    Split {
        /// The greatest of the lower half.
        low: i128,
        /// The least of the upper half.
        high: i128,
    },
}

/// Makes one value out of what the sources say: what is stale goes first, then what has lost its peg, then outliers by the
/// median absolute deviation (Hampel's rule); the value is the median of the rest. Integers only.
///
/// Each entry is a source's name, its unit, and what it said.
///
/// # Example
///
/// ```
/// use peaberry_oracle::source::{PanelPolicy, Quote, Rejection, judge};
///
/// let now_ms = 1_000;
/// let says = |value| Ok(Quote { value, observed_at_ms: now_ms });
/// // USDC is worth 0.88 dollars, so Bitcoin costs more of them.
/// let said = vec![("a", "USD", says(20_000)), ("b", "USD", says(20_010)), ("c", "USDC", says(22_700))];
/// let summary = judge(&PanelPolicy::new("USD"), now_ms, said);
/// assert_eq!(summary.value, Ok(20_005));
/// assert!(matches!(summary.verdicts[2].rejection, Some(Rejection::OffPeg { .. })));
/// ```
#[must_use]
pub fn judge<'a>(
    policy: &PanelPolicy,
    now_ms: u64,
    said: Vec<(&'a str, &'a str, Result<Quote, SourceError>)>,
) -> Summary {
    let mut entries: Vec<Entry<'_>> = said
        .into_iter()
        .map(|(source, unit, quote)| Entry::new(policy, now_ms, source, unit, quote))
        .collect();
    let checked = check_pegs(policy, &mut entries);
    reject_outliers(policy, &mut entries);
    let value = checked.and_then(|()| value_of(policy, &entries));
    let verdicts = entries.into_iter().map(Entry::into_verdict).collect();
    Summary { value, verdicts }
}

/// The median of what is left.
fn value_of(policy: &PanelPolicy, entries: &[Entry<'_>]) -> Result<i128, PanelError> {
    let counting = values(entries, |_| true);
    let (count, needed) = (counting.len(), policy.sources_min.max(1));
    let value = median(counting).filter(|_| count >= needed);
    value.ok_or(PanelError::TooFew { count, needed })
}

/// One source under judgement.
struct Entry<'a> {
    source: &'a str,
    unit: &'a str,
    quote: Option<Quote>,
    rejection: Option<Rejection>,
}

impl<'a> Entry<'a> {
    fn new(
        policy: &PanelPolicy,
        now_ms: u64,
        source: &'a str,
        unit: &'a str,
        said: Result<Quote, SourceError>,
    ) -> Self {
        let (quote, rejection) = match said {
            Err(error) => (None, Some(Rejection::Failed(error))),
            Ok(quote) => {
                let age_ms = now_ms.saturating_sub(quote.observed_at_ms);
                let ahead_ms = quote.observed_at_ms.saturating_sub(now_ms);
                let rejection = if age_ms > policy.age_max_ms {
                    Some(Rejection::Stale { age_ms })
                } else if ahead_ms > policy.age_max_ms {
                    Some(Rejection::Early { ahead_ms })
                } else {
                    None
                };
                (Some(quote), rejection)
            }
        };
        Self {
            source,
            unit,
            quote,
            rejection,
        }
    }

    fn counting(&self) -> Option<i128> {
        self.rejection
            .is_none()
            .then_some(self.quote)?
            .map(|quote| quote.value)
    }

    fn into_verdict(self) -> Verdict {
        Verdict {
            source: self.source.to_owned(),
            quote: self.quote,
            rejection: self.rejection,
        }
    }
}

fn values(entries: &[Entry<'_>], pick: impl Fn(&Entry<'_>) -> bool) -> Vec<i128> {
    entries
        .iter()
        .filter(|entry| pick(entry))
        .filter_map(Entry::counting)
        .collect()
}

/// The median; of an even number the middle between the two in the middle, rounded down.
fn median(values: Vec<i128>) -> Option<i128> {
    let (low, high) = middle(values)?;
    Some(i128::midpoint(low, high))
}

/// The two in the middle; of an odd number one twice.
fn middle(mut values: Vec<i128>) -> Option<(i128, i128)> {
    values.sort_unstable();
    let last = values.len().checked_sub(1)?;
    Some((*values.get(last / 2)?, *values.get(values.len() / 2)?))
}

fn check_pegs(policy: &PanelPolicy, entries: &mut [Entry<'_>]) -> Result<(), PanelError> {
    let PegCheck::Band { bps } = policy.peg else {
        return Ok(());
    };
    let is_foreign = |entry: &Entry<'_>| entry.unit != policy.unit;
    let own = middle(values(entries, |entry| !is_foreign(entry)));
    let split = own.filter(|(low, high)| is_apart(*low, *high, bps, Edge::DoesNotCount));
    let anchor = own
        .filter(|_| split.is_none())
        .map(|(low, high)| i128::midpoint(low, high));
    for entry in entries.iter_mut().filter(|entry| is_foreign(entry)) {
        let Some(value) = entry.counting() else {
            continue;
        };
        entry.rejection = match anchor {
            None => Some(Rejection::NoAnchor),
            Some(anchor) if is_apart(anchor, value, bps, Edge::DoesNotCount) => {
                Some(Rejection::OffPeg {
                    // What costs 22,700 of a unit and 20,000 of ours: the unit is worth 20,000 / 22,700.
                    rate_ppm: u64::try_from(anchor.saturating_mul(1_000_000) / value.max(1))
                        .unwrap_or(u64::MAX),
                })
            }
            Some(_) => None,
        };
    }
    split.map_or(Ok(()), |(low, high)| Err(PanelError::Split { low, high }))
}

fn reject_outliers(policy: &PanelPolicy, entries: &mut [Entry<'_>]) {
    let counting = values(entries, |_| true);
    let Some(middle) = median(counting.clone()) else {
        return;
    };
    let distances = counting
        .iter()
        .map(|value| (value - middle).abs())
        .collect();
    let mad = median(distances).unwrap_or(0);
    for entry in entries.iter_mut() {
        let Some(value) = entry.counting() else {
            continue;
        };
        let is_far = (value - middle).abs() > mad.saturating_mul(i128::from(policy.outlier_mads));
        if is_far && is_apart(middle, value, policy.outlier_floor_bps, Edge::DoesNotCount) {
            entry.rejection = Some(Rejection::Outlier { median: middle });
        }
    }
}

/// Why sources and a policy make no panel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PanelFormError {
    /// Two sources of one name: which of them was rejected could not be told, and one may have been taken twice.
    #[error("two sources are called {0}: each needs a name of its own")]
    RepeatedName(String),
    /// There could never be a value, or a value of nothing.
    #[error("{sources_min} of {sources} sources must count: choose 1 to {sources}")]
    SourcesMin {
        /// How many must count.
        sources_min: usize,
        /// How many there are.
        sources: usize,
    },
    /// Every source beside the median would be an outlier.
    #[error(
        "an outlier from 0 median deviations on would be nearly every source: 3 to 5 are usual"
    )]
    OutlierMads,
}

fn check(sources: &[Arc<dyn Source>], policy: &PanelPolicy) -> Result<(), PanelFormError> {
    let mut names = BTreeSet::new();
    if let Some(twice) = sources.iter().find(|it| !names.insert(it.name())) {
        return Err(PanelFormError::RepeatedName(twice.name().to_owned()));
    }
    let (sources_min, sources) = (policy.sources_min, sources.len());
    if sources_min == 0 || sources_min > sources {
        return Err(PanelFormError::SourcesMin {
            sources_min,
            sources,
        });
    }
    if policy.outlier_mads == 0 {
        return Err(PanelFormError::OutlierMads);
    }
    Ok(())
}

/// Several sources of one feed, asked together.
pub struct Panel {
    sources: Vec<Arc<dyn Source>>,
    policy: PanelPolicy,
    decimals: u8,
    within: Duration,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Panel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.sources.iter().map(|source| source.name()).collect();
        f.debug_struct("Panel")
            .field("sources", &names)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Panel {
    /// Asks `sources` for values of so many decimals, and waits for none of them longer than `within`.
    ///
    /// # Errors
    ///
    /// [`PanelFormError`] says what cannot be.
    pub fn new(
        sources: Vec<Arc<dyn Source>>,
        policy: PanelPolicy,
        decimals: u8,
        within: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PanelFormError> {
        check(&sources, &policy)?;
        Ok(Self {
            sources,
            policy,
            decimals,
            within,
            clock,
        })
    }

    /// Asks all at once, and judges what they say. Needs the runtime that the sources need, and none of its own.
    pub async fn read(&self) -> Summary {
        let deadline = self.clock.now() + self.within;
        let asked = self.sources.iter().map(|source| async move {
            let quote = source.quote(self.decimals);
            match select(quote, Box::pin(self.clock.sleep_until(deadline))).await {
                Either::Left((quote, _)) => quote,
                Either::Right(_) => Err(SourceError::TimedOut {
                    within: self.within,
                }),
            }
        });
        let quotes = join_all(asked).await;
        let said = self
            .sources
            .iter()
            .zip(quotes)
            .map(|(source, quote)| (source.name(), source.unit(), quote));
        let now_ms = self.clock.timestamp().as_unix_nanos() / 1_000_000;
        judge(&self.policy, now_ms, said.collect())
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use peaberry_core::SystemClock;
    use proptest::prelude::*;

    use super::*;
    use crate::VALUE_MAX;
    use crate::source::FixedSource;

    const NOW: u64 = 10_000_000;

    fn says(value: i128) -> Result<Quote, SourceError> {
        Ok(Quote {
            value,
            observed_at_ms: NOW,
        })
    }

    fn policy() -> PanelPolicy {
        PanelPolicy::new("USD")
    }

    fn rejected(summary: &Summary) -> Vec<bool> {
        summary
            .verdicts
            .iter()
            .map(|it| it.rejection.is_some())
            .collect()
    }

    #[test]
    fn an_outlier_is_left_out_and_close_neighbours_are_not() {
        let said = vec![
            ("a", "USD", says(10_000)),
            ("b", "USD", says(10_000)),
            ("c", "USD", says(10_020)),
            ("d", "USD", says(90_000)),
        ];
        let summary = judge(&policy(), NOW, said);
        assert_eq!(summary.value, Ok(10_000));
        assert_eq!(rejected(&summary), [false, false, false, true]);
        assert!(matches!(
            summary.verdicts[3].rejection,
            Some(Rejection::Outlier { median: 10_010 })
        ));
    }

    #[test]
    fn what_is_stale_or_from_the_future_does_not_count() {
        let at = |observed_at_ms| {
            Ok(Quote {
                value: 100,
                observed_at_ms,
            })
        };
        let said = vec![
            ("a", "USD", at(NOW - 60_001)),
            ("b", "USD", at(NOW + 60_001)),
            ("c", "USD", at(NOW - 60_000)),
            ("d", "USD", at(NOW)),
        ];
        let summary = judge(&policy(), NOW, said);
        assert_eq!(rejected(&summary), [true, true, false, false]);
        assert!(matches!(
            summary.verdicts[0].rejection,
            Some(Rejection::Stale { age_ms: 60_001 })
        ));
        assert!(matches!(
            summary.verdicts[1].rejection,
            Some(Rejection::Early { ahead_ms: 60_001 })
        ));
    }

    #[test]
    fn too_few_sources_make_no_value() {
        let said = vec![
            ("a", "USD", says(100)),
            ("b", "USD", Err(SourceError::Status(503))),
        ];
        assert_eq!(
            judge(&policy(), NOW, said).value,
            Err(PanelError::TooFew {
                count: 1,
                needed: 2
            })
        );
        let mut none = policy();
        none.sources_min = 0;
        assert_eq!(
            judge(&none, NOW, Vec::new()).value,
            Err(PanelError::TooFew {
                count: 0,
                needed: 1
            })
        );
    }

    /// The band's edge belongs to it; without an own-unit source no other unit is worth anything.
    #[test]
    fn another_unit_counts_within_its_band_alone() {
        let said = |usdc| vec![("a", "USD", says(10_000)), ("b", "USDC", says(usdc))];
        assert_eq!(judge(&policy(), NOW, said(10_100)).value, Ok(10_050));
        let off = judge(&policy(), NOW, said(10_101));
        assert!(
            matches!(
                off.verdicts[1].rejection,
                Some(Rejection::OffPeg { rate_ppm: 990_000 })
            ),
            "{off:?}"
        );
        let alone = judge(
            &policy(),
            NOW,
            vec![("b", "USDC", says(10_000)), ("c", "USDT", says(10_000))],
        );
        assert!(
            alone
                .verdicts
                .iter()
                .all(|it| matches!(it.rejection, Some(Rejection::NoAnchor)))
        );

        let mut off_guard = policy();
        off_guard.peg = PegCheck::Off;
        let dragged = vec![
            ("a", "USD", says(10_000)),
            ("b", "USDC", says(11_000)),
            ("c", "USDC", says(11_000)),
        ];
        assert_eq!(judge(&off_guard, NOW, dragged).value, Ok(11_000));
    }

    /// One of two is wrong, and the middle between them is nobody's price: neither it nor what it implies is believed. With
    /// a third one in the same unit the median stands again.
    #[test]
    fn own_unit_sources_that_contradict_each_other_are_no_anchor() {
        let mut said = vec![
            ("a", "USD", says(20_000)),
            ("b", "USD", says(30_000)),
            ("c", "USDC", says(20_010)),
            ("d", "USDC", says(20_010)),
            ("e", "USDC", says(20_010)),
        ];
        let split = judge(&policy(), NOW, said.clone());
        let (low, high) = (20_000, 30_000);
        assert_eq!(split.value, Err(PanelError::Split { low, high }));
        assert_eq!(rejected(&split), [false, false, true, true, true]);
        // Nor where nobody of another unit asks for an anchor.
        let alone = judge(&policy(), NOW, said[..2].to_vec());
        assert_eq!(alone.value, Err(PanelError::Split { low, high }));
        said.push(("f", "USD", says(20_020)));
        assert_eq!(judge(&policy(), NOW, said.clone()).value, Ok(20_010));
        // Two to two.
        said.push(("g", "USD", says(30_000)));
        let (low, high) = (20_020, 30_000);
        let split = judge(&policy(), NOW, said);
        assert_eq!(split.value, Err(PanelError::Split { low, high }));
    }

    /// A source that never answers.
    struct Hanging;

    #[async_trait]
    impl Source for Hanging {
        fn name(&self) -> &str {
            "hanging"
        }

        fn unit(&self) -> &str {
            "USD"
        }

        async fn quote(&self, _decimals: u8) -> Result<Quote, SourceError> {
            std::future::pending().await
        }
    }

    fn fixed(name: &str, price: &str) -> Arc<dyn Source> {
        let now_ms = SystemClock::new().timestamp().as_unix_nanos() / 1_000_000;
        Arc::new(FixedSource::new(name, "USD", price, now_ms))
    }

    fn panel(sources: Vec<Arc<dyn Source>>, policy: PanelPolicy) -> Result<Panel, PanelFormError> {
        let within = Duration::from_millis(50);
        Panel::new(sources, policy, 2, within, Arc::new(SystemClock::new()))
    }

    #[tokio::test]
    async fn a_source_that_hangs_is_not_waited_for_and_the_others_count() {
        let sources = vec![
            fixed("a", "100.00"),
            Arc::new(Hanging),
            fixed("b", "100.02"),
        ];
        let summary = panel(sources, policy()).unwrap().read().await;
        assert_eq!(summary.value, Ok(10_001));
        assert_eq!(rejected(&summary), [false, true, false]);
        assert!(matches!(
            summary.verdicts[1].rejection,
            Some(Rejection::Failed(SourceError::TimedOut { .. }))
        ));
    }

    #[test]
    fn what_makes_no_panel_is_refused_with_the_reason() {
        let two = || vec![fixed("a", "1"), fixed("b", "1")];
        let refused = |sources, change: &dyn Fn(&mut PanelPolicy)| {
            let mut policy = policy();
            change(&mut policy);
            panel(sources, policy).err()
        };
        assert_eq!(refused(two(), &|_| {}), None);
        let twins = vec![fixed("a", "1"), fixed("b", "1"), fixed("a", "2")];
        assert_eq!(
            refused(twins, &|_| {}),
            Some(PanelFormError::RepeatedName("a".into()))
        );
        for sources_min in [0, 3] {
            assert_eq!(
                refused(two(), &|it| it.sources_min = sources_min),
                Some(PanelFormError::SourcesMin {
                    sources_min,
                    sources: 2
                })
            );
        }
        assert_eq!(
            refused(two(), &|it| it.outlier_mads = 0),
            Some(PanelFormError::OutlierMads)
        );
    }

    proptest! {
        /// Whatever the sources say, the value lies between two of them, and nothing overflows.
        #[test]
        fn the_value_lies_among_the_sources(said in prop::collection::vec((1..=VALUE_MAX, any::<bool>()), 0..8)) {
            let entries = said.iter().map(|(value, own)| ("s", if *own { "USD" } else { "EUR" }, says(*value)));
            if let Ok(value) = judge(&policy(), NOW, entries.collect()).value {
                prop_assert!(said.iter().any(|(it, _)| *it <= value) && said.iter().any(|(it, _)| *it >= value));
            }
        }
    }
}
