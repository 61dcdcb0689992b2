//! From signed observations to one report, the same on every oracle.
//!
//! # Why f liars cannot move the answer
//!
//! Let W be the weight of a set and B what the liars in it hold. If 2B < W, the honest hold more than half. The answer is
//! the smallest value at which half of the weight is reached; the values below it hold less than half, so those from it
//! upwards hold half or more, which the liars alone cannot: some honest value is not below the answer. And the values up
//! to it hold half or more, so some honest value is not above it. The answer lies within the honest range.
//!
//! Nobody knows who lies, so a set is accepted only if *no* f of its members hold half of it, which is so exactly if its f
//! heaviest do not. Else all count the same: 2f+1 or more of which f lie fulfil 2B < W by count.

use peaberry_chain::primitives::B256;
use peaberry_core::mutant::is_planted;

use crate::config::Config;
use crate::observation::{ObservationError, SignedObservation, hash_of};
use crate::report::{Aggregation, Answer, Report};
use crate::round_id::RoundId;
use crate::signature::Keyring;

/// Whether no `faulty` members of a set of these weights hold half of its weight or more.
///
/// ```
/// use peaberry_oracle::is_acceptable;
///
/// assert!(is_acceptable([100, 100, 100], 1));
/// assert!(!is_acceptable([300, 100, 100], 1), "one holds three fifths");
/// assert!(!is_acceptable([200, 100, 100], 1), "exactly half is too much");
/// assert!(!is_acceptable([], 1));
/// ```
#[must_use]
pub fn is_acceptable(weights: impl IntoIterator<Item = u16>, faulty: usize) -> bool {
    let mut weights: Vec<u64> = weights.into_iter().map(u64::from).collect();
    weights.sort_unstable_by(|a, b| b.cmp(a));
    let total: u64 = weights.iter().sum();
    let heaviest: u64 = weights.iter().take(faulty).sum();
    heaviest * 2 < total
}

/// The smallest value at which half of the weight of all is reached; `None` for no values or no weight.
///
/// With equal weights this is the median, of an even number the lower one. Integers only.
///
/// ```
/// use peaberry_oracle::weighted_median;
///
/// assert_eq!(weighted_median([(30, 1), (10, 1), (20, 1)]), Some(20));
/// assert_eq!(weighted_median([(30, 5), (10, 1), (20, 1)]), Some(30));
/// assert_eq!(weighted_median([(10, 1), (20, 1)]), Some(10));
/// ```
#[must_use]
pub fn weighted_median(values: impl IntoIterator<Item = (i128, u16)>) -> Option<i128> {
    let mut values: Vec<_> = values.into_iter().collect();
    if is_planted("float_in_the_median") {
        return float_median(values);
    }
    values.sort_unstable();
    let total: u64 = values.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut reached = 0;
    values.into_iter().find_map(|(value, weight)| {
        reached += u64::from(weight);
        (reached * 2 >= total && reached > 0).then_some(value)
    })
}

/// The mistake that integers are there for.
#[expect(clippy::cast_possible_truncation, reason = "a planted bug")]
fn float_median(values: Vec<(i128, u16)>) -> Option<i128> {
    let mut floats: Vec<f64> = values.into_iter().map(|(value, _)| value as f64).collect();
    floats.sort_unstable_by(f64::total_cmp);
    let middle = floats.len().checked_sub(1)? / 2;
    floats.get(middle).map(|value| *value as i128)
}

/// Why a set of observations makes no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// Too few of them.
    #[error("{count} observations: {quorum} are needed")]
    TooFew {
        /// How many there are.
        count: usize,
        /// 2f+1.
        quorum: usize,
    },
    /// Not in the order of the members, each at most once.
    #[error("observations are not in the order of their members, each once")]
    Order,
    /// One of them is for another round.
    #[error("the observation of member {0} is for another round")]
    Round(u8),
    /// One of them counts for nothing.
    #[error("the observation of member {member} does not count")]
    Observation {
        /// Its author, as it says.
        member: u8,
        /// Why.
        #[source]
        source: ObservationError,
    },
}

