//! How far an oracle may be trusted, from what it has signed.
//!
//! Each oracle keeps its own record of every member: an integer average of what their signed observations were worth.
//! Its opinion, a weight for each member, travels inside its own signed observations. The weights of the next generation
//! are the median of the opinions in an agreed set, member by member: f liars move none of them out of the range of honest
//! opinions. Until the operators [install](crate::Config::succeed) them, the weights of a generation do not change.

use peaberry_core::wire::{self, Reader};

use crate::aggregate::weighted_median;
use crate::config::{Config, MEMBERS_MAX, WEIGHT_MAX, WEIGHT_MIN};
use crate::observation::SignedObservation;
use crate::report::Report;
use crate::wire::DecodeError;

/// What a penalty is measured in: millionths.
const WHOLE: u64 = 1_000_000;
/// The share of the newest round in the average: one 32nd. The average forgets half in 22 rounds.
const NEWEST_SHARE: u64 = 32;
/// A deviation of two percent is as bad as silence.
const DEVIATION_WHOLE_BPS: u128 = 200;
/// A late observation is better than none: at its latest it costs a quarter.
const LATENCY_SHARE: u64 = 4;

/// One oracle's record of all members.
///
/// ```
/// # use peaberry_oracle::Reputation;
/// let reputation = Reputation::new(4);
/// assert_eq!(reputation.weights(), [1000; 4], "everybody begins with a clean record");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reputation {
    /// By member: the average penalty, in millionths, times [`NEWEST_SHARE`] so that small steps are not lost.
    averages: Vec<u64>,
}

impl Reputation {
    /// A clean record for so many members.
    #[must_use]
    pub fn new(members: usize) -> Self {
        Self {
            averages: vec![0; members],
        }
    }

    /// Takes one agreed round into the record: deviation from the answers, latency behind the report, and silence, all
    /// from the signed set that the report was made of.
    pub fn record(&mut self, config: &Config, report: &Report, observations: &[SignedObservation]) {
        for (number, average) in self.averages.iter_mut().enumerate() {
            let signed = observations
                .iter()
                .find(|it| usize::from(it.member) == number);
            let penalty = signed.map_or(WHOLE, |signed| penalty(config, report, signed));
            *average = *average - *average / NEWEST_SHARE + penalty;
        }
    }

    /// The average penalty of each member, in millionths: 0 for a flawless record.
    #[must_use]
    pub fn penalties(&self) -> Vec<u32> {
        let penalty = |average: &u64| u32::try_from(average / NEWEST_SHARE).unwrap_or(u32::MAX);
        self.averages.iter().map(penalty).collect()
    }

    /// The weight that the record gives each member: [`WEIGHT_MAX`] for a flawless one, down to [`WEIGHT_MIN`].
    #[must_use]
    pub fn weights(&self) -> Vec<u16> {
        let span = u64::from(WEIGHT_MAX - WEIGHT_MIN);
        let weight = |average: &u64| {
            let lost = (average / NEWEST_SHARE).min(WHOLE) * span / WHOLE;
            WEIGHT_MAX - u16::try_from(lost).unwrap_or(WEIGHT_MAX - WEIGHT_MIN)
        };
        self.averages.iter().map(weight).collect()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_varint(&mut out, self.averages.len() as u64);
        for average in &self.averages {
            wire::put_varint(&mut out, *average);
        }
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let count = reader.length(MEMBERS_MAX)?;
        let mut averages = Vec::with_capacity(count);
        for _ in 0..count {
            averages.push(reader.varint()?.min(WHOLE * NEWEST_SHARE));
        }
        reader.finish()?;
        Ok(Self { averages })
    }
}

/// What one signed observation costs its author, in millionths.
fn penalty(config: &Config, report: &Report, signed: &SignedObservation) -> u64 {
    let seen = &signed.observation;
    let mut total = 0;
    for answer in &report.answers {
        let value = seen.values.get(usize::from(answer.feed)).copied().flatten();
        total += value.map_or(WHOLE, |value| deviation(answer.value, value));
    }
    let feeds = report.answers.len().max(1) as u64;
    let late_ms = report.observed_at_ms.saturating_sub(seen.observed_at_ms);
    let latency_max_ms = config.timing().latency_max_ms.max(1);
    let lateness =
        WHOLE.saturating_mul(late_ms.min(latency_max_ms)) / latency_max_ms / LATENCY_SHARE;
    (total / feeds + lateness).min(WHOLE)
}

