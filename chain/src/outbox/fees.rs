//! The ladder of fees.

use crate::evm::Fees;

/// What lies one rung above `last`: an eighth more on every field, which is over the tenth that nodes want to let one
/// transaction take another's place, and no less than the market. `None` once the cap does not leave room for that.
pub(super) fn bump(last: Fees, market: Fees, cap: u128) -> Option<Fees> {
    let next = match (last, market) {
        (
            Fees::Eip1559 { fee_max, tip_max },
            Fees::Eip1559 {
                fee_max: market_fee,
                tip_max: market_tip,
            },
        ) => {
            let fee_max = an_eighth_more(fee_max).max(market_fee.min(cap));
            Fees::Eip1559 {
                fee_max,
                tip_max: an_eighth_more(tip_max).max(market_tip).min(fee_max),
            }
        }
        (Fees::Legacy { gas_price }, market) => Fees::Legacy {
            gas_price: an_eighth_more(gas_price).max(market.fee_max().min(cap)),
        },
        (Fees::Eip1559 { fee_max, tip_max }, Fees::Legacy { gas_price }) => Fees::Eip1559 {
            fee_max: an_eighth_more(fee_max).max(gas_price.min(cap)),
            tip_max: an_eighth_more(tip_max),
        },
    };
    (next.fee_max() <= cap).then_some(next)
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

/// 12.5 % more, rounded up, so that also a fee of 1 grows.
const fn an_eighth_more(fee: u128) -> u128 {
    fee.saturating_add(fee.div_ceil(8))
        .saturating_add(if fee == 0 { 1 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rung_is_an_eighth_on_both_fields_and_never_over_the_cap() {
        let market = Fees::Eip1559 {
            fee_max: 10,
            tip_max: 0,
        };
        let mut fees = Fees::Eip1559 {
            fee_max: 800,
            tip_max: 1,
        };
        let mut rungs = 0;
        while let Some(next) = bump(fees, market, 10_000) {
            let (
                Fees::Eip1559 { fee_max, tip_max },
                Fees::Eip1559 {
                    fee_max: was,
                    tip_max: tip_was,
                },
            ) = (next, fees)
            else {
                panic!("the kind changed");
            };
            assert!(fee_max * 8 >= was * 9 && fee_max <= 10_000);
            assert!(tip_max * 8 >= tip_was * 9);
            fees = next;
            rungs += 1;
        }
        assert!(rungs > 15);
    }

    #[test]
    fn a_risen_market_is_followed_at_once() {
        let market = Fees::Legacy { gas_price: 5_000 };
        let fees = bump(Fees::Legacy { gas_price: 100 }, market, 9_000);
        assert_eq!(fees, Some(market));
        assert_eq!(bump(market, market, 5_100), None);
    }
}