/// Checks a set of observations for `round`: 2f+1 or more, each member once and in order, all signed.
///
/// # Errors
///
/// [`SetError`] names the first that is wrong.
pub fn verify_set(
    config: &Config,
    keyring: &dyn Keyring,
    round: RoundId,
    observations: &[SignedObservation],
) -> Result<(), SetError> {
    check_shape(config, round, observations)?;
    observations.iter().try_for_each(|signed| {
        signed
            .verify(config, keyring)
            .map_err(|source| SetError::Observation {
                member: signed.member,
                source,
            })
    })
}

/// What can be checked without a signature.
pub(crate) fn check_shape(
    config: &Config,
    round: RoundId,
    observations: &[SignedObservation],
) -> Result<(), SetError> {
    let (count, quorum) = (observations.len(), config.quorum());
    if count < quorum {
        return Err(SetError::TooFew { count, quorum });
    }
    let is_ordered = observations.is_sorted_by(|one, next| {
        one.member < next.member
            || (one.member == next.member && is_planted("own_observation_twice"))
    });
    if !is_ordered {
        return Err(SetError::Order);
    }
    match observations
        .iter()
        .find(|signed| signed.observation.round != round)
    {
        Some(signed) => Err(SetError::Round(signed.member)),
        None => Ok(()),
    }
}

/// The report that a [verified](verify_set) set makes: a function of the set and the configuration alone.
#[must_use]
pub fn aggregate(config: &Config, round: RoundId, observations: &[SignedObservation]) -> Report {
    let times = observations
        .iter()
        .map(|signed| (i128::from(signed.observation.observed_at_ms), 1));
    let observed_at_ms = weighted_median(times).and_then(|time| u64::try_from(time).ok());
    let answers = (0..config.feeds().len()).filter_map(|feed| answer(config, feed, observations));
    Report {
        config: config.digest(),
        round,
        observed_at_ms: observed_at_ms.unwrap_or(0),
        observations: observations_hash(observations),
        answers: answers.collect(),
    }
}

/// What a report on this set commits to, to find the evidence to a report on chain.
#[must_use]
pub fn observations_hash(observations: &[SignedObservation]) -> B256 {
    hash_of(observations)
}

/// The answer for one feed; `None` where fewer than 2f+1 have a value, since of fewer the liars could be half.
fn answer(config: &Config, feed: usize, observations: &[SignedObservation]) -> Option<Answer> {
    let values: Vec<(i128, u16)> = observations
        .iter()
        .filter_map(|signed| {
            let value = (*signed.observation.values.get(feed)?)?;
            Some((value, config.member(signed.member)?.weight))
        })
        .collect();
    if values.len() < config.quorum() {
        return None;
    }
    let aggregation = aggregation_of(config, values.iter().map(|(_, weight)| *weight));
    let value = match aggregation {
        Aggregation::WeightedMedian => weighted_median(values),
        Aggregation::Median | Aggregation::EqualWeights => {
            weighted_median(values.into_iter().map(|(value, _)| (value, 1)))
        }
    };
    Some(Answer {
        feed: u8::try_from(feed).ok()?,
        aggregation,
        value: value?,
    })
}

/// Whether more observations would bring no feed an answer: each has one in this set, or none that a leader could get.
pub(crate) fn is_complete<'a>(
    config: &Config,
    set: impl Iterator<Item = &'a SignedObservation> + Clone,
) -> bool {
    (0..config.feeds().len()).all(|feed| {
        let values = set.clone().filter(|it| has_value(it, feed)).count();
        values >= config.quorum() || is_out_of_reach(config, feed, set.clone())
    })
}

