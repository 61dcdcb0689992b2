//! How far an oracle may be trusted, from what it has signed.
//!
//! Each oracle keeps its own record of every member: an integer average of what their signed observations were worth.
//! Its opinion, a weight for each member, travels inside its own signed observations. The weights of the next generation
//! are the median of the opinions in an agreed set, member by member: f liars move none of them out of the range of honest
//! opinions. Until the operators [install](crate::Config::succeed) them, the weights of a generation do not change.

use peaberry_chain::EvmAddress;
use peaberry_core::wire::{self, Reader};

use crate::aggregate::weighted_median;
use crate::config::{Config, MEMBERS_MAX, Member, WEIGHT_MAX, WEIGHT_MIN};
use crate::observation::SignedObservation;
use crate::report::Report;
use crate::schedule::leader_of;
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
    /// By member: whose newest reports, as leaders, were made without it; a bit for each leader.
    left_out_by: Vec<u64>,
}

impl Reputation {
    /// A clean record for so many members.
    #[must_use]
    pub fn new(members: usize) -> Self {
        Self {
            averages: vec![0; members],
            left_out_by: vec![0; members],
        }
    }

    /// Takes one agreed round into the record: deviation from the answers, latency behind the report, and feeds without a
    /// value, all from the signed set that the report was made of.
    ///
    /// Whom the set is made without was silent, or was left out by the leader, which nobody can tell. So that costs
    /// something only while f+1 different leaders had no word of his in their newest reports, one of whom is honest: f
    /// liars who lead as long as they like cost nobody anything by it.
    pub fn record(&mut self, config: &Config, report: &Report, observations: &[SignedObservation]) {
        let leader = 1_u64 << (leader_of(config, report.round.epoch()) % 64);
        let records = self.averages.iter_mut().zip(&mut self.left_out_by);
        for (number, (average, left_out_by)) in records.enumerate() {
            let signed = observations
                .iter()
                .find(|it| usize::from(it.member) == number);
            let penalty = if let Some(signed) = signed {
                *left_out_by &= !leader;
                penalty(config, report, signed)
            } else {
                *left_out_by |= leader;
                let is_silent = left_out_by.count_ones() as usize > config.faulty();
                if !is_silent {
                    continue;
                }
                WHOLE
            };
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

    /// By signer: numbers belong to a generation.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, members: &[Member]) {
        let records = self.averages.iter().zip(&self.left_out_by);
        wire::put_varint(out, members.len() as u64);
        for (member, (average, left_out_by)) in members.iter().zip(records) {
            out.extend_from_slice(member.signer.as_slice());
            wire::put_varint(out, *average);
            wire::put_varint(out, *left_out_by);
        }
    }

    /// What [`encode`](Self::encode) wrote for these members or for others: whoever is new has a clean record.
    pub(crate) fn decode(reader: &mut Reader<'_>, members: &[Member]) -> Result<Self, DecodeError> {
        let count = reader.length(MEMBERS_MAX)?;
        let mut kept = Vec::with_capacity(count);
        for _ in 0..count {
            let signer = EvmAddress::new(reader.array()?);
            let average = reader.varint()?.min(WHOLE * NEWEST_SHARE);
            kept.push((signer, average, reader.varint()?));
        }
        let are_same = kept.iter().map(|it| it.0);
        let are_same = are_same.eq(members.iter().map(|it| it.signer));
        let of = |member: &Member| kept.iter().find(|it| it.0 == member.signer);
        let average = |member| of(member).map_or(0, |it| it.1);
        // Leaders are numbered.
        let left_out_by = |member| of(member).filter(|_| are_same).map_or(0, |it| it.2);
        Ok(Self {
            averages: members.iter().map(average).collect(),
            left_out_by: members.iter().map(left_out_by).collect(),
        })
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

    /// A round of this epoch.
    fn round_in(
        epoch: u32,
        config: &Config,
        seen: &[(u8, i128, u64)],
        standing: &[u16],
    ) -> (Report, Vec<SignedObservation>) {
        let round = RoundId::new(epoch, 1).unwrap();
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
        for epoch in 1..=400 {
            let (report, set) = round_in(
                epoch,
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
        let mut bytes = Vec::new();
        record.encode(&mut bytes, config.members());
        let decoded = |members: &[Member]| Reputation::decode(&mut Reader::new(&bytes), members);
        assert_eq!(decoded(config.members()), Ok(record.clone()));

        // In another generation everybody has his record under his new number, and a newcomer a clean one.
        let mut members = config.members().to_vec();
        members.swap(0, 3);
        members[1].signer = EvmAddress::repeat_byte(9);
        let moved = decoded(&members).unwrap().weights();
        assert_eq!(moved, [weights[3], WEIGHT_MAX, weights[2], weights[0]]);

        for epoch in 1..=400 {
            let seen = [0, 1, 2, 3].map(|it| (it, 10_000, now));
            let (report, set) = round_in(epoch, &config, &seen, &[]);
            record.record(&config, &report, &set);
        }
        assert!(
            record.weights().iter().all(|it| *it >= WEIGHT_MAX - 1),
            "{:?}",
            record.weights()
        );
    }

    /// A liar who leads for as long as he likes, and makes his reports without member 3, costs him nothing: every honest
    /// leader hears him. Whom a second leader does not hear either has been silent.
    #[test]
    fn f_leaders_who_leave_somebody_out_cost_him_nothing_and_one_more_does() {
        let config = config(1);
        let mut record = Reputation::new(4);
        let seen = [0, 1, 2, 3].map(|it| (it, 10_000, 1_000_000));
        let mut lead = |epochs: std::ops::RangeInclusive<u32>, is_heard: &dyn Fn(u8) -> bool| {
            for epoch in epochs {
                let heard = if is_heard(leader_of(&config, epoch)) {
                    4
                } else {
                    3
                };
                for _ in 0..100 {
                    let (report, set) = round_in(epoch, &config, &seen[..heard], &[]);
                    record.record(&config, &report, &set);
                }
            }
            record.weights()[3]
        };
        assert_eq!(lead(1..=8, &|leader| leader != 0), WEIGHT_MAX);
        assert!(lead(9..=12, &|leader| leader > 1) < WEIGHT_MAX);
        assert!(lead(13..=16, &|_| false) < WEIGHT_MIN + 100);
    }

    #[test]
    fn f_liars_move_no_agreed_weight_out_of_the_honest_opinions() {
        let config = config(1);
        let opinion = |member: u8, standing: [u16; 4]| {
            let (_, mut set) = round_in(1, &config, &[(member, 100, 5)], &standing);
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
