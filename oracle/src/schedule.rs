//! Who leads, and who transmits when: drawn from the configuration's digest, the same on every oracle.

use peaberry_chain::primitives::{B256, keccak256};

use crate::config::Config;
use crate::round_id::RoundId;

/// The leader of an epoch.
///
/// Of any n epochs that begin one after the other at a multiple of n, each member leads one, in an order that nobody
/// chooses after the digest is fixed. So liars lead at most 2f epochs in a row.
#[must_use]
pub fn leader_of(config: &Config, epoch: u32) -> u8 {
    let count = config.members().len();
    let at = (epoch as usize).saturating_sub(1);
    let order = order(config, b"leader", (at / count) as u64);
    order.get(at % count).copied().unwrap_or(0)
}

/// How many others transmit a round's report before `member` does: 0 is the first. All of them, one after the other,
/// until one has succeeded, so a silent transmitter costs one stage.
#[must_use]
pub fn slot_of(config: &Config, round: RoundId, member: u8) -> u32 {
    let order = order(config, b"transmit", round.sequence());
    let slot = order.iter().position(|it| *it == member);
    slot.and_then(|slot| u32::try_from(slot).ok())
        .unwrap_or(u32::MAX)
}

/// All members in an order drawn from the digest, the purpose and a number (Fisher–Yates).
fn order(config: &Config, purpose: &[u8], number: u64) -> Vec<u8> {
    let mut order: Vec<u8> = (0..=u8::MAX).take(config.members().len()).collect();
    let seed = keccak256([config.digest().as_slice(), purpose, &number.to_be_bytes()].concat());
    for at in (1..order.len()).rev() {
        order.swap(at, draw(seed, at) % (at + 1));
    }
    order
}

/// A number for each place. Its bias over at most 64 places is below 2^-57.
fn draw(seed: B256, place: usize) -> usize {
    let hash = keccak256([seed.as_slice(), &(place as u64).to_be_bytes()].concat());
    let number = hash
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes));
    usize::try_from(number >> 1).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::config;

    #[test]
    fn everybody_leads_once_in_n_epochs_and_the_order_changes() {
        let config = config(2);
        let block = |first: u32| {
            (first..first + 7)
                .map(|epoch| leader_of(&config, epoch))
                .collect::<Vec<_>>()
        };
        for first in [1, 8, 15] {
            assert_eq!(block(first).into_iter().collect::<BTreeSet<_>>().len(), 7);
        }
        assert!(block(1) != block(8) || block(8) != block(15));
    }

    #[test]
    fn each_member_has_a_slot_of_its_own() {
        let config = config(2);
        let round = RoundId::new(4, 2).unwrap();
        let slots: BTreeSet<_> = (0..7)
            .map(|member| slot_of(&config, round, member))
            .collect();
        assert_eq!(slots, (0..7).collect());
        assert_eq!(slot_of(&config, round, 200), u32::MAX);
    }
}