/// Whether f+1 of the set have signed that they have no value for the feed. Then at most 2f of all members have one,
/// whatever those say who are not in the set, and no leader gets an answer.
pub(crate) fn is_out_of_reach<'a>(
    config: &Config,
    feed: usize,
    set: impl Iterator<Item = &'a SignedObservation>,
) -> bool {
    set.filter(|it| !has_value(it, feed)).count() > config.faulty()
}

fn has_value(signed: &SignedObservation, feed: usize) -> bool {
    let value = signed.observation.values.get(feed);
    value.is_some_and(Option::is_some)
}

fn aggregation_of(config: &Config, weights: impl Iterator<Item = u16>) -> Aggregation {
    if config.weights_are_equal() {
        Aggregation::Median
    } else if is_acceptable(weights, config.faulty()) {
        Aggregation::WeightedMedian
    } else {
        Aggregation::EqualWeights
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observation::Observation;
    use crate::testing::{form, key};
    use crate::{WEIGHT_MAX, WEIGHT_MIN};

    /// Weights of a set with its f: 2f+1 to 3f+1 members, far apart or close together.
    fn set() -> impl Strategy<Value = (usize, Vec<u16>)> {
        (
            1..=10_usize,
            prop_oneof![Just(WEIGHT_MIN), 900..=WEIGHT_MAX],
        )
            .prop_flat_map(|(faulty, least)| {
                let count = 2 * faulty + 1..=3 * faulty + 1;
                (
                    Just(faulty),
                    prop::collection::vec(least..=WEIGHT_MAX, count),
                )
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

        /// The rule: whoever the f are, they never hold half of an accepted set's weight.
        #[test]
        fn no_f_members_hold_half_of_an_accepted_set(
            (faulty, weights) in set(),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 10),
        ) {
            prop_assume!(is_acceptable(weights.iter().copied(), faulty));
            let total: u64 = weights.iter().map(|it| u64::from(*it)).sum();
            let mut left = weights;
            let held: u64 = picks.iter().take(faulty).map(|pick| {
                let at = pick.index(left.len());
                u64::from(left.swap_remove(at))
            }).sum();
            prop_assert!(held * 2 < total);
        }

        /// And no more is refused than must be: a refused set has f members who hold half.
        #[test]
        fn a_refused_set_has_f_members_who_hold_half((faulty, mut weights) in set()) {
            prop_assume!(!is_acceptable(weights.iter().copied(), faulty));
            let total: u64 = weights.iter().map(|it| u64::from(*it)).sum();
            weights.sort_unstable();
            let held: u64 = weights.iter().rev().take(faulty).map(|it| u64::from(*it)).sum();
            prop_assert!(held * 2 >= total);
        }

        /// Whatever f members of a set say, the answer lies within the range of the others, by weight or not.
        #[test]
        fn f_liars_do_not_move_the_answer_out_of_the_honest_range(
            (faulty, weights) in set(),
            honest in prop::collection::vec(1..1_000_i128, 31),
            lies in prop::collection::vec(prop_oneof![Just(1_i128), Just(crate::VALUE_MAX), 1..2_000_i128], 10),
            liars in prop::collection::vec(any::<prop::sample::Index>(), 10),
        ) {
            let mut values: Vec<_> = honest.into_iter().zip(weights.iter().copied()).collect();
            let mut is_liar = vec![false; values.len()];
            for (liar, lie) in liars.iter().take(faulty).zip(lies) {
                let at = liar.index(values.len());
                is_liar[at] = true;
                values[at].0 = lie;
            }
            let honest: Vec<_> = values.iter().zip(&is_liar).filter(|(_, liar)| !**liar).map(|(it, _)| it.0).collect();
            let (low, high) = (*honest.iter().min().unwrap(), *honest.iter().max().unwrap());
            let answer = if is_acceptable(weights, faulty) {
                weighted_median(values)
            } else {
                weighted_median(values.into_iter().map(|(value, _)| (value, 1)))
            };
            prop_assert!((low..=high).contains(&answer.unwrap()));
        }

        #[test]
        fn equal_weights_give_the_lower_median(values in prop::collection::vec(any::<i64>(), 1..40), weight in 1..=WEIGHT_MAX) {
            let median = weighted_median(values.iter().map(|it| (i128::from(*it), weight)));
            let mut sorted = values;
            sorted.sort_unstable();
            prop_assert_eq!(median, Some(i128::from(sorted[(sorted.len() - 1) / 2])));
        }
    }

    fn seen(config: &Config, round: RoundId, member: u8, value: Option<i128>) -> SignedObservation {
        let observation = Observation {
            config: config.digest(),
            round,
            observed_at_ms: 1_000 + u64::from(member),
            values: vec![value],
            standing: Vec::new(),
        };
        observation.sign(config, member, &*key(member))
    }

    #[test]
    fn the_set_decides_which_aggregation_applies() {
        let round = RoundId::new(1, 1).unwrap();
        let mut form = form(1);
        let plain = Config::new(form.clone()).unwrap();
        for (member, weight) in form.members.iter_mut().zip([1_000, 100, 100, 900]) {
            member.weight = weight;
        }
        let weighted = Config::new(form).unwrap();
        let set = |config: &Config, members: &[u8]| {
            let set: Vec<_> = members
                .iter()
                .map(|it| seen(config, round, *it, Some(i128::from(*it) + 10)))
                .collect();
            verify_set(config, &*key(0), round, &set).unwrap();
            aggregate(config, round, &set).answers[0]
        };
        let answer = |aggregation, value| Answer {
            feed: 0,
            aggregation,
            value,
        };
        assert_eq!(set(&plain, &[0, 1, 2, 3]), answer(Aggregation::Median, 11));
        // Without member 3, member 0 alone holds five sixths: all count the same.
        assert_eq!(
            set(&weighted, &[0, 1, 2]),
            answer(Aggregation::EqualWeights, 11)
        );
        // With both heavy ones neither holds half: 10 weighs 1000 of 2100, 11 makes it 1100.
        assert_eq!(
            set(&weighted, &[0, 1, 2, 3]),
            answer(Aggregation::WeightedMedian, 11)
        );
        assert_eq!(
            set(&weighted, &[0, 1, 3]),
            answer(Aggregation::EqualWeights, 11)
        );
    }

    #[test]
    fn a_set_that_no_honest_leader_makes_is_refused() {
        let config = crate::testing::config(1);
        let round = RoundId::new(1, 2).unwrap();
        let one = |member| seen(&config, round, member, Some(50));
        let check = |set: &[SignedObservation]| verify_set(&config, &*key(0), round, set);
        assert_eq!(check(&[one(0), one(1), one(2)]), Ok(()));
        assert_eq!(
            check(&[one(0), one(1)]),
            Err(SetError::TooFew {
                count: 2,
                quorum: 3
            })
        );
        assert_eq!(check(&[one(0), one(1), one(1)]), Err(SetError::Order));
        assert_eq!(check(&[one(1), one(0), one(2)]), Err(SetError::Order));
        let old = seen(&config, RoundId::new(1, 1).unwrap(), 2, Some(50));
        assert_eq!(check(&[one(0), one(1), old]), Err(SetError::Round(2)));
        let mut forged = one(2);
        forged.signature = one(1).signature;
        let source = ObservationError::Signature;
        assert_eq!(
            check(&[one(0), one(1), forged]),
            Err(SetError::Observation { member: 2, source })
        );
    }

    #[test]
    fn a_feed_with_too_few_values_has_no_answer() {
        let config = crate::testing::config(1);
        let round = RoundId::new(1, 1).unwrap();
        let set = [0, 1, 2].map(|member| seen(&config, round, member, (member > 0).then_some(50)));
        assert_eq!(aggregate(&config, round, &set).answers, []);
    }
}