fn deviation(answer: i128, value: i128) -> u64 {
    let whole = (answer.unsigned_abs() * DEVIATION_WHOLE_BPS / 10_000).max(1);
    let apart = answer.abs_diff(value).min(whole);
    // Both within 10^30, so a million times that fits.
    u64::try_from(apart * u128::from(WHOLE) / whole).unwrap_or(WHOLE)
}

/// The weights that the authors of an agreed set would give: by member, the median of those who have an opinion; `None`
/// while fewer than 2f+1 have one.
///
/// f liars move no weight out of the range of the honest opinions.
#[must_use]
pub fn agreed_weights(config: &Config, observations: &[SignedObservation]) -> Option<Vec<u16>> {
    let opinions: Vec<&[u16]> = observations
        .iter()
        .map(|signed| signed.observation.standing.as_slice())
        .filter(|standing| standing.len() == config.members().len())
        .collect();
    if opinions.len() < config.quorum() {
        return None;
    }
    (0..config.members().len())
        .map(|member| {
            let given = opinions.iter().filter_map(|opinion| opinion.get(member));
            let median = weighted_median(given.map(|weight| (i128::from(*weight), 1)))?;
            u16::try_from(median).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::aggregate;
    use crate::observation::Observation;
    use crate::round_id::RoundId;
    use crate::testing::{config, key};

    fn round_of(
        config: &Config,
        seen: &[(u8, i128, u64)],
        standing: &[u16],
    ) -> (Report, Vec<SignedObservation>) {
        let round = RoundId::new(1, 1).unwrap();
        let set: Vec<_> = seen
            .iter()
            .map(|(member, value, at)| {
                let observation = Observation {
                    config: config.digest(),
                    round,
                    observed_at_ms: *at,
                    values: vec![Some(*value)],
                    standing: standing.to_vec(),
                };
                observation.sign(config, *member, &*key(*member))
            })
            .collect();
        (aggregate(config, round, &set), set)
    }

    #[test]
    fn lies_silence_and_lateness_cost_weight_and_are_forgiven_in_time() {
        let config = config(1);
        let mut record = Reputation::new(4);
        let now = 1_000_000;
        // Member 1 lies by half a percent, 2 is late, 3 is silent.
        for _ in 0..400 {
            let (report, set) = round_of(
                &config,
                &[
                    (0, 10_000, now),
                    (1, 10_050, now),
                    (2, 10_000, now - 15_000),
                ],
                &[],
            );
            record.record(&config, &report, &set);
        }
        let weights = record.weights();
        assert_eq!(weights[0], WEIGHT_MAX);
        assert!(
            (700..800).contains(&weights[1]),
            "a quarter of the worst lie: {weights:?}"
        );
        assert!(
            (860..910).contains(&weights[2]),
            "half of the greatest lateness: {weights:?}"
        );
        assert!(weights[3] <= WEIGHT_MIN + 1, "{weights:?}");
        assert_eq!(
            Reputation::from_bytes(&record.to_bytes()),
            Ok(record.clone())
        );

        for _ in 0..400 {
            let (report, set) = round_of(&config, &[0, 1, 2, 3].map(|it| (it, 10_000, now)), &[]);
            record.record(&config, &report, &set);
        }
        assert!(
            record.weights().iter().all(|it| *it >= WEIGHT_MAX - 1),
            "{:?}",
            record.weights()
        );
    }

    #[test]
    fn f_liars_move_no_agreed_weight_out_of_the_honest_opinions() {
        let config = config(1);
        let opinion = |member: u8, standing: [u16; 4]| {
            let (_, mut set) = round_of(&config, &[(member, 100, 5)], &standing);
            set.remove(0)
        };
        let set = [
            opinion(0, [1000, 990, 980, 150]),
            opinion(1, [1000, 1000, 970, 160]),
            // Praises itself and damns the others.
            opinion(3, [100, 100, 100, 1000]),
        ];
        let agreed = agreed_weights(&config, &set).unwrap();
        assert_eq!(agreed, [1000, 990, 970, 160]);
        assert_eq!(agreed_weights(&config, &set[..2]), None);
        assert_eq!(config.succeed(&agreed).unwrap().form().generation, 2);
    }
}
