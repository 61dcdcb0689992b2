//! The ladder of fees.

use crate::evm::Fees;

/// How far above the last a rung lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An eighth more, which is over the tenth that nodes want to let one transaction take another's place.
    Eighth,
    /// Twice as much: what a node holds is dearer, and it does not say by how much; or few rungs are left.
    Double,
    /// That again, and the tip comes near the fee: what is held may offer all of its fee as tip, and a tenth more of both is
    /// wanted.
    Outbid,
}

impl Step {
    /// An eighth as long as more rungs are left than doubling takes to the cap, so that the cap alone ends the ladder.
    pub(super) const fn towards(cap: u128, last: Fees, rungs_left: usize) -> Self {
        let fee = last.fee_max();
        let ratio = cap / if fee == 0 { 1 } else { fee };
        let doublings = u128::BITS - ratio.leading_zeros();
        if rungs_left > doublings as usize {
            Self::Eighth
        } else {
            Self::Double
        }
    }

    const fn above(self, fee: u128) -> u128 {
        match self {
            Self::Eighth => plus(fee, 8),
            Self::Double | Self::Outbid => plus(fee, 1),
        }
    }

    /// The tip that goes with a fee. Half of the way to that, as a ratio, is no more than twice too far after few steps.
    fn tip_above(self, tip: u128, fee_max: u128) -> u128 {
        match self {
            Self::Eighth | Self::Double => self.above(tip),
            Self::Outbid => self.above(tip).max(tip.saturating_mul(fee_max).isqrt()),
        }
    }
}

/// What lies one rung above `last` on every field, and no less than the market; the cap itself where that is less. `None` once
/// the cap does not leave room for a tenth more, without which no node takes one transaction in another's place.
pub(super) fn bump(last: Fees, market: Fees, cap: u128, step: Step) -> Option<Fees> {
    let before = last.fee_max();
    let fee_max = step.above(before).max(market.fee_max()).min(cap);
    let is_enough = fee_max >= plus(before, 10) && fee_max > before;
    match (last, market) {
        (Fees::Legacy { .. }, _) => is_enough.then_some(Fees::Legacy { gas_price: fee_max }),
        (Fees::Eip1559 { tip_max, .. }, market) => {
            let market_tip = match market {
                Fees::Eip1559 { tip_max, .. } => tip_max,
                Fees::Legacy { .. } => 0,
            };
            let tip_before = tip_max;
            let tip_max = step.tip_above(tip_before, fee_max);
            let tip_max = tip_max.max(market_tip).min(fee_max);
            // A node that holds a rival holds none of ours: there a higher tip is something new also at the cap.
            let is_enough = is_enough || (step == Step::Outbid && tip_max > tip_before);
            is_enough.then_some(Fees::Eip1559 { fee_max, tip_max })
        }
    }
}

/// The market's fees, as far as the cap allows.
pub(super) fn within(market: Fees, cap: u128) -> Fees {
    match market {
        Fees::Eip1559 { fee_max, tip_max } => Fees::Eip1559 {
            fee_max: fee_max.min(cap),
            tip_max: tip_max.min(cap),
        },
        Fees::Legacy { gas_price } => Fees::Legacy {
            gas_price: gas_price.min(cap),
        },
    }
}

/// One part in so many more, rounded up, so that also a fee of 1 grows, and one of zero.
const fn plus(fee: u128, part: u128) -> u128 {
    fee.saturating_add(fee.div_ceil(part))
        .saturating_add(if fee == 0 { 1 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKET: Fees = Fees::Eip1559 {
        fee_max: 10,
        tip_max: 0,
    };

    /// All rungs from here to the cap, with so many attempts.
    fn ladder(mut fees: Fees, cap: u128, rungs_max: usize) -> Vec<Fees> {
        let mut rungs = vec![fees];
        for left in (1..=rungs_max).rev() {
            let Some(next) = bump(fees, MARKET, cap, Step::towards(cap, fees, left)) else {
                return rungs;
            };
            rungs.push(next);
            fees = next;
        }
        rungs
    }

    #[test]
    fn each_rung_is_a_tenth_or_more_on_both_fields_and_the_last_is_the_cap() {
        let first = Fees::Eip1559 {
            fee_max: 800,
            tip_max: 1,
        };
        let rungs = ladder(first, 10_000, 255);
        assert!(rungs.len() > 15);
        for pair in rungs.windows(2) {
            let [
                Fees::Eip1559 {
                    fee_max: was,
                    tip_max: tip_was,
                },
                Fees::Eip1559 { fee_max, tip_max },
            ] = pair
            else {
                panic!("the kind changed");
            };
            assert!(*fee_max * 10 >= *was * 11 && tip_max <= fee_max);
            assert!(*tip_max * 10 >= *tip_was * 11);
            assert!(*fee_max * 8 <= *was * 9 + 8, "more than was needed");
        }
        // A last step of less than a tenth is none.
        let last = rungs.last().unwrap().fee_max();
        assert!(last <= 10_000 && last * 11 > 10_000 * 10);
    }

    #[test]
    fn however_high_the_cap_it_is_reached_before_the_rungs_are_used_up() {
        for rungs_max in [130, 255] {
            for cap in [20, 1_000, u64::MAX.into(), u128::MAX / 2, u128::MAX] {
                let rungs = ladder(Fees::Legacy { gas_price: 10 }, cap, rungs_max);
                let last = rungs.last().unwrap().fee_max();
                assert!(last > cap / 11 * 10, "{last} of {cap}");
                assert!(rungs.len() <= rungs_max + 1);
            }
        }
    }

    /// Also one whose tip is all of its fee, as that of an old transaction is.
    #[test]
    fn a_rival_is_outbid_on_both_fields_in_a_few_steps() {
        const GWEI: u128 = 1_000_000_000;
        let enough = 110 * GWEI;
        let mut fees = Fees::Eip1559 {
            fee_max: 2 * GWEI,
            tip_max: 1,
        };
        let cap = 1_000 * GWEI;
        let mut steps = 0;
        loop {
            let Fees::Eip1559 { fee_max, tip_max } = fees else {
                panic!("the kind changed");
            };
            assert!(tip_max <= fee_max && fee_max <= cap);
            if fee_max.min(tip_max) >= enough {
                assert!(tip_max < 3 * enough);
                break;
            }
            let step = if steps == 0 {
                Step::Double
            } else {
                Step::Outbid
            };
            fees = bump(fees, MARKET, cap, step).expect("the cap has room");
            steps += 1;
        }
        assert!(steps <= 12, "{steps}");
        // What is dearer than the cap allows ends there.
        let mut rungs = 0;
        while let Some(next) = bump(fees, MARKET, cap, Step::Outbid) {
            fees = next;
            rungs += 1;
        }
        let most = Fees::Eip1559 {
            fee_max: cap,
            tip_max: cap,
        };
        assert_eq!(fees, most);
        assert!(rungs <= 12, "{rungs}");
    }

    #[test]
    fn a_risen_market_is_followed_at_once() {
        let market = Fees::Legacy { gas_price: 5_000 };
        let bump = |last, cap| bump(last, market, cap, Step::Eighth);
        assert_eq!(bump(Fees::Legacy { gas_price: 100 }, 9_000), Some(market));
        assert_eq!(bump(market, 5_100), None);
        let cap = Fees::Legacy { gas_price: 5_500 };
        assert_eq!(bump(market, 5_500), Some(cap));
    }
}
